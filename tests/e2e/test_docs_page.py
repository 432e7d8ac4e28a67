"""The pages that describe the API, in a real Chromium: the guides are shown, and lead to the descriptions."""

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect, sync_playwright
from werkzeug.serving import make_server

from chatapp.api import create_app
from tests.e2e.page_kit import WAIT_MS
from tests.fakes import fake_services


@pytest.fixture
def address() -> Iterator[str]:
    """The API over fakes, on a free port."""
    server = make_server("127.0.0.1", 0, create_app(fake_services()), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()


def test_the_guide_of_the_socket_is_shown_beside_the_api(chromium: str, address: str) -> None:
    """From Swagger UI to the guide, its tables and transcript, and on to another guide; nothing is said on the console."""
    complaints: list[str] = []
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{address}/docs")
        expect(page.locator(".info a[href='/asyncapi.json']")).to_be_visible()
        page.get_by_role("link", name="WebSocket", exact=True).click()
        expect(page).to_have_title("The WebSocket · chatapp")
        expect(page.get_by_role("cell", name="4013", exact=True).first).to_be_visible()
        expect(page.locator("pre").first).to_contain_text('"type":"connected"')
        page.get_by_role("link", name="errors.md", exact=True).first.click()
        expect(page).to_have_url(f"{address}/docs/errors")
        expect(page.locator("main h1")).to_be_visible()
        browser.close()
    assert complaints == []
