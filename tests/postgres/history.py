"""A whole history in one database, signed and published, for those who try to falsify it.

A kit goes to justice; another one is disposed of and its key destroyed; a third stands at the centre with new
labels; numbers are reserved and one is used; the police ask and are answered; people come and go; both logs
are signed many times, published with padding, cosigned by a witness and time-stamped.
"""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import log as logs
from audit import publish, sign
from audit.key import COSIGNATURE, SigningKey
from audit.keybox import create_keys, open_box
from audit.note import Note
from audit.sign import Signer
from custody import access, reading
from custody.commands import (
    Accept,
    AnswerRequest,
    DeclareReport,
    Link,
    Offer,
    PlaceHold,
    PrintLabels,
    ReserveNumbers,
    Restrict,
    Store,
)
from custody.decision import Decided
from custody.event import Fact
from custody.handling import labels_printed, store
from custody.handover import accept, offer
from custody.items import TYPES
from custody.ledger import Command, Ledger
from custody.people import CLOCK
from custody.prosecution import answer, declare, link
from custody.recheck import Outside
from custody.registering import reserve
from custody.restriction import restrict
from desk.keys import origin_of
from desk.succession import open_log
from retention.holds import place_hold
from retention.keeping import register
from tests.audit.an_authority import Authority
from tests.conftest import Database, Engines
from tests.custody.story import (
    ANALYST,
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    LAB,
    NURSE,
    NURSE_2,
    OFFICE,
    OFFICER,
    ZONE,
    PlainMasters,
    Story,
    begin,
    kit_order,
    new_number,
    ref,
)
from tests.postgres.evidence import ask, matched
from tests.retention.kept import BELGIUM, HASHES, adopt, check, destroyed, kept, kept_until_approved

ORIGIN = "custody.example/fictional"
LOGS = ("events", "reads")
WITNESS = SigningKey("witness.example/fictional", hashlib.sha256(b"a witness").digest(), COSIGNATURE)
YEARS = timedelta(days=6 * 366)


