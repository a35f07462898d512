"""`custody verify WHAT --key KEY --policy FILE --roots FILE`: numbered checks, said in plain words.

WHAT is a bundle (`custody.examination`) or the folder of an exported log (`audit.static`). Offline: no
service, no database, no network, no settings. Exit codes: 0 the checkpoint is signed by the key that was
given and no check that was made fails; 1 otherwise (also when no key was given), or it is no bundle; 2 a file
or the key cannot be used at all.
"""

import sys
from pathlib import Path

from audit.policy import MAX_POLICY_BYTES, Policy
from audit.text import Malformed
from audit.verify import Verdict, VerificationError
from custody import bundle
from custody.bundle import MOST_TOTAL, BundleRefused, fingerprint
from custody.examination import check
from desk.progress import bar

_MOST_KEY = 1 << 18
_MOST_ROOTS = 1 << 20
_OUTCOMES = {True: "holds", False: "DOES NOT HOLD", None: "not made"}
_WHAT = {"custody": "Custody trail", "choices": "Choices trail, handed out on an order,"}


def verify(what: Path, key: str | None, *, policy: Path | None = None, roots: Path | None = None) -> int:
    """Check the bundle or folder `what` with `key`, public keys (vkeys) or a file of them, with a file of the
    witnesses that are wanted and one of root certificates (PEM); print; the exit code."""
    try:
        vkeys = None if key is None else _key(key)
        wanted = None if policy is None else Policy.read(_content(policy, MAX_POLICY_BYTES))
        trusted = None if roots is None else _content(roots, _MOST_ROOTS)
        if what.is_dir():
            return _folder(what, vkeys, wanted)
        return _bundle(what, _content(what, MOST_TOTAL), vkeys, wanted, trusted)
    except OSError as wrong:
        told = f"{wrong.filename}: {wrong.strerror}"
    except Malformed as wrong:
        told = str(wrong)
    except VerificationError as wrong:
        told = f"the key cannot be used: {wrong}"
    print(f"custody: {told}.", file=sys.stderr)
    return 2


def _bundle(what: Path, data: bytes, vkeys: str | None, policy: Policy | None, roots: bytes | None) -> int:
    try:
        read = bundle.read(data)
    except BundleRefused as refused:
        print(f"{what} is not a bundle: {refused}.")
        return 1
    verdict = check(read, vkeys, policy, roots)
    print(f"{_WHAT[read.trail]} of kit {read.kit}, {len(read.events)} events, log {read.origin}\n")
    print(told_of(verdict, vkeys))
    return 0 if verdict.holds else 1


def _folder(what: Path, vkeys: str | None, policy: Policy | None) -> int:
    from audit.static import check_folder  # an exported log is many files; a bundle needs nothing of it

    if not (what / "checkpoint").exists():
        print(
            f"custody: {what} is not an exported log: it has no checkpoint. Give the bundle as it was"
            " downloaded, the .zip file, if this is one that was unpacked.",
            file=sys.stderr,
        )
        return 2
    try:
        with bar("leaves") as told:
            verdict = check_folder(what, vkeys, policy, told)
    except VerificationError as wrong:
        print(f"custody: {wrong}.", file=sys.stderr)
        return 2
    print(f"The log in {what}\n")
    print(told_of(verdict, vkeys))
    return 0 if verdict.holds else 1


def told_of(verdict: Verdict, vkeys: str | None) -> str:
    """The verdict for people: each numbered check, the outcome, and what was not proved."""
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
    lines += ["", "Not proved:", *(f"- {sentence}" for sentence in verdict.not_proved)]
    return "\n".join(lines)


def _content(path: Path, most: int) -> bytes:
    """The file's bytes, and one more than `most` where there are more. Raises OSError."""
    with path.open("rb") as file:
        return file.read(most + 1)


def _key(given: str) -> str:
    """A public key itself, or the text of the file of that name. Raises OSError, Malformed."""
    path = Path(given)
    if "+" in given and not path.exists():
        return given
    data = _content(path, _MOST_KEY)
    if len(data) > _MOST_KEY:
        raise Malformed(f"{given} is not a file of public keys, one a line")
    return data.decode("utf-8", "replace")
