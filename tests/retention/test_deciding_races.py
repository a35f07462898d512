"""Two people at one kit at once: what endangers evidence loses, whoever was first; on PostgreSQL."""

from collections.abc import Callable
from typing import Any

import pytest

from custody.commands import AskDestruction, ConfirmDestruction, ExtendTerm, PlaceHold
from custody.decision import Decided, Seen
from custody.ledger import MovedOn
from custody.people import Actor
from custody.refusal import Refused
from retention.commands import RenewCard, ReviewHold, StopCard
from retention.deciding import renew_card, stop_card
from retention.holds import place_hold, review_hold
from retention.keeping import ask_destruction, confirm_destruction, extend
from tests.custody.story import COORDINATOR, NURSE, NURSE_2, Story
from tests.retention.kept import BELGIUM, card_of, kept

pytestmark = pytest.mark.anyio

NEW = {"code_hash": "77" * 32, "secret_hash": "none"}
Step = Callable[[Seen], Decided]


def pressure(kit: str) -> Step:
    order = PlaceHold(kit=kit, ground="suspected_pressure", reason="somebody waits outside")
    return lambda s: place_hold(s.kit(kit), order, COORDINATOR, "ab" * 16, BELGIUM, s.at)


def confirmation(kit: str) -> Step:
    order = ConfirmDestruction(kit=kit, identity="confirmed", free_will="confirmed")
    return lambda s: confirm_destruction(s.kit(kit), order, NURSE, NURSE_2, BELGIUM, s.at)


def extension(kit: str) -> Step:
    order: Any = ExtendTerm(kit=kit, how="by_card")
    return lambda s: extend(s.kit(kit), order, card_of(kit), BELGIUM, s.at)


async def asked(story: Story) -> str:
    """A kit whose victim asked for its destruction."""
    kit = await kept(story)
    ask = AskDestruction(kit=kit, how="by_card")
    victim = card_of(kit)
    await story.do(victim, [kit], lambda s: ask_destruction(s.kit(kit), ask, victim, BELGIUM))
    return kit


@pytest.mark.parametrize(("protects", "of"), [(pressure, COORDINATOR), (extension, None)])
async def test_what_protects_comes_between_and_the_destruction_is_not_confirmed(
    story: Story, protects: Callable[[str], Step], of: Actor | None
) -> None:
    kit = await asked(story)
    who = of or card_of(kit)
    confirm = confirmation(kit)
    seen = await story.look(NURSE, kit)
    decided = confirm(seen)  # as it stood, it could be confirmed

    await story.do(who, [kit], protects(kit))

    with pytest.raises(MovedOn):
        await story.append(NURSE, seen, decided)
    with pytest.raises(Refused):
        confirm(await story.look(NURSE, kit))
    now = await story.kit(kit)
    assert now.destruction is None or now.destruction.until is None


async def test_a_hold_that_comes_after_the_confirmation_stands_and_the_wish_can_be_taken_back(
    story: Story,
) -> None:
    kit = await asked(story)
    seen = await story.look(COORDINATOR, kit)
    held = pressure(kit)(seen)

    await story.do(NURSE, [kit], confirmation(kit))

    with pytest.raises(MovedOn):
        await story.append(COORDINATOR, seen, held)
    await story.do(COORDINATOR, [kit], pressure(kit))  # decided again from a new look
    now = await story.kit(kit)
    assert (len(now.holds), now.destruction is not None) == (1, True)


async def test_two_extensions_of_one_moment_are_counted_as_two_and_never_lost(story: Story) -> None:
    kit = await kept(story)
    by_card = await story.look(card_of(kit), kit)
    decided = extension(kit)(by_card)
    order = ExtendTerm(kit=kit, how="by_phone")
    await story.do(NURSE, [kit], lambda s: extend(s.kit(kit), order, NURSE, BELGIUM, s.at))
    once = await story.kit(kit)

    with pytest.raises(MovedOn):
        await story.append(card_of(kit), by_card, decided)
    await story.do(card_of(kit), [kit], extension(kit))
    twice = await story.kit(kit)

    assert (once.extensions, twice.extensions) == (1, 2)
    assert once.term is not None
    assert twice.term is not None
    assert twice.term.end > once.term.end


async def test_a_card_stopped_while_another_is_made_leaves_one_way_in_or_none(story: Story) -> None:
    kit = await kept(story)
    renew, stop = RenewCard(kit=kit, how="in_person"), StopCard(kit=kit, reason="lost")
    seen = await story.look(NURSE, kit)
    stopped = stop_card(seen.kit(kit), stop, NURSE)

    def renewed(s: Seen) -> Decided:
        return renew_card(s.kit(kit), renew, NURSE, COORDINATOR, NEW)

    await story.do(NURSE, [kit], renewed)
    with pytest.raises(MovedOn):
        await story.append(NURSE, seen, stopped)  # it was the old card that was lost

    assert (await story.kit(kit)).card == "issued"


async def test_two_reviews_of_one_moment_are_one_after_the_other(story: Story) -> None:
    kit = await kept(story)
    await story.do(COORDINATOR, [kit], pressure(kit))
    seen = await story.look(COORDINATOR, kit)
    order = ReviewHold(kit=kit, hold="ab" * 16, reason="stays")
    reviewed = review_hold(seen.kit(kit), order, COORDINATOR, BELGIUM, seen.at)

    await story.do(
        COORDINATOR,
        [kit],
        lambda s: review_hold(s.kit(kit), order, COORDINATOR, BELGIUM, s.at),
    )

    with pytest.raises(MovedOn):
        await story.append(COORDINATOR, seen, reviewed)
    assert (await story.kit(kit)).holds["ab" * 16].reviewed_at is not None
