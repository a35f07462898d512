"""Policies: how long a kit is kept before a report, and the periods around that, as dated data.

No period is a constant of this code. A policy belongs to a country or to one centre, has a version, the day
it was adopted and the day from which it is valid; it is never changed in place, only followed by a later
version. A kit keeps the policy version under which its term was agreed. Every period
names its source and says whether it was confirmed by those who may confirm it.

Rules that every policy keeps, however it was made (`Policy` refuses otherwise):

1. Unknown age is never kept shorter than adults or minors, from whatever day one counts.
2. The notice period fits into every agreed term and into every extension; otherwise a victim could be told
   too late to do anything.

Seed files stand in `retention/seed/`, one per country: `belgium.json` is the first.

Pure: bytes in, policies out. The one thing read from the machine is the time-zone database, to refuse a zone
that does not exist.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from retention.period import Period, RetentionDataError, never_shorter

FORMAT: Final = 1
"""The version of the file format that `load` reads and `dump` writes."""

MOST_VERSIONS: Final = 9999
"""Events write the version of a policy as a number from 1 to this."""

LARGEST_FILE: Final = 1_000_000
"""Bytes; a policy file is a few thousand."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")  # as events write identifiers
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ZONE: Final = re.compile(r"[A-Z][A-Za-z_]*(?:/[A-Z][A-Za-z_+-]*)+")
_LONGEST_SOURCE: Final = 2000
_PERIOD_KEYS: Final = frozenset({"period", "source", "confirmed"})
_POLICY_KEYS: Final = frozenset(
    {"id", "version", "country", "centre", "adopted_on", "valid_from", "time_zone"}
    | {"kept", "notice", "cooling_off", "extension", "contest", "unlinked"}
)


class AgeClass(StrEnum):
    """The age class of the victim at the examination; the only thing about age that a policy needs."""

    ADULT = "adult"
    MINOR = "minor"
    UNKNOWN = "unknown"


