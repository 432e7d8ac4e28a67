"""The chat page when the connection is bad: cut, away, refused, silent; and nothing that was written is lost or doubled."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from tests.e2e.page_kit import Complaints, OpenPage, expect_live, expect_status, expect_stored_answer, prose, send, shoot, turn
from tests.stack import Stack

NO_NETWORK = "net::ERR_INTERNET_DISCONNECTED"
REFUSED = "net::ERR_FAILED"


@dataclass
class Sockets:
    """The page's WebSockets, in a hand that can close them as a server would. `refuse` closes each at once with that code."""

    opened: list[WebSocketRoute] = field(default_factory=list)
    refuse: int | None = None

    def before(self, stack: Stack) -> Callable[[Page], None]:
        """Stand between the page and the stack's WebSocket server."""

        def relay(ws: WebSocketRoute) -> None:
            self.opened.append(ws)
            if self.refuse is None:
                ws.connect_to_server()
            else:
                ws.close(code=self.refuse)

        return lambda page: page.route_web_socket(stack.ws, relay)

    def wait_for(self, count: int, page: Page) -> None:
        """Wait until the page has opened so many."""
        while len(self.opened) < count:
            page.wait_for_timeout(20)


def test_three_seconds_offline_cost_nothing(open_page: OpenPage, stack: Stack, complaints: Complaints) -> None:
    """Offline in mid-answer: a banner says so, what is sent waits, and once back all of it arrives, once, by itself."""
    complaints.expect(NO_NETWORK)
    page = open_page()
    send(page, "Keep talking [[tokens=80]] [[delay=0.05]]")
    expect(prose(page, 1)).to_contain_text("directive")
    page.context.set_offline(True)
    banner = page.locator("#banner")
    expect(banner).to_contain_text("You are offline")
    send(page, "Written meanwhile [[echo=arrived]]")
    expect(turn(page, 2).locator(".state")).to_contain_text("Waiting for the connection")
    # Chromium keeps a socket that carries nothing open: after 3 s without an answer the page gives it up.
    expect(page.locator("#link-state")).to_have_attribute("data-state", "waiting")
    shoot(page, "offline")
    page.context.set_offline(False)
    expect(banner).to_be_hidden()
    expect_status(page, 2, "completed")
    expect(prose(page, 2)).to_have_text("arrived")
    expect_stored_answer(page, 1, stack)
    page.reload()
    expect_status(page, 2, "completed")
    expect(page.locator("article.turn")).to_have_count(2)


def test_a_socket_that_is_cut_in_mid_answer_resumes(open_page: OpenPage, stack: Stack) -> None:
    """A server that restarts says when to come back; the answer has no gap and no repetition, and no event is missing."""
    sockets = Sockets()
    page = open_page(before=sockets.before(stack))
    expect_live(page)
    send(page, "Go on [[tokens=80]] [[delay=0.04]]")
    expect(prose(page, 1)).to_contain_text("directive")
    with stack.model_held():
        sockets.opened[-1].close(code=1012, reason="restarting, reconnect_in=0.3")
        sockets.wait_for(2, page)
    expect_status(page, 1, "completed")
    assert len(sockets.opened) == 2
    expect_stored_answer(page, 1, stack)
    turn(page, 1).locator(".foot .fact").click()
    last = turn(page, 1).locator(".trace tr").last.locator("td")
    expect(last.nth(1)).to_have_text("message_completed")
    seen = turn(page, 1).locator(".foot .fact").inner_text()
    assert last.first.inner_text() == f"1-{int(seen.split()[0]) - 1}"


def test_what_another_window_did_meanwhile_is_caught_up_with(open_page: OpenPage, stack: Stack) -> None:
    """A turn that began and ended while this window was cut off is there when it is back."""
    sockets = Sockets()
    page = open_page(before=sockets.before(stack))
    send(page, "Hello [[echo=ok]]")
    expect_status(page, 1, "completed")
    sockets.opened[-1].close(code=1012, reason="restarting, reconnect_in=1.5")
    session_id = page.url.rsplit("/", 1)[1]
    posted = httpx.post(
        f"{stack.api}/chat", headers=stack.headers(), json={"message": "From afar [[echo=far]]", "session_id": session_id}
    )
    httpx.get(f"{stack.api}/jobs/{posted.json()['job_id']}", headers=stack.headers(), params={"wait": 20}, timeout=30)
    expect(turn(page, 2).locator(".said")).to_have_text("From afar [[echo=far]]")
    expect_status(page, 2, "completed")
    expect(prose(page, 2)).to_have_text("far")


def test_without_a_socket_answers_are_polled(open_page: OpenPage, stack: Stack) -> None:
    """Where no WebSocket gets through the page says so and fetches the answer."""
    sockets = Sockets(refuse=1011)
    page = open_page(before=sockets.before(stack))
    send(page, "Anybody there? [[echo=still here]]")
    expect_status(page, 1, "completed")
    expect(prose(page, 1)).to_have_text("still here")
    expect(page.locator("#banner")).to_contain_text("Nothing that was accepted is lost")
    shoot(page, "without-socket")
    sockets.refuse = None
    expect_live(page)
    expect(page.locator("#banner")).to_be_hidden()


