"""`custody register FILE`: organisations, places and people from a file, compared with the register.

The file says how things should stand, and only what it names is looked at: what it leaves out stays as it is,
and nothing ends but by a date or a word in the file. Everything is checked before anything is written, and
what is written is one transaction of the clerk's events: half a file never. The same file twice writes
nothing. `docs/people.md` says what stands in the file.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from custody import reading
from custody.decision import Decided, Seen
from custody.departures import open_under, readers_lost, still_with
from custody.directory import day_of
from custody.event import FIELDS, EventRefused, Fact
from custody.ledger import Command, Inconsistent, Ledger, MovedOn
from custody.people import AT, CLOCK, Function, OrganisationKind
from custody.refusal import Refused
from custody.standing import Held, Standing, standing
from desk import session
from desk.masters import FileMasters
from desk.people_file import Appointment, File, FileRefused, Person, read
from desk.settings import Settings
from desk.upkeep import as_clerk

# --- what would change -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One event to write, and what it means in words. ``leaves`` is the person whose function ends by it, or
    whose account, with the last day."""

    fact: Fact
    says: str
    leaves: tuple[str, date] | None = None


def changes(file: File, found: Standing) -> list[Change]:
    """What the register lacks of the file, in the order in which it is to be written. Pure.

    Raises FileRefused where the file contradicts itself, or what stands cannot become what it says.
    """
    return [
        *_organisations(file, found),
        *_people(file, found),
        *_accounts(file, found),
        *_merged(file, found),
        *_appointments(file, found),
        *_places(file, found),
    ]


def _change(
    type_: str,
    subject: str,
    where: str,
    says: str,
    told: Mapping[str, Any],
    leaves: tuple[str, date] | None = None,
) -> Change:
    """Raises FileRefused for a value that no event can hold."""
    entry = {k: v for k, v in told.items() if v is not None}
    id_ = subject.partition(":")[2]
    fields: dict[str, Any] = {"register": {"id": id_, **entry}}
    if type_ == "place.closed":
        fields = {"reason": entry["reason"]}
    try:
        for name, value in fields.items():
            FIELDS[name].check(where, value)
        FIELDS["subject"].check(f"{where}.id", subject)
    except EventRefused as wrong:
        raise FileRefused(f"{wrong}.") from None
    fact = Fact(type=type_, subject=subject, who=CLOCK.who(), fields=fields)
    return Change(fact=fact, says=says, leaves=leaves)


def _organisations(file: File, found: Standing) -> Iterator[Change]:
    for at, each in enumerate(file.organisations, 1):
        where, subject = f"organisations[{at}]", f"organisation:{each.id}"
        told = {"kind": each.kind, "name": each.name, "country": each.country, "zone": each.zone}
        known = found.organisations.get(each.id)
        if known is None:
            yield _change(
                "organisation.registered", subject, where, f"{each.id}: {each.kind}, {each.name}", told
            )
            continue
        if known["kind"] != each.kind:
            raise FileRefused(
                f"{where}.kind: {each.id} is registered as {known['kind']}, and stays that. Register another"
                " organisation."
            )
        wanted = {name: known[name] if value is None else value for name, value in told.items()}
        if wanted != known:
            new = ", ".join(f"{n} {wanted[n]}" for n in wanted if wanted[n] != known[n])
            yield _change("organisation.changed", subject, where, f"{each.id}: now {new}", wanted)


def _people(file: File, found: Standing) -> Iterator[Change]:
    for at, each in enumerate(file.people, 1):
        where = f"people[{at}]"
        known = found.people.get(each.id)
        if known is None:
            yield _change(
                "person.registered",
                f"person:{each.id}",
                where,
                f"{each.id}: {each.name}",
                {"name": each.name},
            )
        elif known != each.name:
            raise FileRefused(
                f"{where}.name: {each.id} is {known}, as it stands in events, and not {each.name}. Another"
                " person gets another id."
            )


