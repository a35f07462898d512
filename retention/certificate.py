"""The certificate of a disposal: what was destroyed, when, by whom; with its proof inside.

A PDF/A-3B for people and for the files of the centre. It carries, as embedded files, the exact bytes of the
event in which the destruction stands in the custody trail (``<kit number>.json``) and the proof that this
event is in the log (``<kit number>.tlog-proof``, C2SP tlog-proof@v1). One certificate speaks of one kit, or
of all kits of a cart. What was found after its kit was closed is destroyed by an event of its own, which is
embedded beside the first one under its number in the custody trail (``<kit number>-<number>.json``).

It goes into files, so it says nothing of the victim's choices: no event of the choices trail is in it, only
the rule that every disposal met. Types of items stand in the private part and are not named either.

What is printed is not proved: a page can be changed. The embedded events are, and :func:`check` says so in
numbered checks, offline:

1. The certificate carries events of destruction, each with its proof, and each is about the kit of its name.
2. Each event is in the one spelling of an event, and names three people: one carried out, one approved, one
   observed.
3. Each event is in the log at the index its proof gives (RFC 9162 section 2.1.3.2), all under one checkpoint.
4. The checkpoint is signed by the log's keys, which come from outside.
5. The digests printed on the pages are those of the events inside; nothing else that is printed is compared.

Pure: no database, no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from io import BytesIO
from typing import Any, Final
from zoneinfo import ZoneInfo

from pypdf import PdfReader

from audit.key import NotSigned, open_note, read_keys
from audit.merkle import InvalidProof
from audit.proof import Proof
from audit.text import Malformed
from audit.verify import Finding, Verdict, VerificationError
from custody.event import Event, EventRefused, decode
from custody.number import KitNumber, written
from labels.drawing import A4, GREY, Attached, Box, Drawing, Line, Mark, Symbol, pdf, right_aligned
from labels.qr import qr_code
from labels.typeface import MM_PER_POINT, Weight, fitting_points, wrapped

MOST_BYTES: Final = 32 << 20
MOST_KITS: Final = 200
EVENT, PROOF = ".json", ".tlog-proof"
DESTROYED: Final = "package.destroyed"

CONDITIONS: Final = (
    "No report stood, and the kit was linked to none.",
    "No order of a judge and no hold stood.",
    "The term was over, and so was every time that had to be waited for; every notice that was owed was"
    " settled.",
    "No hand-over was open.",
    "Every request of the police to the centre was answered.",
    "Every package that was left was with the centre, and closed.",
)
"""What stood at the moment of every disposal: the rules and the database refuse it otherwise."""

FOUND_LATER: Final = "Found after the kit was closed, and destroyed then."

NOT_PROVED: Final = (
    "Anything else that is printed on the pages: compare it with the events inside, whose digests stand"
    " above.",
    "That what was recorded is true: three people signed that they did and saw it.",
    "That the key of the private part was destroyed, or that no copy of a backup is left.",
    "Anything about the victim's choices, which stand in another trail.",
    "That the log showed everyone the same, and when anything was recorded beyond the log's own word: no"
    " witness and no time stamp is in here. The bundle of the custody trail has them.",
    "That the key you gave is the right one, unless its fingerprint reached you another way than this file.",
)


class CertificateRefused(ValueError):
    """This is not a certificate of disposal: the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One kit of a certificate; what was found and destroyed later is one more of the same kit.

    ``event`` and ``proof`` are exact bytes. ``packages`` tells of each package by its number what kind it is
    and how it was stored, in words. ``key_until`` is the day on which the key of the private part is
    destroyed, or was (``key_destroyed``); ``backups_until`` the day on which its last copy in a backup
    lapses. ``not_found`` are the items that were looked for and not there, by number, with the instant at
    which the custody trail recorded it, where that is known.
    """

    event: bytes
    proof: bytes
    packages: dict[int, str]
    key_until: date
    backups_until: date
    key_destroyed: bool = False
    not_found: tuple[tuple[tuple[int, ...], datetime | None], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says. ``organisations`` are names by id; ``zone`` is the calendar of the centre."""

    centre: str
    kits: tuple[Ended, ...]
    organisations: dict[str, str]
    functions: dict[str, str]
    made_at: datetime
    zone: ZoneInfo


