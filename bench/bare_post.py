"""The baseline of `bench.post`: a view that does nothing but send a message to SQS."""

import os

import boto3
from botocore.config import Config
from flask import Flask


def create_app() -> Flask:
    """Make the app. `BARE_QUEUE_URL` and `BARE_BODY_BYTES` say where to send and how much."""
    app = Flask(__name__, static_folder=None)
    sqs = boto3.client("sqs", config=Config(max_pool_connections=100))
    queue_url, body = os.environ["BARE_QUEUE_URL"], "x" * int(os.environ["BARE_BODY_BYTES"])

    @app.post("/chat")
    def send() -> tuple[dict[str, str], int]:
        answer = sqs.send_message(QueueUrl=queue_url, MessageBody=body)
        return {"message_id": answer["MessageId"]}, 202

    @app.get("/health/live")
    def live() -> dict[str, str]:
        return {"status": "UP"}

    return app
