"""A bundle that leaves the service: whole, strict, checked without us, honest about what it does not say."""

import io
import json
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import log, sign
from audit.key import write_keys
from audit.keybox import create_keys, open_box
from audit.sign import Signer
from custody.bundle import MOST_TOTAL, Bundle, BundleRefused, fingerprint, read, write
from custody.delivery import NotYetInLog, collect
from custody.examination import NOTHING_AFTER, check
from custody.ledger import reading as seen_by
from custody.protocol import Trail
from custody.refusal import Refused
from desk.succession import open_log
from tests.audit.an_authority import Authority, found
from tests.conftest import Engines
from tests.custody.bundles import FIRST_DAY, WITNESSES, Log, a_policy, day, signing_keys, vkeys
from tests.custody.story import COORDINATOR, MAGISTRATE, begin
from tests.custody.trails import KEYS, KIT, ORIGIN, TO_THE_STORE, VKEYS, trail


def told() -> Log:
    """A log that tells of its keys, grew, and has the six events of a trail on two days."""
    made = Log()
    made.pad(30)
    made.tell("log.opened", KEYS, FIRST_DAY, KEYS)
    events = trail(TO_THE_STORE)
    made.add(*(event.bytes for event in events[:4]))
    made.pad()
    made.anchor(WITNESSES)
    made.add(*(event.bytes for event in events[4:]))
    made.pad()
    return made


WHOLE = told().bundle(trail(TO_THE_STORE))
BUNDLE = write(WHOLE)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return found(tmp_path_factory.mktemp("stamps") / "authority")


