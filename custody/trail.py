"""From events to the kit as it stands, and nothing else.

:func:`after` is the one place that says what an event changes. Decisions use it to look ahead, the
rebuild uses it to prove that the stored projection is what the trails say. The axes move by the rows
of the protocol; the rest of the change stands in one small function for each type that has one.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, Final

from custody.event import Event, read_moment
from custody.event import after as head_after
from custody.kit import (
    Destruction,
    Disposal,
    Finding,
    Handover,
    Hold,
    Holder,
    Item,
    Kit,
    Link,
    Match,
    Order,
    Package,
    Place,
    Policy,
    Term,
    changed,
)
from custody.protocol import STEPS, Legal, Step, Trail


class NotAStep(ValueError):
    """The protocol has no such step from here. ``axis`` is a key of ``custody.refusal.STATES``."""

    def __init__(self, axis: str, state: str, package: int | None = None) -> None:
        super().__init__(f"no such step from {axis} {state}" + (f" (package {package})" if package else ""))
        self.axis, self.state, self.package = axis, state, package


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


def _numbers(event: Event, name: str, key: str) -> tuple[int, ...]:
    return tuple(int(each[key]) for each in event.get(name, ()))


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
        packages=_numbers(event, "packages", "package"),
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
    for number in _numbers(event, "packages", "package"):
        if offer is None or number not in offer.packages:
            raise NotAStep("handover", "not on this way", number)
    if offer is None:
        raise NotAStep("handover", "unknown")
    return offer


def _off_the_way(kit: Kit, event: Event) -> Kit:
    """Take the event's packages out of the open hand-overs they were on."""
    gone = set(_numbers(event, "packages", "package"))
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
    for number in _numbers(event, "packages", "package"):
        package = packages[number]
        packages[number] = changed(package, seal_broken=package.seal_broken or package.seal is None)
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


def _agreed(kit: Kit, event: Event) -> Kit:
    return changed(
        kit,
        decided_by=event.get("decided_by"),
        language=event.get("language"),
        channel=event.get("channel"),
    )


def _check_term(kit: Kit, event: Event) -> None:
    """One person never brings the end of a term forward; the clock only after the cooling-off.

    PostgreSQL refuses the same (``custody.apply_to_kit``). Raises NotAStep.
    """
    until = kit.destruction.until if kit.destruction else None
    earlier = kit.term is not None and read_moment(event.get("term")["over_at"]) < kit.term.over_at
    if (
        (event.type == "term.agreed" and kit.term is not None)
        or (event.type in ("term.extended", "term.restarted", "report.withdrawn") and earlier)
        or (event.type == "destruction.cooled_off" and (until is None or until > event.recorded_at))
    ):
        raise NotAStep("retention", kit.retention)


def _term(kit: Kit, event: Event) -> Kit:
    _check_term(kit, event)
    term = event.get("term")
    policy = event.get("policy")
    return changed(
        kit,
        age_class=event.get("age_class", kit.age_class),
        policy=Policy(**policy) if policy else kit.policy,
        term=Term(
            start=date.fromisoformat(term["start"]),
            end=date.fromisoformat(term["end"]),
            notice_on=date.fromisoformat(term["notice_on"]),
            over_at=read_moment(term["over_at"]),
        ),
        disposal=None,
        notice_due_at=None,
    )


def _declared(kit: Kit, event: Event) -> Kit:
    return changed(kit, reported_at=event.recorded_at, disposal=None, destruction=None)


def _withdrawn(kit: Kit, event: Event) -> Kit:
    return changed(_term(kit, event), reported_at=None, matches=())


def _extended(kit: Kit, event: Event) -> Kit:
    return changed(_term(kit, event), destruction=None)


def _age_corrected(kit: Kit, event: Event) -> Kit:
    """No early destruction before majority: a request made under the wrong age class falls."""
    kit = _term(kit, event)
    return kit if kit.age_class == "adult" else changed(kit, destruction=None)


