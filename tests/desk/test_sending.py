"""What leaves the house: read as a mail server received it, and as an operator's program was given it."""

import asyncio
import base64
import contextlib
import datetime as dt
import email
import ipaddress
import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email import policy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from desk.bounce import MOST_BYTES, NotABounce, token_of_bounce
from desk.couriers import Couriers
from desk.mail import CannotSend, MailServer, Sender, read_sender, read_server
from desk.notifier import channels, missing
from desk.postgres import free_port
from desk.sending import How, Message, send_mail, send_text, token_key, token_of
from desk.settings import CannotStart, environment_of, read
from desk.wording import LANGUAGES, telling, wording
from tests.custody.story import CENTRE, ORGANISATIONS, new_number
from tests.desk.mailbox import PASSWORD, USER, Mailbox, mail_server, notifying_server

FROM = Sender("post@mail.example")
TO = "canary.somebody@invented.example"
TOKEN = "abcdefghij234567abcdefghij"  # 26 letters and digits, as ours are
NOW = datetime(2026, 5, 16, 9, tzinfo=timezone(timedelta(hours=2)))


def message(language: str = "nl", channel: str = "email", to: str = TO) -> Message:
    return Message(channel=channel, to=to, language=language, token=TOKEN, at=NOW)


def at(box: Mailbox, host: str = "127.0.0.1") -> MailServer:
    return MailServer(host=host, port=box.port, implicit=False)


# --- what is in it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_message_tells_nothing_to_whoever_reads_over_a_shoulder(language: str) -> None:
    with mail_server() as box:
        assert send_mail(message(language), at(box), FROM).how is How.SENT

    (raw,) = box.raw
    told = raw.decode().lower()
    read = email.message_from_bytes(raw.split(b"\n\n", 1)[1], policy=policy.default)
    words = read.get_content().lower()
    shown = f"{read['subject']} {read['from'].addresses[0].display_name} {words}"
    assert telling(shown) is None
    for number in range(10):
        assert str(number) not in shown
    for organisation, (_, name) in ORGANISATIONS.items():
        assert organisation not in told
        assert name.lower() not in told
    ours = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"}
    assert set(read.keys()) == ours | {"Content-Type", "Content-Transfer-Encoding"}
    assert read["auto-submitted"] == "auto-generated"
    assert read["date"].datetime == NOW
    assert read["date"].endswith("+0000")


def test_the_four_languages_say_the_same_and_nothing_that_is_forbidden() -> None:
    texts = [wording(each) for each in LANGUAGES]
    assert len({frozenset(each) for each in texts}) == 1
    assert len({each["subject"] for each in texts}) == len(LANGUAGES)
    for each in texts:
        for name in ("sender", "subject", "body", "short"):
            assert telling(each[name]) is None, each[name]
        assert len(each["short"]) <= 140
    assert telling("Zorgcentrum Sterrenberg") == "zorgcentrum"
    assert telling("see https://mail.example") is not None
    assert telling(f"kit {new_number()}") == "kit"
    assert wording("xx") == wording("en")


def test_the_greeting_and_the_envelope_name_neither_this_machine_nor_a_kit() -> None:
    with mail_server() as box:
        send_mail(message(), at(box), FROM)

    assert set(box.greetings) == {"mail.example"}
    (envelope,) = box.received
    assert envelope.mail_from == f"post+{TOKEN}@mail.example"
    assert CENTRE not in str(envelope.content)


def test_a_server_that_can_is_asked_to_send_back_the_headers_alone_under_our_own_name() -> None:
    with notifying_server() as (port, lines):
        outcome = send_mail(message(), MailServer(host="127.0.0.1", port=port, implicit=False), FROM)
    assert outcome.how is How.SENT
    assert f"mail FROM:<post+{TOKEN}@mail.example> RET=HDRS ENVID={TOKEN}" in lines
    assert f"rcpt TO:<{TO}> NOTIFY=FAILURE" in lines
    assert lines[-1].lower() == "quit"


def test_a_token_comes_from_a_key_of_its_own_and_never_changes(tmp_path: Path) -> None:
    key, other = token_key(tmp_path / "keys"), token_key(tmp_path / "others")
    event = bytes(range(32))
    assert token_key(tmp_path / "keys") == key
    assert token_of(key, event) == token_of(key, event)
    assert len({token_of(key, event), token_of(other, event), token_of(key, bytes(32))}) == 3
    assert event.hex()[:12] not in token_of(key, event)
    (tmp_path / "keys" / "notices.key").chmod(0o644)
    with pytest.raises(CannotSend, match="can be read by others"):
        token_key(tmp_path / "keys")