def _accounts(file: File, found: Standing) -> Iterator[Change]:
    """Accounts that go first, so that one file can give an account to somebody else."""
    gone: set[tuple[str, str]] = set()
    added: list[Change] = []
    for at, person in enumerate(file.people, 1):
        for nth, each in enumerate(person.accounts, 1):
            where = f"people[{at}].accounts[{nth}]"
            key, told = (each.issuer, each.login), {"issuer": each.issuer, "login": each.login}
            owner = found.accounts.get(key)
            mine = owner is not None and found.human(owner) == found.human(person.id)
            if each.removed and owner is not None and mine:
                gone.add(key)
                yield _change(
                    "person.account_removed",
                    f"person:{owner}",
                    where,
                    f"{person.id}: no longer signs in as {each.login} at {each.issuer}",
                    told,
                    (person.id, date.min),
                )
            elif each.removed and (*key, person.id) not in found.removed:
                raise FileRefused(f"{where}: {person.id} never had this account.")
            elif not each.removed and not mine:
                says = f"{person.id}: signs in as {each.login} at {each.issuer}"
                added.append(_change("person.account_added", f"person:{person.id}", where, says, told))
    for change in added:
        told = change.fact.fields["register"]
        owner = found.accounts.get((told["issuer"], told["login"]))
        if owner is not None and (told["issuer"], told["login"]) not in gone:
            raise FileRefused(
                f"The account {told['login']} of {told['issuer']} is {owner}'s and cannot be {told['id']}'s"
                ' as well. Remove it there first ("removed": true).'
            )
        yield change


def _merged(file: File, found: Standing) -> Iterator[Change]:
    here = {each.id for each in file.people}
    ties = {each.id: each.same_as for each in file.people if each.same_as is not None}
    for at, each in enumerate(file.people, 1):
        if each.same_as is None:
            if each.id in found.merged and (each.accounts or each.appointments):
                other = found.merged[each.id]
                raise FileRefused(f"people[{at}]: {each.id} is {other}: what is theirs stands there.")
            continue
        where = f"people[{at}].same_as"
        if each.accounts or each.appointments:
            raise FileRefused(
                f"{where}: who turns out to be {each.same_as} has accounts and functions there, not here."
            )
        if each.same_as not in here and each.same_as not in found.people:
            raise FileRefused(f"{where}: there is no person {each.same_as}.")
        if each.same_as in ties or found.human(each.same_as) == each.id:
            raise FileRefused(f"{where}: name the one entry that stays.")
        if found.human(each.same_as) == found.human(each.id) and each.id in found.merged:
            continue
        if each.id in found.merged:
            raise FileRefused(f"{where}: {each.id} is {found.merged[each.id]}, and stays that.")
        yield _change(
            "person.merged",
            f"person:{each.id}",
            where,
            f"{each.id}: is {each.same_as}; what they do counts as one person's",
            {"into": each.same_as},
            (each.id, date.min),
        )


def _appointments(file: File, found: Standing) -> Iterator[Change]:
    kinds = {id_: OrganisationKind(str(o["kind"])) for id_, o in found.organisations.items()}
    kinds |= {o.id: OrganisationKind(o.kind) for o in file.organisations}
    for at, person in enumerate(file.people, 1):
        new: dict[tuple[str, str], list[Held]] = {}
        for nth, each in enumerate(person.appointments, 1):
            where = f"people[{at}].appointments[{nth}]"
            _check_function(each, where, kinds)
            key = (each.organisation, each.function)
            held = dict(found.appointments.get((person.id, *key), ()))
            if each.from_ in held:
                yield from _ended(person, each, where, held[each.from_], found.today)
            else:
                _check_apart(each, where, [*held.items(), *new.get(key, ())])
                yield _appointed(person, each, where)
            new.setdefault(key, []).append((each.from_, each.until))


def _check_function(each: Appointment, where: str, kinds: Mapping[str, OrganisationKind]) -> None:
    try:
        wanted = AT[Function(each.function)]
    except (KeyError, ValueError):
        allowed = ", ".join(AT)
        raise FileRefused(f"{where}.function: there is no {each.function!r}, only {allowed}.") from None
    if each.organisation not in kinds:
        raise FileRefused(f"{where}.organisation: there is no organisation {each.organisation}.")
    if kinds[each.organisation] is not wanted:
        raise FileRefused(
            f"{where}.function: {each.organisation} is a {kinds[each.organisation]}, and a {each.function}"
            f" works at a {wanted}."
        )
    if each.until is not None and each.until < each.from_:
        raise FileRefused(f"{where}.until: the last day lies before the first.")


def _check_apart(each: Appointment, where: str, others: Iterable[Held]) -> None:
    for from_, until in others:
        if (until is None or until >= each.from_) and (each.until is None or each.until >= from_):
            raise FileRefused(
                f"{where}.from: the same function is held from {from_}"
                f" {'on' if until is None else f'to {until}'} already. End that first, or begin later."
            )


