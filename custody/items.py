"""Types of items: what the Forensisch Stappenplan collects, as data (``seed/items.json``)."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

TYPES: Final[Mapping[str, Mapping[str, Any]]] = json.loads(
    files("custody").joinpath("seed", "items.json").read_text(encoding="utf-8")
)["types"]
