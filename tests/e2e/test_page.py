"""The chat page, in a real Chromium, on the whole stack."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect, sync_playwright

from tests.stack import ROOT, Stack

SHOTS = ROOT / ".artifacts" / "page"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update", "--disable-sync"]
WAIT_MS = 20_000
PHONE = {"width": 360, "height": 740}

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the console of every page of the test said as an error; checked by the tests in which nothing may be wrong."""
    return []


@pytest.fixture
def open_page(browser: Browser, stack: Stack, complaints: list[str]) -> Iterator[OpenPage]:
    """Opens the page in a window of its own; `path` follows the stack's address, the rest goes to the browser's context."""
    contexts: list[BrowserContext] = []

    def open_it(path: str = "/", *, before: Callable[[Page], object] | None = None, **options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 820}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if before:
            before(page)
        page.goto(stack.api + path)
        return page

    expect.set_options(timeout=WAIT_MS)
    yield open_it
    for context in contexts:
        context.close()


def send(page: Page, text: str) -> None:
    """Type a message and press Enter."""
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def turn(page: Page, number: int) -> Locator:
    """The article of a turn, counted from 1."""
    return page.locator("article.turn").nth(number - 1)


def expect_status(page: Page, number: int, status: str) -> None:
    """Wait until a turn is shown with that status."""
    expect(turn(page, number)).to_have_attribute("data-status", status)


def answer_of(stack: Stack, page: Page, number: int) -> str:
    """The stored answer of a turn that is shown."""
    job_id = turn(page, number).get_attribute("data-job")
    job = httpx.get(f"{stack.api}/jobs/{job_id}", headers=stack.headers()).raise_for_status().json()
    return str(job["answer"])


def shoot(page: Page, name: str) -> Path:
    """Keep a picture for whoever looks at the run."""
    path = SHOTS / f"{name}.png"
    page.screenshot(path=path)
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_empty_page_offers_examples_and_goes_live(open_page: OpenPage, complaints: list[str], scheme: str) -> None:
    """The page loads without a word on the console, connects, and offers prompts of which one stages a fault."""
    page = open_page(color_scheme=scheme)
    expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
    expect(page.locator(".example")).to_have_count(3)
    expect(page.locator(".example code").first).to_contain_text("[[")
    shoot(page, f"empty-{scheme}")
    assert complaints == []


def test_two_turns_are_streamed_and_stored_as_shown(open_page: OpenPage, stack: Stack, complaints: list[str]) -> None:
    """An answer grows on the screen, ends as it was stored, and the second turn knows of the first."""
    page = open_page()
    send(page, "Tell me of herons [[delay=0.03]]")
    expect(turn(page, 1).locator(".prose.growing")).to_be_visible()
    expect_status(page, 1, "completed")
    send(page, "And what did I say before?")
    expect_status(page, 2, "completed")
    expect(turn(page, 2).locator(".prose")).to_contain_text("Tell me of herons")
    for number in (1, 2):
        words = re.findall(r"\w+", turn(page, number).locator(".prose").inner_text())
        assert words == re.findall(r"\w+", answer_of(stack, page, number))
    expect(turn(page, 2).locator(".foot")).to_contain_text("events")
    expect(page.locator(".session [aria-current]")).to_have_text("Tell me of herons")
    shoot(page, "two-turns")
    assert complaints == []


def test_an_example_is_sent_with_one_click(open_page: OpenPage) -> None:
    """A suggestion of the empty page is a message."""
    page = open_page()
    page.locator(".example").first.click()
    expect_status(page, 1, "completed")
    expect(turn(page, 1).locator(".code").get_by_role("button", name="Copy code")).to_be_visible()