def _held(kit: Kit, event: Event) -> Kit:
    hold = event.get("hold")
    if hold["id"] in kit.holds:
        raise NotAStep("hold", "placed")
    review = hold.get("review_on")
    placed = Hold(
        id=hold["id"],
        ground=hold["ground"],
        placed_by=event.who.get("person"),
        placed_at=event.recorded_at,
        review_on=date.fromisoformat(review) if review else None,
    )
    return changed(kit, holds={**kit.holds, placed.id: placed}, disposal=None)


def _hold_lifted(kit: Kit, event: Event) -> Kit:
    """With the hold of an order that led to no link goes the order: it was revoked in writing."""
    hold = event.get("hold")
    if hold["id"] not in kit.holds:
        raise NotAStep("hold", "unknown")
    revoked = hold["ground"] == "order" and kit.legal is Legal.UNREPORTED
    holds = {k: v for k, v in kit.holds.items() if k != hold["id"]}
    return changed(kit, holds=holds, order=None if revoked else kit.order)


def _cooled_off(kit: Kit, event: Event) -> Kit:
    return changed(_term(kit, event), destruction=None)


def _proposed(kit: Kit, event: Event) -> Kit:
    return changed(
        kit,
        disposal=Disposal(
            proposed_by=event.who.get("person"),
            proposed_at=event.recorded_at,
            packages=_numbers(event, "packages", "package"),
        ),
    )


def _approved(kit: Kit, event: Event) -> Kit:
    if kit.disposal is None or kit.disposal.proposed_by == event.who.get("person"):
        raise NotAStep("retention", kit.retention)
    return changed(
        kit,
        disposal=changed(kit.disposal, approved_by=event.who.get("person"), approved_at=event.recorded_at),
    )


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
    "agreement.recorded": _agreed,
    "card.issued": lambda kit, event: changed(kit, card=event.get("card")),
    "card.stopped": lambda kit, event: changed(kit, card="stopped"),
    "victim.asked": lambda kit, event: changed(kit, asked=(*kit.asked, event.get("how"))),
    "term.agreed": _term,
    "term.restarted": _term,
    "term.corrected": _age_corrected,
    "term.extended": _extended,
    "report.declared": _declared,
    "report.withdrawn": _withdrawn,
    "hold.placed": _held,
    "hold.lifted": _hold_lifted,
    "notice.due": lambda kit, event: changed(kit, notice_due_at=event.recorded_at),
    "destruction.requested": lambda kit, event: changed(
        kit, destruction=Destruction(asked_at=event.recorded_at)
    ),
    "destruction.confirmed": lambda kit, event: changed(
        kit,
        destruction=Destruction(
            asked_at=kit.destruction.asked_at if kit.destruction else event.recorded_at,
            until=read_moment(event.get("until")),
        ),
    ),
    "destruction.taken_back": lambda kit, event: changed(kit, destruction=None, disposal=None),
    "destruction.cooled_off": _cooled_off,
    "disposal.proposed": _proposed,
    "disposal.approved": _approved,
    "disposal.withdrawn": lambda kit, event: changed(kit, disposal=None),
    "disposal.carried_out": lambda kit, event: changed(kit, disposed_at=event.recorded_at),
    "key.destroyed": lambda kit, event: changed(kit, key_destroyed_at=event.recorded_at),
}


def after(kit: Kit | None, event: Event) -> Kit:
    """The kit once this event has happened.

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
    try:
        kit = _advance(kit, step, event)
        if event.type in APPLY:
            kit = APPLY[event.type](kit, event)
    except KeyError as missing:
        raise NotAStep("trail", f"without {missing}") from missing
    if step.finding:
        found = Finding(
            type=event.type,
            at=event.recorded_at,
            packages=_numbers(event, "packages", "package"),
            items=_numbers(event, "items", "item"),
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
        kit = after(kit, event)
    if kit is None:
        raise NotAStep("trail", "unregistered")
    return kit