@dataclass(kw_only=True)
class History:
    """The database, its kits, and what lies outside it."""

    database: Database
    folder: Path
    authority: Authority
    backup: Database = field(init=False)  # the database as it was when the first part was told
    justice: str = ""
    disposed: str = ""
    at_the_centre: str = ""

    @property
    def kits(self) -> tuple[str, ...]:
        return self.justice, self.disposed, self.at_the_centre

    def key(self, log: str) -> Path:
        return self.folder / f"{log}.key"

    def outside(self) -> Outside:
        """Public keys and last notes as they lie beside the signer now, and everybody else's keys."""
        keys, notes = {}, {}
        for log in LOGS:
            with open_box(self.key(log)) as box:
                keys[log] = box.verifiers
                notes[log] = box.last_note() or b""
        return Outside(
            keys=keys,
            notes=notes,
            witnesses=[WITNESS.verifier],
            roots=self.authority.roots,
            masters=PlainMasters(),
        )

    async def begun(self) -> None:
        """Until the first publication: everybody is there, one kit is on its way, one is gone."""
        engines = Engines(self.database)
        try:
            for log in LOGS:
                create_keys(self.key(log), origin_of(log, ORIGIN))
            story = await begin(engines.service, engines.clerk)
            await adopt(story)
            self.disposed = await kept_until_approved(story, self.advance)
            await destroyed(story, self.disposed)
            await self.settle(engines)
            self.advance(YEARS)
            assert (await check(story)).keys_destroyed == 1
            self.justice = await kept(story)
            await self.settle(engines)
            await _to_the_store(story, self.justice)
            await self.settle(engines, published=True)
        finally:
            await engines.dispose()

    async def ended(self) -> None:
        """The rest, and a second publication."""
        engines = Engines(self.database)
        try:
            async with engines.service.connect() as connection:
                directory = await reading.directory(connection)
            ledgers = {role: Ledger(engines.of(role), PlainMasters()) for role in ("service", "clerk")}
            story = Story(ledger=ledgers["service"], clerk=ledgers["clerk"], directory=directory)
            await _to_justice(story, self.justice)
            await self.settle(engines)
            self.at_the_centre = await _at_the_centre(story)
            await _people_come_and_go(story)
            await self.settle(engines)
            for kit, reader in ((self.justice, COORDINATOR), (self.at_the_centre, NURSE)):
                await access.record(engines.service, reader, read="kit_read", kit=kit, purpose="care")
            await self.settle(engines, published=True)
            await story.propose(NURSE, self.at_the_centre)
            await access.record(engines.service, NURSE, read="directory_read", kit=None, purpose="care")
            await self.settle(engines)
            await _labels_again(story, self.at_the_centre, "P02")  # this and the next wait for their leaves
            await access.record(engines.service, NURSE, read="directory_read", kit=None, purpose="care")
        finally:
            await engines.dispose()

    def advance(self, step: timedelta) -> None:
        with self.database.connect("superuser") as connection:
            connection.execute("UPDATE testing.clock_offset SET amount = amount + %s", [step])

    async def settle(self, engines: Engines, *, published: bool = False) -> None:
        """Integrate and sign both logs, and publish them."""
        with ExitStack() as stack:
            for log in LOGS:
                box = stack.enter_context(open_box(self.key(log)))
                await sign.initialise(engines.clerk, log, box)
                signer = Signer(log, box)
                await signer.check(engines.clerk)
                await open_log(engines.clerk, log, box)
                async with engines.clerk.begin() as transaction:
                    await logs.integrate(transaction, log)
                await signer.sign(engines.clerk)
                if published:
                    await self._published(engines, log, signer)

    async def _published(self, engines: Engines, log: str, signer: Signer) -> None:
        out = await publish.publish(engines.clerk, signer, datetime.now(UTC))
        assert out is not None
        async with engines.clerk.begin() as transaction:
            note = await logs.note_of(transaction, log, out.size)
            assert note is not None
            await self._vouched(transaction, log, out.size, note)

    async def _vouched(self, connection: AsyncConnection, log: str, size: int, note: Note) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        key = WITNESS.verifier
        at = int(now.timestamp())
        line = key.line(WITNESS.sign(key.message(note.text, at)), at).line()
        rows = {"log": log, "size": size, "name": key.name, "id": key.key_id, "line": line, "at": now}
        first = self.authority.by_hand(note.written(), now)
        tokens = (first, self.authority.by_hand(first, now))
        await connection.execute(
            text("INSERT INTO audit.cosignature VALUES (:log, :size, :name, :id, :line)"), rows
        )
        for number, token in enumerate(tokens, 1):
            await connection.execute(
                text("INSERT INTO audit.stamp VALUES (:log, :size, :number, :token, :at)"),
                {**rows, "number": number, "token": token},
            )


async def _to_the_store(story: Story, kit: str) -> None:
    """A hand-over inside the centre, and into the freezer; held."""
    due = (await story.look(NURSE)).at + timedelta(hours=4)
    two = (ref(kit, 1), ref(kit, 2))
    inside = Offer(packages=two, organisation=CENTRE, due_at=due)
    await story.do(NURSE, [kit], lambda seen: offer(seen, inside, NURSE, story.directory, "a" * 32))
    await story.do(CUSTODIAN, [kit], lambda seen: accept(seen, Accept(packages=two), CUSTODIAN))
    put = Store(packages=(ref(kit, 1),), place="freezer-1")
    await story.do(CUSTODIAN, [kit], lambda seen: store(seen, put, CUSTODIAN, story.directory))
    hold = PlaceHold(kit=kit, ground="centre", reason="a question")
    await story.do(
        COORDINATOR, [kit], lambda s: place_hold(s.kit(kit), hold, COORDINATOR, "b" * 32, (), s.at)
    )


