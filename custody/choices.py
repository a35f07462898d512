"""What the events of a choices trail change: agreement, term, notices, holds, destruction, disposal.

One small function for each type, as `custody.trail` has them for the custody trail; `CHOICES` names them all.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Final

from custody.axes import NotAStep
from custody.event import Event, read_moment
from custody.kit import Attempt, Destruction, Disposal, Hold, Kit, Policy, Term, changed
from custody.protocol import Legal, Retention


def numbers_of(event: Event, name: str, key: str) -> tuple[int, ...]:
    return tuple(int(each[key]) for each in event.get(name, ()))


def _agreed(kit: Kit, event: Event) -> Kit:
    """Another channel or language than the agreed one is a step of its own, of two. Raises NotAStep."""
    agreed = (event.get("channel"), event.get("language"))
    if kit.channel is not None and (kit.channel, kit.language) != agreed:
        raise NotAStep("trail", "agreed")
    return changed(
        kit,
        decided_by=event.get("decided_by"),
        language=event.get("language"),
        channel=event.get("channel"),
    )


# Steps of one person, or of the end of a report, which never bring the end of a term forward.
NEVER_EARLIER: Final = frozenset({"term.extended", "term.moved", "term.restarted", "report.withdrawn"})


def _over_at(event: Event) -> datetime:
    return read_moment(event.get("term")["over_at"])


def _check_term(kit: Kit, event: Event) -> None:
    """One person never brings the end of a term forward; the clock only after the cooling-off.

    PostgreSQL refuses the same (``custody.apply_to_kit``). Raises NotAStep.
    """
    until = kit.destruction.until if kit.destruction else None
    earlier = kit.term is not None and _over_at(event) < kit.term.over_at
    if (
        (event.type == "term.agreed" and kit.term is not None)
        or (event.type in NEVER_EARLIER and earlier)
        or (event.type == "destruction.cooled_off" and (until is None or until > event.recorded_at))
    ):
        raise NotAStep("retention", kit.retention)


def _term(kit: Kit, event: Event) -> Kit:
    _check_term(kit, event)
    term = event.get("term")
    policy = event.get("policy")
    return changed(
        kit,
        term_before_wish=None,
        age_class=event.get("age_class", kit.age_class),
        policy=Policy(**policy) if policy else kit.policy,
        term=Term(
            start=date.fromisoformat(term["start"]),
            end=date.fromisoformat(term["end"]),
            notice_on=date.fromisoformat(term["notice_on"]),
            over_at=_over_at(event),
        ),
        disposal=None,
        notice_due_at=None,
    )


def _declared(kit: Kit, event: Event) -> Kit:
    return changed(kit, reported_at=event.recorded_at, disposal=None, destruction=None)


def _withdrawn(kit: Kit, event: Event) -> Kit:
    return changed(_term(kit, event), reported_at=None, matches=())


# How a term is given back that had ended with the victim's wish: the wish was taken back, or is in doubt.
GIVEN_BACK: Final = frozenset({"taken_back", "hold"})


def _extended(kit: Kit, event: Event) -> Kit:
    """What only gives back the term that the wish had ended is none of the victim's extensions."""
    given_back = kit.term_before_wish is not None and event.get("how") in GIVEN_BACK
    times = kit.extensions if given_back else kit.extensions + 1
    return changed(_term(kit, event), destruction=None, extensions=times)


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
    """With the hold of an order that led to no link goes the order: it was revoked in writing.

    An order that was entered since this hold was placed is another one, and stands.
    """
    hold = event.get("hold")
    if hold["id"] not in kit.holds:
        raise NotAStep("hold", "unknown")
    revoked = hold["ground"] == "order" and kit.legal is Legal.UNREPORTED
    if revoked and kit.order is not None and kit.order.entered_at is not None:
        placed_at = kit.holds[hold["id"]].placed_at
        revoked = placed_at is None or placed_at >= kit.order.entered_at
    holds = {k: v for k, v in kit.holds.items() if k != hold["id"]}
    return changed(kit, holds=holds, order=None if revoked else kit.order)


