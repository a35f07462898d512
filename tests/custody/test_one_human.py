"""Rules count people: two entries that turn out to be one human are one, for every signature and hand."""

import json
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from custody import reading, rebuild
from custody.commands import Accept, Offer, PackageRef, TakeOver, Void
from custody.decision import Decided, Seen
from custody.event import Fact
from custody.handling import fact, take_over, void
from custody.handover import accept, offer
from custody.ledger import Command
from custody.people import CLOCK, Actor, Function
from custody.prosecution import choice
from custody.refusal import Refused
from tests.conftest import Engines
from tests.custody.story import CENTRE, COORDINATOR, NURSE, NURSE_2, Story, begin, ref

pytestmark = pytest.mark.anyio

NINA = Actor(function=Function.NURSE, person="nina", name="Nina Nachtwacht", organisation=CENTRE)


@pytest.fixture
async def story(engines: Engines) -> Story:
    """With one nurse more, who turns out to be another one registered twice."""
    told = await begin(engines.service, engines.clerk)
    entry = {"id": "nina", "organisation": CENTRE, "function": "nurse", "from": "2020-01-01"}
    await record(told, "person.registered", "nina", {"id": "nina", "name": NINA.name or ""})
    await record(told, "person.appointed", "nina", entry)
    async with engines.service.connect() as connection:
        return replace(told, directory=await reading.directory(connection))


async def record(story: Story, type_: str, person: str, register: dict[str, str]) -> None:
    made = Fact(type=type_, subject=f"person:{person}", who=CLOCK.who(), fields={"register": register})
    command = Command(actor=CLOCK, key=uuid4().hex, digest=bytes(32), others=(made.subject,))
    await story.clerk.carry_out(command, lambda seen: Decided(facts=(made,)))


async def merged(story: Story, into: Actor, engines: Engines, *, still_appointed: bool = False) -> None:
    """By a superuser's hand, whatever is still open: the rules about signatures and hands stand alone."""
    until = (
        "NULL" if still_appointed else "date '2020-06-01'"
    )  # as if somebody appointed the wrong entry again
    async with engines.superuser.begin() as connection:
        await connection.execute(
            text("UPDATE custody.person SET merged_into = :into WHERE id = 'nina'"), {"into": into.person}
        )
        await connection.execute(
            text(f"UPDATE custody.appointment SET until = {until} WHERE person = 'nina'")
        )


async def found_to_be(story: Story, into: Actor) -> None:
    """By the register."""
    await record(story, "person.merged", "nina", {"id": "nina", "into": into.person or ""})


async def test_whoever_is_registered_twice_is_no_second_person(story: Story, engines: Engines) -> None:
    kit = await story.registered()
    empty = [{"package": 9, "kind": "bag", "storage": "dry"}]
    packed = lambda seen: Decided(facts=(fact(seen.kit(kit), "package.packed", NURSE, empty),))  # noqa: E731
    await story.do(NURSE, [kit], packed)
    order = Void(packages=(PackageRef(kit=kit, package=9),), reason="registered in error")
    proposal = await story.propose(NINA, kit)
    await merged(story, NURSE, engines, still_appointed=True)
    command = Command(
        actor=NURSE, key=uuid4().hex, digest=bytes(32), kits=(kit,), proposal=proposal, eyes=NURSE
    )
    with pytest.raises(Refused, match="takes more people than signed it"):
        await story.ledger.carry_out(command, lambda s: void(s, order, NINA, NURSE))
    other = replace(command, actor=NURSE_2, key=uuid4().hex)
    done = await story.ledger.carry_out(other, lambda s: void(s, order, NINA, NURSE_2))
    assert [receipt.type for receipt in done] == ["package.voided"]


async def test_nobody_accepts_from_themselves_under_another_name(story: Story, engines: Engines) -> None:
    kit = await story.registered(nurse=NINA)
    await offered_by(story, NINA, kit, 1)
    await merged(story, NURSE, engines)
    order = Accept(packages=(ref(kit, 1),))
    with pytest.raises(Refused, match="who offers a package does not accept it"):
        await story.do(NURSE, [kit], lambda s: accept(s, order, NURSE))
    assert await story.do(NURSE_2, [kit], lambda s: accept(s, order, NURSE_2))


async def offered_by(story: Story, giver: Actor, kit: str, *packages: int, to: str | None = None) -> None:
    def decide(seen: Seen) -> Decided:
        order = Offer(
            packages=tuple(ref(kit, package) for package in packages),
            organisation=CENTRE,
            person=to,
            due_at=seen.at + timedelta(hours=3),
        )
        return offer(seen, order, giver, story.directory, "ab" * 16)

    await story.do(giver, [kit], decide)


async def test_nobody_approves_what_they_proposed_under_another_name(story: Story, engines: Engines) -> None:
    kit = await story.registered()
    await merged(story, COORDINATOR, engines)
    async with engines.superuser.connect() as connection:
        await connection.execute(text("SET session_replication_role = replica"))
        await connection.execute(
            text('UPDATE custody.kit SET document = document || \'{"disposal": {"proposed_by": "nina"}}\'')
        )
        approved = text(
            "SELECT custody.check_hands(CAST(:event AS jsonb), s, :kit) FROM custody.step s"
            " WHERE s.type = 'disposal.approved'"
        )
        other = {"event": json.dumps({"who": {"person": NURSE_2.person}}), "kit": kit}
        await connection.execute(approved, other)
        same = {"event": json.dumps({"who": {"person": COORDINATOR.person}}), "kit": kit}
        with pytest.raises(Exception, match="who proposes a disposal does not approve it"):
            await connection.execute(approved, same)


