"""What people do at the pages in more than one story."""

from tests.pages.conftest import Visitor

FORM = {"name": "agreement.pdf", "mimeType": "application/pdf", "buffer": b"an invented form"}


def fill_registration(nurse: Visitor, *, card: str = "issued") -> None:
    """Three packages with seven items, as after an examination."""
    page = nurse.page
    nurse.check(age_class="adult", card=card)
    for package, seal in enumerate(("S-1", "S-2", "S-3"), 1):
        page.fill(f"#seal-{package}", seal)
    for package, (type_, count) in enumerate((("swab_skin", "4"), ("underwear", "1")), 1):
        page.select_option(f"#type-{package}-1", type_)
        page.fill(f"#count-{package}-1", count)
    page.select_option("#type-3-1", "urine_toxicology")
    page.fill("#count-3-1", "2")
    page.fill("#until-3", "2099-05-01")
    page.set_input_files("#form_digest_file", FORM)  # type: ignore[arg-type]


def register(nurse: Visitor, *, card: str = "issued") -> str:
    """Register a kit; its number. The page with the card is left open."""
    nurse.go("/register")
    fill_registration(nurse, card=card)
    nurse.press("Register")
    assert nurse.sees("Kit registered")
    return nurse.page.locator(".secret").first.inner_text().replace("-", "")


def labels_of(visitor: Visitor, kit: str) -> list[str]:
    """The codes of the labels of the three packages, as a scanner reads them."""
    found = []
    for part in ("P01", "P02", "P03"):
        response = visitor.page.request.get(f"{visitor.base_url}/api/kits/{kit}/labels.zpl?part={part}")
        assert response.ok, response.text()
        code = next(line for line in response.text().split("^FD") if line.startswith("QA,"))
        found.append(code.removeprefix("QA,").split("^")[0])
    return found


def scan_all(visitor: Visitor, codes: list[str]) -> None:
    for code in codes:
        visitor.scan(code)


def see_seals(visitor: Visitor) -> None:
    """Look at every seal of the form and find it intact."""
    for box in visitor.page.locator("input[name^='condition:'][value='intact']").all():
        box.check()