class CountedFrom(StrEnum):
    """From which day an extension counts."""

    END = "end"
    """The end of the term so far; where that is past and the kit still there, the day of asking."""
    REQUEST = "request"
    """The day of asking; a term that ends later anyway stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedPeriod:
    """A period, where it comes from, and whether the people entitled to say so have confirmed it.

    Raises RetentionDataError for a source that is empty, too long, or not in Unicode NFC.
    """

    period: Period
    source: str
    confirmed: bool

    def __post_init__(self) -> None:
        if not self.source.strip() or len(self.source) > _LONGEST_SOURCE:
            raise RetentionDataError(f"every period needs a source, of at most {_LONGEST_SOURCE} characters")
        if not unicodedata.is_normalized("NFC", self.source):
            raise RetentionDataError("the text of a source has to be in Unicode NFC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of one policy.

    `centre` is the centre's identifier, or None for every centre of the country. `country` is an ISO 3166-1
    alpha-2 code; `time_zone` a name of the IANA database, the local time of the examination. `adopted_on` may
    be later than `valid_from`: a first policy writes down what had been agreed with victims before it.

    The periods: `adult`, `minor`, `unknown`, how long a kit is kept from the examination; `notice`, how long
    before the end the victim is told; `cooling_off`, between the confirmed wish for early destruction and its
    taking effect; `extension`, by how much an extension lengthens, counted from `extension_counted_from`;
    `contest`, how long after a disposal the kit's data key is kept; `unlinked`, after how long a report that
    was declared and not linked becomes work for a person (it never starts the term again).

    Raises RetentionDataError where a rule in the module's text is broken.
    """

    id: str
    version: int
    country: str
    centre: str | None
    adopted_on: date
    valid_from: date
    time_zone: str
    adult: SourcedPeriod
    minor: SourcedPeriod
    unknown: SourcedPeriod
    notice: SourcedPeriod
    cooling_off: SourcedPeriod
    extension: SourcedPeriod
    extension_counted_from: CountedFrom
    contest: SourcedPeriod
    unlinked: SourcedPeriod

    def __post_init__(self) -> None:
        _check_names(self)
        _check_zone(self.time_zone)
        for age_class in (AgeClass.ADULT, AgeClass.MINOR):
            if not never_shorter(self.unknown.period, self.kept(age_class)):
                raise RetentionDataError(
                    f"policy {self.reference}: unknown age is kept {self.unknown.period}, which can be "
                    f"shorter than {age_class} ({self.kept(age_class)}); give unknown the longest period"
                )
        spans = {f"the term of {age_class}": self.kept(age_class) for age_class in AgeClass}
        for name, span in (spans | {"an extension": self.extension.period}).items():
            if not never_shorter(span, self.notice.period):
                raise RetentionDataError(
                    f"policy {self.reference}: {name} ({span}) can be shorter than the notice period "
                    f"({self.notice.period}); shorten the notice or lengthen the other"
                )

    @property
    def reference(self) -> str:
        """How people name this version: `belgium/1`."""
        return f"{self.id}/{self.version}"

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the examination."""
        return ZoneInfo(self.time_zone)

    def kept(self, age_class: AgeClass) -> Period:
        """How long a kit of a victim of this age class is kept from the examination."""
        periods = {AgeClass.ADULT: self.adult, AgeClass.MINOR: self.minor, AgeClass.UNKNOWN: self.unknown}
        return periods[age_class].period


def in_force(policies: Iterable[Policy], centre: str, on: date) -> Policy:
    """The policy under which `centre` agrees terms for an examination on the local day `on`.

    A policy of the centre itself comes before the general one of its country, even an older one; among
    several, the latest `valid_from` not after `on` wins, then the latest adopted, the highest version, and
    last the identifier, so that the answer never depends on the order of `policies`.

    Raises RetentionDataError where no policy is valid on that day, or where the general policies of several
    countries could apply: pass those of the centre's country.
    """
    valid = [policy for policy in policies if policy.valid_from <= on]
    candidates = [policy for policy in valid if policy.centre == centre]
    candidates = candidates or [policy for policy in valid if policy.centre is None]
    if not candidates:
        raise RetentionDataError(
            f"no retention policy is valid for the centre {centre} on {on}: adopt one first"
        )
    if len(countries := sorted({policy.country for policy in candidates})) > 1:
        raise RetentionDataError(
            f"policies of several countries ({', '.join(countries)}) could apply to the centre {centre}: "
            "give only those of its country"
        )
    return max(
        candidates, key=lambda policy: (policy.valid_from, policy.adopted_on, policy.version, policy.id)
    )


def version_of(policies: Iterable[Policy], identifier: str, version: int) -> Policy:
    """The policy version that a kit keeps with its term; RetentionDataError if it is not among `policies`."""
    for policy in policies:
        if (policy.id, policy.version) == (identifier, version):
            return policy
    raise RetentionDataError(f"the retention policy {identifier}/{version} is not known here: load it first")


def load(content: bytes) -> tuple[Policy, ...]:
    """Read a policy file, strictly; the inverse of `dump`.

    `content` is UTF-8 JSON: `{"format": 1, "policies": [...]}`, each policy with exactly the fields of
    `Policy`, the three terms under `kept`, each period as `{"period", "source", "confirmed"}`, the extension
    with `counted_from` besides. Unknown, missing and repeated fields are refused, as are numbers with a
    fraction and the same policy version twice.

    Raises RetentionDataError, saying where in the file and why.
    """
    if len(content) > LARGEST_FILE:
        raise RetentionDataError(f"a policy file of {len(content)} bytes is refused: at most {LARGEST_FILE}")
    try:
        parsed: object = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_no_repeats,
            parse_float=_no_such_number,
            parse_constant=_no_such_number,
        )
    except RetentionDataError:
        raise
    except (ValueError, RecursionError) as fault:
        raise RetentionDataError(f"the policy file is not UTF-8 JSON: {fault}") from fault
    file = _fields(parsed, frozenset({"format", "policies"}), "the file")
    if _number(file["format"], "format") != FORMAT:
        raise RetentionDataError(f"policy file format {file['format']} is not known here, only {FORMAT}")
    entries = file["policies"]
    if not isinstance(entries, list) or not entries:
        raise RetentionDataError("policies: a list with at least one policy is needed")
    policies = tuple(_policy(entry, f"policies[{place}]") for place, entry in enumerate(entries))
    references = [policy.reference for policy in policies]
    if repeated := sorted({reference for reference in references if references.count(reference) > 1}):
        raise RetentionDataError(f"policies: {', '.join(repeated)} stands there more than once")
    return policies


def dump(policies: Iterable[Policy]) -> bytes:
    """Write a policy file that `load` reads back as the same policies: UTF-8 JSON, fixed key order."""
    plain = {"format": FORMAT, "policies": [_plain(policy) for policy in policies]}
    return (json.dumps(plain, ensure_ascii=False, indent=2) + "\n").encode()


def _plain(policy: Policy) -> dict[str, object]:
    def sourced(value: SourcedPeriod) -> dict[str, object]:
        return {"period": str(value.period), "source": value.source, "confirmed": value.confirmed}

    return {
        "id": policy.id,
        "version": policy.version,
        "country": policy.country,
        "centre": policy.centre,
        "adopted_on": policy.adopted_on.isoformat(),
        "valid_from": policy.valid_from.isoformat(),
        "time_zone": policy.time_zone,
        "kept": {
            "adult": sourced(policy.adult),
            "minor": sourced(policy.minor),
            "unknown": sourced(policy.unknown),
        },
        "notice": sourced(policy.notice),
        "cooling_off": sourced(policy.cooling_off),
        "extension": {"counted_from": str(policy.extension_counted_from), **sourced(policy.extension)},
        "contest": sourced(policy.contest),
        "unlinked": sourced(policy.unlinked),
    }


def _policy(entry: object, where: str) -> Policy:
    fields = _fields(entry, _POLICY_KEYS, where)
    kept = _fields(fields["kept"], frozenset(AgeClass), f"{where}.kept")
    extension = dict(_fields(fields["extension"], _PERIOD_KEYS | {"counted_from"}, f"{where}.extension"))
    counted_from = _text(extension.pop("counted_from"), f"{where}.extension.counted_from")
    if counted_from not in frozenset(CountedFrom):
        raise RetentionDataError(
            f"{where}.extension.counted_from: {counted_from!r} is neither end nor request"
        )
    centre = fields["centre"]
    try:
        return Policy(
            id=_text(fields["id"], f"{where}.id"),
            version=_number(fields["version"], f"{where}.version"),
            country=_text(fields["country"], f"{where}.country"),
            centre=None if centre is None else _text(centre, f"{where}.centre"),
            adopted_on=_date(fields["adopted_on"], f"{where}.adopted_on"),
            valid_from=_date(fields["valid_from"], f"{where}.valid_from"),
            time_zone=_text(fields["time_zone"], f"{where}.time_zone"),
            adult=_sourced(kept["adult"], f"{where}.kept.adult"),
            minor=_sourced(kept["minor"], f"{where}.kept.minor"),
            unknown=_sourced(kept["unknown"], f"{where}.kept.unknown"),
            notice=_sourced(fields["notice"], f"{where}.notice"),
            cooling_off=_sourced(fields["cooling_off"], f"{where}.cooling_off"),
            extension=_sourced(extension, f"{where}.extension"),
            extension_counted_from=CountedFrom(counted_from),
            contest=_sourced(fields["contest"], f"{where}.contest"),
            unlinked=_sourced(fields["unlinked"], f"{where}.unlinked"),
        )
    except RetentionDataError as fault:
        raise fault if str(fault).startswith(where) else RetentionDataError(f"{where}: {fault}") from fault


def _sourced(value: object, where: str) -> SourcedPeriod:
    fields = _fields(value, _PERIOD_KEYS, where)
    confirmed = fields["confirmed"]
    if not isinstance(confirmed, bool):
        raise RetentionDataError(f"{where}.confirmed: true or false is needed")
    try:
        return SourcedPeriod(
            period=Period.parse(_text(fields["period"], f"{where}.period")),
            source=_text(fields["source"], f"{where}.source"),
            confirmed=confirmed,
        )
    except RetentionDataError as fault:
        raise fault if str(fault).startswith(where) else RetentionDataError(f"{where}: {fault}") from fault


def _fields(value: object, expected: frozenset[str], where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise RetentionDataError(f"{where}: an object with {', '.join(sorted(expected))} is needed")
    if missing := sorted(expected - value.keys()):
        raise RetentionDataError(f"{where}: {', '.join(missing)} missing")
    if unknown := sorted(value.keys() - expected):
        raise RetentionDataError(f"{where}: {', '.join(unknown)} not known here")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise RetentionDataError(f"{where}: a text is needed")
    return value


def _number(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise RetentionDataError(f"{where}: a whole number is needed")
    return value


def _date(value: object, where: str) -> date:
    written = _text(value, where)
    try:
        if _DATE.fullmatch(written) is None:
            raise ValueError(written)
        return date.fromisoformat(written)
    except ValueError as fault:
        raise RetentionDataError(f"{where}: {written!r} is not a date such as 2026-03-01") from fault


def _check_names(policy: Policy) -> None:
    for field, name in (("id", policy.id), ("centre", policy.centre)):
        if name is not None and _NAME.fullmatch(name) is None:
            raise RetentionDataError(
                f"{field} {name!r}: lower-case letters, digits, dots, underscores, hyphens; at most 80"
            )
    if not 1 <= policy.version <= MOST_VERSIONS:
        raise RetentionDataError(f"version {policy.version}: versions are counted from 1 to {MOST_VERSIONS}")
    if _COUNTRY.fullmatch(policy.country) is None:
        raise RetentionDataError(
            f"country {policy.country!r}: a code of two capital letters is needed (ISO 3166-1)"
        )


def _check_zone(name: str) -> None:
    try:
        if _ZONE.fullmatch(name) is None:
            raise ValueError(name)
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as fault:
        raise RetentionDataError(
            f"time zone {name!r} is not known on this machine: write a name such as Europe/Brussels, and see "
            "that the time-zone database is installed (the package tzdata)"
        ) from fault


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        raise RetentionDataError(f"{', '.join(repeated)} stands there more than once in one object")
    return found


def _no_such_number(written: str) -> object:
    raise RetentionDataError(f"{written}: only whole numbers are written in a policy file")