# --- writing ------------------------------------------------------------------------------------------

_LEFT: Final = 18.0
_WIDE: Final = A4[0] - 2 * _LEFT
_TOP, _BOTTOM = 24.0, A4[1] - 22.0


class _Pages:
    """Lines of text that flow from page to page."""

    def __init__(self) -> None:
        self.pages: list[list[Mark]] = [[]]
        self.y = _TOP

    def room(self, high: float) -> None:
        if self.y + high > _BOTTOM:
            self.pages.append([])
            self.y = _TOP

    def text(
        self,
        text: str,
        points: float = 9.5,
        weight: Weight = Weight.REGULAR,
        indent: float = 0,
        wide: float = 0,
    ) -> None:
        high = points * MM_PER_POINT * 1.32
        for line in wrapped(text, weight, points, (wide or _WIDE) - indent):
            self.room(high)
            self.y += high
            fitted = fitting_points(line, weight, points, (wide or _WIDE) - indent)
            self.pages[-1].append(Line(_LEFT + indent, self.y, line, fitted, weight))

    def heading(self, text: str) -> None:
        self.room(16)
        self.y += 3.5
        self.text(text, 11.5, Weight.BOLD)
        self.y += 1.2
        self.pages[-1].append(Box(_LEFT, self.y, _WIDE, 0.2, GREY))
        self.y += 0.6

    def fact(self, name: str, value: str) -> None:
        """A name on the left and what it is beside it."""
        before = len(self.pages)
        high = 9.5 * MM_PER_POINT * 1.32
        self.room(high)
        before, y = len(self.pages), self.y
        self.text(value, indent=46)
        page = self.pages[-1] if len(self.pages) == before else self.pages[before - 1]
        page.append(Line(_LEFT, y + high, name, fitting_points(name, Weight.REGULAR, 9.5, 44), shade=90))


def certificate_pdf(certificate: Certificate) -> bytes:
    """The certificate as PDF/A-3B with its events and proofs inside. Raises CertificateRefused where the
    events are not of a destruction."""
    events = [_event(each.event) for each in certificate.kits]
    if not 1 <= len({_kit(e) for e in events}) <= MOST_KITS or len({e.digest for e in events}) != len(events):
        raise CertificateRefused(f"a certificate speaks of 1 to {MOST_KITS} kits, each once")
    attached = []
    named: set[str] = set()
    for event, each in zip(events, certificate.kits, strict=True):
        name = _later(event) if _kit(event) in named else _kit(event)
        named.add(name)
        attached.append(
            Attached(f"{name}{EVENT}", "application/json", "The event of the destruction", each.event)
        )
        attached.append(Attached(f"{name}{PROOF}", "text/plain", "Its proof in the log", each.proof))
    title = "Certificate of disposal"
    flow = _Pages()
    if len(events) == 1:
        _one(flow, certificate, events[0], certificate.kits[0], title)
    else:
        _many(flow, certificate, events, title)
    _proof(flow, events)
    made = f"{certificate.centre} · {_moment(certificate, certificate.made_at)}"
    pages = [
        Drawing(
            *A4,
            (
                *marks,
                Line(_LEFT, A4[1] - 12, made, fitting_points(made, Weight.REGULAR, 8.5, 130), shade=90),
                right_aligned(A4[0] - _LEFT, A4[1] - 12, f"{number} / {len(flow.pages)}", 8.5),
            ),
            title,
        )
        for number, marks in enumerate(flow.pages, 1)
    ]
    kits = list(dict.fromkeys(_written(e) for e in events))
    numbers = ", ".join(kits[:3]) + (" …" if len(kits) > 3 else "")
    return pdf(pages, certificate.made_at, f"{title} {numbers}", attached)


