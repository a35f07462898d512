"""Many kits in one transaction of the clock: written as one by one, and refused as one by one.

Every example is written twice and taken back twice: by ``custody.append``, a kit at a time, and by
``custody.append_for_clock``. What stands in the tables afterwards is compared row by row.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from custody.batch import Sight, Step, Wanted, difference, weigh
from custody.decision import Decided
from custody.event import FIELDS
from custody.kit import Destruction, Kit, to_document
from custody.people import CLOCK
from custody.rebuild import kit_columns, package_columns
from retention.keeping import cool_off
from retention.notice import NotNow, expire, fall_due, repeat
from retention.policy import dump
from tests.bench.check import BENCH, KINDS, at_rest, made, to_do
from tests.conftest import Database, Engines
from tests.custody.story import begin
from tests.retention.kept import DAY, adopt, without

pytestmark = pytest.mark.anyio

DECIDE: Final = {"due": fall_due, "unwanted": fall_due, "again": repeat, "over": expire, "cooled": cool_off}
TYPES: Final = ("notice.due", "notice.repeated", "notice.attempted", "term.expired", "destruction.cooled_off")
WRITTEN: Final = (
    "SELECT * FROM custody.event WHERE kit = ANY (%(kits)s) AND number > 1 ORDER BY subject, number",
    "SELECT * FROM custody.head WHERE split_part(subject, ':', 2) = ANY (%(kits)s) ORDER BY subject",
    "SELECT * FROM custody.kit WHERE number = ANY (%(kits)s) ORDER BY number",
    "SELECT * FROM custody.package WHERE kit = ANY (%(kits)s) ORDER BY kit, package",
    "SELECT * FROM retention.outbox WHERE kit = ANY (%(kits)s) ORDER BY event",
    "SELECT log, digest FROM audit.pending ORDER BY digest",
)


@dataclass(frozen=True)
class Ready:
    """A kit that stands in the database, and what the clock decides about it."""

    kit: Kit
    step: Step

    @property
    def document(self) -> dict[str, Any]:
        """The whole document afterwards."""
        gone = self.step.change["gone"]
        kept: dict[str, Any] = {k: v for k, v in to_document(self.kit).items() if k not in gone}
        return {**kept, **self.step.change["set"]}


def stand(connection: psycopg.Connection, kit: Kit) -> None:
    """Put a kit into the tables as if its trails had been written: rows, heads, and the event of its term."""
    connection.execute("SET session_replication_role = replica")
    columns = {"number": kit.number, "unanswered_requests": 0, **kit_columns(kit, KINDS)}
    told = json.dumps({**columns, "document": to_document(kit)}, default=lambda each: each.isoformat())
    connection.execute(
        "INSERT INTO custody.kit SELECT (jsonb_populate_record(NULL::custody.kit, %s)).*", [told]
    )
    for number, row in package_columns(kit).items():
        told = json.dumps(
            {"kit": kit.number, "package": number, **row}, default=lambda each: each.isoformat()
        )
        connection.execute(
            "INSERT INTO custody.package SELECT (jsonb_populate_record(NULL::custody.package, %s)).*", [told]
        )
    for trail, head in (("custody", kit.custody_head), ("choices", kit.choices_head)):
        connection.execute(
            "INSERT INTO custody.head VALUES (%s, %s, %s, %s)",
            [f"{trail}:{kit.number}", head.number, bytes.fromhex(str(head.digest)), head.recorded_at],
        )
    agreed = {"type": "term.agreed", "subject": f"choices:{kit.number}", "policy": to_document(kit)["policy"]}
    connection.execute(
        "INSERT INTO custody.event (digest, subject, number, trail, kit, type, recorded_at, bytes, person,"
        " idempotency_key, ordinal, command)"
        " SELECT sha256(b), %s, 1, 'choices', %s, 'term.agreed', %s, b, 'nora', %s, 0, sha256(b)"
        " FROM convert_to(%s, 'UTF8') b",
        [agreed["subject"], kit.number, kit.registered_at, kit.number, json.dumps(agreed)],
    )
    connection.execute("RESET session_replication_role")


def by_policy(decide: Callable[..., Decided], kit: Kit, at: datetime) -> Decided:
    return decide(kit, (BENCH,), at)


def decided(kind: str, kit: Kit, at: datetime) -> Step:
    """What the clock's own decision about this kit comes to."""
    wanted = Wanted(
        kit=kit.number,
        key=f"check:2026-01-01T00:00:00.000000Z:{kit.number}:{kind}",
        decide=partial(by_policy, DECIDE[kind]),
    )
    weighed = weigh(Sight(at=at, documents={kit.number: to_document(kit)}), [wanted])
    assert not weighed.faults, weighed.faults
    (step,) = weighed.steps
    return step


