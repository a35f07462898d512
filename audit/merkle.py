"""The Merkle tree over a log's entries: hashes, roots, inclusion and consistency proofs (RFC 6962 section 2,
the same tree as RFC 9162 section 2).

An entry of our logs is a 32-byte digest; `leaf_hash` takes any bytes, as the RFC does. Hashes are 32 bytes.

Making a proof is two steps, so that it needs no database: a *plan* names the ranges of leaves whose hashes
make up the proof; each range is a few complete subtrees (`Node`), which a `Read` callback supplies. A proof
in a tree of n leaves reads O(log n squared) nodes, out of O(log n) tiles (`audit.tile`).

Checking a proof uses nothing but the proof and the two statements it connects, by the algorithms of
RFC 9162 sections 2.1.3.2 and 2.1.4.2. `InvalidProof` says why a proof does not hold.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

EMPTY_ROOT: Final = sha256(b"").digest()  # MTH of the empty list, RFC 6962 section 2.1
MAX_PROOF: Final = 64  # hashes; a tree of at most 2**63 leaves never needs more


class Node(NamedTuple):
    """The root of a complete subtree: it covers the leaves [number * 2**level, (number + 1) * 2**level)."""

    level: int
    number: int


class Span(NamedTuple):
    """A range of leaves [start, end) that is a subtree of some tree of the log: start < end."""

    start: int
    end: int


Read = Callable[[Node], bytes]
"""Gives the hash of a complete subtree; raises what it likes when it cannot."""


class InvalidProof(ValueError):
    """A proof that does not show what it should; the message says why."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of an entry as a leaf: SHA-256(0x00 || entry) (RFC 6962 section 2.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 || left || right) (RFC 6962 section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def split(size: int) -> int:
    """k: the largest power of two smaller than `size` (> 1), where the RFC splits a list of `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def nodes_of(span: Span) -> Iterator[Node]:
    """The complete subtrees that make up `span`, from left to right, largest first.

    `span.start` must be a multiple of the power of two at or above the span's length, as it is for every
    subtree of a tree of the log.
    """
    start, end = span
    while start < end:
        level = (end - start).bit_length() - 1
        yield Node(level, start >> level)
        start += 1 << level


def hash_of(span: Span, read: Read) -> bytes:
    """MTH(D[start:end]) of a subtree, folded from its complete subtrees (RFC 6962 section 2.1)."""
    hashes = [read(node) for node in nodes_of(span)]
    result = hashes.pop()
    while hashes:
        result = node_hash(hashes.pop(), result)
    return result


def root(size: int, read: Read) -> bytes:
    """The root of the tree of the first `size` leaves; the empty tree has `EMPTY_ROOT`."""
    return hash_of(Span(0, size), read) if size else EMPTY_ROOT


def inclusion_plan(index: int, size: int) -> list[Span]:
    """The subtrees whose hashes prove that leaf `index` is in the tree of `size`: PATH(m, D[n]) of RFC 6962
    section 2.1.1, from the leaf's sibling up to the root's child.

    Raises ValueError unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size} leaves")
    plan: list[Span] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            plan.append(Span(middle, end))
            end = middle
        else:
            plan.append(Span(start, middle))
            start = middle
    plan.reverse()
    return plan


def consistency_plan(old: int, new: int) -> list[Span]:
    """The subtrees whose hashes prove that the tree of `old` leaves is a prefix of the tree of `new`:
    PROOF(m, D[n]) of RFC 6962 section 2.1.2. Empty for old = 0 and for old = new.

    Raises ValueError unless 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ValueError(f"no consistency from {old} leaves to {new}")
    if old in (0, new):
        return []
    plan: list[Span] = []
    start, end = 0, new
    while end != old:
        middle = start + split(end - start)
        if old <= middle:
            plan.append(Span(middle, end))
            end = middle
        else:
            plan.append(Span(start, middle))
            start = middle
    if start:  # the old root itself is known to the checker, so a whole old tree is left out
        plan.append(Span(start, end))
    plan.reverse()
    return plan


def inclusion_proof(index: int, size: int, read: Read) -> list[bytes]:
    """The hashes that prove leaf `index` in the tree of `size` leaves (RFC 6962 section 2.1.1)."""
    return [hash_of(span, read) for span in inclusion_plan(index, size)]


def consistency_proof(old: int, new: int, read: Read) -> list[bytes]:
    """The hashes that prove the tree of `old` leaves a prefix of that of `new` (RFC 6962 section 2.1.2)."""
    return [hash_of(span, read) for span in consistency_plan(old, new)]


def root_by_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that a tree of `size` leaves has if leaf hash `leaf` stands at `index` and `proof` is its
    path (RFC 9162 section 2.1.3.2). Raises `InvalidProof` when the proof has the wrong form."""
    if not 0 <= index < size:
        raise InvalidProof(f"index {index} is not in a tree of {size} leaves")
    _demand_hashes([leaf, *proof])
    position, last, result = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise InvalidProof("the inclusion proof has too many hashes")
        if position & 1 or position == last:
            result = node_hash(step, result)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            result = node_hash(result, step)
        position, last = position >> 1, last >> 1
    if last:
        raise InvalidProof("the inclusion proof has too few hashes")
    return result


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that leaf hash `leaf` stands at `index` of the tree with `size` leaves and `root`.

    Raises `InvalidProof` when that is not shown (RFC 9162 section 2.1.3.2).
    """
    if root_by_inclusion(leaf, index, size, proof) != root:
        raise InvalidProof("the inclusion proof leads to another root")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree (`old`, `old_root`) is a prefix of the tree (`new`, `new_root`).

    RFC 9162 section 2.1.4.2, and the two cases it leaves to the caller: from the empty tree and from a
    tree to itself the proof is empty. Raises `InvalidProof` when consistency is not shown.
    """
    _demand_hashes([old_root, new_root, *proof])
    if not 0 <= old <= new:
        raise InvalidProof(f"a tree of {old} leaves cannot be a prefix of one of {new}")
    for size, known in ((old, old_root), (new, new_root)):
        if size == 0 and known != EMPTY_ROOT:
            raise InvalidProof("the root given for the empty tree is not the empty tree's root")
    if old in (0, new):
        if proof:
            raise InvalidProof("the consistency proof should be empty")
        if old == new and old_root != new_root:
            raise InvalidProof(f"two different roots are given for {old} leaves")
        return
    path = list(proof)
    if old & (old - 1) == 0:  # a whole old tree: its root is the first hash, known and left out
        path.insert(0, old_root)
    if not path:
        raise InvalidProof("the consistency proof is empty")
    _fold_consistency(old, old_root, new, new_root, path)


def _fold_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: list[bytes]) -> None:
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    older = newer = path[0]
    for step in path[1:]:
        if last == 0:
            raise InvalidProof("the consistency proof has too many hashes")
        if position & 1 or position == last:
            older, newer = node_hash(step, older), node_hash(step, newer)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            newer = node_hash(newer, step)
        position, last = position >> 1, last >> 1
    if last:
        raise InvalidProof("the consistency proof has too few hashes")
    if older != old_root:
        raise InvalidProof("the consistency proof leads to another old root")
    if newer != new_root:
        raise InvalidProof("the consistency proof leads to another new root")


def _demand_hashes(hashes: Sequence[bytes]) -> None:
    if len(hashes) > MAX_PROOF + 2:
        raise InvalidProof("the proof has more hashes than any tree needs")
    if any(len(one) != sha256().digest_size for one in hashes):
        raise InvalidProof("the proof holds something that is not a 32-byte hash")
