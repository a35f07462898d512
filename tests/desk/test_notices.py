"""Telling the victim from the desk: the list, the call, the channel that is tried and confirmed."""

import asyncio
import io
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from custody.ledger import Ledger
from desk import cli
from desk.api.notices import _UNDER_WAY
from desk.mail import MailServer, Sender
from desk.session import LIMITS, Purpose
from retention.check import newest_slot, run_slot
from tests.conftest import Database
from tests.custody.story import COORDINATOR, CUSTODIAN, NURSE, NURSE_2, OTHER_NURSE, PlainMasters, engine
from tests.desk.conftest import Desk, Person, new_kit
from tests.desk.mailbox import Mailbox, mail_server
from tests.desk.test_sending import endless, report

Advance = Callable[[timedelta], None]
PHONE: dict[str, Any] = {
    "channel": "phone",
    "channel_address": "0400 00 00 77",
    "channel_hours": "weekday mornings",
    "channel_question": "What is the name of the invented cat?",
}


def kit_over(desk: Desk, **agreement: Any) -> str:
    given = new_kit(desk.now())
    given["agreement"] |= agreement
    answer = desk.at(NURSE).post("kits", given)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["kit"])


def check(desk: Desk) -> Any:
    """The scheduled check, in the newest slot."""

    async def within() -> Any:
        clerk = engine(desk.database.url("clerk"))
        try:
            return await run_slot(Ledger(clerk, PlainMasters()), clerk, newest_slot(desk.now()))
        finally:
            await clerk.dispose()

    return asyncio.run(within())


def until_notice(desk: Desk, advance: Advance) -> None:
    advance(timedelta(days=125))  # six months less sixty days, in any month
    assert check(desk).notices_due == 1


def html(person: Person, method: str, path: str, **data: Any) -> str:
    answer = person.client.request(
        method, path, data=data or None, headers={"accept": "text/html"}, follow_redirects=True
    )
    assert answer.status_code == 200, answer.text
    return answer.text


def reads(desk: Desk, kit: str, word: str) -> int:
    with desk.database.connect("superuser") as connection:
        found = connection.execute(
            "SELECT count(*) FROM custody.access WHERE kit = %s"
            " AND convert_from(bytes, 'UTF8')::jsonb ->> 'read' = %s",
            [kit, word],
        ).fetchone()
    assert found is not None
    return int(found[0])


# --- the list ---------------------------------------------------------------------------------------------


def test_a_call_is_on_the_list_without_its_number_and_a_custodian_has_no_such_list(
    desk: Desk, advance: Advance
) -> None:
    kit = kit_over(desk, **PHONE)
    assert desk.at(NURSE).get("notices").json()["notices"] == []
    until_notice(desk, advance)

    answer = desk.at(NURSE).get("notices")
    (line,) = answer.json()["notices"]

    assert (line["kit"], line["stands"], line["acts"]) == (kit, "to_call", "nurse")
    assert "0400" not in answer.text
    page = html(desk.at(NURSE), "GET", "/notices")
    assert f"/kits/{kit}/channel" in page
    assert "0400" not in page
    assert desk.at(OTHER_NURSE).get("notices").json()["notices"] == []
    assert desk.at(CUSTODIAN).get("notices").status_code == 403


def test_without_a_mail_server_a_notice_by_e_mail_is_work_for_a_person_and_the_page_says_so(
    desk: Desk, advance: Advance
) -> None:
    kit = kit_over(desk)
    proved = desk.at(NURSE).post("channels/proofs", {"kit": kit, "how": "in_person"})
    assert proved.status_code == 201, proved.text
    until_notice(desk, advance)

    (line,) = desk.at(NURSE).get("notices").json()["notices"]

    assert (line["stands"], line["acts"]) == ("cannot_send", "nurse")
    page = html(desk.at(NURSE), "GET", "/notices")
    assert "The service sends no e-mail here" in page


def test_an_old_or_unproved_channel_is_work_for_a_person(desk: Desk, advance: Advance) -> None:
    kit = kit_over(desk)
    until_notice(desk, advance)
    (line,) = desk.at(NURSE).get("notices").json()["notices"]
    assert (line["kit"], line["stands"]) == (kit, "never_proved")


# --- the call ---------------------------------------------------------------------------------------------


