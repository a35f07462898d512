"""From events to the kit as it stands, and nothing else.

:func:`after` is the one place that says what an event changes. Decisions use it to look ahead, the
rebuild uses it to prove that the stored projection is what the trails say. The axes move by the rows
of the protocol; the rest of the change stands in one small function for each type that has one.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, Final

from custody.axes import NotAStep
from custody.choices import CHOICES, forget_notices, numbers_of, refuse_new
from custody.event import Event, read_moment
from custody.event import after as head_after
from custody.kit import (
    Finding,
    Handover,
    Holder,
    Item,
    Kit,
    Link,
    Match,
    Order,
    Package,
    Place,
    changed,
)
from custody.protocol import STEPS, Step, Trail

__all__ = ["APPLY", "NotAStep", "after", "counterpart", "holder", "replay"]


def holder(who: Mapping[str, Any]) -> Holder:
    """The person of an event as holder."""
    return Holder(name=who.get("name"), person=who.get("person"), organisation=who.get("organisation"))


def counterpart(party: Mapping[str, Any]) -> Holder:
    return Holder(
        name=party.get("name"),
        person=party.get("person"),
        organisation=party.get("organisation"),
        organisation_name=party.get("organisation_name"),
    )


def _advance(kit: Kit, step: Step, event: Event) -> Kit:
    """Move along the three axes as the protocol says. Raises NotAStep."""
    legal, retention = kit.legal, kit.retention
    if step.legal:
        if legal not in step.legal:
            raise NotAStep("legal", legal)
        legal = step.legal[legal]
    if step.retention:
        if retention not in step.retention:
            raise NotAStep("retention", retention)
        retention = step.retention[retention]
    packages = dict(kit.packages)
    for entry in event.get("packages", ()):
        number = entry["package"]
        if step.packs and (not step.custody or "from" in entry):
            if number in packages:
                raise NotAStep("custody", packages[number].state, number)
            packages[number] = Package(
                package=number,
                kind=entry["kind"],
                storage=entry["storage"],
                made_from=tuple(entry.get("from", ())),
                brought_by=event.get("brought_by"),
                holder=holder(event.who),
                since=event.recorded_at,
            )
        elif number not in packages:
            raise NotAStep("custody", "unknown", number)
        elif step.custody:
            package = packages[number]
            if package.state not in step.custody:
                raise NotAStep("custody", package.state, number)
            packages[number] = changed(package, state=step.custody[package.state])
    return changed(kit, legal=legal, retention=retention, packages=packages)


def _change(kit: Kit, event: Event, **change: Any) -> Kit:
    """Change each package that the event names. A callable value gets the event's entry."""
    packages = dict(kit.packages)
    for entry in event.get("packages", ()):
        old = packages[entry["package"]]
        new = {k: v(entry) if callable(v) else v for k, v in change.items()}
        packages[old.package] = changed(old, **new)
    return changed(kit, packages=packages)


def _packed(kit: Kit, event: Event) -> Kit:
    items = dict(kit.items)
    for each in event.get("items", ()):
        old = items.get(each["item"])
        if old is not None:
            items[old.item] = changed(old, package=each["package"])
            continue
        until = each.get("usable_until")
        items[each["item"]] = Item(
            item=each["item"],
            group=each["group"],
            package=each["package"],
            usable_until=date.fromisoformat(until) if until else None,
        )
    return changed(kit, items=items)


def _sealed(kit: Kit, event: Event) -> Kit:
    return _change(
        kit,
        event,
        seal=lambda entry: entry["seal"],
        seal_broken=False,
        seal_checked=False,
        sealed_at=event.recorded_at,
        sealed_by=event.who.get("person"),
        holder=holder(event.who),
        place=None,
        since=event.recorded_at,
    )


def _checked(kit: Kit, event: Event) -> Kit:
    packages = dict(kit.packages)
    for entry in event.get("packages"):
        old = packages[entry["package"]]
        if old.sealed_by != event.who.get("person"):
            packages[old.package] = changed(old, seal_checked=True)
    return changed(kit, packages=packages)


def _in_hand(kit: Kit, event: Event) -> Kit:
    return _change(kit, event, holder=holder(event.who), place=None, handover=None, since=event.recorded_at)


def _stored(kit: Kit, event: Event) -> Kit:
    place = Place(**event.get("place"))
    kept = Holder(
        name=event.who.get("name"),
        person=event.who.get("person"),
        organisation=event.who.get("organisation"),
    )
    return _change(kit, event, place=place, holder=kept, handover=None, since=event.recorded_at)