# --- what a server says -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "how"),
    [
        ("250 OK", How.SENT),
        ("450 {address} try again", How.TRIED),
        ("421 closing", How.TRIED),
        ("550 no such user {address}", How.FAILED),
        ("553 {address} not allowed", How.FAILED),
    ],
)
def test_a_refusal_of_the_recipient_is_final_with_five_and_passes_with_four(answer: str, how: How) -> None:
    with mail_server() as box:
        box.to_recipients = [answer]
        outcome = send_mail(message(), at(box), FROM)
    assert outcome.how is how
    assert TO not in f"{outcome} {outcome!r}"


@pytest.mark.parametrize(("answer", "how"), [("451 later", How.TRIED), ("554 spam?", How.FAILED)])
def test_a_refusal_of_the_content_counts_like_one_of_the_recipient(answer: str, how: How) -> None:
    with mail_server() as box:
        box.to_contents = [answer]
        assert send_mail(message(), at(box), FROM).how is how
    assert box.received == []


def test_no_server_is_tried_later_and_no_address_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    outcome = send_mail(message(), MailServer(host="127.0.0.1", port=free_port(), implicit=False), FROM)
    assert outcome.how is How.TRIED
    assert TO not in f"{outcome!r} {caplog.text} {message()!r}"


def test_a_server_elsewhere_without_encryption_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server() as box:
        monkeypatch.setattr(MailServer, "loopback", False)
        outcome = send_mail(message(), at(box), FROM)
    assert (outcome.how, outcome.why, box.asked) == (How.TRIED, "no_tls", 0)


def test_only_this_machine_counts_as_near() -> None:
    near = [MailServer(host=h, port=25, implicit=False).loopback for h in ("localhost", "127.0.0.9", "::1")]
    far = [MailServer(host=h, port=25, implicit=False).loopback for h in ("mail.example", "10.0.0.1")]
    assert all(near)
    assert not any(far)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - dt.timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, private


def test_it_signs_in_under_encryption_to_a_server_whose_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = _certificate(tmp_path)
    with mail_server(certificate, sign_in=True) as box:
        url = f"smtp://relay%40invented.example:p%3Ass%2Fw%25rd@127.0.0.1:{box.port}"
        server = read_server(url)
        assert (server.user, server.password) == (USER, PASSWORD)
        untrusted = send_mail(message(), server, FROM)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        trusted = send_mail(message(), server, FROM)
        wrong = send_mail(message(), read_server(url.replace("p%3Ass", "pass")), FROM)

    assert (untrusted.how, untrusted.why) == (How.TRIED, "certificate_not_trusted")
    assert trusted.how is How.SENT
    assert box.encrypted == [True]
    assert (wrong.how, wrong.why) == (How.TRIED, "sign_in_refused")


# --- a server that does not end ---------------------------------------------------------------------------


@contextlib.contextmanager
def endless(piece: bytes, pause: float, first: bytes = b"220 receiver.example\r\n") -> Iterator[MailServer]:
    """A server that says the same again and again, and never comes to an end."""
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as stack:
        over = threading.Event()
        stack.callback(over.set)

        def talk() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                    with connection:
                        connection.sendall(first)
                        while not over.wait(pause):
                            connection.sendall(piece)
                except OSError:
                    if over.is_set() or listening.fileno() < 0:
                        return

        threading.Thread(target=talk, daemon=True).start()
        yield MailServer(host="127.0.0.1", port=listening.getsockname()[1], implicit=False)


@pytest.mark.parametrize(
    ("piece", "first"),
    [(b"250-x\r\n", b"220 hi\r\n"), (b"2", b"2"), (b"", b"220 hi\r\n")],
    ids=["a line at a time", "a byte at a time", "silent"],
)
def test_a_server_whose_answer_never_ends_is_left_at_the_deadline(piece: bytes, first: bytes) -> None:
    with endless(piece, 0.05, first) as server:
        outcome = send_mail(message(), server, FROM, within=0.5)
    assert (outcome.how, outcome.why) == (How.TRIED, "too_slow")


def test_a_server_that_never_answers_the_beginning_of_encryption_is_left_too() -> None:
    with endless(b"", 0.05, b"") as server:
        outcome = send_mail(message(), replace(server, implicit=True), FROM, within=0.5)
    assert (outcome.how, outcome.why) == (How.TRIED, "too_slow")


