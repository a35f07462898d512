"""A bundle that leaves the service: whole, strict, checked without us, honest about what it does not say."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import log, sign
from audit.key import ED25519, ML_DSA_44, SigningKey, write_keys
from audit.keybox import create_keys, open_box
from audit.sign import Signer
from audit.verify import VerificationError
from custody.bundle import (
    MOST_TOTAL,
    NOT_PROVED,
    Bundle,
    BundleRefused,
    NotYetInLog,
    check,
    collect,
    fingerprint,
    make,
    read,
)
from custody.event import Event
from custody.ledger import reading as seen_by
from tests.conftest import Engines
from tests.custody.story import COORDINATOR, MAGISTRATE, begin
from tests.custody.trails import (
    CASPER,
    KEYS,
    KIT,
    LINK,
    NORA,
    ORIGIN,
    OSCAR,
    TO_THE_STORE,
    VKEYS,
    logged,
    trail,
)

OTHER_KEYS = tuple(SigningKey(ORIGIN, bytes(32), kind) for kind in (ED25519, ML_DSA_44))


def packed(events: list[Event]) -> bytes:
    data = [event.bytes for event in events]
    signed = logged(data)
    return make(data, signed.proofs, signed.note, kit=KIT, origin=ORIGIN, fingerprint=fingerprint(VKEYS))


BUNDLE = packed(trail(TO_THE_STORE))


def files(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed_again(content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return made.getvalue()


def outcome(bundle: Bundle, vkey: str | None = VKEYS) -> dict[int, bool]:
    return {finding.number: finding.holds for finding in check(bundle, vkey).findings}


ALL_HOLD = dict.fromkeys(range(1, 7), True)


# --- what is in it ------------------------------------------------------------------------


def test_a_bundle_reads_back_as_it_was_made_and_every_check_holds() -> None:
    bundle = read(BUNDLE)
    assert bundle.kit == KIT
    assert list(bundle.events) == [event.bytes for event in trail(TO_THE_STORE)]
    verdict = check(bundle, VKEYS)
    assert outcome(bundle) == ALL_HOLD
    assert verdict.holds
    assert verdict.checkpoint is not None
    assert verdict.checkpoint.size == 306
    assert verdict.not_proved == NOT_PROVED


def test_the_same_content_makes_the_same_bytes() -> None:
    made = packed(trail(TO_THE_STORE))
    again = read(made)
    fingerprint_ = fingerprint(VKEYS)
    assert made == make(
        again.events, again.proofs, again.note, kit=KIT, origin=ORIGIN, fingerprint=fingerprint_
    )


def test_sha256sum_of_an_event_is_its_leaf_and_stands_in_the_next_event() -> None:
    content = files(BUNDLE)
    digest = sha256(content["events/0001.json"]).hexdigest()
    assert json.loads(content["events/0002.json"])["previous"] == digest


def test_the_readme_names_the_key_to_compare_and_what_is_not_proved() -> None:
    told = files(BUNDLE)["README.txt"].decode()
    assert fingerprint(VKEYS) in told
    assert KEYS[0].verifier.key_id.hex() in told
    assert VKEYS not in told
    assert all(sentence in told for sentence in NOT_PROVED)


def test_the_public_key_itself_is_nowhere_in_the_bundle() -> None:
    assert VKEYS.encode() not in BUNDLE


def test_the_fingerprint_is_what_sha256sum_prints_of_the_key_file(tmp_path: Path) -> None:
    path = tmp_path / "events.vkey"
    path.write_text(VKEYS)
    printed = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == fingerprint(VKEYS)


def test_a_bundle_without_events_is_not_made() -> None:
    with pytest.raises(BundleRefused):
        make([], [], logged([]).note, kit=KIT, origin=ORIGIN)


# --- what is not a bundle -----------------------------------------------------------------


def test_a_bundle_packed_again_with_compression_is_still_the_same_bundle() -> None:
    assert read(packed_again(files(BUNDLE), zipfile.ZIP_DEFLATED)) == read(BUNDLE)


def changed(**more: bytes) -> dict[str, bytes]:
    return {**files(BUNDLE), **more}


NOT_BUNDLES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "not a .zip"),
    "a text": (lambda: b"x" * 100, "not a .zip"),
    "cut short": (lambda: BUNDLE[:-1], "not a .zip"),
    "something after it": (lambda: BUNDLE + b"x", "not a .zip"),
    "something before it": (lambda: b"x" * 64 + BUNDLE, "added"),
    "a missing event": (
        lambda: packed_again({k: v for k, v in files(BUNDLE).items() if k != "events/0003.json"}),
        "events/0003.json is missing",
    ),
    "a missing checkpoint": (
        lambda: packed_again({k: v for k, v in files(BUNDLE).items() if k != "checkpoint.txt"}),
        "checkpoint.txt is missing",
    ),
    "one event too many": (
        lambda: packed_again(changed(**{"events/0007.json": b"{}"})),
        "'events/0007.json' does not belong",
    ),
    "a path out of the folder": (
        lambda: packed_again(changed(**{"../evil": b""})),
        "'../evil' does not belong",
    ),
    "an absolute path": (lambda: packed_again(changed(**{"/etc/x": b""})), "does not belong"),
    "a folder": (lambda: packed_again(changed(**{"events/": b""})), "no plain file"),
    "a name with a null": (
        lambda: BUNDLE.replace(b"README.txt", b"README\x00txt"),
        "no plain file|missing|damaged",
    ),
    "another manifest spelling": (
        lambda: packed_again(changed(**{"bundle.json": files(BUNDLE)["bundle.json"] + b"\n"})),
        "bundle.json",
    ),
    "a later format": (
        lambda: packed_again(
            changed(**{"bundle.json": files(BUNDLE)["bundle.json"].replace(b'"format":1', b'"format":2')})
        ),
        "does not know",
    ),
    "a manifest of a million events": (
        lambda: packed_again(
            changed(**{"bundle.json": files(BUNDLE)["bundle.json"].replace(b":6,", b":1000000,")})
        ),
        "bundle.json",
    ),
    "a log's name that steers a terminal": (
        lambda: packed_again(
            changed(
                **{"bundle.json": files(BUNDLE)["bundle.json"].replace(b"/log", "/\x9b2J\u202elog".encode())}
            )
        ),
        "bundle.json",
    ),
    "an event larger than an event": (
        lambda: packed_again(changed(**{"events/0001.json": b"x" * 65_537})),
        "larger than",
    ),
    "a zip bomb": (
        lambda: packed_again(changed(**{"README.txt": bytes(MOST_TOTAL + 1)}), zipfile.ZIP_DEFLATED),
        "larger than",
    ),
    "packed in another way": (lambda: packed_again(files(BUNDLE), zipfile.ZIP_LZMA), "packed in a way"),
}


@pytest.mark.parametrize("name", NOT_BUNDLES)
def test_what_is_not_a_bundle_is_refused_in_words(name: str) -> None:
    make_it, words = NOT_BUNDLES[name]
    with pytest.raises(BundleRefused, match=words):
        read(make_it())


def test_a_file_that_is_there_twice_is_refused() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files(BUNDLE).items():
            archive.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("README.txt", b"another")
    with pytest.raises(BundleRefused, match=r"README\.txt' is there twice"):
        read(made.getvalue())


def test_an_encrypted_file_is_refused() -> None:
    data = bytearray(BUNDLE)
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BundleRefused, match="no plain file"):
        read(bytes(data))


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(BUNDLE) - 1), to=st.integers(0, 255))
def test_whatever_byte_is_changed_it_is_refused_or_fails_or_was_never_evidence(at: int, to: int) -> None:
    """Only the README and details of the packing can change unnoticed: they prove nothing."""
    data = bytearray(BUNDLE)
    data[at] = to
    try:
        bundle = read(bytes(data))
    except BundleRefused:
        return
    if check(bundle, VKEYS).holds:
        assert replace(bundle, readme="") == replace(read(BUNDLE), readme="")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_at_all_are_refused_with_the_one_refusal(data: bytes) -> None:
    with pytest.raises(BundleRefused):
        read(data)
    with pytest.raises(BundleRefused):
        read(data + BUNDLE[-22:])


# --- the checks ---------------------------------------------------------------------------


def rebuilt(events: list[bytes], others: int = 300) -> Bundle:
    """A bundle over these bytes, properly in the log and signed: what a forger with the key could make."""
    signed = logged(events, others)
    return Bundle(
        kit=KIT, origin=ORIGIN, events=tuple(events), proofs=signed.proofs, note=signed.note, readme=""
    )


def fails(bundle: Bundle, number: int, words: str, vkey: str | None = VKEYS) -> None:
    """Exactly this check fails, and says so."""
    verdict = check(bundle, vkey)
    assert outcome(bundle, vkey) == {**ALL_HOLD, number: False}
    assert words in verdict.findings[number - 1].words


def test_check_1_fails_for_a_proof_that_is_none() -> None:
    bundle = read(BUNDLE)
    broken = replace(bundle, proofs=(b"nonsense", *bundle.proofs[1:]))
    assert outcome(broken) == {**ALL_HOLD, 1: False, 5: False}
    assert "proofs/0001.tlog-proof" in check(broken, VKEYS).findings[0].words


def test_check_1_fails_for_a_checkpoint_of_another_log_than_the_one_named() -> None:
    fails(replace(read(BUNDLE), origin="other.example/log"), 1, "the bundle names other.example/log")


def test_check_2_fails_for_another_key_of_the_same_name() -> None:
    fails(read(BUNDLE), 2, "not to be trusted", write_keys(key.verifier for key in OTHER_KEYS))


def test_without_a_key_the_rest_is_checked_and_the_whole_does_not_hold() -> None:
    fails(read(BUNDLE), 2, "must come from elsewhere", None)
    assert check(read(BUNDLE), None).checkpoint is None


def test_a_text_that_is_no_key_is_a_fault_of_the_caller() -> None:
    with pytest.raises(VerificationError):
        check(read(BUNDLE), "not a key")


def test_check_3_fails_for_another_spelling_of_the_same_event() -> None:
    events = [event.bytes for event in trail(TO_THE_STORE)]
    events[-1] = events[-1] + b"\n"
    bundle = rebuilt(events)
    assert outcome(bundle) == {**ALL_HOLD, 3: False, 4: False}
    assert "events/0006.json" in check(bundle, VKEYS).findings[2].words


def test_check_4_fails_for_an_event_left_out_in_the_middle() -> None:
    events = [event.bytes for event in trail(TO_THE_STORE)]
    bundle = rebuilt(events[:3] + events[4:])
    assert outcome(bundle)[4] is False
    assert "Where event 4 should stand there is number 5" in check(bundle, VKEYS).findings[3].words


def test_check_4_fails_for_a_trail_that_does_not_begin_at_its_beginning() -> None:
    assert outcome(rebuilt([event.bytes for event in trail(TO_THE_STORE)][1:]))[4] is False


def test_check_4_fails_for_events_of_another_kit() -> None:
    bundle = replace(read(BUNDLE), kit="0" * 12)
    fails(bundle, 4, f"belongs to another trail, custody:{KIT}")


def test_check_4_fails_for_an_event_put_in_the_place_of_another() -> None:
    forged = list(TO_THE_STORE)
    forged[2] = ("package.sealed", NORA, {"packages": [{"package": 1, "seal": "S-6666"}]})
    true, false = trail(TO_THE_STORE), trail(forged)
    bundle = rebuilt([event.bytes for event in [*true[:2], false[2], *true[3:]]])
    assert outcome(bundle)[4] is False
    assert "Event 4 does not name the digest" in check(bundle, VKEYS).findings[3].words


def test_check_4_fails_where_time_runs_backwards() -> None:
    values = [json.loads(event.bytes) for event in trail(TO_THE_STORE)]
    values[5]["recorded_at"] = "2026-05-01T00:00:00.000000Z"
    events = [json.dumps(each, separators=(",", ":"), ensure_ascii=False).encode() for each in values]
    fails(rebuilt(events), 4, "Event 6 was recorded before the event before it")


def test_check_5_fails_for_an_event_that_was_never_in_the_log() -> None:
    longer = trail([*TO_THE_STORE, ("package.taken", CASPER, {"packages": [{"package": 1}]})])
    bundle = read(BUNDLE)
    bundle = replace(
        bundle, events=(*bundle.events, longer[6].bytes), proofs=(*bundle.proofs, bundle.proofs[5])
    )
    fails(bundle, 5, "Event 7 is not shown to be in the log")


def test_check_5_fails_for_proofs_under_another_checkpoint() -> None:
    events = [event.bytes for event in trail(TO_THE_STORE)]
    bundle = replace(rebuilt(events), proofs=logged(events, others=100).proofs)
    assert outcome(bundle) == {**ALL_HOLD, 5: False}


Told = tuple[str, dict[str, Any], dict[str, Any]]
ONE: dict[str, Any] = {"packages": [{"package": 1}]}
WITH_TWO = {"with": [{"part": "approver", **NORA}, {"part": "observer", **OSCAR}]}
NOT_STEPS: dict[str, tuple[list[Told], str]] = {
    "accepted without an offer": (
        [
            (
                "handover.accepted",
                CASPER,
                {**ONE, "handover": "cd" * 16, "counterpart": {"person": "nora", "name": "Nora Nachtwacht"}},
            )
        ],
        "no such step from custody stored",
    ),
    "a package that was never packed": (
        [("package.taken", CASPER, {"packages": [{"package": 2}]})],
        "package 2",
    ),
    "released before it was linked": (
        [("package.taken", CASPER, ONE), ("kit.released", OSCAR, ONE)],
        "no choices of the victim",
    ),
    "destroyed by one person": ([("package.destroyed", CASPER, ONE)], "takes 3 people"),
    "destroyed by one person who signed three times": (
        [
            (
                "package.destroyed",
                CASPER,
                {**ONE, "with": [{"part": "approver", **CASPER}, {"part": "observer", **CASPER}]},
            )
        ],
        "takes 3 people",
    ),
    "destroyed once linked": (
        [("kit.linked", CASPER, {"link": LINK}), ("package.destroyed", CASPER, {**ONE, **WITH_TWO})],
        "no choices of the victim",
    ),
    "linked after it was destroyed": (
        [("package.destroyed", CASPER, {**ONE, **WITH_TWO}), ("kit.linked", CASPER, {"link": LINK})],
        "no choices of the victim",
    ),
    "registered twice": ([TO_THE_STORE[0]], "registered once"),
    "a step of the other trail": ([("notice.due", NORA, {})], "has no such step"),
    "a link that says nothing": ([("kit.linked", CASPER, {})], "does not state link"),
    "a refusal of an unknown hand-over": (
        [("handover.carried", CASPER, {**ONE, "handover": "cd" * 16, "carrier": {"name": "Koen"}})],
        "no such step",
    ),
}


@pytest.mark.parametrize("name", NOT_STEPS)
def test_check_6_fails_for_steps_that_no_choices_could_allow(name: str) -> None:
    more, words = NOT_STEPS[name]
    bundle = rebuilt([event.bytes for event in trail([*TO_THE_STORE, *more])])
    fails(bundle, 6, words)


STEPS_THAT_MAY_BE: dict[str, list[Told]] = {
    "linked, because a report may have been declared": [
        ("kit.linked", CASPER, {"link": LINK}),
        ("package.taken", CASPER, ONE),
        ("kit.released", OSCAR, ONE),
    ],
    "destroyed, because the disposal may have been carried out": [
        ("package.destroyed", CASPER, {**ONE, **WITH_TWO})
    ],
    "linked in error, and destroyed after the term": [
        ("kit.linked", CASPER, {"link": LINK}),
        ("link.in_error", CASPER, {"reason": "another kit", "with": [{"part": "second", **NORA}]}),
        ("package.destroyed", CASPER, {**ONE, **WITH_TWO}),
    ],
}


@pytest.mark.parametrize("name", STEPS_THAT_MAY_BE)
def test_steps_that_depend_on_choices_hold_where_some_choices_allow_them(name: str) -> None:
    bundle = rebuilt([event.bytes for event in trail([*TO_THE_STORE, *STEPS_THAT_MAY_BE[name]])])
    assert outcome(bundle) == ALL_HOLD


# --- out of the database ------------------------------------------------------------------


@pytest.mark.anyio
async def test_from_the_database_to_an_empty_folder_where_nothing_but_the_file_and_the_key_is(
    engines: Engines, tmp_path: Path
) -> None:
    story = await begin(engines.service, engines.clerk)
    kit = await story.registered()
    keys = create_keys(tmp_path / "keys" / "events.key", ORIGIN)
    with open_box(tmp_path / "keys" / "events.key") as box:
        await sign.initialise(engines.clerk, "events", box)
        signer = Signer("events", box)
        await signer.check(engines.clerk)
        async with seen_by(engines.service, COORDINATOR) as connection:
            with pytest.raises(NotYetInLog, match=r"3 events .* Ask again"):
                await collect(connection, kit, ORIGIN)
        async with engines.clerk.begin() as transaction:
            await log.integrate(transaction, "events")
        await signer.sign(engines.clerk)
    async with seen_by(engines.service, COORDINATOR) as connection:
        data = await collect(connection, kit, ORIGIN, write_keys(keys))
        with pytest.raises(BundleRefused, match="not as elsewhere"):
            await collect(connection, kit, "elsewhere")
    async with seen_by(engines.service, MAGISTRATE) as connection:
        with pytest.raises(BundleRefused, match="to be seen"):
            await collect(connection, kit, ORIGIN)
    assert check(read(data), write_keys(keys)).holds

    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "trail.zip").write_bytes(data)
    (empty / "events.vkey").write_text(write_keys(keys))
    done = command_line(empty, "trail.zip", "--key", "events.vkey")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every check holds." in done.stdout
    assert fingerprint(write_keys(keys)) in done.stdout
    assert sorted(path.name for path in empty.iterdir()) == ["events.vkey", "trail.zip"]


# --- the command --------------------------------------------------------------------------


def command_line(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`custody verify` with no environment but a search path, in a folder of its own."""
    return subprocess.run(
        [sys.executable, "-m", "desk.cli", "verify", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "trail.zip").write_bytes(BUNDLE)
    return tmp_path


def test_the_command_takes_the_key_itself_too(folder: Path) -> None:
    done = command_line(folder, "trail.zip", "--key", VKEYS)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Custody trail of kit {KIT}, 6 events" in done.stdout
    assert all(f"- {sentence}" in done.stdout for sentence in NOT_PROVED)


def test_the_command_without_a_key_says_where_it_must_come_from_and_does_not_end_well(folder: Path) -> None:
    done = command_line(folder, "trail.zip")
    assert done.returncode == 1
    assert "2. DOES NOT HOLD" in done.stdout
    assert "must come from elsewhere" in done.stdout
    assert "agrees with itself" in done.stdout


def test_the_command_says_which_check_does_not_hold(folder: Path) -> None:
    done = command_line(folder, "trail.zip", "--key", write_keys(key.verifier for key in OTHER_KEYS))
    assert done.returncode == 1
    assert "2. DOES NOT HOLD" in done.stdout
    assert "do not rely on this bundle" in done.stdout


def test_the_command_tells_a_file_that_is_not_there_from_one_that_is_no_bundle(folder: Path) -> None:
    (folder / "photo.jpg").write_bytes(b"not a bundle")
    absent = command_line(folder, "nothing.zip", "--key", VKEYS)
    assert (absent.returncode, absent.stderr) == (2, "custody: nothing.zip: No such file or directory.\n")
    other = command_line(folder, "photo.jpg", "--key", VKEYS)
    assert other.returncode == 1
    assert other.stdout.startswith("photo.jpg is not a bundle: ")
    assert command_line(folder, "trail.zip", "--key", "a+b+c").returncode == 2


def test_the_offline_check_loads_no_database_no_web_and_no_network() -> None:
    program = (
        "import sys, desk.cli, desk.verify\n"
        "print(sorted({'sqlalchemy', 'psycopg', 'fastapi', 'uvicorn', 'http.client', 'asyncio'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