def _offered(kit: Kit, event: Event) -> Kit:
    if event.get("handover") in kit.handovers:
        raise NotAStep("handover", "offered")
    offer = Handover(
        id=event.get("handover"),
        packages=numbers_of(event, "packages", "package"),
        giver=holder(event.who),
        receiver=counterpart(event.get("counterpart")),
        offered_at=event.recorded_at,
        due_at=read_moment(event.get("due_at")),
    )
    kit = changed(kit, handovers={**kit.handovers, offer.id: offer})
    return _change(
        kit, event, handover=offer.id, place=None, holder=holder(event.who), since=event.recorded_at
    )


def _carried(kit: Kit, event: Event) -> Kit:
    """The courier is named on the way; the giver answers for the packages until somebody accepts."""
    offer = _way(kit, event)
    carried = changed(offer, carrier=counterpart(event.get("carrier")))
    return changed(kit, handovers={**kit.handovers, offer.id: carried})


def _way(kit: Kit, event: Event) -> Handover:
    """The open hand-over that the event names, with every package of the event on it. Raises NotAStep."""
    offer = kit.handovers.get(event.get("handover"))
    for number in numbers_of(event, "packages", "package"):
        if offer is None or number not in offer.packages:
            raise NotAStep("handover", "not on this way", number)
    if offer is None:
        raise NotAStep("handover", "unknown")
    return offer


def _off_the_way(kit: Kit, event: Event) -> Kit:
    """Take the event's packages out of the open hand-overs they were on."""
    gone = set(numbers_of(event, "packages", "package"))
    left = {}
    for offer in kit.handovers.values():
        rest = tuple(p for p in offer.packages if p not in gone)
        if rest:
            left[offer.id] = changed(offer, packages=rest)
    return changed(kit, handovers=left)


def _accepted(kit: Kit, event: Event) -> Kit:
    _way(kit, event)
    return _in_hand(_off_the_way(kit, event), event)


def _back_with_giver(kit: Kit, event: Event) -> Kit:
    offer = _way(kit, event)
    kit = _off_the_way(kit, event)
    return _change(kit, event, holder=offer.giver, handover=None, since=event.recorded_at)


def _with_counterpart(kit: Kit, event: Event) -> Kit:
    receiver = counterpart(event.get("counterpart"))
    _way(kit, event)
    kit = _off_the_way(kit, event)
    return _change(kit, event, holder=receiver, handover=None, place=None, since=event.recorded_at)


def _gone(kit: Kit, event: Event) -> Kit:
    """Destroyed, returned, deposited, lost, void: no hand-over stays open for it."""
    return _change(_off_the_way(kit, event), event, handover=None, place=None, since=event.recorded_at)


def _broken(kit: Kit, event: Event) -> Kit:
    return _change(kit, event, seal_broken=True)


def _opened(kit: Kit, event: Event) -> Kit:
    return _change(kit, event, seal_broken=True, since=event.recorded_at)


def _found(kit: Kit, event: Event) -> Kit:
    """Found again, in the hands of the finder. What was never closed, or open, has to be closed first."""
    kit = _in_hand(kit, event)
    packages = dict(kit.packages)
    for number in numbers_of(event, "packages", "package"):
        package = packages[number]
        broken = package.seal_broken or package.seal is None
        packages[number] = changed(package, seal_broken=broken, search_ended=False)
    return changed(kit, packages=packages)


def _found_elsewhere(kit: Kit, event: Event) -> Kit:
    return _stored(_off_the_way(kit, event), event)


def _labels(kit: Kit, event: Event) -> Kit:
    parts = {each["code"].split("-")[1]: each["serial"] for each in event.get("labels")}
    return changed(kit, labels={**kit.labels, **parts})


def _missing(kit: Kit, event: Event) -> Kit:
    return _item_state(kit, event, missing=True)


def _item_back(kit: Kit, event: Event) -> Kit:
    return _item_state(kit, event, missing=False)


def _item_state(kit: Kit, event: Event, *, missing: bool) -> Kit:
    items = dict(kit.items)
    for each in event.get("items"):
        items[each["item"]] = changed(items[each["item"]], missing=missing)
    return changed(kit, items=items)


def _order(kit: Kit, event: Event) -> Kit:
    order = event.get("order")
    return changed(
        kit,
        order=Order(
            digest=order["digest"],
            authority=order["authority"],
            dated=date.fromisoformat(order["dated"]),
            entered_by=event.who.get("person"),
            entered_at=event.recorded_at,
        ),
    )


def _order_confirmed(kit: Kit, event: Event) -> Kit:
    """Who entered the order and who confirms it are the two people. Raises NotAStep."""
    if kit.order is None or all(w.get("person") != kit.order.entered_by for w in event.get("with", ())):
        raise NotAStep("legal", kit.legal)
    return changed(kit, order=changed(kit.order, confirmed=True))


def _matched(kit: Kit, event: Event) -> Kit:
    by = tuple(p for p in (event.who.get("person"), *(w.get("person") for w in event.get("with", ()))) if p)
    return changed(kit, matches=(*kit.matches, Match(request=event.get("request"), by=by)))


