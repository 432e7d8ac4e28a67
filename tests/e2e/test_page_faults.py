"""The chat page while the stack's processes die and the model fails, on a stack of its own."""

import os
import re
import signal

from playwright.sync_api import expect

from tests.e2e.page_kit import Complaints, OpenPage, expect_live, expect_status, expect_stored_answer, prose, send, shoot, turn
from tests.stack import Stack, stopped

CRASH_MS = 40_000
"""Longer than what a crash may cost: a lease, a pass of the relay and its lock."""


def test_a_websocket_server_that_is_killed_in_mid_answer_costs_nothing(
    open_page: OpenPage, faulty: Stack, complaints: Complaints
) -> None:
    """SIGKILL, and a new process on the same port: the page says that it is away, comes back and shows the whole answer once."""
    complaints.expect("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "WebSocket connection")
    page = open_page(at=faulty)
    send(page, "Go on and on [[tokens=120]] [[delay=0.05]]")
    expect(prose(page, 1)).to_contain_text("directive")
    with stopped(faulty.process.pid):  # else the new one may be there before the page has said anything
        os.kill(faulty.pids()["ws"], signal.SIGKILL)
        expect(page.locator("#link-state")).to_have_attribute("data-state", "waiting")
        expect(page.locator("#banner")).to_contain_text("The live connection is away")
        shoot(page, "ws-killed")
    expect_live(page)
    expect(page.locator("#banner")).to_be_hidden()
    expect_status(page, 1, "completed")
    expect_stored_answer(page, 1, faulty)
    expect(page.locator("article.turn")).to_have_count(1)


def test_a_worker_that_is_killed_is_noticed_and_the_answer_begins_again(open_page: OpenPage, faulty: Stack) -> None:
    """SIGKILL in mid-answer: the page says for how long it has heard nothing, then shows the next attempt from its beginning."""
    page = open_page(at=faulty)
    expect_live(page)
    send(page, "Talk at some length [[tokens=60]] [[delay=0.05]]")
    expect(prose(page, 1)).to_contain_text("directive")
    os.kill(faulty.pids()["worker"], signal.SIGKILL)
    expect(turn(page, 1).locator(".state")).to_contain_text(re.compile(r"Still working, no news for \d+ s"))
    shoot(page, "worker-killed")
    expect(turn(page, 1).locator(".state")).to_contain_text("attempt 2", timeout=CRASH_MS)
    expect_status(page, 1, "completed")
    expect_stored_answer(page, 1, faulty)


def test_an_attempt_that_fails_is_counted_down_and_repeated(open_page: OpenPage, faulty: Stack) -> None:
    """While the next attempt is awaited the page says which one failed, why, and when it comes, loaded anew or not."""
    page = open_page(at=faulty)
    send(page, "Fail once, then answer [[fail=1]]")
    state = turn(page, 1).locator(".state")
    expect(state).to_contain_text(re.compile(r"Attempt 1 failed \(provider_unavailable\)\. Attempt 2 in [3-7] s"))
    with stopped(faulty.pids()["worker"]):  # else the attempt may begin before the page is there again
        shoot(page, "retrying")
        expect(state).to_contain_text(re.compile(r"Attempt 2 in [12] s"))
        page.reload()
        expect(state).to_contain_text("Attempt 1 failed (provider_unavailable). Attempt 2")
    expect_status(page, 1, "completed")
    turn(page, 1).locator(".foot .fact").click()
    expect(turn(page, 1).locator(".trace")).to_contain_text("message_retrying")
    shoot(page, "retried")


def test_a_failure_is_said_and_can_be_tried_again(open_page: OpenPage, faulty: Stack) -> None:
    """A failed turn shows its reason and code; tried again, the new answer stands in its place, also on a page loaded later."""
    page = open_page(at=faulty)
    send(page, "Fail twice [[fail=2]]")
    expect_status(page, 1, "failed")
    expect(turn(page, 1).locator(".problem")).to_contain_text("provider_unavailable")
    shoot(page, "failed")
    failed = turn(page, 1).get_attribute("data-job")
    turn(page, 1).get_by_role("button", name="Try again").click()
    expect_status(page, 1, "completed")
    for _ in range(2):
        expect(page.locator("article.turn")).to_have_count(1)
        expect(turn(page, 1).locator(".said")).to_have_text("Fail twice [[fail=2]]")
        assert turn(page, 1).get_attribute("data-job") != failed
        page.reload()
        expect_status(page, 1, "completed")


def test_a_message_that_waits_for_its_next_attempt_can_be_stopped(open_page: OpenPage, faulty: Stack) -> None:
    """Nobody has to sit through the retries."""
    page = open_page(at=faulty)
    send(page, "Fail for long [[fail=9]]")
    expect_status(page, 1, "retrying")
    turn(page, 1).get_by_role("button", name="Stop").click()
    expect_status(page, 1, "cancelled")
    expect(turn(page, 1).get_by_role("button", name="Try again")).to_be_visible()