def _hold_reviewed(kit: Kit, event: Event) -> Kit:
    stated = event.get("hold")
    if stated["id"] not in kit.holds:
        raise NotAStep("hold", "unknown")
    review = stated.get("review_on")
    reviewed = changed(
        kit.holds[stated["id"]],
        reviewed_at=event.recorded_at,
        review_on=date.fromisoformat(review) if review else None,
    )
    return changed(kit, holds={**kit.holds, reviewed.id: reviewed})


def _cooled_off(kit: Kit, event: Event) -> Kit:
    """The victim asked for it, and so needs no notice: what was told of another end counts no more. Nothing
    is disposed of before the cooling-off is over, also where the term was over earlier. The term from before
    is kept: it comes back with whatever ends the wish."""
    ends = [_over_at(event)]
    if kit.destruction is not None and kit.destruction.until is not None:
        ends.append(kit.destruction.until)
    return changed(_term(kit, event), term_before_wish=kit.term, destruction=None, expires_at=max(ends))


# Which words each writer has for an attempt to tell the victim. The service's own word on what it sent.
BY_CLOCK: Final = frozenset({"sent", "tried", "failed", "bounced", "not_wanted"})
BY_PEOPLE: Final = frozenset({"reached", "posted", "not_reached", "not_wanted", "no_channel", "unreachable"})
BY_SERVICE: Final = frozenset({"email", "sms"})  # over which the service sends by itself
NOT_ARRIVED: Final = frozenset({"failed", "bounced"})


def _told_later(kit: Kit, event: Event) -> Kit:
    remind = event.get("remind_on")
    return changed(
        kit,
        notice_due_at=event.recorded_at if event.type == "notice.due" else kit.notice_due_at,
        remind_on=date.fromisoformat(remind) if remind else None,
    )


def _attempted(kit: Kit, event: Event) -> Kit:
    """What settles the notice says from when on the term may expire; what did not arrive takes it back.

    A term that ended with the victim's wish owes no notice: what came of one says nothing about its end.
    """
    how = event.get("how")
    until = event.get("until")
    expires = None if how in NOT_ARRIVED else read_moment(until) if until else kit.expires_at
    if kit.ended_by_wish:
        expires = kit.expires_at
    attempt = Attempt(at=event.recorded_at, how=how, channel=event.get("channel"))
    return changed(kit, attempts=(*kit.attempts, attempt), expires_at=expires)


def forget_notices(kit: Kit) -> Kit:
    """While a term runs, or is stopped, nobody has been told of its end."""
    if kit.retention not in (Retention.RUNNING, Retention.STOPPED):
        return kit
    if kit.expires_at is None and kit.remind_on is None and not kit.attempts:
        return kit
    return changed(kit, expires_at=None, remind_on=None, attempts=())


def _nothing_left(kit: Kit, event: Event) -> Kit:
    """Of what is not ended, all is lost, and two people ended the search for it. Raises NotAStep.

    Who they were is kept: the second one approved the end of the kit, whatever is found of it later.
    """
    for package in kit.remaining:
        raise NotAStep("custody", package.state, package.package)
    others: Sequence[Mapping[str, str]] = event.get("with") or ({},)
    closed = Disposal(
        proposed_by=event.who.get("person"),
        proposed_at=event.recorded_at,
        approved_by=others[0].get("person"),
        approved_at=event.recorded_at,
    )
    return changed(kit, disposed_at=event.recorded_at, disposal=closed)


