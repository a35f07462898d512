"""The scheduled check over many kits of which few are due, and what it costs when nothing is.

The ground is laid by statements, not by a million registrations: templates are folded by the real
decisions and written out under other numbers and other trail heads, with the packages, heads and columns
that belong to them. Of a hundred kits 60 run, 12 have a notice out, 8 are stopped by a report, 20 are
disposed of, as after many years.

nothing   a slot in which nothing is due: the claim, five looks, the row's end
due       a slot with kits that are due: four in ten are to be told by e-mail (an event, a message in the
          outbox), two want no contact (two events), one is to be told again, three expire
alone     the same kits, each in a transaction of its own

Every commit waits for the disk. The same is measured with few kits on the ground and with many.
"""

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, Final

from sqlalchemy.ext.asyncio import create_async_engine

from custody.decision import Decided, Seen
from custody.event import Fact, write_moment
from custody.items import TYPES
from custody.kit import Kit, to_document
from custody.ledger import Ledger, place
from custody.people import CLOCK
from custody.protocol import Legal, Retention
from custody.rebuild import kit_columns, package_columns
from retention.check import BATCH, EVERY, Figures, newest_slot, run_slot
from retention.keeping import register
from retention.period import Period
from retention.policy import Policy, dump
from retention.sourced import SourcedPeriod
from tests.bench.ground import Ground, ground, show
from tests.custody.story import CENTRE, NURSE, begin, kit_order, new_number
from tests.retention.kept import HASHES, POLICY, adopt, then, without

AT_ONCE: Final = 25_000  # kits laid in one transaction
AIM_RATE: Final = 2_000  # kits a second
AIM_NOTHING: Final = 100.0  # milliseconds
KINDS: Final = {CENTRE: "centre"}
BENCH: Final[Policy] = replace(
    POLICY,
    reminders=(SourcedPeriod(period=Period(days=14), source="invented for the benchmark", confirmed=False),),
)

TEMPLATES: Final = """
CREATE SCHEMA bench;
CREATE TABLE bench.template (
    place int, of text, share int, number text, document text, kit custody.kit, packages custody.package[],
    custody text, choices text);
-- Numbers that lie anywhere in the index, as issued ones do: a permutation of 1 to a prime.
CREATE FUNCTION bench.number(n bigint) RETURNS text LANGUAGE sql IMMUTABLE
AS $$ SELECT lpad(((n * 6180339 + 271828) % 100000000003)::text, 12, '0') $$;
"""

# Numbers that lie anywhere in the index, as issued ones do: a permutation of 1 to a prime.

LAY: Final = """
WITH one AS MATERIALIZED (
    SELECT bench.number(n) AS number, t.place, t.number AS template, t.document, t.kit, t.packages,
           t.custody, t.choices,
           sha256(convert_to('custody ' || n, 'UTF8')) AS a, sha256(convert_to('choices ' || n, 'UTF8')) AS b
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
    JOIN bench.template t ON t.of = %(of)s AND (n * 7) %% 100 >= t.share
     AND NOT EXISTS (SELECT FROM bench.template s
                     WHERE s.of = %(of)s AND s.share > t.share AND (n * 7) %% 100 >= s.share)
), kits AS (
    INSERT INTO custody.kit (number, centre, legal, retention, holds, in_transit, destroyed,
        unanswered_requests, notice_on, term_over_at, cooling_until, disposed_at, registered_at, parties,
        document, readers,
        expires_at, remind_on, key_destroyed_at)
    SELECT number, (kit).centre, (kit).legal, (kit).retention, (kit).holds, 0, (kit).destroyed, 0,
        (kit).notice_on, (kit).term_over_at, (kit).cooling_until, (kit).disposed_at, (kit).registered_at,
        (kit).parties,
        replace(replace(replace(document, template, number), custody, encode(a, 'hex')), choices,
                encode(b, 'hex'))::jsonb,
        (kit).readers, (kit).expires_at, (kit).remind_on, (kit).key_destroyed_at
    FROM one
), keys AS (
    INSERT INTO custody.data_key (kit, centre, wrapped, made_at)
    SELECT number, (kit).centre, sha512(a) || sha256(b), (kit).registered_at FROM one
    WHERE (kit).key_destroyed_at IS NULL
), packages AS (
    INSERT INTO custody.package
    SELECT (jsonb_populate_record(p, jsonb_build_object('kit', number))).*
    FROM one, unnest(packages) p
), agreed AS (
    -- Of the events, the one that says under which policy: the checks of the database read it.
    INSERT INTO custody.event (digest, subject, number, trail, kit, type, recorded_at, bytes, person,
        idempotency_key, ordinal, command)
    SELECT sha256(bytes), subject, 1, 'choices', number, 'term.agreed', (kit).registered_at, bytes, 'bench',
        number, 0, a
    FROM one, LATERAL (SELECT 'choices:' || number) s (subject), LATERAL (SELECT convert_to(
        jsonb_build_object('type', 'term.agreed', 'subject', subject, 'policy', document::jsonb -> 'policy',
                           'age_class', document::jsonb -> 'age_class')::text, 'UTF8')) e (bytes)
)
INSERT INTO custody.head (subject, number, digest, recorded_at)
SELECT x.subject, x.number, x.digest, (kit).registered_at FROM one, LATERAL (VALUES
    ('custody:' || number, (document::jsonb #>> '{custody_head,number}')::int, a),
    ('choices:' || number, (document::jsonb #>> '{choices_head,number}')::int, b)
) x (subject, number, digest)
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured over so many kits of which so many were due: milliseconds, kits a second."""

    kits: int
    due: int
    nothing: float
    rate: float
    alone: float


