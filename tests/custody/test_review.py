"""Readings that stand out, rule by rule."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count

from custody.people import Actor, Function
from custody.purpose import GLASS
from custody.review import (
    AFTER_THE_END,
    FOUND,
    MOST_KITS,
    MOST_TIMES,
    ONE_LOOK,
    RULES,
    WITHIN,
    Around,
    Reading,
    reviewed_by,
    unusual,
)
from desk import texts
from tests.custody.story import COORDINATOR, CUSTODIAN, MAGISTRATE, NURSE, OFFICER

NOON = datetime(2026, 5, 1, 10, tzinfo=UTC)  # 12:00 in Brussels
_numbers = count()


def reads(
    who: Actor,
    at: datetime = NOON,
    *,
    kit: str | None = "7M4P9XQ3RT6C",
    purpose: str = "task",
    read: str = "kit_read",
    reviews: str | None = None,
) -> Reading:
    return Reading(
        digest=f"{next(_numbers):064x}",
        at=at,
        reader=who.person or str(who.function),
        person=who.person,
        name=who.name,
        function=who.function,
        organisation=who.organisation,
        read=read,
        purpose=purpose,
        kit=kit,
        reviews=reviews,
    )


def marks(readings: Iterable[Reading], around: Around | None = None) -> list[tuple[str, ...]]:
    """For each reading the rules that mark it."""
    listed = list(readings)
    found = unusual(listed, around or Around())
    return [found.get(each.digest, ()) for each in listed]


def test_a_day_of_ordinary_work_stands_out_nowhere() -> None:
    kits = [f"KIT{n:09}" for n in range(3)]
    day = [reads(NURSE, NOON + timedelta(hours=n), kit=kit) for kit in kits for n in range(3)]
    assert marks(day) == [()] * 9


def test_broken_glass_always_stands_out() -> None:
    assert marks([reads(NURSE, read=GLASS, purpose=GLASS)]) == [("glass",)]


def test_the_twenty_first_kit_within_an_hour_stands_out() -> None:
    steps = WITHIN / (MOST_KITS + 2)
    shelf = [reads(CUSTODIAN, NOON + n * steps, kit=f"KIT{n:09}") for n in range(MOST_KITS + 1)]
    assert marks(shelf) == [()] * MOST_KITS + [("many_kits",)]


def test_the_same_kits_over_a_longer_time_do_not() -> None:
    slowly = [reads(CUSTODIAN, NOON + n * WITHIN / MOST_KITS, kit=f"KIT{n:09}") for n in range(MOST_KITS + 1)]
    assert marks(slowly) == [()] * (MOST_KITS + 1)


def test_two_people_who_read_ten_kits_each_are_not_one() -> None:
    both = [
        reads(who, NOON + timedelta(minutes=n), kit=f"KIT{n:09}")
        for n in range(MOST_KITS // 2 + 1)
        for who in (NURSE, CUSTODIAN)
    ]
    assert not any(marks(both))


def test_one_kit_again_and_again_stands_out_unless_something_was_recorded_on_it() -> None:
    looked = [reads(NURSE, NOON + timedelta(minutes=10 * n)) for n in range(MOST_TIMES + 1)]
    assert marks(looked) == [()] * MOST_TIMES + [("again_and_again",)]
    worked = Around(acts={("nora", "7M4P9XQ3RT6C", NOON.date())})
    assert not any(marks(looked, worked))


def test_the_parts_of_one_page_are_counted_apart() -> None:
    parts = ("kit_read", "custody_trail_read", "private_read")
    pages = [
        reads(NURSE, NOON + timedelta(minutes=5 * n), read=part) for n in range(MOST_TIMES) for part in parts
    ]
    assert not any(marks(pages))


def test_a_reason_stated_by_somebody_who_never_worked_with_the_kit_stands_out() -> None:
    stranger = reads(CUSTODIAN, purpose="review")
    assert marks([stranger]) == [("never_acted",)]
    once = Around(acts={("casper", "7M4P9XQ3RT6C", NOON.date() - timedelta(days=90))})
    assert marks([stranger], once) == [()]


def test_a_coordinator_who_reviews_leaves_nothing_new_to_review() -> None:
    opened = [reads(COORDINATOR, purpose="review"), reads(COORDINATOR, purpose="review", read="private_read")]
    assert not any(marks(opened))
    assert marks([reads(COORDINATOR, purpose="complaint")]) == [("never_acted",)]


def test_a_named_reader_of_a_restricted_kit_need_not_have_worked_with_it() -> None:
    safety = [reads(CUSTODIAN, purpose="safety"), reads(NURSE, purpose="safety")]
    named = Around(readers={"7M4P9XQ3RT6C": {"casper"}})
    assert marks(safety, named) == [(), ("never_acted",)]


def test_what_a_judge_ordered_to_hand_out_does_not_stand_out() -> None:
    handed = [
        reads(COORDINATOR, purpose="court", read=part)
        for part in ("private_disclose", "private_disclosed", "custody_trail_export", "choices_trail_export")
    ]
    apart = [each for one in handed for each in marks([one])]
    assert apart == [(), (), ("never_acted",), ("never_acted",)]
    ordered = Around(ordered={"7M4P9XQ3RT6C"})
    assert not any(marks(handed, ordered))


def test_police_and_justice_state_a_reason_each_time_and_do_not_stand_out_for_it() -> None:
    assert marks([reads(OFFICER, purpose="court"), reads(MAGISTRATE, purpose="court")]) == [(), ()]


def test_at_night_nurses_are_on_duty_and_others_stand_out() -> None:
    ten = datetime(2026, 5, 1, 20, tzinfo=UTC)
    minute = timedelta(minutes=1)
    at = (ten - minute, ten, ten + timedelta(hours=8) - minute, ten + timedelta(hours=8))
    assert marks([reads(CUSTODIAN, each) for each in at]) == [(), ("at_night",), ("at_night",), ()]
    assert not any(marks([reads(NURSE, each) for each in at]))


def test_after_the_release_staff_stand_out_and_justice_goes_on_reading() -> None:
    around = Around(ended={"7M4P9XQ3RT6C": ("released", NOON)})
    next_days = NOON + AFTER_THE_END + timedelta(hours=1)
    assert marks([reads(NURSE, NOON + timedelta(hours=1))], around) == [()]
    assert marks([reads(NURSE, next_days)], around) == [("after_the_end",)]
    assert marks([reads(MAGISTRATE, next_days, purpose="court")], around) == [()]


def test_after_the_disposal_everybody_stands_out() -> None:
    around = Around(ended={"7M4P9XQ3RT6C": ("disposed", NOON)})
    late = NOON + AFTER_THE_END + timedelta(hours=1)
    assert marks([reads(MAGISTRATE, late, purpose="court")], around) == [("after_the_end",)]


def test_one_look_at_a_page_is_marked_once_and_the_next_look_again() -> None:
    second = timedelta(seconds=1)
    page = [
        reads(CUSTODIAN, NOON, purpose="review"),
        reads(CUSTODIAN, NOON + second, purpose="review", read="custody_trail_read"),
        reads(CUSTODIAN, NOON + ONE_LOOK, purpose="review"),
    ]
    assert marks(page) == [("never_acted",), (), ("never_acted",)]


def test_what_stands_out_for_another_reason_within_a_look_is_marked_too() -> None:
    second = timedelta(seconds=1)
    found = marks(
        [reads(CUSTODIAN, NOON, purpose="review"), reads(CUSTODIAN, NOON + second, read=GLASS, purpose=GLASS)]
    )
    assert found == [("never_acted",), ("glass",)]


def test_the_victims_own_visits_and_the_look_at_readings_are_not_judged() -> None:
    night = datetime(2026, 5, 1, 23, tzinfo=UTC)
    victim = Actor(function=Function.VICTIM, card="7M4P9XQ3RT6C")
    own = reads(victim, night, read="own_kit_read", purpose="own_page")
    looked = reads(COORDINATOR, night, read="reads_read", purpose="review")
    listed = reads(CUSTODIAN, night, kit=None, read="kit_list")
    assert marks([own, looked, listed]) == [(), (), ()]


def test_a_review_names_the_record_that_it_reviews() -> None:
    reading = reads(CUSTODIAN, purpose="review")
    review = reads(COORDINATOR, read="reading_reviewed", purpose="review", reviews=reading.digest)
    assert reviewed_by([reading, review]) == {reading.digest: review}


def test_every_rule_and_every_finding_has_its_words_for_people() -> None:
    assert {rule.name: rule.says for rule in RULES} == texts.UNUSUAL
    assert tuple(texts.FOUND) == FOUND