def test_a_reload_in_mid_answer_goes_on_with_it(open_page: OpenPage, stack: Stack, complaints: list[str]) -> None:
    """A page that is loaded again shows the answer from its beginning and follows it to its end."""
    page = open_page()
    send(page, "Keep talking [[tokens=80]] [[delay=0.04]]")
    expect(turn(page, 1).locator(".prose")).to_contain_text("directive")
    page.reload()
    expect_status(page, 1, "running")
    expect(turn(page, 1).locator(".prose")).to_contain_text("Every token of this answer")
    shoot(page, "reloaded-in-mid-answer")
    expect_status(page, 1, "completed")
    assert turn(page, 1).locator(".prose").inner_text().split() == answer_of(stack, page, 1).split()
    assert complaints == []


def test_messages_sent_meanwhile_wait_for_their_turn(open_page: OpenPage) -> None:
    """Turns of one conversation say that they wait, and are answered in order."""
    page = open_page()
    send(page, "First [[tokens=40]] [[delay=0.04]]")
    send(page, "Second [[echo=two]]")
    send(page, "Third [[echo=three]]")
    expect(turn(page, 2).locator(".state")).to_contain_text("waiting for the previous turn")
    expect(turn(page, 3).locator(".state")).to_contain_text("waiting for 2 earlier turns")
    shoot(page, "queued")
    expect_status(page, 3, "completed")
    expect(turn(page, 2).locator(".prose")).to_have_text("two")
    expect(turn(page, 3).locator(".prose")).to_have_text("three")


def test_a_failure_is_said_and_can_be_tried_again(open_page: OpenPage, complaints: list[str]) -> None:
    """A failed turn shows its reason and code; tried again, the new answer stands in its place, also on a page loaded later."""
    page = open_page()
    send(page, "Please fail once [[fail=1]] [[status=400]]")
    expect_status(page, 1, "failed")
    expect(turn(page, 1).locator(".problem")).to_contain_text("model_request_invalid")
    shoot(page, "failed")
    failed = turn(page, 1).get_attribute("data-job")
    turn(page, 1).get_by_role("button", name="Try again").click()
    expect_status(page, 1, "completed")
    for _ in range(2):
        expect(page.locator("article.turn")).to_have_count(1)
        expect(turn(page, 1).locator(".said")).to_have_text("Please fail once [[fail=1]] [[status=400]]")
        assert turn(page, 1).get_attribute("data-job") != failed
        page.reload()
        expect_status(page, 1, "completed")
    assert complaints == []


def test_an_attempt_that_fails_is_counted_down_and_repeated(open_page: OpenPage, complaints: list[str]) -> None:
    """While the next attempt is awaited the page says which one failed, why, and how long it takes, loaded anew or not."""
    page = open_page()
    send(page, "Fail twice, then answer [[fail=2]]")
    expect_status(page, 1, "retrying")
    expect(turn(page, 1).locator(".state")).to_contain_text("Attempt 1 failed (provider_unavailable). Trying again in")
    expect(turn(page, 1).locator(".state")).to_contain_text("Attempt 2 failed (provider_unavailable). Trying again in 3 s")
    shoot(page, "retrying")
    page.reload()
    expect(turn(page, 1).locator(".state")).to_contain_text("Attempt 2 failed (provider_unavailable). Trying again")
    expect_status(page, 1, "completed")
    turn(page, 1).locator(".foot .fact").click()
    expect(turn(page, 1).locator(".trace")).to_contain_text("message_retrying")
    shoot(page, "retried")
    assert complaints == []