def test_a_server_that_answers_with_a_flood_is_left_before_it_fills_the_memory() -> None:
    with endless(b"250-" + b"x" * 4000 + b"\r\n", 0) as server:
        outcome = send_mail(message(), server, FROM)
    assert (outcome.how, outcome.why) == (How.TRIED, "server_says_too_much")


@pytest.mark.anyio
async def test_servers_that_hang_hold_up_no_thread_but_those_of_the_couriers() -> None:
    couriers = Couriers()
    with endless(b"250-x\r\n", 0.05) as server:
        errand = partial(send_mail, message(), server, FROM, 3.0)
        waiting = [asyncio.create_task(couriers.run(errand, wait=0.5)) for _ in range(8)]
        assert await asyncio.to_thread(lambda: "made") == "made"
        outcomes = await asyncio.gather(*waiting)
    assert {(each.how, each.why) for each in outcomes} == {(How.TRIED, "too_slow")}
    named = [each for each in threading.enumerate() if each.name == "courier"]
    assert all(each.daemon for each in named)


def test_a_process_ends_at_once_while_a_server_hangs() -> None:
    program = (
        "import asyncio, sys\n"
        "from functools import partial\n"
        "from desk.couriers import Couriers\n"
        "from desk.sending import send_mail\n"
        "from tests.desk.test_sending import FROM, MailServer, message\n"
        "async def main():\n"
        "    server = MailServer(host='127.0.0.1', port=int(sys.argv[1]), implicit=False)\n"
        "    sending = asyncio.create_task(Couriers().run(partial(send_mail, message(), server, FROM)))\n"
        "    await asyncio.sleep(0.5)\n"
        "    print('sending', not sending.done(), flush=True)\n"
        "asyncio.run(main())\n"
    )
    with endless(b"250-x\r\n", 0.05) as server:
        ran = subprocess.run(
            [sys.executable, "-c", program, str(server.port)], capture_output=True, text=True, timeout=20
        )
    assert (ran.returncode, ran.stdout) == (0, "sending True\n"), ran.stderr


# --- text messages ----------------------------------------------------------------------------------------


def _program(folder: Path, status: int, seconds: float = 0) -> tuple[str, ...]:
    """A program that keeps what it was given beside it, and its environment, and ends with this status."""
    path = folder / "send.py"
    path.write_text(
        "import json, os, sys, time\n"
        f"open({str(folder / 'given.json')!r}, 'w').write(sys.stdin.read())\n"
        f"json.dump(dict(os.environ), open({str(folder / 'environment.json')!r}, 'w'))\n"
        "print('the number is in here')\n"
        f"time.sleep({seconds})\n"
        f"sys.exit({status})\n"
    )
    return (sys.executable, str(path))


@pytest.mark.parametrize(
    ("status", "how"), [(0, How.SENT), (75, How.TRIED), (1, How.FAILED), (69, How.FAILED)]
)
def test_the_program_says_by_its_status_how_it_went(
    tmp_path: Path, status: int, how: How, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUSTODY_DATABASE_URL", "postgresql://secret")
    outcome = send_text(message("fr", "sms", "+32400000000"), _program(tmp_path, status))
    given = json.loads((tmp_path / "given.json").read_text())
    assert outcome.how is how
    assert given == {"to": "+32400000000", "text": wording("fr")["short"], "id": TOKEN}
    assert not [n for n in json.loads((tmp_path / "environment.json").read_text()) if n.startswith("CUSTODY")]
    assert capfd.readouterr() == ("", "")


def test_a_program_that_a_signal_ends_has_not_said_no(tmp_path: Path) -> None:
    path = tmp_path / "killed.py"
    path.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    outcome = send_text(message(channel="sms"), (sys.executable, str(path)))
    assert (outcome.how, outcome.why) == (How.TRIED, "program_was_stopped")


def test_a_program_that_hangs_or_is_not_there_is_asked_again_later(tmp_path: Path) -> None:
    slow = send_text(message(channel="sms"), _program(tmp_path, 0, 60), within=0.5)
    gone = send_text(message(channel="sms"), (str(tmp_path / "nothing"),))
    assert (slow.how, slow.why) == (How.TRIED, "program_too_slow")
    assert (gone.how, gone.why) == (How.TRIED, "program_cannot_be_run")


# --- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "mail.example",
        "http://mail.example",
        "smtp://",
        "smtp://u@mail.example",
        "smtp://h:x",
        "smtp://h/path",
    ],
)
def test_an_address_of_a_mail_server_is_read_strictly_and_never_repeated(value: str) -> None:
    with pytest.raises(CannotSend) as refused:
        read_server(value.replace("//", "//user:secret-word@", 1) if value == "smtp://h:x" else value)
    assert "secret-word" not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "post",
        "a+b@mail.example",
        "Police <post@mail.example>",
        "post@zsg.example",
        f"{'a' * 38}@m.example",
    ],
)
def test_a_sender_that_would_tell_or_cannot_be_answered_is_refused(value: str) -> None:
    with pytest.raises(CannotSend):
        read_sender(value)


