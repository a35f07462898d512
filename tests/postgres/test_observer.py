"""Who is asked to observe a disposal signs that disposal, as its observer, and nobody signs in that place:
what the database refuses by itself, whatever the service would let through."""

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from custody.event import Fact
from custody.people import Actor
from custody.protocol import Retention
from custody.trail import after
from tests.conftest import Database, Engines
from tests.custody.byhand import ByHand, refused
from tests.custody.story import (
    COORDINATOR,
    CUSTODIAN,
    CUSTODIAN_2,
    NURSE,
    NURSE_2,
    OTHER_NURSE,
    Story,
    begin,
)
from tests.postgres.forging import checked, follow
from tests.retention.kept import adopt, kept_until_approved

pytestmark = pytest.mark.anyio

PROTOCOL, BYTES = "CU002", "CU003"
MIRA = OTHER_NURSE
Advance = Callable[[timedelta], None]


@pytest.fixture
async def story(engines: Engines) -> Story:
    begun = await begin(engines.service, engines.clerk)
    await adopt(begun)
    return begun


def asked(byhand: ByHand, kit: str, observer: Actor = MIRA) -> str:
    """Cleo proposes to carry out the disposal of this kit before this observer."""
    name = uuid4().hex
    command = {"packages": [{"kit": kit, "package": 1, "seal": "S-1"}], "observer": observer.person}
    byhand.of().execute(
        "SELECT custody.propose(%s, 'disposal.carry_out', %s, %s, %s, interval '2 hours')",
        [name, kit, Jsonb(CUSTODIAN_2.context()), Jsonb(command)],
    )
    return name


def carried_out(kit: str, *signers: dict[str, str]) -> Fact:
    return Fact(
        type="disposal.carried_out",
        subject=f"choices:{kit}",
        who=CUSTODIAN_2.who(),
        fields={"packages": [{"package": n} for n in (1, 2, 3)], "with": list(signers)},
    )


async def test_the_person_who_was_asked_signs_as_observer_and_only_so(
    story: Story, database: Database, advance: Advance
) -> None:
    kit = await kept_until_approved(story, advance)
    approver, observer = COORDINATOR.signs("approver"), MIRA.signs("observer")
    with ByHand(database) as byhand:
        proposal = asked(byhand, kit)
        for wrong in (
            (approver,),
            (approver, MIRA.signs("second")),
            (approver, MIRA.signs("approver")),
            (MIRA.signs("approver"), COORDINATOR.signs("observer")),
            (CUSTODIAN.signs("approver"), observer),
            (approver, observer, NURSE_2.signs("observer")),
        ):
            with pytest.raises(psycopg.Error) as told:
                byhand.write(MIRA, carried_out(kit, *wrong), proposal=proposal)
            assert told.value.sqlstate in (PROTOCOL, BYTES), wrong
        gone = Fact(
            type="package.destroyed",
            subject=f"custody:{kit}",
            who=CUSTODIAN_2.who(),
            fields={"packages": [{"package": n} for n in (1, 2, 3)], "with": [approver, observer]},
        )
        events = [byhand.event(fact) for fact in (carried_out(kit, approver, observer), gone)]
        byhand.append(
            MIRA, events, {kit: after(after(byhand.kit(kit), events[0]), events[1])}, proposal=proposal
        )
    assert (await story.kit(kit)).retention is Retention.DISPOSED


async def test_nobody_else_signs_where_one_person_was_asked(
    story: Story, database: Database, advance: Advance
) -> None:
    kit = await kept_until_approved(story, advance)
    approver = COORDINATOR.signs("approver")
    with ByHand(database) as byhand:
        proposal = asked(byhand, kit)
        for other in (NURSE, NURSE_2, CUSTODIAN):
            with refused(PROTOCOL):
                byhand.write(other, carried_out(kit, approver, other.signs("observer")), proposal=proposal)
            with refused(PROTOCOL):
                byhand.write(other, carried_out(kit, approver, MIRA.signs("observer")), proposal=proposal)
        with refused(PROTOCOL):
            byhand.of("superuser").execute(
                "UPDATE custody.proposal SET signer = 'nils' WHERE id = %s", [proposal]
            )
    assert (await story.kit(kit)).retention is Retention.APPROVED


