"""A client that follows its sessions over a WebSocket, as docs/websocket.md says, and notes what it should never see."""

import json
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from websocket import WebSocket, WebSocketException, create_connection

from chatapp.live.following import OWN_LOG
from chatapp.model import EventId, JobId
from chatapp.payloads import TERMINAL

PAUSE_SECONDS = 0.3
RECEIVE_SECONDS = 30


@dataclass(eq=False)
class View:
    """What a client has of one turn. `wrong` is what it should never have seen; `losses` only where Redis lost its memory."""

    cursor: EventId | None = None
    text: str = ""
    events: int = 0
    attempts: int = 0
    retrying: list[float] = field(default_factory=list)
    end: dict[str, Any] | None = None
    ended_at: float = 0.0
    wrong: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    replay_to: EventId | None = None
    _forgot: bool = False

    def forget(self) -> None:
        """The server cannot honour the cursor: what comes stands for all of the turn."""
        self.cursor, self.text, self._forgot = None, "", True
        self.losses.append("not recovered")

    def take(self, event: dict[str, Any]) -> None:
        """Take an event. Up to `replay_to` it may be one that was seen before a reconnect."""
        at = EventId.parse(event["id"])
        assert at is not None
        if self.cursor is not None and at <= self.cursor:
            if self.replay_to is None or at > self.replay_to:
                self.wrong.append(f"{event['type']} {at} came after {self.cursor}")
            return
        if self.end is not None:
            self.wrong.append(f"{event['type']} {at} came after the end")
            return
        self._look_for_gap(event, at)
        self.cursor = at
        self.events += 1
        self._apply(event)

    def _look_for_gap(self, event: dict[str, Any], at: EventId) -> None:
        """`seq` counts from 0 in each attempt; only a log that was lost may begin in the middle, and it says so."""
        before = self.cursor
        new_attempt = before is None or at.attempt > before.attempt
        expected = 0 if new_attempt or before is None else before.seq + 1
        if event["type"] == "message_snapshot" or (at.seq != expected and (event["type"] in TERMINAL or self._forgot)):
            self.losses.append(f"{event['type']} {at} after {before}")
        elif at.seq != expected:
            self.wrong.append(f"{event['type']} {at} came after {before}")
        self._forgot = False
        self.attempts += new_attempt

    def _apply(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "message_delta" and event["kind"] == "text":
            self.text += event["text"]
        elif kind == "message_snapshot":
            self.text = event["text"]
        elif kind == "message_reset":
            self.text = ""
        elif kind == "message_retrying":
            self.retrying.append(event["retry_in"])
        elif kind in TERMINAL:
            self.end, self.ended_at = event, time.time()


class Follower:
    """One socket, connected again whenever it breaks, from the cursors of what it has seen."""

    def __init__(self, ws_url: str, token: str) -> None:
        self._url = ws_url
        self._token = token
        self._lock = threading.RLock()
        self._socket: WebSocket | None = None
        self._jobs: dict[str, dict[int, View]] = {}
        self._followed: set[str] = set()
        self._stopping = False
        self.connects = 0
        self.refused: list[str] = []
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def follow(self, job_id: str) -> View:
        """Follow a job to its end."""
        job = JobId.parse(job_id)
        assert job is not None
        with self._lock:
            view = self._view(job)
            if self._socket is not None and job.session_id not in self._followed:
                self._subscribe(job.session_id)
        return view

    def close(self) -> None:
        """Leave."""
        self._stopping = True
        with self._lock:
            if self._socket is not None and self._socket.sock is not None:
                self._socket.sock.shutdown(socket.SHUT_RDWR)  # closing it would not wake who reads
        self._thread.join(RECEIVE_SECONDS)

    def _view(self, job: JobId) -> View:
        return self._jobs.setdefault(job.session_id, {}).setdefault(job.turn, View())

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._connect()
                while True:
                    self._take(json.loads(self._receive()))
            except (OSError, WebSocketException, ValueError):
                with self._lock:
                    self._socket = None
                time.sleep(PAUSE_SECONDS)

    def _connect(self) -> None:
        header = [f"Authorization: Bearer {self._token}"]
        made = create_connection(self._url, header=header, timeout=RECEIVE_SECONDS, suppress_origin=True)
        with self._lock:
            self._socket = made
            self.connects += 1
            self._followed.clear()
            for session_id in self._jobs:
                self._subscribe(session_id)

    def _receive(self) -> str:
        assert self._socket is not None
        data = self._socket.recv()
        if not data:
            raise WebSocketException("closed")
        return data if isinstance(data, str) else data.decode()

    def _subscribe(self, session_id: str) -> None:
        """Ask for all from the first turn on that has not ended, behind what was seen of it."""
        views = self._jobs[session_id]
        waiting = [number for number, view in views.items() if view.end is None]
        if not waiting:
            return
        turn = min(waiting)
        cursor = views[turn].cursor
        resume = {"job_id": f"{session_id}.{turn}", "after": str(cursor) if cursor else None}
        for number, view in views.items():  # of the turns behind the resumed one, what was seen comes again
            view.replay_to = view.cursor if number > turn else None
        self._followed.add(session_id)
        assert self._socket is not None
        self._socket.send(json.dumps({"type": "subscribe", "id": session_id, "session_id": session_id, "resume": resume}))

    def _take(self, frame: dict[str, Any]) -> None:
        with self._lock:
            if frame["type"] == "subscribed":
                self._subscribed(frame)
            elif frame["type"] == "refused":
                self._refused(frame)
            elif "job_id" in frame and frame["job_id"] != f"{frame['session_id']}.{OWN_LOG}":  # that log is no turn's
                job = JobId.parse(frame["job_id"])
                assert job is not None
                self._view(job).take(frame)

    def _subscribed(self, frame: dict[str, Any]) -> None:
        for turn in frame["turns"]:
            job = JobId.parse(turn["job_id"])
            assert job is not None
            view = self._view(job)
            if not turn["recovered"] and view.end is None:
                view.forget()

    def _refused(self, frame: dict[str, Any]) -> None:
        self.refused.append(frame["code"])
        session_id = frame["id"]
        if frame["retryable"] and session_id in self._jobs:
            threading.Timer(1.0, self._again, [session_id]).start()

    def _again(self, session_id: str) -> None:
        with self._lock:
            if self._socket is not None:
                try:
                    self._subscribe(session_id)
                except (OSError, WebSocketException):
                    return  # the socket is broken: the next connection subscribes to everything
