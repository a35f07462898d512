"""Adopting a policy version by two people, and which kits a later version keeps longer."""

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from custody import reading
from custody.decision import Decided
from custody.kit import Destruction
from custody.people import Actor
from custody.protocol import Legal, Retention
from custody.refusal import NeedsSecond, NotPermitted, Refused
from retention.adopting import adopt, follows, longer_under, newest_valid, policy_in, subjects
from retention.commands import AdoptPolicy
from retention.period import RetentionDataError
from retention.policy import Policy, dump, in_force, load
from tests.conftest import Engines
from tests.custody.story import CENTRE, COORDINATOR, CUSTODIAN, NURSE, OFFICER, OTHER_NURSE, Story, begin
from tests.retention.kept import BELGIUM, NOON, SEED, kept, kit_of, without
from tests.retention.kept import adopt as adopt_belgium
from tests.retention.reckoning import sourced

FIRST = replace(BELGIUM[0], adopted_on=date(2025, 1, 1))
SECOND = replace(FIRST, version=2, adopted_on=date(2026, 1, 10), valid_from=date(2026, 1, 10))
LONGER = replace(SECOND, adult=sourced("P1Y"))
AT = datetime(2026, 2, 1, 12, tzinfo=UTC)


def order(*policies: Policy) -> AdoptPolicy:
    return AdoptPolicy(document=dump(policies).decode())


def adopted(
    policy: Policy, *before: Policy, by: Actor = COORDINATOR, second: Actor | None = NURSE
) -> Decided:
    return adopt(order(policy), by, second, before, AT)


# Adopting


def test_two_people_adopt_a_policy_and_its_document_stands_beside_the_event() -> None:
    document = dump([SECOND])

    decided = adopted(SECOND, FIRST)

    (fact,) = decided.facts
    assert (fact.type, fact.subject) == ("policy.adopted", "policy:belgium")
    assert fact.fields["policy"] == {"id": "belgium", "version": 2}
    assert fact.fields["digest"] == hashlib.sha256(document).hexdigest()
    assert [each["person"] for each in fact.fields["with"]] == ["nora"]
    assert base64.b64decode(decided.extra["policy"]) == document


def test_the_document_is_adopted_byte_for_byte_line_ends_included() -> None:
    document = SEED.read_bytes().replace(b"\n", b"\r\n")

    decided = adopt(AdoptPolicy(document=document.decode()), COORDINATOR, NURSE, (), datetime.now(UTC))

    assert base64.b64decode(decided.extra["policy"]) == document


def test_the_trail_to_look_at_is_that_of_the_policy_in_the_file() -> None:
    assert subjects(order(SECOND)) == ("policy:belgium",)


def test_one_person_alone_adopts_nothing() -> None:
    with pytest.raises(NeedsSecond):
        adopted(SECOND, FIRST, second=None)
    with pytest.raises(Refused, match="must be another person's"):
        adopted(SECOND, FIRST, second=COORDINATOR)
    with pytest.raises(Refused, match="another person of the staff"):
        adopted(SECOND, FIRST, second=OFFICER)


@pytest.mark.parametrize("actor", [NURSE, CUSTODIAN, OFFICER])
def test_only_a_coordinator_brings_a_policy(actor: Actor) -> None:
    with pytest.raises(NotPermitted):
        adopted(SECOND, FIRST, by=actor, second=COORDINATOR)


def test_somebody_of_another_centre_can_be_the_second_for_a_policy_of_the_country() -> None:
    assert adopted(SECOND, FIRST, second=OTHER_NURSE).facts


def test_a_policy_of_one_centre_is_adopted_by_its_own_coordinator() -> None:
    own = replace(FIRST, id="own", centre="zsg-maanhoek")

    with pytest.raises(Refused, match="for the centre zsg-maanhoek"):
        adopted(own)
    assert adopted(replace(own, centre=COORDINATOR.organisation)).facts


