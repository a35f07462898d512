"""Policies as data: what loads, what is refused, and which one is in force."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retention.policy
from retention.period import Limit, Period, RetentionDataError, never_shorter
from retention.policy import (
    LARGEST_FILE,
    AgeClass,
    CountedFrom,
    ExtensionUntil,
    Policy,
    SourcedPeriod,
    dump,
    in_force,
    load,
    version_of,
)
from retention.sourced import Deadlines, SourcedAnswer, SourcedLimit, WhoDecides
from retention.term import agreed_term
from tests.retention.reckoning import age_classes, calendars, instants

SEEDS = sorted((Path(retention.policy.__file__).parent / "seed").glob("*.json"))
SEED = next(path for path in SEEDS if path.name == "belgium.json").read_bytes()
(BELGIUM,) = load(SEED)
SEED_2 = next(path for path in SEEDS if path.name == "belgium-2.json").read_bytes()
(BELGIUM_2,) = load(SEED_2)
ADOPTED = {path.name: policy for path in SEEDS for policy in load(path.read_bytes())}

Change = Callable[[dict[str, Any]], object]


def changed(change: Change, seed: bytes = SEED) -> bytes:
    """The Belgian file after one change to its only policy."""
    file = json.loads(seed)
    change(file["policies"][0])
    return json.dumps(file).encode()


def sourced(written: str) -> SourcedPeriod:
    return SourcedPeriod(period=Period.parse(written), source="invented for a test", confirmed=False)


def policy(identifier: str, valid_from: str, **fields: Any) -> Policy:
    return replace(BELGIUM, id=identifier, valid_from=date.fromisoformat(valid_from), **fields)


# The seed


def test_belgium_keeps_adults_six_months_and_minors_and_unknown_fifty_years() -> None:
    assert {age_class: str(BELGIUM.kept(age_class)) for age_class in AgeClass} == {
        AgeClass.ADULT: "P6M",
        AgeClass.MINOR: "P50Y",
        AgeClass.UNKNOWN: "P50Y",
    }
    assert (str(BELGIUM.notice.period), str(BELGIUM.cooling_off.period)) == ("P60D", "P30D")
    assert (str(BELGIUM.contest.period), str(BELGIUM.unlinked.period)) == ("P5Y", "P90D")
    assert (BELGIUM.country, BELGIUM.centre, BELGIUM.time_zone) == ("BE", None, "Europe/Brussels")
    assert BELGIUM.reference == "belgium/1"


def test_no_period_of_belgium_passes_for_confirmed() -> None:
    values = [
        value for name in Policy.__slots__ if isinstance(value := getattr(BELGIUM, name), SourcedPeriod)
    ]

    assert len(values) == 10
    assert not any(value.confirmed for value in values)
    assert not BELGIUM.contact.confirmed
    for sourced_values in (BELGIUM.deadlines, BELGIUM.who_decides):
        names = sourced_values.__slots__
        assert not any(getattr(sourced_values, name).confirmed for name in names)


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.name)
def test_every_seed_file_is_written_exactly_as_it_would_be_written_again(path: Path) -> None:
    assert dump(load(path.read_bytes())) == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "where", "terms"),
    [
        ("belgium.json", "BE", "P6M P50Y P50Y"),
        ("belgium-2.json", "BE", "P6M P50Y P50Y"),
        ("scotland.json", "GB-SCT", "P26M P26M P26M"),
        ("ireland.json", "IE", "P1Y P1Y P1Y"),
        ("france.json", "FR", "P3Y P3Y P3Y"),
        ("luxembourg.json", "LU", "P10Y P10Y P10Y"),
        ("queensland.json", "AU-QLD", "P12M P12M P12M"),
        ("us-federal.json", "US", "P20Y P20Y P20Y"),
        ("hawaii.json", "US-HI", "P6Y P20Y P20Y"),
    ],
)
def test_every_place_has_its_terms(name: str, where: str, terms: str) -> None:
    policy = ADOPTED[name]

    assert (policy.region or policy.country) == where
    assert " ".join(str(policy.kept(age_class)) for age_class in AgeClass) == terms


def test_every_place_has_a_seed_file_of_its_own_and_no_two_share_a_version() -> None:
    assert len(ADOPTED) == len(SEEDS) == 9
    assert len({policy.reference for policy in ADOPTED.values()}) == 9


CONFIRMED = {
    "scotland.json": {"adult", "contact", "cooling_off"},
    "ireland.json": {"adult", "extension"},
    "luxembourg.json": {"adult", "longest"},
    "us-federal.json": {"contact", "notice"},
    "hawaii.json": {"adult", "minor"},
}


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.name)
def test_only_what_was_read_in_the_text_of_a_law_or_of_its_body_passes_for_confirmed(path: Path) -> None:
    policy = ADOPTED[path.name]
    named = {name: getattr(policy, name) for name in Policy.__slots__}
    confirmed = {name for name, value in named.items() if getattr(value, "confirmed", False)}

    assert confirmed == CONFIRMED.get(path.name, set())
    for name in confirmed:
        assert "https://" in named[name].source
    inside = [*policy.reminders, *(getattr(policy.deadlines, name) for name in Deadlines.__slots__)]
    inside += [getattr(policy.who_decides, name) for name in WhoDecides.__slots__]
    assert not any(value.confirmed for value in inside)


def test_scotland_tells_nobody_cools_off_for_thirty_days_and_extends_nothing() -> None:
    scotland = ADOPTED["scotland.json"]

    assert not scotland.contact.answer
    assert str(scotland.cooling_off.period) == "P30D"
    assert scotland.extension_times == 0


def test_the_second_version_of_belgium_never_keeps_anybody_shorter_than_the_first() -> None:
    for age_class in AgeClass:
        assert never_shorter(BELGIUM_2.kept(age_class), BELGIUM.kept(age_class))
    assert (BELGIUM_2.id, BELGIUM_2.version) == (BELGIUM.id, 2)
    assert [str(each.period) for each in BELGIUM_2.notices] == ["P60D", "P14D"]
    assert BELGIUM_2.holidays is not None


@given(st.sampled_from(list(ADOPTED.values())), age_classes, instants)
def test_under_every_seed_a_term_can_be_agreed_at_any_time(
    policy: Policy, age_class: AgeClass, at: Any
) -> None:
    term = agreed_term(policy, age_class, at)

    assert term.start < term.notice_on < term.end


# Rules of every policy


def test_unknown_age_kept_shorter_than_minors_is_refused() -> None:
    with pytest.raises(RetentionDataError, match=r"unknown age is kept P6M.*shorter than minor \(P50Y\)"):
        load(changed(lambda policy: policy["kept"]["unknown"].update(period="P6M")))


def test_unknown_age_kept_shorter_than_adults_is_refused() -> None:
    with pytest.raises(RetentionDataError, match=r"shorter than adult \(P51Y\)"):
        load(changed(lambda policy: policy["kept"]["adult"].update(period="P51Y")))


def test_unknown_age_kept_shorter_from_some_days_only_is_refused_too() -> None:
    with pytest.raises(RetentionDataError, match="shorter than minor"):
        replace(BELGIUM, adult=sourced("P6M"), minor=sourced("P1Y"), unknown=sourced("P365D"))


def test_a_notice_period_that_does_not_fit_into_the_term_is_refused() -> None:
    with pytest.raises(RetentionDataError, match=r"the term of adult \(P6M\) can be shorter than the notice"):
        load(changed(lambda policy: policy["notice"].update(period="P7M")))


def test_an_extension_shorter_than_the_notice_period_is_refused() -> None:
    with pytest.raises(RetentionDataError, match=r"an extension \(P1M\) can be shorter than the notice"):
        load(changed(lambda policy: policy["extension"].update(period="P1M")))


def test_an_extension_that_nobody_can_ask_for_need_not_leave_a_notice_period() -> None:
    assert replace(BELGIUM, extension=sourced("P1M"), extension_times=0).extension_times == 0


@pytest.mark.parametrize("longest", ["P49Y", "P6M", "P18000D"])
def test_a_longest_term_shorter_than_an_agreed_one_is_refused(longest: str) -> None:
    with pytest.raises(RetentionDataError, match=r"the longest term .* the agreed term of minor \(P50Y\)"):
        replace(BELGIUM, longest=sourced(longest))


@pytest.mark.parametrize(
    "reminders", [("P60D",), ("P61D",), ("P14D", "P14D"), ("P14D", "P30D"), ("P2M",), ("P2M", "P1M")]
)
def test_notices_that_do_not_come_nearer_to_the_end_are_refused(reminders: tuple[str, ...]) -> None:
    with pytest.raises(RetentionDataError, match="does not come after the one of"):
        replace(BELGIUM, reminders=tuple(map(sourced, reminders)))


def test_more_notices_than_a_dozen_are_refused() -> None:
    with pytest.raises(RetentionDataError, match="at most 12 notices after the first"):
        replace(BELGIUM, reminders=tuple(sourced(f"P{59 - day}D") for day in range(13)))


@pytest.mark.parametrize("times", [-1, 1001])
def test_a_number_of_extensions_that_is_none_is_refused(times: int) -> None:
    with pytest.raises(RetentionDataError, match="extensions go from 0 to 1000"):
        replace(BELGIUM, extension_times=times)


@pytest.mark.parametrize("region", ["FR-IDF", "BE", "be-vlg", "BE-", "BE-VLGX", "GB-SCT"])
def test_a_region_of_another_country_is_refused(region: str) -> None:
    with pytest.raises(RetentionDataError, match="a code of this country such as BE-ABC"):
        replace(BELGIUM, region=region)


@pytest.mark.parametrize("name", ["representative_destroys", "destruction_before_majority", "heirs_destroy"])
def test_no_policy_lets_anybody_but_the_victim_of_age_have_a_kit_destroyed(name: str) -> None:
    with pytest.raises(RetentionDataError, match=rf"who_decides: {name}: .*has to be false"):
        load(changed(lambda p: p["who_decides"][name].update(answer=True), SEED_2))


@pytest.mark.parametrize("name", ["death_holds", "incapacity_holds"])
def test_in_every_policy_a_death_or_an_incapacity_holds_the_kit(name: str) -> None:
    with pytest.raises(RetentionDataError, match=rf"who_decides: {name}: .*has to be true"):
        load(changed(lambda p: p["who_decides"][name].update(answer=False), SEED_2))


@pytest.mark.parametrize("age", ["P11Y", "P26Y", "P18M", "P18Y1D"])
def test_an_age_of_majority_that_cannot_be_one_is_refused(age: str) -> None:
    with pytest.raises(RetentionDataError, match="majority: an age of"):
        load(changed(lambda p: p["who_decides"]["majority"].update(period=age), SEED_2))


lengths = st.builds(
    lambda months, days: Period(months=months, days=days), months=st.integers(0, 24), days=st.integers(1, 400)
)


@settings(deadline=None, max_examples=40)
@given(lengths, lengths, lengths)
def test_no_policy_exists_under_which_unknown_age_is_kept_shorter(
    adult: Period, minor: Period, unknown: Period
) -> None:
    try:
        made = replace(
            BELGIUM,
            notice=sourced("P1D"),
            adult=replace(BELGIUM.adult, period=adult),
            minor=replace(BELGIUM.minor, period=minor),
            unknown=replace(BELGIUM.unknown, period=unknown),
        )
    except RetentionDataError:
        assert not (never_shorter(unknown, adult) and never_shorter(unknown, minor))
    else:
        assert never_shorter(made.kept(AgeClass.UNKNOWN), made.kept(AgeClass.ADULT))
        assert never_shorter(made.kept(AgeClass.UNKNOWN), made.kept(AgeClass.MINOR))


# Reading and writing


sources = st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1, max_size=60).filter(str.strip)


@given(
    version=st.integers(1, 9999),
    centre=st.none() | st.from_regex(r"[a-z0-9][a-z0-9._-]{0,79}", fullmatch=True),
    valid_from=st.dates(),
    adopted_on=st.dates(),
    zone=st.sampled_from(["Europe/Brussels", "America/Argentina/Buenos_Aires", "Etc/UTC"]),
    source=sources,
    confirmed=st.booleans(),
    counted_from=st.sampled_from(CountedFrom),
)
def test_what_is_written_reads_back_the_same(
    version: int,
    centre: str | None,
    valid_from: date,
    adopted_on: date,
    zone: str,
    source: str,
    confirmed: bool,
    counted_from: CountedFrom,
) -> None:
    try:
        notice = SourcedPeriod(period=Period(days=10), source=source, confirmed=confirmed)
    except RetentionDataError as refusal:
        assert "NFC" in str(refusal)  # noqa: PT017 - hypothesis may find a text that is not normalised
        return
    first = replace(
        BELGIUM,
        version=version,
        centre=centre,
        valid_from=valid_from,
        adopted_on=adopted_on,
        time_zone=zone,
        notice=notice,
        extension_counted_from=counted_from,
    )
    second = replace(first, id="elsewhere", country="LU")

    assert load(dump([first, second])) == (first, second)


limits = st.one_of(
    st.builds(Limit, hours=st.integers(1, 24 * 366)),
    st.builds(Limit, period=st.builds(Period, days=st.integers(1, 400))),
)


@given(limits)
def test_a_limit_reads_back_as_it_was_written(limit: Limit) -> None:
    assert Limit.parse(str(limit)) == limit


@pytest.mark.parametrize(
    "written", ["PT0H", "PT24", "PT1H30M", "P1DT1H", "PT8785H", "24H", "PT-1H", "", "PT٤H"]
)
def test_what_is_no_limit_is_refused(written: str) -> None:
    with pytest.raises(RetentionDataError, match=r"limit|period"):
        Limit.parse(written)


def test_a_limit_of_both_or_of_neither_is_refused() -> None:
    with pytest.raises(RetentionDataError, match="either hours or a calendar period"):
        Limit()
    with pytest.raises(RetentionDataError, match="either hours or a calendar period"):
        Limit(hours=1, period=Period(days=1))


@given(
    region=st.sampled_from([None, "BE-VLG", "BE-BRU"]),
    reminders=st.sampled_from([(), ("P14D",), ("P1M", "P14D")]),
    grace=st.none() | st.just("P14D"),
    times=st.none() | st.integers(0, 1000),
    until=st.sampled_from(ExtensionUntil),
    longest=st.none() | st.just("P60Y"),
    holidays=st.none() | calendars,
    limit=limits,
    answer=st.booleans(),
)
def test_what_format_two_says_reads_back_the_same(
    region: str | None,
    reminders: tuple[str, ...],
    grace: str | None,
    times: int | None,
    until: ExtensionUntil,
    longest: str | None,
    holidays: Any,
    limit: Limit,
    answer: bool,
) -> None:
    stored = SourcedLimit(limit=limit, source="invented for a test", confirmed=answer)
    yes_or_no = SourcedAnswer(answer=answer, source="invented for a test", confirmed=answer)
    policy = replace(
        BELGIUM,
        region=region,
        contact=yes_or_no,
        reminders=tuple(map(sourced, reminders)),
        grace=sourced(grace) if grace else None,
        extension_times=times,
        extension_until=until,
        longest=sourced(longest) if longest else None,
        holidays=holidays,
        deadlines=replace(BELGIUM.deadlines, stored_within=stored),
        who_decides=replace(BELGIUM.who_decides, capable_minor_alone=yes_or_no),
    )

    assert load(dump([policy])) == (policy,)
    assert load(dump([BELGIUM, replace(policy, version=2)])) == (BELGIUM, replace(policy, version=2))


def test_a_policy_of_the_first_format_is_written_in_it_again_and_one_that_says_more_is_not() -> None:
    assert json.loads(dump([BELGIUM]))["format"] == 1
    assert json.loads(dump([replace(BELGIUM, extension_times=1)]))["format"] == 2


def test_the_first_format_knows_no_field_of_the_second() -> None:
    with pytest.raises(RetentionDataError, match=r"policies\[0\]: grace not known here"):
        load(changed(lambda p: p.update(grace=None)))


@settings(deadline=None)
@given(place=st.integers(0, len(SEED) - 1), bit=st.integers(0, 7))
def test_a_file_with_one_bit_turned_is_refused_or_says_something_else(place: int, bit: int) -> None:
    turned = bytearray(SEED)
    turned[place] ^= 1 << bit
    try:
        policies = load(bytes(turned))
    except RetentionDataError as refusal:
        assert str(refusal)  # noqa: PT017 - both outcomes are right
    else:
        # only white space between tokens can change without changing what is said
        assert policies != (BELGIUM,) or not (bytes([SEED[place]]) + bytes([turned[place]])).strip()


@pytest.mark.parametrize("key", json.loads(SEED)["policies"][0])
def test_a_missing_field_is_named(key: str) -> None:
    with pytest.raises(RetentionDataError, match=rf"policies\[0\]: {key} missing"):
        load(changed(lambda policy: policy.pop(key)))


@pytest.mark.parametrize("key", json.loads(SEED_2)["policies"][0])
def test_a_missing_field_of_the_second_format_is_named(key: str) -> None:
    with pytest.raises(RetentionDataError, match=rf"policies\[0\]: {key} missing"):
        load(changed(lambda policy: policy.pop(key), SEED_2))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.update(region=7), r"\.region: a text"),
        (lambda p: p.update(reminders={}), r"\.reminders: a list"),
        (lambda p: p["reminders"][0].update(period="P14"), r"\.reminders\[0\]: 'P14' is not"),
        (lambda p: p["contact"].update(answer="yes"), r"\.contact\.answer: true or false"),
        (lambda p: p["contact"].pop("source"), r"\.contact: source missing"),
        (lambda p: p["grace"].update(period="PT24H"), r"\.grace: 'PT24H' is not a calendar period"),
        (lambda p: p["extension"].pop("times"), r"\.extension: times missing"),
        (lambda p: p["extension"].update(times="2"), r"\.extension\.times: a whole number"),
        (
            lambda p: p["extension"].update(until="noon"),
            r"\.extension\.until: 'noon' is neither end nor disposal",
        ),
        (lambda p: p["deadlines"].pop("picked_up"), r"\.deadlines: picked_up missing"),
        (lambda p: p["deadlines"].update(x=1), r"\.deadlines: x not known here"),
        (lambda p: p["deadlines"]["picked_up"].update(within="PT1M"), r"\.deadlines\.picked_up: 'PT1M'"),
        (lambda p: p["deadlines"]["picked_up"].pop("within"), r"\.deadlines\.picked_up: within missing"),
        (lambda p: p["who_decides"].pop("heirs_destroy"), r"\.who_decides: heirs_destroy missing"),
        (lambda p: p["who_decides"].update(x=1), r"\.who_decides: x not known here"),
        (lambda p: p["holidays"].update(weekend=["x"]), r"\.holidays\.weekend: 'x' is not a weekday"),
    ],
)
def test_a_wrong_field_of_the_second_format_is_refused_and_the_refusal_says_where(
    change: Change, says: str
) -> None:
    with pytest.raises(RetentionDataError, match=rf"policies\[0\]{says}"):
        load(changed(change, SEED_2))


@pytest.mark.parametrize("age_class", AgeClass)
def test_a_missing_age_class_is_named(age_class: AgeClass) -> None:
    with pytest.raises(RetentionDataError, match=rf"policies\[0\]\.kept: {age_class} missing"):
        load(changed(lambda policy: policy["kept"].pop(age_class)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.update(remark="x"), r"policies\[0\]: remark not known here"),
        (lambda p: p["notice"].update(remark="x"), r"policies\[0\]\.notice: remark not known here"),
        (lambda p: p["kept"].update(elderly=p["notice"]), r"policies\[0\]\.kept: elderly not known here"),
        (lambda p: p.update(id="Belgium"), r"policies\[0\]: id 'Belgium'"),
        (lambda p: p.update(id=7), r"policies\[0\]\.id: a text"),
        (lambda p: p.update(version=0), "version 0"),
        (lambda p: p.update(version=10_000), "version 10000"),
        (lambda p: p.update(version=True), r"\.version: a whole number"),
        (lambda p: p.update(version="1"), r"\.version: a whole number"),
        (lambda p: p.update(version=1.0), "1.0: only whole numbers"),
        (lambda p: p.update(country="Belgium"), "country 'Belgium'"),
        (lambda p: p.update(centre=""), "centre ''"),
        (lambda p: p.update(centre=3), r"\.centre: a text"),
        (lambda p: p.update(valid_from="2026-02-29"), r"\.valid_from: '2026-02-29' is not a date"),
        (lambda p: p.update(adopted_on="20260101"), r"\.adopted_on: '20260101' is not a date"),
        (lambda p: p.update(adopted_on=None), r"\.adopted_on: a text"),
        (lambda p: p.update(time_zone="Europe/Atlantis"), "time zone 'Europe/Atlantis'"),
        (lambda p: p.update(time_zone="Europe"), "time zone 'Europe'"),
        (lambda p: p.update(time_zone="../../etc/passwd"), "time zone"),
        (lambda p: p.update(time_zone="localtime"), "time zone 'localtime'"),
        (lambda p: p.update(notice="P60D"), r"\.notice: an object with confirmed, period, source"),
        (lambda p: p["notice"].update(period="60 days"), r"policies\[0\]\.notice: '60 days' is not"),
        (lambda p: p["notice"].update(period=60), r"\.notice\.period: a text"),
        (lambda p: p["notice"].update(source=" "), r"\.notice: every period needs a source"),
        (lambda p: p["notice"].update(source="x" * 2001), r"\.notice: every period needs a source"),
        (lambda p: p["notice"].update(source="e\u0301"), "NFC"),
        (lambda p: p["notice"].update(confirmed=0), r"\.notice\.confirmed: true or false"),
        (lambda p: p["notice"].update(confirmed="false"), r"\.notice\.confirmed: true or false"),
        (lambda p: p["extension"].update(counted_from="start"), r"\.counted_from: 'start' is neither"),
        (lambda p: p["extension"].pop("period"), r"\.extension: period missing"),
    ],
)
def test_a_wrong_field_is_refused_and_the_refusal_says_where(change: Change, says: str) -> None:
    with pytest.raises(RetentionDataError, match=says):
        load(changed(change))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not UTF-8 JSON"),
        (b"\xef\xbb\xbf" + SEED, "not UTF-8 JSON"),
        (SEED.decode().encode("utf-16"), "not UTF-8 JSON"),
        (SEED + b"{}", "not UTF-8 JSON"),
        (b"[" * 100_000, "not UTF-8 JSON"),
        (b'{"format": ' + b"9" * 5000 + b"}", "not UTF-8 JSON"),
        (b"[]", "the file: an object"),
        (b"{}", "the file: format, policies missing"),
        (b'{"format": NaN, "policies": []}', "NaN: only whole numbers"),
        (b'{"format": 1, "policies": []}', "at least one policy"),
        (b'{"format": 1, "policies": {}}', "at least one policy"),
        (b'{"format": 1, "policies": ["belgium"]}', r"policies\[0\]: an object"),
        (b'{"format": 3, "policies": []}', "format 3 is not known here"),
        (b'{"format": 1, "format": 1, "policies": []}', "format stands there more than once"),
        (b" " * (LARGEST_FILE + 1), "is refused: at most"),
    ],
)
def test_what_is_no_policy_file_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(RetentionDataError, match=says):
        load(content)


def test_the_same_version_twice_in_a_file_is_refused() -> None:
    with pytest.raises(RetentionDataError, match="belgium/1 stands there more than once"):
        load(dump([BELGIUM, replace(BELGIUM, valid_from=date(2030, 1, 1))]))


# In force


def test_the_latest_policy_that_has_begun_is_in_force() -> None:
    old, new = policy("old", "2020-01-01"), policy("new", "2026-07-01")

    assert in_force([old, new], "antwerp", date(2026, 6, 30)) is old
    assert in_force([old, new], "antwerp", date(2026, 7, 1)) is new


def test_a_centres_own_policy_comes_before_a_newer_general_one() -> None:
    own = policy("own", "2020-01-01", centre="antwerp")
    general = policy("general", "2026-01-01")

    assert in_force([general, own], "antwerp", date(2026, 7, 1)) is own
    assert in_force([general, own], "ghent", date(2026, 7, 1)) is general


def test_a_centres_own_policy_that_has_not_begun_leaves_the_general_one_in_force() -> None:
    own = policy("own", "2027-01-01", centre="antwerp")
    general = policy("general", "2026-01-01")

    assert in_force([general, own], "antwerp", date(2026, 7, 1)) is general


def test_with_no_policy_begun_the_answer_is_a_refusal() -> None:
    with pytest.raises(
        RetentionDataError, match="no retention policy is valid for the centre antwerp on 2018"
    ):
        in_force([BELGIUM], "antwerp", date(2018, 12, 31))
    with pytest.raises(RetentionDataError, match="no retention policy"):
        in_force([policy("own", "2020-01-01", centre="ghent")], "antwerp", date(2026, 1, 1))


def test_general_policies_of_two_countries_are_never_mixed() -> None:
    elsewhere = policy("luxembourg", "2026-01-01", country="LU")

    with pytest.raises(RetentionDataError, match=r"several countries \(BE, LU\)"):
        in_force([BELGIUM, elsewhere], "antwerp", date(2026, 7, 1))


def test_a_region_is_never_mixed_with_its_country_or_with_another_region() -> None:
    federal, hawaii = ADOPTED["us-federal.json"], ADOPTED["hawaii.json"]

    with pytest.raises(RetentionDataError, match=r"several regions \(US, US-HI\).*for the centre itself"):
        in_force([federal, hawaii], "honolulu", date(2026, 7, 1))
    own = replace(hawaii, id="honolulu", centre="honolulu")
    assert in_force([federal, own], "honolulu", date(2026, 7, 1)) is own
    assert in_force([federal, own], "denver", date(2026, 7, 1)) is federal


@given(st.permutations(range(5)))
def test_the_answer_does_not_depend_on_the_order_of_the_policies(order: list[int]) -> None:
    known = [
        policy("a", "2020-01-01", adopted_on=date(2019, 12, 1)),
        policy("a", "2020-01-01", adopted_on=date(2019, 12, 1), version=2),
        policy("b", "2020-01-01", adopted_on=date(2019, 12, 1), version=2),
        policy("c", "2020-01-01", adopted_on=date(2019, 11, 1), version=9),
        policy("d", "2019-12-31", adopted_on=date(2026, 1, 1), version=9),
    ]

    chosen = in_force([known[place] for place in order], "antwerp", date(2026, 1, 1))

    assert chosen.reference == "b/2"


def test_a_kit_finds_the_version_under_which_its_term_was_agreed() -> None:
    later = replace(BELGIUM, version=2)

    assert version_of([BELGIUM, later], "belgium", 1) is BELGIUM
    assert version_of([BELGIUM, later], "belgium", 2) is later
    with pytest.raises(RetentionDataError, match="belgium/3 is not known here"):
        version_of([BELGIUM, later], "belgium", 3)
