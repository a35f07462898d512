"""From a form to a command: which inputs a command's shape asks for, and how what was sent is read.

A page route reads its form here, builds the plain document of the command and gives it to
``desk.edge.order_of``, which is as strict for pages as for the API.
"""

import hashlib
import json
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from types import NoneType, UnionType
from typing import Any, Final, Literal

from fastapi import Request
from pydantic import TypeAdapter
from starlette.datastructures import FormData, UploadFile

from custody import commands as c
from custody.items import TYPES
from custody.kit import Kit, Package
from custody.number import parse_kit_number
from custody.people import Actor, Function
from custody.permission import as_known, permit
from custody.protocol import Custody, Legal
from custody.purpose import TASK, NoPurpose
from custody.refusal import Refused
from desk import edge, texts
from desk.doors import Door
from desk.pages.options import Chosen, Option, asked_in_words, listed
from desk.pages.page import kit_written
from desk.service import Given, Service
from retention.deciding import PROTECTS, nobody_decides, of_age
from retention.holds import GROUNDS

DIGESTS: Final = frozenset({"digest", "letter", "order"})
# The command may be without a reason; who sends the form is asked for one.
REASON_ASKED: Final = frozenset({"release.open"})
SEALS_NEW: Final = frozenset({"package.seal", "package.reseal"})
# Where the seal is looked at, so that nothing may be ticked beforehand; and where it is out of sight.
SEALS_SEEN: Final = frozenset(
    {"handover.accept", "handover.receive_back", "package.store", "package.open", "seal.check"}
    | {"package.take_over"}
)
SEALS_UNSEEN: Final = frozenset({"handover.cancel", "package.lose", "package.split"})
SEALS_ASKED: Final = frozenset({"disposal.carry_out"})
FIRST_LINES: Final = 3
# The shape seen on police reports. What its parts mean is not relied on: it warns, and never blocks.
PV: Final = re.compile(r"[A-Z]{2}\.[0-9A-Z]{2}\.[0-9A-Z]{2}\.[0-9]{6}\s*/\s*[0-9]{4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One input of a form. ``kind`` says how it is drawn (``templates/parts/controls.html``)."""

    name: str
    kind: str
    label: str
    hint: str = ""
    options: tuple[Option, ...] = ()
    required: bool = True
    value: str = ""


# --- which inputs ------------------------------------------------------------------------------------------


def controls(door: Door, chosen: Chosen) -> list[Control]:
    """The inputs of a command, from the fields of its shape. Raises Refused where it cannot be filled in."""
    kit = chosen.kit
    by_order = kit is not None and kit.legal is Legal.UNREPORTED and kit.order is not None
    if door.action == "kit.link" and kit is not None and not kit.matches and not by_order:
        raise Refused(
            "No request of the police is matched with this kit yet. Two of you confirm first that kit and"
            " person match, by answering the request; it stands on the first page."
        )
    hints = typing.get_type_hints(door.shape)
    found = []
    for each in fields(door.shape):
        control = _control(door, each.name, hints[each.name], chosen)
        if control is not None:
            found.append(control)
    return found


def _control(door: Door, name: str, kind: Any, chosen: Chosen) -> Control | None:
    kind, optional = _inner(kind)
    label, hint = texts.FIELDS.get(name, name), texts.HINTS.get(name, "")

    def made(drawn: str, options: Sequence[Option] = (), value: str = "", **more: Any) -> Control:
        asked = name == "reason" and door.action in REASON_ASKED
        told = {"required": asked or not optional, "hint": hint, **more}
        return Control(name=name, kind=drawn, label=label, options=tuple(options), value=value, **told)

    if door.action == "event.correct" and name == "digest":
        return made("hidden", value=chosen.query.get("event", ""))
    if name in ("kit", "request") and door.action == "request.answer":
        return made("hidden", value=chosen.query.get("request", "")) if name == "request" else made("text")
    if name in ("kit", "kits"):
        return Control(name="kit", kind="hidden", label=label, value=chosen.kit.number if chosen.kit else "")
    if name == "asked_by" and len(who := asks(door.action, chosen.kit)) == 1:
        return made("hidden", value=who[0])
    if name == "person":
        return None  # chosen together with the organisation
    if name in DIGESTS:
        return made("digest")
    if typing.get_origin(kind) is Literal:
        return made("radios", _words(name, typing.get_args(kind), chosen, door))
    return _by_kind(door, name, kind, chosen, made)


def _by_kind(door: Door, name: str, kind: Any, chosen: Chosen, made: Any) -> Control | None:
    if name in ("first", "second"):
        return None  # the two packages that were scanned
    if name == "package":
        return None
    by_name = {
        "signature": "signature",
        "reason": "reason",
        "paper": "paper",
        "into": "new_package" if kind is c.Regrouped else "split",
        "missing": "radios",
    }
    if name in by_name:
        words = _words("missing", ("true", "false"), chosen, door) if name == "missing" else []
        return typing.cast(Control, made(by_name[name], words))
    if kind in (date, datetime):
        value = _later(chosen.at) if name == "due_at" else ""
        return typing.cast(Control, made("day" if kind is date else "moment", value=value))
    options = listed(door.action, name, chosen)
    if name == "request" and not options:
        return None  # linked on a judge's order: there is none to choose from
    if options is not None:
        drawn = {"organisation": "to", "items": "checks", "parts": "checks", "not_found": "checks"}
        if name == "readers":
            standing = chosen.kit.readers if chosen.kit else ()
            return typing.cast(
                Control, made("checks", options, " ".join(standing or (chosen.actor.person or "",)))
            )
        if name == "packages" and door.action == "package.join":
            scanned = " ".join(str(p.package) for _, p in chosen.packages)
            return typing.cast(Control, made("checks", options, scanned))
        return typing.cast(Control, made(drawn.get(name, "select"), options))
    if name == "packages":
        return typing.cast(Control, made("new_packages" if door.action == "kit.supplement" else "packages"))
    return typing.cast(Control, made("number" if kind is int else "text"))


def _inner(kind: Any) -> tuple[Any, bool]:
    """A kind without ``| None``, and whether that was there."""
    if typing.get_origin(kind) in (UnionType, typing.Union):
        (one,) = (k for k in typing.get_args(kind) if k is not NoneType)
        return one, True
    return kind, False


def _words(name: str, values: Sequence[str], chosen: Chosen, door: Door) -> list[Option]:
    known = texts.CHOICES.get(name, {})
    if name == "ground":
        allowed = GROUNDS.get(chosen.actor.function, frozenset())
        values = [v for v in values if v in allowed]
    if name == "how" and chosen.actor.function is not Function.VICTIM:
        values = [v for v in values if v != "by_card"]
    if name == "how" and door.action in FITTING and chosen.kit is not None:
        fitting = FITTING[door.action](chosen.kit.channel or "none")
        values = [v for v in values if v in fitting]
    if name == "asked_by":
        values = asks(door.action, chosen.kit)
    if door.action == "disposal.carry_out":
        return []
    return [Option(v, known.get(v, v), translate=True) for v in values]


def _came_of_notice(channel: str) -> frozenset[str]:
    """What can have come of telling somebody over this channel."""
    if channel == "none":
        return frozenset({"reached", "not_wanted", "no_channel"})
    return frozenset({"reached", "not_reached", "unreachable"} | ({"posted"} if channel == "post" else set()))


PROVED: Final[Mapping[str, frozenset[str]]] = {
    "email": frozenset({"message_shown", "in_person"}),
    "sms": frozenset({"message_shown", "in_person"}),
    "phone": frozenset({"called", "in_person"}),
    "post": frozenset({"in_person"}),
}


def _proves(channel: str) -> frozenset[str]:
    """How staff can have seen that this channel is right."""
    return PROVED.get(channel, frozenset())


def _confirms(channel: str) -> frozenset[str]:
    """How a change of the channel can be confirmed: over the one agreed before where there is one."""
    return frozenset({"in_person"} | ({"over_previous_channel"} if channel != "none" else set()))


FITTING: Final[Mapping[str, Callable[[str], frozenset[str]]]] = {
    "notice.attempt": _came_of_notice,
    "channel.prove": _proves,
    "channel.change": _confirms,
}
"""The answers to *How* that fit the agreed channel."""


def asks(action: str, kit: Kit | None) -> tuple[str, ...]:
    """Who may be asking for this step: the victim, unless a representative decides or nobody can any more."""
    if action not in PROTECTS or kit is None:
        return ("victim",)
    if any(hold.ground == "death" for hold in kit.holds.values()):
        return ("representative",)
    represented = kit.decided_by == "representative" and not of_age(kit)
    return ("victim", "representative") if represented or nobody_decides(kit) else ("victim",)


def _later(at: datetime) -> str:
    """The usual due time: four hours on, on the quarter."""
    due = (at + timedelta(hours=4)).astimezone(edge.CALENDAR)
    due += timedelta(minutes=-due.minute % 15)
    return due.strftime("%Y-%m-%dT%H:%M")


# --- reading what was sent ---------------------------------------------------------------------------------


def value(form: FormData, name: str) -> str | None:
    """A text field without blanks around it; None for an empty one. Raises Refused for a NUL, which no
    database keeps."""
    given = form.get(name)
    if isinstance(given, str) and "\0" in given:
        raise Refused("This text has characters that cannot be seen. Write it again.", field=name)
    return given.strip() or None if isinstance(given, str) else None


def whole(text: str) -> int | None:
    """A whole number as a form counts: digits 0 to 9, no more than four; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else None


def key_of(form: FormData) -> str:
    """The key that the page was made with. Raises Refused."""
    given = value(form, "key") or ""
    if not (8 <= len(given) <= 200 and given.isascii() and given.isprintable() and " " not in given):
        raise Refused("This form lacks its key. Open the page again and send it once more.", field="key")
    return given


def refs_of(values: Sequence[str]) -> list[tuple[str, int]]:
    """Packages named as ``<kit number>.<package>``, each once. Raises NumberRefused, Refused."""
    found: dict[tuple[str, int], None] = {}
    for each in values[:200]:
        kit, _, package = each.partition(".")
        number = whole(package) or 0
        if not 1 <= number <= 99:
            raise Refused("This is not a package of a kit. Scan its label again.", field="packages")
        found[(str(parse_kit_number(kit)), number)] = None
    return list(found)


def when(form: FormData, name: str) -> str | None:
    """A local time of a form as an instant with its offset. Raises Refused."""
    given = value(form, name)
    if given is None:
        return None
    try:
        local = datetime.fromisoformat(given)
    except ValueError:
        raise Refused("This is not a time. Write it as 2026-01-31T22:15.", field=name) from None
    return (local if local.tzinfo else local.replace(tzinfo=edge.CALENDAR)).isoformat()


async def digest(form: FormData, name: str) -> str | None:
    """The SHA-256 of a file that was chosen, which is not kept; or the digest that was typed."""
    upload = form.get(f"{name}_file")
    if isinstance(upload, UploadFile) and upload.filename:
        content = await upload.read()
        if content:
            return hashlib.sha256(content).hexdigest()
    typed = value(form, name)
    return typed.replace(" ", "").lower() if typed else None


def unusual(form: FormData) -> bool:
    """Whether the number of a report looks unlike those that are known, and nobody has confirmed it yet."""
    pv = value(form, "pv")
    return pv is not None and PV.fullmatch(pv.upper()) is None and value(form, "pv_confirmed") != pv


async def paper(form: FormData) -> dict[str, str] | None:
    found = await digest(form, "paper")
    at = when(form, "paper_occurred_at")
    if found is None and at is None and value(form, "paper_lost") is None:
        return None
    if found is None or at is None:
        raise Refused("For a paper record, give both the paper and when it happened.", field="paper")
    lost = (value(form, "paper_lost") or "").replace(" ", "").lower()
    return {"digest": found, "occurred_at": at} | ({"lost": lost} if lost else {})


def signature(form: FormData, name: str) -> str:
    """The digest of what was signed: the name as typed, the strokes as drawn, and for which packages."""
    typed, drawn = value(form, f"{name}_name"), value(form, f"{name}_drawn")
    if typed is None:
        raise Refused("The signature is missing: type the full name.", field=name)
    signed = {"name": typed, "strokes": drawn or "", "packages": sorted(map(str, form.getlist("p")))}
    text = json.dumps(signed, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def has_seal(package: Package) -> bool:
    """Whether there is a seal to look at: not on a package that is open, or was never sealed."""
    return package.seal is not None and package.state is not Custody.OPENED


def packages(form: FormData, action: str, chosen: Chosen) -> list[dict[str, Any]]:
    """The packages of the form with the seal and condition that were seen. Raises Refused."""
    sealed = {f"{kit.number}.{package.package}" for kit, package in chosen.packages if has_seal(package)}
    found = []
    for kit, package in refs_of([str(v) for v in form.getlist("p")]):
        name = f"{kit}.{package}"
        entry: dict[str, Any] = {"kit": kit, "package": package}
        seal = value(form, f"seal:{name}")
        if seal:
            entry["seal"] = seal.upper()
        elif action in SEALS_NEW:
            raise Refused("Package {package} needs its new seal number.", field="packages", package=package)
        condition = value(form, f"condition:{name}")
        if condition is None and action in SEALS_SEEN and name in sealed:
            raise Refused(
                "Look at the seal of package {package}: is it intact or broken?",
                field="packages",
                package=package,
            )
        if condition == "broken":
            entry["condition"] = "broken"
        found.append(entry)
    return found


async def document(door: Door, form: FormData, chosen: Chosen) -> dict[str, Any]:
    """The command as plain values, from the fields of its shape."""
    hints = typing.get_type_hints(door.shape)
    made: dict[str, Any] = {}
    for each in fields(door.shape):
        found = await _read(door, each.name, _inner(hints[each.name])[0], form, chosen)
        if found is not None:
            made[each.name] = found
    return made


async def _read(door: Door, name: str, kind: Any, form: FormData, chosen: Chosen) -> Any:
    match name:
        case "packages" if door.action == "kit.supplement":
            return new_packages(form, chosen.counted(chosen.kit))
        case "packages" if kind != tuple[int, ...]:
            return packages(form, door.action, chosen)
        case "first" | "second":
            refs = packages(form, door.action, chosen)
            if len(refs) != 2:
                raise Refused("Scan exactly two packages.", field="packages")
            return refs[0 if name == "first" else 1]
        case "organisation" | "person" if "to" in form:
            organisation, _, person = (value(form, "to") or "").partition("/")
            return organisation if name == "organisation" else person or None
        case "paper":
            return await paper(form)
        case "signature":
            return signature(form, name)
        case "package":
            return one_package(chosen)[1].package
        case "into" if kind is c.Regrouped:
            new = new_packages(form, chosen.counted(chosen.kit), empty=True)
            return {k: v for k, v in new[0].items() if k != "items"} if new else None
        case "into":
            return split_into(form, chosen)
        case "missing":
            return value(form, name) == "true"
        case "reason" if door.action in REASON_ASKED and value(form, name) is None:
            raise Refused("Say why.", field="reason")
        case "kits":
            return [kit] if (kit := value(form, "kit")) else []
        case "parts" | "readers":
            return [str(v) for v in form.getlist(name)]
    if name in DIGESTS:
        return await digest(form, name)
    if kind == tuple[int, ...]:
        return [n for v in form.getlist(name) if isinstance(v, str) and (n := whole(v)) is not None]
    if kind is datetime:
        return when(form, name)
    if kind is int:
        return whole(value(form, name) or "")
    return value(form, name)


# --- new packages and their items --------------------------------------------------------------------------


def lines(form: Mapping[str, Any] | FormData, start: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The packages of the editor as they stand in the form, to be drawn again; ``start`` where it is new."""
    count = whole(str(form.get("packages_count", "")))
    if count is None:
        return [dict(s) for s in start]
    found = []
    for n in range(1, min(count, 30) + 1):
        per = whole(str(form.get(f"lines-{n}", "")))
        items = [
            {"type": str(form.get(f"type-{n}-{i}", "")), "count": str(form.get(f"count-{n}-{i}", ""))}
            for i in range(1, (FIRST_LINES if per is None else min(per, 40)) + 1)
        ]
        found.append(
            {
                "kind": str(form.get(f"kind-{n}", "bag")),
                "storage": str(form.get(f"storage-{n}", "dry")),
                "seal": str(form.get(f"seal-{n}", "")),
                "usable_until": str(form.get(f"until-{n}", "")),
                "items": items,
            }
        )
    return found


def new_packages(form: FormData, kit: Kit | None, *, empty: bool = False) -> list[dict[str, Any]]:
    """New packages with numbered items, from a number for each type; numbers go on after those there are.

    A place of the form where neither an item nor a seal was filled in is no package, unless ``empty``.
    """
    package = max(kit.packages, default=0) if kit else 0
    item = max(kit.items, default=0) if kit else 0
    made = []
    for place, entry in enumerate(lines(form, ()), 1):
        seal = entry["seal"].strip().upper()
        if not (empty or seal or any(x["type"] or x["count"].strip() for x in entry["items"])):
            continue
        package += 1
        items = []
        for line in entry["items"]:
            for _ in range(_how_many(line["type"], line["count"].strip(), place)):
                item += 1
                until = entry["usable_until"] if _toxicology(line["type"]) else ""
                items.append(
                    {"item": item, "type": line["type"], **({"usable_until": until} if until else {})}
                )
        if not items and not empty:
            raise Refused(
                "Package {package} has no items. Say what is in it, or leave it out.",
                field="items",
                package=place,
            )
        new: dict[str, Any] = {"package": package, "kind": entry["kind"], "storage": entry["storage"]}
        made.append({**new, "items": items, **({"seal": seal} if seal else {})})
    return made


def _how_many(type_: str, count: str, place: int) -> int:
    """How many items of a type one line names, 0 for an empty line. Raises Refused for half a line."""
    if not type_ and not count:
        return 0
    if not count:
        word = texts.ITEMS.get(type_, type_)
        raise Refused("How many of {type} in package {package}?", field="items", type=word, package=place)
    number = whole(count)
    if number is None or number > 60:
        raise Refused("A number of items is a whole number up to 60.", field="items")
    if number and not type_:
        raise Refused("Which type are the items in package {package}?", field="items", package=place)
    return number


def _toxicology(type_: str) -> bool:
    return bool(TYPES.get(type_, {}).get("usable_until"))


def one_package(chosen: Chosen) -> tuple[Kit, Package]:
    """The package that was scanned first. Raises Refused where none was."""
    if not chosen.packages:
        raise Refused("Name at least one package.", field="packages")
    return chosen.packages[0]


def split_into(form: FormData, chosen: Chosen) -> list[dict[str, Any]]:
    """The new packages of a split: each item of the old one goes where its choice says."""
    kit, package = one_package(chosen)
    new = new_packages(form, whole := chosen.counted(kit), empty=True)
    first = max(whole.packages, default=0) if whole else 0
    for entry in new:
        entry["items"] = [
            i.item
            for i in kit.items_of(package.package)
            if value(form, f"into-{i.item}") == str(entry["package"] - first)
        ]
    return new


# --- a command, ready for its door -------------------------------------------------------------------------


def given(form: FormData, who: edge.Signed, made: Mapping[str, Any]) -> Given:
    """Who, the page's key, the state it was decided on, and the exact content."""
    body = json.dumps(made, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    return Given(actor=who.actor, key=key_of(form), body=body, expected=value(form, "tag"))


def order(shape: type[Any], made: Mapping[str, Any]) -> Any:
    """The command, parsed as strictly as the API's. Raises Refused, ValidationError."""
    return edge.order_of(TypeAdapter(shape), dict(made))


async def private_part(request: Request, who: edge.Signed, kit: Kit) -> dict[str, str]:
    """The private part as it stands, of the safe channel only what was agreed last. Read on record before."""
    return await edge.service(request).ledger.read_private(who.actor, kit)


async def _with_purpose(service: Service, actor: Actor, number: str) -> Kit:
    """The kit, its reading on record; of several, the refusal names the one that is no task."""
    try:
        return await service.kit(actor, number, "kit.read", TASK)
    except NoPurpose as refused:
        refused.kit = number
        raise


async def chosen_of(
    request: Request, who: edge.Signed, names: Sequence[str], kit: str | None, *, shown: bool = True
) -> Chosen:
    """Look at the packages and the kit that a form is about; what is ``shown`` is on record first."""
    service = edge.service(request)
    refs = refs_of(names)
    numbers = dict.fromkeys([n for n, _ in refs] + ([str(parse_kit_number(kit))] if kit else []))
    whole: Mapping[str, Kit] = {}
    if shown:
        kits = {n: await _with_purpose(service, who.actor, n) for n in numbers}
    else:
        seen = await service.ledger.look(who.actor, list(numbers))
        eyes, whole = seen.eyes(who.actor), seen.kits
        for number in numbers:
            permit("kit.read", eyes, seen.kit(number))
        kits = {n: as_known(eyes, seen.kit(n)) for n in numbers}
    found = []
    for number, package in refs:
        if package not in kits[number].packages:
            raise Refused("Kit {kit} has no package {package}.", kit=kit_written(number), package=package)
        found.append((kits[number], kits[number].packages[package]))
    return Chosen(
        actor=who.actor,
        directory=await service.directory(),
        at=await edge.now(request),
        kits=kits,
        packages=tuple(found),
        query=dict(request.query_params),
        whole=whole,
        asked=await asked_in_words(request, who, [m.request for kit in kits.values() for m in kit.matches]),
    )
