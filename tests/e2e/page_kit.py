"""What the tests of the chat page share: how a user writes and reads, and what the stored truth is."""

import re
from collections.abc import Callable

import httpx2 as httpx
from playwright.sync_api import Locator, Page, expect

from tests.stack import ROOT, Stack

SHOTS = ROOT / ".artifacts" / "screenshots"
"""Pictures for whoever looks at a run. Git ignores the folder; CI keeps it."""

WAIT_MS = 20_000
"""The longest that anything on a page is waited for."""

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

OpenPage = Callable[..., Page]


class Complaints:
    """What the consoles of a test's pages said as an error. Nothing may, but what the test itself has staged."""

    def __init__(self) -> None:
        self._heard: list[str] = []
        self._staged: list[str] = []

    def listen(self, page: Page) -> None:
        """Hear a page's errors: of its console, and those that nobody caught."""
        page.on("console", lambda message: self._heard.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self._heard.append(f"not caught: {error}"))

    def expect(self, *parts: str) -> None:
        """Say what a browser will note of what the test does to it: part of its text."""
        self._staged += parts

    @property
    def unexpected(self) -> list[str]:
        """What nobody has staged."""
        return [text for text in self._heard if not any(part in text for part in self._staged)]


def send(page: Page, text: str) -> None:
    """Type a message and press Enter."""
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def turn(page: Page, number: int) -> Locator:
    """The article of a turn, counted from 1."""
    return page.locator("article.turn").nth(number - 1)


def prose(page: Page, number: int) -> Locator:
    """The answer of a turn, as it is shown."""
    return turn(page, number).locator(".prose")


def expect_status(page: Page, number: int, status: str) -> None:
    """Wait until a turn is shown with that status."""
    expect(turn(page, number)).to_have_attribute("data-status", status)


def expect_live(page: Page) -> None:
    """Wait until events arrive over the socket."""
    expect(page.locator("#link-state")).to_have_attribute("data-state", "open")


def words(text: str) -> list[str]:
    """The words of a text, without Markdown's signs."""
    return re.findall(r"\w+", text)


def expect_stored_answer(page: Page, number: int, stack: Stack) -> None:
    """Check that a turn shows what is stored: nothing is missing, nothing is there twice."""
    job_id = turn(page, number).get_attribute("data-job")
    job = httpx.get(f"{stack.api}/jobs/{job_id}", headers=stack.headers()).raise_for_status().json()
    assert words(prose(page, number).inner_text()) == words(job["answer"])


def shoot(page: Page, name: str) -> None:
    """Keep a picture."""
    page.screenshot(path=SHOTS / f"{name}.png")
