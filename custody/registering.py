"""A kit begins: what was collected, what the victim agreed to, until when it is kept."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from custody import number as numbers
from custody.channel import told as channel_told
from custody.commands import NewPackage, Paper, Register, ReserveNumbers, Supplement
from custody.decision import Decided, Seen
from custody.event import Fact, write_moment
from custody.kit import Kit, Policy, Term
from custody.number import KitNumber, label_code, next_serial
from custody.people import Actor, Function
from custody.permission import permit
from custody.refusal import Refused

MOST_PACKAGES: Final = 30
MOST_ITEMS: Final = 99


def paper_fields(paper: Paper | None) -> dict[str, Any]:
    if paper is None:
        return {}
    return {"paper": paper.digest} | ({"lost": paper.lost} if paper.lost is not None else {})


def occurred(paper: Paper | None, at: datetime) -> datetime | None:
    """When a paper record says it happened. Raises Refused for a time to come."""
    if paper is None:
        return None
    if paper.occurred_at.tzinfo is None or paper.occurred_at > at:
        raise Refused("The paper record must say when it happened, and not in the future.", field="paper")
    return paper.occurred_at


def entered(paper: Paper | None, actor: Actor) -> dict[str, Any]:
    """What a fact states that is entered from paper, ``occurred_at`` among it. Raises Refused.

    The victim's page records what the victim decides now; a paper record is entered by staff.
    """
    if paper is None:
        return {}
    if actor.function is Function.VICTIM:
        raise Refused("A paper record is entered by the staff of the centre.", field="paper")
    return {"occurred_at": paper.occurred_at, **paper_fields(paper)}


def term_fields(term: Term) -> dict[str, str]:
    return {
        "start": term.start.isoformat(),
        "end": term.end.isoformat(),
        "notice_on": term.notice_on.isoformat(),
        "over_at": write_moment(term.over_at),
    }


def policy_fields(policy: Policy) -> dict[str, Any]:
    return {"id": policy.id, "version": policy.version}


def item_key(item: int) -> str:
    """Under which name the private part says what an item is exactly."""
    return f"item {item}"


def _pack(
    number: str,
    packages: Sequence[NewPackage],
    actor: Actor,
    item_types: Mapping[str, Any],
    *,
    kit: Kit | None,
    paper: Paper | None,
    at: datetime,
    **more: str,
) -> list[Fact]:
    """The facts that put items into packages and close those with a seal; ``kit`` is None for a new one.

    What an item is exactly says much about the person it was taken from, so it goes into the private
    part; the event says its group: sample, toxicology or belongings.
    """
    _check_packing(packages, item_types, kit)
    subject = f"custody:{number}"
    when = occurred(paper, at)
    items = [
        {
            "item": i.item,
            "group": item_types[i.type]["group"],
            "package": p.package,
            **({"usable_until": i.usable_until.isoformat()} if i.usable_until else {}),
        }
        for p in packages
        for i in p.items
    ]
    facts = [
        Fact(
            type="package.packed",
            subject=subject,
            who=actor.who(),
            occurred_at=when,
            fields={
                "packages": [{"package": p.package, "kind": p.kind, "storage": p.storage} for p in packages],
                **({"items": items} if items else {}),
                **more,
                **paper_fields(paper),
            },
            private={item_key(i.item): i.type for p in packages for i in p.items} or None,
        )
    ]
    if sealed := [{"package": p.package, "seal": p.seal} for p in packages if p.seal]:
        facts.append(
            Fact(
                type="package.sealed",
                subject=subject,
                who=actor.who(),
                occurred_at=when,
                fields={"packages": sealed, **paper_fields(paper)},
            )
        )
    return facts


def refuse_used_seals(kit: Kit | None, seals: Sequence[str]) -> None:
    """A seal number closes one package of a kit, once. Raises Refused."""
    used = {p.seal for p in kit.packages.values()} if kit else set()
    for seal in seals:
        if seal in used:
            raise Refused(
                "Seal {seal} closes a package of this kit already.", field="packages.seal", seal=seal
            )
        used.add(seal)


def _check_packing(packages: Sequence[NewPackage], item_types: Mapping[str, Any], kit: Kit | None) -> None:
    if not packages or len(packages) > MOST_PACKAGES:
        raise Refused("A kit has 1 to {most} packages.", field="packages", most=MOST_PACKAGES)
    taken = (set(kit.packages), set(kit.items)) if kit else (set(), set())
    numbers = [p.package for p in packages]
    items = [i.item for p in packages for i in p.items]
    if len(set(numbers)) != len(numbers) or set(numbers) & taken[0]:
        raise Refused("Each package has a number of its own in the kit.", field="packages")
    if len(set(items)) != len(items) or set(items) & taken[1]:
        raise Refused("Each item has a number of its own in the kit.", field="packages.items")
    refuse_used_seals(kit, [p.seal for p in packages if p.seal])
    for package in packages:
        for item in package.items:
            if item.type not in item_types:
                raise Refused(
                    "{type} is not a type of item that this service knows.",
                    field="packages.items.type",
                    type=item.type,
                )
            if item_types[item.type].get("usable_until") and item.usable_until is None:
                raise Refused(
                    "A toxicology item says until when it is usable.", field="packages.items.usable_until"
                )


def register(
    seen: Seen,
    order: Register,
    actor: Actor,
    *,
    number: str,
    term: Term,
    policy: Policy,
    item_types: Mapping[str, Any],
    card: Mapping[str, str] | None,
) -> Decided:
    """Register a kit: its packages and items, the agreement, the term, the card.

    ``number`` is new and random, or one that was reserved for this centre. ``card`` holds the hashes of the
    card's code and secret; None where the victim wanted none.
    """
    permit("kit.register", actor)
    if order.examined_at.tzinfo is None or order.examined_at > seen.at:
        raise Refused("The examination cannot lie in the future.", field="examined_at")
    if number in seen.kits:
        raise Refused("This number belongs to a kit already.", field="number")
    registered = Fact(
        type="kit.registered",
        subject=f"custody:{number}",
        who=actor.who(),
        occurred_at=occurred(order.paper, seen.at),
        fields={
            "centre": actor.organisation,
            "examined_on": term.start.isoformat(),
            **paper_fields(order.paper),
        },
    )
    packed = _pack(number, order.packages, actor, item_types, kit=None, paper=order.paper, at=seen.at)
    chosen = _first_choices(number, order, actor, seen.at, term, policy)
    if order.number is not None:
        packed.append(_printed_ahead(number, order, actor, seen.at))
    extra = {"cards": [{"kit": number, **card}]} if card else {}
    return Decided(facts=(registered, *packed, *chosen), extra=extra)


def _printed_ahead(number: str, order: Register, actor: Actor, at: datetime) -> Fact:
    """A reserved number comes with labels that were printed before the kit: the first of each part."""
    parts = [
        numbers.KIT,
        *(numbers.package(p.package) for p in order.packages),
        *(numbers.item(i.item) for p in order.packages for i in p.items),
    ]
    kit = KitNumber(number)
    serials = [(part, next_serial(kit, part, 0)) for part in parts]
    return Fact(
        type="labels.printed",
        subject=f"custody:{number}",
        who=actor.who(),
        occurred_at=occurred(order.paper, at),
        fields={
            "labels": [{"code": label_code(kit, part, serial), "serial": serial} for part, serial in serials],
            "reason": "printed ahead",
            **paper_fields(order.paper),
        },
    )


def _first_choices(
    number: str, order: Register, actor: Actor, at: datetime, term: Term, policy: Policy
) -> list[Fact]:
    """What the victim agreed to: on a signed form, until when, and whether with a card."""
    agreement = order.agreement
    when = occurred(order.paper, at)

    def choice(type_: str, private: Mapping[str, str] | None = None, **fields: Any) -> Fact:
        return Fact(
            type=type_,
            subject=f"choices:{number}",
            who=actor.who(),
            occurred_at=when,
            fields={**fields, **paper_fields(order.paper)},
            private=private,
        )

    told = {"hospital_reference": order.hospital_reference} | channel_told(
        agreement.channel,
        agreement.channel_address,
        agreement.channel_hours,
        agreement.channel_question,
    )
    return [
        choice(
            "agreement.recorded",
            private={k: v for k, v in told.items() if v} or None,
            decided_by=agreement.decided_by,
            channel=agreement.channel,
            language=agreement.language,
            documents=[{"kind": "agreement_form", "digest": agreement.form_digest}],
        ),
        choice(
            "term.agreed",
            age_class=order.age_class,
            policy=policy_fields(policy),
            term=term_fields(term),
        ),
        choice("card.issued", card=order.card),
    ]


def supplement(
    kit: Kit, order: Supplement, actor: Actor, at: datetime, item_types: Mapping[str, Any]
) -> Decided:
    """Add packages to a kit later, saying who brought what is in them."""
    permit("kit.supplement", actor, kit)
    facts = _pack(
        kit.number,
        order.packages,
        actor,
        item_types,
        kit=kit,
        paper=order.paper,
        at=at,
        brought_by=order.brought_by,
    )
    return Decided(facts=tuple(facts))


def reserve(order: ReserveNumbers, actor: Actor, numbers: Sequence[str]) -> Decided:
    """Set kit numbers aside for an outage, so that labels and forms can be printed ahead."""
    permit("numbers.reserve", actor)
    if not 1 <= order.count <= 50 or len(numbers) != order.count:
        raise Refused("1 to 50 numbers can be reserved at once.", field="count")
    if actor.function not in (Function.NURSE, Function.COORDINATOR):
        raise Refused("Numbers are reserved at a centre.")
    return Decided(
        facts=(
            Fact(
                type="numbers.reserved",
                subject=f"organisation:{actor.organisation}",
                who=actor.who(),
                fields={"numbers": list(numbers), "centre": actor.organisation},
            ),
        )
    )
