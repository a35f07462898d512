"""The search for what is lost is given up: two people say so, and what they did to find it.

The package stays on record as lost and can still be found; from then on it no longer keeps its kit open
when the term is over. Pure.
"""

from custody.commands import EndSearch
from custody.decision import Decided, Seen
from custody.handling import each_kit, fact, needs_second
from custody.people import STAFF, Actor
from custody.protocol import Custody
from custody.refusal import Refused


def end_search(seen: Seen, order: EndSearch, actor: Actor, second: Actor | None) -> Decided:
    """Give the search for lost packages up: a finding, with the reason, signed by two staff of the centre."""
    found = each_kit(seen, "search.end", order.packages, actor)
    for _, pairs in found:
        for package, _ in pairs:
            if package.state is not Custody.LOST:
                raise Refused(
                    "Package {package} is not lost: record first that it cannot be found.",
                    field="packages",
                    package=package.package,
                )
            if package.search_ended:
                raise Refused(
                    "The search for package {package} is ended already.",
                    field="packages",
                    package=package.package,
                )
    needs_second(actor, second)
    if second is None or second.function not in STAFF or second.organisation != actor.organisation:
        raise Refused("The second signature must be that of another person of the centre.")
    signs = [second.signs("second")]
    return Decided(
        facts=tuple(
            fact(
                kit,
                "search.ended",
                actor,
                [{"package": p.package} for p, _ in pairs],
                reason=order.reason,
                **{"with": signs},
            )
            for kit, pairs in found
        )
    )
