"""Labels as files. Rendering shows the labels in use and prints nothing: printing is a command, because a new
label voids the older one."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from custody.kit import Kit
from custody.number import KitNumber, LabelCode, NumberRefused, Part, PartKind, parse_kit_number, parse_part
from custody.refusal import Refused
from desk.api.document import describes
from desk.edge import Signed, acting, now, service, settings
from labels.label import PER_SHEET, Label, label_png, label_roll_pdf, label_sheet_pdf, label_svg
from labels.zpl import label_zpl

router = APIRouter(tags=["labels"])

Translate = Callable[[str], str]
Printer = Annotated[Signed, Depends(acting("labels.print"))]
Parts = Annotated[list[str] | None, Query(description="K, P01, I01 …; none: every label in use")]


def labels_of(
    kit: Kit, base_url: str, parts: list[str] | None = None, translate: Translate = str
) -> list[Label]:
    """The labels in use: the kit's, the packages', the items'. Raises Refused for a part without one."""
    wanted = list(kit.labels) if parts is None else parts
    if missing := [part for part in wanted if part not in kit.labels]:
        raise Refused("Part {part} has no label yet. Print one first.", field="part", part=missing[0][:10])
    if not wanted:
        raise Refused("This kit has no labels yet. Print them first.", field="part")
    order = {PartKind.KIT: 0, PartKind.PACKAGE: 1, PartKind.ITEM: 2}
    ordered = sorted((parse_part(part) for part in set(wanted)), key=lambda p: (order[p.kind], p.number))
    return [_label(kit, part, base_url, translate) for part in ordered]


def _label(kit: Kit, part: Part, base_url: str, translate: Translate) -> Label:
    serial = kit.labels[str(part)]
    words = {
        PartKind.KIT: translate("kit"),
        PartKind.PACKAGE: translate("package {number}").format(number=part.number),
        PartKind.ITEM: translate("item {number}").format(number=part.number),
    }
    package = None
    if part.kind is PartKind.PACKAGE:
        package = kit.packages.get(part.number)
    elif part.kind is PartKind.ITEM:
        package = kit.packages.get(kit.items[part.number].package)
    return Label(
        code=LabelCode(KitNumber(kit.number), part, serial),
        base_url=base_url,
        part=words[part.kind],
        storage=translate(package.storage) if package else "",
        serial=translate("label {serial}").format(serial=serial),
    )


async def _labels(request: Request, number: str, who: Signed, parts: list[str] | None) -> list[Label]:
    found = await service(request).kit(who.actor, parse_kit_number(number), "labels.print", "task")
    return labels_of(found, settings(request).base_url, parts)


@router.get(
    "/kits/{number}/labels.pdf",
    name="labels_pdf",
    summary="Labels in use as A4 sheets or as a roll",
    openapi_extra=describes(answers={200: "application/pdf"}),
)
async def labels_pdf(
    request: Request,
    number: str,
    who: Printer,
    part: Parts = None,
    form: Literal["sheet", "roll"] = "sheet",
    skip: Annotated[int, Query(ge=0, lt=PER_SHEET)] = 0,
) -> Response:
    labels = await _labels(request, number, who, part)
    at = await now(request)
    if form == "roll":
        data = await run_in_threadpool(label_roll_pdf, labels, at)
    else:
        data = await run_in_threadpool(label_sheet_pdf, labels, at, skip)
    return Response(data, media_type="application/pdf")


async def _one(request: Request, number: str, who: Signed, part: str) -> Label:
    try:
        parse_part(part)
    except NumberRefused as refused:
        raise Refused(refused.fault.value, field="part") from None
    return (await _labels(request, number, who, [part]))[0]


@router.get(
    "/kits/{number}/labels.svg",
    name="label_svg",
    summary="One label in use as SVG",
    openapi_extra=describes(answers={200: "image/svg+xml"}),
)
async def one_svg(request: Request, number: str, who: Printer, part: str = "K") -> Response:
    label = await _one(request, number, who, part)
    return Response(label_svg(label), media_type="image/svg+xml")


@router.get(
    "/kits/{number}/labels.png",
    name="label_png",
    summary="One label in use as PNG",
    openapi_extra=describes(answers={200: "image/png"}),
)
async def one_png(
    request: Request, number: str, who: Printer, part: str = "K", dots_per_inch: Literal["203", "300"] = "300"
) -> Response:
    label = await _one(request, number, who, part)
    data = await run_in_threadpool(label_png, label, int(dots_per_inch))
    return Response(data, media_type="image/png")


@router.get(
    "/kits/{number}/labels.zpl",
    name="labels_zpl",
    summary="Labels in use for a label printer that reads ZPL",
    openapi_extra=describes(answers={200: "text/plain"}),
)
async def labels_zpl(
    request: Request,
    number: str,
    who: Printer,
    part: Parts = None,
    dots_per_mm: Literal["8", "12"] = "12",
) -> Response:
    labels = await _labels(request, number, who, part)
    return Response("".join(label_zpl(label, int(dots_per_mm)) for label in labels), media_type="text/plain")
