"""Adopted policies, as everything in the service reads them: one that cannot be read stops nothing else."""

import logging
from collections.abc import Iterable
from functools import lru_cache

from retention.period import RetentionDataError
from retention.policy import Policy, load

log = logging.getLogger("custody.service")


@lru_cache(maxsize=256)  # an adopted document never changes
def read_policies(document: bytes) -> tuple[Policy, ...] | None:
    """The policies of an adopted document; None where it cannot be read, which the log says once.

    It was read when it was adopted: a time zone that is gone, or somebody with rights in the database, can
    make it unreadable. Kits that keep it are then refused what needs it; all others go on.
    """
    try:
        return load(document)
    except RetentionDataError as fault:
        log.error("an adopted policy cannot be read: %s", fault)
        return None


def readable(documents: Iterable[bytes]) -> tuple[Policy, ...]:
    """Every policy of these documents that can be read; `retention.alarms` tells of others."""
    return tuple(policy for document in documents for policy in read_policies(document) or ())
