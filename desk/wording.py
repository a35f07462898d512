"""The words of a notice, in the language that was agreed: one data file, and what may never stand in it."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

WORDING: Final = Path(__file__).parent / "seed" / "notice_wording.json"
LANGUAGES: Final = ("nl", "fr", "de", "en")
_LONG: Final = re.compile(r"\w{5}|\W")


@cache
def _data() -> Mapping[str, Any]:
    read: Mapping[str, Any] = json.loads(WORDING.read_text(encoding="utf-8"))
    return read


def wording(language: str) -> Mapping[str, str]:
    """The texts in the language that was agreed; English where there is none in it."""
    texts: Mapping[str, Mapping[str, str]] = _data()["texts"]
    return texts[language] if language in texts else texts["en"]


def telling(text: str) -> str | None:
    """The first thing in a text that would tell what it is about; None where it is neutral.

    Words of up to four letters count where they stand alone, longer ones also inside of others.
    """
    lowered = text.lower()
    alone_in_it = set(re.findall(r"\w+", lowered))
    found = (w for w in _data()["never"] if w in alone_in_it or (w in lowered and _LONG.search(w)))
    return next(found, None)
