"""Who signed the checkpoint of a bundle, in words: checks 7 and 8 of :mod:`custody.examination`."""

from collections.abc import Sequence
from typing import Final

from audit.checkpoint import Checkpoint
from audit.key import ED25519, ML_DSA_44, NotSigned, VerifierKey, signed_with, verify
from audit.note import Note
from custody.key_history import History, Keys, reached, signed_by

_KINDS: Final = {ED25519: (64, "Ed25519"), ML_DSA_44: (2428, "ML-DSA-44")}  # bytes in a line

ONE_ALGORITHM: Final = (
    "That the {lacking} signature of the checkpoint is by the log: none of the keys you gave is for"
    " {lacking}, so all of this rests on {given} alone."
)


def one_algorithm(note: Note, origin: str, given: Keys) -> str | None:
    """What stays unproved because no key was given for a kind of signature that stands in the log's name."""
    kinds = {key.key_type: key.algorithm for key in given}
    for kind, (size, name) in _KINDS.items():
        there = any(each.name == origin and len(each.signature) == size for each in note.signatures)
        if there and kind not in kinds:
            return ONE_ALGORITHM.format(lacking=name, given=" and ".join(sorted(kinds.values())))
    return None


def stranger(note: Note, origin: str, known: Sequence[Keys]) -> str | None:
    """What the checkpoint does where a signature in the log's name is by none of its keys, or None.

    A kind of which no key at all is known cannot be judged (:func:`one_algorithm` says so). Where no known
    key signed, or none is for this log, nothing is said here either: :func:`why_not` does.
    """
    keys = {key for each in known for key in each if key.name == origin}
    unknown = {size for kind, (size, _) in _KINDS.items() if kind not in {key.key_type for key in keys}}
    own = [each for each in note.signatures if each.name == origin]
    if not any(key.claims(each) for key in keys for each in own):
        return None
    for each in own:
        if len(each.signature) not in unknown and not any(
            key.claims(each) and key.verifies(note.text, each) for key in keys
        ):
            return (
                f"carries a signature in the name of {origin}, {each.key_id.hex()}, that is by none of the"
                " keys that are known to be the log's"
            )
    return None


def who_signed(note: Note, checkpoint: Checkpoint, keys: Sequence[VerifierKey], changes: int) -> str:
    """That these keys signed, which follow from those that were given by so many changes."""
    way = ""
    if changes:
        times = "one change" if changes == 1 else f"{changes} changes"
        way = (
            f" These are not the keys you gave, but follow from them by {times} of keys, each signed by the"
            " keys before."
        )
    return (
        f"{checkpoint.origin} signed that the log has {checkpoint.size} leaves, with"
        f" {signed_with(note, keys)}.{way}"
    )


def why_not(note: Note, checkpoint: Checkpoint, keys: Keys) -> str:
    """Why ``keys``, the last ones that are trusted, did not sign the checkpoint."""
    own = [key for key in keys if key.name == checkpoint.origin]
    if not own:
        names = ", ".join(sorted({key.name for key in keys}))
        return f"it is of {checkpoint.origin}, the keys are for {names}"
    try:
        signers = {key.key_type for key in verify(note, own)}
    except NotSigned as why:
        return str(why)
    lacking = sorted({key.algorithm for key in own if key.key_type not in signers})
    return f"the {lacking[0]} signature by {checkpoint.origin} is missing"


def not_this_logs(history: History, given: Keys, note: Note | None, origin: str | None) -> str | None:
    """Why a history that holds together is not that of the keys ``given`` and of the checkpoint."""
    if not reached(history, given):
        return "It is not the history of the keys you gave: they signed nothing of it."
    named = [key for key in history.generations[-1].keys if key.name == origin]
    if note is None or not named or not signed_by(note, named):
        return "The keys that it names last did not sign the checkpoint: it is cut short, or of another log."
    return None
