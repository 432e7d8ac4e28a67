"""The chat page and the flows that are no chat: an interview that fills in its profile, actions that need a yes."""

import json
import re
from typing import Any

import httpx2 as httpx
from playwright.sync_api import Locator, Page, Route, WebSocketRoute, expect

from tests.conversations import nonsense
from tests.e2e.page_kit import PHONE, Complaints, OpenPage, expect_live, expect_status, prose, send, shoot, turn
from tests.stack import Stack

EVIL = "<img src=x onerror=window.pwned=1>"
NOT_ANSWERED = "not yet"


def begin(page: Page, flow: str) -> None:
    """Click a flow of the empty page."""
    page.locator(f"[data-flow='{flow}']").click()


def answer(page: Page, key: str) -> Locator:
    """An answer of the profile's panel."""
    return page.locator(f"#profile [data-answer='{key}'] dd")


def card(page: Page, description: str) -> Locator:
    """The card of the action with that in its description."""
    return page.locator(".action").filter(has=page.locator(".action-description", has_text=description))


def expect_action(page: Page, description: str, status: str) -> None:
    """Wait until an action is shown in that state."""
    expect(card(page, description)).to_have_attribute("data-status", status)


def reply(page: Page, text: str) -> Locator:
    """A quick reply."""
    return page.get_by_role("group", name="Quick replies", exact=True).get_by_role("button", name=text, exact=True)


def session_of(page: Page) -> str:
    """The id of the conversation on the screen."""
    expect(page).to_have_url(re.compile(r"#/[0-9a-f]{32}$"))
    return page.url.rsplit("/", 1)[1]


def test_an_interview_leads_from_the_first_question_to_a_destination(open_page: OpenPage, stack: Stack) -> None:
    """It speaks first and in the browser's language; the panel fills in, over a reload too; its end shows the profile."""
    page = open_page(locale="pt-BR")
    begin(page, "interview")
    expect(prose(page, 1)).to_contain_text("De qual cidade")
    expect(page.locator("#profile-count")).to_have_text("0 of 7")
    expect(answer(page, "origin")).to_have_text("being asked")
    send(page, "Saio de Curitiba com 9 mil reais")
    expect(answer(page, "origin")).to_have_text("Curitiba (CWB)")
    expect(answer(page, "budget")).to_have_text("R$\xa09.000")
    shoot(page, "interview")
    page.reload()
    expect(reply(page, "2 adultos e 1 criança")).to_be_visible()
    expect(page.locator("#profile-count")).to_have_text("2 of 7")
    expect(page.locator(".session [aria-current]")).to_contain_text("2 de 7")
    reply(page, "2 adultos e 1 criança").click()
    expect(page.locator(".reply").filter(has_text="adulto")).to_have_count(0)
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    expect(answer(page, "passengers")).to_have_text("2 adults, 1 child")
    reply(page, "Junho a agosto").click()
    expect(answer(page, "months")).to_have_text("junho, julho, agosto")
    send(page, "praia e gastronomia, nas férias. Meus hobbies são surfe")
    destination = page.locator("#profile .destination strong")
    expect(page.locator("#profile-count")).to_have_text("7 of 7")
    expect(page.locator("#profile dd", has_text=NOT_ANSWERED)).to_have_count(0)
    found = destination.inner_text()
    expect(page.locator(".session [aria-current]")).to_contain_text(found)
    shoot(page, "interview-done")
    session_id = session_of(page)
    page.get_by_role("button", name="End the interview", exact=True).click()
    result = page.get_by_role("dialog", name="The interview has ended", exact=True)
    expect(result).to_contain_text(found)
    expect(result).to_contain_text("Curitiba (CWB)")
    shoot(page, "interview-ended")
    page.keyboard.press("Escape")
    expect(page.locator(f"[data-session='{session_id}']")).to_have_count(0)
    expect(page.locator("#welcome")).to_be_visible()
    assert httpx.get(f"{stack.api}/sessions/{session_id}", headers=stack.headers()).status_code == 404


