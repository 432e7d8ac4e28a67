"""The way out against servers that misbehave, over real sockets: bounded time and size, and what is known of what was sent."""

import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chatapp.outbound.client import MAX_BODY_BYTES, HttpClient
from chatapp.outbound.failures import AddressRefused, Crowded, NotSent, Unanswered
from chatapp.outbound.resolving import Resolver
from tests.outbound_kit import misbehaving, read_request, receiving
from tests.servers import clean_env
from tests.stack import ROOT

SECONDS = 0.5
LONG = 20
"""Tests wait for what is not to last so long."""


def client(seconds=LONG, resolve=None, **more):
    return HttpClient(seconds, resolver=Resolver(resolve) if resolve else None, **more)


def post(url, *, by=None, public=False, body=b"{}"):
    return (by or client()).send("POST", url, headers={"Idempotency-Key": "k"}, body=body, public=public)


@pytest.fixture(scope="module")
def receiver():
    with receiving() as running:
        yield running


def test_a_request_arrives_as_it_was_meant(receiver):
    """Method, path, query, headers and bytes; the answer comes back whole."""
    receiver.answers.append((201, {"Retry-After": "7"}, b'{"ok": true}'))
    body = "é".encode() * 50_000
    answer = post(receiver.url + "/a/b?x=1&y=%20", body=body)
    got = receiver.requests[-1]
    assert (answer.status, answer.headers["retry-after"], answer.body) == (201, "7", b'{"ok": true}')
    assert (got.method, got.path, got.body) == ("POST", "/a/b?x=1&y=%20", body)
    assert got.headers["host"] == receiver.url.removeprefix("http://")
    assert (got.headers["idempotency-key"], got.headers["content-length"]) == ("k", str(len(body)))


def test_the_environments_proxy_is_not_used(receiver, monkeypatch):
    """It would look names up itself, and reach what we may not."""
    with misbehaving(lambda *_: None) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name)
        assert post(receiver.url).status == 204
        assert proxy.connections == 0


def test_a_redirect_is_an_answer_and_not_followed(receiver):
    """Its Location may be any address."""
    with misbehaving(lambda *_: None) as private:
        receiver.answers.append((307, {"Location": private.url}, b""))
        assert post(receiver.url).status == 307
        assert private.connections == 0


def answered(data):
    """Read the request, then say this and end."""

    def deed(connection, _stop):
        read_request(connection)
        connection.sendall(data)

    return deed


def dripping(first, then):
    """Read the request, say something, and then a byte at a time for ever."""

    def deed(connection, stop):
        read_request(connection)
        connection.sendall(first)
        while not stop.wait(0.05):
            connection.sendall(then)

    return deed


def reset(connection, _stop):
    """Read the request and break the connection."""
    read_request(connection)
    connection.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")  # SO_LINGER 0: RST instead of FIN


def silent(connection, stop):
    read_request(connection)
    stop.wait(LONG)


def deaf(_connection, stop):
    stop.wait(LONG)