def test_a_neutral_sender_is_taken_with_its_name_or_without() -> None:
    assert read_sender("Nieuws <post@mail.example>") == Sender("post@mail.example", "Nieuws")
    assert read_sender("post@mail.example").returned_to(TOKEN) == f"post+{TOKEN}@mail.example"


def test_the_settings_of_sending_come_back_as_they_were_and_no_password_is_shown() -> None:
    given = {
        "CUSTODY_SMTP_URL": "smtps://relay%40invented.example:se%3Acret@mail.example:465",
        "CUSTODY_NOTICE_FROM": "Nieuws <post@mail.example>",
        "CUSTODY_SMS_COMMAND": f"{sys.executable} -c 'import sys'",
    }
    settings = read(given)
    again = read(environment_of(settings))
    assert (again.smtp, again.notice_from, again.sms_command) == (
        settings.smtp,
        settings.notice_from,
        settings.sms_command,
    )
    assert "se:cret" not in repr(settings)
    assert channels(settings) == ("email", "sms")
    assert missing(settings) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTP_URL", "smtp://u:secret-word@mail.example"),
        ("NOTICE_FROM", "post@mail.example"),
        ("SMS_COMMAND", "no-such-program-anywhere --send"),
        ("SMS_COMMAND", "'unfinished"),
    ],
)
def test_half_a_setting_or_a_program_that_is_not_there_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(CannotStart) as refused:
        read({f"CUSTODY_{name}": value})
    assert f"CUSTODY_{name}" in str(refused.value)
    assert "secret-word" not in str(refused.value)


def test_without_settings_the_service_says_what_is_work_for_a_person() -> None:
    assert [said.split()[0] for said in missing(read({}))] == ["CUSTODY_SMTP_URL", "CUSTODY_SMS_COMMAND"]


# --- what comes back --------------------------------------------------------------------------------------


def report(
    *,
    token: str = TOKEN,
    back_to: bool = True,
    envelope_id: bool = True,
    returned: bool = True,
    action: str = "failed",
    kind: str = "delivery-status",
) -> bytes:
    """A delivery status notification as RFC 3464 describes it."""
    to = f"post+{token}@mail.example" if back_to else "post@mail.example"
    parts = [
        "Content-Type: text/plain\n\nYour message could not be delivered.",
        "Content-Type: message/delivery-status\n\nReporting-MTA: dns; receiver.example\n"
        + (f"Original-Envelope-Id: {token}\n" if envelope_id else "")
        + f"\nFinal-Recipient: rfc822; {TO}\nAction: {action}\nStatus: 5.1.1\n",
    ]
    if returned:
        parts.append(f"Content-Type: text/rfc822-headers\n\nMessage-ID: <{token}@mail.example>\nTo: {TO}\n")
    body = "".join(f"--edge\n{part}\n" for part in parts) + "--edge--\n"
    head = f"From: MAILER-DAEMON@receiver.example\nTo: {to}\nSubject: Undelivered\nMIME-Version: 1.0\n"
    return (head + f'Content-Type: multipart/report; report-type={kind}; boundary="edge"\n\n{body}').encode()


