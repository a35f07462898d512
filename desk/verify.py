"""`custody verify WHAT [--key KEY --policy FILE --roots FILE --disclosure FILE]`: numbered checks, in words.

WHAT is a bundle (`custody.examination`), a certificate of disposal (`retention.certificate`) or the folder
of an exported log (`audit.static`). Offline: no service, no database, no network, no settings. Exit codes:
0 the checkpoint is signed by the key that was given and no check that was made fails; 1 otherwise (also when
no key was given), or it is no bundle; 2 a file or the key cannot be used at all.

A disclosure (`custody.disclosure`) is checked beside a bundle: each value that it tells for an event of that
bundle must belong to it. Where one does not, or none is told, the exit code is 1 and no value is printed. Of
what it tells for other events it is said that they are not in this bundle, but in the other trail's.

What is said may come out of a file that somebody wrote to deceive. It is printed as text, never as something
that steers a terminal or turns the direction of reading.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from cryptography import x509

from audit.file import content
from audit.policy import MAX_POLICY_BYTES, Policy
from audit.text import Malformed
from audit.verify import Verdict, VerificationError
from custody import bundle
from custody.bundle import MOST_TOTAL, Bundle, BundleRefused, fingerprint
from custody.disclosure import MOST_DOCUMENT, DisclosureRefused, compare
from custody.event import EventRefused, decode
from custody.examination import check
from desk.progress import bar

_MOST_KEY = 1 << 18
_MOST_ROOTS = 1 << 20
_OUTCOMES = {True: "holds", False: "DOES NOT HOLD", None: "not made"}
_ROOTS_UNUSED = (
    "When anything was recorded, beyond the order of the log: the time stamps are in bundles, so the roots"
    " that you gave (--roots) are not used for a folder."
)
_CERTIFICATE_UNUSED = (
    "What witnesses and time stamps show: they are in bundles, so the policy and roots that you gave are not"
    " used for a certificate."
)
_OTHER = {"custody": "choices", "choices": "custody"}
_WHAT = {"custody": "Custody trail", "choices": "Choices trail, handed out on an order,"}


def verify(
    what: Path,
    key: str | None,
    *,
    policy: Path | None = None,
    roots: Path | None = None,
    disclosure: Path | None = None,
) -> int:
    """Check the bundle or folder `what` with `key`, public keys (vkeys) or a file of them, with a file of the
    witnesses that are wanted, one of root certificates (PEM) and one of what was disclosed; print; the exit
    code."""
    try:
        vkeys = None if key is None else _key(key)
        wanted = None if policy is None else Policy.read(content(policy, MAX_POLICY_BYTES))
        trusted = None if roots is None else _roots(roots)
        told = None if disclosure is None else content(disclosure, MOST_DOCUMENT)
        if what.is_dir():
            if told is not None:
                raise Malformed("a disclosure is checked beside the bundle of its kit, not beside a log")
            return _folder(what, vkeys, wanted, stamps=trusted is not None)
        data = content(what, MOST_TOTAL)
        if data.startswith(b"%PDF-"):
            if told is not None:
                raise Malformed(
                    "a disclosure is checked beside the bundle of its kit, not beside a certificate"
                )
            return _certificate(what, data, vkeys, more=wanted is not None or trusted is not None)
        return _bundle(what, data, vkeys, wanted, trusted, told)
    except OSError as wrong:
        why = f"{wrong.filename}: {wrong.strerror}"
    except Malformed as wrong:
        why = str(wrong)
    except VerificationError as wrong:
        why = f"the key cannot be used: {wrong}"
    _say(f"custody: {why}.", to=sys.stderr)
    return 2


def _bundle(
    what: Path,
    data: bytes,
    vkeys: str | None,
    policy: Policy | None,
    roots: bytes | None,
    disclosure: bytes | None,
) -> int:
    try:
        read = bundle.read(data)
    except BundleRefused as refused:
        _say(f"{what} is not a bundle: {refused}.")
        return 1
    verdict = check(read, vkeys, policy, roots)
    _say(
        f"{_WHAT[read.trail]} of kit {read.kit}, {len(read.events)} events, log {read.origin}",
        "",
        *told_of(verdict, vkeys),
    )
    disclosed = disclosure is None or _disclosed(read, disclosure, verdict)
    return 0 if verdict.holds and disclosed else 1


def _certificate(what: Path, data: bytes, vkeys: str | None, *, more: bool) -> int:
    from retention import certificate  # reads PDF files; a bundle needs nothing of it

    try:
        read = certificate.read(data)
    except certificate.CertificateRefused as refused:
        _say(f"{what} is not a certificate of disposal: {refused}.")
        return 1
    verdict = certificate.check(read, vkeys)
    if more:
        verdict = replace(verdict, not_proved=(*verdict.not_proved, _CERTIFICATE_UNUSED))
    _say(
        f"Certificate of disposal of {', '.join(each.kit for each in read.kits)}",
        "",
        *told_of(verdict, vkeys),
    )
    return 0 if verdict.holds else 1


def _disclosed(read: Bundle, document: bytes, verdict: Verdict) -> bool:
    """Say which values belong to which event, and of which the events are not here; whether nothing is
    wrong."""
    if not verdict.agrees:
        _say("", "The disclosure was not looked at, since the bundle does not hold.")
        return False
    try:
        told, elsewhere = compare(document, [decode(data) for data in read.events])
    except (DisclosureRefused, EventRefused) as refused:
        _say("", f"The disclosure DOES NOT HOLD: {refused}.")
        return False
    if elsewhere:
        _say("", "The disclosure holds as far as this bundle goes: these values belong to these events.")
    else:
        _say("", "The disclosure holds: these values, and no others, belong to these events.")
    for each in told:
        _say(f"- event {each.event.number} ({each.event.type}): {each.name}: {each.value}")
    if elsewhere:
        _say(
            "",
            f"Not proved: its event is not in this bundle. Check with the bundle of the {_OTHER[read.trail]}"
            " trail; what neither proves is not proved.",
        )
    for other in elsewhere:
        _say(f"- {other.name}: event {other.event}")
    if not verdict.holds:
        _say("They are as genuine as the bundle, which was not shown to be.")
    return True


def _folder(what: Path, vkeys: str | None, policy: Policy | None, *, stamps: bool) -> int:
    from audit.static import check_folder  # an exported log is many files; a bundle needs nothing of it

    if not (what / "checkpoint").exists():
        _say(
            f"custody: {what} is not an exported log: it has no checkpoint. Give the bundle as it was"
            " downloaded, the .zip file, if this is one that was unpacked.",
            to=sys.stderr,
        )
        return 2
    try:
        with bar("leaves") as told:
            verdict = check_folder(what, vkeys, policy, told)
    except VerificationError as wrong:
        _say(f"custody: {wrong}.", to=sys.stderr)
        return 2
    if stamps:
        verdict = replace(verdict, not_proved=(*verdict.not_proved, _ROOTS_UNUSED))
    _say(f"The log in {what}", "", *told_of(verdict, vkeys))
    return 0 if verdict.holds else 1


def told_of(verdict: Verdict, vkeys: str | None) -> list[str]:
    """The verdict for people, line by line: each numbered check, the outcome, and what was not proved."""
    lines = []
    for finding in verdict.findings:
        lines.append(f"{finding.number}. {_OUTCOMES[finding.holds]}: {finding.title}.")
        lines.append(f"   {finding.words}")
    lines.append("")
    not_made = sum(finding.holds is None for finding in verdict.findings)
    if not verdict.agrees:
        lines.append("Not every check holds: do not rely on this.")
    elif not verdict.holds:
        lines.append(
            "It agrees with itself. Whether it is genuine is not shown until it is checked with the log's"
            " public key (--key), which must come from elsewhere."
        )
    elif not_made:
        checks = "one check was" if not_made == 1 else f"{not_made} checks were"
        lines.append(f"Every check that was made holds; {checks} not made.")
    else:
        lines.append("Every check holds.")
    if vkeys is not None:
        lines.append("The fingerprint of the key you gave is")
        lines.append(f"   {fingerprint(vkeys)}")
        lines.append("Compare it with one that reached you another way than this.")
    return [*lines, "", "Not proved:", *(f"- {sentence}" for sentence in verdict.not_proved)]


def _say(*lines: str, to: TextIO | None = None) -> None:
    """Print each as one line: the only place from which words leave for the terminal.

    Whatever is not printable (control characters of both sets, marks that turn the direction, line and
    paragraph separators, what nobody assigned) is written as its escape, and so is what the terminal's
    encoding does not have.
    """
    out = to or sys.stdout
    text = "\n".join(
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)
        for line in lines
    )
    encoding = out.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=out)


def _roots(path: Path) -> bytes:
    """The file's certificates. Raises OSError, Malformed."""
    data = content(path, _MOST_ROOTS)
    try:
        if len(data) > _MOST_ROOTS or not x509.load_pem_x509_certificates(data):
            raise ValueError("too long, or empty")
    except ValueError as wrong:
        raise Malformed(f"{path} is not a file of root certificates in PEM") from wrong
    return data


def _key(given: str) -> str:
    """A public key itself, or the text of the file of that name. Raises OSError, Malformed."""
    path = Path(given)
    if "+" in given and not _is_there(path):
        return given
    data = content(path, _MOST_KEY)
    if len(data) > _MOST_KEY:
        raise Malformed(f"{given} is not a file of public keys, one a line")
    return data.decode("utf-8", "replace")


def _is_there(path: Path) -> bool:
    """A key may be longer than a file's name can be."""
    try:
        return path.exists()
    except OSError:
        return False
