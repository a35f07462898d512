"""What PostgreSQL refuses of a disposal by itself, with the rules of the service left out."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from psycopg.errors import DatabaseError
from psycopg.types.json import Jsonb

from custody.commands import (
    DeclareReport,
    Offer,
    PlaceHold,
    Request,
)
from custody.decision import Decided, Seen
from custody.event import Fact, place_in_trail
from custody.handling import fact
from custody.handover import offer
from custody.kit import Kit, to_document
from custody.prosecution import choice, declare, request
from custody.protocol import Legal, Retention
from custody.refusal import Refused
from retention.holds import place_hold
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    CUSTODIAN_2,
    NURSE,
    OFFICER,
    Story,
    ref,
)
from tests.retention.kept import (
    BELGIUM,
    OBSERVER,
    card_of,
    kept_until_approved,
    kept_until_expired,
)

pytestmark = pytest.mark.anyio

Advance = Callable[[timedelta], None]


def made_by_hand(kit: Kit) -> Decided:
    """A disposal that no rule has looked at."""
    entries = [{"package": p.package} for p in kit.open_packages]
    signs = [COORDINATOR.signs("approver"), OBSERVER.signs("observer")]
    done = choice(kit, "disposal.carried_out", CUSTODIAN_2, packages=entries, **{"with": signs})
    there = [{"package": p.package} for p in kit.open_packages if p.handover is None]
    destroyed = fact(kit, "package.destroyed", CUSTODIAN_2, there, **{"with": signs})
    return Decided(facts=(done, destroyed))


async def driven_to_approved(story: Story, number: str) -> None:
    """Proposed and approved by hand-made facts, whatever the rules say."""
    entries = [{"package": 1}]
    await story.do(
        CUSTODIAN,
        [number],
        lambda seen: Decided(
            facts=(choice(seen.kit(number), "disposal.proposed", CUSTODIAN, packages=entries),)
        ),
    )
    await story.do(
        COORDINATOR,
        [number],
        lambda seen: Decided(facts=(choice(seen.kit(number), "disposal.approved", COORDINATOR),)),
    )


async def refused_by_the_database(story: Story, number: str) -> None:
    seen = await story.look(CUSTODIAN_2, number)
    with pytest.raises(Refused, match="Nothing may be destroyed while"):
        await story.append(CUSTODIAN_2, seen, made_by_hand(seen.kit(number)))
    assert (await story.kit(number)).retention is Retention.APPROVED


async def test_without_the_rules_the_database_carries_out_only_what_nothing_protects(
    story: Story, advance: Advance
) -> None:
    number = await kept_until_expired(story, advance)
    await driven_to_approved(story, number)
    seen = await story.look(CUSTODIAN_2, number)

    await story.append(CUSTODIAN_2, seen, made_by_hand(seen.kit(number)))

    assert (await story.kit(number)).retention is Retention.DISPOSED


async def test_without_the_rules_the_database_refuses_while_a_hold_stands(
    story: Story, advance: Advance
) -> None:
    number = await kept_until_expired(story, advance)
    order = PlaceHold(kit=number, ground="suspected_pressure", reason="worries")
    await story.do(
        NURSE, [number], lambda seen: place_hold(seen.kit(number), order, NURSE, "ab" * 16, BELGIUM, seen.at)
    )
    await driven_to_approved(story, number)

    await refused_by_the_database(story, number)


async def test_without_the_rules_the_database_refuses_while_a_hand_over_is_open(
    story: Story, advance: Advance
) -> None:
    number = await kept_until_expired(story, advance)
    at = (await story.look(NURSE)).at
    order = Offer(packages=(ref(number, 2),), organisation=CENTRE, due_at=at + timedelta(hours=4))
    await story.do(NURSE, [number], lambda seen: offer(seen, order, NURSE, story.directory, "cd" * 16))
    await driven_to_approved(story, number)

    await refused_by_the_database(story, number)


async def test_without_the_rules_the_database_refuses_while_a_request_is_unanswered(
    story: Story, advance: Advance
) -> None:
    number = await kept_until_expired(story, advance)
    await driven_to_approved(story, number)
    asked = Request(pv="PV-0001/26", centre=CENTRE)
    await story.do(
        OFFICER,
        [],
        lambda seen: request(asked, OFFICER, story.directory, "34" * 16),
        others=(f"request:{'34' * 16}",),
    )

    await refused_by_the_database(story, number)


async def test_without_rules_and_folds_the_database_refuses_a_disposal_after_a_report(
    story: Story, advance: Advance
) -> None:
    number = await kept_until_approved(story, advance)
    await story.do(
        card_of(number),
        [number],
        lambda seen: declare(seen.kit(number), DeclareReport(kit=number, how="by_card"), card_of(number)),
    )
    seen = await story.look(CUSTODIAN_2, number)
    kit = seen.kit(number)
    disposal = made_by_hand(kit).facts[0]

    with pytest.raises(DatabaseError, match="was not told of the end of the term"):
        await _straight_to_append(story, kit, disposal, seen)

    assert (await story.kit(number)).legal is Legal.DECLARED


async def _straight_to_append(story: Story, kit: Kit, fact: Fact, seen: Seen) -> None:
    """The bytes and a forged projection, past everything written in Python."""
    event = place_in_trail(fact, kit.choices_head, seen.at, b"\0" * 16)
    forged = replace(kit, legal=Legal.UNREPORTED, retention=Retention.DISPOSED, disposed_at=seen.at)
    expected = {f"choices:{kit.number}": kit.choices_head.number}
    proposal = await story.propose(CUSTODIAN_2, kit.number)
    async with story.ledger._driver() as driver:
        await driver.execute(
            "SELECT * FROM custody.append(%s, %s, %s, %s, %s, %s, %s)",
            [
                Jsonb(OBSERVER.context()),
                "straight-to-append",
                b"\1" * 32,
                Jsonb(expected),
                [event.bytes],
                Jsonb({kit.number: to_document(forged)}),
                Jsonb({"proposal": proposal}),
            ],
        )