def test_an_interview_on_a_phone_by_keyboard(open_page: OpenPage) -> None:
    """At 390 px the profile is a line that opens; keys are enough; an end before the last question is asked about."""
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True, locale="en-GB", color_scheme="dark")
    page.locator("[data-flow=interview]").focus()
    page.keyboard.press("Enter")
    expect(prose(page, 1)).to_contain_text("Which city")
    send(page, "I leave from London with a budget of 9000 reais")
    expect(reply(page, "2 adults")).to_be_visible()
    expect(page.locator("#profile-count")).to_have_text("2 of 7")
    expect(answer(page, "origin")).not_to_be_visible()
    shoot(page, "phone-interview")
    tab_back_to(page, "2 adults")
    page.keyboard.press("Enter")
    expect_status(page, 3, "completed")
    expect(turn(page, 3).locator(".said")).to_have_text("2 adults")
    page.locator("#profile summary").focus()
    page.keyboard.press("Enter")
    expect(answer(page, "passengers")).to_have_text("2 adults")
    expect(answer(page, "hobbies")).to_have_text(NOT_ANSWERED)
    shoot(page, "phone-interview-open")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    question = page.get_by_role("dialog", name="End this interview?", exact=True)
    expect(question).to_contain_text("4 of 7")
    page.keyboard.press("Escape")
    expect(answer(page, "origin")).to_be_visible()
    page.get_by_role("button", name="End the interview", exact=True).click()
    question.get_by_role("button", name="End it").click()
    result = page.get_by_role("dialog", name="The interview has ended", exact=True)
    expect(result).to_contain_text("3 of 7")
    expect(result.locator("dd", has_text="no answer")).to_have_count(4)
    shoot(page, "phone-interview-ended")


def tab_back_to(page: Page, text: str) -> None:
    """Press Shift+Tab until that button has the focus."""
    page.get_by_label("Message", exact=True).focus()
    for _ in range(20):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.textContent") == text:
            return
    raise AssertionError(f"{text} is not reached by keyboard")


def test_actions_are_confirmed_and_cancelled_and_two_tabs_agree(open_page: OpenPage, stack: Stack) -> None:
    """A card shows what would be sent; its yes is carried out once, its no never, whichever tab or word says it."""
    page, mark = open_page(locale="en-GB"), nonsense()
    begin(page, "orchestrator")
    expect(page.locator(".example").first).to_contain_text("cheguei")
    send(page, f"PA 120x80, nota: {mark} uma")
    expect_action(page, f"{mark} uma", "staged")
    expect(card(page, f"{mark} uma")).to_contain_text("Systolic (mmHg)")
    expect(card(page, f"{mark} uma")).to_contain_text("Can be confirmed until")
    expect(reply(page, "Sim")).to_be_visible()
    shoot(page, "action-staged")
    session_of(page)
    tab = page.context.new_page()
    tab.goto(page.url)
    expect_action(tab, f"{mark} uma", "staged")
    tab_back_to(page, "Confirm")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    for each in (page, tab):
        expect_action(each, f"{mark} uma", "executed")
        expect(each.locator(".reply")).to_have_count(0)
    send(page, f"nota: {mark} duas")
    expect_action(tab, f"{mark} duas", "staged")
    tab.bring_to_front()  # the mouse is slow in a tab that nobody sees
    card(tab, f"{mark} duas").get_by_role("button", name="Cancel").click()
    for each in (page, tab):
        expect_action(each, f"{mark} duas", "cancelled")
    page.bring_to_front()
    send(page, f"nota: {mark} três [[action status=400]]")
    expect_action(page, f"{mark} três", "staged")
    reply(page, "Sim").click()
    expect_action(page, f"{mark} três", "failed")
    expect(turn(page, 4).locator(".said")).to_have_text("Sim")
    shoot(page, "actions")
    page.reload()
    for note, status in (("uma", "executed"), ("duas", "cancelled"), ("três", "failed")):
        expect_action(page, f"{mark} {note}", status)
    arrived = httpx.get(f"{stack.partners}/actions").json().values()
    assert [action["calls"] for action in arrived if mark in json.dumps(action)] == [1, 1]  # what was cancelled never arrived


def test_nothing_is_lost_with_the_events_of_a_flow(open_page: OpenPage, stack: Stack) -> None:
    """Without one event of the session's own log, profile and actions are shown all the same: they are read after each turn."""

    def relay(ws: WebSocketRoute) -> None:
        server = ws.connect_to_server()
        server.on_message(lambda frame: None if '.0"' in frame and '"session_id"' in frame else ws.send(frame))

    page = open_page(before=lambda page: page.route_web_socket(stack.ws, relay))
    begin(page, "interview")
    expect(page.locator("#profile-count")).to_have_text("0 of 7")
    send(page, "I leave from London")
    expect(answer(page, "origin")).to_have_text("London (LON)")
    page.keyboard.press("Control+k")
    begin(page, "orchestrator")
    send(page, "cheguei, setor UTI")
    expect_action(page, "UTI", "staged")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect_action(page, "UTI", "cancelled")


def test_without_a_socket_what_becomes_of_an_action_is_polled(open_page: OpenPage, stack: Stack) -> None:
    """A server that refuses the WebSocket keeps nobody from a yes, nor from what came of it."""
    refused = {"before": lambda page: page.route_web_socket(stack.ws, lambda ws: ws.close(code=4502))}
    page = open_page(**refused, color_scheme="dark", viewport=PHONE)
    begin(page, "orchestrator")
    send(page, "cheguei, setor Polling")
    expect_action(page, "Polling", "staged")
    shoot(page, "phone-action")
    page.get_by_role("button", name="Confirm", exact=True).click()
    expect_action(page, "Polling", "executed")