def test_an_answer_is_stopped_and_keeps_what_was_said(open_page: OpenPage, stack: Stack, complaints: list[str]) -> None:
    """Stop ends what runs and what waits; the text so far stays, is what was stored, and can be asked for again."""
    page = open_page()
    send(page, "Talk at length [[tokens=400]] [[delay=0.05]]")
    send(page, "And this waits [[echo=never]]")
    expect(turn(page, 1).locator(".prose")).to_contain_text("directive")
    shoot(page, "streaming")
    turn(page, 2).get_by_role("button", name="Stop").click()
    expect_status(page, 2, "cancelled")
    turn(page, 1).get_by_role("button", name="Stop").click()
    expect_status(page, 1, "cancelled")
    expect(turn(page, 1).locator(".problem")).to_contain_text("What had been answered by then was kept")
    expect(turn(page, 2).locator(".problem")).to_contain_text("Nothing had been answered yet")
    shoot(page, "stopped")
    for _ in range(2):
        words = re.findall(r"\w+", turn(page, 1).locator(".prose").inner_text())
        assert words == re.findall(r"\w+", answer_of(stack, page, 1))
        assert "directive" in words
        page.reload()
        expect_status(page, 1, "cancelled")
        expect(turn(page, 1).locator(".prose")).to_contain_text("directive")
    assert complaints == []


def test_a_message_that_waits_for_its_next_attempt_can_be_stopped(open_page: OpenPage) -> None:
    """Nobody has to sit through the retries."""
    page = open_page()
    send(page, "Fail for long [[fail=9]]")
    expect_status(page, 1, "retrying")
    turn(page, 1).get_by_role("button", name="Stop").click()
    expect_status(page, 1, "cancelled")
    expect(turn(page, 1).get_by_role("button", name="Try again")).to_be_visible()


@pytest.mark.parametrize(
    "evil",
    [
        "<img src=x onerror=window.pwned=1>",
        "<script>window.pwned=1</script>",
        "<svg onload=window.pwned=1><a xlink:href=javascript:window.pwned=1>x</a></svg>",
        "[click](javascript:window.pwned=1) ![x](x:onerror)",
        "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe><style>*{display:none}</style>",
        "<form id=x action=javascript:window.pwned=1><button name=y>go</button></form>",
    ],
)
def test_markup_in_an_answer_stays_inert(open_page: OpenPage, complaints: list[str], evil: str) -> None:
    """Whatever a model says, nothing of it runs, loads, styles or posts anything."""
    page = open_page()
    send(page, f"[[echo={evil}]]")
    expect_status(page, 1, "completed")
    prose = turn(page, 1).locator(".prose")
    expect(prose).to_be_visible()
    assert prose.locator("img, script, svg, iframe, style, form, button, [onload], [onerror]").count() == 0
    assert prose.locator("a[href^='javascript' i]").count() == 0
    assert page.evaluate("window.pwned") is None
    assert complaints == []


def test_events_are_taken_once_and_gaps_are_noticed(open_page: OpenPage) -> None:
    """Of events that come twice, late or with a gap the page makes the log; a new attempt drops the partial text."""
    told = open_page().evaluate(
        """async () => {
            const { apply, newTurn } = await import("/static/app/turn.js");
            const turn = newTurn({ jobId: "a.1" });
            const take = (id, type, fields) => apply(turn, { id, type, created_at: "2026-01-01T00:00:00Z", ...fields });
            const outcomes = [
                take("1-0", "message_started", { model: "m" }),
                take("1-1", "message_delta", { kind: "text", text: "a" }),
                take("1-1", "message_delta", { kind: "text", text: "a" }),
                take("1-3", "message_delta", { kind: "text", text: "c" }),
                take("1-2", "message_delta", { kind: "reasoning", text: "b" }),
                take("1-3", "message_delta", { kind: "text", text: "c" }),
                take("1-4", "message_retrying", { retry_in: 2, reason: "r", failures: 1 }),
            ];
            const before = [turn.text, turn.status];
            outcomes.push(take("2-0", "message_reset", { model: "m" }));
            outcomes.push(take("1-9", "message_delta", { kind: "text", text: "stale" }));
            outcomes.push(take("2-10", "message_snapshot", { text: "snap", through: "2-10" }));
            outcomes.push(take("2-11", "from_the_future", {}));
            outcomes.push(take("2-12", "message_delta", { kind: "text", text: "shot" }));
            const partial = turn.text;
            outcomes.push(take("3-0", "message_completed", { text: "whole", model: "m", finish_reason: "stop" }));
            return { outcomes, before, partial, after: [turn.text, turn.status], events: turn.events };
        }"""
    )
    assert told["outcomes"] == ["applied", "applied", "stale", "gap", *["applied"] * 4, "stale", *["applied"] * 4]
    assert told["before"] == ["ac", "retrying"]
    assert told["partial"] == "snapshot"
    assert told["after"] == ["whole", "completed"]
    assert told["events"] == 10


