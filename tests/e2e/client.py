"""A client of a running stack: the library, and beside it the bare wire, for tests that must see what the server sends."""

import json
import time
from contextlib import contextmanager

import httpx2
from websocket import create_connection

from chatapp.client import Client
from chatapp.payloads import TERMINAL


class ChatClient:
    """What a front-end developer would write."""

    def __init__(self, stack, user=None):
        self.stack = stack
        self.headers = stack.headers(user)
        self.http = httpx2.Client(base_url=stack.api, headers=self.headers, timeout=30)
        self.library = self.connected()

    def connected(self, **how):
        """The library as this user, over the transport and with the patience that are named."""
        return Client(self.stack.api, self.headers["Authorization"].removeprefix("Bearer "), **how)

    def post(self, message, **body):
        answer = self.http.post("/chat", json={"message": message, **body})
        assert answer.status_code == 202, answer.text
        return answer.json()

    def job(self, job_id, wait=0):
        return self.library.job(job_id, wait=wait)

    def ended(self, job_id, seconds=60):
        """The job once it has ended."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(job_id, wait=20)
            if job["status"] in ("completed", "failed", "cancelled"):
                return job
            assert time.monotonic() < deadline, f"{job_id} is {job['status']} after {seconds} s"

    @contextmanager
    def socket(self):
        """An authenticated socket."""
        socket = create_connection(self.stack.ws, header=[f"{k}: {v}" for k, v in self.headers.items()], timeout=60)
        try:
            assert json.loads(socket.recv())["type"] == "connected"
            yield socket
        finally:
            socket.close()

    def events(self, job, after=None):
        """Yield the events of a job, up to its end, as they come over one socket: the library would mend what is wrong."""
        with self.socket() as socket:
            resume = {"job_id": job["job_id"], "after": after}
            socket.send(json.dumps({"type": "subscribe", "session_id": job["session_id"], "resume": resume}))
            while True:
                event = json.loads(socket.recv())
                assert event["type"] != "refused", event
                if event.get("job_id") != job["job_id"]:
                    continue
                yield event
                if event["type"] in TERMINAL:
                    return

    def close(self):
        self.http.close()
        self.library.close()


def text_of(events):
    """The text a client shows at the end: what was said since the last reset or snapshot."""
    text = ""
    for event in events:
        if event["type"] == "message_reset":
            text = ""
        elif event["type"] == "message_snapshot":
            text = event["text"]
        elif event["type"] == "message_delta" and event["kind"] == "text":
            text += event["text"]
    return text