async def _to_justice(story: Story, kit: str) -> None:
    """Reported, asked for, matched, linked, and partly released; the rest is on its way to the laboratory."""
    told = DeclareReport(kit=kit, how="in_person")
    await story.do(NURSE, [kit], lambda seen: declare(seen.kit(kit), told, NURSE))
    asked = "c3" * 16
    await ask(story, asked)
    await matched(story, kit, asked)
    joined = Link(kit=kit, pv="PV-FICTIEF-1", notice="N-1", office=OFFICE, zone=ZONE, request=asked)
    await story.do(COORDINATOR, [kit], lambda seen: link(seen.kit(kit), joined, COORDINATOR, story.directory))
    due = (await story.look(NURSE)).at + timedelta(hours=4)
    away = Offer(packages=(ref(kit, 2),), organisation=ZONE, due_at=due)
    await story.do(CUSTODIAN, [kit], lambda seen: offer(seen, away, CUSTODIAN, story.directory, "d" * 32))
    took = Accept(packages=(ref(kit, 2),))
    await story.do(OFFICER, [kit], lambda seen: accept(seen, took, OFFICER))
    more = Offer(packages=(ref(kit, 3),), organisation=LAB, due_at=due)
    await story.do(NURSE, [kit], lambda seen: offer(seen, more, NURSE, story.directory, "e" * 32))


async def _at_the_centre(story: Story) -> str:
    """Numbers are set aside and one is used; of its labels one is printed again, which voids the first. One
    request is answered, one waits. Two people alone read the kit from then on."""
    numbers = [new_number() for _ in range(3)]
    two = ReserveNumbers(count=3)
    centre = (f"organisation:{CENTRE}",)
    await story.do(NURSE, [], lambda seen: reserve(two, NURSE, numbers), others=centre)
    order = replace(kit_order((await story.look(NURSE)).at), number=numbers[0])
    await story.do(
        NURSE,
        [numbers[0]],
        lambda seen: register(
            seen, order, NURSE, number=numbers[0], policies=BELGIUM, item_types=TYPES, card=HASHES
        ),
    )
    await _labels_again(story, numbers[0], "P01")
    for id_ in ("f1" * 16, "f2" * 16):
        await ask(story, id_)
    no = AnswerRequest(request="f1" * 16, how="no_match")
    subject = (f"request:{'f1' * 16}",)
    await story.do(NURSE, [], lambda seen: answer(no, None, NURSE, NURSE_2), others=subject)
    known = Restrict(kit=numbers[0], readers=("coraline", "nora"))
    await story.do(
        NURSE,
        [numbers[0]],
        lambda seen: restrict(seen.kit(numbers[0]), known, NURSE, story.directory),
    )
    return numbers[0]


async def _labels_again(story: Story, kit: str, part: str) -> None:
    again = PrintLabels(kit=kit, parts=(part,), reason="smudged")
    await story.do(NURSE, [kit], lambda seen: labels_printed(seen.kit(kit), again, NURSE))


async def _people_come_and_go(story: Story) -> None:
    """An analyst leaves and was registered twice, a place closes, an organisation gets another name."""
    until = date(2040, 1, 1).isoformat()
    left = {
        "id": str(ANALYST.person),
        "organisation": LAB,
        "function": "analyst",
        "from": "2020-01-01",
        "until": until,
    }
    first, second = (
        {"id": str(ANALYST.person), "issuer": "https://sign-in.example", "login": f"ana-{n}"} for n in (1, 2)
    )
    twice = {"id": "ana-again", "name": "Ana Lyse", "issuer": "https://sign-in.example", "login": "ana-3"}
    renamed = {"id": LAB, "kind": "laboratory", "name": "Laboratorium Achtster", "country": "BE", "zone": "9"}
    facts: Sequence[Fact] = (
        *(
            Fact(
                type=f"person.{type_}",
                subject=f"person:{told['id']}",
                who=CLOCK.who(),
                fields={"register": told},
            )
            for type_, told in (
                ("left", left),
                ("account_added", first),
                ("account_added", second),
                ("account_removed", first),
                ("registered", twice),
                ("merged", {"id": "ana-again", "into": str(ANALYST.person)}),
            )
        ),
        Fact(
            type="place.closed", subject="place:table-1", who=CLOCK.who(), fields={"reason": "no longer used"}
        ),
        Fact(
            type="organisation.changed",
            subject=f"organisation:{LAB}",
            who=CLOCK.who(),
            fields={"register": renamed},
        ),
    )
    subjects = tuple(fact.subject for fact in facts)
    command = Command(actor=CLOCK, key="people-come-and-go", digest=bytes(32), others=subjects)
    await story.clerk.carry_out(command, lambda seen: Decided(facts=tuple(facts)))
