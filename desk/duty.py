"""The sealed duty credential of a centre: what keeps the night going while people cannot sign in at their
own provider.

One for each centre, printed once and sealed in an envelope (`custody duty make`); the database holds only a
slow hash of its code. Whoever opens it says why. From then on, for twelve hours, people of that centre sign
in with the code, each under their own name, and every sign-in stands in the trail of the centre and so in the
log. Afterwards it is spent. Until a coordinator who did not use it has reviewed it, an alarm stands.

Whoever has the sheet can choose any of these names, and in a second browser another one: so nothing that
needs two people, and nothing that can wait for the day, goes with it. What does go stands in `desk.edge`.
"""

import hmac
import logging
import secrets
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import scrypt, sha256
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from custody.card import CODE_RANDOM_BYTES, CardCode, CardRefused, issue_code, parse_code
from custody.decision import Decided, Seen
from custody.event import Fact, write_moment
from custody.ledger import Command, Ledger, Receipt
from custody.people import Actor, Function
from custody.permission import permit
from custody.refusal import NotSeen, Refused
from desk.tables import duty_credential as table

LIFE: Final = timedelta(hours=12)
ISSUER: Final = "duty:"
"""Before the centre's name: what a session that began with the credential has instead of a provider."""
FUNCTIONS: Final = (Function.NURSE, Function.CUSTODIAN)
"""Who works at night. A coordinator stays free to review what was done with it."""
REASONS: Final = ("provider_down", "account_blocked", "token_lost")
FINDINGS: Final = ("in_order", "not_in_order")

_SALT: Final = 16
_HASH: Final = "scrypt-1"  # names the figures below; new figures get a new name
_N, _R, _P, _LONG = 2**14, 8, 1, 32
_MEMORY: Final = 64 * 1024 * 1024
_log = logging.getLogger(__name__)