async def test_with_the_observers_signature_nothing_else_is_written(
    story: Story, database: Database, advance: Advance
) -> None:
    kit = await kept_until_approved(story, advance)
    with ByHand(database) as byhand:
        proposal = asked(byhand, kit)
        for type_, fields in (
            ("disposal.withdrawn", {"reason": "another wish"}),
            ("notice.queued", {"channel": "email"}),
        ):
            fact = Fact(type=type_, subject=f"choices:{kit}", who=CUSTODIAN_2.who(), fields=fields)
            document = byhand.kit(kit)
            with refused(BYTES):
                byhand.write(MIRA, fact, {"number": document.number}, proposal=proposal)
    assert (await story.kit(kit)).retention is Retention.APPROVED


async def test_a_person_with_the_function_of_an_observer_writes_nothing_of_their_own(
    story: Story, database: Database, engines: Engines
) -> None:
    kit = await story.registered()
    with ByHand(database) as byhand:
        inside = byhand.of("superuser")
        inside.execute(
            'INSERT INTO custody.appointment (person, organisation, function, "from")'
            " SELECT 'mira', organisation, 'observer', '2020-01-01' FROM custody.appointment"
            " WHERE person = 'mira' LIMIT 1"
        )
        who = {**MIRA.who(), "function": "observer"}
        observer = Actor(
            function=type(MIRA.function)("observer"),
            person=MIRA.person,
            name=MIRA.name,
            organisation=MIRA.organisation,
        )
        fact = Fact(
            type="labels.printed",
            subject=f"custody:{kit}",
            who=who,
            fields={"labels": [{"code": f"{kit}-K-1-A", "serial": 1}]},
        )
        with refused(BYTES):
            byhand.write(observer, fact, {"number": kit})


async def test_who_is_asked_sees_which_packages_and_nothing_else_of_the_proposal(
    story: Story, database: Database, advance: Advance
) -> None:
    kit = await kept_until_approved(story, advance)
    with ByHand(database) as byhand:
        proposal = asked(byhand, kit)
        service = byhand.of()

        def seen(who: Actor, query: str) -> list[tuple[object, ...]]:
            with service.transaction():
                service.execute("SELECT custody.enter(%s)", [Jsonb(who.context())])
                return service.execute(query).fetchall()

        ((id_, packages),) = seen(MIRA, "SELECT id, packages FROM custody.observations()")
        assert (id_, packages) == (proposal, [{"kit": kit, "package": 1}])
        assert seen(MIRA, "SELECT id FROM custody.proposal") == []
        assert seen(MIRA, "SELECT number FROM custody.known_kit") == []
        assert seen(NURSE_2, "SELECT id FROM custody.observations()") == []
        assert seen(NURSE_2, f"SELECT custody.drop_proposal('{'00' * 16}')") == [(False,)]
        assert seen(MIRA, f"SELECT custody.drop_proposal('{proposal}')") == [(True,)]
        assert seen(MIRA, "SELECT id FROM custody.observations()") == []


async def test_what_the_projection_says_of_the_approver_puts_nobody_else_in_that_place(
    story: Story, database: Database, advance: Advance
) -> None:
    kit = await kept_until_approved(story, advance)
    observer = MIRA.signs("observer")
    with ByHand(database) as byhand:
        event, documents = follow(byhand, kit, checked(kit))
        documents[kit]["disposal"]["approved_by"] = CUSTODIAN.person
        byhand.append(NURSE, [event], documents=documents)
        with refused(BYTES):
            byhand.write(
                MIRA, carried_out(kit, CUSTODIAN.signs("approver"), observer), proposal=asked(byhand, kit)
            )
