"""What came of the years: a table, and a drawn line of time."""

from collections import Counter
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from rich.console import Console
from rich.table import Table

from tests.simulation.sixty import Sixty
from tests.simulation.watched import EXPLAINED

WIDTH, LEFT, TOP, ROW, GAP = 1200, 150, 60, 64, 14
ROWS: Final = (
    ("kit.registered", "kits arrive", "#3b6ea5"),
    ("report.declared", "reports", "#7a4fa3"),
    ("term.extended", "extensions", "#2f8f83"),
    ("hold.placed", "holds", "#b08a1e"),
    ("notice.due", "notices due", "#4a90c2"),
    ("term.expired", "terms expire", "#b5651d"),
    ("disposal.carried_out", "disposals", "#8c3b3b"),
)


def rows_of(sixty: Sixty) -> list[tuple[str, str]]:
    """The figures, each with its name."""
    seen, watch, ends = sixty.observer.seen, sixty.watch, sixty.ends
    events = sum(seen.values())
    seconds = max(sixty.seconds, 0.001)
    over = Counter(kit.why_over for kit in sixty.observer.kits.values() if kit.why_over)
    absent = ", ".join(f"{name} {over[name]:,}" for name in sorted(EXPLAINED) if over[name])
    lost = ", ".join(f"{how} {times}" for how, times in sorted(watch.lost.items()))
    longest = max((each.ends - each.begins for each in sixty.outages), default=0.0)
    minors = [kit for kit in sixty.observer.kits.values() if kit.was != "adult"]
    return [
        ("seed", str(sixty.scale.seed)),
        ("kits", f"{len(sixty.observer.kits):,}"),
        ("events", f"{events:,}"),
        ("runs of the check", f"{len(watch.finished):,}, {watch.raced:,} by three replicas at once"),
        ("replicas lost", lost or "none"),
        ("outages", f"{len(sixty.outages)}, the longest {longest:.0f} days; caught up {sixty.caught_up}"),
        ("messages", ", ".join(f"{how} {times:,}" for how, times in sorted(sixty.mail.answers.items()))),
        ("policy versions", f"{len(sixty.house.policies)}, kits moved to a longer one {sixty.moved_terms:,}"),
        (
            "terms expired",
            f"{seen['term.expired']:,}; the last told {over['told']:,}, {absent}, wish {over['wish']}",
        ),
        ("reports, extensions", f"{seen['report.declared']:,}, {seen['term.extended']:,}"),
        (
            "holds, reviews, lifted",
            f"{seen['hold.placed']:,}, {seen['hold.reviewed']:,}, {seen['hold.lifted']:,}",
        ),
        (
            "early destructions",
            f"{seen['destruction.cooled_off']:,} of {seen['destruction.requested']:,} asked",
        ),
        (
            "disposals",
            f"{seen['disposal.carried_out']:,} in {sixty.carts:,} carts,"
            f" nothing left of {seen['disposal.nothing_left']:,}",
        ),
        ("data keys destroyed", f"{seen['key.destroyed']:,}"),
        (
            "minors and unknown",
            f"{len(minors):,}, there at the end {sum(k.state != 'disposed' for k in minors):,}",
        ),
        ("refused to people", f"{sum(sixty.house.refused.values()):,}"),
        ("at the end", ", ".join(f"{state} {number:,}" for state, number in sorted(ends.items()))),
        ("cries of the observer", str(len(sixty.observer.cries))),
        ("differences", str(len(sixty.differences))),
        ("time", f"{seconds:,.0f} s"),
        (
            "pace",
            f"{len(sixty.lives) / seconds:,.1f} kits/s, {events / seconds:,.0f} events/s, "
            f"{sixty.scale.years / (seconds / 60):,.1f} years/min",
        ),
    ]


def show(sixty: Sixty) -> None:
    console = Console(width=120)
    table = Table(show_header=False)
    for row in rows_of(sixty):
        table.add_row(*row)
    console.print(f"\n{sixty.scale.years} years of two centres", style="bold", highlight=False)
    console.print(table)
    refused = Table("refused to people, and rightly", "times")
    for sentence, times in sorted(sixty.house.refused.items(), key=lambda each: -each[1])[:12]:
        refused.add_row(sentence, f"{times:,}")
    console.print(refused)


def draw(sixty: Sixty, path: Path) -> None:
    """One bar for each year and kind of event; outages are grey, new policies a line, lost replicas told."""
    years = sixty.scale.years
    step = (WIDTH - LEFT - 20) / max(1, years)
    height = TOP + len(ROWS) * (ROW + GAP) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        ' font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="20" y="28" font-size="18">{years} years, {len(sixty.lives):,} kits,'
        f" {sum(sixty.observer.seen.values()):,} events, seed {sixty.scale.seed}</text>",
    ]
    bottom = TOP + len(ROWS) * (ROW + GAP)
    for outage in sixty.outages:
        x = LEFT + outage.begins / 365.2425 * step
        wide = max(1.0, (outage.ends - outage.begins) / 365.2425 * step)
        parts.append(
            f'<rect x="{x:.1f}" y="{TOP}" width="{wide:.1f}" height="{bottom - TOP}" fill="#d9d9d9"/>'
        )
    for number, (type_, name, colour) in enumerate(ROWS):
        base = TOP + number * (ROW + GAP) + ROW
        counts = [sixty.by_year.get(year, Counter())[type_] for year in range(years + 1)]
        most = max(1, *counts)
        parts.append(f'<text x="20" y="{base - ROW / 2:.0f}">{escape(name)}</text>')
        parts.append(f'<text x="20" y="{base - ROW / 2 + 16:.0f}" fill="#666666">most {most:,} a year</text>')
        for year, value in enumerate(counts[:years]):
            tall = value / most * (ROW - 6)
            parts.append(
                f'<rect x="{LEFT + year * step + 1:.1f}" y="{base - tall:.1f}" width="{step - 2:.1f}"'
                f' height="{tall:.1f}" fill="{colour}"/>'
            )
    for year in range(0, years + 1, 10):
        x = LEFT + year * step
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#bbbbbb"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}">{sixty.begin.year + year}</text>')
    parts.append(f'<text x="20" y="{bottom + 38}" fill="#666666">grey: the check did not run</text>')
    parts.append("</svg>")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts), encoding="utf-8")
