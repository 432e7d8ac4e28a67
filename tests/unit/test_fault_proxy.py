"""The fault proxy does what it says: a chaos suite on a proxy that lies proves nothing."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import httpx2
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.faults.kinds import conflict, dropped, late, lost, malformed, status, swallowed, throttled, twice
from tests.faults.proxy import FaultProxy


class Upstream(ThreadingHTTPServer):
    daemon_threads = True
    served = 0


class Counting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.served += 1
        body = json.dumps({"served": self.server.served}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def upstream():
    """A server that counts what it served."""
    with Upstream(("127.0.0.1", 0), Counting) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(upstream):
    """A proxy in front of it."""
    with FaultProxy(upstream.server_port) as made:
        yield made


@contextmanager
def client(proxy):
    with httpx2.Client(base_url=proxy.url, timeout=10) as made:
        yield made


def ask(client, target="AmazonSQS.SendMessage", body="{}", **how):
    return client.post("/", content=body, headers={"X-Amz-Target": target}, **how)


def give_up(client):
    """Ask, and see that no answer comes."""
    with pytest.raises(httpx2.ReadTimeout):
        ask(client, timeout=0.2)


def test_connections_are_kept_and_requests_counted(proxy, upstream):
    """Two hundred requests over one connection."""
    with client(proxy) as http:
        assert [ask(http).json()["served"] for _ in range(200)] == list(range(1, 201))
    assert proxy.requests == {"AmazonSQS.SendMessage": 200}
    assert proxy.connections == 1


def test_a_rule_meets_what_it_names_as_often_as_it_may(proxy, upstream):
    """By target, by body, by number of times; the server sees nothing of it."""
    with client(proxy) as http, proxy.fault("AmazonSQS.Send*", status(503), times=2, containing="chat") as rule:
        assert ask(http, "AmazonSQS.ReceiveMessage", "chat").status_code == 200
        assert ask(http, body="other").status_code == 200
        assert [ask(http, body="chat").status_code for _ in range(3)] == [503, 503, 200]
        assert rule.hits == 2
    assert upstream.served == 3


def test_a_probability_is_the_same_for_the_same_seed(upstream):
    """Seeded, so that a run can be repeated."""

    def run():
        with FaultProxy(upstream.server_port, seed=7) as proxy, client(proxy) as http:
            proxy.fault("*", status(500), probability=0.3)
            return [ask(http).status_code for _ in range(60)]

    assert (first := run()) == run()
    assert 5 < first.count(500) < 35


@pytest.mark.parametrize(("fault", "served"), [(lost(), 1), (dropped(), 0)])
def test_a_reset_comes_before_or_after_the_server_has_done_it(proxy, upstream, fault, served):
    """`lost`: applied, but the answer never arrives."""
    with client(proxy) as http, proxy.fault("*", fault, times=1):
        with pytest.raises(httpx2.HTTPError):
            ask(http)
        assert upstream.served == served
        assert ask(http).status_code == 200


def test_a_swallowed_request_is_never_answered(proxy, upstream):
    """The client's own time-out is what ends it."""
    with client(proxy) as http, proxy.fault("*", swallowed(), times=1):
        give_up(http)
        assert ask(http).status_code == 200
    assert upstream.served == 1


def test_a_late_answer_was_applied_in_time(proxy, upstream):
    """The client gives up, the server has done it."""
    with client(proxy) as http, proxy.fault("*", late(2), times=1) as rule:
        with pytest.raises(httpx2.ReadTimeout):
            ask(http, timeout=1)
        assert (rule.hits, upstream.served) == (1, 1)


def test_a_request_can_be_done_twice(proxy, upstream):
    """One answer, two effects."""
    with client(proxy) as http, proxy.fault("*", twice(), times=1):
        assert ask(http).status_code == 200
    assert upstream.served == 2


def test_a_refused_port_refuses_and_comes_back(proxy):
    """Live connections are reset, new ones refused, and the port is still ours afterwards."""
    with client(proxy) as http:
        assert ask(http).status_code == 200
        proxy.refuse()
        with pytest.raises(httpx2.HTTPError):
            ask(http)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port))
        proxy.heal()
        assert ask(http).status_code == 200


def test_a_hole_says_nothing_and_lets_nothing_out_afterwards(proxy, upstream):
    """What was sent into it is lost, on old connections and on new ones."""
    with client(proxy) as old, client(proxy) as new:
        assert ask(old).status_code == 200
        proxy.hole()
        for http in (old, new):
            give_up(http)
        proxy.heal()
        assert ask(old).status_code == 200
        assert ask(new).status_code == 200
    assert upstream.served == 3


def test_connections_can_be_cut_and_slowed(proxy):
    """`cut` says how many it met."""
    with client(proxy) as http:
        ask(http)
        assert proxy.cut() == 1
        proxy.latency(0.15)
        assert ask(http).elapsed.total_seconds() >= 0.15


def test_bytes_that_are_not_http_pass_as_they_are(upstream):
    """For Redis."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        FaultProxy(server.getsockname()[1], http=False) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port)) as sent,
    ):
        sent.sendall(b"PING\r\n")
        with server.accept()[0] as other:
            assert other.recv(100) == b"PING\r\n"
            other.sendall(b"+PONG\r\n")
            assert sent.recv(100) == b"+PONG\r\n"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                sent.recv(100)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (throttled(), "ProvisionedThroughputExceededException"),
        (conflict(), "TransactionCanceledException"),
        (status(403), "AccessDenied"),
        (status(500), "InternalFailure"),
    ],
)
def test_boto_reads_the_errors_as_awss(proxy, fault, code):
    """The same class and code as from the real service."""
    config = Config(retries={"total_max_attempts": 1})
    dynamodb = boto3.client(
        "dynamodb", "us-east-1", endpoint_url=proxy.url, aws_access_key_id="a", aws_secret_access_key="b", config=config
    )
    with proxy.fault("DynamoDB_20120810.*", fault) as rule:
        with pytest.raises(ClientError) as caught:
            dynamodb.list_tables()
        assert caught.value.response["Error"]["Code"] == code
        assert rule.hits == 1
    # What is not JSON passes for an answer without anything in it: a fault that boto does not see.
    with proxy.fault("*", malformed()):
        assert "TableNames" not in dynamodb.list_tables()
    dynamodb.close()