@pytest.fixture
async def ready(engines: Engines, database: Database) -> dict[str, Ready]:
    """A kit of each kind for which something is due, and what is decided about it."""
    story = await begin(engines.service, engines.clerk)
    await adopt(story, dump([BENCH]), version=BENCH.version)
    at = (await story.clerk.look(CLOCK)).at
    due, unwanted, again, over = (each.kit for each in to_do(at))
    asked = Destruction(asked_at=at - 40 * DAY, until=at - DAY)
    cooled = without(made(at - 60 * DAY), destruction=asked)
    kits = {"due": due, "unwanted": unwanted, "again": again, "over": over, "cooled": cooled}
    with database.connect("superuser") as connection:
        for kit in kits.values():
            stand(connection, kit)
    return {kind: Ready(kit, decided(kind, kit, at)) for kind, kit in kits.items()}


# --- both ways ---------------------------------------------------------------------------------------------


@dataclass
class Given:
    """What is handed to both: for each kit its key, its events' bytes, where its trails were seen, and its
    document afterwards."""

    keys: dict[str, str]
    events: dict[str, list[bytes]]
    seen: dict[str, dict[str, int]]
    documents: dict[str, dict[str, Any]]
    before: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, *steps: Ready) -> "Given":
        return cls(
            keys={x.kit.number: x.step.key for x in steps},
            events={x.kit.number: [event.bytes for event in x.step.events] for x in steps},
            seen={x.kit.number: {t: x.step.change[t] for t in ("custody", "choices")} for x in steps},
            documents={x.kit.number: x.document for x in steps},
            before={x.kit.number: to_document(x.kit) for x in steps},
        )

    def change(self, kit: str) -> dict[str, Any]:
        before, after = self.before[kit], self.documents[kit]
        return {
            **self.seen[kit],
            "set": {k: v for k, v in after.items() if before.get(k) != v},
            "gone": [k for k in before if k not in after],
        }


Outcome = tuple[str | None, list[list[tuple[Any, ...]]]]
"""The SQLSTATE of a refusal, or None and the rows that stand afterwards."""


@contextmanager
def taken_back(connection: psycopg.Connection) -> Iterator[None]:
    with connection.transaction(force_rollback=True):
        yield


def stands(connection: psycopg.Connection, kits: list[str]) -> list[list[tuple[Any, ...]]]:
    """Every row about these kits. The clerk reads no heads; the owner of the tables does."""
    return [connection.execute(query, {"kits": kits}).fetchall() for query in WRITTEN]


def as_clerk(connection: psycopg.Connection) -> None:
    connection.execute("SET SESSION AUTHORIZATION custody_clerk")


def as_owner(connection: psycopg.Connection) -> None:
    connection.execute("RESET SESSION AUTHORIZATION")


def one_by_one(connection: psycopg.Connection, told: Given) -> Outcome:
    """Through custody.append, each kit on its own."""
    try:
        with taken_back(connection):
            as_clerk(connection)
            for kit, events in told.events.items():
                connection.execute(
                    "SELECT * FROM custody.append(%s, %s, %s, %s, %s, %s, %s)",
                    [
                        *(Jsonb(CLOCK.context()), told.keys[kit]),
                        hashlib.sha256(told.keys[kit].encode()).digest(),
                        Jsonb({f"{trail}:{kit}": number for trail, number in told.seen[kit].items()}),
                        *(events, Jsonb({kit: told.documents[kit]}), Jsonb({})),
                    ],
                )
            as_owner(connection)
            return None, stands(connection, list(told.events))
    except psycopg.Error as error:
        return error.sqlstate or "lost", []


def at_once(connection: psycopg.Connection, told: Given) -> Outcome:
    """Through custody.append_for_clock, all together. A kit that is left out has moved on."""
    try:
        with taken_back(connection):
            as_clerk(connection)
            rows = connection.execute(
                "SELECT * FROM custody.append_for_clock(%s, %s, %s)",
                [
                    [told.keys[kit] for kit, events in told.events.items() for _ in events],
                    [event for events in told.events.values() for event in events],
                    Jsonb({kit: told.change(kit) for kit in told.events}),
                ],
            ).fetchall()
            as_owner(connection)
            if {row[0] for row in rows} != set(told.events):
                return "CU001", []
            return None, stands(connection, list(told.events))
    except psycopg.Error as error:
        return error.sqlstate or "lost", []