def _appointed(person: Person, each: Appointment, where: str) -> Change:
    days = f"from {each.from_}" + (f" to {each.until}" if each.until else "")
    return _change(
        "person.appointed",
        f"person:{person.id}",
        where,
        f"{person.id}: {each.function} at {each.organisation} {days}",
        {
            "organisation": each.organisation,
            "function": each.function,
            "from": each.from_.isoformat(),
            "until": each.until.isoformat() if each.until else None,
        },
    )


def _ended(
    person: Person, each: Appointment, where: str, until: date | None, today: date
) -> Iterator[Change]:
    if each.until == until:
        return
    if until is not None and (each.until is None or each.until > until):
        raise FileRefused(
            f'{where}.until: this function ended on {until}, which stays so. Write "until": "{until}", and'
            " for a later time another appointment."
        )
    assert each.until is not None
    ends = "ended" if each.until < today else "ends"
    yield _change(
        "person.left",
        f"person:{person.id}",
        where,
        f"{person.id}: {each.function} at {each.organisation} {ends} on {each.until}",
        {
            "organisation": each.organisation,
            "function": each.function,
            "from": each.from_.isoformat(),
            "until": each.until.isoformat(),
        },
        (person.id, each.until),
    )


def _places(file: File, found: Standing) -> Iterator[Change]:
    known = {*found.organisations, *(o.id for o in file.organisations)}
    for at, each in enumerate(file.places, 1):
        where, subject = f"places[{at}]", f"place:{each.id}"
        if each.organisation not in known:
            raise FileRefused(f"{where}.organisation: there is no organisation {each.organisation}.")
        place = found.places.get(each.id)
        told = {
            "organisation": each.organisation,
            "kind": each.kind,
            "name": each.name,
            "storage": each.storage,
        }
        if place is None:
            if each.closed is not None:
                raise FileRefused(f"{where}.closed: a place that was never open cannot be closed.")
            yield _change("place.opened", subject, where, f"{each.id}: {each.name} opened", told)
            continue
        if differing := [name for name, value in told.items() if place[name] != value]:
            raise FileRefused(
                f"{where}.{differing[0]}: {each.id} has {place[differing[0]]!r}, and trails name it so. Close"
                " it and open another place."
            )
        if each.closed is None and place["closed_at"] is not None:
            raise FileRefused(f"{where}: {each.id} was closed. Open another place.")
        if each.closed is not None and place["closed_at"] is None:
            if inside := found.packages_in.get(each.id, 0):
                raise FileRefused(
                    f"{where}.closed: packages lie in {each.id} ({inside}). They go to another place first."
                )
            yield _change(
                "place.closed", subject, f"{where}.closed", f"{each.id}: closed", {"reason": each.closed}
            )


# --- writing it --------------------------------------------------------------------------------------------


async def bring_up_to(ledger: Ledger, file: File, digest: bytes, *, check: bool = False) -> list[Change]:
    """Write what the register lacks of the file; answers what that was. ``ledger`` is the clerk's.

    ``digest`` is the SHA-256 of the file. With ``check`` nothing is written. Raises FileRefused.
    """
    subjects = [
        *(f"organisation:{o.id}" for o in file.organisations),
        *(f"person:{p.id}" for p in file.people),
        *(f"place:{p.id}" for p in file.places),
    ]
    before = await ledger.look(CLOCK, (), subjects)
    async with ledger.engine.connect() as connection:
        made = changes(file, await standing(connection))
        await _refuse_open(connection, made)
    if check or not made:
        return made

    def decide(seen: Seen) -> Decided:
        for subject, head in before.heads.items():
            if subject in seen.heads and seen.heads[subject].number != head.number:
                raise FileRefused(
                    "Nothing was written: the register was changed at the same time. Run it again."
                )
        return Decided(facts=tuple(change.fact for change in made))

    others = tuple(dict.fromkeys(change.fact.subject for change in made))
    order = Command(actor=CLOCK, key=f"register-{uuid4().hex}", digest=digest, others=others)
    try:
        await ledger.carry_out(order, decide)
    except (Refused, MovedOn, Inconsistent) as refused:
        raise FileRefused(f"Nothing was written: {refused} Run it again.") from refused
    return made


