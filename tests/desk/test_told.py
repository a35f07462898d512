"""What the pages tell of ends, holds, notices and choices: the real day, in words, and only what fits."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from babel.dates import format_date

from desk.pages.ends import last_day
from retention.period import end_of
from retention.policy import AgeClass, dump, load
from retention.term import agreed_term, last_day_of_grace
from tests.custody.story import COORDINATOR, NURSE
from tests.desk.conftest import Desk, new_kit
from tests.desk.mailbox import mail_server
from tests.desk.test_card import opens
from tests.desk.test_notices import PHONE, check, html, kit_over, sending, until_notice
from tests.desk.test_policies import SEEDS, adopt

Advance = Callable[[timedelta], None]


def written(on: date) -> str:
    return str(format_date(on, "d MMMM y", locale="en"))


def order(desk: Desk, path: str, **given: Any) -> Any:
    answer = desk.at(NURSE).post(path, given)
    assert answer.status_code in (201, 202), answer.text
    return answer.json()


def signed(desk: Desk, proposal: str) -> None:
    answer = desk.at(COORDINATOR).post(f"proposals/{proposal}/signatures", {})
    assert answer.status_code == 201, answer.text


def kit_page(desk: Desk, kit: str) -> str:
    return html(desk.at(NURSE), "GET", f"/kits/{kit}?for=task")


def shown(desk: Desk, kit: str) -> dict[str, Any]:
    """The kit as the database has it."""
    with desk.database.connect("superuser") as connection:
        row = connection.execute("SELECT document FROM custody.kit WHERE number = %s", [kit]).fetchone()
    assert row is not None
    return dict(row[0])


# --- the end ----------------------------------------------------------------------------------------------


def test_the_last_day_before_midnight_in_brussels_is_the_day_that_ends_there() -> None:
    assert last_day(datetime(2026, 12, 22, 23, tzinfo=UTC)) == date(2026, 12, 22)
    assert last_day(datetime(2026, 7, 15, 22, tzinfo=UTC)) == date(2026, 7, 15)


def test_victim_and_staff_read_the_end_that_a_late_notice_leaves(desk: Desk, advance: Advance) -> None:
    given = {"channel": "phone", "channel_address": "0400 00 00 77"}
    made = desk.at(NURSE).register(desk.now(), agreement=agreement(desk, **given))
    until_notice(desk, advance)
    advance(timedelta(days=40))
    before = opens(desk, made["card"]).text
    assert "until we have told you and the notice period is over" in before
    assert "not before the victim was told" in kit_page(desk, made["kit"])

    order(desk, "notices/attempts", kit=made["kit"], how="reached")

    until = shown(desk, made["kit"])["expires_at"]
    real = last_day(datetime.fromisoformat(until))
    assert f"Kept for you until {written(real)}: the agreed time ends on" in opens(desk, made["card"]).text
    assert f"kept until {written(real)}" in kit_page(desk, made["kit"])


def test_one_end_is_told_everywhere_with_the_grace_and_why_no_earlier(desk: Desk, advance: Advance) -> None:
    """Six months that end on a weekend or a holiday, and two weeks after them."""
    given = {"channel": "phone", "channel_address": "0400 00 00 77"}
    (second,) = load((SEEDS / "belgium-2.json").read_bytes())
    second = replace(second, valid_from=desk.now().date() - timedelta(days=1), adopted_on=date(2020, 1, 1))
    adopt(desk, dump([second]).decode())
    while True:
        at = desk.now()
        term = agreed_term(second, AgeClass.ADULT, at - timedelta(hours=1))
        plain = end_of(term.start, second.adult.period)
        if term.end != plain:
            break
        advance(timedelta(days=1))
    made = desk.at(NURSE).register(at, agreement=agreement(desk, **given))
    kit, after = made["kit"], last_day_of_grace(term, second)
    assert plain < term.end < after
    both = f"the term ends on {written(term.end)}, and the time after it on {written(after)}"

    def told() -> None:
        page = kit_page(desk, kit)
        assert f"kept until {written(after)}: {both}" in page
        assert f"By the months alone it would end on {written(plain)}" in page
        assert f"Kept for you until {written(after)}: the agreed time ends" in opens(desk, made["card"]).text

    told()
    advance(timedelta(days=(term.notice_on - term.start).days + 1))
    assert check(desk).notices_due == 1
    order(desk, "notices/attempts", kit=kit, how="reached")
    told()
    until = datetime.fromisoformat(shown(desk, kit)["expires_at"])
    assert last_day(until) == after
    advance(until - desk.now() + timedelta(minutes=1))
    check(desk)
    ended = f"term ended on {written(term.end)}, and the time after it on {written(after)}"
    assert ended in kit_page(desk, kit)
    assert ended in html(desk.at(COORDINATOR), "GET", "/disposals")


def agreement(desk: Desk, **given: Any) -> dict[str, Any]:
    return dict(new_kit(desk.now())["agreement"]) | given


def test_a_confirmed_destruction_says_the_last_day_of_the_cooling_off(desk: Desk, advance: Advance) -> None:
    made = desk.at(NURSE).register(desk.now())
    kit = made["kit"]
    form = html(desk.at(NURSE), "GET", f"/do/destruction.ask?kit={kit}")
    assert re.search(r"it runs for \d+ days", form)
    assert "The wish can be taken back until the disposal." in form
    order(desk, "destructions", kit=kit, how="in_person")
    ahead = html(desk.at(NURSE), "GET", f"/do/destruction.confirm?kit={kit}")
    assert re.search(r"If the second person signs today, the cooling-off runs for \d+ days", ahead)
    assert "Two of you confirmed" not in ahead, "nothing is confirmed yet"
    sure = {"identity": "confirmed", "free_will": "confirmed"}
    signed(desk, order(desk, "destructions/confirmations", kit=kit, **sure)["proposal"])

    until = datetime.fromisoformat(shown(desk, kit)["destruction"]["until"])
    last = written(last_day(until))

    victim = opens(desk, made["card"]).text
    assert f"Kept for you to the end of {last}, as you asked." in victim
    assert f"Nothing happens before the end of {last}, and you can change your mind until it is" in victim
    page = kit_page(desk, kit)
    assert f"The cooling-off ends at the end of {last}." in page
    assert f"kept to the end of {last}" in page

    advance(until - desk.now() + timedelta(minutes=1))
    check(desk)
    page = kit_page(desk, kit)
    assert "Record a notice" not in page
    assert "The wish can be taken back until the disposal." in page
    victim = opens(desk, made["card"]).text
    assert "the time to think is over. You can change your mind until it is destroyed." in victim
    assert "I changed my mind: keep it" in victim


@pytest.mark.parametrize("age_class", ["minor", "unknown"])
def test_before_majority_a_wish_for_destruction_is_noted_and_nothing_is_promised_of_it(
    desk: Desk, age_class: str
) -> None:
    made = desk.at(NURSE).register(desk.now(), age_class=age_class)
    kit = made["kit"]
    form = html(desk.at(NURSE), "GET", f"/do/destruction.ask?kit={kit}")
    assert "It can be confirmed only once the victim is known to be of age" in form
    assert "cooling-off" not in form
    assert "only once the centre knows that you are of age" in opens(desk, made["card"]).text
    order(desk, "destructions", kit=kit, how="in_person")

    page = kit_page(desk, kit)
    assert "It can be confirmed only once the victim is known to be of age." in page
    assert "Two of you have to confirm" not in page
    assert f"/do/destruction.confirm?kit={kit}" not in page
    refused = desk.at(NURSE).client.get(f"/do/destruction.confirm?kit={kit}", headers={"accept": "text/html"})
    assert refused.status_code == 409
    assert "is not destroyed before the term" in refused.text
    assert "free_will" not in refused.text
    victim = opens(desk, made["card"]).text
    assert "The centre will speak with you first." not in victim
    assert "That is possible only once the centre knows that you are of age" in victim


def test_lists_speak_of_the_last_day_of_the_term_and_drop_what_is_settled(
    desk: Desk, advance: Advance
) -> None:
    kit = kit_over(desk, **PHONE)
    until_notice(desk, advance)
    end = written(date.fromisoformat(shown(desk, kit)["term"]["end"]))
    for path in ("/", "/notices"):
        assert f"the term ends on {end}" in html(desk.at(NURSE), "GET", path)

    order(desk, "notices/attempts", kit=kit, how="reached")

    assert f"/kits/{kit}/channel" not in html(desk.at(NURSE), "GET", "/")


# --- holds ------------------------------------------------------------------------------------------------


def test_who_lifts_or_reviews_a_hold_reads_whose_it_is_and_why(desk: Desk) -> None:
    kit = kit_over(desk)
    assert "at the latest" in html(desk.at(NURSE), "GET", f"/do/hold.place?kit={kit}")
    order(desk, "holds", kit=kit, ground="centre", reason="an invented inquiry, 50% done")
    (hold,) = shown(desk, kit)["holds"].values()
    today = written(desk.now().date())

    for action in ("hold.lift", "hold.review"):
        form = html(desk.at(COORDINATOR), "GET", f"/do/{action}?kit={kit}")
        for words in ("an invented inquiry, 50% done", str(NURSE.name), "The centre holds it"):
            assert words in form, (action, words)
        assert f"The centre holds it, {NURSE.name}, {today}</option>" in form

    asked = desk.at(COORDINATOR).post("holds/lifts", {"kit": kit, "hold": hold["id"], "reason": "done"})
    page = html(desk.at(NURSE), "GET", f"/signatures/{asked.json()['proposal']}")
    assert hold["id"] not in page
    for words in ("an invented inquiry, 50% done", str(NURSE.name), "The centre holds it"):
        assert words in page
    assert written(date.fromisoformat(hold["review_on"])) in page


# --- the choices trail ------------------------------------------------------------------------------------


def test_the_choices_trail_says_what_happened_in_words_and_days(desk: Desk, advance: Advance) -> None:
    kit = kit_over(desk, **PHONE)
    order(desk, "holds", kit=kit, ground="centre", reason="an invented inquiry, 50% done")
    until_notice(desk, advance)
    order(desk, "notices/attempts", kit=kit, how="reached")
    (hold,) = shown(desk, kit)["holds"].values()

    page = html(desk.at(NURSE), "GET", f"/kits/{kit}/choices")

    for words in (
        "how: reached",
        "channel: telephone",
        "ground: the centre holds it",
        f"look again on: {written(date.fromisoformat(hold['review_on']))}",
        "reason: an invented inquiry, 50% done",
        "version 1",
        f"kept until: {written(date.fromisoformat(shown(desk, kit)['term']['end']))}",
    ):
        assert words in page, words
    assert not re.search(r": \d{4}-\d\d-\d\d", page)


# --- notices and the channel ------------------------------------------------------------------------------


def options(page: str, name: str = "how") -> set[str]:
    return set(re.findall(rf'type="radio" name="{name}" value="(\w+)"', page))


def test_forms_offer_only_the_answers_that_fit_the_channel(desk: Desk, advance: Advance) -> None:
    phone, email = kit_over(desk, **PHONE), kit_over(desk)
    none = kit_over(desk, channel="none", channel_address=None)
    nurse = desk.at(NURSE)
    for kit, fits in ((phone, {"called", "in_person"}), (email, {"message_shown", "in_person"})):
        assert options(html(nurse, "GET", f"/do/channel.prove?kit={kit}")) == fits
    for kit, fits in (
        (phone, {"reached", "not_reached", "unreachable"}),
        (none, {"reached", "not_wanted", "no_channel"}),
    ):
        assert options(html(nurse, "GET", f"/do/notice.attempt?kit={kit}")) == fits
    assert f'href="/kits/{phone}/channel?for=task"' in kit_page(desk, phone)


def test_the_call_page_shows_earlier_attempts_and_counts_days(desk: Desk, advance: Advance) -> None:
    kit = kit_over(desk, **PHONE)
    until_notice(desk, advance)
    order(desk, "notices/attempts", kit=kit, how="not_reached")
    order(desk, "notices/attempts", kit=kit, how="not_reached")

    page = html(desk.at(NURSE), "GET", f"/kits/{kit}/channel")

    assert page.count("<div>Not reached") == 2
    assert "Not reached on 1 of 3 different days." in page
    assert "does not count as another day" in page


def test_keep_longer_says_until_when(desk: Desk) -> None:
    made = desk.at(NURSE).register(desk.now())
    (said,) = re.findall(
        r"it is then kept to the end of (\d+ \w+ \d{4})",
        html(desk.at(NURSE), "GET", f"/do/term.extend?kit={made['kit']}"),
    )
    assert said in opens(desk, made["card"]).text
    order(desk, "terms/extensions", kit=made["kit"], how="in_person")
    assert said == written(date.fromisoformat(shown(desk, made["kit"])["term"]["end"]))


def test_a_declared_kit_stands_once_on_the_first_page(desk: Desk, advance: Advance) -> None:
    kit = kit_over(desk)
    order(desk, "reports", kit=kit, how="in_person")
    first = html(desk.at(NURSE), "GET", "/")
    assert first.count(f"/kits/{kit}?for=task") == 1
    advance(timedelta(days=400))
    first = html(desk.at(NURSE), "GET", "/")
    assert "Declared long ago and not linked" in first
    assert first.count(f"/kits/{kit}?for=task") == 1


def test_registering_with_a_channel_leads_to_proving_it(desk: Desk) -> None:
    invented = hashlib.sha256(b"an invented form").hexdigest()
    for channel, offered in (("phone", True), ("none", False)):
        form = {
            "examined_at": desk.now().strftime("%Y-%m-%dT%H:%M"),
            "age_class": "adult",
            "packages_count": "1",
            "lines-1": "1",
            "kind-1": "bag",
            "storage-1": "dry",
            "seal-1": "S-1",
            "type-1-1": "shoes",
            "count-1-1": "1",
            "form_digest": invented,
            "language": "nl",
            "channel": channel,
            "channel_address": "0400 00 00 77" if channel == "phone" else "",
            "key": uuid4().hex,
        }
        answer = desk.at(NURSE).client.post("/register", data=form, headers={"accept": "text/html"})
        assert answer.status_code == 201, answer.text
        assert ("Prove the channel now, while the victim is here" in answer.text) is offered


def test_a_message_is_shown_only_after_one_was_accepted(desk: Desk) -> None:
    kit, nurse = kit_over(desk), desk.at(NURSE)
    with mail_server() as box:
        sending(desk, box)
        box.to_recipients = ["550 {address} is unknown, said the server"]
        refused = html(nurse, "POST", f"/kits/{kit}/channel", **{"for": "task"})
        assert "The address was refused" in refused
        assert "The victim showed the message" not in refused
        assert "The victim showed the message" not in html(nurse, "GET", f"/kits/{kit}/channel")
        box.to_recipients = []
        accepted = html(nurse, "POST", f"/kits/{kit}/channel", **{"for": "task"})
        assert "The victim showed the message" in accepted