async def test_what_is_written_at_once_is_what_is_written_one_by_one(
    ready: Mapping[str, Ready], database: Database
) -> None:
    told = Given.of(*ready.values())
    with database.connect("superuser") as connection:
        before = stands(connection, list(told.events))
        first, second = one_by_one(connection, told), at_once(connection, told)
        assert stands(connection, list(told.events)) == before  # both were taken back

    assert first[0] is None
    assert first == second
    types = [str(row[5]) for row in first[1][0]]
    assert sorted(types) == sorted(("notice.due", *TYPES))
    assert len(first[1][4]) == 2  # two messages wait to be sent


# --- refusals ----------------------------------------------------------------------------------------------

OTHERS: Final[dict[str, Any]] = {
    "format": 2,
    "type": "seal.checked",
    "number": 1,
    "previous": "ab" * 32,
    "recorded_at": "2020-01-01T00:00:00.000000Z",
    "occurred_at": "2020-01-01T00:00:00.000000Z",
    "who": {
        "function": "nurse",
        "person": "nora",
        "name": "Nora Nachtwacht",
        "organisation": "zsg-sterrenberg",
    },
    "with": [{"part": "second", "name": "Nils Nevel"}],
    "until": "2020-01-01T00:00:00.000000Z",
    "remind_on": "2020-01-01",
    "channel": "sms",
    "how": "reached",
    "reason": "because",
    "cites": ["cd" * 32],
    "term": {"start": "2020-01-01", "end": "2020-01-02", "notice_on": "2020-01-01", "over_at": "2020-01-01"},
    "policy": {"id": "belgium", "version": 1},
    "salt": "0" * 32,
}


def respelled(values: Mapping[str, Any]) -> bytes:
    """In the order and spelling of an event, whatever the values are."""
    ordered = {name: values[name] for name in FIELDS if name in values}
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()


def spoil_event(data: st.DataObject, event: bytes) -> bytes:
    """The event with one thing other than it was: a value, a field too few or too many, or its spelling."""
    values = json.loads(event)
    match data.draw(st.sampled_from(["other", "lacks", "type", "spelling", "letter", "moment"])):
        case "other":
            name = data.draw(st.sampled_from(sorted(OTHERS)))
            return respelled({**values, name: OTHERS[name]})
        case "lacks":
            name = data.draw(st.sampled_from(sorted(values)))
            return respelled({k: v for k, v in values.items() if k != name})
        case "type":
            return respelled({**values, "type": data.draw(st.sampled_from(TYPES))})
        case "spelling":
            ways = [
                event + b" ",
                event.replace(b":", b": ", 1),
                event.replace(b'"salt"', b'"s\\u0061lt"'),
                event.replace(b'"format":1', b'"format":1.0'),
                event.replace(b'"format":1,', b'"format":1,"format":1,'),
                json.dumps(dict(reversed(values.items())), separators=(",", ":")).encode(),
                event[:-1],
                b"\xff" + event,
                event.upper(),
            ]
            return data.draw(st.sampled_from(ways))
        case "moment":
            at = datetime.fromisoformat(values["recorded_at"])
            moved = at + timedelta(seconds=data.draw(st.sampled_from([-400, -299, 299, 86_400])))
            text = moved.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            return respelled({**values, "recorded_at": text})
        case _:
            place = data.draw(st.integers(0, len(event) - 1))
            letter = data.draw(st.integers(0, 255))
            return event[:place] + bytes([letter]) + event[place + 1 :]


def spoil_document(data: st.DataObject, document: dict[str, Any]) -> dict[str, Any]:
    """The document with one field gone or other."""
    name = data.draw(st.sampled_from(sorted(document)))
    without_it = {k: v for k, v in document.items() if k != name}
    if data.draw(st.booleans()):
        return without_it
    others: dict[str, Any] = {
        "retention": "expired",
        "legal": "declared",
        "expires_at": "2020-01-01T00:00:00.000000Z",
        "remind_on": "2020-01-01",
        "choices_head": {"number": 2, "digest": "ab" * 32},
        "custody_head": {"number": 2, "digest": "ab" * 32},
        "term": {**document["term"], "over_at": "2020-01-01T00:00:00.000000Z"},
        "holds": {"ab": {"id": "ab", "ground": "centre"}},
        "centre": "zsg-maanhoek",
    }
    name = data.draw(st.sampled_from(sorted(others)))
    return {**document, name: others[name]}