@pytest.mark.parametrize(
    ("policy", "before", "says"),
    [
        (FIRST, (FIRST,), r"belgium/1 was adopted already.*never changed in place"),
        (LONGER, (FIRST, SECOND), r"belgium/2 was adopted already"),
        (FIRST, (SECOND,), r"belgium/1 is older than belgium/2"),
        (replace(SECOND, time_zone="Europe/Paris"), (FIRST,), "another time zone than belgium/1"),
        (replace(SECOND, country="LU"), (FIRST,), "another country than belgium/1"),
        (replace(SECOND, region="BE-BRU"), (FIRST,), "another region than belgium/1"),
        (replace(SECOND, centre=COORDINATOR.organisation), (FIRST,), "another centre than belgium/1"),
        (replace(SECOND, valid_from=date(2018, 1, 1)), (FIRST,), "valid from 2018-01-01, before belgium/1"),
        (replace(FIRST, id="lux", country="LU"), (FIRST,), "is for LU, and belgium/1 for BE"),
        (replace(FIRST, id="brussels", region="BE-BRU"), (FIRST,), "is for BE-BRU, and belgium/1 for BE"),
        (replace(SECOND, adopted_on=date(2026, 2, 2)), (FIRST,), "adopted on 2026-02-02, which has not come"),
    ],
)
def test_what_cannot_follow_is_refused_in_plain_words(
    policy: Policy, before: tuple[Policy, ...], says: str
) -> None:
    with pytest.raises(Refused, match=says):
        adopted(policy, *before)


def test_a_policy_of_a_region_is_adopted_for_a_centre_alone() -> None:
    follows(replace(FIRST, id="brussels", region="BE-BRU", centre="zsg-maanhoek"), (FIRST,), AT.date())


def test_an_own_policy_names_the_country_of_the_general_one() -> None:
    """Else the next own policy, with the right country, would lock the centre out of registering."""
    own = replace(FIRST, id="own", country="LU", centre=COORDINATOR.organisation)
    with pytest.raises(Refused, match=r"own/1 is for LU, and belgium/1, .*for BE.*look at the country"):
        adopted(own, FIRST)
    assert adopted(own).facts


def test_a_centre_has_no_own_policies_of_two_countries() -> None:
    french = replace(FIRST, id="fr", country="FR", centre=COORDINATOR.organisation)
    belgian = replace(FIRST, id="be", centre=COORDINATOR.organisation)
    with pytest.raises(Refused, match=r"be/1 is for BE, and fr/1.*a later version of it corrects them"):
        adopted(belgian, french)
    follows(replace(belgian, centre="zsg-maanhoek"), (french,), AT.date())


def test_a_centre_that_was_locked_out_gets_out_by_correcting_the_country_of_its_policy() -> None:
    french = replace(FIRST, id="fr", country="FR", centre=COORDINATOR.organisation)
    belgian = replace(FIRST, id="be", centre=COORDINATOR.organisation)
    locked = (FIRST, french, belgian)  # as it could be adopted once
    with pytest.raises(RetentionDataError, match="a later version that corrects the country"):
        in_force(locked, CENTRE, AT.date())

    corrected = replace(french, version=2, country="BE")
    assert adopted(corrected, *locked).facts

    assert in_force((*locked, corrected), CENTRE, AT.date()).country == "BE"
    with pytest.raises(Refused, match="fr/2 is for LU, and belgium/1"):
        adopted(replace(corrected, country="LU"), *locked)
    with pytest.raises(Refused, match=r"could protect less than .*the grace.*later first day"):
        adopted(corrected, FIRST, french, replace(belgian, grace=sourced("P14D")))


