"""Who held what, drawn: one bar for each package, one stretch for each pair of hands. Pure, SVG made here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from markupsafe import Markup

from custody.event import Event

HIGH: Final = 28
COLOURS: Final = ("#17635c", "#7a5c1e", "#35597f", "#6b4a75", "#4f6b2a", "#8a4a3c", "#3f6470", "#5d5d5d")
WAY: Final = "#c9b98f"
AFTER: Final[Mapping[str, str]] = {
    "handover.offered": "way",
    "handover.accepted": "who",
    "handover.refused": "giver",
    "handover.cancelled": "giver",
    "handover.acceptance_recorded": "counterpart",
    "handover.received_back": "who",
    "package.packed": "who",
    "package.taken": "who",
    "package.taken_over": "who",
    "package.stored": "place",
    "package.moved": "place",
    "package.found_elsewhere": "place",
    "package.deposited": "place",
    "package.lost": "lost",
    "package.found": "who",
    "package.split": "who",
    "package.joined": "who",
    "package.destroyed": "end",
    "package.returned": "end",
    "package.voided": "end",
}


@dataclass(frozen=True, slots=True)
class Stretch:
    """From when to when a package was with whom; ``to`` is None for now, ``name`` is empty on the way."""

    package: int
    name: str
    start: datetime
    end: datetime | None = None
    way: bool = False


def stretches(events: Iterable[Event]) -> list[Stretch]:
    """Read a custody trail as stretches of time, package by package."""
    open_: dict[int, Stretch] = {}
    before: dict[int, str] = {}
    done: list[Stretch] = []
    for event in events:
        kind = AFTER.get(event.type)
        if kind is None:
            continue
        for entry in event.get("packages", ()):
            number = int(entry["package"])
            made = event.type in ("package.split", "package.joined") and "from" not in entry
            name, way = _next(kind, event, before.get(number, ""))
            last = open_.pop(number, None)
            if last is not None:
                done.append(Stretch(number, last.name, last.start, event.occurred_at, last.way))
            if kind == "end" or made:
                continue
            if kind == "way" and last is not None:
                before[number] = last.name
            open_[number] = Stretch(number, name, event.occurred_at, None, way)
    return sorted([*done, *open_.values()], key=lambda s: (s.package, s.start))


def _next(kind: str, event: Event, giver: str) -> tuple[str, bool]:
    match kind:
        case "way":
            return "", True
        case "place":
            return str(event.get("place", {}).get("name", "")), False
        case "counterpart":
            return str(event.get("counterpart", {}).get("name", "")), False
        case "giver":
            return giver, False
        case "lost":
            return "?", False
        case _:
            return str(event.who.get("name", "")), False


def drawing(found: Sequence[Stretch], words: Mapping[str, str]) -> Markup:
    """A list with one bar for each package. Widths follow the order of hands, not hours: a night in a bag and
    a year in a freezer are both to be read; on a phone the names stand whole below the bar. ``words``:
    ``title``, ``package`` (short), ``way``."""
    rows: dict[int, list[Stretch]] = {}
    for each in found:
        rows.setdefault(each.package, []).append(each)
    names = [n for n in dict.fromkeys(s.name for s in found) if n]
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    lines = [
        Markup(
            '<li><span>{}{}</span><svg role="img" aria-label="{}" height="{}">{}</svg>'
            '<span class="names" aria-hidden="true">{}</span></li>'
        ).format(
            words["package"],
            package,
            ", ".join(words["way"] if s.way else s.name for s in row),
            HIGH,
            _row(row, colour, words["way"]),
            " → ".join(s.name for s in row if not s.way and s.name),
        )
        for package, row in rows.items()
    ]
    return Markup('<ul class="hands" aria-label="{}">{}</ul>').format(words["title"], Markup("").join(lines))


def _row(row: Sequence[Stretch], colour: Mapping[str, str], way: str) -> Markup:
    weights = [1 if s.way else 4 for s in row]
    marks, x = [], 0.0
    for stretch, weight in zip(row, weights, strict=True):
        wide = 100 * weight / sum(weights)
        told = way if stretch.way else stretch.name
        until = f" – {stretch.end:%Y-%m-%d %H:%M}" if stretch.end else ""
        marks.append(
            Markup(
                '<svg x="{:.3f}%" width="{:.3f}%" height="{}"><title>{}: {}{}</title>'
                '<rect width="100%" height="100%" fill="{}"/><rect width="2" height="100%" fill="#fff"/>'
                '<text class="on" x="9" y="19" font-size="13">{}</text></svg>'
            ).format(
                x,
                wide,
                HIGH,
                told,
                f"{stretch.start:%Y-%m-%d %H:%M}",
                until,
                WAY if stretch.way else colour.get(stretch.name, "#777777"),
                "" if stretch.way else told,
            )
        )
        x += wide
    return Markup("").join(marks)