def test_an_interview_is_begun_once_when_its_answer_is_lost(open_page: OpenPage, complaints: Complaints, stack: Stack) -> None:
    """The page asks again under the same key, and shows the first question although no message names its turn yet."""
    complaints.expect("net::ERR_FAILED")
    keys: list[str | None] = []

    def lose_the_first(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        keys.append(route.request.headers.get("idempotency-key"))
        fetched = route.fetch()
        if len(keys) == 1:
            route.abort()
        else:
            route.fulfill(response=fetched)

    page = open_page(before=lambda page: page.route("**/sessions", lose_the_first))
    begin(page, "interview")
    expect(prose(page, 1)).to_contain_text("Hello")
    assert len(keys) == 2
    assert keys[0]
    assert keys[0] == keys[1]
    session_id = session_of(page)
    found = httpx.get(f"{stack.api}/sessions/{session_id}", headers=stack.headers()).json()
    assert found["turn_count"] == 1
    asked: list[str] = []

    def without_messages(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(json={"session_id": session_id, "messages": [], "cursor": None})

    page.route(f"**/sessions/{session_id}/conversation*", without_messages)
    page.reload()
    expect(prose(page, 1)).to_contain_text("Hello")
    expect(page.locator("article.turn")).to_have_count(1)
    expect(turn(page, 1).locator(".said")).to_be_hidden()
    expect_live(page)
    assert len(asked) == 1


STATES = {
    "staged": "Waiting for your yes",
    "confirmed": "Being carried out",
    "executing": "Being carried out",
    "executed": "Done",
    "failed": "Failed",
    "unknown": "it is looked into",
    "cancelled": "Nothing was done",
    "expired": "not confirmed in time",
}


def test_hostile_profiles_replies_and_actions_are_inert_in_every_state(open_page: OpenPage, stack: Stack) -> None:
    """Whatever stands in a profile, a quick reply or an action is text; each state of an action is said in words."""
    headers = stack.headers()
    begun = httpx.post(f"{stack.api}/sessions", json={"flow": "interview"}, headers=headers).raise_for_status().json()
    session_id, job_id = begun["session_id"], begun["job"]["job_id"]
    httpx.get(f"{stack.api}/jobs/{job_id}", params={"wait": 20}, headers=headers, timeout=30).raise_for_status()
    profile = {"origin": {"city": EVIL, "iata": "GRU"}, "purpose": EVIL, EVIL: {EVIL: [EVIL, {EVIL: None}]}, "months": EVIL}
    said = {"role": "assistant", "text": "Well?", "job_id": job_id, "status": "completed", "created_at": begun["created_at"]}
    found = {"name": EVIL, "iata": EVIL, "reason": EVIL, "price": 1, "currency": EVIL, "departure_date": EVIL}
    staged: dict[str, dict[str, Any]] = {
        "conversation*": {"messages": [said | {"quick_replies": [EVIL, "\u202edrow"]}], "cursor": None},
        "state": {"version": 9, "flow": "interview", "state": {"ProfileData": profile, "RecommendedDestination": found}},
        "actions": {"actions": [hostile(status, number) for number, status in enumerate(STATES)]},
    }

    def watch(page: Page) -> None:
        page.route_web_socket(stack.ws, lambda _: None)  # says nothing: what is shown is what was read
        for path, body in staged.items():
            page.route(f"**/sessions/{session_id}/{path}", answering({"session_id": session_id} | body))

    page = open_page(f"/#/{session_id}", before=watch)
    for status, words in STATES.items():
        expect(page.locator(f".action[data-status='{status}']")).to_contain_text(words)
    expect(answer(page, "origin")).to_have_text(f"{EVIL} (GRU)")
    expect(page.locator(".reply").first).to_have_text(EVIL)
    expect(page.locator(".action").get_by_role("button")).to_have_count(2)  # of the one that waits
    page.locator(".action").first.scroll_into_view_if_needed()
    shoot(page, "hostile-actions")
    for place in ("#profile", "#thread"):
        assert page.locator(f"{place} :is(img, script, iframe, form, a)").count() == 0
    assert page.evaluate("window.pwned") is None


def hostile(status: str, number: int) -> dict[str, Any]:
    """An action that says nothing but markup."""
    times = {"requested_at": "2026-01-01T00:00:00.000Z", "expires_at": "2036-01-01T00:00:00.000Z"}
    told = {"action_id": f"a1-{number}", "name": EVIL, "description": EVIL, "status": status, **times}
    return told | {"payload": {EVIL: EVIL, "__proto__": {"x": EVIL}}, "result": {"reference": EVIL}, "error": {"message": EVIL}}


def answering(body: dict[str, Any]) -> Any:
    """Make a handler that gives that answer."""
    return lambda route: route.fulfill(json=body)
