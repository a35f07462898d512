"""The choices trail alone, as a court sees it: what some custody of the evidence could allow, what none."""

from typing import Any

import pytest

from custody.bundle import Bundle
from custody.court import CourtCopy
from custody.cover import covered
from custody.event import Event
from custody.examination import OTHER_TRAIL, check
from custody.protocol import Trail
from tests.custody.trails import CASPER, KIT, NORA, ORIGIN, VKEYS, Told, logged, trail

CORALINE = {**CASPER, "person": "coraline", "name": "Coraline Kompas", "function": "coordinator"}
VICTIM = {"function": "victim"}
CLOCK = {"function": "clock"}
WITH_CASPER = {"with": [{"part": "second", **CASPER}]}


def term(end: str = "2026-11-01") -> dict[str, Any]:
    return {
        "term": {
            "start": "2026-05-01",
            "end": end,
            "notice_on": "2026-10-01",
            "over_at": f"{end}T23:00:00.000000Z",
        },
        "policy": {"id": "belgium", "version": 1},
    }


ORDER = {"order": {"digest": "ab" * 32, "authority": "Invented judge", "dated": "2026-06-01"}}
BEGUN: tuple[Told, ...] = (
    (
        "agreement.recorded",
        NORA,
        {
            "documents": [{"kind": "agreement", "digest": "cd" * 32}],
            "decided_by": "victim",
            "language": "nl",
            "channel": "none",
        },
    ),
    ("term.agreed", NORA, {"age_class": "adult", **term()}),
    ("card.issued", NORA, {"card": "issued"}),
)
HANDED_OUT: Told = ("choices.disclosed", CORALINE, {**ORDER, **WITH_CASPER})


def bundle(events: list[Event]) -> Bundle:
    signed = logged([event.bytes for event in events])
    return covered(
        Bundle(
            kit=KIT,
            trail="choices",
            origin=ORIGIN,
            note=signed.note,
            events=tuple(event.bytes for event in events),
            proofs=signed.proofs,
        )
    )


def refusal(*told: Told) -> str | None:
    """Why the last of these cannot follow the ones before; None where it can."""
    copy = CourtCopy(Trail.CHOICES)
    *before, last = trail([*BEGUN, *told], "choices")
    for event in before:
        assert copy.refuses(event) is None, event.type
    return copy.refuses(last)


def test_a_choices_trail_that_was_handed_out_is_checked_like_the_other_and_says_what_it_leaves_open() -> None:
    made = bundle(trail([*BEGUN, HANDED_OUT], "choices"))
    verdict = check(made, VKEYS)
    assert verdict.holds
    assert OTHER_TRAIL["choices"] in verdict.not_proved
    assert OTHER_TRAIL["custody"] not in verdict.not_proved
    assert made.readme.startswith(f"Choices trail of kit {KIT}, handed out on a judge's order\n".encode())


def test_events_of_the_custody_trail_have_no_place_in_it() -> None:
    events = trail([("kit.registered", NORA, {"centre": "c", "examined_on": "2026-05-01"})], "custody")
    outcomes = {finding.number: finding.holds for finding in check(bundle(events), VKEYS).findings}
    assert (outcomes[4], outcomes[6]) == (False, False)


DECLARED: Told = ("report.declared", VICTIM, {"how": "by_card"})
MAY_BE: dict[str, list[Told]] = {
    "a wish to withdraw, because a link may have been made": [
        DECLARED,
        ("withdrawal.wished", VICTIM, {"how": "by_card"}),
    ],
    "a wish to withdraw without a report, because there may have been an order": [
        ("withdrawal.wished", VICTIM, {"how": "by_card"})
    ],
    "a term that runs again, because the link may have ended": [
        DECLARED,
        ("term.restarted", CORALINE, term("2027-01-01")),
    ],
    "a disposal of packages that this trail does not know": [
        ("notice.due", CLOCK, {}),
        ("term.expired", CLOCK, {}),
        ("disposal.proposed", CASPER, {"packages": [{"package": 1}, {"package": 2}]}),
        ("disposal.approved", CORALINE, {}),
        (
            "disposal.carried_out",
            NORA,
            {
                "packages": [{"package": 1}, {"package": 2}],
                "with": [{"part": "approver", **CORALINE}, {"part": "observer", **CASPER}],
            },
        ),
    ],
}


@pytest.mark.parametrize("name", MAY_BE)
def test_steps_that_depend_on_custody_hold_where_some_custody_allows_them(name: str) -> None:
    assert refusal(*MAY_BE[name]) is None


NEVER: dict[str, tuple[list[Told], str]] = {
    "a notice after the kit was disposed of": (
        [*MAY_BE["a disposal of packages that this trail does not know"], ("notice.due", CLOCK, {})],
        "no steps of the custody trail could have led",
    ),
    "a term that ends before its notice": (
        [("term.expired", CLOCK, {})],
        "no steps of the custody trail could have led",
    ),
    "the notice that a person makes up": ([("notice.due", NORA, {})], "not for people to record"),
    "a disclosure by one person": ([("choices.disclosed", CORALINE, ORDER)], "takes 2 people"),
    "a disclosure without an order": ([("choices.disclosed", CORALINE, WITH_CASPER)], "does not state order"),
    "a term agreed twice": ([("term.agreed", NORA, {"age_class": "adult", **term()})], "is not possible"),
    "a shorter term as an extension": (
        [("term.extended", VICTIM, {"how": "by_card", **term("2026-08-01")})],
        "is not possible",
    ),
    "an approval by who proposed": (
        [
            ("notice.due", CLOCK, {}),
            ("term.expired", CLOCK, {}),
            ("disposal.proposed", CASPER, {"packages": [{"package": 1}]}),
            ("disposal.approved", CASPER, {}),
        ],
        "is not possible",
    ),
    "a hold lifted that was never placed": (
        [("hold.lifted", CORALINE, {"hold": {"id": "ab" * 16, "ground": "centre"}, **WITH_CASPER})],
        "is not possible",
    ),
}


@pytest.mark.parametrize("name", NEVER)
def test_what_no_custody_could_allow_is_refused(name: str) -> None:
    told, words = NEVER[name]
    said = refusal(*told)
    assert said is not None
    assert words in said
