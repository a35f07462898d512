"""The two engines that must read everything we print: ZXing (also in phones and browsers) and zbar."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pypdfium2  # type: ignore[import-untyped]
import zxingcpp
from PIL import Image

from tests.conftest import missing


def read_by_zxing(picture: Image.Image) -> list[str]:
    """What ZXing reads, sorted; only ordinary QR codes count."""
    found = zxingcpp.read_barcodes(picture)
    assert {code.format for code in found} <= {
        zxingcpp.BarcodeFormat.QRCode,
        zxingcpp.BarcodeFormat.QRCodeModel2,
    }
    return sorted(code.text for code in found)


def read_by_zbar(picture: Image.Image, folder: Path) -> list[str]:
    """What zbar reads, sorted."""
    zbar = shutil.which("zbarimg")
    if zbar is None:
        missing("The second scanner zbarimg", "apt-get install zbar-tools")
    path = folder / "scan.png"
    picture.save(path)
    command = [zbar or "zbarimg", "--quiet", "--raw", "--nodbus", "-Sdisable", "-Sqrcode.enable", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode in (0, 4), run.stderr  # 4: nothing found
    return sorted(run.stdout.splitlines())


def pdf_pages(pdf: bytes, dots_per_inch: int = 300) -> list[Image.Image]:
    """The pages as a printer would draw them."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        return [page.render(scale=dots_per_inch / 72).to_pil().convert("L") for page in document]
    finally:
        document.close()


def pdf_texts(pdf: bytes) -> list[str]:
    """The text of each page, as a reader can select it."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        return [page.get_textpage().get_text_range() for page in document]
    finally:
        document.close()
