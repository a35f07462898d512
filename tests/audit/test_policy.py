"""Policies: whom somebody trusts, one strict way to read it, and what counts as enough."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import policy as policies
from audit.checkpoint import Checkpoint
from audit.key import COSIGNATURE, ED25519, ML_DSA_44, NotSigned, SigningKey
from audit.note import Note, Signature
from audit.policy import Cosigned, Policy
from audit.text import Malformed

ORIGIN = "custody.example/events"
AT = 1_790_000_000
LOG_KEYS = [SigningKey(ORIGIN, bytes(range(32)), kind) for kind in (ED25519, ML_DSA_44)]
TEXT = Checkpoint(ORIGIN, 256, bytes(range(32))).text()


def witness_key(number: int, kind: int = COSIGNATURE) -> SigningKey:
    return SigningKey(f"witness.example/w{number}", number.to_bytes(32, "big"), kind)


def log_key(number: int) -> SigningKey:
    return SigningKey(f"log.example/{number}", (1000 + number).to_bytes(32, "big"))


def line(signer: SigningKey, text: str = TEXT, at: int = AT) -> Signature:
    return signer.verifier.line(signer.sign(signer.verifier.message(text, at)), at)


def note(*signers: SigningKey) -> Note:
    return Note(TEXT, tuple(line(signer) for signer in (*LOG_KEYS, *signers)))


def policy(*lines: str) -> Policy:
    return Policy.read("".join(f"{one}\n" for one in lines).encode())


KEYS = [witness_key(number) for number in range(6)]
VKEYS = [key.verifier.written() for key in KEYS]
X, Y = KEYS[:3], KEYS[3:]
TWO_LEVELS = [
    *(f"log {key.verifier.written()}" for key in LOG_KEYS),
    *(f"witness X{number} {VKEYS[number]}" for number in range(3)),
    "group X-witnesses 2 X0 X1 X2",
    *(f"witness Y{number} {VKEYS[number]}" for number in range(3, 6)),
    "group Y-witnesses any Y3 Y4 Y5",
    "group X-and-Y all X-witnesses Y-witnesses",
    "quorum X-and-Y",
]


def test_a_policy_of_two_organisations_wants_two_witnesses_of_one_and_one_of_the_other() -> None:
    read = policy(*TWO_LEVELS)
    assert read.logs == tuple(key.verifier for key in LOG_KEYS)
    assert [witness.name for witness in read.witnesses] == ["X0", "X1", "X2", "Y3", "Y4", "Y5"]
    for chosen in itertools.chain.from_iterable(itertools.combinations(KEYS, n) for n in range(7)):
        enough = len(set(chosen) & set(X)) >= 2 and len(set(chosen) & set(Y)) >= 1
        judged = read.judge(note(*chosen))
        assert judged.reached is enough
        assert len(judged.cosigned) == len(chosen)


def test_the_outcome_is_told_in_plain_words() -> None:
    read = policy(*TWO_LEVELS)
    assert read.judge(note(KEYS[0], KEYS[4])).words == (
        "Cosigned by X0 (2026-09-21 14:13:20 UTC) and Y4 (2026-09-21 14:13:20 UTC). The policy wants all of"
        " X-witnesses and Y-witnesses, X-witnesses being at least 2 of X0, X1 and X2, Y-witnesses being at"
        " least 1 of Y3, Y4 and Y5: that is not reached."
    )
    assert read.judge(note(KEYS[0], KEYS[1], KEYS[4])).words.endswith("that is reached.")
    assert read.judge(note()).words.startswith("No witness of the policy has cosigned.")


def test_a_quorum_of_none_wants_nobody_and_a_quorum_of_one_wants_that_one() -> None:
    nobody = policy("quorum none")
    assert (nobody.logs, nobody.witnesses) == ((), ())
    assert nobody.judge(note()).reached
    assert nobody.judge(note()).words == (
        "No witness of the policy has cosigned. The policy wants no witness: that is reached."
    )
    one = policy(f"witness w {VKEYS[0]}", f"witness v {VKEYS[1]}", "quorum w")
    assert not one.judge(note(KEYS[1])).reached
    assert one.judge(note(KEYS[0])).reached
    assert "The policy wants w:" in one.judge(note()).words


@pytest.mark.parametrize("kind", [COSIGNATURE, ML_DSA_44])
def test_witnesses_of_both_kinds_count_with_the_time_they_state(kind: int) -> None:
    key = witness_key(1, kind)
    read = policy(f"witness w {key.verifier.written()}", "quorum w")
    assert read.judge(note(key)).cosigned == (Cosigned("w", AT),)
    assert read.judge(note(key)).reached


def test_a_witness_that_signed_several_times_counts_once_with_its_earliest_time() -> None:
    read = policy(f"witness w {VKEYS[0]}", f"witness v {VKEYS[1]}", "group g 2 w v", "quorum g")
    often = Note(TEXT, tuple(line(KEYS[0], at=at) for at in (AT + 9, AT, AT + 3)))
    judged = read.judge(often)
    assert judged.cosigned == (Cosigned("w", AT),)
    assert not judged.reached


def test_a_time_that_is_missing_or_beyond_every_calendar_is_told_as_it_is() -> None:
    read = policy(f"witness w {VKEYS[0]}", "quorum w")
    untimed = read.judge(Note(TEXT, (line(KEYS[0], at=0),)))
    assert untimed.cosigned == (Cosigned("w", None),)
    assert "w (without a time)" in untimed.words
    far = read.judge(Note(TEXT, (line(KEYS[0], at=2**63 - 1),)))
    assert f"w (at second {2**63 - 1})" in far.words


def test_signatures_by_strangers_count_for_nothing_and_do_no_harm() -> None:
    read = policy(f"witness w {VKEYS[0]}", "quorum w")
    namesake = SigningKey(KEYS[0].name, bytes(31) + b"\xff", COSIGNATURE)
    nonsense = Signature("witness.example/elsewhere", b"abcd", b"nothing")
    judged = read.judge(Note(TEXT, (line(namesake), nonsense, line(KEYS[5]))))
    assert (judged.reached, judged.cosigned) == (False, ())


@given(st.integers(0, 71), st.integers(0, 7))
def test_a_wrong_signature_in_a_known_witness_s_name_refuses_the_whole_note(at: int, bit: int) -> None:
    read = policy(f"witness w {VKEYS[0]}", f"witness v {VKEYS[1]}", "group g any w v", "quorum g")
    good = line(KEYS[0])
    flipped = bytearray(good.signature)
    flipped[at] ^= 1 << bit
    wrong = Signature(good.name, good.key_id, bytes(flipped))
    with pytest.raises(NotSigned, match="in the name of the witness w "):
        read.judge(Note(TEXT, (good, wrong, line(KEYS[1]))))


def test_a_cosignature_of_another_checkpoint_does_not_count_for_this_one() -> None:
    read = policy(f"witness w {VKEYS[0]}", "quorum w")
    other = Checkpoint(ORIGIN, 512, bytes(range(32))).text()
    with pytest.raises(NotSigned):
        read.judge(Note(TEXT, (line(KEYS[0], other),)))


def test_comments_blank_lines_tabs_and_spaces_change_nothing() -> None:
    plain = policy(f"witness w {VKEYS[0]} https://w.example/", "group g 1 w", "quorum g")
    decorated = Policy.read(
        b"# who watches\n\n \t\n\t # indented \xff comment\n"
        + f"\twitness \t w  {VKEYS[0]}\thttps://w.example/ \n  group\tg  1 w\n quorum g \t\n#\n".encode()
    )
    assert decorated == plain
    assert plain.witnesses[0].url == "https://w.example/"


def test_names_are_octets_so_a_kelvin_sign_is_no_k_and_broken_utf_8_is_a_name() -> None:
    kelvin = "\N{KELVIN SIGN}"
    read = policy(
        f"witness K {VKEYS[0]}", f"witness {kelvin} {VKEYS[1]}", f"group g all K {kelvin}", "quorum g"
    )
    assert [witness.name for witness in read.witnesses] == ["K", kelvin]
    broken = Policy.read(b"witness \xff\xfe " + VKEYS[0].encode() + b"\nquorum \xff\xfe\n")
    assert broken.judge(note(KEYS[0])).reached
    broken.judge(note(KEYS[0])).words.encode()
    with pytest.raises(Malformed, match="not defined"):
        policy(f"witness {kelvin} {VKEYS[0]}", "quorum K")


def test_words_of_the_grammar_and_signs_are_good_names() -> None:
    read = policy(f"witness any {VKEYS[0]}", f"witness #1 {VKEYS[1]}", "group all all any #1", "quorum all")
    assert read.judge(note(*KEYS[:2])).reached


def test_lines_after_the_quorum_are_allowed_and_do_not_change_it() -> None:
    read = policy(f"witness w {VKEYS[0]}", "quorum w", f"witness v {VKEYS[1]}", "group g all v")
    assert not read.judge(note(KEYS[1])).reached


W, V = f"witness w {VKEYS[0]}", f"witness v {VKEYS[1]}"
LOG = f"log {LOG_KEYS[0].verifier.written()}"
SAME_KEY_OTHER_NAME = SigningKey("another.example", KEYS[0].seed, COSIGNATURE).verifier.written()
REFUSED = {
    "no quorum": ([W], "no quorum line"),
    "two quorums": ([W, "quorum w", "quorum w"], "second quorum"),
    "two quorums of nobody": (["quorum none", "quorum none"], "second quorum"),
    "a quorum of two names": ([W, V, "quorum w v"], "quorum <name>"),
    "a quorum without a name": (["quorum"], "quorum <name>"),
    "an unknown quorum": ([W, "quorum v"], "not defined"),
    "a quorum defined later": (["quorum w", W], "not defined"),
    "an unknown word": (["cosigner w", "quorum none"], "line 1 of the policy: 'cosigner'"),
    "a word in capitals": (["Quorum none"], "none of log"),
    "a log without a key": (["log", "quorum none"], "log <vkey>"),
    "a log with too much": ([f"{LOG} https://l.example x", "quorum none"], "log <vkey>"),
    "a log twice": ([LOG, LOG, "quorum none"], "line 2 of the policy: the public key of .* that of a log"),
    "a log with a witness's key": ([f"log {VKEYS[0]}", "quorum none"], "0x01 or 0x06, this one of type 0x04"),
    "a witness with a log's key": (
        [f"witness w {LOG_KEYS[0].verifier.written()}", "quorum none"],
        "0x04 or 0x06, this one of type 0x01",
    ),
    "a witness without a key": (["witness w", "quorum none"], "witness <name> <vkey>"),
    "a witness with too much": ([f"{W} https://w.example x", "quorum none"], "witness <name> <vkey>"),
    "a witness twice": ([W, f"witness v {VKEYS[0]}", "quorum none"], "that of a witness"),
    "a witness's key under another name": (
        [W, f"witness v {SAME_KEY_OTHER_NAME}", "quorum none"],
        "that of a witness",
    ),
    "a log that witnesses itself": (
        [
            f"log {LOG_KEYS[1].verifier.written()}",
            f"witness w {LOG_KEYS[1].verifier.written()}",
            "quorum none",
        ],
        "that of a log",
    ),
    "a witness that is a log": (
        [W, f"log {SigningKey(ORIGIN, KEYS[0].seed).verifier.written()}", "quorum none"],
        "that of a witness",
    ),
    "a name twice": ([W, f"witness w {VKEYS[1]}", "quorum none"], "given twice"),
    "a group named like a witness": ([W, V, "group w all v", "quorum none"], "given twice"),
    "a group twice": ([W, V, "group g all w", "group g all v", "quorum none"], "given twice"),
    "a witness named none": ([f"witness none {VKEYS[0]}", "quorum none"], "named none"),
    "a group named none": ([W, "group none any w", "quorum none"], "named none"),
    "none in a group": ([W, "group g any w none", "quorum g"], "not defined"),
    "a group without members": ([W, "group g any", "quorum none"], "group <name>"),
    "a group without a rule": (["group g", "quorum none"], "group <name>"),
    "a member from nowhere": ([W, "group g any w v", "quorum g"], "'v', is not defined"),
    "a member defined later": (["group g any w", W, "quorum g"], "not defined"),
    "a group in itself": ([W, "group g any w g", "quorum g"], "not defined"),
    "a member twice in a group": ([W, "group g 2 w w", "quorum g"], "a group's member already"),
    "a member of two groups": ([W, V, "group g any w v", "group h any w", "quorum g"], "member already"),
    "a group in two groups": (
        [W, "group g any w", "group h any g", "group i any g", "quorum i"],
        "member already",
    ),
    "none of its members": ([W, "group g 0 w", "quorum g"], "0 of 1 members"),
    "more than its members": ([W, V, "group g 3 w v", "quorum g"], "3 of 2 members"),
    "a number with a sign": ([W, "group g +1 w", "quorum g"], "decimal"),
    "a number with a zero before it": ([W, "group g 01 w", "quorum g"], "decimal"),
    "a number in other digits": ([W, "group g \N{ARABIC-INDIC DIGIT ONE} w", "quorum g"], "decimal"),
    "a number in words": ([W, "group g most w", "quorum g"], "decimal"),
    "a key that is none": (["log nothing", "quorum none"], "name\\+id\\+key"),
    "a key with another id": (
        [f"witness w {VKEYS[0].replace(KEYS[0].verifier.key_id.hex(), '00000000')}", "quorum none"],
        "does not belong",
    ),
    "a key name beyond what is signed for": (
        [f"witness w {SigningKey('w' * 256, bytes(32), COSIGNATURE).verifier.written()}", "quorum none"],
        "more than 255 bytes",
    ),
    "a carriage return": ([W, "quorum w\r"], "control character"),
    "a NUL": ([f"{W}\x00", "quorum w"], "control character"),
    "a DEL": ([W, "quorum w\x7f"], "control character"),
    "a form feed for a space": ([W, "quorum\x0cw"], "control character"),
    "a no-break space for a space": ([W, "quorum\N{NO-BREAK SPACE}w"], "none of log"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_policy_that_is_not_one_is_refused_with_its_reason(case: str) -> None:
    lines, why = REFUSED[case]
    with pytest.raises(Malformed, match=why):
        policy(*lines)


def test_a_policy_without_its_last_newline_is_refused() -> None:
    for data in (b"", b"quorum none", b"quorum none\n# cut off"):
        with pytest.raises(Malformed, match="newline"):
            Policy.read(data)


def test_a_key_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(Malformed, match="UTF-8"):
        Policy.read(b"log \xff\nquorum none\n")


def test_many_are_read_and_too_many_are_refused() -> None:
    most = policies.MAX_OF_A_KIND

    def large(logs: int, witnesses: int, groups: int) -> list[str]:
        lines = [f"log {log_key(number).verifier.written()}" for number in range(logs)]
        lines += [f"witness w{n} {witness_key(n).verifier.written()}" for n in range(witnesses)]
        inner = ["w0", *(f"g{number}" for number in range(groups))]
        lines += [f"group g{number} 1 {inner[number]}" for number in range(groups)]
        return [*lines, f"quorum {inner[-1]}"]

    read = policy(*large(most, most, most))
    assert (len(read.logs), len(read.witnesses), len(read.groups)) == (most, most, most)
    assert read.judge(note(witness_key(0))).reached
    for too_many in ((most + 1, 1, 1), (0, most + 1, 1), (0, 1, most + 1)):
        with pytest.raises(Malformed, match=f"more than {most}"):
            policy(*large(*too_many))
    with pytest.raises(Malformed, match="longer than"):
        Policy.read(b"#" * policies.MAX_POLICY_BYTES + b"\nquorum none\n")


@given(st.binary(max_size=200) | st.text("logwitnesgrupqm all23#\t\n", max_size=60).map(str.encode))
def test_whatever_is_read_is_read_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        read = Policy.read(data)
    except Malformed:
        return
    assert data.endswith(b"\n")
    assert read.quorum is None  # no key was made up


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[str], dict[str, tuple[int, list[str]]], str]:
    """A policy's lines over six witnesses, its groups as (threshold, members), and its quorum."""
    free = [f"w{number}" for number in range(6)]
    lines = [f"witness w{number} {VKEYS[number]}" for number in range(6)]
    groups: dict[str, tuple[int, list[str]]] = {}
    for number in range(draw(st.integers(0, 5))):
        members = draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        threshold = draw(st.integers(1, len(members)))
        rules = [str(threshold)]
        rules += ["all"] * (threshold == len(members)) + ["any"] * (threshold == 1)
        lines.append(f"group g{number} {draw(st.sampled_from(rules))} {' '.join(members)}")
        groups[f"g{number}"] = (threshold, members)
        free = [one for one in free if one not in members] + [f"g{number}"]
    return lines, groups, draw(st.sampled_from([*groups, "w0"]))


@given(trees(), st.sets(st.integers(0, 5)))
def test_every_tree_of_groups_counts_as_its_definition_says(
    tree: tuple[list[str], dict[str, tuple[int, list[str]]], str], chosen: set[int]
) -> None:
    lines, groups, quorum = tree

    def witnessed(name: str) -> bool:
        if name not in groups:
            return int(name[1:]) in chosen
        threshold, members = groups[name]
        return sum(map(witnessed, members)) >= threshold

    read = policy(*lines, f"quorum {quorum}")
    cosigned = [witness for number, witness in enumerate(read.witnesses) if number in chosen]
    assert read.met_by(cosigned) is witnessed(quorum)


@given(trees(), st.data())
def test_more_cosignatures_never_undo_a_quorum(
    tree: tuple[list[str], dict[str, tuple[int, list[str]]], str], data: st.DataObject
) -> None:
    lines, _, quorum = tree
    read = policy(*lines, f"quorum {quorum}")
    few = data.draw(st.lists(st.sampled_from(read.witnesses), unique=True))
    more = data.draw(st.lists(st.sampled_from(read.witnesses), unique=True))
    assert read.met_by([*few, *more]) >= read.met_by(few)