def _one(flow: _Pages, certificate: Certificate, event: Event, ended: Ended, title: str) -> None:
    side = 30.0
    code = qr_code(f"{_kit(event)} sha256:{event.digest}")
    flow.pages[-1].append(Symbol(A4[0] - _LEFT - side, _TOP - 4, side, code))
    room = _WIDE - side - 8
    flow.text(title, 15, Weight.BOLD, wide=room)
    flow.text(_written(event), 24, Weight.BOLD, wide=room)
    flow.text(certificate.centre, 11, wide=room)
    flow.y = max(flow.y, _TOP + side - 2)
    _facts(flow, certificate, event, ended)


def _many(flow: _Pages, certificate: Certificate, events: Sequence[Event], title: str) -> None:
    flow.text(title, 15, Weight.BOLD)
    count = len({_kit(e) for e in events})
    flow.text(_written(events[0]) if count == 1 else f"{count} kits", 20, Weight.BOLD)
    flow.text(certificate.centre, 11)
    seen: set[str] = set()
    for event, ended in zip(events, certificate.kits, strict=True):
        flow.room(40)
        flow.y += 4
        flow.text(_written(event), 15, Weight.BOLD)
        if _kit(event) in seen:
            flow.text(FOUND_LATER)
        seen.add(_kit(event))
        _facts(flow, certificate, event, ended, short=True)
    flow.heading("What stood when each kit was disposed of")
    for each in CONDITIONS:
        flow.text(f"– {each}")


def _facts(
    flow: _Pages, certificate: Certificate, event: Event, ended: Ended, *, short: bool = False
) -> None:
    """Packages, people, conditions and dates of one kit."""
    flow.fact("Destroyed", _moment(certificate, event.recorded_at))
    for part, signed in _people(event):
        function = certificate.functions.get(str(signed.get("function")), str(signed.get("function")))
        place = certificate.organisations.get(
            str(signed.get("organisation")), str(signed.get("organisation"))
        )
        flow.fact(part, f"{signed['name']}, {function}, {place}")
    if not short:
        flow.heading("What was destroyed")
    items = event.get("items") or ()
    labelled = {code.split("-")[1] for code in (each["code"] for each in event.get("labels") or ())}
    for entry in event.get("packages"):
        number = int(entry["package"])
        inside = [int(i["item"]) for i in items if int(i["package"]) == number]
        says = ended.packages.get(number, "")
        seal = entry.get("seal_seen")
        told = "; ".join(
            each
            for each in (
                says,
                f"seal {seal}" if seal else "never sealed",
                "label scanned" if f"P{number:02}" in labelled else "no label",
                _named(inside),
            )
            if each
        )
        flow.fact(f"Package {number}", told)
    named = [int(i["item"]) for i in items if f"I{int(i['item']):02}" not in labelled]
    if named:
        flow.fact("Named by number", f"{_named(named)}, which never had a label")
    for gone, at in ended.not_found:
        when = f", recorded on {_moment(certificate, at)}" if at else ""
        flow.fact("Not found", f"{_named(gone)}{when}; not destroyed")
    if not short:
        flow.heading("What stood when the kit was disposed of")
        for each in CONDITIONS:
            flow.text(f"– {each}")
        flow.heading("What is left, and until when")
    key = "was destroyed on" if ended.key_destroyed else "is destroyed on"
    flow.fact("Key of the private part", f"{key} {ended.key_until.isoformat()}, by the service")
    flow.fact("Last copy in a backup", f"lapses on {ended.backups_until.isoformat()}")


def _named(items: Sequence[int]) -> str:
    if not items:
        return "no item"
    return f"{'item' if len(items) == 1 else 'items'} {', '.join(map(str, items))}"


