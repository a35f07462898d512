"""The boundary of reading in the database itself: stories told to plain SQL, as the service's role."""

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from custody import access
from custody.event import Fact, Head, place_in_trail
from custody.kit import Handover, Hold, Holder, Kit, Link, Package, from_document, to_document
from custody.people import STAFF, Actor, Function
from custody.permission import as_known, kept_out
from custody.protocol import Custody, Legal
from custody.refusal import Refused
from desk.postgres import EmbeddedServer
from tests.conftest import MOVABLE, Database, Engines, _fresh
from tests.custody.story import (
    ANALYST,
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    LAB,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICE,
    OFFICER,
    OTHER_CENTRE,
    OTHER_NURSE,
    OTHER_OFFICE,
    PEOPLE,
    REGISTRAR,
    REGISTRY,
    ZONE,
    Story,
    begin,
    do,
    seal_of,
)
from tests.postgres.test_reading import KITS_OF, OF_CENTRE
from tests.postgres.world import (
    AUDITOR,
    EVERYBODY,
    OTHER_OFFICER,
    READERS,
    SECOND_ANALYST,
    TALES,
    World,
    cards,
    may_know,
    named,
    restricted,
    told,
)
from tests.retention.kept import kit_of

CHOICES = {
    *("choices_head", "retention", "age_class", "policy", "term", "notice_due_at", "decided_by"),
    *("language", "channel", "card", "reported_at", "destruction", "disposal", "disposed_at"),
    *("key_destroyed_at", "asked", "readers", "channel_proved_at", "extensions", "remind_on", "attempts"),
    *("expires_at", "of_age_at", "term_before_wish"),
}
"""What other organisations never learn of a kit."""
OF_THE_KIT = {
    *("number", "centre", "examined_on", "registered_at", "custody_head", "legal"),
    *("link", "linked_at", "released_at"),
}
OF_PACKAGES = {"packages", "items", "labels", "handovers", "findings"}
"""As far as they are about the packages that the organisation has, or is offered."""
OF_THE_OFFICE = {"holds"}
"""Those of magistrates, where the kit is linked to their office; of the others nobody else learns."""
WHERE_LINKED = {"order", "matches", "opened_to_centre_at"}


def test_every_field_of_a_kit_is_the_victims_choice_or_told_to_somebody() -> None:
    classes = (CHOICES, OF_THE_KIT, OF_PACKAGES, OF_THE_OFFICE, WHERE_LINKED)
    assert set().union(*classes) == {field.name for field in dataclasses.fields(Kit)}
    assert sum(map(len, classes)) == len(dataclasses.fields(Kit))


@pytest.fixture(scope="module")
def world(server: EmbeddedServer) -> Iterator[World]:
    for database in _fresh(server, MOVABLE):
        numbers, kits = asyncio.run(told(database, *TALES))
        with database.connect("service") as connection:
            yield World(service=connection, numbers=numbers, kits=kits)


# --- the view and the rules say the same -------------------------------------------------------------


def test_each_person_knows_of_the_kits_that_the_table_of_permissions_opens_and_of_no_other(
    world: World,
) -> None:
    for actor in (*EVERYBODY, *cards(world)):
        allowed = {number for number, kit in world.kits.items() if may_know(actor, kit)}
        assert set(world.known(actor)) == allowed, actor
    assert world.known(None) == {}


def test_what_is_shown_of_a_kit_is_exactly_what_the_rules_leave_of_it(world: World) -> None:
    shown = set()
    for actor in (*EVERYBODY, *cards(world)):
        for number, (relation, document) in world.known(actor).items():
            whole = world.kits[number]
            # For its centre and the victim the view shows the whole; what a release leaves is cut in Python.
            known = whole if relation in ("own_kit", "of_its_centre") else as_known(actor, whole)
            assert document == to_document(known), (actor, number)
            assert as_known(actor, from_document(Kit, document)) == as_known(actor, whole)
            shown.add(relation)
    assert shown == {"own_kit", "of_its_centre", "linked", "in_hands", "in_person"}


def test_the_columns_beside_the_document_tell_parties_nothing_of_the_term(world: World) -> None:
    query = "SELECT number, relation, centre, legal, retention, term_over_at FROM custody.known_kit"
    for actor in EVERYBODY:
        for number, relation, centre, legal, retention, over_at in world.ask(actor, query):
            kit = world.kits[number]
            assert (centre, legal) == (kit.centre, kit.legal)
            if relation == "of_its_centre":
                assert kit.term is not None
                assert (retention, over_at) == (kit.retention, kit.term.over_at)
            else:
                assert (retention, over_at) == (None, None)


