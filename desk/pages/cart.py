"""Carrying disposals out: one cart of many kits, everything on it scanned on one page.

The field takes one line for each scan: the label of a package, then its seal, then the labels of its items. A
line that is no label is the seal of the package scanned before it; a seal that was misread is scanned again,
and the last one counts. What was scanned stands in the page's own form, so it needs no script and nothing is
kept on the server before it is sent.

What is looked for and is not there, or has another seal, is a finding: it is recorded at once and stops its
kit. The other kits go on to the observer.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import TypeAdapter
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from custody import commands as c
from custody import reading
from custody.kit import Item, Kit, Package
from custody.ledger import MovedOn
from custody.ledger import reading as seen_by
from custody.number import LabelCode, NumberRefused, PartKind, parse_kit_number, parse_scan
from custody.people import STAFF
from custody.permission import may
from custody.protocol import Legal, Retention
from custody.purpose import TASK, NoPurpose
from custody.refusal import NotPermitted, NotSeen, Refused
from custody.registering import item_key
from desk import edge, texts
from desk.doors import BY_ACTION
from desk.edge import Signed
from desk.pages import forms
from desk.pages.disposals import in_words
from desk.pages.page import language, moment, page, to, translated
from desk.problems import Problem, problem_of
from desk.service import Done, Given
from retention.disposal import OBSERVERS
from retention.eligibility import belongings, eligibility, found_after, not_found

router = APIRouter()
ACTION: Final = "disposal.carry_out"
MOST_LINES: Final = 4000
MOST_KITS: Final = 50
LONGEST_SEAL: Final = 60
NEITHER: Final = texts._("This is neither a label nor the seal of a package that was just scanned.")
OF_ANOTHER: Final = texts._("This is the label of a kit that is not on this cart. Put it back.")
OF_THE_KIT: Final = texts._("This is the number of the whole kit. Scan the labels of its packages.")
VOID: Final = texts._("This label is void: a later one is in use. Take it off and use the later one.")
NOT_THERE: Final = texts._("Package {package}: looked for, and not there.")
ITEM_NOT_THERE: Final = texts._("Item {item} of package {package}: looked for, and not there.")
ANOTHER_SEAL: Final = texts._("Package {package}: the seal that was read is {read}; on record is {seal}.")
BROKEN: Final = texts._("Package {package}: its seal is broken.")
DISPOSED: Final = texts._("It was disposed of on {when}.")
HELD: Final = texts._("A hold stands since {when}: nothing of this kit is destroyed.")
REPORTED: Final = texts._("A report was declared, or the kit is linked to one: nothing of it is destroyed.")
NOT_APPROVED: Final = texts._(
    "Its disposal is not approved now: it was taken back, or never decided. Open the kit to see why."
)
Doer = Annotated[Signed, Depends(edge.acting(ACTION))]


@dataclass(slots=True)
class Cart:
    """What was scanned so far. Packages and items are named ``<kit>.P<n>`` and ``<kit>.I<n>``."""

    kits: dict[str, Kit]
    lines: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)  # what was scanned by its label -> the code
    seals: dict[str, str] = field(default_factory=dict)  # package -> the seal that was read
    scanned: dict[str, str] = field(default_factory=dict)  # the same, of those on the list of scans alone
    at_hand: set[str] = field(default_factory=set)  # named without a label: they never had one
    broken: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    told: list[tuple[str, str]] = field(default_factory=list)  # what was not taken, and why
    dropped: dict[str, str] = field(default_factory=dict)  # kits that fell off the cart, and why
    types: dict[str, str] = field(default_factory=dict)  # item -> what it is, for who may read that
    observer: str | None = None

    def here(self, name: str) -> bool:
        return name in self.labels or name in self.at_hand

    def packages(self, kit: Kit) -> list[Package]:
        return sorted(kit.remaining, key=lambda p: p.package)

    def items(self, package: Package, kit: Kit) -> list[Item]:
        return sorted((i for i in kit.items_of(package.package) if not i.missing), key=lambda i: i.item)

    def other_seal(self, kit: Kit, package: Package) -> bool:
        """Whether the seal that was read is not the one on record."""
        read = self.seals.get(_package(kit, package.package))
        return read is not None and package.seal is not None and read != package.seal

    def complete(self, kit: Kit, package: Package) -> bool:
        """Whether a package is here with the seal that was read, or looked for."""
        name = _package(kit, package.package)
        return name in self.missing or (self.here(name) and (package.seal is None or name in self.seals))

    @property
    def all(self) -> int:
        """How many packages and items are to be scanned."""
        return sum(1 + len(self.items(p, k)) for k in self.kits.values() for p in self.packages(k))

    @property
    def done(self) -> int:
        """How many of them were."""
        count = 0
        for kit in self.kits.values():
            for p in self.packages(kit):
                count += self.complete(kit, p)
                gone = _package(kit, p.package) in self.missing
                for item in self.items(p, kit):
                    name = _item(kit, item.item)
                    count += gone or self.here(name) or name in self.missing
        return count

    def has_finding(self, kit: Kit) -> bool:
        """Whether something of this kit is not there, or not as recorded."""
        return any(each.partition(".")[0] == kit.number for each in self.missing | self.broken) or any(
            self.other_seal(kit, p) for p in self.packages(kit)
        )


def differences(request: Request, cart: Cart, kit: Kit) -> list[str]:
    """What of this kit is not there, or not as recorded, one sentence each."""
    told: list[str] = []

    def tell(says: str, **values: object) -> None:
        told.append(translated(request, says).format(**values))

    for p in cart.packages(kit):
        name = _package(kit, p.package)
        if name in cart.missing:
            tell(NOT_THERE, package=p.package)
        elif cart.other_seal(kit, p):
            tell(ANOTHER_SEAL, package=p.package, read=cart.seals[name], seal=p.seal)
        if name in cart.broken:
            tell(BROKEN, package=p.package)
        for item in cart.items(p, kit):
            if _item(kit, item.item) in cart.missing:
                tell(ITEM_NOT_THERE, package=p.package, item=item.item)
    return told


def unscanned(request: Request, cart: Cart, kit: Kit) -> list[str]:
    """What of this kit nobody has scanned yet, nor looked for, one sentence for each package."""
    told: list[str] = []
    for p in cart.packages(kit):
        name = _package(kit, p.package)
        if name in cart.missing:
            continue
        items = [_item(kit, i.item) for i in cart.items(p, kit)]
        left = [each for each in items if not cart.here(each) and each not in cart.missing]
        parts = []
        if not cart.here(name):
            parts.append(translated(request, texts._("its label")))
        if p.seal is not None and name not in cart.seals:
            parts.append(translated(request, texts._("its seal")))
        if left:
            numbers = ", ".join(str(int(each.partition(".I")[2])) for each in left)
            parts.append(translated(request, texts._("of its items: {numbers}")).format(numbers=numbers))
        if parts:
            says = translated(request, texts._("Package {package}: {parts}."))
            told.append(says.format(package=p.package, parts=", ".join(parts)))
    return told


def _package(kit: Kit, number: int) -> str:
    return _part(kit.number, "P", number)


def _item(kit: Kit, number: int) -> str:
    return _part(kit.number, "I", number)


# --- reading what was scanned -----------------------------------------------------------------------------


def scan_into(cart: Cart, lines: Sequence[str], base_url: str) -> None:
    """Read one line after the other: labels of this cart, and seals after their packages. The last seal after
    a package counts, until it is the one on record. A line that is not taken is told, and falls away."""
    recorded = {_package(k, p.package): p.seal for k in cart.kits.values() for p in cart.packages(k)}
    last: str | None = None
    asked = False  # whether the seal of the package that was scanned last is still to be read
    gone = False  # whether the label before this line was of a kit that fell off the cart
    for line in lines[:MOST_LINES]:
        text = line.strip()[:LONGEST_SEAL]
        if not text:
            continue
        try:
            read = parse_scan(line.strip(), [base_url])
        except NumberRefused:
            read = None
        if isinstance(read, LabelCode):
            if gone := str(read.kit) in cart.dropped:
                continue
            name = _label(cart, read)
            if name is None:
                continue
            if read.part.kind is PartKind.PACKAGE:
                last, asked = name, True
        elif gone:
            continue
        elif last is not None and (asked or cart.seals.get(last) != recorded.get(last)):
            cart.seals[last], asked = text, False
        else:
            cart.told.append((NEITHER, text))
            continue
        cart.lines.append(line.strip())


def _label(cart: Cart, read: LabelCode) -> str | None:
    """Put a label on the list, under the name of what it stands on; None where it is not taken."""
    kit = cart.kits.get(str(read.kit))
    name = f"{read.kit}.{read.part}"
    if kit is None:
        cart.told.append((OF_ANOTHER, read.written))
    elif read.part.kind is PartKind.KIT:
        cart.told.append((OF_THE_KIT, read.written))
    elif kit.labels.get(str(read.part)) != read.serial:
        cart.told.append((VOID, read.written))
    else:
        cart.labels[name] = str(read)
        return name
    return None


async def _cart(request: Request, who: Signed, form: FormData) -> Cart:
    """The cart as the form says, each kit read on record. A kit that may not be destroyed any more falls off
    it, with the reason; the others stay with all that was scanned of them. Raises Refused, NotSeen."""
    numbers = dict.fromkeys(str(parse_kit_number(str(n))) for n in form.getlist("kit"))
    if not 1 <= len(numbers) <= MOST_KITS:
        raise Refused("Put 1 to {most} kits on a cart.", field="kit", most=MOST_KITS)
    cart = Cart(kits={}, observer=forms.value(form, "observer"))
    for number in numbers:
        await _put(request, who, cart, number)
    kits = cart.kits
    known = {
        name
        for kit in kits.values()
        for p in cart.packages(kit)
        for name in (_package(kit, p.package), *(_item(kit, i.item) for i in cart.items(p, kit)))
    }
    lines = [*str(form.get("scans", "")).splitlines(), str(form.get("code", ""))]
    scan_into(cart, lines, edge.settings(request).base_url)
    for name in ("at_hand", "broken", "missing"):
        chosen = {str(value) for value in form.getlist(name)} & known
        getattr(cart, name).update(chosen)
    cart.scanned = dict(cart.seals)
    for name in known:
        typed, was = forms.value(form, f"seal.{name}"), forms.value(form, f"was.{name}")
        if typed and typed != was and cart.scanned.get(name) == was:  # by hand, and nothing scanned since
            cart.seals[name] = typed[:LONGEST_SEAL]
    return cart


async def _put(request: Request, who: Signed, cart: Cart, number: str) -> None:
    """Put a kit on the cart, or say why it cannot be there. Raises NotSeen where it is the first one."""
    service = edge.service(request)
    try:
        kit = await service.kit(who.actor, number, "choices_trail.read", TASK)
    except NoPurpose:
        cart.dropped[number] = translated(request, NOT_APPROVED)
        return
    except NotSeen:
        if not cart.kits and not cart.dropped:
            raise
        cart.dropped[number] = translated(request, str(NotSeen()))
        return
    if why := _protected(request, kit, await edge.now(request)):
        cart.dropped[number] = why
        return
    cart.kits[number] = kit
    with suppress(NoPurpose, NotPermitted, NotSeen):
        if may("private.read", who.actor, kit):
            await service.kit(who.actor, number, "private.read", TASK)
            part = await forms.private_part(request, who, kit)
            keys = {_item(kit, each): item_key(each) for each in kit.items}
            cart.types |= {name: part[key] for name, key in keys.items() if key in part}


def _protected(request: Request, kit: Kit, at: datetime) -> str | None:
    """Why this kit may not be destroyed now, in words; None where it may."""
    lang = language(request)
    held = min((h.placed_at for h in kit.holds.values() if h.placed_at), default=None)
    again = bool(found_after(kit))
    if kit.disposed_at is not None and not again:
        says = translated(request, DISPOSED).format(when=moment(kit.disposed_at, lang))
    elif held is not None:
        says = translated(request, HELD).format(when=moment(held, lang))
    elif kit.legal is not Legal.UNREPORTED:
        says = translated(request, REPORTED)
    elif kit.order is None and not kit.holds and kit.retention is not Retention.APPROVED and not again:
        says = translated(request, NOT_APPROVED)
    else:
        lacking = next((each for each in eligibility(kit, at) if not each.met), None)
        return in_words(request, lacking) if lacking else None
    return says


# --- the page ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Observer:
    """Somebody who can be asked to observe."""

    person: str
    name: str
    function: str
    organisation: str


async def _observers(request: Request, who: Signed, cart: Cart) -> list[Observer]:
    """Who is not involved: staff of this and of other centres, and whom hospitals name; others first."""
    directory = await edge.service(request).directory()
    disposals = [k.disposal for k in cart.kits.values() if k.disposal]
    involved = {who.actor.person, *(d.approved_by for d in disposals), *(d.proposed_by for d in disposals)}
    found = {
        each.person: Observer(
            each.person,
            each.name,
            str(each.function),
            directory.organisations[each.organisation].name,
        )
        for each in directory.appointments
        if each.function in OBSERVERS and each.person not in involved
    }
    own = {
        each.person
        for each in directory.appointments
        if each.organisation == who.actor.organisation and each.function in STAFF
    }
    return sorted(found.values(), key=lambda o: (o.person in own, o.organisation, o.name))


@router.get("/disposals/cart")
async def begin(request: Request, who: Doer) -> Response:
    """The cart with nothing scanned yet, or with what this person had scanned before the observer declined;
    kits are named in the address."""
    fields: list[tuple[str, str | UploadFile]] = [("kit", n) for n in request.query_params.getlist("kit")]
    if (before := request.query_params.get("scanned")) is not None:
        fields += await _scanned(request, who, before)
    return await _shown(request, who, await _cart(request, who, FormData(fields)))


async def _scanned(request: Request, who: Signed, proposal: str) -> list[tuple[str, str]]:
    """What this person scanned for a disposal that was declined since, as fields of the form."""
    async with seen_by(edge.service(request).engine, who.actor) as connection:
        row = await reading.proposal(connection, proposal)
    if row is None or row["person"] != who.actor.person or row["declined_at"] is None:
        return []
    command = row["command"]
    seals = {_part(p["kit"], "P", p["package"]): p.get("seal") for p in command["packages"]}
    lines, labelled = [], set()
    for code in command["labels"]:
        read = parse_scan(code, [edge.settings(request).base_url])
        if isinstance(read, LabelCode):
            labelled.add(name := f"{read.kit}.{read.part}")
            lines += [code, *filter(None, [seals.get(name)])]
    fields = [("scans", "\n".join(lines))]
    fields += [("at_hand", name) for name in seals if name not in labelled]
    fields += [("at_hand", _part(i["kit"], "I", i["item"])) for i in command["items"]]
    return fields + [(f"seal.{name}", seal) for name, seal in seals.items() if seal and name not in labelled]


def _part(kit: str, kind: str, number: int) -> str:
    return f"{kit}.{kind}{number:02}"


async def _shown(
    request: Request,
    who: Signed,
    cart: Cart,
    problem: Problem | None = None,
    *,
    warn: bool = False,
    unfinished: bool = False,
) -> Response:
    kits = cart.kits.values()
    return await page(
        request,
        "cart.html",
        title=translated(request, texts._("Carry out disposals")),
        who=who,
        status=problem.status if problem else 200 if cart.kits else 409,
        problem=problem,
        cart=cart,
        not_found={n: not_found(k) for n, k in cart.kits.items()},
        belongings={n: belongings(k) for n, k in cart.kits.items()},
        package_name=_package,
        item_name=_item,
        observers=await _observers(request, who, cart),
        warn=warn,
        findings={k.number: differences(request, cart, k) for k in kits if cart.has_finding(k)},
        unscanned={k.number: left for k in kits if (left := unscanned(request, cart, k))}
        if warn or unfinished
        else {},
    )


@router.post("/disposals/cart")
async def scan(request: Request, who: Doer) -> Response:
    """One scan more, or the whole cart: what is not there is recorded, the rest waits for the observer."""
    await edge.stepped_up(request, who, ACTION)
    form = await request.form(max_fields=5000)
    cart = await _cart(request, who, form)
    if cart.dropped or forms.value(form, "decision") != "carry_out":
        return await _shown(request, who, cart)
    stopped = [k for k in cart.kits.values() if cart.has_finding(k)]
    left = [k for k in cart.kits.values() if k not in stopped and unscanned(request, cart, k)]
    if left or (stopped and form.get("confirmed") != "yes"):
        return await _shown(request, who, cart, warn=bool(stopped), unfinished=True)
    return await _carry_out(request, who, cart, form)


async def _carry_out(request: Request, who: Signed, cart: Cart, form: FormData) -> Response:
    """Findings first, in a command of their own; then the kits of which everything is here."""
    key = forms.key_of(form)
    stopped = [kit for kit in cart.kits.values() if cart.has_finding(kit)]
    try:
        if stopped:
            await _send(request, who, _order(cart, stopped), f"{key}-found")
            cart.kits = {n: kit for n, kit in cart.kits.items() if kit not in stopped}
        if not cart.kits:
            return to("/disposals", done=f"{key}-found")
        done = await _send(request, who, _order(cart, list(cart.kits.values())), key)
    except (Refused, NumberRefused, MovedOn) as refusal:
        if isinstance(refusal, NotSeen):
            raise
        if not cart.kits:
            raise
        again = await _cart(request, who, form)  # a kit may have been protected in this very moment
        fresh = set(again.dropped) - {kit.number for kit in stopped}
        return await _shown(request, who, again, None if fresh else problem_of(refusal))
    if isinstance(done, Done):
        return to("/disposals", done=key)
    told = {"done": f"{key}-found"} if stopped else {}
    return to("/disposals", waiting=done.proposal, **told)


async def _send(request: Request, who: Signed, order: c.CarryOutDisposal, key: str) -> Any:
    door = BY_ACTION[ACTION]
    body = TypeAdapter(door.shape).dump_json(order)
    return await edge.service(request).carry_out(
        door, order, Given(actor=who.actor, key=key[:200], body=body)
    )


def _order(cart: Cart, kits: Sequence[Kit]) -> c.CarryOutDisposal:
    """The command for these kits: what was scanned of them, and what was not there."""
    refs, labels, items, gone, gone_items = [], [], [], [], []
    for kit in kits:
        for package in cart.packages(kit):
            name = _package(kit, package.package)
            if name in cart.missing:
                gone.append(c.PackageRef(kit=kit.number, package=package.package))
                continue
            if cart.here(name):
                refs.append(
                    c.PackageRef(
                        kit=kit.number,
                        package=package.package,
                        seal=cart.seals.get(name),
                        condition="broken" if name in cart.broken else "intact",
                    )
                )
            for item in cart.items(package, kit):
                named = _item(kit, item.item)
                ref = c.ItemRef(kit=kit.number, item=item.item)
                if named in cart.missing:
                    gone_items.append(ref)
                elif named in cart.at_hand and named not in cart.labels:
                    items.append(ref)
        labels += [code for name, code in cart.labels.items() if name.startswith(f"{kit.number}.")]
    return c.CarryOutDisposal(
        packages=tuple(refs),
        labels=tuple(labels),
        items=tuple(items),
        not_found=tuple(gone),
        items_not_found=tuple(gone_items),
        observer=cart.observer,
    )
