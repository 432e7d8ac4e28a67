"""A browser's own EventSource, on a page of another origin than the API's, by one-time tickets."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, Page, Route

from tests.faults.proxy import FaultProxy
from tests.stack import ROOT, Stack

SCRIPT = """
async ({api, token}) => {
    const call = async (path, body) => {
        const headers = {Authorization: `Bearer ${token}`, "Content-Type": "application/json"};
        return (await fetch(api + path, {method: "POST", headers, body: JSON.stringify(body)})).json();
    };
    // All that comes until the browser itself gives up: this page never closes a source.
    const read = async (path) => {
        const url = new URL(api + path);
        url.searchParams.set("ticket", (await call("/ws/ticket", {})).ticket);
        const source = new EventSource(url), messages = [];
        source.onmessage = (message) => messages.push({id: message.lastEventId, event: JSON.parse(message.data)});
        await new Promise((done) => {
            source.onerror = () => source.readyState === EventSource.CLOSED && done();
        });
        return messages;
    };
    const job = await call("/chat", {message: "[[echo=read by a browser]] [[delay=0.02]]"});
    const messages = await read(job.links.events);
    const rest = await read(`${job.links.events}?after=${messages.at(-1).id}`);
    return {job_id: job.job_id, messages, rest};
}
"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Somewhere else</title>")

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """An origin that is not the API's: another port of this machine, which is welcome in development."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser: Browser, elsewhere: str) -> Iterator[Page]:
    """A page of that origin, in a window of its own."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(elsewhere)
        yield page


def test_a_browser_reads_a_job_to_its_end_and_comes_no_more(page: Page, stack: Stack) -> None:
    """After the end it asks once with its used ticket, and stops at the 401; with a new one it is told 204, and stops too."""
    answers = []
    page.on("response", lambda response: answers.append(response.status) if "/events?" in response.url else None)
    token = stack.headers()["Authorization"].removeprefix("Bearer ")
    with page.expect_response(lambda response: response.status == 204):  # which may be told of after the page has read it
        found = page.evaluate(SCRIPT, {"api": stack.api, "token": token})
    first, *messages = found["messages"]
    assert (first["id"], first["event"]["type"]) == ("", "subscribed")
    assert [message["id"] for message in messages] == [message["event"]["id"] for message in messages]
    assert messages[-1]["event"]["type"] == "message_completed"
    assert messages[-1]["event"]["text"] == "read by a browser"
    said = [m["event"]["text"] for m in messages if m["event"]["type"] == "message_delta"]
    assert "".join(said) == "read by a browser"
    assert found["rest"] == []
    assert answers == [200, 401, 204]


def test_the_page_of_the_docs_comes_back_where_it_stopped(page: Page, stack: Stack) -> None:
    """Cut off in mid-answer: another ticket, the cursor, and each event is shown once."""
    match = re.search(r"```js\n(.*?)```", (ROOT / "docs/events-over-http.md").read_text(), re.DOTALL)
    assert match is not None
    message, headers = {"message": "[[tokens=40]] [[delay=0.05]]"}, stack.headers()
    with FaultProxy(int(stack.api.rpartition(":")[2]), http=False) as proxy:
        page.evaluate("api => { window.API = api; window.shown = []; }", proxy.url)
        page.add_script_tag(content=match[1])
        posted = httpx.post(f"{stack.api}/chat", json=message, headers=headers, trust_env=False).raise_for_status()
        page.evaluate("([job, headers]) => { follow(job, headers, (event) => shown.push(event)); }", [posted.json(), headers])
        page.wait_for_function("shown.length > 3")
        with stack.model_held():  # who finds the job ended reads it there, and asks for no more events
            assert proxy.cut()
            page.wait_for_function("shown.filter((event) => event.type === 'subscribed').length === 2")
        page.wait_for_function("shown.at(-1).type === 'message_completed'")
        shown = page.evaluate("shown")
    events = [event for event in shown if event["type"] != "subscribed"]
    assert [event["id"] for event in events] == [f"1-{n}" for n in range(len(events))]
    assert [event["turns"][0]["recovered"] for event in shown if event["type"] == "subscribed"] == [True, True]
    assert "".join(e["text"] for e in events if e["type"] == "message_delta") == events[-1]["text"]


@pytest.mark.parametrize("fault", ["503", "502 of a proxy", "network"])
@pytest.mark.parametrize("where", ["/ws/ticket", "/events?", "/jobs/"])
def test_the_page_of_the_docs_outlives_a_fault_at_each_of_its_requests(page: Page, stack: Stack, where: str, fault: str) -> None:
    """Once each; for the look at the job the stream must have failed before. The answer is shown to its end."""
    match = re.search(r"```js\n(.*?)```", (ROOT / "docs/events-over-http.md").read_text(), re.DOTALL)
    assert match is not None
    hits: list[str] = []

    def fail(route: Route) -> None:
        failing = where if hits or where != "/jobs/" else "/events?"
        is_hit = failing in route.request.url and (failing != "/jobs/" or "/events?" not in route.request.url)
        if len(hits) == (2 if where == "/jobs/" else 1) or not is_hit or route.request.method == "OPTIONS":
            route.fallback()
            return
        hits.append(route.request.url)
        if fault == "network":
            route.abort()
        elif fault == "503":
            problem = {"status": 503, "code": "live_unavailable", "retryable": True}
            route.fulfill(status=503, json=problem, headers={"Access-Control-Allow-Origin": "*"})
        else:
            route.fulfill(status=502, body="<html>Bad Gateway</html>", headers={"Access-Control-Allow-Origin": "*"})

    page.evaluate("api => { window.API = api; window.shown = []; }", stack.api)
    page.add_script_tag(content=match[1])
    page.route(f"{stack.api}/**", fail)
    headers = stack.headers()
    posted = httpx.post(f"{stack.api}/chat", json={"message": "[[echo=whole]]"}, headers=headers, trust_env=False)
    job = posted.raise_for_status().json()
    page.evaluate("([job, headers]) => { follow(job, headers, (event) => shown.push(event)); }", [job, headers])
    page.wait_for_function("shown.at(-1)?.type === 'message_completed' || shown.at(-1)?.status === 'completed'")
    assert hits
    assert page.evaluate("shown.at(-1).text ?? shown.at(-1).answer") == "whole"
