"""A page offers no step that is only refused, and names what has to come first."""

import re
from typing import Any
from uuid import uuid4

from tests.custody.story import COORDINATOR, CUSTODIAN, NURSE, OTHER_NURSE
from tests.desk.conftest import Desk
from tests.desk.disposed import expired, over
from tests.desk.test_card import opens
from tests.desk.test_disposals import asked
from tests.desk.test_notices import PHONE, Advance, check, html, kit_over, until_notice
from tests.desk.test_told import kit_page, options, order, shown


def test_speaking_with_the_victim_is_no_work_of_a_custodian(desk: Desk) -> None:
    order(desk, "destructions", kit=kit_over(desk), how="in_person")
    assert "speak with the victim first" in html(desk.at(COORDINATOR), "GET", "/")
    custodian = html(desk.at(CUSTODIAN), "GET", "/")
    assert "speak with the victim first" not in custodian
    assert "The victim asked for something" not in custodian


def test_the_list_of_disposals_asks_to_choose_only_where_there_is_a_choice(
    desk: Desk, advance: Advance
) -> None:
    kit, other = expired(desk, advance, 2)
    custodian, coordinator = desk.at(CUSTODIAN), desk.at(COORDINATOR)
    assert "A custodian proposes. Choose one kit or many." in html(custodian, "GET", "/disposals")
    read = html(coordinator, "GET", "/disposals")
    assert "A custodian proposes." in read
    assert "Choose one kit or many." not in read

    answer = custodian.client.post(
        "/disposals/propose/many", data={"key": uuid4().hex}, headers={"accept": "text/html"}
    )
    assert answer.status_code == 422
    assert "Choose at least one kit." in answer.text
    assert "Propose those chosen" in answer.text, "the list stands there, to choose from"
    assert kit in answer.text
    assert other in answer.text


def test_what_is_destroyed_leaves_nothing_to_decide_and_alone_nothing_to_tick(
    desk: Desk, advance: Advance
) -> None:
    made = desk.at(NURSE).register(desk.now())
    kit = made["kit"]
    over(desk, advance, [kit])
    for who, path in ((CUSTODIAN, "disposals/proposals"), (COORDINATOR, "disposals/approvals")):
        assert desk.at(who).post(path, {"kit": kit}).status_code == 201
    observed = desk.at(OTHER_NURSE).post(f"disposals/observations/{asked(desk, OTHER_NURSE, kit)}", {})
    assert observed.status_code == 201, observed.text

    lately = html(desk.at(CUSTODIAN), "GET", "/disposals").partition("Disposed of lately")[2]
    assert "/disposals/certificate.pdf?kit=" in lately
    assert "checkbox" not in lately, "one certificate has its own button"
    victim = opens(desk, made["card"]).text
    assert re.search(r"It was kept until \d+ \w+ \d{4}, and is no longer there\.", victim)
    assert "You decide." not in victim
    assert "You can ask the centre anything, at any time." in victim


def test_nobody_is_asked_to_try_a_channel_after_a_hold_for_death(desk: Desk) -> None:
    kit = kit_over(desk, **PHONE)
    assert "I called, and the victim answered" in html(desk.at(NURSE), "GET", f"/kits/{kit}/channel")
    order(desk, "holds", kit=kit, ground="death", reason="told by the hospital, invented")
    page = html(desk.at(NURSE), "GET", f"/kits/{kit}/channel")
    assert "I called, and the victim answered" not in page
    assert "nobody calls, writes or sends anything" in page
    assert "The safe channel was tried" not in kit_page(desk, kit)


def test_belongings_are_returned_only_from_a_package_of_belongings(desk: Desk) -> None:
    kit = kit_over(desk)
    groups: dict[int, set[str]] = {}
    for item in shown(desk, kit)["items"].values():
        groups.setdefault(item["package"], set()).add(item["group"])
    page = kit_page(desk, kit)
    for package, inside in groups.items():
        offered = f"/do/package.return?p={kit}.{package}" in page
        assert offered == (inside == {"belongings"}), (package, inside)
    assert {"belongings"} in groups.values()


def test_linking_says_first_that_a_request_is_to_be_answered(desk: Desk) -> None:
    kit = kit_over(desk)
    order(desk, "reports", kit=kit, how="in_person")
    coordinator = desk.at(COORDINATOR)
    assert f"/do/kit.link?kit={kit}" not in html(coordinator, "GET", f"/kits/{kit}?for=task")
    answer = coordinator.client.get(f"/do/kit.link?kit={kit}", headers={"accept": "text/html"})
    assert answer.status_code == 409
    assert "by answering the request" in answer.text
    assert 'name="pv"' not in answer.text


def test_a_first_channel_cannot_be_confirmed_over_the_one_before(desk: Desk) -> None:
    none = kit_over(desk, channel="none", channel_address=None)
    phone = kit_over(desk, **PHONE)
    forms: dict[str, Any] = {
        kit: html(desk.at(NURSE), "GET", f"/do/channel.change?kit={kit}") for kit in (none, phone)
    }
    assert options(forms[none]) == {"in_person"}
    assert options(forms[phone]) == {"in_person", "over_previous_channel"}
    assert "(empty only for no messages)" in forms[phone]


def test_the_agreed_question_stands_beside_the_call_before_any_notice_is_due(desk: Desk) -> None:
    kit = kit_over(desk, **PHONE)
    page = html(desk.at(NURSE), "GET", f"/kits/{kit}/channel")
    assert page.index(PHONE["channel_question"]) < page.index("I called, and the victim answered")


def test_a_settled_notice_counts_no_days_any_more(desk: Desk, advance: Advance) -> None:
    kit = kit_over(desk)
    until_notice(desk, advance)
    assert "Not reached on 0 of 3" in html(desk.at(NURSE), "GET", f"/kits/{kit}/channel")
    order(desk, "notices/attempts", kit=kit, how="reached")
    check(desk)
    assert "Not reached on" not in html(desk.at(NURSE), "GET", f"/kits/{kit}/channel")


def test_a_refusal_writes_its_days_as_the_page_does(desk: Desk) -> None:
    kit = kit_over(desk)
    form = {"kit": kit, "ground": "centre", "reason": "invented", "review_on": "2199-01-01"}
    page = desk.at(NURSE).client.post(
        "/do/hold.place", data=form | {"key": uuid4().hex}, headers={"accept": "text/html"}
    )
    assert page.status_code == 422
    (said,) = re.findall(r"A hold is looked at again by (\d+ \w+ \d{4}) at the latest", page.text)
    assert said in html(desk.at(NURSE), "GET", f"/do/hold.place?kit={kit}")