def test_without_a_socket_what_another_window_asks_is_shown_too(open_page: OpenPage, stack: Stack) -> None:
    """Nobody tells a page that polls, so it looks by itself, also while it waits for no answer of its own."""
    sockets = Sockets()
    page = open_page(before=sockets.before(stack))
    send(page, "Hello [[echo=ok]]")
    expect_status(page, 1, "completed")
    sockets.refuse = 4507
    sockets.opened[-1].close(code=4507)
    expect(page.locator("#link-state")).to_have_text("Polling")
    session_id = page.url.rsplit("/", 1)[1]
    message = {"message": "From afar [[echo=far]]", "session_id": session_id}
    httpx.post(f"{stack.api}/chat", headers=stack.headers(), json=message).raise_for_status()
    expect(turn(page, 2).locator(".said")).to_have_text("From afar [[echo=far]]")
    expect_status(page, 2, "completed")
    expect(prose(page, 2)).to_have_text("far")


def test_a_conversation_that_cannot_be_read_is_read_once_it_can(
    open_page: OpenPage, stack: Stack, complaints: Complaints
) -> None:
    """The socket may be open while the API is away: the page says so, and shows it and the list by itself later."""
    complaints.expect(REFUSED)
    page = open_page()
    send(page, "Hello [[echo=ok]]")
    expect_status(page, 1, "completed")
    address = page.url
    away = True

    def refuse(route: Route) -> None:
        if away:
            route.abort()
        else:
            route.continue_()

    page.goto("about:blank")
    for what in ("**/conversation?*", "**/sessions?*"):
        page.route(what, refuse)
    page.goto(address)
    expect_live(page)
    expect(page.locator(".toast").first).to_contain_text("The server cannot be reached")
    with page.expect_event("requestfailed", lambda request: "/conversation?" in request.url):
        expect(page.locator("article.turn")).to_have_count(0)
    away = False
    expect_status(page, 1, "completed")
    expect(prose(page, 1)).to_have_text("ok")
    expect(page.locator(".session[data-session='" + address.rsplit("/", 1)[1] + "']")).to_be_visible()


def test_a_server_that_says_not_to_come_again_is_obeyed(open_page: OpenPage, stack: Stack) -> None:
    """Codes from 4500 on end the reconnecting; the banner says why, and the user may insist."""
    sockets = Sockets(refuse=4507)
    page = open_page(before=sockets.before(stack))
    expect(page.locator("#banner")).to_contain_text("this address may not connect")
    expect(page.locator("#link-state")).to_have_text("Polling")
    shoot(page, "refused")
    assert len(sockets.opened) == 1
    sockets.refuse = None
    page.get_by_role("button", name="Connect again", exact=True).click()
    expect_live(page)
    expect(page.locator("#banner")).to_be_hidden()


def test_an_expired_token_is_replaced(open_page: OpenPage, stack: Stack) -> None:
    """After 4001 the page fetches another token and comes back with it."""
    sockets = Sockets()
    page = open_page(before=sockets.before(stack))
    expect_live(page)
    with page.expect_request("**/app-config"):
        sockets.opened[-1].close(code=4001)
    expect_live(page)
    send(page, "Hello [[echo=ok]]")
    expect_status(page, 1, "completed")


def test_a_message_that_cannot_be_posted_outlives_a_reload(open_page: OpenPage, complaints: Complaints) -> None:
    """It waits in sight, is posted again and again under one key, also by the page that is loaded next, and stored once."""
    complaints.expect(REFUSED)
    keys: list[str] = []
    away = True
    page = open_page()

    def refuse(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if away:
            route.abort()
        else:
            route.continue_()

    page.route("**/chat", refuse)
    send(page, "Are you there? [[echo=yes]]")
    send(page, "And this is the second [[echo=indeed]]")
    expect(turn(page, 1).locator(".state")).to_contain_text("Waiting for the connection")
    page.reload()
    expect(turn(page, 1).locator(".said")).to_have_text("Are you there? [[echo=yes]]")
    expect(turn(page, 2).locator(".said")).to_have_text("And this is the second [[echo=indeed]]")
    shoot(page, "held")
    away = False
    page.evaluate("dispatchEvent(new Event('online'))")
    expect_status(page, 2, "completed")
    *first, second = keys
    assert set(first) == {keys[0]}
    assert second != keys[0]
    expect(prose(page, 1)).to_have_text("yes")
    expect(prose(page, 2)).to_have_text("indeed")
    assert page.evaluate("sessionStorage.length") == 0


def test_an_accepted_message_whose_202_was_lost_is_stored_once(open_page: OpenPage, complaints: Complaints) -> None:
    """The server has the message and the page does not know: it asks again with the same key and meets the same job."""
    complaints.expect(REFUSED)
    page = open_page()
    jobs: list[str] = []

    def lose_once(route: Route) -> None:
        answer = route.fetch()
        jobs.append(answer.json()["job_id"])
        if len(jobs) == 1:
            route.abort()
        else:
            route.fulfill(response=answer)

    page.route("**/chat", lose_once)
    send(page, "Only once [[echo=once]]")
    expect_status(page, 1, "completed")
    expect(page.locator("article.turn")).to_have_count(1)
    assert jobs == [jobs[0]] * 2
    assert turn(page, 1).get_attribute("data-job") == jobs[0]


def test_a_message_whose_202_was_lost_before_a_reload_is_shown_once(open_page: OpenPage, complaints: Complaints) -> None:
    """The page that is loaded finds the message in the conversation and in its outbox: the two become one."""
    complaints.expect(REFUSED)
    page = open_page()
    send(page, "Hello [[echo=ok]]")
    expect_status(page, 1, "completed")

    losing = True

    def lose(route: Route) -> None:
        answer = route.fetch()
        if losing:
            route.abort()
        else:
            route.fulfill(response=answer)

    page.route("**/chat", lose)
    with page.expect_event("requestfailed"):
        send(page, "Only once [[echo=once]]")
    page.reload()
    expect(turn(page, 3).locator(".state")).to_contain_text("Waiting for the connection")
    expect_status(page, 2, "completed")
    losing = False
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.locator("article.turn")).to_have_count(2)
    expect(prose(page, 2)).to_have_text("once")