class DutyRefused(Refused):
    """A wrong code, a centre without a credential, one that is spent or voided: one sentence for all."""

    def __init__(self) -> None:
        super().__init__(
            "This code opens nothing at this centre. Compare it with the sheet, group by group. It opens"
            " nothing once another sheet was made, or twelve hours after it was first used."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One credential as it stands."""

    id: str
    centre: str
    made_at: datetime
    voided_at: datetime | None
    opened_at: datetime | None
    ends_at: datetime | None
    reason: str | None
    opening: str | None  # digest of the event of its opening, hexadecimal
    used_by: tuple[str, ...]


# --- the code ---------------------------------------------------------------------------------------------


def new_code() -> CardCode:
    """120 random bits with a check character, in the alphabet of the victim's card."""
    while True:
        if code := issue_code(secrets.token_bytes(CODE_RANDOM_BYTES)):
            return code


def read_code(text: str) -> CardCode:
    """The code as it was typed. Raises Refused: a mistyped one is told before anything is looked up."""
    try:
        return parse_code(text)
    except CardRefused:
        raise Refused(
            "The code has 25 letters and digits, and this one has a typing error. Compare it with the sheet,"
            " group by group.",
            field="code",
        ) from None


def code_hash(code: CardCode, salt: bytes) -> str:
    """What is stored instead of the code (scrypt, RFC 7914)."""
    return "$".join((_HASH, b64encode(salt).decode(), b64encode(_stretched(code, salt)).decode()))


def matches(code: CardCode, stored: str | None) -> bool:
    """Whether this is the code behind `stored`; where there is none, no, after as long a time."""
    if stored is None:
        _stretched(code, bytes(_SALT))
        return False
    try:
        name, salt, expected = stored.split("$")
        known, wanted = b64decode(salt, validate=True), b64decode(expected, validate=True)
    except (ValueError, NotBase64):
        raise ValueError("the stored hash of a duty credential is damaged") from None
    if (name, len(known), len(wanted)) != (_HASH, _SALT, _LONG):
        raise ValueError("the stored hash of a duty credential is damaged or of an unknown kind")
    return hmac.compare_digest(_stretched(code, known), wanted)


def _stretched(code: CardCode, salt: bytes) -> bytes:
    text = f"custody duty 1\n{code}".encode("ascii")
    return scrypt(text, salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY, dklen=_LONG)


# --- making, finding --------------------------------------------------------------------------------------


async def make(connection: AsyncConnection, centre: str, code: CardCode) -> None:
    """Store the credential of a centre in the place of the one before, which is void. As custody_clerk."""
    now = sa.func.custody.clock()
    standing = sa.and_(table.c.centre == centre, table.c.voided_at.is_(None))
    await connection.execute(table.update().where(standing).values(voided_at=now))
    await connection.execute(
        table.insert().values(
            id=secrets.token_hex(16),
            centre=centre,
            code_hash=code_hash(code, secrets.token_bytes(_SALT)),
            made_at=now,
        )
    )


def _usable() -> sa.ColumnElement[bool]:
    now = sa.func.custody.clock()
    return sa.and_(table.c.voided_at.is_(None), sa.or_(table.c.ends_at.is_(None), table.c.ends_at > now))


async def usable(connection: AsyncConnection, centre: str) -> tuple[Credential, str] | None:
    """The credential that signs people of this centre in now, and the hash of its code."""
    row = (
        await connection.execute(sa.select(table).where(table.c.centre == centre, _usable()))
    ).one_or_none()
    return None if row is None else (_credential(row), str(row.code_hash))


async def stands(connection: AsyncConnection, issuer: str, began: datetime) -> bool:
    """Whether a session of this kind, begun then, may go on: its credential is neither spent nor voided."""
    centre = issuer.removeprefix(ISSUER)
    found = sa.select(table.c.id).where(table.c.centre == centre, _usable(), table.c.opened_at <= began)
    return (await connection.execute(found)).first() is not None


async def unreviewed(connection: AsyncConnection, centre: str) -> tuple[Credential, ...]:
    """The alarm: credentials of this centre that were opened and that nobody has reviewed."""
    found = (
        sa.select(table)
        .where(table.c.centre == centre, table.c.opened_at.is_not(None), table.c.reviewed_at.is_(None))
        .order_by(table.c.opened_at)
    )
    return tuple(_credential(row) for row in await connection.execute(found))


async def same_people(connection: AsyncConnection, people: Iterable[str]) -> frozenset[str]:
    """The humans behind these entries of the register: of somebody registered twice, one."""
    named = sa.func.unnest(sa.literal(list(people), ARRAY(sa.Text))).column_valued("named")
    return frozenset(await connection.scalars(sa.select(sa.func.custody.human(named))))


def _credential(row: sa.Row[tuple[object, ...]]) -> Credential:
    told = {name: getattr(row, name) for name in Credential.__dataclass_fields__}
    opening = None if row.opening is None else bytes(row.opening).hex()
    return Credential(**(told | {"opening": opening, "used_by": tuple(row.used_by)}))


# --- using, reviewing -------------------------------------------------------------------------------------


async def use(
    engine: AsyncEngine, ledger: Ledger, credential: Credential, actor: Actor, reason: str, key: str
) -> datetime:
    """Record that this person signs in with the credential, for a reason; until when it does that.

    The event first, then the row: what is not on record signs nobody in. Of two people who open it at once
    both stand in the trail, and the first counts. Raises DutyRefused, Refused.
    """
    if reason not in REASONS:
        raise Refused("Say why the duty credential is used.", field="reason")
    if actor.organisation != credential.centre or actor.function not in FUNCTIONS:
        raise DutyRefused
    subject = f"organisation:{credential.centre}"
    type_ = "duty.opened" if credential.opened_at is None else "duty.used"

    def decide(seen: Seen) -> Decided:
        until = write_moment(credential.ends_at or seen.at + LIFE)
        fields = {"reason": reason, "until": until}
        return Decided(facts=(Fact(type=type_, subject=subject, who=actor.who(), fields=fields),))

    digest = sha256(f"{credential.id}\n{actor.author}\n{reason}".encode()).digest()
    command = Command(actor=actor, key=key, digest=digest, others=(subject,))
    (receipt,) = await ledger.carry_out(command, decide)
    async with engine.begin() as connection:
        ends_at = await _note_use(connection, credential, actor, reason, receipt)
    _log.warning(
        "the duty credential of %s %s; it waits for a coordinator's review",
        credential.centre,
        "was opened" if type_ == "duty.opened" else "was used again",
    )
    return ends_at


async def _note_use(
    connection: AsyncConnection, credential: Credential, actor: Actor, reason: str, receipt: Receipt
) -> datetime:
    person = sa.literal(actor.person, sa.Text)
    named, used = person == sa.any_(table.c.used_by), sa.func.array_append(table.c.used_by, person)
    row = (
        await connection.execute(
            table.update()
            .where(table.c.id == credential.id, _usable())
            .values(
                opened_at=sa.func.coalesce(table.c.opened_at, receipt.recorded_at),
                ends_at=sa.func.coalesce(table.c.ends_at, receipt.recorded_at + LIFE),
                reason=sa.func.coalesce(table.c.reason, reason),
                opening=sa.func.coalesce(table.c.opening, bytes.fromhex(receipt.digest)),
                used_by=sa.case((named, table.c.used_by), else_=used),
            )
            .returning(table.c.ends_at)
        )
    ).one_or_none()
    if row is None:
        raise DutyRefused
    ends_at: datetime = row.ends_at
    return ends_at


async def review(
    engine: AsyncEngine, ledger: Ledger, actor: Actor, id_: str, finding: str, key: str
) -> tuple[Receipt, ...]:
    """A coordinator who did not use it looked into it; that ends it, too. Raises NotSeen, Refused."""
    permit("duty.review", actor)
    if finding not in FINDINGS:
        raise Refused("Say whether everything is in order.", field="finding")
    async with engine.connect() as connection:
        waiting = await unreviewed(connection, actor.organisation or "")
    one = next((each for each in waiting if each.id == id_), None)
    if one is None or one.opening is None:
        raise NotSeen
    async with engine.connect() as connection:
        used = await same_people(connection, one.used_by)
        if await same_people(connection, (actor.person or "",)) & used:
            raise Refused("Who used the duty credential does not review it. Let another coordinator do it.")
    subject = f"organisation:{one.centre}"
    fields = {"cites": [one.opening], "reason": finding}
    fact = Fact(type="duty.reviewed", subject=subject, who=actor.who(), fields=fields)
    digest = sha256(f"duty.review\n{one.id}\n{finding}".encode()).digest()
    command = Command(actor=actor, key=key, digest=digest, others=(subject,))
    (receipt,) = await ledger.carry_out(command, lambda seen: Decided(facts=(fact,)))
    async with engine.begin() as connection:
        await connection.execute(
            table.update()  # which voids it, too: desk.duty_goes_forward
            .where(table.c.id == one.id, table.c.reviewed_at.is_(None))
            .values(
                reviewed_at=receipt.recorded_at,
                reviewed_by=actor.person,
                review=bytes.fromhex(receipt.digest),
            )
        )
    return (receipt,)
