"""Policies: how long a kit is kept before a report, and the rules around that, as dated data.

No period is a constant of this code. A policy belongs to a country, to a region of it or to one centre, has
a version, the day it was adopted and the day from which it is valid; it is never changed in place, only
followed by a later version. A kit keeps the policy version under which its term was agreed. Every value names
its source and says whether it was confirmed (`retention.sourced` says what that means).

Rules that every policy keeps, however it was made (`Policy` refuses otherwise):

1. Unknown age is never kept shorter than adults or minors, from whatever day one counts.
2. The notice period fits into every agreed term and into every extension that can be asked for; otherwise a
   victim could be told too late to do anything.
3. Notices stand in falling order: the first one leaves the notice period, each later one comes nearer to the
   end.
4. The longest term is not shorter than an agreed one.
5. Nobody but the victim, of age, has a kit destroyed early; a death or an incapacity holds it (`WhoDecides`).

Two formats of file are read. Format 1 says less; what it does not say is filled with proposals of this
service that say so, and a policy written in it is written again in it, byte for byte. Seed files stand in
`retention/seed/`.

Pure: bytes in, policies out. The one thing read from the machine is the time-zone database, to refuse a zone
that does not exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from retention import holidays as calendar_of
from retention.holidays import Holidays
from retention.period import Limit, Period, RetentionDataError, never_shorter
from retention.sourced import (
    UNSAID_CHANNEL_AGE,
    UNSAID_CONTACT,
    UNSAID_DEADLINES,
    UNSAID_HOLD_REVIEW,
    UNSAID_WHO_DECIDES,
    Deadlines,
    SourcedAnswer,
    SourcedLimit,
    WhoDecides,
)
from retention.sourced import SourcedPeriod as SourcedPeriod  # most callers need both
from retention.strict import answer, day, entries, fields, number, parsed, said_where, text

FORMATS: Final = (1, 2)
"""The versions of the file format that `load` reads and `dump` writes."""

MOST_VERSIONS: Final = 9999
"""Events write the version of a policy as a number from 1 to this."""

MOST_EXTENSIONS: Final = 1000
MOST_REMINDERS: Final = 12
LARGEST_FILE: Final = 1_000_000
"""Bytes; a policy file is a few thousand."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")  # as events write identifiers
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_REGION: Final = re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}")
_ZONE: Final = re.compile(r"[A-Z][A-Za-z_]*(?:/[A-Z][A-Za-z_+-]*)+")
_PERIOD_KEYS: Final = frozenset({"period", "source", "confirmed"})
_LIMIT_KEYS: Final = frozenset({"within", "source", "confirmed"})
_ANSWER_KEYS: Final = frozenset({"answer", "source", "confirmed"})
_POLICY_KEYS: Final = frozenset(
    {"id", "version", "country", "centre", "adopted_on", "valid_from", "time_zone"}
    | {"kept", "notice", "cooling_off", "extension", "contest", "unlinked"}
)
_MORE_KEYS: Final = frozenset(
    {"region", "contact", "reminders", "grace", "longest", "hold_review", "channel_age"}
    | {"deadlines", "holidays", "who_decides"}
)
_DEADLINES: Final = tuple(Deadlines.__slots__)
_WHO_DECIDES: Final = tuple(name for name in WhoDecides.__slots__ if name != "majority")


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


