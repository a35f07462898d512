"""From the event that asks for a message to the one that says what came of it, over a real mail server."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from custody import reading
from custody.commands import AttemptNotice, DeclareReport, ExtendTerm, PlaceHold
from custody.decision import Seen
from custody.ledger import reading as seen_by
from custody.prosecution import declare
from custody.protocol import Trail
from custody.refusal import Refused
from desk import notifier, sending
from desk.mail import MailServer, Sender
from desk.notifier import Notifier, bounced
from desk.settings import Settings, read
from retention import outbox
from retention.alarms import alarms_of
from retention.commands import ChangeChannel, ConfirmMajority, ProveChannel, SendNotice
from retention.deciding import confirm_majority
from retention.holds import place_hold
from retention.keeping import extend
from retention.notice import attempt, change_channel, prove_channel, send
from retention.outbox import LEASE, PAUSES, Row
from tests.conftest import Database, Engines
from tests.custody.story import COORDINATOR, NURSE, NURSE_2, OTHER_NURSE, Story, begin
from tests.desk.mailbox import Mailbox, mail_server
from tests.desk.test_sending import report
from tests.retention.kept import BELGIUM, DAY, adopt, check, kept

pytestmark = pytest.mark.anyio

ADDRESS = "somebody@post.example"  # what the story's victim agreed to
Advance = Callable[[timedelta], None]


@dataclass
class House:
    """A centre with one kit whose notice just fell due, over a channel that was proved the same day."""

    story: Story
    kit: str
    box: Mailbox
    settings: Settings
    advance: Advance

    def notifier(self) -> Notifier:
        return Notifier(self.settings, self.story.clerk.engine, self.story.clerk)

    async def attempts(self) -> list[str]:
        return [each.how for each in (await self.story.kit(self.kit)).attempts]

    async def row(self) -> Any:
        async with self.story.clerk.engine.connect() as connection:
            rows = await connection.execute(text("SELECT * FROM retention.outbox ORDER BY made_at DESC"))
            return rows.first()

    async def do(self, decide: Callable[[Seen], Any]) -> None:
        await self.story.do(NURSE, [self.kit], decide)

    def ids(self) -> list[str]:
        return [str(message_from_bytes(e.content or b"")["message-id"]) for e in self.box.received]  # type: ignore[arg-type]


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mail_server() as made:
        yield made


@pytest.fixture
async def house(
    engines: Engines, box: Mailbox, advance: Advance, tmp_path: Path, request: pytest.FixtureRequest
) -> House:
    story = await begin(engines.service, engines.clerk)
    await adopt(story)
    number = await kept(story, getattr(request, "param", "adult"))
    term = (await story.kit(number)).term
    assert term is not None
    advance(term.notice_on - term.start + DAY)
    order = ProveChannel(kit=number, how="message_shown")
    await story.do(NURSE, [number], lambda seen: prove_channel(seen.kit(number), order, NURSE))
    assert (await check(story)).notices_due == 1
    settings = replace(
        read({"CUSTODY_DATA": str(tmp_path)}),
        smtp=MailServer(host="127.0.0.1", port=box.port, implicit=False),
        notice_from=Sender("post@mail.example"),
    )
    return House(story, number, box, settings, advance)


# --- sending ----------------------------------------------------------------------------------------------


async def test_a_notice_that_falls_due_is_sent_recorded_and_settled(house: House) -> None:
    assert (await house.row()).done_at is None
    assert await house.notifier().send_due() == 1

    (received,) = house.box.received
    kit = await house.story.kit(house.kit)
    assert received.rcpt_tos == [ADDRESS]
    assert [(a.how, a.channel) for a in kit.attempts] == [("sent", "email")]
    assert kit.expires_at is not None
    assert (await house.row()).outcome == "sent"
    assert await house.notifier().send_due() == 0


async def test_neither_the_message_nor_its_marks_name_the_kit_or_the_event(house: House) -> None:
    event = (await house.row()).event
    await house.notifier().send_due()
    (raw,) = house.box.raw
    told = raw.decode().lower()
    for secret in (house.kit, event.hex()[:16], hashlib.sha256(event).hexdigest()[:16], "sterrenberg"):
        assert secret.lower() not in told


async def test_what_does_not_go_now_is_tried_again_at_growing_pauses_and_then_has_failed(
    house: House,
) -> None:
    house.box.to_recipients = ["450 try again"]
    for pause in PAUSES:
        assert await house.notifier().send_due() == 1
        house.advance(pause - timedelta(seconds=30))
        assert await house.notifier().send_due() == 0
        house.advance(timedelta(minutes=1))
    assert await house.notifier().send_due() == 1

    kit = await house.story.kit(house.kit)
    assert await house.attempts() == ["tried"] * len(PAUSES) + ["failed"]
    assert kit.expires_at is None
    assert (await house.row()).outcome == "failed"
    assert await house.notifier().send_due() == 0


async def test_a_message_that_goes_at_the_third_try_settles_the_notice(house: House) -> None:
    house.box.to_recipients = ["450 later", "451 later", "250 OK"]
    for pause in PAUSES[:3]:
        await house.notifier().send_due()
        house.advance(pause + timedelta(seconds=1))
    assert await house.attempts() == ["tried", "tried", "sent"]
    assert len(house.box.received) == 1


async def test_an_address_that_is_refused_is_work_for_a_person_at_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.box.to_recipients = ["550 no {address} here"]
    await house.notifier().send_due()
    assert await house.attempts() == ["failed"]
    assert (await house.story.kit(house.kit)).expires_at is None
    assert "recipient_refused (550)" in caplog.text
    assert ADDRESS not in caplog.text
    assert house.kit not in caplog.text


async def test_after_a_crash_between_acceptance_and_event_the_same_message_goes_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        """The process ended here."""

    async def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "answer", crash)
        with pytest.raises(Crash):
            await house.notifier().send_due()
    assert len(house.box.received) == 1
    assert await house.attempts() == []
    assert await house.notifier().send_due() == 0  # the lease of the one that is gone

    house.advance(LEASE + timedelta(seconds=1))
    assert await house.notifier().send_due() == 1

    assert len(house.box.received) == 2
    assert len(set(house.ids())) == 1
    assert await house.attempts() == ["sent"]


@pytest.mark.parametrize("refused", ["the end that it states", "whatever is said of it"])
async def test_a_message_whose_answer_the_database_refuses_never_goes_again_and_is_work_for_people(
    house: House, database: Database, refused: str
) -> None:
    told = (
        "values_ ? 'until' OR values_ ->> 'how' <> 'sent'" if refused == "the end that it states" else "true"
    )
    with database.connect("superuser") as connection:
        connection.execute("SET custody.maintenance = 'on'")
        connection.execute(
            "CREATE OR REPLACE FUNCTION custody.check_notice("
            " values_ jsonb, kit_ custody.kit, step_ custody.step) RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
            f" IF values_ ->> 'type' = 'notice.attempted' AND ({told}) THEN"
            " RAISE EXCEPTION 'the notice period would not be over' USING ERRCODE = 'CU002'; END IF; END $$"
        )
    for _ in range(len(PAUSES) + 3):
        await house.notifier().send_due()
        house.advance(DAY)

    assert len(house.box.received) == 1
    kit = await house.story.kit(house.kit)
    assert kit.expires_at is None
    async with seen_by(house.story.ledger.engine, NURSE) as connection_:
        message = (await outbox.of_kits(connection_, [house.kit]))[house.kit]
        at = await reading.now(connection_)
    assert outbox.stands(kit, BELGIUM[0], at, message, ["email"]) == "unrecorded"
    assert message.put_aside == (told == "true")
    assert "notice_not_settled" in {each.rule for each in alarms_of(kit, BELGIUM[0], at + 30 * DAY)}


async def test_a_message_that_kills_whoever_sends_it_is_not_sent_for_ever(house: House) -> None:
    for _ in range(len(PAUSES) + 1):
        assert await outbox.claim(house.story.clerk.engine, ["email"]) is not None
        house.advance(LEASE + timedelta(seconds=1))
    await house.notifier().send_due()
    assert house.box.received == []
    assert await house.attempts() == ["failed"]


async def test_two_replicas_never_send_the_same_message(house: House) -> None:
    first = await outbox.claim(house.story.clerk.engine, ["email"])
    assert first is not None
    assert await outbox.claim(house.story.clerk.engine, ["email"]) is None


async def test_a_claim_skips_the_row_that_another_is_claiming(house: House) -> None:
    engine = house.story.clerk.engine
    async with engine.begin() as other:
        await other.execute(text("SELECT event FROM retention.outbox FOR UPDATE"))
        assert await outbox.claim(engine, ["email"]) is None
    assert isinstance(await outbox.claim(engine, ["email"]), Row)


async def test_without_a_mail_server_nothing_is_claimed_and_nothing_is_lost(house: House) -> None:
    silent = replace(house.settings, smtp=None, notice_from=None)
    assert await Notifier(silent, house.story.clerk.engine, house.story.clerk).send_due() == 0
    assert (await house.row()).attempts == 0
    assert any("CUSTODY_SMTP_URL" in said for said in notifier.missing(silent))
    assert await house.notifier().send_due() == 1


async def test_no_transaction_is_open_while_a_mail_server_is_spoken_to(
    house: House, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    open_then: list[int] = []
    real = sending.send_mail

    def spying(*given: Any) -> sending.Outcome:
        with database.connect("superuser") as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'custody_clerk'"
                " AND datname = current_database() AND xact_start IS NOT NULL"
            ).fetchone()
            open_then.append(found[0] if found else -1)
        return real(*given)

    monkeypatch.setattr(notifier, "send_mail", spying)
    await house.notifier().send_due()
    assert open_then == [0]


# --- what overtakes it ------------------------------------------------------------------------------------


async def test_nothing_is_sent_once_the_kit_was_reported(house: House) -> None:
    order = DeclareReport(kit=house.kit, how="in_person")
    await house.do(lambda seen: declare(seen.kit(house.kit), order, NURSE))
    assert await house.notifier().send_due() == 0
    assert house.box.received == []
    assert (await house.row()).outcome == "overtaken"


async def test_nothing_is_sent_once_the_term_was_extended_and_the_next_notice_is_another_one(
    house: House,
) -> None:
    order = ExtendTerm(kit=house.kit, how="in_person")
    await house.do(lambda seen: extend(seen.kit(house.kit), order, NURSE, BELGIUM, seen.at))
    assert await house.notifier().send_due() == 0
    assert (await house.row()).outcome == "overtaken"


@pytest.mark.parametrize("ground", ["death", "incapacity"])
async def test_no_message_reaches_a_home_where_somebody_died_or_cannot_decide(
    house: House, ground: Any
) -> None:
    order = PlaceHold(kit=house.kit, ground=ground, reason="told by the family")
    await house.story.do(
        COORDINATOR,
        [house.kit],
        lambda seen: place_hold(seen.kit(house.kit), order, COORDINATOR, "ab" * 16, BELGIUM, seen.at),
    )
    await house.notifier().send_due()
    assert house.box.received == []
    assert (await house.row()).outcome == "not_wanted"
    assert (await house.story.kit(house.kit)).expires_at is None


async def test_nothing_goes_to_an_address_that_was_replaced_and_a_person_sends_to_the_new_one(
    house: House,
) -> None:
    order = ChangeChannel(
        kit=house.kit, channel="email", language="de", how="in_person", channel_address="new@post.example"
    )
    await house.do(lambda seen: change_channel(seen.kit(house.kit), order, NURSE, NURSE_2))
    await house.notifier().send_due()
    assert house.box.received == []
    assert (await house.row()).outcome == "not_wanted"

    await house.do(lambda seen: send(seen.kit(house.kit), SendNotice(kit=house.kit), NURSE))
    await house.notifier().send_due()

    (received,) = house.box.received
    assert received.rcpt_tos == ["new@post.example"]
    assert message_from_bytes(received.content or b"")["subject"] == "Erinnerung"  # type: ignore[arg-type]


@pytest.mark.parametrize("house", ["minor"], indirect=True)
async def test_a_message_that_waits_does_not_go_to_the_address_of_before_majority(house: House) -> None:
    order = ConfirmMajority(kit=house.kit, how="in_person")
    await house.do(lambda seen: confirm_majority(seen.kit(house.kit), order, NURSE, NURSE_2))
    await house.notifier().send_due()
    assert house.box.received == []
    assert (await house.row()).outcome == "not_wanted"


async def test_who_was_reached_by_telephone_meanwhile_gets_no_message(house: House) -> None:
    order = AttemptNotice(kit=house.kit, how="reached")
    await house.do(lambda seen: attempt(seen.kit(house.kit), order, NURSE, BELGIUM, seen.at))
    await house.notifier().send_due()
    assert house.box.received == []
    assert (await house.row()).outcome == "not_wanted"


# --- what comes back --------------------------------------------------------------------------------------


async def _came_back(house: House, data: bytes) -> str:
    return await bounced(house.settings, house.story.clerk.engine, house.story.clerk, data)


async def test_a_message_that_comes_back_is_work_for_a_person_once(house: House) -> None:
    await house.notifier().send_due()
    token = house.ids()[0].strip("<>").split("@")[0]

    first = await _came_back(house, report(token=token))
    head = (await house.story.kit(house.kit)).choices_head
    second = await _came_back(house, report(token=token, back_to=False))

    kit = await house.story.kit(house.kit)
    assert "list of work" in first
    assert first == second
    assert kit.choices_head == head
    assert [each.how for each in kit.attempts] == ["sent", "bounced"]
    assert kit.expires_at is None
    assert (await house.row()).outcome == "bounced"


async def test_a_report_about_nobodys_message_is_refused_and_one_that_is_overtaken_records_nothing(
    house: House,
) -> None:
    await house.notifier().send_due()
    with pytest.raises(Refused, match="no message of this service"):
        await _came_back(house, report())
    order = ExtendTerm(kit=house.kit, how="in_person")
    await house.do(lambda seen: extend(seen.kit(house.kit), order, NURSE, BELGIUM, seen.at))
    head = (await house.story.kit(house.kit)).choices_head
    token = house.ids()[0].strip("<>").split("@")[0]

    assert "nothing is recorded" in await _came_back(house, report(token=token))
    assert (await house.story.kit(house.kit)).choices_head == head


# --- who sees it ------------------------------------------------------------------------------------------


async def test_the_answer_names_the_event_that_asked(house: House) -> None:
    asked = (await house.row()).event.hex()
    await house.notifier().send_due()
    async with seen_by(house.story.ledger.engine, NURSE) as connection:
        trail = await reading.trail(connection, house.kit, Trail.CHOICES)
    by_type = {event.type: event for event in trail}
    assert by_type["notice.due"].digest == asked
    assert by_type["notice.attempted"].get("cites") == [asked]
    assert by_type["notice.attempted"].who["function"] == "clock"


async def test_the_service_sees_the_messages_of_its_own_centre_alone(house: House) -> None:
    for actor, expected in ((NURSE, {house.kit}), (OTHER_NURSE, set())):
        async with seen_by(house.story.ledger.engine, actor) as connection:
            assert set(await outbox.of_kits(connection, [house.kit])) == expected
