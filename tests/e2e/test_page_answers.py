"""Answers on the chat page: how they grow, wait, stop, survive a reload, and are shared between windows."""

import re

from playwright.sync_api import expect

from tests.e2e.page_kit import OpenPage, expect_live, expect_status, expect_stored_answer, prose, send, shoot, turn
from tests.stack import Stack


def test_two_turns_are_streamed_and_stored_as_shown(open_page: OpenPage, stack: Stack) -> None:
    """An answer grows on the screen, ends as it was stored, and the second turn knows of the first."""
    page = open_page()
    expect_live(page)
    send(page, "Tell me of herons [[delay=0.05]]")
    expect(turn(page, 1).locator(".prose.growing")).to_be_visible()
    expect_status(page, 1, "completed")
    send(page, "And what did I say before?")
    expect_status(page, 2, "completed")
    expect(prose(page, 2)).to_contain_text("Tell me of herons")
    expect_stored_answer(page, 1, stack)
    expect_stored_answer(page, 2, stack)
    expect(turn(page, 2).locator(".foot")).to_contain_text("events")
    expect(page.locator(".session [aria-current]")).to_have_text("Tell me of herons")
    shoot(page, "two-turns")


def test_a_reload_in_mid_answer_goes_on_with_it(open_page: OpenPage, stack: Stack) -> None:
    """A page that is loaded again shows the answer from its beginning, once, and follows it to its end."""
    page = open_page()
    expect_live(page)
    send(page, "Keep talking [[tokens=80]] [[delay=0.04]]")
    expect(prose(page, 1)).to_contain_text("directive")
    with stack.model_held():
        page.reload()
        expect_status(page, 1, "running")
        expect(prose(page, 1)).to_contain_text("Every token of this answer")
        shoot(page, "reloaded-in-mid-answer")
    expect_status(page, 1, "completed")
    expect_stored_answer(page, 1, stack)
    expect(page.locator("article.turn")).to_have_count(1)


def test_messages_sent_meanwhile_wait_for_their_turn(open_page: OpenPage, stack: Stack) -> None:
    """Turns of one conversation say how many are before them, and are answered in order."""
    page = open_page()
    with stack.model_held():
        send(page, "First [[echo=one]]")
        send(page, "Second [[echo=two]]")
        send(page, "Third [[echo=three]]")
        expect(turn(page, 2).locator(".state")).to_contain_text("waiting for the previous turn")
        expect(turn(page, 3).locator(".state")).to_contain_text("Queued, 2 before this one")
        shoot(page, "queued")
    expect_status(page, 3, "completed")
    expect(prose(page, 1)).to_have_text("one")
    expect(prose(page, 2)).to_have_text("two")
    expect(prose(page, 3)).to_have_text("three")


def test_an_answer_is_stopped_and_keeps_what_was_said(open_page: OpenPage, stack: Stack) -> None:
    """Stop ends what runs and what waits; the text so far stays, is what was stored, and can be asked for again."""
    page = open_page()
    send(page, "Talk at length [[tokens=400]] [[delay=0.05]]")
    send(page, "And this waits [[echo=never]]")
    expect(prose(page, 1)).to_contain_text("directive")
    shoot(page, "streaming")
    turn(page, 2).get_by_role("button", name="Stop").click()
    expect_status(page, 2, "cancelled")
    turn(page, 1).get_by_role("button", name="Stop").click()
    expect_status(page, 1, "cancelled")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    expect(turn(page, 1).locator(".problem")).to_contain_text("What had been answered by then was kept")
    expect(turn(page, 2).locator(".problem")).to_contain_text("Nothing had been answered yet")
    shoot(page, "stopped")
    expect_stored_answer(page, 1, stack)
    page.reload()
    expect_status(page, 1, "cancelled")
    expect_stored_answer(page, 1, stack)


def test_a_stop_is_shown_until_the_turn_has_ended(open_page: OpenPage, stack: Stack) -> None:
    """Until the server has said that it stopped, the button is spent and the page says that it is stopping."""
    page = open_page()
    page.route("**/cancel", lambda _: None)  # it is on its way for as long as the test wants
    expect_live(page)
    send(page, "Talk at length [[tokens=80]] [[delay=0.04]]")
    expect(prose(page, 1)).to_contain_text("directive")
    with stack.model_held():
        turn(page, 1).get_by_role("button", name="Stop").click()
        expect(turn(page, 1).locator(".state")).to_contain_text("Stopping…")
        expect(turn(page, 1).get_by_role("button", name="Stop")).to_be_disabled()
        shoot(page, "stopping")
    expect_status(page, 1, "completed")  # the end that came first wins
    expect(turn(page, 1).locator(".state")).to_be_hidden()