@pytest.mark.parametrize(
    "deed",
    [
        answered(b""),
        answered(b"220 mail.example.org ESMTP\r\n"),
        answered(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"),
        answered(b"HTTP/1.1 2\r\n\r\n"),
        answered(b"HTTP/9.9 200 OK\r\n\r\n"),
        answered(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        answered(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        answered(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000),
        answered(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"),
        answered(b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000),
        reset,
    ],
)
def test_what_is_no_answer_leaves_the_outcome_unknown(deed, receiver):
    """Nothing, another protocol, half an answer, a head without an end, a reset: it was sent, and nobody knows more."""
    with misbehaving(deed) as server, pytest.raises(Unanswered):
        post(server.url)
    assert post(receiver.url).status == 204


@pytest.mark.parametrize(
    "deed",
    [
        silent,
        deaf,
        dripping(b"", b"H"),
        dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_one_deadline_bounds_the_whole_exchange(deed):
    """Silence, a byte now and then, a target that does not read: the bound is ours."""
    with misbehaving(deed) as server, pytest.raises(Unanswered, match="in time"):
        post(server.url, by=client(SECONDS), body=b"x" * 8_000_000)


@pytest.mark.parametrize(
    "deed",
    [
        dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b""),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        answered(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"),
        answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz"),
        answered(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000_000),
        answered(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n"),
        answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b"x" * 0x8000 + b"\r\n" * 1000),
    ],
)
def test_the_status_is_the_answer_whatever_becomes_of_the_body(deed):
    """A body that is cut, too slow or too large is dropped; that the target said yes is known."""
    with misbehaving(deed) as server:
        answer = post(server.url, by=client(4 * SECONDS))
    assert (answer.status, answer.body) == (200, None)


def test_a_body_of_the_largest_size_is_read(receiver):
    """And one byte more is not."""
    for more, expected in ((0, b"x" * MAX_BODY_BYTES), (1, None)):
        receiver.answers.append((200, {}, b"x" * (MAX_BODY_BYTES + more)))
        assert post(receiver.url).body == expected


def nowhere(_host, _port):
    raise OSError("no such name")


def stuck(_host, _port):
    time.sleep(2)
    return ["127.0.0.1"]


@pytest.mark.parametrize("resolve", [nowhere, stuck, lambda *_: []])
def test_a_name_that_is_not_found_means_that_nothing_was_sent(resolve):
    """Also when the name server takes its time."""
    with pytest.raises(NotSent, match=r"host"):
        post("http://target.example/", by=client(SECONDS, resolve))


def test_a_refused_connection_means_that_nothing_was_sent(receiver):
    """Nobody listens; the next address is tried."""
    with misbehaving(deaf) as server:
        gone = server.port
    with pytest.raises(NotSent, match="reached"):
        post(f"http://127.0.0.1:{gone}/")
    port = receiver.url.rsplit(":", 1)[1]
    assert post(f"http://target.example:{port}/", by=client(LONG, lambda *_: ["127.0.0.2", "127.0.0.1"])).status == 204


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/a b", "http://127.0.0.1:{port}/\r\nX: y", "http://127.0.0.1:{port}/é"])
def test_a_url_that_cannot_be_written_is_not_sent(receiver, url):
    """The operator's own are not checked as strictly as those of users."""
    before = len(receiver.requests)
    with pytest.raises(NotSent, match="URL"):
        post(url.format(port=receiver.url.rsplit(":", 1)[1]))
    assert len(receiver.requests) == before


# --- where users' URLs may lead


@pytest.mark.parametrize(
    "host", "127.0.0.1 localhost 127.1 2130706433 0x7f.1 0177.0.0.1 [::1] [::ffff:127.0.0.1] 0.0.0.0 [::]".split()
)
def test_a_private_target_sees_no_connection(host):
    """However it is written."""
    with misbehaving(deaf) as server:
        with pytest.raises(NotSent):
            post(f"http://{host}:{server.port}/", public=True)
        assert server.connections == 0


@pytest.mark.parametrize(
    "answers", [["10.0.0.1"], ["169.254.169.254", "fd00:ec2::254"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"]]
)
def test_a_name_that_leads_to_a_private_address_is_refused(answers):
    """Also when that is in another's clothes."""
    with pytest.raises(AddressRefused):
        post("https://innocent.example/", by=client(SECONDS, lambda *_: answers), public=True)


def test_a_name_that_changes_its_mind_gains_nothing(receiver):
    """Rebinding: public when it is checked, private a moment later. It is looked up once, and what was checked is dialled."""
    asked = []
    port = receiver.url.rsplit(":", 1)[1]

    def rebinding(_host, _port):
        asked.append(1)
        return ["203.0.114.1"] if len(asked) == 1 else ["127.0.0.1"]

    before = len(receiver.requests)
    with pytest.raises(NotSent):  # 203.0.114.1 does not answer from here, or refuses
        post(f"http://rebinding.example:{port}/", by=client(SECONDS, rebinding), public=True)
    assert (len(asked), len(receiver.requests)) == (1, before)


def test_only_the_public_ones_of_a_names_addresses_are_dialled(receiver):
    """A private one beside them is never tried."""
    port = receiver.url.rsplit(":", 1)[1]
    before = len(receiver.requests)
    with pytest.raises(NotSent):
        post(f"http://both.example:{port}/", by=client(SECONDS, lambda *_: ["127.0.0.1", "203.0.114.1"]), public=True)
    assert len(receiver.requests) == before
    assert post(f"http://both.example:{port}/", by=client(LONG, lambda *_: ["127.0.0.1"])).status == 204


def test_calls_to_one_address_are_bounded():
    """A target that is stuck does not take every slot; another one is called meanwhile."""
    held, entered = threading.Semaphore(0), threading.Semaphore(0)

    def hold(connection, _stop):
        read_request(connection)
        entered.release()
        held.acquire(timeout=LONG)
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    few = client(calls_per_address=2, resolve=lambda host, _port: [host.removesuffix(".example").replace("-", ".")])
    with misbehaving(hold) as server:
        callers = [threading.Thread(target=post, args=(server.url,), kwargs={"by": few}) for _ in range(2)]
        for caller in callers:
            caller.start()
        for _ in callers:
            assert entered.acquire(timeout=LONG)
        with pytest.raises(Crowded):
            post(f"http://127-0-0-1.example:{server.port}/", by=few)
        with pytest.raises(NotSent, match="reached"):
            post(f"http://127-0-0-2.example:{server.port}/", by=few)
        held.release(9)
        for caller in callers:
            caller.join(LONG)
        assert post(server.url, by=few).status == 204


# --- TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server's context for `target.example`, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "target.example")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("target.example"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "both.pem").write_bytes(secret + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "both.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


def encrypted(context, deed, seen):
    def serve(connection, stop):
        with context.wrap_socket(connection, server_side=True) as inside:
            seen.append(inside.getpeername())
            deed(inside, stop)

    return serve


def here(*_):
    return ["127.0.0.1"]


def test_over_tls_the_certificate_is_the_names_and_the_connection_the_addresss(tls):
    """What was looked up is dialled; what is asked for in the handshake, and in Host, stays the name."""
    server_context, trusting = tls
    names, heads, seen = [], [], []
    server_context.sni_callback = lambda _socket, name, _context: names.append(name)

    def deed(connection, _stop):
        heads.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000)

    with misbehaving(encrypted(server_context, deed, seen)) as server:
        url = f"https://target.example:{server.port}/p"
        answer = post(url, by=client(LONG, here, context=trusting), body=b"x" * 200_000)
        with pytest.raises(NotSent, match="certificate"):
            post(url, by=client(LONG, here))
        with pytest.raises(NotSent, match="certificate"):
            post(f"https://other.example:{server.port}/", by=client(LONG, here, context=trusting))
    assert (answer.status, answer.body) == (200, b"x" * 60_000)
    assert names[0] == "target.example"
    assert heads[0].startswith(b"POST /p HTTP/1.1\r\n")
    assert f"Host: target.example:{server.port}\r\n".encode() in heads[0]
    assert len(heads) == 1


def test_tls_with_who_speaks_none_fails_before_anything_is_sent(receiver):
    """A plain HTTP server on the port."""
    before = len(receiver.requests)
    with pytest.raises(NotSent, match="TLS"):
        post(receiver.url.replace("http:", "https:"), by=client(SECONDS))
    assert len(receiver.requests) == before


def test_a_handshake_that_drips_ends_with_the_deadline():
    """Nothing was sent yet."""
    with misbehaving(dripping_tls) as server, pytest.raises(NotSent, match="TLS"):
        post(f"https://127.0.0.1:{server.port}/", by=client(SECONDS))


def dripping_tls(connection, stop):
    """Begin a record of TLS and never end it."""
    connection.recv(1)
    connection.sendall(b"\x16\x03\x03\x3f\xff")
    while not stop.wait(0.05):
        connection.sendall(b"\x02")


def test_a_cut_after_the_request_is_unknown_over_tls_too(tls):
    """The end without an answer."""
    server_context, trusting = tls

    def deed(connection, _stop):
        read_request(connection)

    with misbehaving(encrypted(server_context, deed, [])) as server, pytest.raises(Unanswered):
        post(f"https://target.example:{server.port}/", by=client(LONG, here, context=trusting))


ON_GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, time
from chatapp.outbound.client import HttpClient
from chatapp.outbound.failures import CallFailed
for seconds, url in zip(sys.argv[1::2], sys.argv[2::2]):
    began = time.monotonic()
    try:
        print(HttpClient(float(seconds)).send("POST", url, headers={}, body=b"{}", public=False).status)
    except CallFailed as failure:
        print(type(failure).__name__, time.monotonic() - began < 15)
"""


def test_the_deadline_holds_in_a_worker_on_gevent_too(receiver):
    """Its sockets begin their time-outs anew with every byte of a handshake, and its look-ups are in threads."""
    with misbehaving(dripping_tls) as tls_server, misbehaving(dripping(b"", b"H")) as server:
        secure = f"https://127.0.0.1:{tls_server.port}/"
        plain = receiver.url.replace("127.0.0.1", "localhost")
        command = [sys.executable, "-c", ON_GEVENT, str(SECONDS), secure, str(SECONDS), server.url, str(LONG), plain]
        run = subprocess.run(command, cwd=ROOT, env=clean_env(), capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout.splitlines() == ["NotSent True", "Unanswered True", "204"], run.stderr
