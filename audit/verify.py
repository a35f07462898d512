"""Checks that need no service, no database and no network: what a court runs over a bundle.

The numbered checks, in order:

1. The checkpoint is signed by the given keys, one of each type, and its origin is their name.
2. Each proof is under exactly that checkpoint: the same origin, size and root.
3. Each digest is in the log at the index its proof gives (RFC 9162 section 2.1.3.2).
4. The earlier checkpoint, where there is one, is signed by the given keys.
5. The log only grew between the two: the earlier tree is a prefix of the later one
   (RFC 9162 section 2.1.4.2).

The keys come from outside (never from what is being checked), or check 1 says nothing. A check that fails
does not stop the ones after it, except that nothing can be said about the log when check 1 fails.
Input that is not what its format demands raises `VerificationError`, always and only that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from audit.checkpoint import Checkpoint
from audit.key import NotSigned, VerifierKey, open_note, read_keys, signed_with
from audit.merkle import InvalidProof, verify_consistency
from audit.note import Note
from audit.proof import Proof
from audit.text import HASH_BYTES, Malformed

TITLES: Final = {
    1: "The checkpoint is signed by the log's key",
    2: "The proofs are under this checkpoint",
    3: "The digests are in the log",
    4: "The earlier checkpoint is signed by the log's key",
    5: "The log only grew since the earlier checkpoint",
}

NOT_PROVED: Final = (
    "That what the digests stand for is true: the log shows only that it was recorded and not changed since.",
    "That the log showed everyone the same tree: no independent witness was asked.",
    "When anything was recorded, beyond the order of the log: no independent time stamp was checked.",
)
NOT_PROVED_GROWTH: Final = "That nothing was removed before this checkpoint: no earlier checkpoint was given."


class VerificationError(ValueError):
    """What should be checked is not what its format demands; the message says which part and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one check: its number, what it checks, whether it holds, and why in plain words.

    `holds` is None for a check that was not made, because what it needs from outside was not given: that is
    neither a success nor a failure, and `words` say what was missing.
    """

    number: int
    title: str
    holds: bool | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All findings in order, the checkpoint they are about (None: not signed), and what was not proved."""

    findings: tuple[Finding, ...]
    checkpoint: Checkpoint | None
    not_proved: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether no check that was made fails; without a signature that is only agreement with itself."""
        return all(finding.holds is not False for finding in self.findings)

    @property
    def holds(self) -> bool:
        """Whether the checkpoint is signed by keys from outside and no check that was made fails."""
        return self.checkpoint is not None and self.agrees


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """An earlier checkpoint (the note's bytes) and the hashes that show the log grew from it."""

    note: bytes
    hashes: Sequence[bytes]


def verify(
    vkeys: str, note: bytes, proofs: Sequence[tuple[bytes, bytes]] = (), earlier: Earlier | None = None
) -> Verdict:
    """Make the numbered checks.

    `vkeys`: the log's public keys, one vkey a line. `note`: the signed checkpoint. `proofs`: pairs of a
    32-byte digest and its `.tlog-proof` file. Raises `VerificationError` for malformed input.
    """
    try:
        keys = read_keys(vkeys)
        read = [(_digest(digest), Proof.read(data)) for digest, data in proofs]
        first, checkpoint = _signature(1, note, keys)
        findings = [first]
        if checkpoint is None:
            return Verdict(findings=tuple(findings), checkpoint=None, not_proved=NOT_PROVED)
        if read:
            findings += [_same_checkpoint(read, checkpoint), check_inclusions(read, checkpoint)]
        if earlier is not None:
            findings += _growth(earlier, checkpoint, keys)
    except Malformed as wrong:
        raise VerificationError(str(wrong)) from wrong
    not_proved = NOT_PROVED if earlier is not None else (*NOT_PROVED, NOT_PROVED_GROWTH)
    return Verdict(findings=tuple(findings), checkpoint=checkpoint, not_proved=not_proved)


def _digest(digest: bytes) -> bytes:
    if len(digest) != HASH_BYTES:
        raise Malformed(f"a digest has {HASH_BYTES} bytes, this one {len(digest)}")
    return digest


def _finding(number: int, wrong: str | None, well: str) -> Finding:
    return Finding(number=number, title=TITLES[number], holds=wrong is None, words=wrong or well)


def _signature(number: int, note: bytes, keys: Sequence[VerifierKey]) -> tuple[Finding, Checkpoint | None]:
    """Checks 1 and 4."""
    try:
        checkpoint = open_note(note, keys)
    except NotSigned as wrong:
        return _finding(number, f"The checkpoint is not to be trusted: {wrong}.", ""), None
    well = (
        f"{checkpoint.origin} signed that the log has {checkpoint.size} leaves, with"
        f" {signed_with(Note.read(note), keys)}."
    )
    return _finding(number, None, well), checkpoint


def _same_checkpoint(proofs: Sequence[tuple[bytes, Proof]], checkpoint: Checkpoint) -> Finding:
    """Check 2."""
    other = [proof for _, proof in proofs if proof.checkpoint() != checkpoint]
    wrong = None
    if other:
        wrong = (
            f"{len(other)} of {len(proofs)} proofs speak of another checkpoint; "
            f"the first of them is for index {other[0].index}."
        )
    return _finding(2, wrong, f"All {len(proofs)} proofs speak of the same checkpoint.")


def check_inclusions(proofs: Sequence[tuple[bytes, Proof]], checkpoint: Checkpoint) -> Finding:
    """Check 3: every digest is in the tree that `checkpoint` states, whatever its proof's own note says."""
    failed: list[str] = []
    for digest, proof in proofs:
        try:
            proof.check_under(digest, checkpoint)
        except InvalidProof as wrong:
            failed.append(f"digest {digest.hex()} at index {proof.index}: {wrong}")
    wrong_words = (
        f"{len(failed)} of {len(proofs)} digests are not shown to be in the log; {failed[0]}."
        if failed
        else None
    )
    return _finding(3, wrong_words, f"All {len(proofs)} digests are in the log of {checkpoint.size} leaves.")


def _growth(earlier: Earlier, checkpoint: Checkpoint, keys: Sequence[VerifierKey]) -> list[Finding]:
    """Checks 4 and 5."""
    signature, before = _signature(4, earlier.note, keys)
    if before is None:
        return [signature]
    wrong = None
    try:
        verify_consistency(before.size, before.root, checkpoint.size, checkpoint.root, earlier.hashes)
    except InvalidProof as why:
        wrong = (
            f"It is not shown that the log only grew from {before.size} to {checkpoint.size} leaves: {why}."
        )
    well = f"The first {before.size} of the {checkpoint.size} leaves are those of the earlier checkpoint."
    return [signature, _finding(5, wrong, well)]