HOLDERS = [
    None,
    *(Holder(name=a.name, person=a.person, organisation=a.organisation) for a in PEOPLE),
    Holder(name="somebody without an account", organisation=LAB),
]
WAYS = [f"{n:02x}" * 16 for n in range(4)]


@st.composite
def kits(draw: st.DrawFn, whole: Sequence[Kit]) -> Kit:
    """A kit of the world with other hands, offers, law and readers than ever came about."""
    kit = draw(st.sampled_from(whole))

    def package(number: int) -> Package:
        change = {
            "state": draw(st.sampled_from(Custody)),
            "holder": draw(st.sampled_from(HOLDERS)),
            "place": draw(st.sampled_from([None, kit.packages[number].place])),
            "handover": draw(st.sampled_from([None, *WAYS])),
        }
        return replace(kit.packages[number], **change)

    def way(id_: str) -> Handover:
        return Handover(
            id=id_,
            packages=tuple(draw(st.sets(st.sampled_from(sorted(kit.packages)), min_size=1))),
            giver=HOLDERS[1] or Holder(),
            receiver=draw(
                st.sampled_from(
                    [*(h for h in HOLDERS if h), *(Holder(organisation=o) for o in (LAB, CENTRE))]
                )
            ),
            offered_at=kit.registered_at,
            due_at=kit.registered_at,
        )

    link = Link(
        ground="report",
        pv="PV-FICTIEF-2",
        notice="N-2",
        office=draw(st.sampled_from([OFFICE, OTHER_OFFICE])),
        zone=draw(st.sampled_from([ZONE, "pz-avondrood"])),
    )
    return replace(
        kit,
        packages={number: package(number) for number in kit.packages},
        handovers={id_: way(id_) for id_ in draw(st.sets(st.sampled_from(WAYS)))},
        legal=draw(st.sampled_from(Legal)),
        link=draw(st.sampled_from([None, link])),
        readers=draw(st.sampled_from([(), READERS])),
        holds={g: Hold(id=g, ground=g) for g in draw(st.sets(st.sampled_from(["centre", "magistrate"])))},
    )


def test_any_kit_is_cut_by_the_database_as_the_rules_cut_it(world: World) -> None:
    whole = sorted(world.kits.values(), key=lambda kit: kit.number)

    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(kits(whole), st.sampled_from(EVERYBODY))
    def compare(kit: Kit, actor: Actor) -> None:
        if actor.organisation == kit.centre and not kept_out(actor, kit):
            return  # sees it whole
        cut = "SELECT custody.known_document(%s, %s, %s)"
        row = world.ask(None, cut, Jsonb(to_document(kit)), actor.organisation, actor.person)
        assert row == [(to_document(as_known(actor, kit)),)]

    compare()


def test_the_office_of_the_link_alone_knows_the_holds_of_its_magistrates() -> None:
    link = Link(ground="report", pv="PV-FICTIEF-2", notice="N-2", office=OFFICE, zone=ZONE)
    holds = {each: Hold(id=each, ground=each) for each in ("centre", "magistrate", "safety")}
    kit = replace(kit_of(), legal=Legal.LINKED, link=link, holds=holds)
    assert set(as_known(MAGISTRATE, kit).holds) == {"magistrate"}
    elsewhere = replace(MAGISTRATE, organisation=OTHER_OFFICE)
    for other in (OFFICER, elsewhere, OTHER_NURSE, ANALYST):
        assert not as_known(other, kit).holds
    assert not as_known(MAGISTRATE, replace(kit, link=replace(link, office=OTHER_OFFICE))).holds
    assert not as_known(MAGISTRATE, replace(kit, legal=Legal.DECLARED, link=None)).holds


# --- stories -----------------------------------------------------------------------------------------


def test_a_laboratory_sees_its_package_and_nothing_of_the_others_or_of_what_was_chosen(world: World) -> None:
    kit = world.numbers["two at two"]
    assert world.ask(ANALYST, "SELECT package FROM custody.package WHERE kit = %s", kit) == [(1,)]
    relation, document = world.known(ANALYST)[kit]
    assert (relation, set(document["packages"])) == ("in_hands", {"1"})
    assert {item["package"] for item in document["items"].values()} == {1}
    assert document.get("findings") is None, "the broken seal was found on another's package"
    told = json.dumps(document)
    for other in (seal_of(2), seal_of(3), "mira", 'age_class": "adult', "over_at", "email"):
        assert other not in told
    assert world.ask(ANALYST, "SELECT count(*) FROM custody.kit") == [(0,)]