async def _refuse_open(connection: AsyncConnection, made: Sequence[Change]) -> None:
    """Who is registered twice has nothing open under the entry that goes. Raises FileRefused."""
    going = [c.fact.fields["register"]["id"] for c in made if c.fact.type == "person.merged"]
    for person, counted in (await open_under(connection, going, await reading.now(connection))).items():
        packages, kits, proposals = counted
        told = [
            f"{words}: {number}"
            for number, words in (
                (packages, "packages in their hands or on the way"),
                (kits, "restricted kits they read"),
                (proposals, "proposals that wait for a second person"),
            )
            if number
        ]
        raise FileRefused(
            f"Nothing was written: {person} cannot become another entry yet. Under this one there are"
            f" {'; '.join(told)}. First, signed in as {person}: store or hand over packages, name the entry"
            " that stays as reader in place of this one, take proposals back or have them signed."
        )


def register(settings: Settings, path: Path, *, check: bool = False) -> int:
    """`custody register FILE`: print what changes, write it unless ``check``, and say what is left behind."""
    try:
        data = path.read_bytes()
    except OSError as wrong:
        raise FileRefused(f"{path} cannot be read: {wrong.strerror}.") from wrong
    file = read(data)
    keys = settings.keys

    async def run(engine: AsyncEngine) -> tuple[list[Change], list[str]]:
        ledger = Ledger(engine, FileMasters(keys))
        made = await bring_up_to(ledger, file, hashlib.sha256(data).digest(), check=check)
        async with engine.connect() as connection:
            left = await _left(connection, made)
        return made, left

    made, left = as_clerk(settings, run)
    for change in made:
        print(change.says)
    told = f"{len(made)} change{'' if len(made) == 1 else 's'}"
    print(f"{told}; nothing was written." if check and made else f"{told} written." if made else UNCHANGED)
    if made and not check:
        closed = asyncio.run(_sign_out(settings, made))
        if closed:
            print(f"{closed} session{'' if closed == 1 else 's'} ended.")
    for line in left:
        print(line)
    return 0


UNCHANGED: Final = "The register stands as the file says; nothing was written."


async def _left(connection: AsyncConnection, made: Sequence[Change]) -> list[str]:
    """What is still with people whose functions end: numbers, and no kit."""
    leaving = {
        each.leaves[0]: each.leaves[1]
        for each in made
        if each.leaves is not None and each.fact.type != "person.account_removed"
    }
    if not leaving:
        return []
    today = day_of(await reading.now(connection))
    told = []
    for (person, organisation), counted in sorted((await still_with(connection, list(leaving))).items()):
        held, offered, awaited = counted
        parts = [
            words
            for number, words in (
                (held, f"holds {_packages(held)}"),
                (offered, f"has offered {_packages(offered)} that nobody accepted yet"),
                (awaited, f"was offered {_packages(awaited)}"),
            )
            if number
        ]
        when = "now" if leaving[person] < today else "once the last day is over"
        told.append(
            f'{person} at {organisation} {", ".join(parts)}. The worklist has them under "With somebody who'
            f' left" {when}.'
        )
    if lost := await readers_lost(connection, leaving, _ended_by(made)):
        kits = "1 restricted kit loses" if lost == 1 else f"{lost} restricted kits lose"
        told.append(f"{kits} a reader. Where too few are left, the worklist of the others asks for another.")
    return told


def _ended_by(made: Iterable[Change]) -> set[tuple[str, str, str, date]]:
    """The appointments that end: person, organisation, function, first day."""
    told = [each.fact.fields["register"] for each in made if each.fact.type == "person.left"]
    return {(r["id"], r["organisation"], r["function"], date.fromisoformat(r["from"])) for r in told}


def _packages(number: int) -> str:
    return f"{number} package{'' if number == 1 else 's'}"


async def _sign_out(settings: Settings, made: Sequence[Change]) -> int:
    """End the sessions of people whose function, or account, is over; others end at their next request."""
    if settings.database_url is None:
        return 0
    engine = create_async_engine(settings.database_url, hide_parameters=True)
    try:
        async with engine.begin() as connection:
            today = day_of(await reading.now(connection))
            people = {x.leaves[0] for x in made if x.leaves is not None and x.leaves[1] < today}
            return sum([await session.close_all_of(connection, person) for person in sorted(people)])
    finally:
        await engine.dispose()