async def test_two_entries_do_not_become_each_other_in_a_circle(story: Story, engines: Engines) -> None:
    await found_to_be(story, NURSE)
    for person, into in (("nora", "nina"), ("nina", "nils"), ("nils", "nils")):
        with pytest.raises(Refused, match="cannot become one person"):
            await record(story, "person.merged", person, {"id": person, "into": into})
    assert await rebuild.check(engines.clerk) == []


async def test_nobody_becomes_another_entry_while_packages_are_in_hand_or_on_the_way(story: Story) -> None:
    kit = await story.registered(nurse=NINA)
    for way in ("in hand", "offered"):
        with pytest.raises(Refused, match="nina has packages, or hand-overs on the way") as refused:
            await found_to_be(story, NURSE)
        assert "finish them first" in str(refused.value), way
        if way == "in hand":
            await offered_by(story, NINA, kit, 1, 2, 3)
    order = Accept(packages=tuple(ref(kit, package) for package in (1, 2, 3)))
    await story.do(NURSE_2, [kit], lambda s: accept(s, order, NURSE_2))
    await found_to_be(story, NURSE)


async def test_nobody_becomes_another_entry_while_an_offer_to_them_is_open(story: Story) -> None:
    kit = await story.registered()
    await offered_by(story, NURSE, kit, 1, to="nina")
    with pytest.raises(Refused, match="hand-overs on the way"):
        await found_to_be(story, NURSE)


async def test_nobody_becomes_another_entry_while_they_propose_something(
    story: Story, engines: Engines
) -> None:
    kit = await story.registered()
    proposal = await story.propose(NINA, kit)
    with pytest.raises(Refused, match="nina has proposals"):
        await found_to_be(story, NURSE)
    async with engines.superuser.begin() as connection:
        await connection.execute(text("DELETE FROM custody.proposal WHERE id = :id"), {"id": proposal})
    await found_to_be(story, NURSE)


async def test_nobody_becomes_another_entry_while_they_read_a_restricted_kit(story: Story) -> None:
    """Otherwise the one person there is would find no kit, and nobody else would either."""
    kit = await story.registered()

    async def read_by(*readers: str, author: Actor) -> None:
        await story.do(
            author,
            [kit],
            lambda s: Decided(facts=(choice(s.kit(kit), "kit.restricted", author, readers=sorted(readers)),)),
        )

    await read_by("nina", "coraline", author=NINA)
    with pytest.raises(Refused, match="name the other entry as reader first"):
        await found_to_be(story, NURSE)
    await read_by("nora", "coraline", author=NINA)
    await found_to_be(story, NURSE)
    assert (await story.look(NURSE, kit)).kits.keys() == {kit}


async def test_an_account_signs_one_person_in_and_can_go_to_another_once_it_is_removed(
    story: Story, engines: Engines
) -> None:
    account = {"issuer": "https://sign-in.example", "login": "night-desk"}
    await record(story, "person.account_added", "nora", {"id": "nora", **account})
    with pytest.raises(Exception, match="account_signs_one_in"):
        await record(story, "person.account_added", "nils", {"id": "nils", **account})
    with pytest.raises(Refused, match="no such account"):
        await record(story, "person.account_removed", "nils", {"id": "nils", **account})
    await record(story, "person.account_removed", "nora", {"id": "nora", **account})
    await record(story, "person.account_added", "nils", {"id": "nils", **account})
    await record(story, "person.account_removed", "nils", {"id": "nils", **account})
    await record(story, "person.account_added", "nora", {"id": "nora", **account})
    assert await rebuild.check(engines.clerk) == []


async def test_only_what_somebody_who_left_holds_is_taken_over(story: Story, engines: Engines) -> None:
    kit = await story.registered()
    order = TakeOver(packages=(ref(kit, 1),), reason="nobody was there")
    with pytest.raises(Refused, match="still works here"):
        await story.do(NURSE_2, [kit], lambda s: take_over(s, order, NURSE_2, story.directory))
    with pytest.raises(Refused, match=r"not yours|with a colleague|Your function"):
        await story.do(NURSE, [kit], lambda s: take_over(s, order, NURSE, story.directory))
    nobody = replace(story.directory, appointments=())
    with pytest.raises(Refused, match="only what somebody who left still holds is taken over"):
        await story.do(NURSE_2, [kit], lambda s: take_over(s, order, NURSE_2, nobody))
    await record(
        story,
        "person.left",
        "nora",
        {"id": "nora", "organisation": CENTRE, "function": "nurse", "until": "2020-06-01"},
    )
    wrong = TakeOver(packages=(ref(kit, 1, seal="S-9999"), ref(kit, 2, condition="broken")), reason="found")
    done = await story.do(NURSE_2, [kit], lambda s: take_over(s, wrong, NURSE_2, nobody))
    assert [receipt.type for receipt in done] == ["seal.found_broken", "package.taken_over"]
    packages = (await story.kit(kit, NURSE_2)).packages
    holders = {n: p.holder.person for n, p in packages.items() if p.holder}
    assert holders == {1: "nora", 2: "nils", 3: "nora"}
    assert await rebuild.check(engines.clerk) == []