def spoil(data: st.DataObject, told: Given, bad: str) -> None:
    """Make one thing about this kit wrong: an event, its document, where it was seen, the events' order."""
    match data.draw(st.sampled_from(["event", "event", "event", "document", "seen", "order", "twice"])):
        case "event":
            which = data.draw(st.integers(0, len(told.events[bad]) - 1))
            told.events[bad][which] = spoil_event(data, told.events[bad][which])
        case "document":
            told.documents[bad] = spoil_document(data, told.documents[bad])
        case "seen":
            trail = data.draw(st.sampled_from(["custody", "choices"]))
            told.seen[bad][trail] += data.draw(st.sampled_from([-1, 1]))
        case "order":
            told.events[bad].reverse()
        case _:
            told.events[bad] = told.events[bad] * 2


async def test_what_one_by_one_is_refused_is_refused_at_once(
    ready: Mapping[str, Ready], database: Database
) -> None:
    refused: set[str] = set()

    @settings(max_examples=400)
    @given(data=st.data())
    def hold_against_each_other(data: st.DataObject) -> None:
        kinds = data.draw(st.lists(st.sampled_from(sorted(ready)), min_size=1, max_size=3, unique=True))
        told = Given.of(*(ready[kind] for kind in kinds))
        spoil(data, told, ready[kinds[0]].kit.number)
        alone, together = one_by_one(connection, told), at_once(connection, told)
        if together[0] is None:
            assert alone == together
        elif alone[0] is None:  # stricter about what the check never writes, and about nothing else
            assert together[0] == "CU003"
        refused.add(str(alone[0]))

    with database.connect("superuser") as connection:
        hold_against_each_other()
    assert {"CU001", "CU002", "CU003", "CU004"} <= refused


@pytest.mark.parametrize("role", ["service", "auditor", "migrator"])
async def test_nobody_else_writes_for_the_clock(
    ready: Mapping[str, Ready], database: Database, role: str
) -> None:
    told = Given.of(ready["due"])
    with database.connect(role) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute(
            "SELECT * FROM custody.append_for_clock(%s, %s, %s)",
            [
                list(told.keys.values()),
                [event for events in told.events.values() for event in events],
                Jsonb({kit: told.change(kit) for kit in told.events}),
            ],
        )
    assert refused.value.sqlstate in ("42501", "CU003")


async def test_a_kit_that_moved_on_is_left_out_and_the_others_are_written(
    ready: Mapping[str, Ready], database: Database
) -> None:
    told = Given.of(*ready.values())
    late = ready["due"].kit.number
    told.seen[late]["custody"] -= 1  # its other trail was extended since
    with database.connect("superuser") as connection, taken_back(connection):
        as_clerk(connection)
        rows = connection.execute(
            "SELECT * FROM custody.append_for_clock(%s, %s, %s)",
            [
                [told.keys[kit] for kit, events in told.events.items() for _ in events],
                [event for events in told.events.values() for event in events],
                Jsonb({kit: told.change(kit) for kit in told.events}),
            ],
        ).fetchall()
        as_owner(connection)
        left = stands(connection, [late])

    assert {row[0] for row in rows} == set(told.events) - {late}
    assert left[0] == []
    assert left[4] == []


def test_nothing_is_decided_where_nothing_is_due() -> None:
    at = datetime.now(UTC)
    for each in at_rest(at):
        sight = Sight(at=at, documents={each.kit.number: to_document(each.kit)})
        for decide in (fall_due, repeat, expire, cool_off):
            wanted = Wanted(kit=each.kit.number, key="not-now", decide=partial(by_policy, decide))
            weighed = weigh(sight, [wanted])
            assert weighed.steps == ()
            assert isinstance(weighed.faults[each.kit.number], NotNow)


def test_what_changes_in_a_document_makes_the_document_that_is_folded() -> None:
    at = datetime.now(UTC)
    for before in (*at_rest(at), *to_do(at)):
        for after in (*at_rest(at), *to_do(at)):
            change = difference(before.kit, after.kit)
            stored = to_document(before.kit)
            made = {k: v for k, v in stored.items() if k not in change["gone"]} | change["set"]
            assert made == to_document(after.kit)