def test_an_own_policy_of_another_country_that_was_adopted_before_can_be_followed() -> None:
    own = replace(FIRST, id="lux", country="LU", centre=COORDINATOR.organisation)
    assert adopted(replace(own, version=2), FIRST, own).facts


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("", "not UTF-8 JSON"),
        ("{}", "format, policies missing"),
        (dump([FIRST, SECOND]).decode(), "has 2 policies. Adopt them one by one"),
        (dump([FIRST]).decode().replace('"P60D"', '"P7M"', 1), r"notice period \(P7M\)"),
        (dump([FIRST]).decode().replace("Proposal: the", "Proposal\\u202e: the", 1), "cannot be seen"),
        ("\ud800", "cannot be adopted"),
    ],
)
def test_a_document_that_breaks_a_rule_is_refused_in_the_words_of_the_rule(document: str, says: str) -> None:
    with pytest.raises(Refused, match=says) as refused:
        policy_in(AdoptPolicy(document=document))

    assert refused.value.field == "document"


# What gets shorter

OWN = replace(FIRST, id="own", centre=COORDINATOR.organisation)
SHORTER = {
    "adults": replace(OWN, adult=sourced("P5M")),
    "minors": replace(OWN, minor=sourced("P9M")),
    "notice": replace(OWN, notice=sourced("P59D")),
    "cooling-off": replace(OWN, cooling_off=sourced("P29D")),
    "contesting": replace(OWN, contest=sourced("P4Y")),
}


@pytest.mark.parametrize("name", SHORTER)
def test_what_protects_less_is_valid_from_the_day_after_its_adoption_at_the_earliest(name: str) -> None:
    for day in (date(2019, 1, 1), AT.date()):
        with pytest.raises(Refused, match=rf"protect less than belgium/1.*{name}.*later first day") as why:
            adopted(replace(SHORTER[name], valid_from=day), FIRST)
        assert why.value.field is None
    assert adopted(replace(SHORTER[name], valid_from=AT.date() + timedelta(days=1)), FIRST).facts


def test_a_grace_that_is_given_up_protects_less() -> None:
    graced = replace(FIRST, grace=sourced("P14D"))
    with pytest.raises(Refused, match=r"could protect less than belgium/1.*: the grace"):
        adopted(OWN, graced)
    assert adopted(OWN, FIRST).facts


def test_for_every_centre_nothing_gets_shorter_without_a_signature_of_another_centre() -> None:
    tomorrow = AT.date() + timedelta(days=1)
    for policy in (
        replace(SECOND, valid_from=tomorrow, adult=sourced("P1D"), notice=sourced("P1D")),
        replace(FIRST, id="one-day", valid_from=tomorrow, adult=sourced("P1D"), notice=sourced("P1D")),
    ):
        with pytest.raises(Refused, match=r"for adults, the notice\. For that somebody of another centre"):
            adopted(policy, FIRST)
        assert adopted(policy, FIRST, second=OTHER_NURSE).facts


def test_a_policy_that_an_older_own_one_would_put_aside_is_compared_too() -> None:
    """The centre's own policy comes before a later one of the country."""
    country = replace(LONGER, valid_from=date(2026, 1, 20))
    with pytest.raises(Refused, match="protect less than belgium/2"):
        adopted(OWN, FIRST, country)


# Kits that a later version keeps longer


def test_a_kit_goes_to_the_newest_version_that_is_valid_where_that_keeps_it_longer() -> None:
    kit = kit_of()
    later = replace(LONGER, version=3, valid_from=date(2027, 1, 1), adult=sourced("P3Y"))

    longer = longer_under(kit, (FIRST, LONGER, later), AT)

    assert longer is not None
    policy, term = longer
    assert policy is LONGER
    assert (term.start, term.end) == (date(2026, 1, 15), date(2027, 1, 15))


def test_a_kit_stays_under_its_version_where_the_newer_one_is_not_longer() -> None:
    kit = kit_of()

    assert longer_under(kit, (FIRST,), AT) is None
    assert longer_under(kit, (FIRST, SECOND), AT) is None
    assert longer_under(kit, (FIRST, replace(SECOND, adult=sourced("P5M"))), AT) is None
    assert longer_under(kit, (FIRST, replace(LONGER, notice=sourced("P30D"))), AT) is None


