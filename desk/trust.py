"""Whom the service trusts to say who somebody is: issuers, their keys, and for whom each of them may speak.

Issuers come from one JSON file that is read as strictly as a token. Each names the organisations whose people
it vouches for: a hospital's provider can never sign in a police officer, whatever its tokens say and whatever
login it gives to whom. Where it says so, a claim of its tokens must name the function too; then an
appointment of the register counts only while register and provider agree.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jose import jwk
from jose.exceptions import JOSEError

from custody.people import AT, Function
from desk.client import LONGEST_NAME, MEMBERS, Client, is_name, read_client

KEY_TYPE: Final[Mapping[str, str]] = {"RS256": "RSA", "ES256": "EC"}
PUBLIC_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {"RSA": ("n", "e"), "EC": ("crv", "x", "y")}
PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

NEEDED: Final = frozenset({"issuer", "audience", "algorithms", "organisations"})
OPTIONAL: Final = frozenset(
    {"jwks_url", "jwks", "login_claim", "longest_life_minutes", "functions", "strong_acr"}
)
"""Members of an issuer in the configuration, beside those of `desk.client`."""
MOST_KEYS: Final = 100
SMALLEST_RSA: Final = 2048  # bits
LARGEST_RSA: Final = 8192  # bits; beyond that a verification becomes a burden somebody else decides on
LONGEST_LIFE: Final = timedelta(hours=1)
MOST_ORGANISATIONS: Final = 200
MOST_FUNCTION_WORDS: Final = 50

_ORGANISATION: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_ACR: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")  # what can stand in a header, in quotes
_log = logging.getLogger(__name__)


class IssuersUnreadable(ValueError):
    """The configuration of issuers is wrong; the message says where and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """One usable key of an issuer (RFC 7517): the algorithm follows from the type by `KEY_TYPE`."""

    kid: str
    algorithm: str
    members: tuple[str, ...]
    verifier: Any = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionClaim:
    """Which claim of an issuer's tokens names functions, and what its words mean here."""

    claim: str
    values: Mapping[str, Function]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One provider that is trusted to say who somebody is.

    Exactly one of `jwks_url` and `jwks` is given. `login_claim` names the claim that holds the person's login
    in the register; logins of two issuers never meet there, because the register keeps them by issuer.
    `client` is how this service is registered there, where people sign in to the pages at this provider.

    It vouches for the people of `organisations` and of no other; none means nobody. With `functions`, its
    tokens must name the function too. `strong_acr` are the values of `acr` that count as strong, where any is
    asked for.
    """

    url: str
    audience: str
    algorithms: frozenset[str]
    jwks_url: str | None = None
    jwks: tuple[PublicKey, ...] | None = None
    login_claim: str = "sub"
    longest_life: timedelta = LONGEST_LIFE
    client: Client | None = None
    organisations: frozenset[str] = frozenset()
    functions: FunctionClaim | None = None
    strong_acr: tuple[str, ...] = ()

    def vouches_for(self, function: Function, organisation: str, words: frozenset[str]) -> bool:
        """Whether it may sign somebody in in this function there; `words` are what its token says."""
        if organisation not in self.organisations:
            return False
        return self.functions is None or function in {self.functions.values.get(word) for word in words}

    def is_strong(self, acr: str | None) -> bool:
        """Whether a sign-in of this strength suffices for what asks for a strong one."""
        return not self.strong_acr or acr in self.strong_acr


# --- configuration ---------------------------------------------------------------------------------------


def read_issuers(path: Path) -> tuple[Issuer, ...]:
    """The issuers a JSON file configures.

    `{"issuers": [{"issuer": URL, "audience": TEXT, "algorithms": ["ES256"], "jwks_url": URL, "organisations":
    ["zsg-…"]}]}`; instead of `jwks_url` a key set may stand under `jwks`; optional: `login_claim`,
    `longest_life_minutes`, `functions`, `strong_acr` (docs/sign-in.md), and for the sign-in of the pages what
    `desk.client.read_client` reads. Unknown, repeated or missing members are
    refused, so that a slip of the pen never widens who can sign in. Raises `IssuersUnreadable`.
    """
    try:
        document = strict_json(path.read_bytes())
    except OSError as fault:
        raise IssuersUnreadable(f"The file of issuers cannot be read: {fault.strerror}.") from None
    except ValueError as fault:
        raise IssuersUnreadable(f"The file of issuers is not strict JSON: {fault}.") from None
    if not isinstance(document, dict) or set(document) != {"issuers"}:
        raise IssuersUnreadable('The file of issuers must be an object with the one member "issuers".')
    entries = document["issuers"]
    if not isinstance(entries, list) or not entries:
        raise IssuersUnreadable('"issuers" must be a list with at least one issuer.')
    return checked(_issuer(entry, f"issuers[{number}]", path.parent) for number, entry in enumerate(entries))


def checked(issuers: Iterable[Issuer]) -> tuple[Issuer, ...]:
    """The same issuers, if each stands there once; else `IssuersUnreadable`."""
    found = tuple(issuers)
    for number, one in enumerate(found):
        if any(one.url == other.url for other in found[:number]):
            raise IssuersUnreadable(f"The issuer {one.url} stands in the list twice.")
    return found


def _issuer(entry: object, where: str, folder: Path) -> Issuer:
    allowed = NEEDED | OPTIONAL | MEMBERS
    if not isinstance(entry, dict):
        raise IssuersUnreadable(f"{where} must be an object.")
    if unknown := sorted(set(entry) - allowed):
        raise IssuersUnreadable(f"{where} has members that are not known: {', '.join(unknown)}.")
    if missing := sorted(NEEDED - set(entry)):
        raise IssuersUnreadable(f"{where} lacks {', '.join(missing)}.")
    if ("jwks_url" in entry) == ("jwks" in entry):
        raise IssuersUnreadable(f'{where} needs either "jwks_url" or "jwks".')
    algorithms = entry["algorithms"]
    if not isinstance(algorithms, list) or not algorithms or any(a not in list(KEY_TYPE) for a in algorithms):
        raise IssuersUnreadable(f"{where}.algorithms must be a list of {' or '.join(KEY_TYPE)}.")
    minutes = entry.get("longest_life_minutes", LONGEST_LIFE // timedelta(minutes=1))
    if type(minutes) is not int or not 1 <= minutes <= 24 * 60:
        raise IssuersUnreadable(f"{where}.longest_life_minutes must be a whole number from 1 to 1440.")
    try:
        client = read_client(entry, where, folder)
    except ValueError as fault:
        raise IssuersUnreadable(str(fault)) from None
    return Issuer(
        url=_address(entry["issuer"], f"{where}.issuer"),
        audience=_text(entry["audience"], f"{where}.audience"),
        algorithms=frozenset(algorithms),
        jwks_url=_address(entry["jwks_url"], f"{where}.jwks_url") if "jwks_url" in entry else None,
        jwks=_inline_keys(entry["jwks"], f"{where}.jwks") if "jwks" in entry else None,
        login_claim=_text(entry.get("login_claim", "sub"), f"{where}.login_claim"),
        longest_life=timedelta(minutes=minutes),
        client=client,
        organisations=_organisations(entry["organisations"], f"{where}.organisations"),
        functions=_functions(entry["functions"], f"{where}.functions") if "functions" in entry else None,
        strong_acr=_strong(entry["strong_acr"], f"{where}.strong_acr") if "strong_acr" in entry else (),
    )


def _each_once(value: object, where: str, pattern: re.Pattern[str], most: int, what: str) -> list[str]:
    found = value if isinstance(value, list) else []
    good = [one for one in found if isinstance(one, str) and pattern.fullmatch(one)]
    if not 1 <= len(found) <= most or len(good) != len(found) or len(set(good)) != len(good):
        raise IssuersUnreadable(f"{where} must be a list of 1 to {most} {what}, each once.")
    return good


def _organisations(value: object, where: str) -> frozenset[str]:
    """For whom the issuer vouches, in the identifiers of the register."""
    told = "identifiers of organisations, as the register has them"
    return frozenset(_each_once(value, where, _ORGANISATION, MOST_ORGANISATIONS, told))


def _strong(value: object, where: str) -> tuple[str, ...]:
    return tuple(_each_once(value, where, _ACR, 20, "values of acr without blanks or quotation marks"))


def _functions(value: object, where: str) -> FunctionClaim:
    """`{"claim": "roles", "values": {"custody-nurse": "nurse"}}`: what a word of the claim means here."""
    if not isinstance(value, dict) or set(value) != {"claim", "values"}:
        raise IssuersUnreadable(f'{where} must be an object with "claim" and "values".')
    values = value["values"]
    if not isinstance(values, dict) or not 1 <= len(values) <= MOST_FUNCTION_WORDS:
        raise IssuersUnreadable(f"{where}.values must be an object with 1 to {MOST_FUNCTION_WORDS} members.")
    known = {str(function): function for function in AT}
    if wrong := sorted(
        str(name) for name in values.values() if not isinstance(name, str) or name not in known
    ):
        raise IssuersUnreadable(
            f"{where}.values: {wrong[0][:40]} is no function; {', '.join(sorted(known))} are."
        )
    return FunctionClaim(
        claim=_text(value["claim"], f"{where}.claim"),
        values={_text(word, f"{where}.values"): known[name] for word, name in values.items()},
    )


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise IssuersUnreadable(f"{where} must be a text of 1 to {LONGEST_NAME} characters.")
    return value


def _address(value: object, where: str) -> str:
    address = _text(value, where)
    if not is_acceptable(address):
        raise IssuersUnreadable(f"{where} must be an https address (http only on this machine's loopback).")
    return address


def is_acceptable(address: str) -> bool:
    """Whether an address may be asked, or a person sent there: https, or http on this machine's loopback."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
    return secure and bool(parts.hostname) and parts.username is None and "#" not in address