def test_a_laboratory_reads_of_the_trail_what_it_wrote_itself_and_no_more(world: World) -> None:
    kit = world.numbers["two at two"]
    trail = (
        "SELECT convert_from(bytes, 'UTF8')::json #>> '{who,person}', type FROM custody.event WHERE kit = %s"
    )
    assert world.ask(ANALYST, trail, kit) == [("ana", "handover.accepted")]
    assert {person for person, _ in world.ask(OTHER_NURSE, trail, kit)} == {"mira"}
    assert {person for person, _ in world.ask(NURSE, trail, kit)} == {"nora", "ana", "mira"}


def test_an_offer_to_one_analyst_is_nothing_to_a_colleague(world: World) -> None:
    kit = world.numbers["offered to one analyst"]
    assert kit in world.known(ANALYST)
    assert kit not in world.known(SECOND_ANALYST)
    to_all = world.numbers["offered to the lab"]
    assert to_all in world.known(SECOND_ANALYST)


def test_before_the_link_police_and_prosecutor_see_nothing_and_then_the_trail_and_every_package(
    world: World,
) -> None:
    for actor in (OFFICER, MAGISTRATE):
        for before in ("unreported", "declared", "at the lab"):
            for what, query in KITS_OF.items():
                if what != "look":
                    assert world.numbers[before] not in {row[0] for row in world.ask(actor, query)}, what
        kit = world.numbers["linked and at the lab"]
        assert len(world.ask(actor, "SELECT package FROM custody.package WHERE kit = %s", kit)) == 3
        events = world.ask(actor, "SELECT DISTINCT trail FROM custody.event WHERE kit = %s", kit)
        assert events == [("custody",)]
        count = "SELECT count(*) FROM custody.event WHERE kit = %s AND trail = 'custody'"
        assert world.ask(actor, count, kit) == world.ask(NURSE, count, kit)
    assert world.known(OTHER_OFFICER) == {}


def test_the_registry_sees_what_is_offered_to_it_and_no_trail(world: World) -> None:
    kit = world.numbers["at the registry"]
    assert set(world.known(REGISTRAR)) == {kit}
    assert world.ask(REGISTRAR, "SELECT package FROM custody.package") == [(1,)]
    assert world.ask(REGISTRAR, "SELECT type FROM custody.event WHERE kit = %s", kit) == []


def test_another_centre_that_keeps_one_package_is_as_blind_as_any_other_party(world: World) -> None:
    kit = world.numbers["two at two"]
    relation, document = world.known(OTHER_NURSE)[kit]
    assert (relation, set(document["packages"])) == ("in_hands", {"2"})
    assert {row[0] for row in world.ask(OTHER_NURSE, "SELECT number FROM custody.kit")} == {
        world.numbers["of other centre"]
    }


RESTRICTED = ("restricted", "restricted and at the lab", "restricted and linked", "restricted and in hands")


def test_a_restricted_kit_is_for_its_readers_and_in_no_table_for_a_colleague(world: World) -> None:
    shut = {world.numbers[what] for what in RESTRICTED}
    for number in shut:
        world.propose(number.lower(), NURSE, number)
    for reader in (NURSE, COORDINATOR):
        for what in OF_CENTRE:
            values = () if what != "look" else None
            if values is not None:
                assert shut <= {row[0] for row in world.ask(reader, KITS_OF[what])}, what
        assert shut <= {row[0] for row in world.ask(reader, KITS_OF["proposal"])}
    for what, query in KITS_OF.items():
        if what == "look":
            continue
        assert not shut & {row[0] for row in world.ask(NURSE_2, query)}, what
        # The custodian, who is no reader either, has a package of one in the hands.
        seen = shut & {row[0] for row in world.ask(CUSTODIAN, query)}
        in_hands = {world.numbers["restricted and in hands"]} if what in ("known kit", "package") else set()
        assert seen == in_hands, what
    look = "SELECT documents FROM custody.look(%s, %s)"
    ((documents,),) = world.ask(None, look, Jsonb(NURSE_2.context()), sorted(world.kits))
    assert not shut & documents.keys()
    ((documents,),) = world.ask(None, look, Jsonb(NURSE.context()), sorted(world.kits))
    assert shut <= documents.keys()
    assert world.numbers["lifted"] in world.known(NURSE_2)


