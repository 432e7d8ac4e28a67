"""A job with a callback, through the processes that production runs: posted, answered, delivered by the worker of effects."""

import secrets

import httpx2

from config.settings import DEV_OUTBOUND_SECRET
from tests.integration.workers import until
from tests.outbound_kit import documented_verify, receiving


def test_however_a_job_ends_its_callback_is_told(stack):
    """Completed, failed, cancelled: each once, and signed."""
    headers = stack.headers(f"user-{secrets.token_hex(4)}")
    with receiving() as receiver, httpx2.Client(base_url=stack.api, headers=headers, trust_env=False) as http:

        def post(message):
            posted = http.post("/chat", json={"message": message, "callback_url": f"{receiver.url}/ended"})
            assert posted.status_code == 202, posted.text
            return posted.json()["job_id"]

        cancelled = post("[[tokens=500]] [[delay=1]]")
        jobs = {cancelled: "message.cancelled", post("hello"): "message.completed", post("[[status=400]]"): "message.failed"}
        http.post(f"/jobs/{cancelled}/cancel")
        until(lambda: len(receiver.requests) >= len(jobs), 20, "the callbacks do not come")
        told = {request.json["data"]["job_id"]: request for request in receiver.requests}
        assert {job: request.json["type"] for job, request in told.items()} == jobs
        for job, request in told.items():
            documented_verify()(DEV_OUTBOUND_SECRET, request.headers, request.body)
            assert request.headers["webhook-id"] == job.replace(".", "/d")
            assert request.json["data"]["text"] == http.get(f"/jobs/{job}").json().get("answer")
        assert len(receiver.requests) == len(jobs)
