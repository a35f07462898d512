"""The page that lies on top of a bundle: what it is, and how to check it with what every office has.

The text follows from the other files alone, so that whoever checks a bundle makes it again and compares
(`custody.examination`, check 2). It proves nothing, and says so. Its commands are run by a test as they stand
there.
"""

from dataclasses import replace
from hashlib import sha256
from typing import Final

from audit.key import ED25519, VerifierKey
from audit.note import Note, Signature
from audit.text import Malformed
from custody.bundle import Bundle, fingerprint
from custody.event import Event, EventRefused, decode
from custody.key_history import restores

_ED25519_BYTES: Final = 64

_WHAT: Final = {
    "custody": "Custody trail of kit {kit}",
    "choices": "Choices trail of kit {kit}, handed out on a judge's order",
}
_TRAIL: Final = {
    "custody": (
        "Who held the evidence, from hand to hand. The victim's choices stand in another trail,\n"
        "which is not in here and leaves only on a judge's order."
    ),
    "choices": (
        "What the victim chose, and what was asked and answered, up to the event that says on whose\n"
        "order it was handed out. The custody of the evidence stands in another trail."
    ),
}
NOTHING_AFTER: Final = (
    "That nothing happened after the last event in here, or that no last events were left out of this copy."
)
LATER_KEYS: Final = "What became of the log's keys after this checkpoint: later changes are not in here."
NOT_TRUE: Final = (
    "That what an event says is true: only that it was recorded, by whom, and not changed since."
)
ANOTHER_WAY: Final = (
    "That the public key is the right one, unless its fingerprint reached you another way than in this file."
)


def covered(bundle: Bundle) -> Bundle:
    """The bundle with its page. Raises Malformed where the checkpoint is none that the log signed."""
    return replace(bundle, readme=page(bundle))


def announced(bundle: Bundle) -> str | None:
    """The fingerprint of the public keys that the log named last in this bundle; None where it named none."""
    vkeys = _announced(bundle)
    return fingerprint("".join(f"{vkey}\n" for vkey in vkeys)) if vkeys else None


def _announced(bundle: Bundle) -> tuple[str, ...]:
    events = _of_the_log(bundle)
    return tuple(events[-1].get("vkeys", ())) if events else ()


def _of_the_log(bundle: Bundle) -> tuple[Event, ...]:
    """What the log recorded about itself; nothing where one of these events cannot be read."""
    try:
        return tuple(decode(told.event) for told in bundle.keys)
    except EventRefused:
        return ()


def _fingerprints(bundle: Bundle) -> tuple[str, ...]:
    """Of each set of keys that the log named, oldest first: an office may have any of them."""
    sets = (event.get("vkeys", ()) for event in _of_the_log(bundle))
    return tuple(
        dict.fromkeys(fingerprint("".join(f"{vkey}\n" for vkey in vkeys)) for vkeys in sets if vkeys)
    )


def page(bundle: Bundle) -> bytes:
    """The text of README.txt. Raises Malformed."""
    line, signature = _ed25519(bundle)
    told = _fingerprints(bundle)
    named = "\n"
    if told:
        named = "\n   Their SHA-256 (sha256sum events.vkey) should be"
        named += " one of these, the newest last" if len(told) > 1 else ""
        named += "".join(f"\n   {each}" for each in told) + "\n"
    return f"""{_WHAT[bundle.trail].format(kit=bundle.kit)}
{len(bundle.events)} events, under a signed checkpoint of the log {bundle.origin}

{_TRAIL[bundle.trail]}

WHAT IS IN HERE
events/         each event of the trail, as the exact bytes that were recorded
proofs/         for each event, the proof that it is in the log (C2SP tlog-proof@v1)
checkpoint.txt  the log's signed statement of its size and root (C2SP tlog-checkpoint)
{_more(bundle)}bundle.json     the kit, the trail, how many of each, and the log, for programs

HOW TO CHECK IT WITH A PROGRAM
1. Get the log's public keys another way than with this bundle: from the office's own files, from
   an official publication, or compare their fingerprint over the telephone.{named}\
   A fingerprint that reaches you only in this file proves nothing.
2. On any computer, without a network:
      custody verify BUNDLE.zip --key events.vkey
   With --policy FILE it checks that independent witnesses saw the log, with --roots FILE the time
   stamps. Both files have to come from somewhere else than this bundle, too.
3. Any tool that reads C2SP tlog-proof checks proofs/0001.tlog-proof against the public keys and
   the 32 bytes that sha256sum prints of events/0001.json.

HOW TO CHECK IT BY HAND
Unpack the bundle, put events.vkey beside this file, and type in that folder (sh, coreutils, OpenSSL 3):

(a) The digest of an event, which the field "previous" of the next event repeats; numbers run from 1
    without a gap:

    sha256sum events/*.json

(b) That an event is in the log: the last two lines printed are the same. For another event, put its number
    for 0001 (RFC 9162, section 2.1.3.2):

{_indented(_INCLUSION)}
(c) That the log signed this: key {signature.key_id.hex()} of {bundle.origin}, Ed25519. It says
    "Signature Verified Successfully":

{_indented(_SIGNATURE.format(line=line, key_id=signature.key_id.hex()))}
    If your events.vkey does not have this key, it is older or newer than the checkpoint: `custody verify`
    follows keys/ from one to the other. The checkpoint's other signatures (ML-DSA-44, witnesses) are for it
    and for C2SP tools.
{_stamps(bundle)}
WHAT THIS DOES NOT PROVE
- {NOTHING_AFTER}
- {NOT_TRUE}
- {ANOTHER_WAY}
- {LATER_KEYS}
{_lost(bundle)}`custody verify` says more exactly what the checks that it made leave open.
""".encode()


