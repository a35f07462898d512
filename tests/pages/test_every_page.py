"""What holds for every page: title, language, labels, a phone's width, room for a finger, nothing inline."""

import pytest
from playwright.sync_api import Page

from custody.items import TYPES
from custody.people import Function
from custody.protocol import STEPS, Custody, Legal, Retention
from desk import texts
from desk.doors import DOORS
from desk.pages.steps import RECORDS, WITH_KIT, WITH_PACKAGES
from tests.custody.story import COORDINATOR, CUSTODIAN, MAGISTRATE, NURSE, OFFICER
from tests.pages.conftest import PHONE, WIDE, Pages
from tests.pages.doings import register

UNLABELLED = """() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
    .filter((e) => !e.labels || e.labels.length === 0).map((e) => e.name)"""
SMALL = """() => [...document.querySelectorAll(
    "a[role=button], button, select, input:not([type=hidden]), summary")]
    .map((e) => [e, (e.closest("label.choice") || e).getBoundingClientRect()])
    .filter(([, box]) => box.height > 0 && box.height < 43.5).map(([e]) => e.outerHTML.slice(0, 90))"""
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
INLINE = "() => document.querySelectorAll('script:not([src]), style, [style], [onclick]').length"
TWICE = """() => { const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
    return ids.filter((id, at) => ids.indexOf(id) !== at); }"""


def check(page: Page, path: str) -> None:
    page.wait_for_load_state()
    assert page.title(), path
    assert page.get_attribute("html", "lang") == "en", path
    assert page.locator("h1").count() == 1, path
    assert page.evaluate(UNLABELLED) == [], path
    assert page.evaluate(SMALL) == [], path
    assert page.evaluate(WIDER) <= 0, path
    assert page.evaluate(INLINE) == 0, path
    assert page.evaluate(TWICE) == [], path
    assert "!" not in page.inner_text("body"), path


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "desk"])
def test_every_page_can_be_read_and_used(pages: Pages, size: dict[str, int]) -> None:
    nurse = pages.at(NURSE, size=size)
    kit = register(nurse)
    check(nurse.page, "registered")
    nurse.press("Print labels")
    all_ = f"p={kit}.1&p={kit}.2&p={kit}.3"
    shown = {
        NURSE: (
            "/",
            "/register",
            "/scan",
            f"/scan?{all_}",
            f"/kits/{kit}",
            f"/kits/{kit}?for=task",
            f"/kits/{kit}/choices",
            f"/kits/{kit}/labels",
            f"/kits/{kit}/disposal",
            "/outage",
            "/log",
            f"/do/kit.supplement?kit={kit}",
            *(
                f"/do/{action}?{all_}"
                for action in WITH_PACKAGES
                if action not in ("incident.open", "package.deposit")
            ),
            f"/do/package.split?p={kit}.1",
            f"/do/labels.swapped?p={kit}.1&p={kit}.2",
            f"/do/item.finding?kit={kit}",
            f"/do/report.declare?kit={kit}",
            f"/do/notice.attempt?kit={kit}",
        ),
        CUSTODIAN: ("/", f"/do/incident.open?{all_}", f"/kits/{kit}/disposal", "/nowhere"),
        COORDINATOR: (
            "/",
            "/readings",
            f"/readings?kit={kit}",
            *(
                f"/do/{action}?kit={kit}"
                for action in (
                    "kit.link",
                    "link.move",
                    "link.end",
                    "order.enter",
                    "term.correct",
                    "hold.lift",
                    "choices.disclose",
                )
            ),
        ),
        OFFICER: ("/", "/ask"),
        MAGISTRATE: ("/", "/log"),
    }
    for person, paths in shown.items():
        visitor = pages.at(person, size=size)
        for path in paths:
            visitor.go(path)
            check(visitor.page, path)
    stranger = pages.visitor(size=size)
    for path in ("/sign-in", "/v"):
        stranger.go(path)
        check(stranger.page, path)


def test_in_demo_mode_every_page_says_so(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    for path in ("/", "/register", "/scan", "/log", "/nowhere"):
        nurse.go(path)
        assert nurse.sees("Demo – fictional kits"), path


def test_no_page_loads_anything_from_elsewhere(pages: Pages) -> None:
    nurse = pages.at(NURSE, scripts=True)
    asked: list[str] = []
    errors: list[str] = []
    nurse.page.on("request", lambda request: asked.append(request.url))
    nurse.page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    for path in ("/", "/scan", "/register", "/v"):
        nurse.go(path)
    assert asked
    assert all(url.startswith((nurse.base_url, "data:")) for url in asked)
    assert errors == []


def test_every_state_function_type_and_step_has_words() -> None:
    assert set(texts.EVENTS) == set(STEPS)
    assert set(texts.CUSTODY) == set(Custody)
    assert set(texts.LEGAL) == set(Legal)
    assert set(texts.RETENTION) == set(Retention)
    assert set(texts.FUNCTIONS) == set(Function)
    assert set(texts.ITEMS) == set(TYPES)
    assert set(texts.ACTIONS) == {door.action for door in DOORS}


def test_every_step_can_be_reached_from_a_page() -> None:
    elsewhere = {"package.split", "labels.swapped", "disposal.carry_out", "request.answer", "event.correct"}
    elsewhere |= {"term.move", "policy.adopt", "stock_take.take"}  # of no kit, or of many: pages of their own
    assert {*WITH_KIT, *WITH_PACKAGES, *elsewhere} == {door.action for door in DOORS}
    assert set(RECORDS) <= {door.action for door in DOORS}
    assert {type_ for types in RECORDS.values() for type_ in types} <= set(STEPS)