def test_markdown_is_rendered_and_links_open_safely(open_page: OpenPage) -> None:
    """Markdown becomes elements; a link opens elsewhere, without a handle on this page; an image is only a link."""
    page = open_page()
    send(page, "[[echo=**bold** `code` [docs](https://example.org/a) ![pic](https://example.org/p.png)]]")
    expect_status(page, 1, "completed")
    prose = turn(page, 1).locator(".prose")
    expect(prose.locator("strong")).to_have_text("bold")
    expect(prose.locator("code")).to_have_text("code")
    link = prose.get_by_role("link", name="docs")
    expect(link).to_have_attribute("rel", re.compile("noopener"))
    expect(link).to_have_attribute("target", "_blank")
    expect(prose.get_by_role("link", name="pic")).to_have_attribute("href", "https://example.org/p.png")


def test_the_page_works_at_the_width_of_a_phone(open_page: OpenPage, complaints: list[str]) -> None:
    """At 360 px nothing is wider than the screen, and the conversations are a drawer."""
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    shoot(page, "phone-empty")
    send(page, "Write some python code, please")
    expect_status(page, 1, "completed")
    shoot(page, "phone-answer")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    expect(page.locator("#side")).not_to_be_visible()
    page.get_by_role("button", name="Open the list of conversations").click()
    expect(page.locator(".session [aria-current]")).to_be_visible()
    shoot(page, "phone-drawer")
    page.keyboard.press("Escape")
    expect(page.locator("#side")).not_to_be_visible()
    assert complaints == []


def test_conversations_are_renamed_and_deleted(open_page: OpenPage, stack: Stack) -> None:
    """A title can be changed and a conversation deleted, here and on the server."""
    page = open_page()
    send(page, "A passing thought [[echo=ok]]")
    expect_status(page, 1, "completed")
    session_id = page.url.rsplit("/", 1)[1]
    row = page.locator(f"[data-session='{session_id}']")
    row.hover()
    row.get_by_title("Rename").click()
    page.get_by_label("Title").fill("Herons")
    with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Herons")
    address = f"{stack.api}/sessions/{session_id}"
    assert httpx.get(address, headers=stack.headers()).json()["title"] == "Herons"
    row.hover()
    row.get_by_title("Delete").click()
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.get_by_role("button", name="Delete", exact=True).click()
    expect(row).to_have_count(0)
    expect(page.locator("#welcome")).to_be_visible()
    assert httpx.get(address, headers=stack.headers()).status_code == 404


def test_the_keyboard_is_enough(open_page: OpenPage) -> None:
    """Shift+Enter breaks the line, Enter sends, Ctrl+K begins a new chat and leaves the cursor in the box."""
    page = open_page()
    box = page.get_by_label("Message", exact=True)
    expect(box).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two [[echo=ok]]")
    page.keyboard.press("Enter")
    expect_status(page, 1, "completed")
    expect(turn(page, 1).locator(".said")).to_have_text("one\ntwo [[echo=ok]]", use_inner_text=True)
    page.keyboard.press("Control+k")
    expect(page.locator("article.turn")).to_have_count(0)
    expect(box).to_be_focused()


