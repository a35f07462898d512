"""Who is asked to observe a disposal signs that disposal, as its observer, and nobody signs in that place:
what the database refuses by itself, whatever the service would let through."""

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from custody.commands import ApproveDisposal, EndSearch
from custody.court import CourtCopy
from custody.decision import Decided, Seen
from custody.event import Event, Fact, decode
from custody.handling import fact
from custody.people import Actor
from custody.protocol import Custody, Retention, Trail
from custody.rebuild import check, rebuilt
from custody.searching import end_search
from custody.trail import after
from retention.commands import CloseEmpty
from retention.disposal import approve
from retention.keeping import close_empty
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
    ref,
)
from tests.postgres.forging import checked, chosen, follow
from tests.retention.kept import adopt, kept_until_approved, kept_until_expired

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


async def test_who_proposed_a_disposal_observes_it_under_no_name(
    story: Story, database: Database, advance: Advance
) -> None:
    kit = await kept_until_approved(story, advance)
    approver = COORDINATOR.signs("approver")
    with ByHand(database) as byhand:
        with refused(PROTOCOL):
            byhand.write(
                CUSTODIAN,
                carried_out(kit, approver, CUSTODIAN.signs("observer")),
                proposal=asked(byhand, kit, CUSTODIAN),
            )
        byhand.of("superuser").execute(
            "UPDATE custody.person SET merged_into = %s WHERE id = %s", [CUSTODIAN.person, MIRA.person]
        )
        with refused(PROTOCOL):
            byhand.write(
                MIRA, carried_out(kit, approver, MIRA.signs("observer")), proposal=asked(byhand, kit)
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
        assert seen(MIRA, f"SELECT custody.drop_proposal('{proposal}')") == [(False,)]
        assert seen(MIRA, f"SELECT custody.decline_observation('{proposal}', NULL)") == [(True,)]
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


# --- what is found after its kit was closed ---------------------------------------------------------------


async def found_after_it_was_closed(story: Story, advance: Advance) -> str:
    """All of a kit was lost; Casper and Coraline ended the search and closed it; package 2 is found then."""
    kit = await kept_until_expired(story, advance)
    lost = tuple(ref(kit, n, seal=None) for n in (1, 2, 3))
    entries = [{"package": n} for n in (1, 2, 3)]

    async def does(actor: Actor, decide: Callable[[Seen], Decided]) -> None:
        await story.do(actor, [kit], decide)

    await does(
        CUSTODIAN,
        lambda s: Decided(facts=(fact(s.kit(kit), "package.lost", CUSTODIAN, entries, reason="gone"),)),
    )
    end = EndSearch(packages=lost, reason="looked everywhere")
    await does(CUSTODIAN, lambda s: end_search(s, end, CUSTODIAN, COORDINATOR))
    close = CloseEmpty(kit=kit, reason="all of it is lost")
    await does(
        CUSTODIAN, lambda s: close_empty(s.kit(kit), close, CUSTODIAN, COORDINATOR, unanswered_requests=0)
    )
    return kit


async def found(story: Story, kit: str) -> None:
    entries = [{"package": 2}]
    await story.do(
        CUSTODIAN,
        [kit],
        lambda s: Decided(facts=(fact(s.kit(kit), "package.found", CUSTODIAN, entries),)),
    )


def gone(kit: str, *signers: dict[str, str], by: Actor = CUSTODIAN_2) -> Fact:
    return Fact(
        type="package.destroyed",
        subject=f"custody:{kit}",
        who=by.who(),
        fields={"packages": [{"package": 2}], "with": list(signers)},
    )


async def test_two_people_who_forge_it_do_not_destroy_what_was_found_later(
    story: Story, database: Database, advance: Advance
) -> None:
    kit = await found_after_it_was_closed(story, advance)
    approver, observer = COORDINATOR.signs("approver"), MIRA.signs("observer")
    with ByHand(database) as byhand:
        proposal = asked(byhand, kit)
        with refused(PROTOCOL):  # nothing was found: there is nothing to approve anew
            byhand.write(COORDINATOR, chosen(kit, "disposal.approved", COORDINATOR), {"number": kit})
        await found(story, kit)
        for wrong in (
            (approver,),
            (CUSTODIAN_2.signs("approver"), observer),
            (NURSE.signs("approver"), observer),
            (CUSTODIAN.signs("approver"), observer),
            (MIRA.signs("approver"), observer),
            (approver, COORDINATOR.signs("observer")),
            (approver, observer, NURSE_2.signs("observer")),
        ):
            with pytest.raises(psycopg.Error) as told:
                byhand.write(MIRA, gone(kit, *wrong), proposal=proposal)
            assert told.value.sqlstate in (PROTOCOL, BYTES), wrong
        with refused(BYTES):  # who is named as the observer has not signed
            byhand.write(CUSTODIAN_2, gone(kit, approver, observer))
        byhand.of("superuser").execute("UPDATE custody.organisation SET unanswered_requests = 1")
        with refused("23514"):  # a request of the police waits
            byhand.write(MIRA, gone(kit, approver, observer), proposal=proposal)
        byhand.of("superuser").execute("UPDATE custody.organisation SET unanswered_requests = 0")

        byhand.write(MIRA, gone(kit, approver, observer), proposal=proposal)

    assert (await story.kit(kit)).packages[2].state is Custody.DESTROYED


async def test_what_was_found_and_destroyed_later_follows_from_its_trails_together_and_each_alone(
    story: Story, engines: Engines, database: Database, advance: Advance
) -> None:
    kit = await found_after_it_was_closed(story, advance)
    await found(story, kit)
    order = ApproveDisposal(kit=kit)
    await story.do(COORDINATOR, [kit], lambda s: approve(s.kit(kit), order, COORDINATOR, s.at))
    signers = COORDINATOR.signs("approver"), MIRA.signs("observer")
    with ByHand(database) as byhand:
        byhand.write(MIRA, gone(kit, *signers), proposal=asked(byhand, kit))
        rows = byhand.of("superuser").execute(
            "SELECT trail, bytes FROM custody.event WHERE kit = %s ORDER BY number", [kit]
        )
        trails: dict[str, list[Event]] = {"custody": [], "choices": []}
        for trail, data in rows:
            trails[trail].append(decode(data))

    assert await check(engines.clerk) == []
    assert rebuilt(trails["custody"], trails["choices"]).packages[2].state is Custody.DESTROYED
    for name, events in trails.items():
        court = CourtCopy(Trail(name))
        assert [court.refuses(event) for event in events] == [None] * len(events), name


async def test_who_was_asked_declines_with_a_reason_and_nobody_signs_it_any_more(
    story: Story, database: Database, advance: Advance
) -> None:
    kit = await kept_until_approved(story, advance)
    signers = COORDINATOR.signs("approver"), MIRA.signs("observer")
    with ByHand(database) as byhand:
        proposal = asked(byhand, kit)
        service = byhand.of()

        def done(who: Actor, query: str) -> list[tuple[object, ...]]:
            with service.transaction():
                service.execute("SELECT custody.enter(%s)", [Jsonb(who.context())])
                return service.execute(query).fetchall()

        why = f"SELECT custody.decline_observation('{proposal}', 'two bags were open')"
        for other in (NURSE_2, CUSTODIAN_2, COORDINATOR):
            assert done(other, why) == [(False,)]
        assert done(MIRA, why) == [(True,)]
        assert done(MIRA, why) == [(False,)], "once"
        assert done(MIRA, "SELECT id FROM custody.observations()") == []
        told = "SELECT signer, declined, declined_at = until, signed_at FROM custody.proposal"
        told += f" WHERE id = '{proposal}'"
        assert done(CUSTODIAN_2, told) == [("mira", "two bags were open", True, None)]
        with refused(PROTOCOL):
            byhand.write(MIRA, carried_out(kit, *signers), proposal=proposal)
        with pytest.raises(psycopg.Error, match="stays declined"):
            byhand.of("superuser").execute(
                "UPDATE custody.proposal SET until = until + interval '1 hour' WHERE id = %s", [proposal]
            )
