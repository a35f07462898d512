"""Which logs and witnesses somebody trusts, and how many of them (C2SP tlog-policy).

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <name>...
    quorum <name>|none

A policy comes from whoever checks, never from what is checked. The reader is strict:

1. Lines end with a newline; items are parted by spaces and tabs only; empty lines and lines whose first item
   begins with `#` say nothing. Of the control characters only tab and newline are there.
2. A log's key is of type 0x01 or 0x06, a witness's of type 0x04 or 0x06. Two lines of the same kind never
   hold the same public key, whatever name and type they give it.
3. Witnesses and groups share their names, which are octets and mean nothing elsewhere. A name is defined
   once, before it is used; it is in at most one group, once. `none` is nobody's name.
4. There is exactly one quorum.

One rule is ours: a key is not a log's and a witness's at once, or the log would witness itself.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Self

from audit.key import COSIGNATURE, ED25519, ML_DSA_44, NotSigned, VerifierKey
from audit.note import Note
from audit.text import Malformed, read_decimal, read_utf8

MAX_POLICY_BYTES: Final = 1 << 21
MAX_OF_A_KIND: Final = 256  # logs, witnesses, groups; the format recommends that at least 32 are supported
MAX_KEY_NAME: Final = 255  # bytes of a witness's key name: what ML-DSA-44 can sign for, and what is stored

_NONE: Final = b"none"
_LOG_KEYS: Final = (ED25519, ML_DSA_44)
_WITNESS_KEYS: Final = (COSIGNATURE, ML_DSA_44)
_ALLOWED: Final = bytes([0x09, 0x0A, *range(0x20, 0x7F), *range(0x80, 0x100)])
_LAST_SECOND: Final = 253_402_300_799  # the end of the year 9999, the last that a date can be written of


@dataclass(frozen=True, slots=True)
class Witness:
    """An independent party that cosigns: its name in the policy, its key, and where it is asked, if known."""

    octets: bytes
    key: VerifierKey
    url: str | None = None

    @property
    def name(self) -> str:
        """The name for people."""
        return _shown(self.octets)


@dataclass(frozen=True, slots=True)
class Group:
    """Witnesses and groups, of which at least `threshold` must have cosigned."""

    octets: bytes
    threshold: int
    members: tuple[bytes, ...]

    def words(self) -> str:
        """What the group wants, in plain words."""
        names = [_shown(member) for member in self.members]
        if len(names) == 1:
            return names[0]
        if self.threshold == len(names):
            return f"all of {_listed(names)}"
        return f"at least {self.threshold} of {_listed(names)}"


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A witness that cosigned: its name in the policy, when (seconds since 1970; None: it does not say)."""

    name: str
    at: int | None

    def words(self) -> str:
        """The name and the time, for people."""
        if self.at is None:
            return f"{self.name} (without a time)"
        if self.at > _LAST_SECOND:
            return f"{self.name} (at second {self.at})"
        return f"{self.name} ({datetime.fromtimestamp(self.at, UTC):%Y-%m-%d %H:%M:%S} UTC)"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a witness did not cosign. `grave`: it speaks of another log than ours, so somebody must look."""

    name: str
    words: str
    grave: bool = False


@dataclass(frozen=True, slots=True)
class Quorum:
    """Whether enough witnesses cosigned, which ones, that in words, and what went wrong while asking them."""

    reached: bool
    cosigned: tuple[Cosigned, ...]
    words: str
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """Trusted `logs` and `witnesses`, and the `quorum`: a witness's or group's name, None for no witness.

    `groups` stand in the order of their definition: each one's members were defined before it.
    """

    logs: tuple[VerifierKey, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: bytes | None

    @classmethod
    def read(cls, data: bytes) -> Self:
        """The policy written as `data`; `Malformed`, which names the line, for anything else."""
        if len(data) > MAX_POLICY_BYTES:
            raise Malformed(f"the policy is longer than {MAX_POLICY_BYTES} bytes")
        if data.translate(None, _ALLOWED):
            raise Malformed("the policy holds a control character other than tab and newline")
        if not data.endswith(b"\n"):
            raise Malformed("the policy does not end with a newline")
        reading = _Reading()
        for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
            items = line.split()
            if items and not items[0].startswith(b"#"):
                try:
                    reading.line(items)
                except Malformed as wrong:
                    raise Malformed(f"line {number} of the policy: {wrong}") from wrong
        if not reading.quorums:
            raise Malformed("the policy has no quorum line")
        named = reading.quorums[0]
        quorum = None if named == _NONE else named
        return cls(tuple(reading.logs), tuple(reading.witnesses), tuple(reading.groups), quorum)

    def met_by(self, witnesses: Collection[Witness]) -> bool:
        """Whether the cosignatures of `witnesses` are enough."""
        met = {witness.octets for witness in witnesses}
        for group in self.groups:
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(group.octets)
        return self.quorum is None or self.quorum in met

    def without(
        self, keys: Collection[VerifierKey], origins: Collection[str]
    ) -> tuple[Self, tuple[str, ...]]:
        """This policy without the witnesses that are the log itself, and their names in it.

        Those are witnesses that hold a public key of `keys`, of whatever type, or sign in a name of
        `origins`. A group or quorum that they were members of wants as many as before.
        """
        own = {key.public_key for key in keys}
        selves = [one for one in self.witnesses if one.key.public_key in own or one.key.name in origins]
        others = tuple(one for one in self.witnesses if one not in selves)
        return replace(self, witnesses=others), tuple(one.name for one in selves)

    def judge(self, note: Note) -> Quorum:
        """Who of the witnesses cosigned `note`, and whether that is enough. Log signatures are not looked at.

        Signatures by keys that the policy does not know prove nothing and do no harm. One that claims a
        known witness's key and is not by it refuses the whole note: `NotSigned` (C2SP signed-note). A
        witness counts once; of several times it gave, the earliest is told.
        """
        found: list[Witness] = []
        cosigned: list[Cosigned] = []
        for witness in self.witnesses:
            own = [signature for signature in note.signatures if witness.key.claims(signature)]
            if not all(witness.key.verifies(note.text, signature) for signature in own):
                raise NotSigned(
                    f"the cosignature in the name of the witness {witness.name} is not by key"
                    f" {witness.key.key_id.hex()}"
                )
            if own:
                times = [at for at in map(witness.key.signed_at, own) if at is not None]
                found.append(witness)
                cosigned.append(Cosigned(witness.name, min(times, default=None)))
        reached = self.met_by(found)
        return Quorum(reached, tuple(cosigned), self._words(cosigned, reached))

    def wants(self) -> str:
        """What the quorum is, in plain words: "at least 2 of A, B and C"."""
        if self.quorum is None:
            return "no witness"
        groups = {group.octets: group for group in self.groups}
        if self.quorum not in groups:
            return _shown(self.quorum)
        named = groups[self.quorum]
        told, waiting = [named.words()], list(named.members)
        while waiting:
            inner = groups.get(waiting.pop(0))
            if inner is not None:
                told.append(f"{_shown(inner.octets)} being {inner.words()}")
                waiting.extend(inner.members)
        return ", ".join(told)

    def _words(self, cosigned: Collection[Cosigned], reached: bool) -> str:
        who = "No witness of the policy has cosigned."
        if cosigned:
            who = f"Cosigned by {_listed(one.words() for one in cosigned)}."
        outcome = "that is reached" if reached else "that is not reached"
        return f"{who} The policy wants {self.wants()}: {outcome}."


@dataclass(slots=True)
class _Reading:
    """What the lines read so far have defined."""

    logs: list[VerifierKey] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    quorums: list[bytes] = field(default_factory=list)
    names: set[bytes] = field(default_factory=set)
    members: set[bytes] = field(default_factory=set)

    def line(self, items: list[bytes]) -> None:
        """One line, as its items."""
        kinds = {b"log": self._log, b"witness": self._witness, b"group": self._group, b"quorum": self._quorum}
        if items[0] not in kinds:
            raise Malformed(f"{_shown(items[0])[:40]!r} is none of log, witness, group and quorum")
        kinds[items[0]](items[1:])

    def _log(self, items: list[bytes]) -> None:
        if len(items) not in (1, 2):
            raise Malformed("a log line is: log <vkey> [<url>]")
        key = _key(items[0], _LOG_KEYS, "a log")
        self._demand_new(key, (log.public_key for log in self.logs), "a log")
        self._demand_new(key, (witness.key.public_key for witness in self.witnesses), "a witness")
        _demand_room(self.logs, "logs")
        self.logs.append(key)

    def _witness(self, items: list[bytes]) -> None:
        if len(items) not in (2, 3):
            raise Malformed("a witness line is: witness <name> <vkey> [<url>]")
        key = _key(items[1], _WITNESS_KEYS, "a witness")
        if len(key.name.encode()) > MAX_KEY_NAME:
            raise Malformed(f"the name of a witness's key has more than {MAX_KEY_NAME} bytes")
        self._demand_new(key, (witness.key.public_key for witness in self.witnesses), "a witness")
        self._demand_new(key, (log.public_key for log in self.logs), "a log")
        _demand_room(self.witnesses, "witnesses")
        self._define(items[0])
        url = items[2].decode("utf-8", "replace") if len(items) == 3 else None
        self.witnesses.append(Witness(items[0], key, url))

    def _group(self, items: list[bytes]) -> None:
        if len(items) < 3:
            raise Malformed("a group line is: group <name> all|any|<k> <name>...")
        name, rule, *members = items
        for member in members:
            self._demand_known(member, "a group's member")
            if member in self.members:
                raise Malformed(f"{_shown(member)!r} is a group's member already")
            self.members.add(member)
        if rule in (b"all", b"any"):
            threshold = len(members) if rule == b"all" else 1
        else:
            threshold = read_decimal(_shown(rule), "the number in a group, where not all or any,")
        if not 1 <= threshold <= len(members):
            raise Malformed(f"{threshold} of {len(members)} members is not possible")
        _demand_room(self.groups, "groups")
        self._define(name)
        self.groups.append(Group(name, threshold, tuple(members)))

    def _quorum(self, items: list[bytes]) -> None:
        if len(items) != 1:
            raise Malformed("a quorum line is: quorum <name>")
        if self.quorums:
            raise Malformed("there is a second quorum line")
        if items[0] != _NONE:
            self._demand_known(items[0], "the quorum")
        self.quorums.append(items[0])

    def _define(self, name: bytes) -> None:
        if name == _NONE:
            raise Malformed("no witness or group is named none")
        if name in self.names:
            raise Malformed(f"the name {_shown(name)!r} is given twice")
        self.names.add(name)

    def _demand_known(self, name: bytes, what: str) -> None:
        if name not in self.names:
            raise Malformed(f"{what}, {_shown(name)!r}, is not defined on a line before")

    @staticmethod
    def _demand_new(key: VerifierKey, known: Iterable[bytes], whose: str) -> None:
        if key.public_key in known:
            raise Malformed(f"the public key of {key.name} is that of {whose} on a line before")


def _key(item: bytes, types: tuple[int, ...], whose: str) -> VerifierKey:
    key = VerifierKey.read(read_utf8(item, "the key"))
    if key.key_type not in types:
        allowed = " or ".join(f"0x{one:02x}" for one in types)
        raise Malformed(f"the key of {whose} is of type {allowed}, this one of type 0x{key.key_type:02x}")
    return key


def _demand_room(defined: Collection[object], what: str) -> None:
    if len(defined) >= MAX_OF_A_KIND:
        raise Malformed(f"there are more than {MAX_OF_A_KIND} {what}")


def _shown(octets: bytes) -> str:
    """A name for people; octets that are not UTF-8 are written as escapes."""
    return octets.decode("utf-8", "backslashreplace")


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