class ExtensionUntil(StrEnum):
    """Until when the victim may ask for an extension."""

    END = "end"
    """Until the term has expired: its last day, the grace after it, and what a late notice adds."""
    DISPOSAL = "disposal"
    """As long as the kit is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of one policy.

    `centre` is the centre's identifier, or None for every centre of the country; `country` an ISO 3166-1
    alpha-2 code, `region` an ISO 3166-2 code of that country (`GB-SCT`) or None for all of it; `time_zone` a
    name of the IANA database, the local time of the examination. `adopted_on` may be later than `valid_from`:
    a first policy writes down what had been agreed with victims before it.

    The periods: `adult`, `minor`, `unknown`, how long a kit is kept from the examination; `notice`, how long
    before the end the victim is told; `cooling_off`, between the confirmed wish for early destruction and its
    taking effect; `extension`, by how much an extension lengthens, counted from `extension_counted_from`;
    `contest`, how long after a disposal the kit's data key is kept; `unlinked`, after how long a report that
    was declared and not linked becomes work for a person (it never starts the term again).

    Format 2 besides: `contact`, whether the victim is contacted before the end at all (where not, no notice
    is sent and the term goes to review all the same); `reminders`, further notices, each nearer to the end;
    `grace`, how long after the end a kit is still only kept; `extension_times`, how often the victim may
    extend (None: as often as she asks; 0: never), `extension_until`, until when; `longest`, how long a kit is
    kept at most, extensions included; `hold_review`, how long a hold stands before somebody looks at it
    again; `channel_age`, after how long a safe channel has to be proved again; `holidays`, the calendar by
    which ends move to a working day (None: an end stays where it is); `deadlines`; `who_decides`.

    Raises RetentionDataError where a rule in the module's text is broken.
    """

    id: str
    version: int
    country: str
    region: str | None = None
    centre: str | None
    adopted_on: date
    valid_from: date
    time_zone: str
    adult: SourcedPeriod
    minor: SourcedPeriod
    unknown: SourcedPeriod
    contact: SourcedAnswer = UNSAID_CONTACT
    notice: SourcedPeriod
    reminders: tuple[SourcedPeriod, ...] = ()
    grace: SourcedPeriod | None = None
    cooling_off: SourcedPeriod
    extension: SourcedPeriod
    extension_counted_from: CountedFrom
    extension_times: int | None = None
    extension_until: ExtensionUntil = ExtensionUntil.DISPOSAL
    longest: SourcedPeriod | None = None
    hold_review: SourcedPeriod = UNSAID_HOLD_REVIEW
    channel_age: SourcedPeriod = UNSAID_CHANNEL_AGE
    contest: SourcedPeriod
    unlinked: SourcedPeriod
    deadlines: Deadlines = UNSAID_DEADLINES
    holidays: Holidays | None = None
    who_decides: WhoDecides = UNSAID_WHO_DECIDES

    def __post_init__(self) -> None:
        _check_names(self)
        _check_zone(self.time_zone)
        _check_terms(self)
        _check_notices(self)
        _check_extensions(self)

    @property
    def notices(self) -> tuple[SourcedPeriod, ...]:
        """Every notice, the longest before the end first; the first one is `notice`."""
        return (self.notice, *self.reminders)

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
    countries, or of a country and one of its regions, could apply: pass those of the centre's country, or
    adopt one for the centre itself.
    """
    candidates = candidates_for(policies, centre, on)
    if not candidates:
        raise RetentionDataError(
            f"no retention policy is valid for the centre {centre} on {on}: adopt one first"
        )
    if len(countries := sorted({policy.country for policy in candidates})) > 1:
        raise RetentionDataError(
            f"policies of several countries ({', '.join(countries)}) could apply to the centre {centre}: "
            "give only those of its country, or adopt a later version that corrects the country"
        )
    if len(regions := sorted({policy.region or policy.country for policy in candidates})) > 1:
        raise RetentionDataError(
            f"policies of several regions ({', '.join(regions)}) could apply to the centre {centre}: "
            "adopt one for the centre itself"
        )
    return max(candidates, key=lambda policy: (*_age(policy), policy.id))


def candidates_for(policies: Iterable[Policy], centre: str, on: date) -> tuple[Policy, ...]:
    """The policies that could be in force at the centre on that local day: its own, or where it has none the
    general ones. Of each only the version in force: what an earlier one said of its country counts no more.
    """
    valid = [policy for policy in policies if policy.valid_from <= on]
    found = [policy for policy in valid if policy.centre == centre]
    found = found or [policy for policy in valid if policy.centre is None]
    return tuple({policy.id: policy for policy in sorted(found, key=_age)}.values())


def _age(policy: Policy) -> tuple[date, date, int]:
    """By this the later one of two policies is told."""
    return policy.valid_from, policy.adopted_on, policy.version


def version_of(policies: Iterable[Policy], identifier: str, version: int) -> Policy:
    """The policy version that a kit keeps with its term; RetentionDataError if it is not among `policies`."""
    for policy in policies:
        if (policy.id, policy.version) == (identifier, version):
            return policy
    raise RetentionDataError(f"the retention policy {identifier}/{version} is not known here: load it first")


def load(content: bytes) -> tuple[Policy, ...]:
    """Read a policy file, strictly; the inverse of `dump`.

    `content` is UTF-8 JSON: `{"format": 1 or 2, "policies": [...]}`, each policy with exactly the fields of
    `Policy`, the three terms under `kept`, each period as `{"period", "source", "confirmed"}`, the extension
    with `counted_from` besides (and in format 2 `times` and `until`). Unknown, missing and repeated fields
    are refused, as are numbers with a fraction and the same policy version twice.

    Raises RetentionDataError, saying where in the file and why.
    """
    if len(content) > LARGEST_FILE:
        raise RetentionDataError(f"a policy file of {len(content)} bytes is refused: at most {LARGEST_FILE}")
    file = fields(parsed(content), frozenset({"format", "policies"}), "the file")
    if (form := number(file["format"], "format")) not in FORMATS:
        raise RetentionDataError(f"policy file format {form} is not known here, only 1 and 2")
    listed = file["policies"]
    if not isinstance(listed, list) or not listed:
        raise RetentionDataError("policies: a list with at least one policy is needed")
    policies = tuple(_policy(entry, f"policies[{place}]", form) for place, entry in enumerate(listed))
    references = [policy.reference for policy in policies]
    if repeated := sorted({reference for reference in references if references.count(reference) > 1}):
        raise RetentionDataError(f"policies: {', '.join(repeated)} stands there more than once")
    return policies


def dump(policies: Iterable[Policy]) -> bytes:
    """Write a policy file that `load` reads back as the same policies: UTF-8 JSON, fixed key order.

    Format 1 where it can say all of it, format 2 otherwise.
    """
    written = tuple(policies)
    form = max((_format_of(policy) for policy in written), default=1)
    plain = {"format": form, "policies": [_plain(policy, form) for policy in written]}
    return (json.dumps(plain, ensure_ascii=False, indent=2) + "\n").encode()


def _format_of(policy: Policy) -> int:
    """1 where every value that format 1 does not say is the one that `load` fills in."""
    first: Mapping[str, object] = {
        "region": None,
        "contact": UNSAID_CONTACT,
        "reminders": (),
        "grace": None,
        "longest": None,
        "extension_times": None,
        "extension_until": ExtensionUntil.DISPOSAL,
        "holidays": None,
        "hold_review": UNSAID_HOLD_REVIEW,
        "channel_age": UNSAID_CHANNEL_AGE,
        "deadlines": UNSAID_DEADLINES,
        "who_decides": UNSAID_WHO_DECIDES,
    }
    return 1 if all(getattr(policy, name) == value for name, value in first.items()) else 2


def _plain(policy: Policy, form: int) -> dict[str, object]:
    extension: dict[str, object] = {"counted_from": str(policy.extension_counted_from)}
    if form > 1:
        extension |= {"times": policy.extension_times, "until": str(policy.extension_until)}
    said: dict[str, object] = {
        "id": policy.id,
        "version": policy.version,
        "country": policy.country,
        "region": policy.region,
        "centre": policy.centre,
        "adopted_on": policy.adopted_on.isoformat(),
        "valid_from": policy.valid_from.isoformat(),
        "time_zone": policy.time_zone,
        "kept": {str(age_class): _sourced_plain(getattr(policy, age_class)) for age_class in AgeClass},
        "contact": _answer_plain(policy.contact),
        "notice": _sourced_plain(policy.notice),
        "reminders": [_sourced_plain(each) for each in policy.reminders],
        "grace": policy.grace and _sourced_plain(policy.grace),
        "cooling_off": _sourced_plain(policy.cooling_off),
        "extension": extension | _sourced_plain(policy.extension),
        "longest": policy.longest and _sourced_plain(policy.longest),
        "hold_review": _sourced_plain(policy.hold_review),
        "channel_age": _sourced_plain(policy.channel_age),
        "contest": _sourced_plain(policy.contest),
        "unlinked": _sourced_plain(policy.unlinked),
        "deadlines": {name: _limit_plain(getattr(policy.deadlines, name)) for name in _DEADLINES},
        "holidays": calendar_of.plain(policy.holidays),
        "who_decides": {
            "majority": _sourced_plain(policy.who_decides.majority),
            **{name: _answer_plain(getattr(policy.who_decides, name)) for name in _WHO_DECIDES},
        },
    }
    return said if form > 1 else {name: value for name, value in said.items() if name in _POLICY_KEYS}


def _sourced_plain(value: SourcedPeriod) -> dict[str, object]:
    return {"period": str(value.period), "source": value.source, "confirmed": value.confirmed}


def _limit_plain(value: SourcedLimit) -> dict[str, object]:
    return {"within": str(value.limit), "source": value.source, "confirmed": value.confirmed}


def _answer_plain(value: SourcedAnswer) -> dict[str, object]:
    return {"answer": value.answer, "source": value.source, "confirmed": value.confirmed}


def _policy(entry: object, where: str, form: int) -> Policy:
    found = fields(entry, _POLICY_KEYS if form == 1 else _POLICY_KEYS | _MORE_KEYS, where)
    kept = fields(found["kept"], frozenset(AgeClass), f"{where}.kept")
    more_keys = frozenset({"counted_from"} if form == 1 else {"counted_from", "times", "until"})
    extension = dict(fields(found["extension"], _PERIOD_KEYS | more_keys, f"{where}.extension"))
    said = {name: extension.pop(name) for name in sorted(more_keys)}
    counted_from = _one_of(said["counted_from"], CountedFrom, f"{where}.extension.counted_from")
    centre = found["centre"]

    def period(name: str) -> SourcedPeriod:
        return _sourced(found[name], f"{where}.{name}")

    def make() -> Policy:
        return Policy(
            id=text(found["id"], f"{where}.id"),
            version=number(found["version"], f"{where}.version"),
            country=text(found["country"], f"{where}.country"),
            centre=None if centre is None else text(centre, f"{where}.centre"),
            adopted_on=day(found["adopted_on"], f"{where}.adopted_on"),
            valid_from=day(found["valid_from"], f"{where}.valid_from"),
            time_zone=text(found["time_zone"], f"{where}.time_zone"),
            adult=_sourced(kept["adult"], f"{where}.kept.adult"),
            minor=_sourced(kept["minor"], f"{where}.kept.minor"),
            unknown=_sourced(kept["unknown"], f"{where}.kept.unknown"),
            notice=period("notice"),
            cooling_off=period("cooling_off"),
            extension=_sourced(extension, f"{where}.extension"),
            extension_counted_from=CountedFrom(counted_from),
            contest=period("contest"),
            unlinked=period("unlinked"),
            **({} if form == 1 else _more(found, said, where)),  # type: ignore[arg-type]  # checked there
        )

    return said_where(where, make)


def _more(found: Mapping[str, object], extension: Mapping[str, object], where: str) -> dict[str, object]:
    """What format 2 says beside format 1."""
    region, times = found["region"], extension["times"]
    reminders = entries(found["reminders"], f"{where}.reminders")
    limits = fields(found["deadlines"], frozenset(_DEADLINES), f"{where}.deadlines")
    return {
        "region": None if region is None else text(region, f"{where}.region"),
        "contact": _answered(found["contact"], f"{where}.contact"),
        "reminders": tuple(_sourced(each, f"{where}.reminders[{n}]") for n, each in enumerate(reminders)),
        "grace": _maybe_sourced(found["grace"], f"{where}.grace"),
        "extension_times": None if times is None else number(times, f"{where}.extension.times"),
        "extension_until": ExtensionUntil(
            _one_of(extension["until"], ExtensionUntil, f"{where}.extension.until")
        ),
        "longest": _maybe_sourced(found["longest"], f"{where}.longest"),
        "hold_review": _sourced(found["hold_review"], f"{where}.hold_review"),
        "channel_age": _sourced(found["channel_age"], f"{where}.channel_age"),
        "deadlines": Deadlines(
            **{name: _limited(limits[name], f"{where}.deadlines.{name}") for name in _DEADLINES}
        ),
        "holidays": calendar_of.read(found["holidays"], f"{where}.holidays"),
        "who_decides": _who_decides(found["who_decides"], f"{where}.who_decides"),
    }


def _who_decides(value: object, where: str) -> WhoDecides:
    found = fields(value, frozenset(WhoDecides.__slots__), where)
    answers = {name: _answered(found[name], f"{where}.{name}") for name in _WHO_DECIDES}
    majority = _sourced(found["majority"], f"{where}.majority")
    return said_where(where, lambda: WhoDecides(majority=majority, **answers))


def _maybe_sourced(value: object, where: str) -> SourcedPeriod | None:
    return None if value is None else _sourced(value, where)


def _sourced(value: object, where: str) -> SourcedPeriod:
    found = fields(value, _PERIOD_KEYS, where)
    confirmed = answer(found["confirmed"], f"{where}.confirmed")
    return said_where(
        where,
        lambda: SourcedPeriod(
            period=Period.parse(text(found["period"], f"{where}.period")),
            source=text(found["source"], f"{where}.source"),
            confirmed=confirmed,
        ),
    )


def _limited(value: object, where: str) -> SourcedLimit:
    found = fields(value, _LIMIT_KEYS, where)
    return said_where(
        where,
        lambda: SourcedLimit(
            limit=Limit.parse(text(found["within"], f"{where}.within")),
            source=text(found["source"], f"{where}.source"),
            confirmed=answer(found["confirmed"], f"{where}.confirmed"),
        ),
    )


def _answered(value: object, where: str) -> SourcedAnswer:
    found = fields(value, _ANSWER_KEYS, where)
    return said_where(
        where,
        lambda: SourcedAnswer(
            answer=answer(found["answer"], f"{where}.answer"),
            source=text(found["source"], f"{where}.source"),
            confirmed=answer(found["confirmed"], f"{where}.confirmed"),
        ),
    )


def _one_of(value: object, words: type[StrEnum], where: str) -> str:
    written = text(value, where)
    if written not in frozenset(words):
        raise RetentionDataError(f"{where}: {written!r} is neither {' nor '.join(words)}")
    return written


def _check_terms(policy: Policy) -> None:
    for age_class in (AgeClass.ADULT, AgeClass.MINOR):
        if not never_shorter(policy.unknown.period, policy.kept(age_class)):
            raise RetentionDataError(
                f"policy {policy.reference}: unknown age is kept {policy.unknown.period}, which can be "
                f"shorter than {age_class} ({policy.kept(age_class)}); give unknown the longest period"
            )
    if policy.longest is None:
        return
    for age_class in AgeClass:
        if not never_shorter(policy.longest.period, policy.kept(age_class)):
            raise RetentionDataError(
                f"policy {policy.reference}: the longest term ({policy.longest.period}) can be shorter than "
                f"the agreed term of {age_class} ({policy.kept(age_class)}); lengthen it or leave it out"
            )


def _check_notices(policy: Policy) -> None:
    spans = {f"the term of {age_class}": policy.kept(age_class) for age_class in AgeClass}
    if policy.extension_times != 0:
        spans["an extension"] = policy.extension.period
    for name, span in spans.items():
        if not never_shorter(span, policy.notice.period):
            raise RetentionDataError(
                f"policy {policy.reference}: {name} ({span}) can be shorter than the notice period "
                f"({policy.notice.period}); shorten the notice or lengthen the other"
            )
    if len(policy.reminders) > MOST_REMINDERS:
        raise RetentionDataError(
            f"policy {policy.reference}: at most {MOST_REMINDERS} notices after the first"
        )
    for before, after in zip(policy.notices, policy.notices[1:], strict=False):
        if not never_shorter(before.period, after.period) or never_shorter(after.period, before.period):
            raise RetentionDataError(
                f"policy {policy.reference}: the notice of {after.period} before the end does not come after "
                f"the one of {before.period}: write the longest first, each shorter than the one before"
            )


def _check_extensions(policy: Policy) -> None:
    if policy.extension_times is not None and not 0 <= policy.extension_times <= MOST_EXTENSIONS:
        raise RetentionDataError(
            f"policy {policy.reference}: extensions go from 0 to {MOST_EXTENSIONS}; write null where "
            "there is no limit"
        )


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
    region = policy.region
    if region is not None and (_REGION.fullmatch(region) is None or region[:2] != policy.country):
        raise RetentionDataError(
            f"region {region!r}: a code of this country such as {policy.country}-ABC is needed (ISO 3166-2)"
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
