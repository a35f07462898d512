"""The key under which counted attempts are kept apart from whoever reads the database.

An address of the Internet is guessed quickly: there are 2^32 of them, and a plain digest of each is made in
minutes. So what attempts go against is hashed under 32 random bytes that lie in the folder of keys
(`attempts.key`) and never in the database; all processes of one service share them. Losing the file loses
counts and nothing else: a new one is made at the next start.
"""

import os
import secrets
import stat
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

from desk.masters import alone, write_new
from desk.settings import CannotStart

FILE: Final = "attempts.key"
BYTES: Final = 32
NETWORK: Final = 64
"""Bits of an IPv6 address that are counted together: within them a subscriber has addresses without end."""


def attempt_key(keys: Path) -> bytes:
    """The key in the folder `keys`, made where there is none. Several processes may come here at once: one
    key is made. Raises CannotStart for a file that others can read, or that is no such key."""
    path = keys / FILE
    with alone(keys):
        if not path.exists():
            write_new(path, secrets.token_bytes(BYTES))
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise CannotStart(f"{path} can be read by others. Set its mode to 0600, or delete it.")
        found = file.read(BYTES + 1)
    if len(found) != BYTES:
        raise CannotStart(f"{path} is not a key of {BYTES} bytes. Delete it; a new one is made.")
    return found


def asker(address: str | None) -> str:
    """What an address counts as: IPv4 as it is, of IPv6 the network of the subscriber."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(IPv6Address(int(found) >> (128 - NETWORK) << (128 - NETWORK)))
    return str(found)
