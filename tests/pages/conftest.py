"""People at the pages: a real browser, without JavaScript unless a test asks for it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from custody.people import Actor
from tests.desk.conftest import Desk, desk

__all__ = ["desk"]

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1280, "height": 900}


@pytest.fixture
def browser(desk: Desk, chromium: str) -> Iterator[Browser]:
    """A browser of one test, started after the desk: the driver keeps an event loop of its own running."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield started
        started.close()


@dataclass
class Visitor:
    """One person at a browser of their own."""

    page: Page
    base_url: str

    def go(self, path: str) -> int:
        """Open a page of the service; its status."""
        answer = self.page.goto(self.base_url + path)
        self.page.wait_for_load_state()
        assert answer is not None
        return answer.status

    def press(self, name: str) -> None:
        """Press a button, or a link that looks like one, and wait for the page it leads to."""
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=name, exact=True).first.click()

    def sees(self, text: str) -> bool:
        return text in self.page.inner_text("body")

    def fill(self, **values: str) -> None:
        for name, value in values.items():
            self.page.fill(f"[name='{name}']", value)

    def choose(self, **values: str) -> None:
        for name, value in values.items():
            self.page.select_option(f"select[name='{name}']", value)

    def check(self, **values: str) -> None:
        for name, value in values.items():
            self.page.check(f"input[name='{name}'][value='{value}']")

    def scan(self, code: str) -> None:
        """What a scanner does: type into the field that has the focus, and Enter."""
        expect(self.page.locator("#code")).to_be_focused()
        self.page.keyboard.type(code)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")


@dataclass
class Pages:
    """Opens browsers at the running service."""

    browser: Browser
    desk: Desk
    contexts: list[BrowserContext] = field(default_factory=list)

    def visitor(self, *, scripts: bool = False, size: dict[str, int] | None = None) -> Visitor:
        width, height = (size or PHONE)["width"], (size or PHONE)["height"]
        context = self.browser.new_context(
            viewport={"width": width, "height": height}, java_script_enabled=scripts
        )
        context.set_default_timeout(15_000)
        self.contexts.append(context)
        return Visitor(context.new_page(), self.desk.base_url)

    def at(self, person: Actor, *, scripts: bool = False, size: dict[str, int] | None = None) -> Visitor:
        """This person, signed in."""
        made = self.visitor(scripts=scripts, size=size)
        made.go("/sign-in")
        made.press(f"Sign in as {person.name}")
        return made


@pytest.fixture
def pages(browser: Browser, desk: Desk) -> Iterator[Pages]:
    made = Pages(browser, desk)
    yield made
    for context in made.contexts:
        context.close()


@pytest.fixture
def clerk(desk: Desk) -> Iterator[Callable[[], None]]:
    """`clerk()` starts the clerk, which integrates and signs."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CUSTODY_")}
        environment |= {
            "CUSTODY_DEMO": "fictional",
            "CUSTODY_DATA": str(desk.settings.data),
            "CUSTODY_KEYS": str(desk.settings.keys),
            "CUSTODY_ORIGIN": desk.settings.origin,
            "CUSTODY_DATABASE_URL": desk.database.url("service").replace("+psycopg", ""),
            "CUSTODY_CLERK_DATABASE_URL": desk.database.url("clerk").replace("+psycopg", ""),
        }
        command = [sys.executable, "-m", "desk.cli", "clerk"]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))

    yield start
    for each in started:
        each.terminate()
        each.wait(30)