def test_a_message_is_taken_back_while_it_waits(open_page: OpenPage, complaints: Complaints) -> None:
    """Who no longer wants to send what waits gets it back into the box, to change it; nothing is sent."""
    complaints.expect(REFUSED)
    page = open_page()
    page.route("**/chat", lambda route: route.abort())
    send(page, "Never mind [[echo=no]]")
    turn(page, 1).get_by_role("button", name="Take back").click()
    expect(page.locator("article.turn")).to_have_count(0)
    expect(page.get_by_label("Message", exact=True)).to_have_value("Never mind [[echo=no]]")
    assert "outbox" not in page.evaluate("JSON.stringify(sessionStorage)")


def test_a_draft_outlives_a_reload(open_page: OpenPage) -> None:
    """What was typed and not sent is there again, each conversation with its own."""
    page = open_page()
    send(page, "Hello [[echo=ok]]")
    expect_status(page, 1, "completed")
    box = page.get_by_label("Message", exact=True)
    box.fill("half a thou")
    page.reload()
    expect(box).to_have_value("half a thou")
    page.keyboard.press("Control+k")
    expect(box).to_have_value("")
    page.go_back()
    expect(box).to_have_value("half a thou")


def test_a_model_that_cannot_be_asked_says_when_it_can(open_page: OpenPage, complaints: Complaints) -> None:
    """While the breaker is open the message is kept, the seconds are counted down, and it can be sent again."""
    complaints.expect("status of 503")
    page = open_page()
    problem: dict[str, Any] = {
        "status": 503,
        "code": "provider_unavailable",
        "detail": "The model cannot be asked now",
        "retryable": True,
    }
    page.route("**/chat", lambda route: route.fulfill(status=503, json=problem, headers={"Retry-After": "4"}))
    send(page, "Hello? [[echo=hello]]")
    expect_status(page, 1, "unsent")
    expect(turn(page, 1).locator(".problem")).to_contain_text(re.compile(r"It can be tried again in [123] s\."))
    shoot(page, "breaker-open")
    expect(turn(page, 1).locator(".problem")).to_contain_text("It can be tried again now.")
    page.unroute("**/chat")
    turn(page, 1).get_by_role("button", name="Send again").click()
    expect_status(page, 1, "completed")
    expect(prose(page, 1)).to_have_text("hello")


def test_what_an_operator_says_is_shown_also_to_who_was_away(open_page: OpenPage, stack: Stack) -> None:
    """A push to the user shows at once; a notice to a conversation is there once the socket is back."""
    sockets = Sockets()
    page = open_page(before=sockets.before(stack))
    send(page, "Hello [[echo=ok]]")
    expect_status(page, 1, "completed")
    expect_live(page)  # who has no socket is told nothing, and the answer may have been polled
    admin = {"Authorization": f"Bearer {stack.token_for('operator', 'admin')}"}

    def say(**what: str) -> None:
        httpx.post(f"{stack.api}/notify", headers=admin, json=what).raise_for_status()

    say(user_id="demo", title="Maintenance", text="At noon")
    expect(page.locator(".toast")).to_have_text("MaintenanceAt noon")
    sockets.opened[-1].close(code=1012, reason="restarting, reconnect_in=1")
    say(session_id=page.url.rsplit("/", 1)[1], text="Your report is ready")
    expect(page.locator(".toast")).to_have_count(2)
    expect(page.locator(".toast").last).to_have_text("Your report is ready")
    sockets.wait_for(2, page)
    address = page.url
    page.goto("about:blank")
    say(session_id=address.rsplit("/", 1)[1], text="Nobody was here")
    page.goto(address)
    expect(page.locator(".toast")).to_have_text("Nobody was here")  # and not what was shown before