def test_a_report_is_believed_by_any_of_the_three_places_of_the_token() -> None:
    for keep in ("back_to", "envelope_id", "returned"):
        places = {each: each == keep for each in ("back_to", "envelope_id", "returned")}
        assert token_of_bounce(report(**places)) == TOKEN  # type: ignore[arg-type]
    assert token_of_bounce(report().replace(b"\n", b"\r\n")) == TOKEN
    assert token_of_bounce(report().replace(f"+{TOKEN}".encode(), f"+{TOKEN.upper()}".encode())) == TOKEN


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"\xff\x00" * 50,
        b"From: a@b.example\nTo: post+" + TOKEN.encode() + b"@mail.example\n\nI am away until Monday.",
        report(action="delayed"),
        report(action="delivered"),
        report(kind="disposition-notification"),
        report(back_to=False, envelope_id=False, returned=False),
        report().replace(b"message/delivery-status", b"text/plain"),
        report().replace(f"Envelope-Id: {TOKEN}".encode(), b"Envelope-Id: " + b"z" * 26),
        b"x" * MOST_BYTES + report(),
        report().replace(b"Subject: ", b"Subject: " + b"x" * 1000),
        report().replace(b"--edge\n", b"--edge\n\n" * 50, 1),
        report().replace(b"boundary=", b"a" * 2000 + b"; boundary="),
        report().replace(b'boundary="edge"', b'boundary=""'),
        report().replace(b'boundary="edge"', b'boundary="edge"; boundary="other"'),
        report(back_to=False, envelope_id=False).replace(
            b"text/rfc822-headers", b"text/rfc822-headers\nContent-Transfer-Encoding: base64"
        ),
        report().replace(
            b"message/delivery-status", b"message/delivery-status\nContent-Transfer-Encoding: x"
        ),
        report(back_to=False).replace(f"<{TOKEN}@".encode(), b"<" + b"b" * 26 + b"@"),
    ],
    ids=range(19),
)
def test_what_is_no_report_of_a_failure_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(NotABounce):
        token_of_bounce(data)


@pytest.mark.parametrize(
    "broken", ["<", '"', "a@[", "(" * 900, "=?utf-8?b?" + "A" * 900, "a:;", ":;", '"\\\\', "\x00"]
)
def test_a_field_that_is_not_written_as_it_should_be_breaks_nothing(broken: str) -> None:
    places = [
        f"post+{TOKEN}@mail.example".encode(),
        f"<{TOKEN}@mail.example>".encode(),
        TOKEN.encode(),
        b"failed",
    ]
    for place in places:
        changed = report().replace(place, broken.encode())
        assert changed != report()
        with contextlib.suppress(NotABounce):
            assert token_of_bounce(changed) == TOKEN


def test_a_report_that_is_encoded_or_kept_in_a_mailbox_file_is_read() -> None:
    returned = f"Message-ID: <{TOKEN}@mail.example>\nTo: {TO}\n".encode()
    bare = report(back_to=False, envelope_id=False)
    encoded = bare.replace(b"rfc822-headers\n", b"rfc822-headers\nContent-Transfer-Encoding: base64\n")
    assert token_of_bounce(encoded.replace(returned, base64.encodebytes(returned))) == TOKEN
    quoted = bare.replace(
        b"rfc822-headers\n", b"rfc822-headers\nContent-Transfer-Encoding: quoted-printable\n"
    )
    assert token_of_bounce(quoted.replace(b"@mail.example>", b"=40mail.example>")) == TOKEN
    assert token_of_bounce(b"From MAILER-DAEMON Sat May 16 09:00:00 2026\n" + report()) == TOKEN
    folded = report().replace(b"report; ", b"report;\n\t").replace(b'y"; b', b'y";\n b')
    assert token_of_bounce(folded) == TOKEN


@given(st.lists(st.tuples(st.integers(0, 900), st.binary(max_size=4), st.integers(0, 4)), max_size=8))
def test_whatever_is_changed_in_a_report_it_names_ours_or_is_refused(
    changes: list[tuple[int, bytes, int]],
) -> None:
    data = report()
    for place, inserted, left_out in changes:
        data = data[:place] + inserted + data[place + left_out :]
    with contextlib.suppress(NotABounce):
        assert len(token_of_bounce(data)) == len(TOKEN)


def test_a_report_of_the_longest_kind_is_read_in_steps_that_grow_with_its_length() -> None:
    """Counted, not timed: how many lines of Python ran for a report twice as long."""

    def steps(piece: bytes, times: int) -> int:
        data = report().replace(b"\nFinal-Recipient", piece * times + b"\nFinal-Recipient")
        count = 0

        def counted(*_: object) -> Any:
            nonlocal count
            count += 1
            return counted

        before = sys.gettrace()
        sys.settrace(counted)
        try:
            with contextlib.suppress(NotABounce):
                token_of_bounce(data)
        finally:
            sys.settrace(before)
        return count

    for piece in (b"\n\n", b"a: b\n\n", b"a: b\n", b" b\n", b"\n--edge\n"):
        assert steps(piece, 2000) <= 2.5 * steps(piece, 1000)