def test_the_agreed_question_comes_first_then_what_to_say_then_what_came_of_it(
    desk: Desk, advance: Advance
) -> None:
    kit = kit_over(desk, **PHONE)
    until_notice(desk, advance)
    nurse = desk.at(NURSE)
    before = reads(desk, kit, "private_read")

    page = html(nurse, "GET", f"/kits/{kit}/channel")

    assert reads(desk, kit, "private_read") == before + 1
    places = [
        page.index(words)
        for words in (
            "0400 00 00 77",
            "weekday mornings",
            "invented cat",
            "ik bel zoals we hebben afgesproken",
            "not_reached",
        )
    ]
    assert places == sorted(places)
    assert "at the centre" in page
    told = nurse.get(f"kits/{kit}/channel", purpose="task").json()
    assert told["question"] == PHONE["channel_question"]
    assert re.fullmatch(r"\d\d:\d\d", told["local_time"])


def test_one_press_records_that_the_victim_was_reached_and_the_kit_leaves_the_list(
    desk: Desk, advance: Advance
) -> None:
    kit = kit_over(desk, **PHONE)
    until_notice(desk, advance)
    nurse = desk.at(NURSE)
    assert html(nurse, "POST", "/do/notice.attempt", kit=kit, how="reached", key=uuid4().hex)
    assert nurse.get("notices").json()["notices"] == []
    assert nurse.get(f"kits/{kit}/channel", purpose="task").json()["stands"] == "settled"


def test_a_notice_that_is_due_leads_to_the_page_of_the_channel(desk: Desk, advance: Advance) -> None:
    kit = kit_over(desk, **PHONE)
    until_notice(desk, advance)
    first = html(desk.at(NURSE), "GET", "/")
    assert f'href="/kits/{kit}/channel' in first
    assert f"/do/notice.attempt?kit={kit}" not in first
    advance(timedelta(days=16))  # a fortnight, counted in whole days
    overdue = html(desk.at(NURSE), "GET", "/alarms")
    assert f'href="/kits/{kit}/channel' in overdue
    assert f"/do/notice.attempt?kit={kit}" not in overdue


def test_only_the_centres_nurses_and_coordinators_see_a_channel(desk: Desk) -> None:
    kit = kit_over(desk, **PHONE)
    for person, status in ((NURSE, 200), (OTHER_NURSE, 404), (CUSTODIAN, 403)):
        answer = desk.at(person).get(f"kits/{kit}/channel", purpose="task")
        assert answer.status_code == status, answer.text
        assert ("0400" in answer.text) is (status == 200)


# --- the channel that is tried ----------------------------------------------------------------------------


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mail_server() as made:
        yield made


def sending(desk: Desk, box: Mailbox) -> None:
    """From now on the service knows a mail server."""
    desk.service.settings = replace(
        desk.service.settings,
        smtp=MailServer(host="127.0.0.1", port=box.port, implicit=False),
        notice_from=Sender("post@mail.example"),
    )


def test_a_test_message_goes_to_the_victim_who_shows_it_and_the_channel_is_proved(
    desk: Desk, box: Mailbox
) -> None:
    kit = kit_over(desk)
    sending(desk, box)
    nurse = desk.at(NURSE)

    page = html(nurse, "POST", f"/kits/{kit}/channel", **{"for": "task"})

    (received,) = box.received
    assert received.rcpt_tos == ["somebody@invented.example"]
    assert kit.encode() not in box.raw[0]
    assert "The message was accepted" in page
    html(nurse, "POST", "/do/channel.prove", kit=kit, how="message_shown", key=uuid4().hex)
    assert nurse.get(f"kits/{kit}/channel", purpose="task").json()["proved_lately"] is True


def test_a_refused_address_is_told_to_the_nurse_without_the_servers_words(desk: Desk, box: Mailbox) -> None:
    kit = kit_over(desk)
    sending(desk, box)
    box.to_recipients = ["550 {address} is unknown, said the server"]
    answer = desk.at(NURSE).client.post(f"/api/kits/{kit}/channel/test", params={"purpose": "task"})
    assert answer.json() == {"how": "failed", "why": "recipient_refused"}


def test_a_channel_that_the_service_cannot_use_is_not_tried(desk: Desk) -> None:
    for agreement in (PHONE, {}):
        kit = kit_over(desk, **agreement)
        answer = desk.at(NURSE).client.post(f"/api/kits/{kit}/channel/test", params={"purpose": "task"})
        assert answer.status_code == 409, answer.text


def test_no_test_message_goes_to_somebody_who_died(desk: Desk, box: Mailbox) -> None:
    kit = kit_over(desk)
    sending(desk, box)
    placed = {"kit": kit, "ground": "death", "reason": "told by the family"}
    assert desk.at(COORDINATOR).post("holds", placed).status_code == 201

    answer = desk.at(NURSE).client.post(f"/api/kits/{kit}/channel/test", params={"purpose": "task"})

    assert answer.status_code == 409, answer.text
    assert "no notice is given" in answer.text
    assert box.received == []


