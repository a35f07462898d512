"""An event of a trail as a page tells it: what happened in words, days as people write them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from fastapi import Request

from custody.event import Event, read_moment
from custody.protocol import STEPS
from desk import texts
from desk.pages import ends
from desk.pages.page import day, language, translated


@dataclass(frozen=True, slots=True)
class Told:
    """An event as a page shows it. ``details`` are words already, in the reader's language."""

    type: str
    number: int
    digest: str
    recorded_at: datetime
    occurred_at: datetime
    who: str
    function: str
    others: tuple[tuple[str, str], ...]
    finding: bool
    paper: bool
    lost: str | None
    details: tuple[tuple[str, str], ...]


def told(request: Request, trail: Sequence[Event], names: Mapping[str, str]) -> list[Told]:
    """A trail, the newest event first. ``names`` are those of organisations."""
    teller = _Teller(request, {e.digest: e for e in trail}, names)
    return [teller.tell(event) for event in reversed(trail)]


UNTIL: Final[Mapping[str, str]] = {
    "notice.attempted": texts._("the term does not end before the end of"),
    "destruction.confirmed": texts._("can be taken back to the end of"),
}
CHOSEN: Final[Mapping[str, str]] = {
    "how": texts._("how"),
    "channel": texts._("channel"),
    "language": texts._("language"),
    "decided_by": texts._("asked for by"),
    "age_class": texts._("age class"),
}


class _Teller:
    def __init__(self, request: Request, known: Mapping[str, Event], names: Mapping[str, str]) -> None:
        self.request, self.known, self.names = request, known, names

    def _(self, message: str) -> str:
        return translated(self.request, message)

    def day(self, on: str) -> str:
        return day(date.fromisoformat(on), language(self.request))

    def tell(self, event: Event) -> Told:
        found = [*_packages(event), *self._chosen(event), *self._simple(event), *self._days(event)]
        return Told(
            type=event.type,
            number=event.number,
            digest=event.digest,
            recorded_at=event.recorded_at,
            occurred_at=event.occurred_at,
            who=str(event.who.get("name", "")),
            function=str(event.who["function"]),
            others=tuple((str(w["part"]), str(w.get("name", ""))) for w in event.get("with", ())),
            finding=STEPS[event.type].finding and event.type != "package.taken_over",  # which is routine
            paper=event.get("paper") is not None,
            lost=event.get("lost"),
            details=tuple((self._(name), value) for name, value in found),
        )

    def _chosen(self, event: Event) -> list[tuple[str, str]]:
        """What is one word of a list."""
        found = []
        for name, title in CHOSEN.items():
            if (value := event.get(name)) is not None:
                if name == "decided_by" and event.type == "agreement.recorded":
                    title = texts._("decided by")
                found.append((title, self._(texts.CHOICES[name].get(str(value), str(value)))))
        if card := event.get("card"):
            word = texts._("taken") if card == "issued" else texts._("not wanted")
            found.append((texts._("card"), self._(word)))
        if hold := event.get("hold"):
            ground = texts.CHOICES["ground"].get(str(hold.get("ground")), "")
            found += [(texts._("ground"), self._(ground))] if ground else []
        return found

    def _days(self, event: Event) -> list[tuple[str, str]]:
        found = []
        if term := event.get("term"):
            found.append((texts._("kept until"), self.day(str(term["end"]))))
        if policy := event.get("policy"):
            version = self._(texts._("{policy}, version {version}"))
            written = version.format(policy=policy["id"], version=policy["version"])
            found.append((texts._("policy"), written))
        if (hold := event.get("hold")) and "review_on" in hold:
            found.append((texts._("look again on"), self.day(str(hold["review_on"]))))
        if remind := event.get("remind_on"):
            found.append((texts._("next reminder"), self.day(str(remind))))
        if until := event.get("until"):
            last = ends.last_day(read_moment(str(until)))
            found.append((UNTIL.get(event.type, texts._("to the end of")), day(last, language(self.request))))
        return found

    def _simple(self, event: Event) -> list[tuple[str, str]]:
        found = []
        if place := event.get("place"):
            found.append((texts._("place"), str(place["name"])))
        if party := event.get("counterpart"):
            where = party.get("organisation_name") or self.names.get(str(party.get("organisation")), "")
            found.append((texts._("with"), ", ".join(str(x) for x in (party.get("name"), where) if x)))
        if carrier := event.get("carrier"):
            found.append((texts._("courier"), ", ".join(str(v) for v in carrier.values())))
        if (order := event.get("order")) and "authority" in order:
            found.append((texts._("order"), f"{order['authority']}, {self.day(str(order['dated']))}"))
        if link := event.get("link"):
            found.append((texts._("police report"), f"{link['pv']}, {link['notice']}"))
        if items := event.get("items"):
            found.append((texts._("items"), str(len(items))))
        if labels := event.get("labels"):
            found.append((texts._("labels"), str(len(labels))))
        if reason := event.get("reason"):
            found.append((texts._("reason"), str(reason)))
        if cites := event.get("cites"):
            found.append((texts._("about"), ", ".join(self._cited(str(c)) for c in cites)))
        return found

    def _cited(self, digest: str) -> str:
        """The entry that is meant, by its number and name; one of another trail, by the start of its
        digest."""
        entry = self.known.get(digest)
        if entry is None:
            says = self._(texts._("the entry of another trail with the digest {digest}…"))
            return says.format(digest=digest[:12])
        says = self._(texts._("no. {number}, {event}"))
        return says.format(number=entry.number, event=self._(texts.EVENTS[entry.type]))


def _packages(event: Event) -> list[tuple[str, Any]]:
    packages = event.get("packages", ())
    found = []
    if packages:
        found.append((texts._("packages"), ", ".join(str(p["package"]) for p in packages)))
    seals = [
        f"{p['package']}: {p['seal']}" for p in packages if "seal" in p and event.type.endswith("sealed")
    ]
    if seals:
        found.append((texts._("seals"), ", ".join(seals)))
    seen = [f"{p['package']}: {p['seal_seen']}" for p in packages if "seal_seen" in p]
    if seen:
        found.append((texts._("seal seen"), ", ".join(seen)))
    return found