def _linked(kit: Kit, event: Event) -> Kit:
    return changed(
        kit, link=Link(**event.get("link")), linked_at=event.recorded_at, disposal=None, destruction=None
    )


def _moved(kit: Kit, event: Event) -> Kit:
    return changed(kit, link=Link(**event.get("link")))


def _unlinked(kit: Kit, event: Event) -> Kit:
    """The match falls with the link: kit and person are confirmed again before another link."""
    return changed(kit, link=None, linked_at=None, matches=())


def _unlinked_wholly(kit: Kit, event: Event) -> Kit:
    return changed(_unlinked(kit, event), reported_at=None, order=None)


def _released(kit: Kit, event: Event) -> Kit:
    return changed(kit, released_at=kit.released_at or event.recorded_at)


APPLY: Final[Mapping[str, Callable[[Kit, Event], Kit]]] = {
    "package.packed": _packed,
    "package.split": _packed,
    "package.joined": _packed,
    "package.sealed": _sealed,
    "package.resealed": _sealed,
    "seal.checked": _checked,
    "seal.found_broken": _broken,
    "package.opened": _opened,
    "package.stored": _stored,
    "package.moved": _stored,
    "package.taken": _in_hand,
    "package.taken_over": _in_hand,
    "package.found": _found,
    "package.found_elsewhere": _found_elsewhere,
    "handover.offered": _offered,
    "handover.carried": _carried,
    "handover.accepted": _accepted,
    "handover.refused": _back_with_giver,
    "handover.cancelled": _back_with_giver,
    "handover.acceptance_recorded": _with_counterpart,
    "handover.received_back": _in_hand,
    "package.lost": _gone,
    "package.voided": _gone,
    "package.destroyed": _gone,
    "package.returned": _gone,
    "package.deposited": _gone,
    "search.ended": lambda kit, event: _change(kit, event, search_ended=True),
    "labels.printed": _labels,
    "item.found_missing": _missing,
    "item.found": _item_back,
    "order.entered": _order,
    "order.confirmed": _order_confirmed,
    "match.confirmed": _matched,
    "kit.linked": _linked,
    "kit.linked_by_order": _linked,
    "link.moved": _moved,
    "link.in_error": _unlinked,
    "order_link.in_error": lambda kit, event: changed(_unlinked(kit, event), order=None),
    "link.ended": _unlinked_wholly,
    "kit.released": _released,
    "release.in_error": lambda kit, event: changed(kit, released_at=None, opened_to_centre_at=None),
    "kit.opened_to_centre": lambda kit, event: changed(kit, opened_to_centre_at=event.recorded_at),
    "kit.restricted": lambda kit, event: changed(kit, readers=tuple(event.get("readers"))),
    "restriction.lifted": lambda kit, event: changed(kit, readers=()),
    **CHOICES,
}


def after(kit: Kit | None, event: Event, *, recorded: bool = False) -> Kit:
    """The kit once this event has happened.

    ``recorded``: the event stands in its trail already, maybe since before a rule of today.
    Raises NotAStep where the protocol has no such step, or the event does not follow its trail.
    """
    step = STEPS[event.type]
    if kit is None:
        if event.type != "kit.registered":
            raise NotAStep("trail", "unregistered")
        kit = Kit(
            number=event.subject.split(":")[1],
            centre=event.get("centre"),
            examined_on=date.fromisoformat(event.get("examined_on")),
            registered_at=event.recorded_at,
        )
    elif event.type == "kit.registered":
        raise NotAStep("trail", "registered")
    head = kit.custody_head if step.trail is Trail.CUSTODY else kit.choices_head
    if event.number != head.number + 1 or event.previous != head.digest:
        raise NotAStep("trail", f"number {head.number}")
    if not recorded:
        refuse_new(kit, event)
    try:
        kit = _advance(kit, step, event)
        if event.type in APPLY:
            kit = APPLY[event.type](kit, event)
        kit = forget_notices(kit)
    except KeyError as missing:
        raise NotAStep("trail", f"without {missing}") from missing
    if step.finding:
        found = Finding(
            type=event.type,
            at=event.recorded_at,
            packages=numbers_of(event, "packages", "package"),
            items=numbers_of(event, "items", "item"),
            number=event.number,
            trail=step.trail,
        )
        kit = changed(kit, findings=(*kit.findings, found))
    if step.trail is Trail.CUSTODY:
        return changed(kit, custody_head=head_after(event))
    return changed(kit, choices_head=head_after(event))


def replay(events: Iterable[Event]) -> Kit:
    """The kit of all its events, both trails, in the order in which they were recorded."""
    kit: Kit | None = None
    for event in events:
        kit = after(kit, event, recorded=True)
    if kit is None:
        raise NotAStep("trail", "unregistered")
    return kit