def files(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed_again(content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return made.getvalue()


# --- what is in it ------------------------------------------------------------------------


def test_a_bundle_reads_back_as_it_was_made_and_every_check_that_is_made_holds() -> None:
    assert read(BUNDLE) == WHOLE
    verdict = check(read(BUNDLE), VKEYS, a_policy())
    assert verdict.holds
    assert [f.number for f in verdict.findings if f.holds is None] == [11]
    assert verdict.checkpoint is not None
    assert NOTHING_AFTER in verdict.not_proved


def test_the_same_content_makes_the_same_bytes() -> None:
    assert write(read(BUNDLE)) == BUNDLE


def test_the_files_are_those_that_the_format_names() -> None:
    names = list(files(BUNDLE))
    assert names[:3] == ["README.txt", "bundle.json", "checkpoint.txt"]
    assert [name for name in names if name.startswith(("anchors", "keys"))] == [
        "anchors/0001/signed.txt",
        "anchors/0001/cosignatures.txt",
        "anchors/0001/growth.txt",
        "keys/0001.json",
        "keys/0001.tlog-proof",
    ]
    assert json.loads(files(BUNDLE)["bundle.json"]) == {
        "format": 2,
        "kit": KIT,
        "trail": "custody",
        "events": 6,
        "origin": ORIGIN,
        "anchors": 1,
        "keys": 1,
    }


def test_sha256sum_of_an_event_is_its_leaf_and_stands_in_the_next_event() -> None:
    content = files(BUNDLE)
    digest = sha256(content["events/0001.json"]).hexdigest()
    assert json.loads(content["events/0002.json"])["previous"] == digest


def test_the_page_names_the_fingerprint_that_the_log_itself_announced_and_the_key_to_look_for() -> None:
    said = files(BUNDLE)["README.txt"].decode()
    assert fingerprint(VKEYS) in said
    assert KEYS[0].verifier.key_id.hex() in said
    assert VKEYS not in said


def test_the_fingerprint_is_what_sha256sum_prints_of_the_key_file(tmp_path: Path) -> None:
    path = tmp_path / "events.vkey"
    path.write_text(VKEYS)
    printed = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == fingerprint(VKEYS)


def test_a_bundle_without_events_is_not_made() -> None:
    with pytest.raises(BundleRefused):
        write(replace(WHOLE, events=(), proofs=()))


# --- by hand ------------------------------------------------------------------------------


def by_hand(folder: Path, data: bytes, roots: bytes = b"") -> list[str]:
    """Unpack a bundle, put keys and roots beside it, and type what its page says: what each step prints."""
    for name, content in files(data).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "events.vkey").write_text(VKEYS)
    (folder / "roots.pem").write_bytes(roots)
    (_, *steps) = re.split(r"^\([a-d]\) ", (folder / "README.txt").read_text(), flags=re.MULTILINE)
    printed = []
    for step in steps:
        typed = "".join(line[4:] + "\n" for line in step.split("\n") if line.startswith("    ") and line[4:])
        typed = typed.partition("without a gap:\n")[2] or typed.partition("section 2.1.3.2):\n")[2] or typed
        typed = typed.partition('Successfully":\n')[2] or typed.partition("put its number:\n")[2] or typed
        typed = typed.partition("If your events.vkey")[0]
        done = subprocess.run(["sh", "-ec", typed], cwd=folder, capture_output=True, text=True, timeout=60)
        printed.append(done.stdout + done.stderr)
    return printed


def test_the_commands_on_the_page_work_as_they_stand_there(tmp_path: Path, authority: Authority) -> None:
    made = told()
    made.anchor(authority=authority, at=day(1))
    digests, inclusion, signature, stamp = by_hand(
        tmp_path, write(made.bundle(trail(TO_THE_STORE))), authority.roots
    )
    assert [line.split()[0] for line in digests.splitlines()] == [
        event.digest for event in trail(TO_THE_STORE)
    ]
    root = made.bundle(trail(TO_THE_STORE)).note.split(b"\n")[2].decode()
    assert inclusion.splitlines()[-2:] == [root, root]
    assert "Signature Verified Successfully" in signature
    assert "Verification: OK" in stamp
    assert "May  2 12:00:00 2026 GMT" in stamp


def test_by_hand_every_event_of_the_trail_is_found_in_the_log(tmp_path: Path) -> None:
    by_hand(tmp_path, BUNDLE)
    page_ = (tmp_path / "README.txt").read_text()
    for number in range(2, 7):
        (tmp_path / "README.txt").write_text(page_)
        changed_ = {**files(BUNDLE), "README.txt": page_.replace("n=0001", f"n={number:04}").encode()}
        inclusion = by_hand(tmp_path, packed_again(changed_))[1].splitlines()
        assert inclusion[-1] == inclusion[-2]


def test_by_hand_a_changed_event_and_a_changed_checkpoint_are_found(tmp_path: Path) -> None:
    content = files(BUNDLE)
    content["events/0001.json"] = content["events/0001.json"].replace(b"Nora", b"Mora")
    digests, inclusion, _ = by_hand(tmp_path, packed_again(content))
    assert trail(TO_THE_STORE)[0].digest not in digests
    assert inclusion.splitlines()[-1] != inclusion.splitlines()[-2]
    lines = files(BUNDLE)["checkpoint.txt"].split(b"\n")
    changed_ = b"\n".join([lines[0], b"299", *lines[2:]])
    signature = by_hand(tmp_path, packed_again({**files(BUNDLE), "checkpoint.txt": changed_}))[2]
    assert "Signature Verified Successfully" not in signature
    assert "Signature Verification Failure" in signature


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
            changed(**{"bundle.json": files(BUNDLE)["bundle.json"].replace(b'"format":2', b'"format":3')})
        ),
        "does not know",
    ),
    "the first format": (
        lambda: packed_again(
            changed(**{"bundle.json": files(BUNDLE)["bundle.json"].replace(b'"format":2', b'"format":1')})
        ),
        "of format 1",
    ),
    "a trail that is none": (
        lambda: packed_again(
            changed(**{"bundle.json": files(BUNDLE)["bundle.json"].replace(b'"custody"', b'"private"')})
        ),
        "bundle.json",
    ),
    "an anchor without its growth": (
        lambda: packed_again({k: v for k, v in files(BUNDLE).items() if "growth" not in k}),
        "anchors/0001/growth.txt is missing",
    ),
    "a stamp out of its row": (
        lambda: packed_again(changed(**{"anchors/0001/stamp-2.tst": b"x"})),
        "'anchors/0001/stamp-2.tst' does not belong",
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


def test_two_files_that_lie_over_each_other_are_refused() -> None:
    data = bytearray(BUNDLE)
    start = struct.unpack("<L", data[-6:-2])[0]
    second = start + 46 + len("README.txt")
    data[second + 42 : second + 46] = data[start + 42 : start + 46]
    with pytest.raises(BundleRefused, match="not where its directory says"):
        read(bytes(data))


def put_in(at: int, more: bytes) -> bytes:
    """The archive with bytes before its file number `at`, and every offset in its directory moved."""
    start = struct.unpack("<L", BUNDLE[-6:-2])[0]
    lines, offsets, place = bytearray(BUNDLE[start:-22]), [], 0
    while place < len(lines):
        offsets.append((place + 42, struct.unpack_from("<L", lines, place + 42)[0]))
        place += 46 + sum(struct.unpack_from("<3H", lines, place + 28))
    cut = offsets[at][1]
    for spot, offset in offsets[at:]:
        struct.pack_into("<L", lines, spot, offset + len(more))
    end = BUNDLE[-22:-6] + struct.pack("<L", start + len(more)) + BUNDLE[-2:]
    return BUNDLE[:cut] + more + BUNDLE[cut:start] + bytes(lines) + end


def test_an_archive_with_anything_before_or_between_its_files_is_refused() -> None:
    hidden = packed_again({"README.txt": b"This kit was never opened.\n"})
    local = hidden[: hidden.index(b"PK\x01\x02")]
    assert read(put_in(3, b"")) == WHOLE
    for at, more in ((0, b"%PDF-1.4"), (0, local), (3, local), (3, bytes(12)), (3, bytes(16))):
        with pytest.raises(BundleRefused, match=r"added to the archive's (beginning|middle)"):
            read(put_in(at, more))


@pytest.mark.parametrize("at", [14, 18, 22])
def test_a_header_that_says_something_else_than_the_directory_is_refused(at: int) -> None:
    data = bytearray(BUNDLE)
    data[at] ^= 1
    with pytest.raises(BundleRefused, match="not where its directory says"):
        read(bytes(data))


def test_a_link_in_the_place_of_a_file_is_refused() -> None:
    data = bytearray(BUNDLE)
    line = data.index(b"PK\x01\x02")
    data[line + 38 : line + 42] = struct.pack("<L", 0o120777 << 16)
    with pytest.raises(BundleRefused, match="is a link or a folder"):
        read(bytes(data))


def with_extra(kind: int, comment: bytes = b"") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files(BUNDLE).items():
            info = zipfile.ZipInfo(name)
            info.extra, info.comment = struct.pack("<2HB4s", kind, 5, 1, bytes(4)), comment
            archive.writestr(info, data)
    return made.getvalue()


def test_of_further_fields_only_times_and_owners_are_read() -> None:
    assert read(with_extra(0x5455)) == WHOLE
    for odd in (with_extra(0x7075), with_extra(0x5455, b"a comment")):
        with pytest.raises(BundleRefused, match="a comment, another name"):
            read(odd)


class OneWay(io.BytesIO):
    """A pipe: what is written cannot be gone back to, so sizes follow each file."""

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_bundle_packed_again_through_a_pipe_is_still_the_same_bundle(compression: int) -> None:
    made = OneWay()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in files(BUNDLE).items():
            archive.writestr(name, data)
    data = made.getvalue()
    assert data[6] & 8
    assert read(data) == WHOLE
    with pytest.raises(BundleRefused, match="added"):
        read(data.replace(b"PK\x07\x08", b"PK\x07\x09", 1))


# --- whatever is changed ------------------------------------------------------------------


def outcome_of(bundle: Bundle, roots: bytes) -> tuple[object, ...]:
    verdict = check(bundle, VKEYS, a_policy(), roots)
    return (verdict.holds, *(finding.words for finding in verdict.findings))


def test_a_changed_byte_in_any_file_is_found_or_refused(authority: Authority) -> None:
    """One byte in each stretch of 157 bytes of every file."""
    made = told()
    made.anchor(WITNESSES, authority, day(1))
    policy = f"witness aba {WITNESSES[0].verifier.written()}\nquorum aba\n".encode()
    whole = made.bundle(trail(TO_THE_STORE), policy=policy)
    content, well = files(write(whole)), outcome_of(whole, authority.roots)
    assert well[0] is True
    assert sha256(b"".join(each.cosignatures for each in whole.anchors)).hexdigest() in whole.readme.decode()
    for turn, (name, data) in enumerate(content.items()):
        for at in range(turn % 7, len(data), 157):
            flipped = data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]
            try:
                bundle = read(packed_again({**content, name: flipped}))
                found_ = outcome_of(bundle, authority.roots)
            except BundleRefused:
                continue
            assert found_[0] is False, (name, at)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(BUNDLE) - 1), to=st.integers(0, 255))