def is_loopback(host: str | None) -> bool:
    """Whether an address of this machine is meant that no other machine reaches."""
    return host in {"127.0.0.1", "::1", "localhost"}


def _inline_keys(document: object, where: str) -> tuple[PublicKey, ...]:
    """Keys written into the configuration: here an unusable key is a mistake to tell, not to skip."""
    try:
        entries = _key_entries(document)
        return tuple(_public_key(entry) for entry in entries)
    except ValueError as fault:
        raise IssuersUnreadable(f"{where}: {fault}.") from None


# --- keys --------------------------------------------------------------------------------------------------


def read_jwks(document: object) -> tuple[PublicKey, ...]:
    """The usable signature keys of a key set (RFC 7517, section 5); keys for other purposes are left out.

    A set without a usable key is a valid answer: the issuer trusts none. `ValueError` when it is no key set.
    """
    keys = []
    for entry in _key_entries(document):
        try:
            keys.append(_public_key(entry))
        except ValueError as fault:
            _log.debug("a key of a key set is left out: %s", fault)
    return tuple(keys)


def _key_entries(document: object) -> list[object]:
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError('a key set is an object with a list "keys"')
    entries: list[object] = document["keys"]
    if len(entries) > MOST_KEYS:
        raise ValueError(f"a key set has at most {MOST_KEYS} keys")
    return entries