def _proof(flow: _Pages, events: Sequence[Event]) -> None:
    flow.heading("The proof in this file")
    flow.text(
        "This PDF carries the exact bytes of the events below and their proofs in the log. “custody verify”"
        " with the log's public key, which must come from elsewhere, proves them without the service. What is"
        " printed on these pages is not proved by it, only that these digests are those of the events inside."
    )
    for event in events:
        flow.room(12)
        flow.y += 1.5
        flow.text(f"{_written(event)}, custody trail, event {event.number}, SHA-256", 8.5)
        flow.text(f"{event.digest[:32]} {event.digest[32:]}", 9.5, Weight.BOLD)


_PARTS: Final = {"approver": "Approved by", "observer": "Observed by"}


def _people(event: Event) -> list[tuple[str, Any]]:
    others = [(_PARTS.get(str(w.get("part")), str(w.get("part"))), w) for w in event.get("with") or ()]
    return [("Carried out by", event.who), *others]


def _moment(certificate: Certificate, at: datetime) -> str:
    return f"{at.astimezone(certificate.zone):%Y-%m-%d %H:%M} ({certificate.zone.key})"


def _kit(event: Event) -> str:
    return event.subject.partition(":")[2]


def _later(event: Event) -> str:
    """Under which name a later destruction of the same kit is embedded."""
    return f"{_kit(event)}-{event.number}"


def _written(event: Event) -> str:
    return written(KitNumber(_kit(event)))


def _event(data: bytes) -> Event:
    """Raises CertificateRefused for anything but the destruction of packages of a kit."""
    try:
        event = decode(data)
    except EventRefused as wrong:
        raise CertificateRefused(f"an event in it cannot be read: {wrong}") from wrong
    if event.type != DESTROYED or not event.subject.startswith("custody:"):
        raise CertificateRefused(f"an event in it is no destruction of packages but {event.type}")
    return event


