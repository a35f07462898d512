"""What of a policy protects a victim: one table, in which no value is forgotten."""

from dataclasses import fields, replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given

from retention.aloud import values
from retention.holidays import Holiday, Holidays
from retention.period import Limit
from retention.policy import CountedFrom, ExtensionUntil, Policy, load
from retention.protection import COMPARED, less_protected
from retention.sourced import SourcedAnswer
from tests.retention.reckoning import SEED, every_policy, sourced

(POLICY,) = load((SEED.parent / "belgium-2.json").read_bytes())
FULL = replace(POLICY, longest=sourced("P60Y"), extension_times=3)
assert FULL.holidays is not None
HOLIDAYS: Holidays = FULL.holidays


def answer(yes: bool) -> SourcedAnswer:
    return SourcedAnswer(answer=yes, source="invented for a test", confirmed=False)


def decides(**change: Any) -> dict[str, Any]:
    return {"who_decides": replace(FULL.who_decides, **change)}


WEAKER: dict[str, list[dict[str, Any]]] = {
    "the time of keeping for adults": [{"adult": sourced("P5M")}, {"adult": sourced("P180D")}],
    "the time of keeping for minors": [{"minor": sourced("P49Y")}],
    "the time of keeping where the age is unknown": [{"unknown": sourced("P50Y"), "minor": sourced("P50Y")}],
    "the longest time of keeping": [{"longest": sourced("P59Y")}],
    "the calendar of holidays": [
        {"holidays": None},
        {"holidays": replace(HOLIDAYS, weekend=(6,))},
        {"holidays": replace(HOLIDAYS, days=HOLIDAYS.days[1:])},
        {"holidays": replace(HOLIDAYS, days=(*HOLIDAYS.days[1:], replace(HOLIDAYS.days[0], last=2030)))},
    ],
    "the time for contesting": [{"contest": sourced("P1D")}],
    "that the victim is contacted": [{"contact": answer(False)}],
    "the notice": [{"notice": sourced("P59D")}],
    "the later notices": [{"reminders": ()}, {"reminders": (sourced("P13D"),)}],
    "the grace": [{"grace": None}, {"grace": sourced("P13D")}],
    "how long a safe channel counts as proved": [{"channel_age": sourced("P150Y")}],
    "the extension": [{"extension": sourced("P5M")}],
    "the day from which an extension counts": [{"extension_counted_from": CountedFrom.REQUEST}],
    "how often the term can be extended": [{"extension_times": 2}, {"extension_times": 0}],
    "until when an extension can be asked for": [{"extension_until": ExtensionUntil.END}],
    "the cooling-off": [{"cooling_off": sourced("P29D")}],
    "how soon a hold is looked at again": [{"hold_review": sourced("P150Y")}],
    "the age of majority": [decides(majority=sourced("P16Y"))],
    "that a minor judged capable decides alone": [decides(capable_minor_alone=answer(False))],
    "what a representative may ask for": [decides(representative_protects=answer(False))],
}
STRONGER: list[dict[str, Any]] = [
    {"adult": sourced("P7M"), "contest": sourced("P6Y"), "notice": sourced("P61D")},
    {"reminders": (sourced("P30D"), sourced("P7D")), "grace": sourced("P15D")},
    {"longest": None, "extension_times": None},
    {"channel_age": sourced("P6M"), "hold_review": sourced("P1M")},
    {"holidays": replace(HOLIDAYS, days=(*HOLIDAYS.days, Holiday(name="Invented", on=(5, 2))))},
    {"holidays": replace(HOLIDAYS, days=(replace(HOLIDAYS.days[0], name="New"), *HOLIDAYS.days[1:]))},
    {"valid_from": date(2030, 1, 1), "adopted_on": date(2030, 1, 1)},
    decides(majority=sourced("P21Y")),
]


@pytest.mark.parametrize("what", [what for what, _ in COMPARED])
def test_whatever_protects_less_is_named(what: str) -> None:
    base = replace(FULL, unknown=sourced("P51Y"))
    for change in WEAKER[what]:
        assert what in tuple(less_protected(replace(base, **change), base)), change
    assert set(WEAKER) == {each for each, _ in COMPARED}


def test_a_limit_where_there_was_none_protects_less() -> None:
    free = replace(FULL, longest=None, extension_times=None)

    assert tuple(less_protected(FULL, free)) == (
        "the longest time of keeping",
        "how often the term can be extended",
    )


@pytest.mark.parametrize("change", STRONGER)
def test_what_protects_more_is_not_named(change: dict[str, Any]) -> None:
    assert tuple(less_protected(replace(FULL, **change), FULL)) == ()


def test_every_value_of_a_policy_is_compared_or_protects_nobody_by_its_size() -> None:
    protects_nobody = {"id", "version", "country", "region", "centre", "adopted_on", "valid_from"} | {
        "time_zone",
        "unlinked",
        "deadlines",
    }
    touched = {name for changes in WEAKER.values() for change in changes for name in change}
    assert touched | protects_nobody == {each.name for each in fields(Policy)}
    # the answers that no policy may change are compared by nobody
    always = {"representative_destroys", "destruction_before_majority", "death_holds"}
    always |= {"incapacity_holds", "heirs_destroy"}
    said = {each.name for each in values(FULL) if each.name.startswith("who_decides.")}
    assert said == {f"who_decides.{name}" for name in always} | {
        "who_decides.majority",
        "who_decides.capable_minor_alone",
        "who_decides.representative_protects",
    }


def test_how_soon_work_is_done_is_not_compared() -> None:
    stored = replace(FULL.deadlines.stored_within, limit=Limit.parse("P9D"))
    slower = replace(FULL, deadlines=replace(FULL.deadlines, stored_within=stored), unlinked=sourced("P9Y"))

    assert tuple(less_protected(slower, FULL)) == ()


@given(every_policy)
def test_no_policy_protects_less_than_itself(policy: Policy) -> None:
    assert tuple(less_protected(policy, policy)) == ()