def _public_key(entry: object) -> PublicKey:
    """One key from its public members; `ValueError` says why it is of no use."""
    if not isinstance(entry, dict):
        raise ValueError("a key is an object")
    kid, kty = entry.get("kid"), entry.get("kty")
    if not isinstance(kid, str) or not is_name(kid):
        raise ValueError('a key needs a "kid"')
    algorithm = next((a for a, key_type in KEY_TYPE.items() if key_type == kty), None)
    if algorithm is None or not isinstance(kty, str):
        raise ValueError(f"a key's type is {' or '.join(KEY_TYPE.values())}")
    if PRIVATE_MEMBERS & set(entry):
        raise ValueError("a key with its private half in public is nobody's key")
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        raise ValueError("the key is meant for another use or algorithm")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("the key is not meant for verifying")
    members = tuple(entry.get(name) for name in PUBLIC_MEMBERS[kty])
    if not all(isinstance(m, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,2048}", m) for m in members):
        raise ValueError("a public member of the key is missing or malformed")
    if kty == "EC" and members[0] != "P-256":
        raise ValueError("an EC key is on P-256")
    try:
        public = {"kty": kty, **dict(zip(PUBLIC_MEMBERS[kty], members, strict=True))}
        verifier = jwk.construct(public, algorithm)
    except (JOSEError, ValueError, TypeError, KeyError):
        raise ValueError("the public members do not make a key") from None
    if kty == "RSA":
        numbers = verifier.prepared_key.public_numbers()
        if not SMALLEST_RSA <= numbers.n.bit_length() <= LARGEST_RSA or not 65537 <= numbers.e < 2**32:
            raise ValueError(f"an RSA key has at least {SMALLEST_RSA} bits and a usual exponent")
    return PublicKey(kid=kid, algorithm=algorithm, members=tuple(map(str, members)), verifier=verifier)


def strict_json(text: bytes) -> object:
    """JSON (RFC 8259) in UTF-8 without repeated members, NaN or Infinity; `ValueError` otherwise."""

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a member stands in an object twice")
        return dict(pairs)

    def constant(_: str) -> object:
        raise ValueError("NaN and Infinity are no JSON")

    try:
        found: object = json.loads(text.decode("utf-8"), object_pairs_hook=members, parse_constant=constant)
    except RecursionError:
        raise ValueError("the text is nested too deeply") from None
    return found