def refuse_new(kit: Kit, event: Event) -> None:
    """What is refused when it is to be written now, and was possible once: trails that say it are still read.

    PostgreSQL refuses the same (``custody.apply_to_kit``). Raises NotAStep.
    """
    at = event.recorded_at
    untold = kit.expires_at is None or kit.expires_at > at
    over = kit.term is not None and kit.term.over_at <= at
    of_age = kit.age_class == "adult" or kit.of_age_at is not None
    closed = kit.retention is Retention.DISPOSED  # its notice was settled long ago, if there was one
    words = BY_CLOCK if event.who.get("function") == "clock" else BY_PEOPLE
    before = kit.term_before_wish
    shorter = before is not None and event.type in NEVER_EARLIER and _over_at(event) < before.over_at
    cooling = kit.destruction.until if kit.destruction else None
    thinks = cooling is not None and cooling > at  # over by its own end, while the victim can think again
    sends = event.type in ("notice.due", "notice.repeated", "notice.queued") and event.get("channel")
    if (
        (event.type == "term.expired" and (untold or not over))
        or (event.type in ("disposal.approved", "disposal.carried_out") and (untold or thinks) and not closed)
        or (event.type == "disposal.approved" and closed and not kit.remaining)
        or (event.type == "destruction.confirmed" and not of_age)
        or (sends and (sends not in BY_SERVICE or sends != kit.channel))
        or (event.type == "notice.attempted" and event.get("how") not in words)
        or (event.type == "notice.attempted" and event.get("how") in NOT_ARRIVED and event.get("until"))
        or shorter
        or (event.type == "term.moved" and kit.ended_by_wish)  # nobody but the victim undoes her wish
        or not _names_kept(kit, event)
    ):
        raise NotAStep("retention", kit.retention)
    if event.type in ("hold.reviewed", "hold.lifted"):
        stated = event.get("hold")
        if stated["id"] in kit.holds and kit.holds[stated["id"]].ground != stated["ground"]:
            raise NotAStep("hold", "ground")


def _names_kept(kit: Kit, event: Event) -> bool:
    """Whether what a step on the term says of policy and age fits what the kit keeps.

    A term moves to a later version of the same policy; every other step on it names the version that the kit
    keeps. Who corrects the age class says another one. A kit whose term is not agreed keeps none yet.
    """
    named, kept = event.get("policy"), kit.policy
    if event.type == "term.corrected" and event.get("age_class") == kit.age_class:
        return False
    if named is None or event.type == "term.agreed":
        return True
    if kept is None:
        return False
    if event.type == "term.moved":
        return bool(named["id"] == kept.id and named["version"] > kept.version)
    return Policy(**named) == kept


def _proposed(kit: Kit, event: Event) -> Kit:
    return changed(
        kit,
        disposal=Disposal(
            proposed_by=event.who.get("person"),
            proposed_at=event.recorded_at,
            packages=numbers_of(event, "packages", "package"),
        ),
    )


def _approved(kit: Kit, event: Event) -> Kit:
    """Who approves has not proposed. Raises NotAStep.

    What was found after a disposal nobody proposes: it is approved anew where who approved that has left.
    """
    anew = kit.retention is Retention.DISPOSED
    if kit.disposal is None or (kit.disposal.proposed_by == event.who.get("person") and not anew):
        raise NotAStep("retention", kit.retention)
    return changed(
        kit,
        disposal=changed(kit.disposal, approved_by=event.who.get("person"), approved_at=event.recorded_at),
    )


CHOICES: Final[Mapping[str, Callable[[Kit, Event], Kit]]] = {
    "agreement.recorded": _agreed,
    "card.issued": lambda kit, event: changed(kit, card=event.get("card")),
    "card.stopped": lambda kit, event: changed(kit, card="stopped"),
    "card.renewed": lambda kit, event: changed(kit, card="issued"),
    "channel.proved": lambda kit, event: changed(kit, channel_proved_at=event.recorded_at),
    "channel.changed": lambda kit, event: changed(
        kit, channel=event.get("channel"), language=event.get("language"), channel_proved_at=None
    ),
    # Who reads messages there is not known any more: the channel counts as never tried.
    "majority.confirmed": lambda kit, event: changed(
        kit, of_age_at=event.recorded_at, channel_proved_at=None
    ),
    "victim.asked": lambda kit, event: changed(kit, asked=(*kit.asked, event.get("how"))),
    "term.agreed": _term,
    "term.restarted": _term,
    "term.corrected": _age_corrected,
    "term.extended": _extended,
    "term.moved": _term,
    "report.declared": _declared,
    "report.withdrawn": _withdrawn,
    "hold.placed": _held,
    "hold.reviewed": _hold_reviewed,
    "hold.lifted": _hold_lifted,
    "notice.due": _told_later,
    "notice.repeated": _told_later,
    "notice.attempted": _attempted,
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
    "disposal.nothing_left": _nothing_left,
    "key.destroyed": lambda kit, event: changed(kit, key_destroyed_at=event.recorded_at),
}
"""What each type changes beside the axes."""
