"""`custody verify BUNDLE --key KEY`: the checks of `custody.bundle`, said in plain words.

Offline: no service, no database, no network, no settings. Exit codes: 0 every check holds; 1 one does not
(also when no key was given), or it is not a bundle; 2 the file or the key cannot be used at all.
"""

import sys
from pathlib import Path

from audit.text import Malformed
from audit.verify import Verdict, VerificationError
from custody import bundle
from custody.bundle import MOST_TOTAL, BundleRefused

_MOST_KEY = 1 << 18


def verify(path: Path, key: str | None, *, policy: Path | None = None, roots: Path | None = None) -> int:
    """Check the bundle at `path` with `key`, a public key (vkeys) or a file of one; print; the exit code."""
    try:
        vkeys = None if key is None else _key(key)
        with path.open("rb") as file:
            data = file.read(MOST_TOTAL + 1)
    except IsADirectoryError:
        print(
            f"custody: {path} is a folder. Give the bundle as it was downloaded, the .zip file.",
            file=sys.stderr,
        )
        return 2
    except (OSError, Malformed) as wrong:
        told = f"{wrong.filename}: {wrong.strerror}" if isinstance(wrong, OSError) else str(wrong)
        print(f"custody: {told}.", file=sys.stderr)
        return 2
    try:
        read = bundle.read(data)
        verdict = bundle.check(read, vkeys)
    except BundleRefused as refused:
        print(f"{path} is not a bundle: {refused}.")
        return 1
    except VerificationError as wrong:
        print(f"custody: the key cannot be used: {wrong}.", file=sys.stderr)
        return 2
    print(f"Custody trail of kit {read.kit}, {len(read.events)} events, log {read.origin}\n")
    print(told_of(verdict, vkeys))
    return 0 if verdict.holds else 1


def told_of(verdict: Verdict, vkeys: str | None) -> str:
    """The verdict for people: each numbered check, the outcome, and what was not proved."""
    lines = []
    for finding in verdict.findings:
        lines.append(f"{finding.number}. {'holds' if finding.holds else 'DOES NOT HOLD'}: {finding.title}.")
        lines.append(f"   {finding.words}")
    lines.append("")
    if verdict.holds:
        lines.append("Every check holds.")
    elif vkeys is None and all(finding.holds for finding in verdict.findings if finding.number != 2):
        lines.append(
            "The bundle agrees with itself. Whether it is genuine is not shown until it is checked with the"
            " log's public key (--key), which must come from elsewhere."
        )
    else:
        lines.append("Not every check holds: do not rely on this bundle.")
    if vkeys is not None:
        lines.append("The fingerprint of the key you gave is")
        lines.append(f"   {bundle.fingerprint(vkeys)}")
        lines.append("Compare it with one that reached you another way than this bundle.")
    lines += ["", "Not proved:", *(f"- {sentence}" for sentence in verdict.not_proved)]
    return "\n".join(lines)


def _key(given: str) -> str:
    """A public key itself, or the text of the file of that name. Raises OSError, Malformed."""
    path = Path(given)
    if "+" in given and not path.exists():
        return given
    with path.open("rb") as file:
        data = file.read(_MOST_KEY + 1)
    if len(data) > _MOST_KEY:
        raise Malformed(f"{given} is not a file of public keys, one a line")
    return data.decode("utf-8", "replace")