def test_who_is_no_reader_still_answers_for_what_is_in_the_own_hands(world: World) -> None:
    kit = world.numbers["restricted and in hands"]
    relation, document = world.known(CUSTODIAN)[kit]
    assert (relation, set(document["packages"])) == ("in_person", {"1", "2"})
    packages = "SELECT package FROM custody.package WHERE kit = %s ORDER BY package"
    assert world.ask(CUSTODIAN, packages, kit) == [(1,), (2,)]
    assert world.ask(CUSTODIAN, "SELECT type FROM custody.event WHERE kit = %s", kit) == []


def test_police_card_and_laboratory_notice_nothing_of_a_restriction(world: World) -> None:
    for plain, shut in (("linked", "restricted and linked"), ("at the lab", "restricted and at the lab")):
        for actor in (OFFICER, ANALYST):
            before, now = (world.known(actor).get(world.numbers[what]) for what in (plain, shut))
            assert (before is None) == (now is None)
            if before is not None and now is not None:
                assert before[1].keys() == now[1].keys()
                assert "readers" not in now[1]
    card = Actor(function=Function.VICTIM, card=world.numbers["restricted"])
    assert set(world.known(card)) == {world.numbers["restricted"]}
    assert world.ask(card, "SELECT DISTINCT trail FROM custody.event WHERE kit IS NOT NULL ORDER BY 1") == [
        ("choices",),
        ("custody",),
    ]


# --- whoever asks, whatever they ask ----------------------------------------------------------------


@pytest.mark.parametrize("function", list(Function))
def test_plain_selects_under_any_function_show_no_kit_that_the_rules_close(
    world: World, function: Function
) -> None:
    organisations = (CENTRE, OTHER_CENTRE, ZONE, OFFICE, LAB, REGISTRY, None)
    people = ("nora", "casper", "nils", "ana", "oscar", None)
    for organisation in organisations:
        for person in people:
            actor = Actor(function=function, person=person, organisation=organisation)
            open_ = {number for number, kit in world.kits.items() if may_know(actor, kit)}
            of_centre = {
                number
                for number in open_
                if function in STAFF
                and world.kits[number].centre == organisation
                and not kept_out(actor, world.kits[number])
            }
            for what, query in KITS_OF.items():
                if what in ("look", "access"):
                    continue  # a look is for deciding; the coordinator reviews every reading of the centre
                rows = {row[0] for row in world.ask(actor, query)} & set(world.kits)
                closed = what in ("kit", "choices trail", "data key", "private part")
                assert rows <= (of_centre if closed else open_), (what, actor)


def test_a_card_in_the_context_of_anybody_but_the_victim_opens_nothing(world: World) -> None:
    kit = world.numbers["unreported"]
    for function in set(Function) - {Function.VICTIM}:
        actor = Actor(function=function, card=kit)
        assert world.known(actor) == {}
        assert world.ask(actor, "SELECT number FROM custody.kit") == []


def test_a_proposal_is_for_who_may_sign_it_and_for_nobody_in_another_function(world: World) -> None:
    world.propose("at-the-centre", NURSE, world.numbers["linked"])
    world.propose("of-the-police", OFFICER, world.numbers["linked"])

    def sees(actor: Actor) -> set[str]:
        query = "SELECT id FROM custody.proposal WHERE id IN ('at-the-centre', 'of-the-police')"
        return {row[0] for row in world.ask(actor, query)}

    assert sees(NURSE_2) == sees(COORDINATOR) == {"at-the-centre"}
    assert sees(OFFICER) == {"of-the-police"}, "it is the officer's own"
    assert sees(replace(OFFICER, person="olaf")) == set()
    assert sees(replace(NURSE_2, function=Function.AUDITOR)) == set()
    assert sees(OTHER_NURSE) == set()
    drop = "SELECT custody.drop_proposal('at-the-centre')"
    for actor in (OTHER_NURSE, replace(NURSE_2, function=Function.AUDITOR)):
        assert world.ask(actor, drop) == [(False,)]
    assert world.ask(NURSE_2, drop) == [(True,)]


# --- who is named, and by whom -----------------------------------------------------------------------


@pytest.fixture
async def story(engines: Engines) -> Story:
    return await begin(engines.service, engines.clerk)


