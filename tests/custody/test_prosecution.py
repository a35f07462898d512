"""From the victim's decision, or a judge's order, to the prosecution file; the ways back; who comes first."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from custody.commands import (
    Accept,
    AnswerRequest,
    ConfirmOrder,
    DeclareReport,
    Deposit,
    EndLink,
    EnterOrder,
    Link,
    LinkInError,
    MoveLink,
    Offer,
    PlaceHold,
    ReceiveBack,
    RecordAcceptance,
    ReleaseInError,
    Request,
    WishWithdrawal,
    WithdrawReport,
)
from custody.decision import Decided, Seen
from custody.directory import Directory, Organisation
from custody.handling import deposit
from custody.handover import accept, offer, receive_back, record_acceptance
from custody.kit import Holder, Kit, Policy, Term
from custody.ledger import MovedOn, reading
from custody.people import Actor, OrganisationKind
from custody.prosecution import (
    answer,
    confirm_order,
    declare,
    end_link,
    enter_order,
    link,
    link_in_error,
    move_link,
    release_in_error,
    request,
    waits_for_link_since,
    wish_withdrawal,
    withdraw,
)
from custody.protocol import Custody, Legal, Retention, Trail
from custody.reading import asked_about, open_requests, requests_of, trail
from custody.refusal import NeedsSecond, NotPermitted, NotSeen, Refused
from retention.holds import place_hold
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICE,
    OFFICER,
    OTHER_MAGISTRATE,
    OTHER_NURSE,
    OTHER_OFFICE,
    REGISTRAR,
    REGISTRY,
    ZONE,
    Story,
    do,
    new_number,
    offered,
    ref,
)
from tests.postgres.evidence import ask, link_to_report, matched

pytestmark = pytest.mark.anyio


@pytest.fixture
def story(centre: Story) -> Story:
    return centre


def again(kit: Kit) -> tuple[Term, Policy]:
    """The term as it stood: it still has long to run."""
    assert kit.term is not None
    assert kit.policy is not None
    return kit.term, kit.policy


def the_link(kit: str, **change: str | None) -> Link:
    values: dict[str, str | None] = {"pv": "PV-FICTIEF-1", "notice": "N-1", "office": OFFICE, "zone": ZONE}
    return Link(kit=kit, **{**values, **change})  # type: ignore[arg-type]


def withdrawn(seen: Seen, kit: str) -> Decided:
    order = WithdrawReport(kit=kit, how="in_person")
    return withdraw(seen.kit(kit), order, NURSE, NURSE_2, *again(seen.kit(kit)), directory=Directory())


def linked_in_error(seen: Seen, kit: str) -> Decided:
    order = LinkInError(kit=kit, reason="another person's report")
    return link_in_error(seen.kit(kit), order, COORDINATOR, NURSE, *again(seen.kit(kit)))


async def declared(story: Story) -> str:
    kit = await story.registered()
    order = DeclareReport(kit=kit, how="in_person")
    await do(story, NURSE, kit, lambda s: declare(s.kit(kit), order, NURSE))
    return kit


async def linked(story: Story) -> str:
    kit = await declared(story)
    await link_to_report(story, kit, new_request())
    return kit


async def released(story: Story, *packages: int) -> str:
    kit = await linked(story)
    await offered(story, kit, ZONE, *packages)
    refs = tuple(ref(kit, p) for p in packages)
    await do(story, OFFICER, kit, lambda s: accept(s, Accept(packages=refs), OFFICER))
    return kit


def new_request() -> str:
    return f"{new_number().encode().hex():0<32}"[:32]


async def sees(story: Story, actor: Actor, kit: str) -> bool:
    return kit in (await story.look(actor, kit)).kits


# --- the way there -----------------------------------------------------------------------------------


async def test_a_report_is_matched_linked_and_its_evidence_released_to_the_police(story: Story) -> None:
    kit = await declared(story)
    id_ = new_request()
    assert not await sees(story, OFFICER, kit)
    await ask(story, id_)
    await matched(story, kit, id_)
    assert not await sees(story, OFFICER, kit)
    order = the_link(kit, request=id_)
    await do(story, COORDINATOR, kit, lambda s: link(s.kit(kit), order, COORDINATOR, story.directory))
    assert await sees(story, OFFICER, kit)
    assert await sees(story, MAGISTRATE, kit)
    assert not await sees(story, OTHER_MAGISTRATE, kit)

    await offered(story, kit, ZONE, 1, 2)
    refs = (ref(kit, 1), ref(kit, 2, condition="broken"))
    types = await do(story, OFFICER, kit, lambda s: accept(s, Accept(packages=refs), OFFICER))
    assert types == ["seal.found_broken", "handover.accepted", "kit.released"]
    now = await story.kit(kit)
    assert now.legal is Legal.RELEASED
    assert now.packages[1].holder is not None
    assert now.packages[1].holder.organisation == ZONE
    async with reading(story.ledger.engine, OFFICER) as connection:
        assert await trail(connection, kit, Trail.CHOICES) == []
        assert len(await trail(connection, kit, Trail.CUSTODY)) == now.custody_head.number


async def test_from_the_police_the_evidence_goes_to_the_court_registry_and_ends_there(story: Story) -> None:
    kit = await released(story, 1)
    seen = await story.look(OFFICER, kit)
    on = Offer(packages=(ref(kit, 1),), organisation=REGISTRY, due_at=seen.at + timedelta(hours=2))
    await do(story, OFFICER, kit, lambda s: offer(s, on, OFFICER, story.directory, "cd" * 16))
    await do(story, REGISTRAR, kit, lambda s: accept(s, Accept(packages=(ref(kit, 1),)), REGISTRAR))
    put = Deposit(packages=(ref(kit, 1),), place="vault-1")
    await do(story, REGISTRAR, kit, lambda s: deposit(s, put, REGISTRAR, story.directory))
    assert (await story.kit(kit)).packages[1].state is Custody.DEPOSITED
    with pytest.raises(NotSeen):  # what has ended is in nobody's hands any more
        await do(story, REGISTRAR, kit, lambda s: deposit(s, put, REGISTRAR, story.directory))


async def test_an_officer_without_an_account_signs_on_site_and_the_evidence_is_released(story: Story) -> None:
    kit = await linked(story)
    await offered(story, kit, ZONE, 1)
    order = RecordAcceptance(
        packages=(ref(kit, 1),), receiver="Ilse Inspecteur", receiver_organisation="PZ", signature="ab" * 32
    )
    types = await do(story, NURSE, kit, lambda s: record_acceptance(s, order, NURSE))
    assert types == ["handover.acceptance_recorded", "kit.released"]
    assert (await story.kit(kit)).legal is Legal.RELEASED


async def test_without_a_match_or_an_order_there_is_no_link(story: Story) -> None:
    unreported, reported = await story.registered(), await declared(story)
    for kit in (unreported, reported):
        seen = await story.look(COORDINATOR, kit)
        with pytest.raises(Refused, match="Two staff must confirm"):
            link(seen.kit(kit), the_link(kit), COORDINATOR, story.directory)
    await ask(story, id_ := new_request())
    await matched(story, reported, id_)
    kit_ = await story.kit(reported)
    for change, says in (
        ({"office": ZONE}, "no prosecutor's office"),
        ({"zone": OFFICE}, "no police zone"),
        ({"office": "nowhere"}, "no organisation"),
        ({"request": "ab" * 16}, "was not matched"),
    ):
        with pytest.raises(Refused, match=says):
            link(kit_, the_link(reported, **change), COORDINATOR, story.directory)
    with pytest.raises(NotPermitted):
        link(kit_, the_link(reported), NURSE, story.directory)


# --- requests ----------------------------------------------------------------------------------------


async def test_a_request_waits_for_the_centre_and_the_police_only_ever_see_that_it_was_received(
    story: Story,
) -> None:
    id_, kit = new_request(), await story.registered()
    await ask(story, id_, kit=kit)
    async with reading(story.ledger.engine, CUSTODIAN) as connection:
        assert id_ in [row["id"] for row in await open_requests(connection, CENTRE)]
    seen = await story.look(NURSE, kit)
    with pytest.raises(Refused, match="has not reported"):
        answer(AnswerRequest(request=id_, kit=kit, how="match"), seen.kit(kit), NURSE, NURSE_2)
    for wrong in (
        AnswerRequest(request=id_, how="match"),
        AnswerRequest(request=id_, kit=kit, how="no_match"),
    ):
        with pytest.raises(Refused, match="Name the kit"):
            answer(wrong, seen.kit(kit) if wrong.kit else None, NURSE, NURSE_2)
    no = AnswerRequest(request=id_, how="no_match")
    with pytest.raises(NeedsSecond):
        answer(no, None, NURSE, None)

    async def told() -> list[dict[str, object]]:
        async with reading(story.ledger.engine, OFFICER) as connection:
            return [dict(row) for row in await requests_of(connection, ZONE) if row["id"] == id_]

    before = await told()
    subject = f"request:{id_}"
    await do(story, NURSE, kit, lambda s: answer(no, None, NURSE, NURSE_2), others=(subject,))
    assert await told() == before
    async with reading(story.ledger.engine, CUSTODIAN) as connection:
        assert id_ not in [row["id"] for row in await open_requests(connection, CENTRE)]
    with pytest.raises(Refused, match="waits for this centre"):
        await do(story, NURSE, kit, lambda s: answer(no, None, NURSE, NURSE_2), others=(subject,))


async def test_the_police_ask_centres_and_nobody_else_asks(story: Story) -> None:
    for centre in (ZONE, "nowhere"):
        with pytest.raises(Refused, match="There is no"):
            request(Request(pv="PV-1", centre=centre), OFFICER, story.directory, "ab" * 16)
    with pytest.raises(NotPermitted):
        request(Request(pv="PV-1", centre=CENTRE), NURSE, story.directory, "ab" * 16)


async def test_another_centres_kit_never_answers_a_request(story: Story) -> None:
    kit = await declared(story)
    with pytest.raises(NotSeen):
        answer(
            AnswerRequest(request="ab" * 16, kit=kit, how="match"), await story.kit(kit), OTHER_NURSE, NURSE
        )


# --- orders ------------------------------------------------------------------------------------------

ORDER = {
    "digest": "0d" * 32,
    "authority": "Onderzoeksrechter Avondland (verzonnen)",
    "dated": date(2026, 1, 2),
}


async def ordered(story: Story) -> str:
    kit = await story.registered()
    order = EnterOrder(kit=kit, **ORDER)  # type: ignore[arg-type]
    await do(story, COORDINATOR, kit, lambda s: enter_order(s.kit(kit), order, COORDINATOR, "0f" * 16, s.at))
    return kit


async def the_time(story: Story) -> datetime:
    return (await story.look(COORDINATOR)).at


async def test_an_order_with_a_date_that_is_still_to_come_is_refused(story: Story) -> None:
    kit = await story.registered()
    at = await the_time(story)
    tomorrow = EnterOrder(kit=kit, **{**ORDER, "dated": at.date() + timedelta(days=2)})  # type: ignore[arg-type]
    with pytest.raises(Refused, match="still to come") as refusal:
        enter_order(await story.kit(kit), tomorrow, COORDINATOR, "ab" * 16, at)
    assert refusal.value.field == "dated"


async def test_a_judges_order_holds_at_once_is_confirmed_by_a_second_person_and_links(story: Story) -> None:
    kit = await ordered(story)
    held = await story.kit(kit)
    assert [h.ground for h in held.holds.values()] == ["order"]
    with pytest.raises(Refused, match="second person must confirm"):
        link(held, the_link(kit), COORDINATOR, story.directory)
    again, at = EnterOrder(kit=kit, **ORDER), await the_time(story)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="entered for this kit already"):
        enter_order(held, again, COORDINATOR, "ab" * 16, at)
    right, wrong = ConfirmOrder(kit=kit, digest="0d" * 32), ConfirmOrder(kit=kit, digest="0e" * 32)
    with pytest.raises(Refused, match="not the order that was entered"):
        confirm_order(held, wrong, NURSE, COORDINATOR)
    with pytest.raises(Refused, match="another person's"):
        confirm_order(held, right, COORDINATOR, COORDINATOR)
    await do(story, NURSE, kit, lambda s: confirm_order(s.kit(kit), right, NURSE, COORDINATOR))
    with pytest.raises(Refused, match="No order waits"):
        confirm_order(await story.kit(kit), right, NURSE, COORDINATOR)
    types = await do(
        story, COORDINATOR, kit, lambda s: link(s.kit(kit), the_link(kit), COORDINATOR, story.directory)
    )
    assert types == ["kit.linked_by_order"]
    now = await story.kit(kit)
    assert now.link is not None
    assert (now.link.ground, now.legal, now.retention) == ("order", Legal.LINKED, Retention.STOPPED)
    assert await sees(story, OFFICER, kit)

    await do(story, COORDINATOR, kit, lambda s: linked_in_error(s, kit))
    now = await story.kit(kit)
    assert (now.legal, now.retention, now.link, now.order) == (
        Legal.UNREPORTED,
        Retention.RUNNING,
        None,
        None,
    )
    assert now.holds  # lifted only by a written order
    assert not await sees(story, OFFICER, kit)


# --- the ways back -------------------------------------------------------------------------------------


async def test_a_report_withdrawn_before_the_link_takes_two_people_and_leaves_offers_within_the_house(
    story: Story,
) -> None:
    kit = await declared(story)
    await offered(story, kit, CENTRE, 1)
    seen = await story.look(NURSE, kit)
    order = WithdrawReport(kit=kit, how="in_person")
    with pytest.raises(NeedsSecond):
        withdraw(seen.kit(kit), order, NURSE, None, *again(seen.kit(kit)), directory=Directory())
    with pytest.raises(Refused, match="another person's"):
        withdraw(seen.kit(kit), order, NURSE, NURSE, *again(seen.kit(kit)), directory=Directory())
    types = await do(story, NURSE, kit, lambda s: withdrawn(s, kit))
    assert types == ["report.withdrawn"]
    now = await story.kit(kit)
    assert (now.legal, now.retention, len(now.handovers)) == (Legal.UNREPORTED, Retention.RUNNING, 1)
    assert now.reported_at is None


@pytest.mark.parametrize(("to", "cancelled"), [(ZONE, True), ("lab-invented", False), ("nobody-here", True)])
async def test_a_withdrawal_takes_back_offers_to_the_police_and_not_to_the_laboratory(
    story: Story, to: str, cancelled: bool
) -> None:
    number = await declared(story)
    await offered(story, number, CENTRE, 1)
    kit = (await story.look(NURSE, number)).kit(number)
    (way,) = kit.handovers.values()
    kit = replace(kit, handovers={way.id: replace(way, receiver=Holder(organisation=to))})
    laboratory = Organisation(id="lab-invented", kind=OrganisationKind.LABORATORY, name="Invented laboratory")
    known = {**story.directory.organisations, laboratory.id: laboratory}
    order = WithdrawReport(kit=number, how="in_person")
    decided = withdraw(kit, order, NURSE, NURSE_2, *again(kit), directory=Directory(organisations=known))
    types = [f.type for f in decided.facts]
    assert types == [*(["handover.cancelled"] if cancelled else []), "report.withdrawn"]


async def test_after_the_link_the_wish_is_recorded_and_only_the_office_ends_the_link(story: Story) -> None:
    kit = await linked(story)
    with pytest.raises(Refused, match="record the wish"):
        withdrawn(await story.look(NURSE, kit), kit)
    wish = WishWithdrawal(kit=kit, how="by_phone")
    await do(story, NURSE, kit, lambda s: wish_withdrawal(s.kit(kit), wish, NURSE))
    assert (await story.kit(kit)).legal is Legal.LINKED
    letter = EndLink(kit=kit, letter="1e" * 32, reason="no prosecution")

    def ended(seen: Seen) -> Decided:
        return end_link(seen.kit(kit), letter, COORDINATOR, NURSE, *again(seen.kit(kit)))

    assert await do(story, COORDINATOR, kit, ended) == ["link.ended", "term.restarted"]
    now = await story.kit(kit)
    assert (now.legal, now.retention, now.matches) == (Legal.UNREPORTED, Retention.RUNNING, ())
    assert not await sees(story, OFFICER, kit)
    assert not await sees(story, MAGISTRATE, kit)


async def test_a_link_in_error_ends_access_at_once_takes_offers_back_and_the_match_with_it(
    story: Story,
) -> None:
    kit = await linked(story)
    await offered(story, kit, ZONE, 1)
    on_the_way = await story.look(OFFICER, kit)
    assert await do(story, COORDINATOR, kit, lambda s: linked_in_error(s, kit)) == [
        "handover.cancelled",
        "link.in_error",
    ]
    with pytest.raises(NotSeen):
        (await story.look(OFFICER, kit)).kit(kit)
    refs = Accept(packages=(ref(kit, 1),))
    with pytest.raises(MovedOn):
        await story.append(OFFICER, on_the_way, accept(on_the_way, refs, OFFICER))
    with pytest.raises(NotSeen):
        await do(story, OFFICER, kit, lambda s: accept(s, refs, OFFICER))
    now = await story.kit(kit)
    assert (now.legal, now.retention) == (Legal.DECLARED, Retention.STOPPED)
    with pytest.raises(Refused, match="Two staff must confirm"):
        link(now, the_link(kit), COORDINATOR, story.directory)


async def test_evidence_released_in_error_comes_back_sealed_even_from_one_who_no_longer_sees_it(
    story: Story,
) -> None:
    kit = await released(story, 1)
    with pytest.raises(Refused, match="the kit is released"):
        await do(story, COORDINATOR, kit, lambda s: linked_in_error(s, kit))
    wrong = ReleaseInError(kit=kit, reason="another kit was meant")
    await do(story, COORDINATOR, kit, lambda s: release_in_error(s.kit(kit), wrong, COORDINATOR, NURSE))
    assert (await story.kit(kit)).legal is Legal.LINKED
    await do(story, COORDINATOR, kit, lambda s: linked_in_error(s, kit))
    assert not await sees(story, OFFICER, kit)  # though a package lies in the officer's hands
    back = ReceiveBack(packages=(ref(kit, 1),), giver=str(OFFICER.name), giver_organisation=ZONE)
    await do(story, NURSE, kit, lambda s: receive_back(s, back, NURSE, story.directory))
    package = (await story.kit(kit)).packages[1]
    assert (package.state, package.seal_broken) == (Custody.SEALED, False)
    assert package.holder is not None
    assert package.holder.person == NURSE.person


async def test_the_rules_alone_tell_justice_nothing_of_a_kit_that_is_not_linked(story: Story) -> None:
    kit = await released(story, 1)
    wrong = ReleaseInError(kit=kit, reason="another kit was meant")
    await do(story, COORDINATOR, kit, lambda s: release_in_error(s.kit(kit), wrong, COORDINATOR, NURSE))
    await do(story, COORDINATOR, kit, lambda s: linked_in_error(s, kit))
    leaked = await story.look(NURSE, kit)  # as if row-level security had failed
    seen_at = leaked.at + timedelta(hours=1)
    on = Offer(packages=(ref(kit, 1),), organisation=CENTRE, due_at=seen_at)
    with pytest.raises(NotSeen):
        offer(leaked, on, OFFICER, story.directory, "ab" * 16)


async def test_another_office_takes_the_file_and_the_first_sees_it_no_more(story: Story) -> None:
    kit = await linked(story)
    order = MoveLink(kit=kit, notice="N-2", office=OTHER_OFFICE)
    await do(story, COORDINATOR, kit, lambda s: move_link(s.kit(kit), order, COORDINATOR, story.directory))
    assert await sees(story, OTHER_MAGISTRATE, kit)
    assert not await sees(story, MAGISTRATE, kit)
    assert await sees(story, OFFICER, kit)
    unlinked = await story.kit(await declared(story))
    with pytest.raises(Refused, match="not linked"):
        move_link(unlinked, order, COORDINATOR, story.directory)


async def test_a_report_that_nobody_links_is_work_for_people_after_ninety_days(story: Story) -> None:
    kit = await story.kit(await declared(story))
    assert kit.reported_at is not None
    day = kit.reported_at.date()
    assert not waits_for_link_since(kit, 90, day + timedelta(days=89))
    assert waits_for_link_since(kit, 90, day + timedelta(days=90))
    assert not waits_for_link_since(await story.kit(await linked(story)), 90, day + timedelta(days=900))


# --- who comes first -----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["link", "withdrawal"])
async def test_of_link_and_withdrawal_seen_at_one_head_the_first_stands(story: Story, first: str) -> None:
    kit = await declared(story)
    await ask(story, id_ := new_request())
    await matched(story, kit, id_)
    seen = await story.look(COORDINATOR, kit)
    decided = {
        "link": (COORDINATOR, link(seen.kit(kit), the_link(kit), COORDINATOR, story.directory)),
        "withdrawal": (NURSE, withdrawn(seen, kit)),
    }
    winner, winning = decided.pop(first)
    ((loser, losing),) = decided.values()
    await story.append(winner, seen, winning)
    with pytest.raises(MovedOn):
        await story.append(loser, seen, losing)
    now = await story.look(COORDINATOR, kit)
    if first == "link":
        assert now.kit(kit).legal is Legal.LINKED
        with pytest.raises(Refused, match="record the wish"):
            withdrawn(now, kit)
    else:
        assert now.kit(kit).legal is Legal.UNREPORTED
        with pytest.raises(Refused, match="Two staff must confirm"):
            link(now.kit(kit), the_link(kit), COORDINATOR, story.directory)


async def test_of_two_links_at_one_head_one_stands(story: Story) -> None:
    kit = await declared(story)
    await ask(story, id_ := new_request())
    await matched(story, kit, id_)
    seen = await story.look(COORDINATOR, kit)
    for notice, wins in (("N-1", True), ("N-2", False)):
        made = link(seen.kit(kit), the_link(kit, notice=notice), COORDINATOR, story.directory)
        if wins:
            await story.append(COORDINATOR, seen, made)
            continue
        with pytest.raises(MovedOn):
            await story.append(COORDINATOR, seen, made)
    stands = (await story.kit(kit)).link
    assert stands is not None
    assert stands.notice == "N-1"


async def test_a_hold_placed_in_between_makes_an_offer_be_decided_again(story: Story) -> None:
    kit = await story.registered()
    seen = await story.look(NURSE, kit)
    order = Offer(packages=(ref(kit, 1),), organisation=CENTRE, due_at=seen.at + timedelta(hours=1))
    made = offer(seen, order, NURSE, story.directory, "ab" * 16)
    hold = PlaceHold(kit=kit, ground="centre", reason="a question")
    await do(
        story, COORDINATOR, kit, lambda s: place_hold(s.kit(kit), hold, COORDINATOR, "ef" * 16, (), s.at)
    )
    with pytest.raises(MovedOn):
        await story.append(NURSE, seen, made)
    await do(story, NURSE, kit, lambda s: offer(s, order, NURSE, story.directory, "ab" * 16))
    assert (await story.kit(kit)).in_transit == 1


async def test_a_report_declared_in_between_makes_an_order_be_looked_at_again(story: Story) -> None:
    kit = await story.registered()
    seen = await story.look(COORDINATOR, kit)
    order = EnterOrder(kit=kit, **ORDER)  # type: ignore[arg-type]
    entered = enter_order(seen.kit(kit), order, COORDINATOR, "ab" * 16, seen.at)
    told = DeclareReport(kit=kit, how="in_person")
    await do(story, NURSE, kit, lambda s: declare(s.kit(kit), told, NURSE))
    with pytest.raises(MovedOn):
        await story.append(COORDINATOR, seen, entered)


async def test_a_kit_is_linked_to_the_report_and_zone_that_the_matched_request_named(story: Story) -> None:
    kit = await declared(story)
    await ask(story, id_ := new_request())
    await matched(story, kit, id_)
    now = await story.kit(kit)
    async with reading(story.ledger.engine, COORDINATOR) as connection:
        asked = await asked_about(connection, [id_])
    pv, zone = asked[id_]
    assert zone == ZONE
    with pytest.raises(Refused, match="named another report"):
        link(now, the_link(kit, pv="PV-ANOTHER"), COORDINATOR, story.directory, asked)
    assert link(now, the_link(kit, pv=pv), COORDINATOR, story.directory, asked).facts[0].type == "kit.linked"
