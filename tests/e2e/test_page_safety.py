"""The chat page and hostile text: nothing that anybody says runs, loads, styles, or leaves its place."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.e2e.page_kit import Complaints, OpenPage, expect_live, expect_status, prose, send, shoot
from tests.stack import Stack

CORPUS = [
    "<img src=x onerror=window.pwned=1>",
    "<script>window.pwned=1</script>",
    "<svg onload=window.pwned=1><a xlink:href=javascript:window.pwned=1>x</a></svg>",
    "[click](javascript:window.pwned=1) [data](data:text/html,<script>window.pwned=1</script>) <javascript:window.pwned=1>",
    "![x](x:onerror) ![y](https://evil.example/beacon.png) ![z](javascript:window.pwned=1)",
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe><style>*{display:none}</style><base href=//evil.example>",
    "<form id=x action=javascript:window.pwned=1><button name=y>go</button></form><input onfocus=window.pwned=1 autofocus>",
    "```html\\n</code></pre><img src=x onerror=window.pwned=1>\\n```",
    '```"><img/src/onerror=window.pwned=1>\\nx\\n```',
    "[a]: javascript:window.pwned=1 'x'\\n\\n[a] <a href='vbscript:x' onclick=window.pwned=1>b</a>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--><img src=x onerror=window.pwned=1>'>",
    "\x1b[31mred\x1b[0m \x1b]8;;javascript:window.pwned=1\x07link\x1b]8;;\x07 \u202egnp.exe",
    "<details ontoggle=window.pwned=1 open>x</details><video><source onerror=window.pwned=1></video>",
]
FORBIDDEN = ", ".join(
    "img script svg:not([aria-hidden]) iframe style form base input:not([type=checkbox]) video details math link object".split()
)


@pytest.fixture
def watched(open_page: OpenPage, stack: Stack) -> Page:
    """A page of which every request elsewhere fails the test, and whose socket says what a test puts on it: `page.say`."""
    elsewhere: list[str] = []
    sockets: list[WebSocketRoute] = []

    def relay(ws: WebSocketRoute) -> None:
        ws.connect_to_server()
        sockets.append(ws)

    def watch(page: Page) -> None:
        page.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith(stack.api) else None)
        page.route_web_socket(stack.ws, relay)

    page = open_page(before=watch)
    page.elsewhere, page.sockets = elsewhere, sockets  # type: ignore[attr-defined]
    expect_live(page)
    return page


def expect_inert(page: Page, place: str) -> None:
    """Check that a part of the page holds nothing that could act, that nothing has acted, and that nobody else was asked."""
    assert page.locator(place).locator(FORBIDDEN).count() == 0
    assert page.locator(f"{place} a[href]:not([href^='http']):not([href^='mailto:']):not([href^='#/'])").count() == 0
    assert (
        page.evaluate(f"[...document.querySelectorAll('{place} *')].some(e => e.getAttributeNames().some(n => /^on/.test(n)))")
        is False
    )
    assert page.evaluate("window.pwned") is None
    assert page.elsewhere == []  # type: ignore[attr-defined]


def test_markup_in_an_answer_stays_inert(watched: Page) -> None:
    """Whatever a model says and a user asks, nothing of it runs, loads, styles or posts anything."""
    for number, evil in enumerate(CORPUS, start=1):
        send(watched, f"[[echo={evil}]]".replace("\\n", "\n"))
        expect_status(watched, number, "completed")
        expect(prose(watched, number)).to_be_visible()
        expect_inert(watched, "#thread .prose")
    expect_inert(watched, "#thread .said")
    shoot(watched, "hostile-answers")
    watched.reload()
    expect_status(watched, len(CORPUS), "completed")
    expect_inert(watched, "#thread .prose")


def test_markup_in_a_title_stays_inert(watched: Page, stack: Stack) -> None:
    """A title is text: in the list, in the heading, in the tab, and in the question before it is deleted."""
    send(watched, CORPUS[0])
    expect_status(watched, 1, "completed")
    row = watched.locator(".session", has=watched.locator("[aria-current]"))
    row.hover()
    row.get_by_title("Rename").click()
    title = "<img src=x onerror=window.pwned=1> [x](javascript:y)"
    watched.get_by_label("Title", exact=True).fill(title)
    with watched.expect_response(lambda answer: answer.request.method == "PATCH"):  # it is shown before it is stored
        watched.keyboard.press("Enter")
    expect(watched.get_by_role("heading", level=1)).to_have_text(title)
    watched.reload()
    expect(row.get_by_role("link")).to_have_text(title)
    assert title in watched.title()
    row.hover()
    row.get_by_title("Delete").click()
    expect(watched.locator("#confirm-text")).to_contain_text(title)
    for place in ("#sessions", ".top", "#confirm"):
        assert watched.locator(place).locator("img").count() == 0
    assert watched.evaluate("window.pwned") is None


def test_what_is_pushed_is_shown_as_text_and_once(watched: Page) -> None:
    """Notifications and notices are shown as the text they are, once each, and can be dismissed; unknown frames are ignored."""
    send(watched, "Hello [[echo=ok]]")
    expect_status(watched, 1, "completed")
    session_id = watched.url.rsplit("/", 1)[1]
    pushed = {"type": "notification", "id": "a" * 32, "created_at": "2026-01-01T00:00:00.000Z"}
    log = {
        "type": "notice",
        "session_id": session_id,
        "job_id": f"{session_id}.0",
        "attempt": 9,
        "created_at": "2026-01-01T00:00:00.000Z",
    }
    frames: list[Any] = [
        {**pushed, "title": "Mainten<b>ance", "text": f"At noon. {CORPUS[0]}"},
        {**pushed, "title": "Mainten<b>ance", "text": f"At noon. {CORPUS[0]}"},
        {**log, "id": "1795259121-0", "seq": 0, "text": "Your report is ready"},
        {**log, "id": "1795259121-0", "seq": 0, "text": "Your report is ready"},
        {"type": "from_the_future", "id": "x"},
        {"type": "action_requested", "session_id": session_id, "job_id": f"{session_id}.0", "id": "1795259121-1", "what": {}},
        {"type": "notification", "id": "b" * 32, "text": {"not": "text"}},
        {"type": "notification"},
        None,
        [],
        7,
    ]
    for frame in frames:
        watched.sockets[-1].send(json.dumps(frame))  # type: ignore[attr-defined]
    watched.sockets[-1].send("not JSON")  # type: ignore[attr-defined]
    toasts = watched.locator(".toast")
    expect(toasts).to_have_count(2)
    expect(toasts.first).to_contain_text("Mainten<b>ance")
    expect(toasts.first).to_contain_text(CORPUS[0])
    expect(toasts.last).to_contain_text("Your report is ready")
    shoot(watched, "pushed")
    assert toasts.locator("img, b").count() == 0
    assert watched.evaluate("window.pwned") is None
    toasts.first.get_by_role("button", name="Dismiss").click()
    expect(toasts).to_have_count(1)
    send(watched, "And on it goes [[echo=on]]")
    expect_status(watched, 2, "completed")


def test_the_policy_forbids_what_the_page_does_not_need(open_page: OpenPage, complaints: Complaints) -> None:
    """Even a script that got into the page would not run: the policy allows nothing but our own files."""
    complaints.expect("Content Security Policy")
    page = open_page()
    blocked = page.evaluate(
        """() => new Promise((done) => {
            document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective), { once: true });
            document.body.append(Object.assign(document.createElement("script"), { textContent: "window.pwned = 1" }));
        })"""
    )
    assert blocked == "script-src-elem"
    assert page.evaluate("window.pwned") is None
