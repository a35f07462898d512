"""Keys follow each other: who knows the old ones can trust the new ones, and nobody can make that way up."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from audit.key import SigningKey
from custody.bundle import Bundle, Told
from custody.cover import covered
from custody.event import decode
from custody.examination import check
from tests.custody.bundles import WITNESSES, Log, a_policy, day, signing_keys, vkeys
from tests.custody.trails import ORIGIN, TO_THE_STORE, trail

EVENTS = trail(TO_THE_STORE)
FIRST, SECOND, THIRD = (signing_keys(name) for name in ("first", "second", "third"))
NEW_NAME = f"{ORIGIN}/2"
RENAMED = signing_keys("after the restore", NEW_NAME)


def rotated(*, finished: bool = True) -> Log:
    """First keys, an overlap with the second ones, and, if finished, the second ones alone."""
    made = Log(keys=FIRST)
    made.pad(10)
    made.tell("log.opened", FIRST, day(0), FIRST)
    made.pad(10)
    made.anchor(WITNESSES, at=day(1))
    both = (*FIRST, *SECOND)
    retiring = {"retiring": [key.verifier.written() for key in FIRST]}
    made.tell("log.keys_changed", both, day(2), both, **retiring)
    made.keys = both
    if finished:
        made.tell("log.keys_changed", SECOND, day(3), SECOND)
        made.keys = SECOND
    made.add(*(event.bytes for event in EVENTS))
    made.pad(10)
    return made


@cache
def whole() -> Bundle:
    return rotated().bundle(EVENTS)


def found(bundle: Bundle, keys: tuple[SigningKey, ...], number: int) -> Any:
    return check(bundle, vkeys(keys)).findings[number - 1]


def test_who_has_the_first_keys_still_trusts_what_the_second_ones_sign() -> None:
    bundle = rotated().bundle(EVENTS)
    verdict = check(bundle, vkeys(FIRST))
    assert verdict.holds
    assert "follow from them by one change of keys" in verdict.findings[6].words
    assert verdict.findings[7].words == "It names 3 sets of keys, one after the other."
    assert verdict.findings[8].holds  # the anchor of the time before


def test_who_has_the_second_keys_needs_no_history_and_judges_old_anchors_by_it() -> None:
    verdict = check(rotated().bundle(EVENTS), vkeys(SECOND))
    assert verdict.holds
    assert "changes of keys" not in verdict.findings[6].words
    assert verdict.findings[8].holds


def test_during_an_overlap_the_old_keys_and_the_new_ones_both_open_a_bundle() -> None:
    bundle = rotated(finished=False).bundle(EVENTS)
    for keys in (FIRST, SECOND, (*FIRST, *SECOND)):
        assert check(bundle, vkeys(keys)).holds


def test_strangers_keys_open_nothing() -> None:
    verdict = check(rotated().bundle(EVENTS), vkeys(THIRD))
    assert not verdict.findings[6].holds
    assert "does not lead from the keys you gave" in verdict.findings[6].words
    assert verdict.checkpoint is None


def test_an_attacker_with_only_new_keys_cannot_make_up_a_history_that_begins_with_the_old_ones() -> None:
    """The whole log and its history are made anew; of the true keys only the public halves are known."""
    made = Log(keys=THIRD)
    made.pad(10)
    made.tell("log.opened", FIRST, day(0), THIRD)
    made.tell("log.keys_changed", THIRD, day(2), THIRD)
    made.add(*(event.bytes for event in EVENTS))
    made.pad(10)
    bundle = made.bundle(EVENTS)
    assert not found(bundle, FIRST, 7).holds
    assert not found(bundle, FIRST, 8).holds
    assert "neither the keys that signed before it nor those" in found(bundle, FIRST, 8).words


def test_a_true_history_is_no_help_to_an_attacker_who_adds_a_change_to_it() -> None:
    true = rotated()
    made = replace(true, keys=THIRD)
    made.tell("log.keys_changed", THIRD, day(9), THIRD)
    bundle = made.bundle(EVENTS)
    for keys in (FIRST, SECOND):
        assert not found(bundle, keys, 7).holds
    assert check(bundle, vkeys(THIRD)).holds, "who was handed these keys as the log's is told nothing else"
    assert "is not signed for by the keys before it" in found(bundle, THIRD, 8).words


def test_one_algorithm_alone_does_not_hand_over() -> None:
    """Whoever breaks Ed25519 one day still cannot make the old ML-DSA-44 key sign for new keys."""
    made = rotated(finished=False)
    made.keys = (FIRST[0], *THIRD)
    made.tell("log.keys_changed", THIRD, day(9), (FIRST[0], *THIRD))
    made.keys = THIRD
    assert not found(made.bundle(EVENTS), FIRST, 7).holds


def test_a_lost_key_leaves_a_gap_that_is_named_and_not_crossed() -> None:
    made = rotated()
    made.keys = THIRD
    made.tell("log.keys_changed", THIRD, day(5), THIRD)
    bundle = made.bundle(EVENTS)
    assert not found(bundle, SECOND, 7).holds
    verdict = check(bundle, vkeys(THIRD))
    assert verdict.holds
    assert "that of 2026-05-06 is not signed for by the keys before it, as happens when keys are lost" in (
        verdict.findings[7].words
    )


def test_after_a_restore_the_old_keys_lead_to_the_log_under_its_new_name() -> None:
    made = rotated()
    made.origin = NEW_NAME
    lost = {"name": "events", "origin": ORIGIN, "size": 500, "root": "ab" * 32}
    both = (*RENAMED, *SECOND)
    made.tell("log.recovered", RENAMED, day(8), both, log=lost, resumed=len(made.leaves))
    made.keys = RENAMED
    made.pad(5)
    made.anchor(WITNESSES, at=day(9))
    made.pad(5)
    bundle = made.bundle(EVENTS)
    for keys in (FIRST, SECOND, RENAMED):
        verdict = check(bundle, vkeys(keys), a_policy())
        assert verdict.holds, [finding.words for finding in verdict.findings if not finding.holds]
    assert "on 2026-05-09 the log went on under another name" in found(bundle, FIRST, 8).words
    gone = 500 - int(decode(made.told[-1].event).get("resumed"))
    assert (
        f"500 leaves were signed and {500 - gone} still there: {gone} were lost"
        in found(bundle, FIRST, 8).words
    )
    told = f"That no event of this kit was among the {gone} leaves of the log that were lost"
    assert any(told in each for each in check(bundle, vkeys(FIRST)).not_proved)
    assert told in bundle.readme.decode()


def test_a_history_with_a_piece_missing_or_turned_round_does_not_hold() -> None:
    bundle = rotated().bundle(EVENTS)
    first, second, third = bundle.keys
    for keys, number in (((first, third), 2), ((second, third), 1), ((second, first, third), 1)):
        changed = covered(replace(bundle, keys=keys))
        assert not found(changed, SECOND, 8).holds
        assert f"keys/{number:04}.json: it does not follow the event before it" in (
            found(changed, SECOND, 8).words
        )
    assert not check(covered(replace(bundle, keys=(first, third))), vkeys(FIRST)).holds


def test_an_event_of_the_history_that_is_not_in_the_log_does_not_hold() -> None:
    bundle = rotated().bundle(EVENTS)
    swapped = (bundle.keys[0], Told(event=bundle.keys[1].event, proof=bundle.keys[0].proof), bundle.keys[2])
    assert not found(covered(replace(bundle, keys=swapped)), SECOND, 8).holds


def test_an_event_of_a_kit_is_no_history() -> None:
    made = rotated()
    note = made.note()
    odd = Told(event=EVENTS[0].bytes, proof=made.proof(EVENTS[0].bytes, note))
    bundle = covered(replace(made.bundle(EVENTS), keys=(odd,)))
    assert "tells nothing about this log's keys" in found(bundle, SECOND, 8).words


@pytest.mark.parametrize("at", range(0, 900, 37))
def test_any_changed_byte_of_a_history_is_found(at: int) -> None:
    bundle = whole()
    for which in ("event", "proof"):
        data = getattr(bundle.keys[1], which)
        spot = at * len(data) // 900
        flipped = data[:spot] + bytes([data[spot] ^ 1]) + data[spot + 1 :]
        told = replace(bundle.keys[1], **{which: flipped})
        changed = replace(bundle, keys=(bundle.keys[0], told, bundle.keys[2]))
        assert not check(changed, vkeys(SECOND)).agrees, (which, spot)


EVIL = "evil.example/log"
STRANGERS = signing_keys("a stranger", EVIL)


def a_strangers_history() -> Log:
    made = Log(keys=STRANGERS, origin=EVIL)
    made.tell("log.opened", STRANGERS, day(0), STRANGERS)
    return made


def test_a_tree_that_witnesses_saw_under_another_logs_name_was_not_seen_under_this_one() -> None:
    """The witnesses cosigned the same tree, as evil.example/log, whose history lies in the bundle."""
    made = Log(keys=FIRST)
    made.add(*(event.bytes for event in EVENTS))
    made.pad(20)
    theirs = Log(keys=STRANGERS, origin=EVIL, leaves=made.leaves, _tiles=made._tiles)
    theirs.anchor(WITNESSES)
    made.anchors, made.told = theirs.anchors, a_strangers_history().told
    verdict = check(made.bundle(EVENTS), vkeys(FIRST), a_policy())
    assert [each.holds for each in verdict.findings[6:10]] == [True, False, False, False]
    assert "not signed by any known keys of the log" in verdict.findings[8].words


def test_a_history_of_another_log_and_one_that_is_cut_short_do_not_hold() -> None:
    bundle = rotated().bundle(EVENTS)
    foreign = covered(replace(bundle, keys=tuple(a_strangers_history().told)))
    assert found(foreign, SECOND, 8).holds is False
    assert "they signed nothing of it" in found(foreign, SECOND, 8).words
    cut = covered(replace(bundle, keys=bundle.keys[:1]))
    assert found(cut, SECOND, 8).holds is False
    assert found(cut, FIRST, 8).holds is False
    assert "it is cut short" in found(cut, FIRST, 8).words


def test_a_log_changes_its_name_only_where_it_says_that_it_was_recovered() -> None:
    made = rotated()
    made.tell("log.keys_changed", RENAMED, day(8), (*SECOND, *RENAMED))
    assert f"{NEW_NAME} is not the name of the log" in found(made.bundle(EVENTS), SECOND, 8).words
    made = rotated()
    lost = {"name": "events", "origin": EVIL, "size": 500, "root": "ab" * 32}
    made.tell("log.recovered", RENAMED, day(8), (*SECOND, *RENAMED), log=lost, resumed=5)
    assert f"{EVIL} is not the name of the log" in found(made.bundle(EVENTS), SECOND, 8).words


def test_without_a_key_a_history_vouches_for_nothing_but_itself() -> None:
    verdict = check(whole(), None)
    assert [verdict.findings[number - 1].holds for number in (7, 8, 9)] == [None, None, None]
    assert "vouches for nothing but itself" in verdict.findings[7].words
    assert "nobody knows whose checkpoints these are" in verdict.findings[8].words
