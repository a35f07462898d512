"""Scanning: one package after the other into a basket, then one step for all of them.

The basket stands in the page's address, so it needs no script, nothing is kept on the server, and the back
button works. A label that is void says so.
"""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from custody.kit import Kit, Package
from custody.number import (
    KitNumber,
    LabelCode,
    NumberRefused,
    PartKind,
    parse_kit_number,
    parse_label_code,
    parse_scan,
)
from custody.permission import may
from custody.purpose import SCAN, TASK, NoPurpose
from custody.refusal import NotSeen, Refused
from desk import edge, texts
from desk.api.kits import scan_of, scanned
from desk.doors import BY_ACTION
from desk.edge import Signed
from desk.pages import forms
from desk.pages.page import page, to, translated
from desk.pages.steps import Offered, for_packages, possible, ref
from desk.problems import problem_of

router = APIRouter()


@dataclass
class Basket:
    """What was scanned so far. ``told`` are sentences about the last scan."""

    names: list[str]
    kits: dict[str, Kit] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    void: bool = False
    go: str | None = None

    def packages(self) -> list[tuple[Kit, Package]]:
        return [(self.kits[n], self.kits[n].packages[p]) for n, p in forms.refs_of(self.names)]


@router.get("/scan")
async def scan(request: Request, who: Annotated[Signed, Depends(edge.acting("kit.read"))]) -> Response:
    """The field to scan into, the basket, and the steps that are possible with it."""
    query = request.query_params
    then = query.get("then") if query.get("then") in BY_ACTION else None
    basket, problem = Basket(names=query.getlist("p")), None
    unseen = False
    try:
        await _look(request, who, basket, query.get("kit"))
        if code := query.get("code", "").strip():
            await _add(request, who, basket, code)
    except (NumberRefused, Refused) as refusal:
        problem, unseen = problem_of(refusal), isinstance(refusal, NotSeen)
    if basket.go is not None:
        return to(basket.go)
    found = basket.packages() if all(n in basket.kits for n, _ in _refs(basket)) else []
    expected = _expected(who, basket, query.get("kit"), then)
    return await page(
        request,
        "scan.html",
        title=translated(request, texts._("Scan")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        glass=unseen and may("kit.break_glass", who.actor),
        basket=basket,
        found=found,
        expected=expected,
        left=[p for k, p in expected if ref(k, p) not in basket.names],
        kit=query.get("kit"),
        then=then,
        steps=_offered(who, found, then),
        ref=ref,
    )


def _refs(basket: Basket) -> list[tuple[str, int]]:
    try:
        return forms.refs_of(basket.names)
    except (NumberRefused, Refused):
        basket.names = []
        return []


async def _look(request: Request, who: Signed, basket: Basket, expected: str | None) -> None:
    """The kits of the basket, and the one that is expected; each reading is on record."""
    numbers = dict.fromkeys(n for n, _ in _refs(basket))
    if expected:
        numbers[str(parse_kit_number(expected))] = None
    for number in numbers:
        basket.kits[number] = await edge.service(request).kit(who.actor, number, "kit.read", TASK)
    known = [(n, p) for n, p in _refs(basket) if p in basket.kits[n].packages]
    basket.names = [f"{n}.{p}" for n, p in known]


async def _add(request: Request, who: Signed, basket: Basket, code: str) -> None:
    """Read one scan into the basket, or go to the kit when it was a kit's own number."""
    read = parse_scan(code, [edge.settings(request).base_url])
    number = str(read.kit if isinstance(read, LabelCode) else read)
    try:
        kit = await _scanned(request, who, read)
    except NoPurpose:
        basket.go = f"/kits/{number}"  # a typed number is no scan: there a reason is asked for
        return
    basket.kits[number] = kit
    if not isinstance(read, LabelCode) or read.part.kind is PartKind.KIT:
        if isinstance(read, LabelCode) and scanned(kit, read).voided:
            basket.told.append(scanned(kit, read).says)
            basket.void = True
        elif basket.names:
            basket.told.append(
                texts._("This is the number of the whole kit. Scan the labels of its packages.")
            )
        else:
            basket.go = f"/kits/{number}?for={SCAN if isinstance(read, LabelCode) else TASK}"
        return
    label = scanned(kit, read)
    if label.voided:
        basket.told.append(label.says)
        basket.void = True
        return
    if label.package is None:
        basket.go = f"/kits/{number}?for=scan&item={label.item}" if not basket.names else None
        basket.told.append(texts._("This is the label of an item. Scan the label of its package."))
        return
    name = f"{number}.{label.package}"
    if name in basket.names:
        basket.told.append(texts._("This package is on the list already."))
    else:
        basket.names.append(name)


async def _scanned(request: Request, who: Signed, read: KitNumber | LabelCode) -> Kit:
    service = edge.service(request)
    if isinstance(read, LabelCode):
        return await scan_of(service, who.actor, read)
    return await service.kit(who.actor, read, "kit.read", TASK)


def _expected(who: Signed, basket: Basket, kit: str | None, then: str | None) -> list[tuple[Kit, Package]]:
    """The packages that wait to be scanned for this step."""
    if kit is None or then is None or kit not in basket.kits:
        return []
    found = basket.kits[kit]
    if then not in ("handover.accept",):
        return []
    return [
        (found, p) for p in found.open_packages if possible(then, found, p) and may(then, who.actor, found, p)
    ]


def _offered(who: Signed, found: list[tuple[Kit, Package]], then: str | None) -> list[Offered]:
    steps = for_packages(who.actor, found)
    if then is not None:
        return sorted(steps, key=lambda s: s.action != then)
    return steps


@router.get("/s/{code}")
@router.get("/S/{code}")
async def label(
    request: Request, code: str, who: Annotated[Signed, Depends(edge.acting("kit.read"))]
) -> Response:
    """What the code on a label opens. A void label says so plainly; the others lead on."""
    read = parse_label_code(code)
    try:
        kit = await scan_of(edge.service(request), who.actor, read)
    except NumberRefused as refused:
        raise Refused(refused.fault.value) from refused
    told = scanned(kit, read)
    if not told.voided:
        if told.package is not None:
            return to("/scan", code=code.upper())
        return to(f"/kits/{kit.number}", **{"for": SCAN})
    return await page(
        request,
        "label_void.html",
        title=translated(request, texts._("This label is void")),
        who=who,
        status=410,
        label=read,
        kit=kit,
        told=told,
        in_use=kit.labels.get(str(read.part)),
    )
