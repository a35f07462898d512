"""Policies over the API and at the command line: adopted by two people, read by all staff, never changed."""

import hashlib
import json
from dataclasses import replace
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from custody.event import Fact, write_moment
from custody.people import Function
from custody.trail import after
from desk.cli import main
from desk.edge import RECENT_FOR
from desk.policy_words import GROUPS, NONE, PROTECTS, VALUES, length
from retention.aloud import days_of_term, differences, values
from retention.policy import AgeClass, Policy, dump, load
from retention.protection import COMPARED
from tests.custody.byhand import ByHand
from tests.custody.story import COORDINATOR, CUSTODIAN, NURSE, OFFICER, OTHER_NURSE, new_number
from tests.desk.conftest import Desk, new_kit
from tests.postgres.test_agreed_policy import adopted as adopted_by_hand
from tests.retention.reckoning import sourced

SEEDS = Path(str(files("retention").joinpath("seed")))
BELGIUM = (SEEDS / "belgium.json").read_bytes()
(FIRST,) = load(BELGIUM)
(SCOTLAND,) = load((SEEDS / "scotland.json").read_bytes())
ADOPTIONS = "policies/adoptions"


def second_version(desk: Desk, **change: Any) -> Policy:
    """A second version of Belgium's policy, valid since yesterday; adults are kept a year."""
    yesterday = desk.now().date() - timedelta(days=1)
    made = replace(FIRST, version=2, adopted_on=date(2020, 1, 1), valid_from=yesterday, adult=sourced("P1Y"))
    return replace(made, **change)


def adopt(desk: Desk, document: str) -> None:
    """Coraline brings it, Nora reads it and signs."""
    waiting = desk.at(COORDINATOR).post(ADOPTIONS, {"document": document})
    assert waiting.status_code == 202, waiting.text
    signed = desk.at(NURSE).post(f"proposals/{waiting.json()['proposal']}/signatures", {})
    assert signed.status_code == 201, signed.text


def test_a_policy_is_adopted_by_two_people_and_its_document_stays_byte_for_byte(desk: Desk) -> None:
    document = dump([second_version(desk)]).decode().replace("\n", "\r\n")

    adopt(desk, document)

    told = desk.at(CUSTODIAN).get("policies/belgium/2")
    assert told.status_code == 200
    body = told.json()
    assert body["adopted_by"] == ["Coraline Kompas", "Nora Nachtwacht"]
    assert body["digest"] == hashlib.sha256(document.encode()).hexdigest()
    kept = desk.at(CUSTODIAN).get("policies/belgium/2/document")
    assert kept.content == document.encode()


def test_a_version_says_every_value_with_its_source_and_what_it_changes(desk: Desk) -> None:
    adopt(desk, dump([second_version(desk)]).decode())

    body = desk.at(NURSE).get("policies/belgium/2").json()

    said = {each["name"]: each for each in body["values"]}
    assert said["kept.adult"] == {
        "name": "kept.adult",
        "value": "P1Y",
        "source": "invented for a test",
        "confirmed": False,
    }
    assert set(said) == {each.name for each in values(FIRST)}
    changes = {each["name"]: each for each in body["changes"]}
    assert set(changes) == {"adopted_on", "valid_from", "kept.adult"}
    assert changes["kept.adult"] == {
        "name": "kept.adult",
        "in_substance": True,
        "before": "P6M",
        "after": "P1Y",
    }
    assert desk.at(NURSE).get("policies/belgium/1").json()["changes"] == []


@pytest.mark.parametrize("path", ["policies/belgium/3", "policies/elsewhere/1", "policies/belgium/one"])
def test_a_version_that_nobody_adopted_is_not_found(desk: Desk, path: str) -> None:
    assert desk.at(NURSE).get(path).status_code == 404
    assert desk.at(NURSE).get(f"{path}/document").status_code == 404