@dataclass(frozen=True, slots=True)
class Template:
    """A kit that others are made from, and from which of a hundred numbers on it is used."""

    kit: Kit
    share: int


# --- the templates --------------------------------------------------------------------------------------


def made(at: datetime, channel: str = "email") -> Kit:
    """A kit of three packages and twelve items, registered then; its channel proved at once."""
    order = kit_order(at)
    address = "nobody@stories.example" if channel == "email" else None
    order = replace(order, agreement=replace(order.agreement, channel=channel, channel_address=address))  # type: ignore[arg-type]
    number = new_number()
    seen = Seen(at=at)
    decided = register(seen, order, NURSE, number=number, policies=(BENCH,), item_types=TYPES, card=HASHES)
    kit = place(decided.facts, seen)[1][number]
    return without(kit, channel_proved_at=at) if channel == "email" else kit


def clocked(kit: Kit, type_: str, at: datetime, **fields: Any) -> Kit:
    """The kit after this step of the clock."""
    fact = Fact(type=type_, subject=f"choices:{kit.number}", who=CLOCK.who(), fields=fields)
    return then(kit, Decided(facts=(fact,)), at)


def told(kit: Kit, at: datetime, until: datetime, remind_on: str | None = None) -> Kit:
    """The kit once its notice fell due and the victim was told."""
    kit = clocked(kit, "notice.due", at, **({"remind_on": remind_on} if remind_on else {}))
    return clocked(kit, "notice.attempted", at, how="not_wanted", until=write_moment(until))


def at_rest(now: datetime) -> list[Template]:
    """What is not due, in the shares of a centre that has been at work for many years."""
    day = timedelta(days=1)
    running = [Template(made(now - each * 5 * day), each * 3) for each in range(20)]
    noticed = made(now - 150 * day)
    noticed = told(noticed, now - 20 * day, now + 40 * day, (now + 10 * day).date().isoformat())
    stopped = without(made(now - 100 * day), legal=Legal.DECLARED, retention=Retention.STOPPED)
    over = now - 400 * day
    gone = made(now - 900 * day)
    assert gone.term is not None
    gone = without(gone, term=replace(gone.term, over_at=over), retention=Retention.DISPOSED)
    gone = without(gone, disposed_at=over, key_destroyed_at=now - 30 * day)
    return [*running, Template(noticed, 60), Template(stopped, 72), Template(gone, 80)]


def to_do(now: datetime) -> list[Template]:
    """What is due now, in the shares that the head of this file says."""
    day = timedelta(days=1)
    early = now - 130 * day
    again = told(made(now - 170 * day), now - 40 * day, now + 20 * day, (now - 1 * day).date().isoformat())
    over = made(now - 250 * day)
    over = told(over, now - 120 * day, max(over.term.over_at if over.term else now, now - 40 * day))
    return [
        Template(made(early), 0),
        Template(made(early, "none"), 40),
        Template(again, 60),
        Template(over, 70),
    ]


# --- the ground -----------------------------------------------------------------------------------------


