"""The numbered checks of a bundle, one by one: what each finds, what it says, and what is not proved."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from audit.key import ML_DSA_44, SigningKey
from audit.note import Note, Signature
from audit.policy import Policy
from audit.verify import VerificationError
from custody.bundle import Anchor, Bundle, anchor_name
from custody.cover import covered
from custody.examination import (
    NO_GROWTH,
    NO_KEY,
    NO_QUORUM,
    NO_ROOTS,
    NO_STAMP,
    NO_WITNESS,
    NOT_BEFORE,
    NOTHING_AFTER,
    OTHER_TRAIL,
    RIGHT_KEY,
    TITLES,
    check,
)
from tests.audit.an_authority import Authority, found
from tests.custody.bundles import WITNESSES, Log, a_policy, cosigned, day, signing_keys, vkeys
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

BARE = {**dict.fromkeys(range(1, 8), True), **dict.fromkeys(range(8, 12))}
"""What is found of a bundle with nothing but events, where only the key was given."""


def packed(events: list[bytes], others: int = 300) -> Bundle:
    """A bundle over these bytes, properly in the log and signed: what a forger with the key could make."""
    signed = logged(events, others)
    return covered(
        Bundle(
            kit=KIT,
            trail="custody",
            origin=ORIGIN,
            events=tuple(events),
            proofs=signed.proofs,
            note=signed.note,
        )
    )


rebuilt = packed
BUNDLE = packed([event.bytes for event in trail(TO_THE_STORE)])


def outcome(bundle: Bundle, given: str | None = VKEYS, **more: Any) -> dict[int, bool | None]:
    return {each.number: each.holds for each in check(bundle, given, **more).findings}


def words(bundle: Bundle, number: int, given: str | None = VKEYS, **more: Any) -> str:
    return check(bundle, given, **more).findings[number - 1].words


def fails(bundle: Bundle, number: int, said: str, given: str | None = VKEYS) -> None:
    """Exactly this check fails, and says so."""
    assert outcome(bundle, given) == {**BARE, number: False}
    assert said in words(bundle, number, given)
    assert not check(bundle, given).holds


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return found(tmp_path_factory.mktemp("stamps") / "authority")


# --- what the bundle says of itself -------------------------------------------------------


def test_a_check_for_which_nothing_was_given_is_neither_a_success_nor_a_failure() -> None:
    verdict = check(BUNDLE, VKEYS)
    assert outcome(BUNDLE) == BARE
    assert [finding.number for finding in verdict.findings] == list(TITLES)
    assert verdict.holds
    assert verdict.not_proved[0] == NOTHING_AFTER
    assert {RIGHT_KEY, NO_GROWTH, NO_WITNESS, NO_ROOTS, OTHER_TRAIL["custody"]} <= set(verdict.not_proved)


def test_a_trail_that_was_cut_off_holds_and_what_came_after_is_said_not_to_be_proved() -> None:
    cut = packed([event.bytes for event in trail(TO_THE_STORE)][:4])
    assert outcome(cut) == BARE
    assert "from event 1 to the last one in here" in TITLES[4]
    assert "complete" not in " ".join(finding.title + finding.words for finding in check(cut, VKEYS).findings)
    assert NOTHING_AFTER in check(cut, VKEYS).not_proved


def test_check_2_fails_for_a_page_that_says_something_else() -> None:
    fails(replace(BUNDLE, readme=BUNDLE.readme + b" "), 2, "something else")
    fails(replace(BUNDLE, readme=BUNDLE.readme.replace(b"proves nothing", b"is enough")), 2, "something else")


def test_check_5_fails_for_a_proof_that_is_none() -> None:
    bundle = BUNDLE
    broken = replace(bundle, proofs=(b"nonsense", *bundle.proofs[1:]))
    assert outcome(broken) == {**BARE, 5: False}
    assert "proofs/0001.tlog-proof" in words(broken, 5)


def test_check_1_fails_for_a_checkpoint_of_another_log_than_the_one_named() -> None:
    other = replace(BUNDLE, origin="other.example/log")
    assert outcome(other) == {**BARE, 1: False, 2: False}
    assert "the bundle names other.example/log" in words(other, 1)


def test_check_7_fails_for_another_key_of_the_same_name() -> None:
    fails(BUNDLE, 7, "not to be trusted", vkeys(signing_keys("another")))


def test_without_a_key_the_rest_is_checked_and_the_whole_is_not_said_to_hold() -> None:
    verdict = check(BUNDLE, None)
    assert outcome(BUNDLE, None) == {**BARE, 7: None}
    assert "must come from elsewhere" in verdict.findings[6].words
    assert (verdict.agrees, verdict.holds, verdict.checkpoint) == (True, False, None)
    assert NO_KEY in verdict.not_proved


def test_a_text_that_is_no_key_is_a_fault_of_the_caller() -> None:
    with pytest.raises(VerificationError):
        check(BUNDLE, "not a key")


def test_check_3_fails_for_another_spelling_of_the_same_event() -> None:
    events = [event.bytes for event in trail(TO_THE_STORE)]
    events[-1] = events[-1] + b"\n"
    bundle = rebuilt(events)
    assert outcome(bundle) == {**BARE, 3: False, 4: False}
    assert "events/0006.json" in words(bundle, 3)


def test_check_4_fails_for_an_event_left_out_in_the_middle() -> None:
    events = [event.bytes for event in trail(TO_THE_STORE)]
    bundle = rebuilt(events[:3] + events[4:])
    assert outcome(bundle)[4] is False
    assert "Where event 4 should stand there is number 5" in words(bundle, 4)


def test_check_4_fails_for_a_trail_that_does_not_begin_at_its_beginning() -> None:
    assert outcome(rebuilt([event.bytes for event in trail(TO_THE_STORE)][1:]))[4] is False


def test_check_4_fails_for_events_of_another_kit() -> None:
    bundle = covered(replace(BUNDLE, kit="0" * 12))
    fails(bundle, 4, f"belongs to another trail, custody:{KIT}")


def test_check_4_fails_for_an_event_put_in_the_place_of_another() -> None:
    forged = list(TO_THE_STORE)
    forged[2] = ("package.sealed", NORA, {"packages": [{"package": 1, "seal": "S-6666"}]})
    true, false = trail(TO_THE_STORE), trail(forged)
    bundle = rebuilt([event.bytes for event in [*true[:2], false[2], *true[3:]]])
    assert outcome(bundle)[4] is False
    assert "Event 4 does not name the digest" in words(bundle, 4)


def test_check_4_fails_where_time_runs_backwards() -> None:
    values = [json.loads(event.bytes) for event in trail(TO_THE_STORE)]
    values[5]["recorded_at"] = "2026-05-01T00:00:00.000000Z"
    events = [json.dumps(each, separators=(",", ":"), ensure_ascii=False).encode() for each in values]
    fails(rebuilt(events), 4, "Event 6 was recorded before the event before it")


def test_check_5_fails_for_an_event_that_was_never_in_the_log() -> None:
    longer = trail([*TO_THE_STORE, ("package.taken", CASPER, {"packages": [{"package": 1}]})])
    bundle = BUNDLE
    bundle = covered(
        replace(bundle, events=(*bundle.events, longer[6].bytes), proofs=(*bundle.proofs, bundle.proofs[5]))
    )
    fails(bundle, 5, "Event 7 is not shown to be in the log")


def test_check_5_fails_where_a_proof_carries_anything_beside_itself() -> None:
    extra = BUNDLE.proofs[0].replace(b"index", b"extra eA==\nindex", 1)
    fails(replace(BUNDLE, proofs=(extra, *BUNDLE.proofs[1:])), 5, "does not begin with its header")
    more = BUNDLE.proofs[5] + BUNDLE.note.splitlines(keepends=True)[-1]
    fails(replace(BUNDLE, proofs=(*BUNDLE.proofs[:5], more)), 5, "another checkpoint")


def test_check_5_fails_where_the_upper_part_of_one_proof_alone_is_changed() -> None:
    """Proofs share their upper hashes: that one of them was seen to hold does not vouch for another."""
    head, _, note = BUNDLE.proofs[5].partition(b"\n\n")
    lines = head.split(b"\n")
    for at in range(2, len(lines)):
        for changed in ([*lines[:at], lines[at - 1 if at > 2 else at + 1], *lines[at + 1 :]], lines[:at]):
            proof = b"\n".join(changed) + b"\n\n" + note
            assert outcome(replace(BUNDLE, proofs=(*BUNDLE.proofs[:5], proof)))[5] is False


def test_check_5_fails_for_proofs_under_another_checkpoint() -> None:
    events = [event.bytes for event in trail(TO_THE_STORE)]
    bundle = replace(rebuilt(events), proofs=logged(events, others=100).proofs)
    assert outcome(bundle) == {**BARE, 5: False}


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
    assert outcome(bundle) == BARE


# --- earlier checkpoints, witnesses, time -------------------------------------------------


def grown(**first: Any) -> Log:
    """A log with the first four events of a trail in an anchor, and two more after it."""
    made = Log()
    made.pad(20)
    events = trail(TO_THE_STORE)
    made.add(*(event.bytes for event in events[:4]))
    made.pad()
    made.anchor(**first)
    made.add(*(event.bytes for event in events[4:]))
    made.pad()
    return made


EVENTS = trail(TO_THE_STORE)


def test_check_9_holds_where_the_log_only_grew_and_says_between_which_sizes() -> None:
    bundle = grown(witnesses=WITNESSES).bundle(EVENTS)
    assert outcome(bundle) == {**BARE, 9: True}
    assert words(bundle, 9) == "It grew from 124 to 226 leaves, and lost none of these."
    assert NO_GROWTH not in check(bundle, VKEYS).not_proved


def test_check_9_fails_for_a_log_that_lost_an_event_since() -> None:
    """An operator with the keys rewrites the log; the anchor that left the house stays as it was."""
    before = grown(witnesses=WITNESSES)
    after = Log()
    after.pad(20)
    after.add(*(event.bytes for event in EVENTS))
    after.pad(200)
    after.anchors = before.anchors
    bundle = after.bundle(EVENTS)
    assert outcome(bundle) == {**BARE, 9: False}
    assert "not shown that the log only grew from 124" in words(bundle, 9)
    # What the witnesses saw counts for nothing then.
    assert outcome(bundle, policy=a_policy())[10] is False


def test_check_9_fails_for_an_anchor_that_the_log_never_signed() -> None:
    made = grown(witnesses=WITNESSES)
    real = made.keys
    made.keys = signing_keys("a stranger")
    made.anchor(WITNESSES)
    made.keys = real
    made.pad()
    bundle = made.bundle(EVENTS)
    assert outcome(bundle) == {**BARE, 9: False}
    assert f"{anchor_name(2, 'signed.txt')} is not signed by any known keys" in words(bundle, 9)


def test_check_1_fails_for_anchors_out_of_their_order_or_larger_than_the_checkpoint() -> None:
    made = grown(witnesses=WITNESSES)
    made.anchor(WITNESSES)
    bundle = made.bundle(EVENTS)
    turned = covered(replace(bundle, anchors=bundle.anchors[::-1]))
    assert outcome(turned)[1] is False
    assert "not in its place by size" in words(turned, 1)
    small = grown()
    small.anchors = made.anchors[:1]
    later = covered(replace(packed([e.bytes for e in EVENTS], 60), anchors=bundle.anchors[1:]))
    assert outcome(later)[1] is False


def test_check_1_fails_where_something_else_than_signatures_follows_an_anchor() -> None:
    bundle = grown(witnesses=WITNESSES).bundle(EVENTS)
    odd: list[Anchor] = [
        replace(bundle.anchors[0], cosignatures=b"nonsense\n"),
        replace(bundle.anchors[0], cosignatures=b"\n" + bundle.anchors[0].cosignatures),
        replace(bundle.anchors[0], growth=bundle.anchors[0].growth[:-1]),
        replace(bundle.anchors[0], signed=b"nonsense\n"),
    ]
    for anchor in odd:
        changed = covered(replace(bundle, anchors=(anchor,)))
        assert outcome(changed)[1] is False
        assert outcome(changed)[9] is False


def test_check_1_fails_for_a_policy_that_is_none() -> None:
    assert outcome(covered(replace(BUNDLE, policy=b"nonsense\n"))) == {**BARE, 1: False}
    assert outcome(covered(replace(BUNDLE, policy=b"quorum none\n"))) == BARE


def test_check_10_holds_for_a_checkpoint_that_the_quorum_cosigned() -> None:
    made = grown()
    note = made.note()
    seen = note.signed_too(cosigned(note, witness) for witness in WITNESSES)
    bundle = made.bundle(EVENTS, seen)
    assert outcome(bundle, policy=a_policy()) == {**BARE, 9: True, 10: True}
    assert "This covers events 1 to 6." in words(bundle, 10, policy=a_policy())
    assert NO_WITNESS not in check(bundle, VKEYS, a_policy()).not_proved


def test_check_10_says_which_events_an_earlier_checkpoint_covers_and_which_not() -> None:
    bundle = grown(witnesses=WITNESSES[:2]).bundle(EVENTS)
    said = words(bundle, 10, policy=a_policy("2"))
    assert outcome(bundle, policy=a_policy("2")) == {**BARE, 9: True, 10: True}
    assert "abb (2026-05-01 12:00:00 UTC) and bas" in said.replace("Cosigned by ", "")
    assert said.endswith("This covers events 1 to 4, and not events 5 to 6.")
    not_proved = check(bundle, VKEYS, a_policy("2")).not_proved
    assert "That the log showed everyone the same events 5 to 6: they came later." in not_proved


def test_check_10_fails_without_a_quorum() -> None:
    bundle = grown(witnesses=WITNESSES[:2]).bundle(EVENTS)
    assert outcome(bundle, policy=a_policy("all")) == {**BARE, 9: True, 10: False}
    assert NO_QUORUM in check(bundle, VKEYS, a_policy("all")).not_proved
    assert outcome(BUNDLE, policy=a_policy("any")) == {**BARE, 10: False}


def test_check_10_fails_for_a_cosignature_over_something_else() -> None:
    made = grown(witnesses=WITNESSES)
    elsewhere = Log()
    elsewhere.pad(124)
    lines = "".join(cosigned(elsewhere.note(), w).line() + "\n" for w in WITNESSES).encode()
    size, anchor = made.anchors[0]
    made.anchors[0] = (size, replace(anchor, cosignatures=lines))
    bundle = made.bundle(EVENTS)
    assert outcome(bundle, policy=a_policy())[10] is False
    assert "is not what it claims" in words(bundle, 10, policy=a_policy())


def test_check_10_counts_no_checkpoint_of_other_keys_than_the_policy_names() -> None:
    bundle = grown(witnesses=WITNESSES).bundle(EVENTS)
    assert outcome(bundle, policy=a_policy("all", KEYS))[10] is True
    other = a_policy("all", signing_keys("another"))
    assert outcome(bundle, policy=other)[10] is False
    assert "The policy is for other keys" in words(bundle, 10, policy=other)


def test_keys_in_the_policy_serve_where_no_key_was_given() -> None:
    bundle = grown(witnesses=WITNESSES).bundle(EVENTS)
    assert check(bundle, None, a_policy("all", KEYS)).holds
    assert not check(bundle, None, a_policy("all", signing_keys("another"))).holds
    assert outcome(bundle, None, policy=a_policy("all"))[7] is None


def test_a_policy_that_wants_no_witness_makes_no_check() -> None:
    nobody = replace(a_policy(), quorum=None)
    assert outcome(BUNDLE, policy=nobody) == BARE
    assert NO_WITNESS in check(BUNDLE, VKEYS, nobody).not_proved


def test_check_10_does_not_count_the_log_as_its_own_witness() -> None:
    bundle = grown().bundle(EVENTS)
    own = Policy.read(f"witness W {KEYS[1].verifier.written()}\nquorum W\n".encode())
    assert outcome(bundle, policy=own)[10] is False
    assert "Not counted, because it is the log itself: W." in words(bundle, 10, policy=own)
    named = SigningKey(ORIGIN, bytes(32), ML_DSA_44)
    note = grown().note()
    alias = Policy.read(f"witness W {named.verifier.written()}\nquorum W\n".encode())
    seen = grown().bundle(EVENTS, note.signed_too([cosigned(note, named)]))
    assert outcome(seen, policy=alias)[10] is False


def test_check_10_fails_where_an_event_says_it_was_recorded_after_witnesses_saw_it() -> None:
    bundle = grown(witnesses=WITNESSES, at=day(-365)).bundle(EVENTS)
    assert outcome(bundle, policy=a_policy())[10] is False
    assert "Event 1 says that it was recorded on 2026-05-01 01:30:00 UTC" in words(
        bundle, 10, policy=a_policy()
    )


def test_check_7_fails_for_one_more_signature_in_the_logs_name() -> None:
    made = grown()
    made.tell("log.opened", KEYS, day(0), KEYS)
    note, evil = made.note(), SigningKey(ORIGIN, b"B" * 32)
    line = evil.verifier.line(evil.sign(note.text.encode()), 0)
    for more in (line, Signature(ORIGIN, b"abcd", bytes(64))):
        for signed in (note.signed_too([more]), Note(note.text, (more, *note.signatures))):
            bundle = made.bundle(EVENTS, signed)
            assert outcome(bundle)[7] is False
            assert "by none of the keys that are known" in words(bundle, 7)
            page = bundle.readme.decode()
            assert KEYS[0].verifier.key_id.hex() in page
            assert more.key_id.hex() not in page


def test_a_key_for_one_of_two_algorithms_leaves_the_other_not_proved() -> None:
    for key, lacking in ((KEYS[0], "ML-DSA-44"), (KEYS[1], "Ed25519")):
        verdict = check(BUNDLE, key.verifier.written())
        assert verdict.holds
        assert f"That the {lacking} signature of the checkpoint is by the log" in " ".join(verdict.not_proved)
    assert "rests on" not in " ".join(check(BUNDLE, VKEYS).not_proved)


def test_check_11_tells_of_each_event_no_later_than_when_it_was_there(authority: Authority) -> None:
    made = grown(authority=authority, at=day(1))
    made.anchor(authority=authority, at=day(2))
    made.pad()
    bundle = made.bundle(EVENTS)
    assert outcome(bundle, roots=authority.roots) == {**BARE, 9: True, 11: True}
    said = words(bundle, 11, roots=authority.roots)
    assert "events 1 to 4: no later than 2026-05-02 12:00:00 UTC, by CN=Fictional time stamps" in said
    assert "events 5 to 6: no later than 2026-05-03 12:00:00 UTC" in said
    not_proved = check(bundle, VKEYS, roots=authority.roots).not_proved
    assert NOT_BEFORE in not_proved
    assert NO_ROOTS not in not_proved


def test_check_11_says_which_events_no_stamp_covers_yet(authority: Authority) -> None:
    bundle = grown(authority=authority, at=day(1)).bundle(EVENTS)
    assert "When events 5 to 6 came about" in " ".join(check(bundle, VKEYS, roots=authority.roots).not_proved)


def test_check_11_follows_a_stamp_that_was_renewed(authority: Authority) -> None:
    made = grown(authority=authority, at=day(1))
    size, anchor = made.anchors[0]
    renewed = (*anchor.stamps, authority.by_hand(anchor.stamps[0], day(200)))
    made.anchors[0] = (size, replace(anchor, stamps=renewed))
    said = words(made.bundle(EVENTS), 11, roots=authority.roots)
    assert "no later than 2026-05-02 12:00:00 UTC" in said
    made.anchors[0] = (size, replace(anchor, stamps=renewed[::-1]))
    assert outcome(made.bundle(EVENTS), roots=authority.roots)[11] is False


def test_check_11_fails_for_a_stamp_of_another_authority_or_over_other_data(
    authority: Authority, tmp_path: Any
) -> None:
    bundle = grown(authority=authority, at=day(1)).bundle(EVENTS)
    other = found(tmp_path / "other")
    assert outcome(bundle, roots=other.roots) == {**BARE, 9: True, 11: False}
    assert NO_STAMP in check(bundle, VKEYS, roots=other.roots).not_proved
    made = grown(authority=authority, at=day(1))
    size, anchor = made.anchors[0]
    made.anchors[0] = (size, replace(anchor, stamps=(authority.by_hand(b"something else", day(1)),)))
    assert "anchors/0001: The time stamp is over other data" in words(
        made.bundle(EVENTS), 11, roots=authority.roots
    )


def test_check_11_fails_where_an_event_says_it_was_recorded_after_it_was_stamped(
    authority: Authority,
) -> None:
    bundle = grown(authority=authority, at=day(0) - timedelta(hours=12)).bundle(EVENTS)
    said = words(bundle, 11, roots=authority.roots)
    assert "Event 1 says that it was recorded on 2026-05-01 01:30:00 UTC" in said
    assert "was stamped before that, on 2026-05-01 00:00:00 UTC" in said
    assert outcome(bundle, roots=authority.roots) == {**BARE, 9: True, 11: False}


def test_a_stamp_over_a_checkpoint_from_which_the_log_did_not_grow_dates_nothing(
    authority: Authority,
) -> None:
    before = grown(authority=authority, at=day(1))
    after = Log()
    after.pad(30)
    after.add(*(event.bytes for event in EVENTS))
    after.pad(200)
    after.anchors = before.anchors
    bundle = after.bundle(EVENTS)
    assert outcome(bundle, roots=authority.roots) == {**BARE, 9: False, 11: False}
    assert "no later than" not in words(bundle, 11, roots=authority.roots)