def test_whatever_byte_of_the_archive_is_changed_it_is_refused_or_read_the_same(at: int, to: int) -> None:
    data = bytearray(BUNDLE)
    data[at] = to
    try:
        bundle = read(bytes(data))
    except BundleRefused:
        return
    assert bundle == WHOLE


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_at_all_are_refused_with_the_one_refusal(data: bytes) -> None:
    with pytest.raises(BundleRefused):
        read(data)
    with pytest.raises(BundleRefused):
        read(data + BUNDLE[-22:])


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
        await open_log(engines.clerk, "events", box)
        async with seen_by(engines.service, COORDINATOR) as connection:
            with pytest.raises(NotYetInLog, match=r"3 events .* Ask again"):
                await collect(connection, kit)
        async with engines.clerk.begin() as transaction:
            await log.integrate(transaction, "events")
        await signer.sign(engines.clerk)
    async with seen_by(engines.service, COORDINATOR) as connection:
        data = await collect(connection, kit, policy=b"quorum none\n")
        with pytest.raises(Refused, match="only on a judge's order"):
            await collect(connection, kit, Trail.CHOICES)
    async with seen_by(engines.service, MAGISTRATE) as connection:
        with pytest.raises(BundleRefused, match="to be seen"):
            await collect(connection, kit)
        with pytest.raises(BundleRefused, match="to be seen"):
            await collect(connection, kit, Trail.CHOICES)
    made = read(data)
    assert check(made, write_keys(keys)).holds
    assert (len(made.keys), made.policy) == (1, b"quorum none\n")
    assert fingerprint(write_keys(keys)) in made.readme.decode()

    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "trail.zip").write_bytes(data)
    (empty / "events.vkey").write_text(write_keys(keys))
    done = command_line(empty, "trail.zip", "--key", "events.vkey")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every check that was made holds; 3 checks were not made." in done.stdout
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
    assert f"- {NOTHING_AFTER}" in done.stdout
    assert "10. not made: Independent witnesses saw the log." in done.stdout


