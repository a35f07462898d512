"""What stands beside the events, given straight to `custody.append`: keys, cards and private parts go with
the events that state them, or not at all."""

import json
from typing import Any

import pytest

from tests.custody.byhand import ByHand, refused
from tests.custody.story import NURSE
from tests.postgres.evidence import Evidence
from tests.postgres.forging import BYTES, PROTOCOL, checked, chosen, follow


@pytest.mark.parametrize(
    "secret",
    [
        {"cards": [{"kit": "other"}]},
        {"cards": [{"kit": "other", "code_hash": "ab" * 32, "secret_hash": "x"}]},
        {"data_keys": [{"kit": "other", "wrapped": "AAAA"}]},
        {"destroyed_keys": [{"kit": "other"}]},
        {"cards": [{}]},
        {"private_parts": [{"ordinal": 0, "sealed": "AAAA"}]},
        {"private_parts": [{"ordinal": 7, "sealed": "AAAA"}]},
    ],
    ids=str,
)
def test_a_secret_belongs_to_an_event_of_the_same_append(
    byhand: ByHand, evidence: Evidence, secret: dict[str, Any]
) -> None:
    told = json.loads(json.dumps(secret).replace("other", evidence.at_the_lab))
    event, documents = follow(byhand, evidence.unreported, checked(evidence.unreported))
    with refused(BYTES):
        byhand.append(NURSE, [event], documents=documents, **told)


CARD = {"code_hash": "ab" * 32, "secret_hash": "x"}


def rows_of(byhand: ByHand, kit: str) -> list[Any]:
    """Cards and data key of a kit, as they stand."""
    query = (
        "SELECT code_hash, stopped_at FROM custody.card WHERE kit = %(kit)s"
        " UNION ALL SELECT wrapped, made_at FROM custody.data_key WHERE kit = %(kit)s ORDER BY 1"
    )
    return byhand.of("superuser").execute(query, {"kit": kit}).fetchall()


@pytest.mark.parametrize(
    "secret",
    [
        {"cards": [{"kit": "own"}]},
        {"cards": [{"kit": "own", **CARD}]},
        {"data_keys": [{"kit": "own", "wrapped": "AAAA"}]},
    ],
    ids=["stop", "replace", "key"],
)
def test_no_card_or_key_of_a_kit_rides_along_with_an_event_about_something_else(
    byhand: ByHand, evidence: Evidence, secret: dict[str, Any]
) -> None:
    told = json.loads(json.dumps(secret).replace("own", evidence.unreported))
    before = rows_of(byhand, evidence.unreported)
    event, documents = follow(byhand, evidence.unreported, checked(evidence.unreported))
    with refused(BYTES):
        byhand.append(NURSE, [event], documents=documents, **told)
    assert rows_of(byhand, evidence.unreported) == before


def cards(kit: str, *given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"kit": kit, **each} for each in given]


def test_a_card_is_the_one_that_its_event_states(byhand: ByHand, evidence: Evidence) -> None:
    kit = evidence.unreported
    for fact, secrets in (
        (chosen(kit, "card.issued", NURSE, card="declined"), cards(kit, CARD)),
        (chosen(kit, "card.issued", NURSE, card="issued"), cards(kit, {})),
        (chosen(kit, "card.issued", NURSE, card="issued"), cards(kit, {}, CARD)),
        (chosen(kit, "card.stopped", NURSE, reason="lost"), cards(kit, CARD)),
    ):
        event, documents = follow(byhand, kit, fact)
        with refused(BYTES):
            byhand.append(NURSE, [event], documents=documents, cards=secrets)


def test_the_key_of_a_kit_not_disposed_of_is_never_destroyed(byhand: ByHand, evidence: Evidence) -> None:
    kit = evidence.unreported
    event, documents = follow(byhand, kit, checked(kit))
    with refused(PROTOCOL):
        byhand.append(NURSE, [event], documents=documents, destroyed_keys=[{"kit": kit}])