def test_an_answer_that_cannot_be_had_says_so_and_offers_the_message(open_page: OpenPage) -> None:
    """A failure that trying again would not mend shows reason and code, and puts the message back to be changed."""
    page = open_page()
    send(page, "Please fail [[status=400]]")
    expect_status(page, 1, "failed")
    problem = turn(page, 1).locator(".problem")
    expect(problem).to_contain_text("model_request_invalid")
    expect(problem).to_contain_text("As it is, it would fail again.")
    expect(problem.get_by_role("button", name="Try again")).to_be_hidden()
    shoot(page, "failed-for-good")
    problem.get_by_role("button", name="Edit").click()
    box = page.get_by_label("Message", exact=True)
    expect(box).to_be_focused()
    expect(box).to_have_value("Please fail [[status=400]]")


def test_two_tabs_show_the_same_answers(open_page: OpenPage, stack: Stack) -> None:
    """What is sent in one tab appears in the other with its question, grows there, and ends as the same; both ways."""
    page = open_page()
    send(page, "Hello from here [[echo=ok]]")
    expect_status(page, 1, "completed")
    other = page.context.new_page()
    other.goto(page.url)
    expect_status(other, 1, "completed")
    expect_live(other)
    send(page, "And again [[tokens=80]] [[delay=0.04]]")
    expect(prose(page, 2)).to_contain_text("directive")
    with stack.model_held():
        expect(turn(other, 2).locator(".prose.growing")).to_be_visible()
        expect(turn(other, 2).locator(".said")).to_have_text("And again [[tokens=80]] [[delay=0.04]]")
        shoot(other, "second-tab")
    send(other, "From the other one [[echo=there]]")
    for tab in (page, other):
        expect_status(tab, 3, "completed")
        expect(tab.locator("article.turn")).to_have_count(3)
        expect(prose(tab, 3)).to_have_text("there")
    expect(prose(other, 2)).to_have_text(prose(page, 2).inner_text())


def test_a_conversation_that_another_tab_begins_is_listed(open_page: OpenPage) -> None:
    """The list of conversations is one for all tabs, without a reload."""
    page = open_page()
    other = page.context.new_page()
    other.goto(page.url)
    expect_live(other)
    send(page, "Begun over there [[echo=ok]]")
    expect_status(page, 1, "completed")
    session_id = page.url.rsplit("/", 1)[1]
    expect(other.locator(f"[data-session='{session_id}']")).to_contain_text("Begun over there")


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
            const dropped = turn.text;
            outcomes.push(take("1-9", "message_delta", { kind: "text", text: "stale" }));
            outcomes.push(take("2-10", "message_snapshot", { text: "snap", through: "2-10" }));
            outcomes.push(take("2-11", "from_the_future", {}));
            outcomes.push(take("2-12", "message_delta", { kind: "text", text: "shot" }));
            const partial = turn.text;
            outcomes.push(take("3-0", "message_completed", { text: "whole", model: "m", finish_reason: "stop" }));
            return { outcomes, before, dropped, partial, after: [turn.text, turn.status], events: turn.events };
        }"""
    )
    assert told["outcomes"] == ["applied", "applied", "stale", "gap", *["applied"] * 4, "stale", *["applied"] * 4]
    assert told["before"] == ["ac", "retrying"]
    assert told["dropped"] == ""
    assert told["partial"] == "snapshot"
    assert told["after"] == ["whole", "completed"]
    assert told["events"] == 10


def test_an_answer_that_was_given_before_the_end_does_not_open_a_turn_again(open_page: OpenPage) -> None:
    """A job that was asked for, or stopped, while it ran may be told of after the event of its end."""
    told = open_page().evaluate(
        """async () => {
            const { apply, applyJob, newTurn } = await import("/static/app/turn.js");
            const turn = newTurn({ jobId: "a.1", status: "running" });
            apply(turn, { id: "2-0", type: "message_cancelled", text: "so far", created_at: "2026-01-01T00:00:00Z" });
            applyJob(turn, { status: "running", attempt: 1, cancelling: true, answer_partial: "so far, and more" });
            return [turn.status, turn.stopping, turn.preview, turn.text];
        }"""
    )
    assert told == ["cancelled", False, None, "so far"]


def test_markdown_is_rendered_and_links_open_safely(open_page: OpenPage) -> None:
    """Markdown becomes elements; a link opens elsewhere, without a handle on this page; an image is only a link."""
    page = open_page()
    send(page, "[[echo=**bold** `code` [docs](https://example.org/a) ![pic](https://example.org/p.png)]]")
    expect_status(page, 1, "completed")
    answer = prose(page, 1)
    expect(answer.locator("strong")).to_have_text("bold")
    expect(answer.locator("code")).to_have_text("code")
    link = answer.get_by_role("link", name="docs")
    expect(link).to_have_attribute("rel", re.compile("noopener"))
    expect(link).to_have_attribute("target", "_blank")
    expect(answer.get_by_role("link", name="pic")).to_have_attribute("href", "https://example.org/p.png")