class Field:
    """The database of the benchmark, and how many kits stand in it."""

    def __init__(self, where: Ground, clerk: Ledger) -> None:
        self._where, self._clerk = where, clerk
        self.kits = 0
        self._slot: datetime | None = None

    def keep(self, of: str, templates: list[Template]) -> None:
        """Keep this set of templates."""
        with self._where.connect() as connection:
            for at, each in enumerate(templates):
                kit = each.kit
                packages = [{"package": n, **row} for n, row in package_columns(kit).items()]
                connection.execute(
                    "INSERT INTO bench.template SELECT %s, %s, %s, %s, %s,"
                    " jsonb_populate_record(NULL::custody.kit, %s),"
                    " ARRAY(SELECT p FROM jsonb_populate_recordset(NULL::custody.package, %s) p), %s, %s",
                    [
                        *(at, of, each.share, kit.number, json.dumps(to_document(kit))),
                        *(_json(kit_columns(kit, KINDS)), _json(packages)),
                        *(kit.custody_head.digest, kit.choices_head.digest),
                    ],
                )

    def lay(self, of: str, count: int) -> None:
        """Lay so many more kits of a set of templates."""
        with self._where.connect() as connection:
            connection.execute("SET synchronous_commit = off")
            connection.execute("SET session_replication_role = replica")
            end = self.kits + count
            while self.kits < end:
                last = min(self.kits + AT_ONCE, end)
                connection.execute(LAY, {"first": self.kits + 1, "last": last, "of": of})
                self.kits = last
            connection.execute(
                "VACUUM ANALYZE custody.kit, custody.head, custody.package, custody.data_key, custody.event"
            )
            connection.execute("CHECKPOINT")

    async def run(self, at_once: int = BATCH) -> tuple[Figures, float]:
        """Carry out the next slot; answers what it did and how many seconds it took."""
        self._slot = newest_slot(datetime.now(UTC)) if self._slot is None else self._slot + EVERY
        began = time.perf_counter()
        figures = await run_slot(self._clerk, self._clerk.engine, self._slot, at_once=at_once)
        spent = time.perf_counter() - began
        assert figures is not None
        assert figures.failed == 0, figures
        return figures, spent

    async def nothing(self, rounds: int) -> float:
        """A slot in which nothing is due, in milliseconds: the median."""
        spent = []
        for _ in range(rounds):
            figures, seconds = await self.run()
            assert figures.moved == 0, figures
            spent.append(seconds)
        return 1000 * median(spent)

    async def due(self, count: int, at_once: int = BATCH) -> float:
        """A slot in which so many kits are due: kits a second."""
        self.lay("due", count)
        figures, seconds = await self.run(at_once)
        assert figures.moved == count, figures
        return count / seconds


def _json(value: Any) -> str:
    return json.dumps(value, default=lambda each: each.isoformat())


async def measure(
    where: Ground, sizes: tuple[int, int], dues: tuple[int, int], rounds: int
) -> list[Measured]:
    """The same on a short ground and on a long one."""
    service, clerk = (create_async_engine(where.url(role)) for role in ("service", "clerk"))
    try:
        story = await begin(service, clerk)
        await adopt(story, dump([BENCH]), version=BENCH.version)
        with where.connect() as connection:
            connection.execute(TEMPLATES)
        now = datetime.now(UTC)
        field = Field(where, story.clerk)
        field.keep("rest", at_rest(now))
        field.keep("due", to_do(now))
        found = []
        for size, due in zip(sizes, dues, strict=True):
            field.lay("rest", size - field.kits - due - due // 5)
            await field.due(due // 10)  # what a process does once: plans, caches
            nothing = await field.nothing(rounds)
            alone = await field.due(due // 10, at_once=1)
            rate = await field.due(due)
            found.append(Measured(kits=field.kits, due=due, nothing=nothing, rate=rate, alone=alone))
        return found
    finally:
        await service.dispose()
        await clerk.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description="The scheduled check over many kits.")
    parser.add_argument("--short", type=int, default=10_000)
    parser.add_argument("--long", type=int, default=1_000_000)
    parser.add_argument("--due", type=int, default=10_000, help="due among the many; a tenth among the few")
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    sizes = asked.short, asked.long
    with ground() as where:
        found = asyncio.run(measure(where, sizes, (asked.due // 10, asked.due), asked.rounds))
    rows = [
        [
            f"{each.kits:,}",
            f"{each.due:,}",
            f"{each.nothing:.1f} ms",
            f"{each.rate:,.0f}/s",
            f"{each.alone:,.0f}/s",
            f"{each.rate / each.alone:.1f}",
        ]
        for each in found
    ]
    short, long = found
    show(
        f"The scheduled check, {BATCH} kits in a transaction",
        ["kits", "due", "nothing due", "due", "alone", "due / alone"],
        rows,
        {
            "aims": f"nothing due in at most {AIM_NOTHING:.0f} ms, {AIM_RATE:,} kits/s, with the many",
            "many / few": f"nothing due {long.nothing / short.nothing:.2f},"
            f" a kit that is due {short.rate / long.rate:.2f}",
            "alone": "the same kits, each in a transaction of its own",
        },
    )


if __name__ == "__main__":
    main()