def test_a_longer_middle_version_is_not_offered_once_a_shorter_one_followed() -> None:
    shorter_again = replace(SECOND, version=3)

    assert longer_under(kit_of(), (FIRST, LONGER, shorter_again), AT) is None


def test_a_kit_without_a_running_term_or_with_a_wish_for_destruction_goes_nowhere() -> None:
    kit, known = kit_of(), (FIRST, LONGER)
    wished = without(kit, destruction=Destruction(asked_at=AT))

    assert longer_under(kit, known, AT) is not None
    assert longer_under(wished, known, AT) is None
    assert longer_under(without(kit, term_before_wish=kit.term), known, AT) is None
    assert longer_under(without(kit, legal=Legal.DECLARED), known, AT) is None
    assert longer_under(without(kit, retention=Retention.DISPOSED), known, AT) is None
    assert longer_under(without(kit, term=None), known, AT) is None


def test_a_kit_of_whose_end_the_victim_was_told_late_never_expires_earlier_under_a_later_version() -> None:
    told_late = without(kit_of(), expires_at=datetime(2027, 3, 1, tzinfo=UTC))

    assert longer_under(told_late, (FIRST, LONGER), AT) is None
    assert longer_under(told_late, (FIRST, replace(LONGER, adult=sourced("P2Y"))), AT) is not None


def test_a_kit_of_a_victim_who_is_to_be_contacted_goes_to_no_version_that_contacts_nobody() -> None:
    silent = replace(LONGER, contact=replace(LONGER.contact, answer=False))

    assert longer_under(kit_of(), (FIRST, silent), AT) is None


def test_a_kit_of_an_unknown_version_is_told_so() -> None:
    with pytest.raises(Refused, match="belgium/1 of this kit is not known here"):
        longer_under(kit_of(), (LONGER,), AT)


def test_the_newest_version_is_the_one_that_has_begun() -> None:
    later = replace(SECOND, version=3, valid_from=date(2026, 2, 2))

    assert newest_valid((FIRST, SECOND, later), "belgium", AT) is SECOND
    assert newest_valid((FIRST, SECOND, later), "belgium", AT + timedelta(days=1)) is later
    assert newest_valid((FIRST,), "elsewhere", AT) is None
    assert NOON < AT


# On PostgreSQL


@pytest.mark.anyio
async def test_an_adopted_policy_is_known_and_a_second_one_of_the_same_version_is_refused(
    engines: Engines,
) -> None:
    story = await begin(engines.of("service"), engines.of("clerk"))
    await adopt_belgium(story)
    number = await kept(story)
    now = (await story.look(NURSE)).at
    newer = replace(LONGER, adopted_on=now.date(), valid_from=now.date())

    async def by_two(policy: Policy, key: str) -> None:
        asked = order(policy)
        await story.do(
            COORDINATOR,
            [],
            lambda seen: adopt(asked, COORDINATOR, NURSE, (), seen.at),
            key,
            others=subjects(asked),
        )

    await by_two(newer, "the-second-version")
    known = await adopted_so_far(story)

    assert known == (*BELGIUM, newer)
    longer = longer_under(await story.kit(number), known, now + timedelta(days=1))
    assert longer is not None
    assert longer[0] == newer
    # as if the rules of the adoption had seen nothing: the database keeps what was adopted
    with pytest.raises(Refused, match="adopted meanwhile by others"):
        await by_two(replace(newer, adult=sourced("P2Y")), "the-second-version-again")
    assert await adopted_so_far(story) == (*BELGIUM, newer)


async def adopted_so_far(story: Story) -> tuple[Policy, ...]:
    async with story.ledger.engine.connect() as connection:
        known = tuple(p for document in await reading.policies(connection) for p in load(document))
    return tuple(policy for policy in known if policy.id == "belgium")