def test_two_windows_show_the_same_answer(open_page: OpenPage, stack: Stack) -> None:
    """What is sent in one window appears and grows in another one of the same user."""
    page = open_page()
    send(page, "Hello from here [[echo=ok]]")
    expect_status(page, 1, "completed")
    other = open_page(page.url.removeprefix(stack.api))
    expect_status(other, 1, "completed")
    send(page, "And again [[tokens=30]] [[delay=0.03]]")
    expect_status(other, 2, "running")
    expect(turn(other, 2).locator(".said")).to_contain_text("And again")
    expect_status(other, 2, "completed")
    expect(turn(other, 2).locator(".prose")).to_have_text(turn(page, 2).locator(".prose").inner_text())


def test_without_a_socket_answers_are_polled(open_page: OpenPage, stack: Stack) -> None:
    """Where no WebSocket gets through the page says so and fetches the answer."""
    page = open_page(before=lambda page: page.route_web_socket(stack.ws, lambda ws: ws.close(code=1011)))
    send(page, "Anybody there? [[echo=still here]]")
    expect_status(page, 1, "completed")
    expect(turn(page, 1).locator(".prose")).to_have_text("still here")
    expect(page.locator("#banner")).to_contain_text("Nothing that was accepted is lost")
    shoot(page, "without-socket")


def test_a_socket_that_is_cut_in_mid_answer_resumes(open_page: OpenPage, stack: Stack) -> None:
    """A connection that is lost while an answer streams comes back, and the answer has no gap and no repetition."""
    opened: list[Callable[..., None]] = []

    def pass_through(page: Page) -> None:
        def relay(ws: object) -> None:
            ws.connect_to_server()  # type: ignore[attr-defined]
            opened.append(ws.close)  # type: ignore[attr-defined]

        page.route_web_socket(stack.ws, relay)

    page = open_page(before=pass_through)
    send(page, "Go on [[tokens=80]] [[delay=0.03]]")
    expect(turn(page, 1).locator(".prose")).to_contain_text("directive")
    opened[-1](code=1012, reason="restarting, reconnect_in=0.3")
    expect_status(page, 1, "completed")
    assert len(opened) > 1
    assert turn(page, 1).locator(".prose").inner_text().split() == answer_of(stack, page, 1).split()
    seen = turn(page, 1).locator(".foot .fact").inner_text()
    turn(page, 1).locator(".foot .fact").click()
    last = turn(page, 1).locator(".trace tr").last.locator("td").first.inner_text()
    assert last == f"1-{int(seen.split()[0]) - 1}"


def test_a_message_that_was_not_sent_is_kept_and_sent_once(open_page: OpenPage) -> None:
    """A refused connection keeps the text with a button; the repeated posts share one Idempotency-Key."""
    keys: list[str] = []
    page = open_page()

    def refuse(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        route.abort()

    page.route("**/chat", refuse)
    send(page, "Are you there? [[echo=yes]]")
    expect_status(page, 1, "unsent")
    shoot(page, "unsent")
    page.unroute("**/chat")
    with page.expect_request("**/chat") as sent:
        turn(page, 1).get_by_role("button", name="Send again").click()
    expect_status(page, 1, "completed")
    assert {*keys, sent.value.headers["idempotency-key"]} == {keys[0]}


def test_without_a_development_token_the_page_asks_for_one(open_page: OpenPage, stack: Stack) -> None:
    """In production a token is pasted; one that is refused is asked for again, and a good one opens the page."""
    config = httpx.get(f"{stack.api}/app-config").json() | {"dev_token": None}
    page = open_page(before=lambda page: page.route("**/app-config", lambda route: route.fulfill(json=config)))
    dialog = page.get_by_role("dialog", name="Sign in")
    field = page.get_by_label("Access token")
    field.fill("not.a.token")
    shoot(page, "sign-in")
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog).to_contain_text("refused")
    field.fill(stack.token_for("someone-else"))
    dialog.get_by_role("button", name="Sign in").click()
    expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
    expect(page.locator("#sessions")).to_contain_text("Your conversations")
    send(page, "Hello [[echo=signed in]]")
    expect(turn(page, 1).locator(".prose")).to_have_text("signed in")
