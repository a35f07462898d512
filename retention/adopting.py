"""Adopting a version of a policy, and which kits a later version would keep longer.

1. A version is adopted by two people, the coordinator who brings the file and another of the staff who read
   it; the digest of the file stands in the event, the file beside it, and neither is ever changed.
2. A version that was adopted stays as it is, and only a later one follows it. It keeps the centre and the
   time zone, one for every centre its country and region too, and is not valid from an earlier day: a kit
   examined last year does not come under another rule today.
3. Policies of two countries or regions never apply to one centre: no term could be agreed there any more. So
   a policy for a whole country is not adopted beside one of another country or region, nor a centre's own
   beside another own one, and an own one names the country of the general one. A wrong country of an own
   policy is corrected by its next version.
4. Nothing protects less unseen. A policy is compared with the one that is in force for the kits it would
   govern, whatever identifier that one has, in everything that protects a victim (`retention.protection`).
   Where anything of it could be less, it is valid from the day after its adoption at the earliest; and one
   for every centre is then signed by people of two different centres.
5. A kit keeps the version under which its term was agreed. A later version that keeps it longer is offered,
   kit by kit, once it is valid, and where nothing in it protects less; any other is not.

Pure: no database, no clock.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from custody.decision import Decided
from custody.event import Fact
from custody.handling import needs_second
from custody.kit import Kit
from custody.people import STAFF, Actor
from custody.permission import permit
from custody.protocol import Legal, Retention
from custody.refusal import Refused
from retention.aloud import check_readable
from retention.commands import AdoptPolicy
from retention.period import RetentionDataError
from retention.policy import AgeClass, Policy, candidates_for, in_force, load
from retention.protection import less_protected
from retention.reckoning import policy_of, term_of
from retention.term import Term, last_day_of_grace, local_date, moved_to, over_after

STAYS_THE_SAME: Final[Mapping[str, str]] = {"centre": "centre", "time_zone": "time zone"}
STAYS_FOR_ALL: Final[Mapping[str, str]] = {"country": "country", "region": "region"}
"""What stays the same too, where the policy is for every centre."""


_IN_THE_LIST: Final = re.compile(r"^policies\[0\](?:: |\.)(?:policy (?=[^ ]+: ))?")


def subjects(order: AdoptPolicy) -> tuple[str, ...]:
    """The trail that the adoption is written into, for the look before it. Raises Refused."""
    return (f"policy:{policy_in(order).id}",)


def adopt(
    order: AdoptPolicy, actor: Actor, second: Actor | None, policies: Iterable[Policy], at: datetime
) -> Decided:
    """Adopt the one policy in this file. ``policies`` are those adopted so far.

    A version may be valid from a day to come, or from one that is past; what it calls the day of its adoption
    cannot lie ahead. Raises Refused, NeedsSecond.
    """
    permit("policy.adopt", actor)
    policy = policy_in(order)
    shorter = brought(policy, actor, policies, at)
    needs_second(actor, second)
    if second is None or second.function not in STAFF:
        raise Refused("The second signature must be that of another person of the staff of a centre.")
    if by_another_centre(policy, shorter) and second.organisation == actor.organisation:
        raise Refused(
            "{policy} is for every centre, and could protect less than {other}: {what}. For that somebody of"
            " another centre signs: its coordinator finds it among the policies. For your own centre alone,"
            " adopt a policy that names it.",
            policy=policy.reference,
            other=shorter[0].than.reference,
            what=in_words(shorter),
        )
    document = order.document.encode()
    fact = Fact(
        type="policy.adopted",
        subject=f"policy:{policy.id}",
        who=actor.who(),
        fields={
            "policy": {"id": policy.id, "version": policy.version},
            "digest": hashlib.sha256(document).hexdigest(),
            "with": [second.signs("second")],
        },
    )
    return Decided(facts=(fact,), extra={"policy": base64.b64encode(document).decode()})


def brought(policy: Policy, actor: Actor, policies: Iterable[Policy], at: datetime) -> tuple["Shorter", ...]:
    """What could protect less under this policy, which ``actor`` brings. Raises Refused where nobody else's
    signature would adopt it."""
    if policy.centre is not None and policy.centre != actor.organisation:
        raise Refused(
            "This policy is for the centre {centre}. Its own coordinator adopts it.", centre=policy.centre
        )
    if policy.adopted_on > local_date(policy, at):
        raise Refused(
            "{policy} says that it was adopted on {day}, which has not come yet.",
            policy=policy.reference,
            day=policy.adopted_on.isoformat(),
        )
    return follows(policy, policies, local_date(policy, at))


def by_another_centre(policy: Policy, shorter: Iterable["Shorter"]) -> bool:
    """Whether the second signature has to be of another centre than the first."""
    return policy.centre is None and bool(tuple(shorter))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shorter:
    """Something that protects and could be less than under ``than``, which is in force so far."""

    what: str
    than: Policy


def follows(policy: Policy, known: Iterable[Policy], today: date) -> tuple[Shorter, ...]:
    """What could get shorter if this policy is adopted on the local day ``today`` after those ``known``.

    Raises Refused where it cannot be adopted, saying why not.
    """
    adopted = tuple(known)
    versions = {each.version: each for each in adopted if each.id == policy.id}
    last = versions[max(versions)] if versions else None
    if policy.version in versions:
        raise Refused(
            "{policy} was adopted already, and a policy is never changed in place. Give what has changed a"
            " later version.",
            policy=policy.reference,
        )
    if last is not None:
        _follows_version(policy, last)
    _same_place(policy, adopted, last)
    shorter = _shorter(policy, adopted)
    if shorter and policy.valid_from <= today:
        raise Refused(
            "{policy} could protect less than {other}, which is in force so far: {what}. What protects less"
            " is valid from the day after its adoption at the earliest: kits that are there already, or come"
            " today, keep what was in force. Give it a later first day.",
            policy=policy.reference,
            other=shorter[0].than.reference,
            what=in_words(shorter),
        )
    return shorter


def in_words(shorter: Iterable[Shorter]) -> str:
    """What could protect less, each thing once."""
    return ", ".join(dict.fromkeys(each.what for each in shorter))


def _same_place(policy: Policy, adopted: Sequence[Policy], last: Policy | None) -> None:
    """Raises Refused where policies of two countries or regions would apply to a centre. ``last`` is the
    version before this one."""
    here = _where(policy)
    others = {p.id: p for p in sorted(adopted, key=lambda p: p.version) if p.id != policy.id}.values()
    beside = [p for p in others if p.centre == policy.centre and _where(p) != here]
    if policy.centre is None:
        if beside:
            raise Refused(
                "{policy} is for {here}, and {other} for {there} was adopted here. Both would apply to every"
                " centre, and no term could be agreed. Adopt a policy for the centre itself.",
                policy=policy.reference,
                here=here,
                other=beside[-1].reference,
                there=_where(beside[-1]),
            )
        return
    corrects = last is not None and _where(last) != here
    if corrects:
        beside = []  # one after the other
    if corrects or last is None:
        beside += [p for p in others if p.centre is None and p.country != policy.country]
    if beside:
        raise Refused(
            "{policy} is for {here}, and {other}, which was adopted for this centre too, for {there}. A"
            " centre lies in one country: look at the country and the region in the file. Where those of an"
            " own policy of the centre are wrong, a later version of it corrects them.",
            policy=policy.reference,
            here=here,
            other=beside[-1].reference,
            there=_where(beside[-1]),
        )


def _shorter(policy: Policy, known: Sequence[Policy]) -> tuple[Shorter, ...]:
    """What of it could be less than in the policies in whose place it would be in force."""
    centre = policy.centre or ""  # no centre has an empty name: what is in force for none of its own
    found: dict[tuple[str, str], Shorter] = {}
    for day in sorted(
        {policy.valid_from, *(p.valid_from for p in known if p.valid_from > policy.valid_from)}
    ):
        try:
            after = in_force((*known, policy), centre, day)
        except RetentionDataError:
            continue  # no single policy then either: no term is agreed
        if after.reference == policy.reference:
            for before in _in_force(known, centre, day):
                for what in less_protected(policy, before):
                    found.setdefault((what, before.reference), Shorter(what=what, than=before))
    return tuple(found.values())


def _in_force(known: Sequence[Policy], centre: str, day: date) -> tuple[Policy, ...]:
    """What is in force, or where that is no single policy, all of those that could be."""
    try:
        return (in_force(known, centre, day),)
    except RetentionDataError:
        return candidates_for(known, centre, day)


def _follows_version(policy: Policy, last: Policy) -> None:
    if policy.version < last.version:
        raise Refused(
            "{policy} is older than {last}, which was adopted already. Only a later version can follow.",
            policy=policy.reference,
            last=last.reference,
        )
    same = STAYS_THE_SAME if policy.centre is not None else {**STAYS_FOR_ALL, **STAYS_THE_SAME}
    for name, called in same.items():
        if getattr(policy, name) != getattr(last, name):
            raise Refused(
                "{policy} has another {what} than {last}. Give it another identifier.",
                policy=policy.reference,
                what=called,
                last=last.reference,
            )
    if policy.valid_from < last.valid_from:
        raise Refused(
            "{policy} is valid from {day}, before {last}. A later version begins the same day or later.",
            policy=policy.reference,
            day=policy.valid_from.isoformat(),
            last=last.reference,
        )


def _where(policy: Policy) -> str:
    return policy.region or policy.country


def policy_in(order: AdoptPolicy) -> Policy:
    """The one policy of the file. Raises Refused."""
    try:
        policies = load(order.document.encode())
        for policy in policies:
            check_readable(policy)
    except (RetentionDataError, UnicodeEncodeError) as fault:
        why = _IN_THE_LIST.sub("", str(fault))  # a file that is adopted has one policy
        raise Refused("This policy cannot be adopted: {why}.", field="document", why=why) from fault
    if len(policies) != 1:
        raise Refused(
            "The file has {count} policies. Adopt them one by one, each from a file of its own.",
            field="document",
            count=len(policies),
        )
    return policies[0]


def newest_valid(policies: Iterable[Policy], identifier: str, at: datetime) -> Policy | None:
    """The latest version of this policy that is valid at ``at``; None where there is none."""
    valid = (p for p in policies if p.id == identifier and p.valid_from <= local_date(p, at))
    return max(valid, key=lambda policy: policy.version, default=None)


def longer_under(kit: Kit, policies: Iterable[Policy], at: datetime) -> tuple[Policy, Term] | None:
    """The version of the kit's policy that is valid now, and the term under it, where that is longer.

    None where the kit is under that version already, where the term would not be longer or anything that
    protects could be less (`retention.term.moved_to`), where it would expire earlier than the victim was
    told, and where no term runs. None too where the victim wishes the kit destroyed, or the term ended with
    that wish: nobody but the victim undoes it. Raises Refused where the kit's own version is not known here.
    """
    runs = kit.legal is Legal.UNREPORTED and kit.retention is not Retention.DISPOSED
    wished = kit.destruction is not None or kit.term_before_wish is not None
    if not runs or kit.policy is None or kit.term is None or wished:
        return None
    known = tuple(policies)
    old = policy_of(kit, known)
    new = newest_valid(known, kit.policy.id, at)
    if new is None or new.version <= old.version:
        return None
    age_class = AgeClass(kit.age_class)
    try:
        term = moved_to(term_of(kit), old, new, age_class=age_class, extensions=kit.extensions)
    except RetentionDataError:
        return None
    expires = over_after(new, last_day_of_grace(term, new))
    return None if kit.expires_at is not None and expires < kit.expires_at else (new, term)