# --- reading and checking -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What a certificate carries for one kit, read and not yet believed; ``kit`` is the name it has there."""

    kit: str
    event: bytes
    proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A certificate as read: what it carries, and the text on its pages."""

    kits: tuple[Carried, ...]
    text: str


def read(data: bytes) -> Read:
    """What the PDF carries. Raises CertificateRefused, always and only that, for anything else."""
    if len(data) > MOST_BYTES:
        raise CertificateRefused(f"it is larger than the {MOST_BYTES >> 20} MiB that a certificate can have")
    try:
        reader = PdfReader(BytesIO(data))
        # A name that is no text at all comes as bytes: written out, it is none that is looked for.
        files = {str(name): list(found) for name, found in reader.attachments.items()}
        text = "\n".join(page.extract_text() for page in reader.pages)
    except Exception as wrong:  # an altered file makes pypdf fail in any way
        raise CertificateRefused(f"this PDF cannot be read ({type(wrong).__name__})") from wrong
    kits = sorted(name.removesuffix(EVENT) for name in files if name.endswith(EVENT))
    wanted = {f"{kit}{ending}" for kit in kits for ending in (EVENT, PROOF)}
    if not kits or set(files) != wanted or any(len(found) != 1 for found in files.values()):
        raise CertificateRefused(
            "it does not carry events of a disposal, each with its proof, and nothing else"
        )
    if len({kit.partition("-")[0] for kit in kits}) > MOST_KITS:
        raise CertificateRefused(f"it carries more than {MOST_KITS} kits")
    return Read(
        kits=tuple(
            Carried(kit=kit, event=files[f"{kit}{EVENT}"][0], proof=files[f"{kit}{PROOF}"][0]) for kit in kits
        ),
        text=text,
    )


TITLES: Final = {
    1: "The certificate carries the destruction of each kit",
    2: "Every event is in the one spelling of an event, and names three people",
    3: "Every event is in the log",
    4: "The checkpoint is signed by the log's keys",
    5: "The digests printed on the pages are those of the events inside",
}


def check(certificate: Read, vkeys: str | None) -> Verdict:
    """Make the numbered checks. ``vkeys``: the log's public keys, one vkey a line; None where none was given.

    Raises VerificationError for keys that are none.
    """
    events, first, second = _events(certificate)
    proofs, third = _proofs(certificate)
    findings = [first, second, third]
    fourth, checkpoint = _signed(proofs, vkeys)
    findings.append(fourth)
    printed = "".join(certificate.text.split())
    lacking = [event for event in events if event.digest not in printed]
    findings.append(
        _finding(
            5,
            f"The digest of the event of kit {_kit(lacking[0])} is not printed: {lacking[0].digest}."
            if lacking
            else None
            if events
            else "There is no event to compare with.",
            "; ".join(f"kit {_written(e)}: {e.digest}" for e in events) + ".",
        )
    )
    return Verdict(findings=tuple(findings), checkpoint=checkpoint, not_proved=NOT_PROVED)


def _finding(number: int, wrong: str | None, well: str) -> Finding:
    return Finding(number=number, title=TITLES[number], holds=wrong is None, words=wrong or well)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _events(certificate: Read) -> tuple[list[Event], Finding, Finding]:
    """Checks 1 and 2."""
    events: list[Event] = []
    carried: str | None = None
    people: str | None = None
    for each in certificate.kits:
        try:
            event = _event(each.event)
        except CertificateRefused as wrong:
            people = people or f"{each.kit}: {wrong}."
            continue
        events.append(event)
        if each.kit not in (_kit(event), _later(event)):
            carried = carried or f"The event under the name {each.kit} is of another kit."
        signed = {str(w.get("part")): w.get("person") for w in event.get("with") or ()}
        everybody = {event.who.get("person"), signed.get("approver"), signed.get("observer")}
        if set(signed) != {"approver", "observer"} or None in everybody or len(everybody) != 3:
            people = people or f"{each.kit}: fewer than three people signed."
    told = "; ".join(
        f"kit {_written(event)}: "
        + ", ".join(f"{part.lower()} {who['name']}" for part, who in _people(event))
        for event in events
        if people is None
    )
    count, kits = sum(len(event.get("packages")) for event in events), len({_kit(e) for e in events})
    return (
        events,
        _finding(1, carried, f"{_counted(kits, 'kit')}, {_counted(count, 'package')} destroyed."),
        _finding(2, people, f"{told}."),
    )


def _proofs(certificate: Read) -> tuple[list[Proof], Finding]:
    """Check 3."""

    proofs: list[Proof] = []
    for each in certificate.kits:
        try:
            proof = Proof.read(each.proof)
            proof.check(sha256(each.event).digest())
        except (Malformed, InvalidProof) as wrong:
            return [], _finding(3, f"The event of kit {each.kit} is not shown to be in the log: {wrong}.", "")
        proofs.append(proof)
    if any(proof.note.written() != proofs[0].note.written() for proof in proofs):
        return [], _finding(3, "The proofs speak of different checkpoints.", "")
    stated = proofs[0].checkpoint()
    places = ", ".join(str(proof.index) for proof in proofs)
    return proofs, _finding(3, None, f"Leaf {places} of the {stated.size} leaves of {stated.origin}.")


def _signed(proofs: Sequence[Proof], vkeys: str | None) -> tuple[Finding, Any]:
    """Check 4."""
    if vkeys is None:
        return Finding(number=4, title=TITLES[4], holds=None, words="No key was given (--key)."), None
    try:
        keys = read_keys(vkeys)
    except Malformed as wrong:
        raise VerificationError(str(wrong)) from wrong
    if not proofs:
        return _finding(4, "There is no checkpoint that covers every event.", ""), None
    try:
        checkpoint = open_note(proofs[0].note.written(), keys)
    except (NotSigned, Malformed) as wrong:
        return _finding(4, f"The checkpoint is not to be trusted: {wrong}.", ""), None
    well = f"{checkpoint.origin} signed that the log has {checkpoint.size} leaves."
    return _finding(4, None, well), checkpoint
