"""A stock-take: choose a place, scan everything that lies in it, see what differs, put it on record.

The codes stand in one field, each on a line of its own, as a scanner types them: it needs no script, and
nothing is kept on the server until the end. What is missing is listed; that a package cannot be found,
somebody says of it afterwards.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from markupsafe import Markup
from starlette.responses import Response

from custody import access, reading
from custody.commands import TakeStock
from custody.directory import OpenPlace, day_of
from custody.kit import Kit, Package
from custody.ledger import reading as seen_by
from custody.number import KitNumber, LabelCode, NumberRefused, PartKind, parse_scan
from custody.people import Actor
from custody.permission import as_known, may
from custody.purpose import SCAN
from custody.refusal import NotSeen, Refused
from custody.stock_take import Compared, Ref, compare
from desk import edge, texts
from desk.api.kits import scanned
from desk.doors import BY_ACTION
from desk.edge import Signed
from desk.pages import forms
from desk.pages.doing import CORRECTED
from desk.pages.page import page, to, translated
from desk.problems import Problem, problem_of
from desk.service import Service
from retention.alarms import Alarm, stock_take_due
from retention.overdue import counted, stock_takes
from retention.period import RetentionDataError
from retention.policy import in_force

router = APIRouter()

MOST_CODES: Final = 1000
"""Lines of one stock-take; a place holds a few hundred packages."""
MOST_MISSING: Final = 100
"""Kits of which missing packages are named on one page; each look at one is on record."""

PURPOSE: Final = "stock_take"
UNSEEN: Final = texts._(
    "Some of these packages are to be kept under another condition than this place has. Put them where they"
    " belong and take them off the list, or tick below that they lie here all the same."
)
WHOLE: Final = texts._("This is the number of the whole kit. Scan the labels of its packages.")
ITEM: Final = texts._("This is the label of an item. Scan the label of its package.")

_REF: Final = re.compile(r"([0-9A-Z]{12})\.([1-9][0-9]{0,2})")

Taking = Annotated[Signed, Depends(edge.acting("stock_take.take"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceLine:
    """A place of the own organisation: what is recorded there, and when it was counted last."""

    place: OpenPlace
    packages: int
    due: Alarm | None
    last: datetime | None
    counted: bool  # or, where it never was, opened


@dataclass
class Read:
    """What was scanned, by package; and lines that say something else, each with its sentence."""

    packages: dict[Ref, tuple[Kit, Package]] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)


@router.get("/stock-take")
async def places(request: Request, who: Taking) -> Response:
    """The places of the own organisation, the one first that was counted longest ago."""
    lines = await _places(edge.service(request), who.actor)
    return await page(
        request,
        "stock_take_places.html",
        title=translated(request, texts._("Stock-take")),
        who=who,
        lines=lines,
        at=await edge.now(request),
    )


async def _places(service: Service, actor: Actor) -> list[PlaceLine]:
    directory, policies = await service.directory(), await service.policies()
    own = [each for each in directory.places.values() if each.organisation == actor.organisation]
    async with seen_by(service.engine, actor) as connection:
        at = await reading.now(connection)
        since = await stock_takes(connection, [each.id for each in own])
        ever = await counted(connection, [each.id for each in own])
        lying = {each.id: await reading.lying_in(connection, each.id) for each in own}
    try:
        policy = in_force(policies, actor.organisation or "", day_of(at))
    except RetentionDataError:
        policy = None
    lines = []
    for each in own:
        last = since.get(each.id)
        due = stock_take_due(each.id, each.organisation, last, policy) if last and policy else None
        line = PlaceLine(
            place=each, packages=len(lying[each.id]), due=due, last=last, counted=each.id in ever
        )
        lines.append(line)
    return sorted(lines, key=lambda x: (x.last or at, x.place.name))


@router.get("/stock-take/{place}")
async def begin(request: Request, place: str, who: Taking) -> Response:
    """The field to scan into; after a stock-take, what it did not find."""
    there = (await edge.service(request).directory()).place_of(who.actor, place)
    left = {ref for each in request.query_params.getlist("left") if (ref := _ref(each))}
    missing = await _missing(request, who.actor, there.id, lambda recorded: left & recorded)
    return await _page(request, who, there, missing=missing, done=bool(request.query_params.get("done")))


@router.post("/stock-take/{place}")
async def compared(request: Request, place: str, who: Taking) -> Response:
    """What was scanned, against what is recorded there. Nothing is recorded yet but that somebody looked."""
    form = await request.form(max_fields=20)
    there = (await edge.service(request).directory()).place_of(who.actor, place)
    return await _compared(request, who, there, forms.value(form, "codes") or "")


async def _compared(
    request: Request, who: Signed, there: OpenPlace, codes: str, problem: Problem | None = None
) -> Response:
    try:
        read = await _read(request, who.actor, codes)
    except Refused as refusal:
        return await _page(request, who, there, codes=codes, problem=problem_of(refusal))
    told: list[Compared] = []

    def missing(recorded: frozenset[Ref]) -> set[Ref]:
        told.append(compare(there.id, read.packages, recorded, who.actor))
        return set(told[0].missing)

    packages = await _missing(request, who.actor, there.id, missing)
    return await _page(
        request,
        who,
        there,
        codes=codes,
        read=read,
        found=told[0],
        missing=packages,
        again=True,
        problem=problem,
    )


@router.post("/stock-take/{place}/taken")
async def taken(request: Request, place: str, who: Taking) -> Response:
    """Put the stock-take on record; what it did not find stays listed."""
    form = await request.form(max_fields=MOST_CODES + 20)
    service = edge.service(request)
    there = (await service.directory()).place_of(who.actor, place)
    names = [str(each) for each in form.getlist("p")]
    refs = [ref for each in names if (ref := _ref(each))]
    made = {"place": there.id, "packages": [{"kit": kit, "package": n} for kit, n in dict.fromkeys(refs)]}
    if form.get("storage") != "seen" and await _other_storage(service, who.actor, there, refs):
        problem = problem_of(Refused(UNSEEN, field="storage"))
        return await _compared(request, who, there, forms.value(form, "codes") or "", problem)
    try:
        order = forms.order(TakeStock, made)
        async with seen_by(service.engine, who.actor) as connection:
            left = sorted(await reading.lying_in(connection, there.id) - set(refs))
        await service.carry_out(BY_ACTION["stock_take.take"], order, forms.given(form, who, made))
    except CORRECTED as refusal:
        return await _page(request, who, there, problem=problem_of(refusal))
    query = "".join(f"&left={kit}.{n}" for kit, n in left[:MOST_MISSING])
    return to(f"/stock-take/{there.id}?done={forms.key_of(form)}{query}")


async def _other_storage(service: Service, actor: Actor, place: OpenPlace, refs: Sequence[Ref]) -> bool:
    """Whether the stock-take would put a package into a place of another storage condition than its own."""
    async with seen_by(service.engine, actor) as connection:
        kits = await reading.kits(connection, [number for number, _ in refs])
    known = {ref: (kits[ref[0]], kits[ref[0]].packages.get(ref[1])) for ref in refs if ref[0] in kits}
    scanned = {ref: (kit, package) for ref, (kit, package) in known.items() if package is not None}
    moved = compare(place.id, scanned, (), actor)
    return any(other_storage(place, scanned[ref][1]) for ref in (*moved.elsewhere, *moved.found))


def other_storage(place: OpenPlace, package: Package) -> bool:
    """Whether the package is to be kept under another condition than the place has."""
    return place.storage is not None and place.storage != package.storage


def _ref(name: str) -> Ref | None:
    found = _REF.fullmatch(name)
    return (found[1], int(found[2])) if found else None


# --- what was scanned -------------------------------------------------------------------------------------


async def _read(request: Request, actor: Actor, codes: str) -> Read:
    """Read every line. A label opens its kit, and that is on record first; a kit that may not be known of is
    told as one that does not exist."""
    lines = list(dict.fromkeys(line for each in codes.splitlines() if (line := each.strip())))
    if len(lines) > MOST_CODES:
        raise Refused("A stock-take is of {most} packages at most.", field="codes", most=MOST_CODES)
    read, labels = Read(), dict[str, LabelCode]()
    for line in lines:
        try:
            parsed = parse_scan(line, [edge.settings(request).base_url])
        except NumberRefused as refused:
            read.told.append((line, refused.fault.value.format(**refused.values)))
            continue
        if not isinstance(parsed, LabelCode) or parsed.part.kind is PartKind.KIT:
            read.told.append((line, WHOLE))
        elif parsed.part.kind is PartKind.ITEM:
            read.told.append((line, ITEM))
        else:
            labels[line] = parsed
    kits = await _kits(edge.service(request), actor, labels.values())
    for line, label in labels.items():
        kit = kits.get(label.kit)
        if kit is None:
            read.told.append((line, str(NotSeen())))
            continue
        found = scanned(kit, label)
        if found.voided or found.package is None or found.package not in kit.packages:
            read.told.append((line, found.says))
        else:
            read.packages[kit.number, found.package] = (kit, kit.packages[found.package])
    return read


async def _kits(service: Service, actor: Actor, labels: Iterable[LabelCode]) -> Mapping[str, Kit]:
    """The kits of these labels, as far as they may be known of. A label in use is a scan on record."""
    by_kit: dict[KitNumber, list[LabelCode]] = {}
    for label in labels:
        by_kit.setdefault(label.kit, []).append(label)
    seen = await service.ledger.look(actor, list(by_kit))
    eyes, known = seen.eyes(actor), dict[str, Kit]()
    for number, of_kit in by_kit.items():
        kit = seen.kits.get(number)
        if kit is None or not may("kit.read", eyes, kit):
            continue
        shown = as_known(eyes, kit)
        in_use = any(shown.labels.get(str(each.part)) == each.serial for each in of_kit)
        read = SCAN if in_use else "scan_of_no_label_in_use"
        await access.record(service.engine, actor, read=read, kit=number, purpose=SCAN)
        known[number] = shown
    return known


# --- what is missing --------------------------------------------------------------------------------------


async def _missing(
    request: Request, actor: Actor, place: str, of: Callable[[frozenset[Ref]], set[Ref] | frozenset[Ref]]
) -> list[tuple[Kit, Package]]:
    """Packages recorded in the place and not scanned; that they are named is on record first."""
    service = edge.service(request)
    async with seen_by(service.engine, actor) as connection:
        refs = sorted(of(await reading.lying_in(connection, place)))
        numbers = list(dict.fromkeys(number for number, _ in refs))[:MOST_MISSING]
        kits = await reading.kits(connection, numbers)
    for number in kits:
        await access.record(service.engine, actor, read="kit_list", kit=number, purpose=PURPOSE)
    known = {number: as_known(actor, kit) for number, kit in kits.items()}
    return [(known[k], known[k].packages[n]) for k, n in refs if k in known and n in known[k].packages]


# --- the page ---------------------------------------------------------------------------------------------


async def _page(
    request: Request,
    who: Signed,
    place: OpenPlace,
    *,
    codes: str = "",
    read: Read | None = None,
    found: Compared | None = None,
    missing: Sequence[tuple[Kit, Package]] = (),
    done: bool = False,
    again: bool = False,
    problem: Problem | None = None,
) -> Response:
    read, found = read or Read(), found or Compared()
    elsewhere = [read.packages[ref] for ref in (*found.elsewhere, *found.found)]
    return await page(
        request,
        "stock_take.html",
        title=f"{translated(request, texts._('Stock-take'))}: {place.name}",
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        place=place,
        codes=codes,
        read=read,
        found=found,
        elsewhere=elsewhere,
        other_storage=[each for each in elsewhere if other_storage(place, each[1])],
        unclear=[read.packages[ref] for ref in found.unclear],
        missing=missing,
        unnamed=max(0, len(found.missing) - len(missing)),
        done=done,
        compared=again,
        drawing=drawing(request, found) if again else "",
    )


def drawing(request: Request, found: Compared) -> Markup:
    """One bar: what lies here as recorded, what came to light here, what is missing, what is not clear."""
    parts = [
        ("here", len(found.here), texts._("as recorded: {count}")),
        ("elsewhere", len(found.elsewhere) + len(found.found), texts._("recorded elsewhere: {count}")),
        ("missing", len(found.missing), texts._("not scanned: {count}")),
        ("unclear", len(found.unclear), texts._("not to be recorded here: {count}")),
    ]
    words = [translated(request, says).format(count=count) for _, count, says in parts]
    total, at = max(1, sum(count for _, count, _ in parts)), 0.0
    drawn = []
    for (name, count, _), said in zip(parts, words, strict=True):
        wide = round(1000 * count / total, 1)
        if count:
            drawn.append(
                Markup(
                    '<rect class="{}" x="{}" y="0" width="{}" height="20"><title>{}</title></rect>'
                ).format(name, round(at, 1), wide, said)
            )
        at += wide
    return Markup(
        '<svg class="counted" role="img" aria-label="{}" viewBox="0 0 1000 20" preserveAspectRatio="none">'
        "{}</svg>"
    ).format(", ".join(words), Markup("").join(drawn))