@pytest.fixture
def service(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect("service") as connection:
        yield connection


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("readers", "says"),
    [
        (["nora", "nils"], "a coordinator of the centre is among the readers"),
        (["nora", "coraline", "mira"], "works at its centre"),
        (["nora", "coraline", "oscar"], "works at its centre"),
        (["coraline", "nobody"], "works at its centre"),
    ],
)
async def test_the_database_itself_refuses_readers_who_do_not_work_there_or_without_a_coordinator(
    story: Story, readers: list[str], says: str
) -> None:
    kit = await story.registered()
    with pytest.raises(Refused) as refused:
        await do(story, NURSE, kit, lambda s: named(s.kit(kit), readers))
    assert says in str(refused.value.values)
    assert (await story.kit(kit, NURSE_2)).readers == ()


@pytest.mark.anyio
async def test_the_projection_cannot_name_other_readers_than_the_event(
    story: Story, database: Database
) -> None:
    kit = await restricted(story, await story.registered())
    with database.connect("superuser") as connection:
        found = connection.execute("SELECT readers, document FROM custody.kit WHERE number = %s", [kit])
        readers, document = found.fetchone() or (None, {})
        assert tuple(readers) == READERS == tuple(document["readers"])
        for told in ({}, {"readers": ["coraline"]}, {"readers": [*READERS, "nils"]}):
            other = {k: v for k, v in document.items() if k != "readers"} | told
            with pytest.raises(psycopg.Error, match="does not follow from its events") as refused:
                connection.execute("SELECT custody.apply_document(%s, %s)", [kit, Jsonb(other)])
            assert refused.value.sqlstate == "CU004"


# --- breaking the glass ------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_glass_is_open_for_that_person_and_that_kit_for_one_hour(
    story: Story, engines: Engines, service: psycopg.Connection, advance: Callable[[timedelta], None]
) -> None:
    kit, other = await restricted(story, await story.registered()), await story.registered()
    await restricted(story, other)
    world = World(service=service, numbers={}, kits={})
    assert kit not in world.known(NURSE_2)
    await access.break_glass(engines.service, NURSE_2, kit=kit, reason="victim_in_danger")
    glass = "SELECT custody.glass_open(%s, %s)"
    assert world.ask(None, glass, kit, "nils") == [(True,)]
    assert world.ask(None, glass, kit, "casper") == world.ask(None, glass, other, "nils") == [(False,)]
    assert set(world.known(NURSE_2)) == {kit}
    assert {row[0] for row in world.ask(NURSE_2, KITS_OF["private part"])} == {kit}
    assert (await story.look(NURSE_2, kit, other)).kits.keys() == {kit}
    assert world.known(CUSTODIAN) == {}
    assert world.known(replace(NURSE_2, organisation=OTHER_CENTRE)) == {}
    assert world.known(replace(NURSE_2, function=Function.AUDITOR)) == {}
    advance(timedelta(minutes=59))
    assert set(world.known(NURSE_2)) == {kit}
    advance(timedelta(minutes=1))
    assert world.known(NURSE_2) == {}
    assert (await story.look(NURSE_2, kit)).kits == {}


@pytest.mark.anyio
async def test_no_glass_breaks_for_another_centre_or_by_a_reading_of_another_kind(
    story: Story, engines: Engines, service: psycopg.Connection
) -> None:
    kit = await restricted(story, await story.registered())
    world = World(service=service, numbers={}, kits={})
    for actor in (OTHER_NURSE, OFFICER, ANALYST):
        reason = {"reason": "victim_in_danger"}
        await access.record(
            engines.service, actor, read="break_glass", kit=kit, purpose="break_glass", **reason
        )
        assert world.ask(None, "SELECT custody.glass_open(%s, %s)", kit, actor.person) == [(False,)]
        assert kit not in world.known(actor)
    await access.record(engines.service, NURSE_2, read="kit_read", kit=kit, purpose="break_glass")
    assert world.known(NURSE_2) == {}


# --- readings ----------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("subject", "who", "kit"),
    [
        ("reads:nils", NURSE, None),
        ("reads:nora", replace(NURSE, function=Function.COORDINATOR), None),
        ("reads:nora", replace(NURSE, organisation=OTHER_CENTRE), None),
        ("reads:nora", replace(NURSE, name="Nora Anders"), None),
        ("reads:nobody", replace(NURSE, person="nobody"), None),
        ("reads:clock", Actor(function=Function.CLOCK), None),
        ("reads:card-000000000000", Actor(function=Function.VICTIM, card="0" * 12), None),
        ("reads:card-000000000000", Actor(function=Function.VICTIM, card="0" * 12), "1" * 12),
        ("reads:card-000000000000", NURSE, "0" * 12),
        ("reads:nora", Actor(function=Function.VICTIM, card="0" * 12), "0" * 12),
    ],
    ids=lambda value: str(value.function) if isinstance(value, Actor) else str(value),
)
async def test_nobody_reads_in_another_ones_name(
    story: Story, service: psycopg.Connection, subject: str, who: Actor, kit: str | None
) -> None:
    at = (await story.look(NURSE)).at
    fields = {"read": "kit_read", "purpose": "task"} | ({"kit": kit} if kit else {})
    fact = Fact(type="access.recorded", subject=subject, who=who.who(), fields=fields)
    event = place_in_trail(fact, Head(), at, bytes(16))
    with pytest.raises(psycopg.Error, match="names another reader than its trail"):
        service.execute("SELECT custody.record_access(0, %s, %s)", [event.bytes, kit])