def _lost(bundle: Bundle) -> str:
    """What was lost in restores, one a line."""
    return "".join(f"- {each.not_proved}\n" for each in restores(_of_the_log(bundle)))


_INCLUSION: Final = """\
n=0001
proof=proofs/$n.tlog-proof
index=$(sed -n 's/^index //p' $proof)
last=$(( $(sed -n 2p checkpoint.txt) - 1 ))
openssl dgst -sha256 -binary events/$n.json > digest
(printf '\\000'; cat digest) | openssl dgst -sha256 -binary > node
for hash in $(sed -e '1,/^index /d' -e '/^$/,$d' $proof); do
  echo $hash | base64 -d > step
  if [ $((index % 2)) = 1 ] || [ $index = $last ]; then
    (printf '\\001'; cat step node) | openssl dgst -sha256 -binary > next
    while [ $((index % 2)) = 0 ] && [ $index != 0 ]; do index=$((index / 2)); last=$((last / 2)); done
  else
    (printf '\\001'; cat node step) | openssl dgst -sha256 -binary > next
  fi
  mv next node; index=$((index / 2)); last=$((last / 2))
done
base64 node
sed -n 3p checkpoint.txt
"""
_SIGNATURE: Final = """\
head -n 3 checkpoint.txt > signed
sed -n {line}p checkpoint.txt | cut -d' ' -f3 | base64 -d | tail -c 64 > signature
(printf '\\060\\052\\060\\005\\006\\003\\053\\145\\160\\003\\041\\000'
 grep '+{key_id}+' events.vkey | cut -d+ -f3- | base64 -d | tail -c 32) > key.der
openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in signed -sigfile signature
"""
_STAMP: Final = """\
at=anchors/{n:04}
stated=$(openssl ts -reply -token_in -in $at/stamp-1.tst -text | sed -n 's/^Time stamp: //p')
openssl ts -verify -token_in -in $at/stamp-1.tst -data $at/signed.txt -CAfile roots.pem \\
  -attime "$(date -u -d "$stated" +%s)"
echo "$stated"
"""


def _ed25519(bundle: Bundle) -> tuple[int, Signature]:
    """The first line of the checkpoint with an Ed25519 signature in the log's name, and the signature.

    Of lines by keys that the log named last in this bundle, where it has such: a line that somebody added in
    the log's name (check 7 refuses it) does not send a reader to a stranger's key.
    """
    lines = [
        (line, each)
        for line, each in enumerate(Note.read(bundle.note).signatures, 5)
        if each.name == bundle.origin and len(each.signature) == _ED25519_BYTES
    ]
    if not lines:
        raise Malformed(f"the checkpoint bears no signature of type 0x{ED25519:02x} by {bundle.origin}")
    named = [VerifierKey.read(vkey) for vkey in _announced(bundle)]
    return next(((line, each) for line, each in lines if any(key.claims(each) for key in named)), lines[0])


def _more(bundle: Bundle) -> str:
    stamps = sum(len(anchor.stamps) for anchor in bundle.anchors)
    lines = sum(anchor.cosignatures.count(b"\n") for anchor in bundle.anchors)
    told = ""
    if bundle.anchors:
        told += (
            f"anchors/        {len(bundle.anchors)} earlier or equal checkpoints that others have seen, with"
            f" {lines} cosignatures and {stamps}\n"
            "                time stamps (RFC 3161), and hashes that show that the log only grew since;\n"
            "                cat signed.txt cosignatures.txt makes a C2SP note, and\n"
            "                cat anchors/*/cosignatures.txt | sha256sum prints\n"
            f"                {sha256(b''.join(each.cosignatures for each in bundle.anchors)).hexdigest()}\n"
        )
    if bundle.keys:
        told += "keys/           what the log itself recorded about its keys, with proofs\n"
    if bundle.policy is not None:
        told += (
            "policy.txt      the witnesses that the operator states; what counts is a policy of your own\n"
            f"                ({sha256(bundle.policy).hexdigest()})\n"
        )
    return told


def _stamps(bundle: Bundle) -> str:
    n = max((n for n, anchor in enumerate(bundle.anchors, 1) if anchor.stamps), default=None)
    if n is None:
        return ""
    return f"""
(d) A time stamp, with the authority's root certificate as roots.pem from elsewhere. It says
    "Verification: OK", as of the time that is stated, and then that time. It covers the events whose
    index (in their proof) is smaller than line 2 of signed.txt; that signed.txt and checkpoint.txt are
    of one log, which only grew, is for `custody verify`. For another anchor, put its number:

{_indented(_STAMP.format(n=n))}"""


def _indented(commands: str) -> str:
    return "".join(f"    {line}\n" for line in commands.splitlines())