def test_another_channel_shows_nothing_of_the_one_before(desk: Desk) -> None:
    kit = kit_over(desk, **PHONE)
    order = {
        "kit": kit,
        "channel": "email",
        "language": "fr",
        "how": "in_person",
        "channel_address": "new@invented.example",
    }
    waiting = desk.at(NURSE).post("channels", order)
    assert waiting.status_code == 202, waiting.text
    signed = desk.at(COORDINATOR).post(f"proposals/{waiting.json()['proposal']}/signatures", {})
    assert signed.status_code == 201, signed.text

    told = desk.at(NURSE).get(f"kits/{kit}/channel", purpose="task").json()

    assert (told["channel"], told["address"], told["language"]) == ("email", "new@invented.example", "fr")
    assert {"hours", "question", "proved_at"}.isdisjoint(told)


def test_who_wants_no_contact_has_no_address_on_any_page(desk: Desk) -> None:
    kit = kit_over(desk, channel="none", channel_address=None)
    page = html(desk.at(NURSE), "GET", f"/kits/{kit}/channel")
    assert "wants no contact" in page
    assert "Send a test message" not in page


# --- the command line -------------------------------------------------------------------------------------


def test_custody_notices_test_says_whether_a_message_was_accepted(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, value in (
        ("DATA", str(tmp_path)),
        ("SMTP_URL", f"smtp://127.0.0.1:{box.port}"),
        ("NOTICE_FROM", "post@mail.example"),
    ):
        monkeypatch.setenv(f"CUSTODY_{name}", value)
    assert cli.main(["notices", "test", "me@invented.example", "--language", "de"]) == 0
    assert "accepted" in capsys.readouterr().out
    box.to_recipients = ["450 {address} later"]
    assert cli.main(["notices", "test", "me@invented.example"]) == 1
    assert "me@invented.example" not in capsys.readouterr().out
    assert cli.main(["notices", "test", "+32400000000"]) == 1
    assert "sets CUSTODY_SMS_COMMAND for it" in capsys.readouterr().err
    assert cli.main(["notices", "test", "nonsense"]) == 1
    assert "Write an e-mail address, or a number with its country" in capsys.readouterr().err
    for name in ("SMTP_URL", "NOTICE_FROM"):
        monkeypatch.delenv(f"CUSTODY_{name}")
    assert cli.main(["notices", "test", "a@b.example"]) == 1
    assert "CUSTODY_SMTP_URL and CUSTODY_NOTICE_FROM" in capsys.readouterr().err


def test_custody_notices_bounced_refuses_garbage(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, value in (
        ("DATA", str(tmp_path)),
        ("DATABASE_URL", database.url("service").replace("+psycopg", "")),
        ("CLERK_DATABASE_URL", database.url("clerk").replace("+psycopg", "")),
    ):
        monkeypatch.setenv(f"CUSTODY_{name}", value)
    for data, words in ((b"I am away until Monday", "no delivery status"), (report(), "no message of this")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert cli.main(["notices", "bounced"]) == 1
        assert words in capsys.readouterr().err


def test_one_message_at_a_time_tries_a_channel_and_a_server_that_hangs_holds_up_nobody(desk: Desk) -> None:
    kit, other = kit_over(desk), kit_over(desk)
    nurse = desk.at(NURSE)
    with ThreadPoolExecutor() as threads:
        with endless(b"250-x\r\n", 0.05) as server:
            box = Mailbox(port=server.port)
            sending(desk, box)
            first = threads.submit(nurse.client.post, f"/api/kits/{kit}/channel/test?purpose=task")
            while kit not in _UNDER_WAY:
                assert not first.done(), first.result().text
            second = desk.at(NURSE_2).client.post(f"/api/kits/{kit}/channel/test?purpose=task")
            assert second.status_code == 409, second.text
            assert "on its way now" in second.json()["detail"]
            desk.at(NURSE_2).register(desk.now())  # with a card: its code is made in a thread of its own
            assert not first.done()
        assert first.result().json() == {"how": "tried", "why": "no_connection"}
    assert other not in _UNDER_WAY
    assert kit not in _UNDER_WAY


def test_who_tries_channels_again_and_again_waits(desk: Desk, box: Mailbox) -> None:
    kit = kit_over(desk)
    sending(desk, box)
    most = LIMITS[Purpose.CHANNEL_TEST].free
    answers = [
        desk.at(NURSE).client.post(f"/api/kits/{kit}/channel/test?purpose=task") for _ in range(most + 1)
    ]
    assert [each.status_code for each in answers] == [200] * most + [429]
    assert len(box.received) == most
    assert int(answers[-1].headers["retry-after"]) > 60