# --- quick, and without a trace ----------------------------------------------------------------------


def test_a_pooled_connection_keeps_nothing_of_the_last_reader(world: World) -> None:
    count = "SELECT count(*) FROM custody.known_kit"
    look = "SELECT documents FROM custody.look(%s, %s)"
    for _ in range(8):  # prepared by now, and planned for anybody
        for actor, fewest in ((NURSE, 10), (OFFICER, 3), (AUDITOR, 0)):
            ((seen,),) = world.ask(actor, count)
            assert (seen >= fewest) if fewest else (seen == 0)
            assert world.ask(None, count) == [(0,)]
        ((documents,),) = world.ask(None, look, Jsonb(NURSE.context()), sorted(world.kits))
        assert len(documents) >= 10
        assert world.ask(None, count) == [(0,)]


@pytest.fixture(scope="module")
def crowded(server: EmbeddedServer) -> Iterator[tuple[World, Database]]:
    """Two kits among thousands of a dozen other centres, put there by a superuser's hand."""
    for database in _fresh(server, MOVABLE):
        numbers, found = asyncio.run(told(database, "unreported", "of other centre"))
        with database.connect("superuser") as connection:
            connection.execute(
                "INSERT INTO custody.organisation (id, kind, name)"
                " SELECT 'zsg-fictief-' || i, 'centre', 'Fictief ' || i FROM generate_series(0, 11) i"
            )
            connection.execute(
                "INSERT INTO custody.kit SELECT (jsonb_populate_record(k, jsonb_build_object("
                " 'number', lpad(i::text, 12, '0'), 'centre', 'zsg-fictief-' || mod(i, 12),"
                " 'parties', ARRAY['zsg-fictief-' || mod(i, 12)],"
                " 'registered_at', k.registered_at - i * interval '1 hour'))).*"
                " FROM custody.kit k, generate_series(1, 4000) i WHERE k.number = %s",
                [numbers["of other centre"]],
            )
            connection.execute("ANALYZE custody.kit, custody.package, custody.access")
        with database.connect("service") as connection:
            yield World(service=connection, numbers=numbers, kits=found), database


def test_a_page_of_a_centre_costs_what_the_centre_has_and_cuts_no_document(
    crowded: tuple[World, Database],
) -> None:
    page = (
        "EXPLAIN (VERBOSE, COSTS OFF) SELECT registered_at, number FROM custody.known_kit"
        " ORDER BY registered_at DESC, number LIMIT 51"
    )
    plan = "\n".join(row[0] for row in crowded[0].ask(NURSE, page))
    assert "Seq Scan on custody.kit" not in plan
    assert "kit_centre" in plan
    assert "kit_parties" in plan
    assert "known_document" not in plan


def test_one_kit_is_found_by_its_number_whether_it_is_there_or_not(crowded: tuple[World, Database]) -> None:
    world, _ = crowded
    plans = set()
    for number in (*world.numbers.values(), "X" * 12):
        query = f"EXPLAIN (COSTS OFF) SELECT document FROM custody.known_kit WHERE number = '{number}'"
        plans.add("\n".join(row[0] for row in world.ask(NURSE, query)).replace(number, "the number"))
    (plan,) = plans
    assert "Index Cond: (number = 'the number'::text)" in plan


def test_a_look_waits_for_nobody(crowded: tuple[World, Database]) -> None:
    world, database = crowded
    with database.connect("superuser") as writer, writer.transaction():
        writer.execute("SELECT FROM custody.kit FOR UPDATE")
        world.service.execute("SET lock_timeout = '1ms'")
        for number in (*world.numbers.values(), "X" * 12):
            world.ask(None, "SELECT * FROM custody.look(%s, %s)", Jsonb(NURSE.context()), [number])
