"""How a kit's own term and policy are found and written: what every decision about keeping begins with.

Pure: no database, no clock.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from custody.kit import Kit
from custody.kit import Policy as PolicyVersion
from custody.kit import Term as KitTerm
from custody.refusal import Refused
from custody.registering import policy_fields, term_fields
from retention.period import RetentionDataError
from retention.policy import Policy, version_of
from retention.term import Term, after_withdrawal


def policy_of(kit: Kit, policies: Iterable[Policy]) -> Policy:
    """The policy version that the kit keeps. Raises Refused where it is not known to this service."""
    if kit.policy is None:
        raise Refused("No retention policy was agreed for this kit.")
    try:
        return version_of(policies, kit.policy.id, kit.policy.version)
    except RetentionDataError:
        raise Refused(
            "The retention policy {policy} of this kit is not known here. It has to be adopted first.",
            policy=f"{kit.policy.id}/{kit.policy.version}",
        ) from None


def as_kit_term(term: Term) -> KitTerm:
    """The term as a kit's projection keeps it."""
    return KitTerm(start=term.start, end=term.end, notice_on=term.notice_on, over_at=term.over_at)


def as_version(policy: Policy) -> PolicyVersion:
    """The name and version of a policy, as a kit keeps them."""
    return PolicyVersion(id=policy.id, version=policy.version)


def term_of(kit: Kit) -> KitTerm:
    """The term of a kit. Raises Refused where none was agreed."""
    if kit.term is None:
        raise Refused("No term was agreed for this kit.")
    return kit.term


def standing_term(kit: Kit, policy: Policy, at: datetime) -> KitTerm:
    """The term that what keeps the evidence longer is reckoned from.

    Where the victim's wish ended the term, that is the one from before the wish, with at least the notice
    period left. Raises Refused.
    """
    before = kit.term_before_wish
    return term_of(kit) if before is None else reckon(lambda: after_withdrawal(before, policy, at))


def reckon(reckoning: Callable[[], Term], field: str | None = None) -> KitTerm:
    """A term, or Refused in the calendar's own words."""
    try:
        return as_kit_term(reckoning())
    except RetentionDataError as fault:
        raise Refused("The term cannot be reckoned: {why}.", field=field, why=str(fault)) from fault


def new_term(term: KitTerm, policy: Policy) -> dict[str, Any]:
    """A term and the policy version it is reckoned under, as fields of an event."""
    return {"term": term_fields(term), "policy": policy_fields(as_version(policy))}
