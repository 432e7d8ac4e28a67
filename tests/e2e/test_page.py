"""The chat page, in a real Chromium, on the whole stack: what it offers, and how it is used."""

import secrets

import httpx2 as httpx
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page_kit import PHONE, Complaints, OpenPage, expect_live, expect_status, prose, send, shoot, turn
from tests.stack import Stack


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_empty_page_offers_examples_and_goes_live(open_page: OpenPage, scheme: str) -> None:
    """The page loads without a word on the console, connects, and offers prompts of which one stages a fault."""
    page = open_page(color_scheme=scheme)
    expect_live(page)
    expect(page.locator(".example")).to_have_count(3)
    expect(page.locator(".example code").first).to_contain_text("[[")
    expect(page.locator("#banner")).to_be_hidden()
    shoot(page, f"empty-{scheme}")


def test_an_example_is_sent_with_one_click(open_page: OpenPage) -> None:
    """A suggestion of the empty page is a message."""
    page = open_page()
    page.locator(".example").first.click()
    expect_status(page, 1, "completed")
    expect(turn(page, 1).locator(".code").get_by_role("button", name="Copy code")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_works_at_the_width_of_a_phone(open_page: OpenPage, scheme: str) -> None:
    """At 390 px nothing is wider than the screen, not even one long word, and the conversations are a drawer."""
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True, color_scheme=scheme)
    expect_live(page)
    shoot(page, f"phone-empty-{scheme}")
    send(page, f"Write some python code about {'honorificabilitudinitatibus' * 4}, please")
    expect_status(page, 1, "completed")
    shoot(page, f"phone-answer-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    expect(page.locator("#side")).not_to_be_visible()
    page.get_by_role("button", name="Open the list of conversations", exact=True).click()
    expect(page.locator(".session [aria-current]")).to_be_visible()
    shoot(page, f"phone-drawer-{scheme}")
    page.keyboard.press("Escape")
    expect(page.locator("#side")).not_to_be_visible()


def test_a_notice_on_a_phone_covers_nothing_of_the_answer(open_page: OpenPage, stack: Stack) -> None:
    """There is no room beside the answer, so notices stand above it, the newest in sight."""
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    send(page, "Hello [[tokens=300]] [[delay=0]]")
    expect_status(page, 1, "completed")
    admin = {"Authorization": f"Bearer {stack.token_for('operator', 'admin')}"}
    for number in range(4):
        say = {"user_id": "demo", "title": f"Notice {number}", "text": "Something that takes a line or two on a phone, or three"}
        httpx.post(f"{stack.api}/notify", headers=admin, json=say).raise_for_status()
        expect(page.locator(".toast").last).to_contain_text(f"Notice {number}")
    shoot(page, "phone-notices")
    expect(page.locator(".toast").last).to_be_in_viewport()
    toasts, scroll = page.locator("#toasts").bounding_box(), page.locator("#scroll").bounding_box()
    assert toasts
    assert scroll
    assert toasts["y"] + toasts["height"] <= scroll["y"]
    assert scroll["height"] > PHONE["height"] / 3
    expect(prose(page, 1).locator("p").last).to_be_in_viewport()


def test_conversations_are_renamed_and_deleted(open_page: OpenPage, stack: Stack) -> None:
    """A title can be changed and a conversation deleted, here, in another tab and on the server; the focus stays near."""
    page = open_page()
    send(page, "A passing thought [[echo=ok]]")
    expect_status(page, 1, "completed")
    tab = page.context.new_page()
    tab.goto(page.url)
    expect_status(tab, 1, "completed")
    session_id = page.url.rsplit("/", 1)[1]
    address = f"{stack.api}/sessions/{session_id}"
    row = page.locator(f"[data-session='{session_id}']")
    page.bring_to_front()  # the mouse is slow in a tab that nobody sees
    rename(page, session_id, "Her<b>on</b>s")
    assert httpx.get(address, headers=stack.headers()).json()["title"] == "Her<b>on</b>s"
    expect(row.get_by_role("link")).to_be_focused()
    expect(tab.get_by_role("heading", level=1)).to_have_text("Her<b>on</b>s")
    shoot(tab, "renamed")
    row.hover()
    row.get_by_title("Delete").click()
    shoot(page, "delete")
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.get_by_role("button", name="Delete", exact=True).click()
    for each in (page, tab):
        expect(each.locator(f"[data-session='{session_id}']")).to_have_count(0)
        expect(each.locator("#welcome")).to_be_visible()
    assert httpx.get(address, headers=stack.headers()).status_code == 404


def rename(page: Page, session_id: str, title: str) -> None:
    """Give a conversation a title in its row of the list, after an attempt that was thought better of."""
    row = page.locator(f"[data-session='{session_id}']")
    before = row.get_by_role("link").inner_text()
    row.hover()
    row.get_by_title("Rename").click()
    page.get_by_label("Title", exact=True).fill("no")
    page.keyboard.press("Escape")
    expect(row.get_by_role("link")).to_have_text(before)
    row.hover()
    row.get_by_title("Rename").click()
    page.get_by_label("Title", exact=True).fill(title)
    with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(title)


def test_a_title_is_taken_although_the_list_was_read_meanwhile(open_page: OpenPage, stack: Stack) -> None:
    """What is written over a title counts, whatever the list came to hold while it was written."""
    page = open_page()
    send(page, "A passing thought [[echo=ok]]")
    expect_status(page, 1, "completed")
    session_id, heading = page.url.rsplit("/", 1)[1], page.get_by_role("heading", level=1)
    row = page.locator(f"[data-session='{session_id}']")
    row.hover()
    row.get_by_title("Rename").click()
    address = f"{stack.api}/sessions/{session_id}"
    httpx.patch(address, headers=stack.headers(), json={"title": "From elsewhere"}).raise_for_status()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(heading).to_have_text("From elsewhere")
    page.get_by_label("Title", exact=True).fill("From here")
    page.keyboard.press("Enter")
    expect(heading).to_have_text("From here")
    expect(row.get_by_role("link")).to_have_text("From here")


def test_the_keyboard_is_enough(open_page: OpenPage) -> None:
    """Shift+Enter breaks the line, Enter sends, Esc stops, Ctrl+K begins anew; the focus is always where one writes next."""
    page = open_page()
    box = page.get_by_label("Message", exact=True)
    expect(box).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two [[tokens=400]] [[delay=0.05]]")
    page.keyboard.press("Enter")
    expect(prose(page, 1)).to_contain_text("directive")
    expect(turn(page, 1).locator(".said")).to_have_text("one\ntwo [[tokens=400]] [[delay=0.05]]", use_inner_text=True)
    page.keyboard.press("Escape")
    expect_status(page, 1, "cancelled")
    expect(box).to_be_focused()
    again = turn(page, 1).get_by_role("button", name="Try again")
    again.focus()
    page.keyboard.press("Enter")
    expect_status(page, 1, "running")
    expect(box).to_be_focused()
    page.keyboard.press("Escape")
    expect_status(page, 1, "cancelled")
    page.keyboard.press("Control+k")
    expect(page.locator("article.turn")).to_have_count(0)
    expect(box).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(box).to_have_value("one\ntwo [[tokens=400]] [[delay=0.05]]")


def test_everything_is_reached_by_tab_and_the_focus_is_seen(open_page: OpenPage) -> None:
    """Tab goes from the skip link through list, answer and box, and each stop is outlined."""
    page = open_page()
    send(page, "Hello [[echo=ok]]")
    expect_status(page, 1, "completed")
    expect(turn(page, 1).locator(".foot")).to_contain_text("3 events")
    skip = page.locator("#skip")
    skip.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    expect(page.locator("article.turn")).to_have_count(1)
    skip.focus()
    stops: list[str] = []
    while "Message" not in stops and len(stops) < 200:
        stops.append(page.evaluate(FOCUSED))
        page.keyboard.press("Tab")
    names = [name for name in stops if not name.startswith("session:")]
    assert names[:3] == ["Skip to the message box", "chatapp, new chat", "New chat"]
    wanted = ["API", "Health", "Switch between dark and light", "Copy the answer", "3 events", "Copy the job id", "Message"]
    assert [name for name in names if name in wanted] == wanted
    assert "unseen" not in stops


FOCUSED = """() => {
    const element = document.activeElement, style = getComputedStyle(element);
    const seen = style.outlineStyle !== "none" || element.matches("textarea, .skip");
    if (!seen) return "unseen";
    if (element.closest(".session")) return "session:" + element.textContent;
    const label = element.ariaLabel ?? element.labels?.[0]?.textContent;
    return label ?? (element.querySelector("span") ?? element).textContent;
}"""


def test_screen_readers_are_told_of_the_answer_once(open_page: OpenPage) -> None:
    """The growing answer is silent; what is announced is its state, and then all of it."""
    page = open_page()
    page.evaluate(
        """() => {
            window.said = [];
            const region = document.getElementById("announce");
            new MutationObserver(() => window.said.push(region.textContent)).observe(region, { childList: true });
        }"""
    )
    send(page, "Hello [[tokens=20]] [[delay=0.03]]")
    expect_status(page, 1, "completed")
    expect(page.locator("#announce")).to_contain_text("The answer: Every token")
    assert page.evaluate("window.said.length") <= 5  # sending, queued, being written, and the answer
    expect(page.locator("#thread")).to_have_attribute("aria-live", "off")


def test_without_a_development_token_the_page_asks_for_one(open_page: OpenPage, stack: Stack, complaints: Complaints) -> None:
    """In production a token is pasted; one that is refused is asked for again, and a good one opens the page."""
    complaints.expect("status of 401")
    config = httpx.get(f"{stack.api}/app-config").json() | {"dev_token": None}
    page = open_page(before=lambda page: page.route("**/app-config", lambda route: route.fulfill(json=config)))
    dialog = page.get_by_role("dialog", name="Sign in", exact=True)
    field = page.get_by_label("Access token", exact=True)
    field.fill("not.a.token")
    shoot(page, "sign-in")
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog).to_contain_text("refused")
    field.fill(stack.token_for(f"newcomer-{secrets.token_hex(4)}"))
    dialog.get_by_role("button", name="Sign in").click()
    expect_live(page)
    expect(page.locator("#sessions")).to_contain_text("Your conversations")
    send(page, "Hello [[echo=signed in]]")
    expect(prose(page, 1)).to_have_text("signed in")
    page.get_by_label("Message", exact=True).fill("a secret draft")
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(dialog).to_be_visible()
    expect(page.locator("#sessions")).to_be_empty()
    assert page.evaluate("sessionStorage.length") == 0
