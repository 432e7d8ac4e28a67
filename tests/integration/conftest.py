"""Services on real servers, each test module with tables and queues of its own."""

import secrets

import boto3
import pytest

from chatapp.flows.submit import Submission
from chatapp.model import ModelOptions, text_part
from chatapp.provision import Provisioner
from chatapp.services import build
from config.settings import Settings
from tests.faults.proxy import FaultProxy
from tests.integration.workers import messages_in
from tests.wakeups import wake_up


@pytest.fixture(scope="session", autouse=True)
def _credentials():
    """Any credentials will do for the emulator; boto3 wants some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield


@pytest.fixture(scope="module")
def settings(valkey, aws, model_server):
    """Settings for this module's own queues and tables, provisioned."""
    prefix = f"t{secrets.token_hex(4)}-"
    made = Settings.model_validate(
        {
            "env": "test",
            "redis_url": valkey,
            "aws_endpoint_url": aws,
            "sqs_queue_url_prefix": f"{aws}/000000000000/{prefix}",
            "dynamodb_table_prefix": prefix,
            "openai_base_url": model_server,
            "openai_api_key": "test",
        }
    )
    Provisioner(made).apply()
    return made


@pytest.fixture(scope="module")
def proxy(aws):
    """A way to SQS and DynamoDB that fails when it is told to."""
    with FaultProxy(int(aws.rsplit(":", 1)[1])) as running:
        yield running


@pytest.fixture(scope="module")
def sqs(settings):
    """A plain SQS client."""
    return boto3.client("sqs", region_name="us-east-1", endpoint_url=settings.aws_endpoint_url)


@pytest.fixture
def queue(sqs, settings):
    """How many messages are (to be seen, hidden)."""
    return lambda: messages_in(sqs, settings.queue_url("chat"))


@pytest.fixture
def send(sqs, settings):
    """Send a wake-up for a job."""
    return lambda job: sqs.send_message(QueueUrl=settings.queue_url("chat"), MessageBody=wake_up(str(job)))


@pytest.fixture
def services(settings):
    """What a process has."""
    made = build(settings)
    yield made
    made.redis.close()


@pytest.fixture
def user():
    """A user nobody else is."""
    return f"user-{secrets.token_hex(4)}"


@pytest.fixture
def ann(user):
    """Who owns something."""
    return f"ann-{user}"


@pytest.fixture
def eve(user):
    """Who wants it."""
    return f"eve-{user}"


@pytest.fixture
def people(ann, eve):
    """Both."""
    return ann, eve


@pytest.fixture
def submit(services, user):
    """Submit a text as the test's user."""

    def submit(text="[[echo=hello]]", **fields):
        return services.submit(
            Submission(user_id=user, input=(text_part(text),), options=ModelOptions(f"model-{user}"), **fields)
        )

    return submit


@pytest.fixture
def due_in_a_minute(services):
    """Make a queued turn due in a minute, as a retryable failure would."""

    def postpone(job_id):
        services.dynamodb.update_item(
            TableName=services.settings.table_name("turns"),
            Key={"SessionId": {"S": job_id.session_id}, "Turn": {"N": str(job_id.turn)}},
            UpdateExpression="SET Due = :d",
            ExpressionAttributeValues={":d": {"N": str(services.clock.now() + 60_000)}},
        )

    return postpone