def test_the_command_takes_policy_and_roots_from_files(folder: Path, authority: Authority) -> None:
    made = told()
    made.anchor(WITNESSES, authority, day(1))
    (folder / "stamped.zip").write_bytes(write(made.bundle(trail(TO_THE_STORE))))
    (folder / "roots.pem").write_bytes(authority.roots)
    witnesses = [f"witness w{n} {w.verifier.written()}\n" for n, w in enumerate(WITNESSES)]
    (folder / "policy").write_text("".join([*witnesses, "group all all w0 w1 w2\nquorum all\n"]))
    done = command_line(folder, "stamped.zip", "--key", VKEYS, "--policy", "policy", "--roots", "roots.pem")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Every check holds." in done.stdout
    assert "events 1 to 6: no later than 2026-05-02 12:00:00 UTC, by CN=Fictional time stamps" in done.stdout
    assert "This covers events 1 to 6." in done.stdout


def test_the_command_without_a_key_says_where_it_must_come_from_and_does_not_end_well(folder: Path) -> None:
    done = command_line(folder, "trail.zip")
    assert done.returncode == 1
    assert "7. not made" in done.stdout
    assert "must come from elsewhere" in done.stdout
    assert "agrees with itself" in done.stdout


def test_the_command_says_which_check_does_not_hold(folder: Path) -> None:
    done = command_line(folder, "trail.zip", "--key", vkeys(signing_keys("another")))
    assert done.returncode == 1
    assert "7. DOES NOT HOLD" in done.stdout
    assert "do not rely on this" in done.stdout


def test_the_command_tells_a_file_that_is_not_there_from_one_that_is_no_bundle(folder: Path) -> None:
    (folder / "photo.jpg").write_bytes(b"not a bundle")
    absent = command_line(folder, "nothing.zip", "--key", VKEYS)
    assert (absent.returncode, absent.stderr) == (2, "custody: nothing.zip: No such file or directory.\n")
    other = command_line(folder, "photo.jpg", "--key", VKEYS)
    assert other.returncode == 1
    assert other.stdout.startswith("photo.jpg is not a bundle: ")
    assert command_line(folder, "trail.zip", "--key", "a+b+c").returncode == 2
    bad = command_line(folder, "trail.zip", "--key", VKEYS, "--policy", "photo.jpg")
    assert (bad.returncode, bad.stderr) == (2, "custody: the policy does not end with a newline.\n")
    assert command_line(folder, "trail.zip", "--key", VKEYS, "--roots", "nothing.pem").returncode == 2


def test_the_offline_check_loads_no_database_no_web_and_no_network() -> None:
    program = (
        "import sys, desk.cli, desk.verify\n"
        "print(sorted({'sqlalchemy', 'psycopg', 'fastapi', 'uvicorn', 'http.client', 'asyncio'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