def test_the_plain_form_of_an_adoption_leads_to_the_page_where_a_file_is_read(desk: Desk) -> None:
    page = desk.at(COORDINATOR).client.get("/do/policy.adopt", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/adopt-policy")


def test_who_adopts_a_policy_signed_in_recently() -> None:
    assert RECENT_FOR["policy.adopt"] is None, "of everybody"


def test_what_breaks_a_rule_is_refused_before_anybody_else_is_asked_to_sign(desk: Desk) -> None:
    coordinator = desk.at(COORDINATOR)
    refused = {
        "was adopted already": BELGIUM.decode(),
        "and belgium/1 for BE was adopted here": dump(
            [replace(SCOTLAND, adopted_on=date(2020, 1, 1))]
        ).decode(),
        "can be shorter than the notice": dump([second_version(desk)]).decode().replace('"P60D"', '"P7M"', 1),
        "not UTF-8 JSON": "belgium",
    }
    before = desk.count()

    for says, document in refused.items():
        answer = coordinator.post(ADOPTIONS, {"document": document})
        assert answer.status_code in (409, 422), answer.text
        assert says in answer.json()["detail"]
        assert "[0]" not in answer.json()["detail"], "the file has one policy"
    assert desk.count() == before
    assert coordinator.get("proposals").json()["proposals"] == []


def test_who_may_read_and_who_may_adopt(desk: Desk) -> None:
    document = {"document": dump([second_version(desk)]).decode()}

    for person in (NURSE, CUSTODIAN, OFFICER):
        assert desk.at(person).post(ADOPTIONS, document).status_code == 403
    assert desk.at(OTHER_NURSE).get("policies/belgium/1").status_code == 200
    assert desk.at(OFFICER).get("policies/belgium/1").status_code == 403
    assert desk.at(NURSE).get("policies/longer").status_code == 403


# Kits that a later version keeps longer


def test_kits_that_a_later_version_keeps_longer_are_listed_and_moved_together(desk: Desk) -> None:
    nurse, coordinator = desk.at(NURSE), desk.at(COORDINATOR)
    adults = [nurse.register(desk.now())["kit"] for _ in range(2)]
    nurse.register(desk.now(), age_class="minor")
    assert coordinator.get("policies/longer").json() == {"kits": []}
    adopt(desk, dump([second_version(desk)]).decode())
    under_it = nurse.register(desk.now())["kit"]

    listed = coordinator.get("policies/longer").json()["kits"]

    assert {each["kit"] for each in listed} == set(adults)
    assert {(each["policy"], each["newer"]) for each in listed} == {("belgium/1", "belgium/2")}
    assert all(each["would_end"] > each["ends"] for each in listed)
    order = {"how": "by_law", "reason": "The invented act of this year"}
    refused = coordinator.post("terms/moves", order | {"kits": [*adults, under_it]})
    assert refused.status_code in (409, 422)
    moved = coordinator.post("terms/moves", order | {"kits": [each["written"] for each in listed]})
    assert moved.status_code == 201, moved.text
    assert coordinator.get("policies/longer").json() == {"kits": []}
    told = nurse.get(f"kits/{adults[0]}", purpose="task").json()
    assert told["choices"]["policy"] == "belgium/2"


def test_a_kit_under_a_version_that_is_not_longer_is_not_in_the_list(desk: Desk) -> None:
    desk.at(NURSE).register(desk.now())
    adopt(desk, dump([second_version(desk, adult=FIRST.adult)]).decode())

    assert desk.at(COORDINATOR).get("policies/longer").json() == {"kits": []}


OTHER_COORDINATOR = replace(OTHER_NURSE, function=Function.COORDINATOR)


def coordinates(desk: Desk) -> None:
    """Mira, a nurse of the other centre, becomes its coordinator."""
    with desk.database.connect("superuser") as connection:
        connection.execute(
            "UPDATE custody.appointment SET function = 'coordinator' WHERE person = %s",
            [OTHER_COORDINATOR.person],
        )


@pytest.mark.parametrize(
    "change",
    [
        {"adult": sourced("P5M")},
        {"adult": sourced("P190D"), "contact": replace(FIRST.contact, answer=False)},
        {"channel_age": sourced("P150Y")},
    ],
    ids=["kept shorter", "nobody is told", "no channel is proved again"],
)
def test_two_people_of_one_centre_weaken_nothing_for_every_centre(desk: Desk, change: dict[str, Any]) -> None:
    weaker = replace(second_version(desk, adult=FIRST.adult), **change)
    today = desk.at(COORDINATOR).post(ADOPTIONS, {"document": dump([weaker]).decode()})
    assert today.status_code in (409, 422)
    assert "Give it a later first day" in today.text

    later = dump([replace(weaker, valid_from=desk.now().date() + timedelta(days=2))]).decode()
    waiting = desk.at(COORDINATOR).post(ADOPTIONS, {"document": later}).json()["proposal"]
    for person in (NURSE, OTHER_NURSE):
        assert desk.at(person).post(f"proposals/{waiting}/signatures", {}).status_code in (404, 409, 422)
    coordinates(desk)
    signed = desk.at(OTHER_COORDINATOR).post(f"proposals/{waiting}/signatures", {})
    assert signed.status_code == 201, signed.text
    told = desk.at(CUSTODIAN).get("policies/belgium/2").json()
    assert told["adopted_by"] == ["Coraline Kompas", "Mira Maan"]


def test_a_weaker_policy_for_one_centre_is_signed_there(desk: Desk) -> None:
    later = desk.now().date() + timedelta(days=2)
    own = second_version(desk, id="own", version=1, adult=sourced("P5M"), valid_from=later)
    adopt(desk, dump([replace(own, centre=COORDINATOR.organisation)]).decode())


def test_a_coordinator_of_another_centre_sees_what_waits_to_be_adopted_and_nothing_else(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    order = {"kit": kit, "age_class": "minor", "reason": "the passport"}
    assert desk.at(COORDINATOR).post("terms/corrections", order).status_code == 202
    document = dump([second_version(desk)]).decode()
    waiting = desk.at(COORDINATOR).post(ADOPTIONS, {"document": document}).json()["proposal"]

    assert desk.at(OTHER_NURSE).get("proposals").json()["proposals"] == []
    coordinates(desk)
    seen = desk.at(OTHER_COORDINATOR).get("proposals").json()["proposals"]

    assert [each["id"] for each in seen] == [waiting]
    page = desk.at(OTHER_COORDINATOR).client.get(f"/policies/{waiting}", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert 'value="sign"' in page.text
    assert 'value="decline"' not in page.text, "who proposed it takes it back"


def test_every_word_for_what_protects_is_one_that_a_page_knows() -> None:
    assert tuple(what for what, _ in COMPARED) == PROTECTS


def test_the_page_marks_the_version_in_force_here_and_draws_another_from_its_own_first_day(
    desk: Desk,
) -> None:
    first_day = desk.now().date() + timedelta(days=11)
    adopt(desk, dump([second_version(desk, valid_from=first_day)]).decode())
    assert second_version(desk).valid_from < desk.now().date()

    text = desk.at(NURSE).client.get("/policies", headers={"accept": "text/html"}).text

    cards = [each for each in text.split("<section") if "term-line" in each]
    cards = [each for each in cards if "belgium" in each]
    assert len(cards) == 2
    assert "belgium, version 1" in cards[0]
    assert "in force here today" in cards[0]
    assert "belgium, version 2" in cards[1]
    assert "in force here" not in cards[1]
    examined = f"<strong>Examination</strong><span>{first_day.day} {first_day:%B %Y}</span>"
    assert cards[1].count(examined) == 2
    assert text.count("in force here today") == 2, "in its card and in the table"


@pytest.mark.parametrize("after", ["nowhere", "belgium", "belgium~", "x~y"])
def test_a_place_in_the_list_that_there_is_not_is_refused(desk: Desk, after: str) -> None:
    assert desk.at(COORDINATOR).get("policies/longer", after=after).status_code in (409, 422)


def test_the_list_goes_on_where_it_was_told_to(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    nurse, coordinator = desk.at(NURSE), desk.at(COORDINATOR)
    kits = sorted(nurse.register(desk.now())["kit"] for _ in range(3))
    adopt(desk, dump([second_version(desk)]).decode())
    monkeypatch.setattr("desk.api.policies.LOOKED_AT", 2)

    first = coordinator.get("policies/longer").json()
    rest = coordinator.get("policies/longer", after=first["more"]).json()

    assert [each["kit"] for each in first["kits"]] == kits[:2]
    assert [each["kit"] for each in rest["kits"]] == kits[2:]
    assert "more" not in rest


def test_a_centre_with_policies_of_two_countries_is_told_so_and_gets_out(desk: Desk) -> None:
    """As it could be adopted once: an own policy with the wrong country, then one with the right one."""
    own = second_version(desk, version=1, centre=COORDINATOR.organisation)
    for identifier, country in (("own-fr", "FR"), ("own-be", "BE")):
        document = dump([replace(own, id=identifier, country=country)])
        with ByHand(desk.database) as hand:
            adopted_by_hand(hand, document, {"id": identifier, "version": 1}, signed=True)
    nurse, order = desk.at(NURSE), new_kit(desk.now())
    refused = nurse.post("kits", order)
    assert (refused.status_code, "later version that corrects the country" in refused.text) == (422, True)
    html = {"accept": "text/html"}
    assert "Nothing can be registered here today" in nurse.client.get("/policies", headers=html).text

    adopt(desk, dump([replace(own, id="own-fr", version=2)]).decode())

    assert nurse.post("kits", order).status_code == 201
    assert "Nothing can be registered" not in nurse.client.get("/policies", headers=html).text


# Read aloud


@pytest.mark.parametrize("path", sorted(SEEDS.glob("*.json")), ids=lambda path: path.name)
@pytest.mark.parametrize("lang", ["en", "nl", "fr", "de"])
def test_every_value_of_every_seed_has_words_and_a_group(path: Path, lang: str) -> None:
    groups = [name for _, names in GROUPS for name in names]
    (policy,) = load(path.read_bytes())

    for each in values(policy):
        first = each.name.partition(".")[0]
        assert groups.count(first) == 1
        assert first == "reminders" or each.name in VALUES
        if each.written is None:
            assert each.name in NONE
        elif each.written.startswith("P") and each.source is not None:
            assert any(character.isdigit() for character in length(each.written, lang))


@pytest.mark.parametrize(
    ("written", "lang", "says"),
    [
        ("P1Y6M", "en", "1 year 6 months"),
        ("P50Y", "nl", "50 jaar"),
        ("P60D", "fr", "60\xa0jours"),
        ("PT24H", "de", "24 Stunden"),
    ],
)
def test_a_length_is_told_in_the_words_of_the_language(written: str, lang: str, says: str) -> None:
    assert length(written, lang) == says


def test_the_days_of_a_term_are_told_in_order_and_nobody_is_told_where_nobody_is_contacted() -> None:
    (second,) = load((SEEDS / "belgium-2.json").read_bytes())

    drawn = [(p.name, p.on.isoformat()) for p in days_of_term(second, AgeClass.ADULT, date(2026, 1, 18))]

    assert drawn == [
        ("start", "2026-01-18"),
        ("notice", "2026-05-21"),
        ("notice", "2026-07-06"),
        ("end", "2026-07-20"),
        ("grace", "2026-08-03"),
    ]
    assert [p.name for p in days_of_term(SCOTLAND, AgeClass.ADULT, date(2026, 1, 18))] == ["start", "end"]


def test_what_differs_is_told_apart_from_what_has_another_source() -> None:
    confirmed = replace(FIRST, version=2, adult=replace(FIRST.adult, confirmed=True), notice=sourced("P30D"))

    found = {each.name: each.in_substance for each in differences(FIRST, confirmed)}

    assert found == {"kept.adult": False, "notice": True}
    assert differences(FIRST, replace(FIRST, version=2)) == ()


# The command line


def test_every_seed_file_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policies", "check", *map(str, sorted(SEEDS.glob("*.json")))]) == 0

    told = capsys.readouterr().out
    assert "scotland/1 is in order; 3 of" in told
    assert told.count("is in order") == 9


def test_a_policy_file_that_breaks_a_rule_is_named_with_the_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, hidden = tmp_path / "wrong.json", tmp_path / "hidden.json"
    wrong.write_bytes(BELGIUM.replace(b'"P60D"', b'"P7M"'))
    file = json.loads(BELGIUM)
    file["policies"][0]["notice"]["source"] = "sixty\u202e days"
    hidden.write_text(json.dumps(file))

    given = [str(wrong), str(hidden), str(tmp_path / "nowhere"), str(SEEDS / "ireland.json")]

    assert main(["policies", "check", *given]) == 1
    told = capsys.readouterr()
    assert "the term of adult (P6M) can be shorter than the notice period (P7M)" in told.err
    assert "notice: the text of its source has characters that cannot be seen" in told.err
    assert "it cannot be read" in told.err
    assert "ireland/1 is in order" in told.out


def test_two_versions_are_read_aloud_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policies", "show", str(SEEDS / "belgium.json"), str(SEEDS / "belgium-2.json")]) == 0

    told = capsys.readouterr().out
    assert "Kept: adults: 6 months  [unconfirmed]" in told
    assert "From belgium/1 to belgium/2:" in told
    assert "Grace after the end: none -> 14 days" in told
    assert main(["policies", "show", str(SEEDS / "nowhere.json")]) == 1


# An adopted version that cannot be read any more


def unreadable(desk: Desk) -> None:
    """What lies in the database as Belgium's second version is garbage; somebody had rights there."""
    with desk.database.connect("superuser") as connection:
        connection.execute("SET custody.maintenance = 'on'")
        connection.execute("ALTER TABLE custody.policy DISABLE TRIGGER USER")
        connection.execute("UPDATE custody.policy SET document = 'garbage' WHERE version = 2")


def test_a_policy_that_cannot_be_read_is_an_alarm_and_the_desk_goes_on_under_the_others(desk: Desk) -> None:
    adopt(desk, dump([second_version(desk)]).decode())
    unreadable(desk)

    desk.at(NURSE).register(desk.now())

    for path in ("/", "/policies", "/alarms", "/notices"):
        answer = desk.at(COORDINATOR).client.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 200, (path, answer.text)
    shown = {(each["id"], each["version"]) for each in desk.at(NURSE).get("policies").json()["policies"]}
    assert ("belgium", 1) in shown
    assert ("belgium", 2) not in shown
    (told,) = desk.at(COORDINATOR).get("alarms", rule="policy_unreadable").json()["alarms"]
    assert (told["about"], told["mine"]) == ("belgium/2", True)
    assert desk.at(CUSTODIAN).get("policies/belgium/2").status_code == 404


def test_only_a_kit_that_keeps_the_policy_that_cannot_be_read_is_refused(desk: Desk) -> None:
    adopt(desk, dump([second_version(desk)]).decode())
    before = desk.at(NURSE).register(desk.now())["kit"]
    unreadable(desk)
    after = desk.at(NURSE).register(desk.now())["kit"]

    answers = [
        desk.at(NURSE).post("terms/extensions", {"kit": kit, "how": "in_person"}) for kit in (before, after)
    ]

    assert [each.status_code for each in answers] == [409, 201], [each.text for each in answers]
    assert "belgium/2 of this kit is not known here" in answers[0].json()["detail"]


def without_packages(desk: Desk, version: int) -> str:
    """A kit of which nothing is there, written by hand: nothing about it is anybody's task."""
    number, day = new_number(), desk.now().date()
    over_at = write_moment(desk.now() + timedelta(days=400))
    term = {"start": str(day), "end": str(day + timedelta(days=400)), "notice_on": str(day)}
    agreed = {"policy": {"id": "belgium", "version": version}, "term": {**term, "over_at": over_at}}
    kit = {"centre": NURSE.organisation, "examined_on": str(day)}
    with ByHand(desk.database) as hand:
        facts = (
            Fact(type="kit.registered", subject=f"custody:{number}", who=NURSE.who(), fields=kit),
            Fact(
                type="term.agreed",
                subject=f"choices:{number}",
                who=NURSE.who(),
                fields={"age_class": "adult", **agreed},
            ),
        )
        events = [hand.event(fact) for fact in facts]
        hand.append(NURSE, events, {number: after(after(None, events[0]), events[1])})
    return number


def test_the_pages_of_every_kit_open_though_a_policy_cannot_be_read(desk: Desk) -> None:
    adopt(desk, dump([second_version(desk)]).decode())
    kits = [without_packages(desk, version) for version in (1, 2)]
    unreadable(desk)

    for kit in kits:
        for path in (f"/kits/{kit}", f"/kits/{kit}/disposal"):
            answer = desk.at(COORDINATOR).client.get(path, headers={"accept": "text/html"})
            assert answer.status_code < 500, (path, answer.text)
        assert desk.at(COORDINATOR).get(f"kits/{kit}", purpose="task").status_code < 500
        assert desk.at(COORDINATOR).get(f"kits/{kit}", purpose="review").status_code == 200
