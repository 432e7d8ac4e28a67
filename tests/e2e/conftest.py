"""A real Chromium on the whole stack, for the tests of the page."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.e2e.page_kit import DESKTOP, WAIT_MS, Complaints, OpenPage
from tests.stack import Stack, started_stack

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """Fails the test when a page of it said something on its console, or threw, that the test has not staged."""
    heard = Complaints()
    yield heard
    assert heard.unexpected == []


@pytest.fixture
def open_page(browser: Browser, complaints: Complaints, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """Opens the page in a window of its own; `path` follows the address of `at`, the rest goes to the browser's context."""
    contexts: list[BrowserContext] = []

    def open_it(
        path: str = "/", *, at: Stack | None = None, before: Callable[[Page], object] | None = None, **options: object
    ) -> Page:
        context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce", **options})  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        context.on("page", complaints.listen)
        page = context.new_page()
        if before:
            before(page)
        address = (at or request.getfixturevalue("stack")).api
        page.goto(address + path)
        return page

    expect.set_options(timeout=WAIT_MS)
    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own for the tests that kill its processes; it gives up on a turn after two failures."""
    with started_stack(tmp_path_factory.mktemp("faulty"), env={"MAX_FAILURES": "2", "RETRY_SECONDS": "5"}) as running:
        yield running
