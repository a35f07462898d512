"""The doors of the agreed term: how long, who decides, holds, the card, the safe channel, notices, policies.

They stand among the others in ``desk.doors``.
"""

from datetime import timedelta
from typing import Final

from custody import commands as c
from desk.door import Door
from retention import adopting, deciding, holds, keeping, notice
from retention import commands as t

TERM_DOORS: Final[tuple[Door, ...]] = (
    # the term
    Door(
        path="terms/extensions",
        action="term.extend",
        shape=c.ExtendTerm,
        says="Keep longer",
        decide=lambda x, o, s: keeping.extend(s.kit(o.kit), o, x.actor, x.policies, s.at),
    ),
    Door(
        path="terms/corrections",
        action="term.correct",
        shape=c.CorrectAge,
        two_people=True,
        says="Correct the age class",
        decide=lambda x, o, s: keeping.correct_age(s.kit(o.kit), o, x.actor, x.second, x.policies, s.at),
    ),
    Door(
        path="terms/moves",
        action="term.move",
        shape=t.MoveTerm,
        kits=lambda o: tuple(o.kits),
        says="Go to the newer policy",
        decide=lambda x, o, s: keeping.move_term(s, o, x.actor, x.policies),
    ),
    Door(
        path="holds",
        action="hold.place",
        shape=c.PlaceHold,
        says="Hold",
        decide=lambda x, o, s: holds.place_hold(s.kit(o.kit), o, x.actor, x.chance, x.policies, s.at),
    ),
    Door(
        path="holds/lifts",
        action="hold.lift",
        shape=c.LiftHold,
        two_people=True,
        says="Lift a hold",
        decide=lambda x, o, s: holds.lift_hold(s.kit(o.kit), o, x.actor, x.second),
    ),
    Door(
        path="holds/reviews",
        action="hold.review",
        shape=t.ReviewHold,
        says="The hold was looked at again",
        decide=lambda x, o, s: holds.review_hold(s.kit(o.kit), o, x.actor, x.policies, s.at),
    ),
    Door(
        path="majorities",
        action="majority.confirm",
        shape=t.ConfirmMajority,
        two_people=True,
        says="The victim has come of age",
        decide=lambda x, o, s: deciding.confirm_majority(s.kit(o.kit), o, x.actor, x.second),
    ),
    # card and channel
    Door(
        path="cards/stops",
        action="card.stop",
        shape=t.StopCard,
        says="Stop the card",
        decide=lambda x, o, s: deciding.stop_card(s.kit(o.kit), o, x.actor),
    ),
    Door(
        path="cards/renewals",
        action="card.renew",
        shape=t.RenewCard,
        two_people=True,
        needs_card=True,
        valid=timedelta(hours=2),
        says="A new card",
        decide=lambda x, o, s: deciding.renew_card(s.kit(o.kit), o, x.actor, x.second, x.card),
    ),
    Door(
        path="channels/proofs",
        action="channel.prove",
        shape=t.ProveChannel,
        says="The safe channel was tried",
        decide=lambda x, o, s: notice.prove_channel(s.kit(o.kit), o, x.actor),
    ),
    Door(
        path="channels",
        action="channel.change",
        shape=t.ChangeChannel,
        two_people=True,
        private=("channel_address", "channel_hours", "channel_question"),
        valid=timedelta(hours=2),
        says="Another safe channel",
        decide=lambda x, o, s: notice.change_channel(s.kit(o.kit), o, x.actor, x.second),
    ),
    # notices
    Door(
        path="notices/sendings",
        action="notice.send",
        shape=t.SendNotice,
        says="Send the notice",
        decide=lambda x, o, s: notice.send(s.kit(o.kit), o, x.actor),
    ),
    Door(
        path="notices/attempts",
        action="notice.attempt",
        shape=c.AttemptNotice,
        says="Record a notice",
        decide=lambda x, o, s: notice.attempt(s.kit(o.kit), o, x.actor, x.policies, s.at),
    ),
    Door(
        path="destructions",
        action="destruction.ask",
        shape=c.AskDestruction,
        says="The victim asks for destruction",
        decide=lambda x, o, s: keeping.ask_destruction(s.kit(o.kit), o, x.actor, x.policies),
    ),
    Door(
        path="destructions/confirmations",
        action="destruction.confirm",
        shape=c.ConfirmDestruction,
        two_people=True,
        says="Confirm the wish for destruction",
        decide=lambda x, o, s: keeping.confirm_destruction(
            s.kit(o.kit), o, x.actor, x.second, x.policies, s.at
        ),
    ),
    Door(
        path="destructions/withdrawals",
        action="destruction.take_back",
        shape=c.TakeBackDestruction,
        says="Take the wish for destruction back",
        decide=lambda x, o, s: keeping.take_back_destruction(s.kit(o.kit), o, x.actor, x.policies, s.at),
    ),
    Door(
        path="disposals/closures",
        action="disposal.close_empty",
        shape=t.CloseEmpty,
        two_people=True,
        needs_requests=True,
        says="Nothing is left to destroy",
        decide=lambda x, o, s: keeping.close_empty(
            s.kit(o.kit), o, x.actor, x.second, unanswered_requests=x.unanswered
        ),
    ),
    # policies
    Door(
        path="policies/adoptions",
        action="policy.adopt",
        shape=t.AdoptPolicy,
        kits=lambda o: (),
        others=lambda x, o: adopting.subjects(o),
        two_people=True,
        says="Adopt a policy",
        decide=lambda x, o, s: adopting.adopt(o, x.actor, x.second, x.policies, s.at),
    ),
)
