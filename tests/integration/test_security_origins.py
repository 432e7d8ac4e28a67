"""Pages of other sites: no socket, and no answer that they may read. One rule at both servers."""

import pytest

from tests.integration.attack_kit import Raw, opened, pair

GOOD, OTHER_GOOD = "https://good.example", "http://intranet.example:8080"

FOREIGN = {
    "another site": "https://evil.example",
    "null": "null",
    "empty": "",
    "suffix": "https://good.example.evil",
    "suffix without a dot": "https://evilgood.example",
    "a subdomain": "https://sub.good.example",
    "prefix": "https://good.exampl",
    "its parent": "https://example",
    "another scheme": "http://good.example",
    "a WebSocket's scheme": "wss://good.example",
    "another port": "https://good.example:8443",
    "the default port": "https://good.example:443",
    "the port left out": "http://intranet.example",
    "in capitals": "HTTPS://GOOD.EXAMPLE",
    "a trailing slash": "https://good.example/",
    "a path": "https://good.example/page",
    "a trailing dot": "https://good.example.",
    "a user": "https://good.example@evil.example",
    "a user before": "https://evil@good.example",
    "a fragment": "https://evil.example#https://good.example",
    "a query": "https://evil.example/?https://good.example",
    "a backslash": "https://evil.example\\@good.example",
    "a list": f"{GOOD}, https://evil.example",
    "a list in blanks": f"https://evil.example {GOOD}",
    "a star": "*",
    "a look-alike": "https://g\u00f6od.example",
    "punycode": "https://xn--god-rna.example",
    "this machine": "http://localhost:3000",
    "this machine by number": "http://127.0.0.1",
    "the server itself": "http://127.0.0.1:{port}",
    "a file": "file://",
    "an extension": "chrome-extension://abcdefghijklmnop",
}


@pytest.fixture(scope="module")
def servers(settings, tmp_path_factory):
    """Both servers, which know two pages."""
    with pair(settings, tmp_path_factory.mktemp("origins"), CORS_ORIGINS=f"{GOOD},{OTHER_GOOD}") as running:
        yield running


@pytest.mark.parametrize("origin", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_page_of_another_site_gets_no_socket(servers, user, origin):
    """4507 before anything else, although it brings a good token."""
    given = origin.replace("{port}", str(servers.ws_port))
    with Raw(servers.ws_port) as raw:
        assert raw.handshake(f"Origin: {given}", f"Authorization: Bearer {servers.token(user)}") == 101
        assert raw.close_code() == 4507
    assert servers.services.sockets.sockets_of(user) == []


def cors(answer):
    """The headers that let a page read."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("origin", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_page_of_another_site_may_read_no_answer(servers, user, origin):
    """No CORS header on an answer, a refusal or a preflight, and caches are told that it depends on the origin."""
    headers = {"Origin": origin.replace("{port}", str(servers.api_port)).encode().decode("latin-1")}
    preflight = {**headers, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answers = [
        servers.send("GET", "/sessions", user=user, headers=headers),
        servers.send("GET", "/sessions", headers=headers),
        servers.send("GET", "/app-config", headers=headers),
        servers.send("GET", "/nothing", headers=headers),
        servers.send("GET", f"/jobs/{'0' * 32}.1/events", user=user, headers=headers),
        servers.send("OPTIONS", "/chat", headers=preflight),
    ]
    assert [answer.status for answer in answers] == [200, 401, 200, 404, 404, 204]
    for answer in answers:
        assert cors(answer) == {}
        assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("origins", [(GOOD, "https://evil.example"), ("https://evil.example", GOOD), (GOOD, GOOD)])
def test_two_origins_are_none(servers, user, origins):
    """Whichever comes first."""
    with Raw(servers.ws_port) as raw:
        assert raw.handshake(*(f"Origin: {one}" for one in origins), f"Authorization: Bearer {servers.token(user)}") == 101
        assert raw.close_code() == 4507
    lines = ["GET /app-config HTTP/1.1", "Host: x", "Connection: close", *(f"Origin: {one}" for one in origins), "", ""]
    with Raw(servers.api_port) as raw:
        raw.send("\r\n".join(lines).encode())
        answer = b""
        while data := raw.sock.recv(65_536):
            answer += data
    assert b"200 OK" in answer
    assert b"access-control-allow-origin" not in answer.lower()


@pytest.mark.parametrize("origin", [GOOD, OTHER_GOOD])
def test_a_known_page_gets_both(servers, user, origin):
    """Its name and no star; and no credentials, since cookies mean nothing here."""
    answer = servers.send("GET", "/sessions", user=user, headers={"Origin": origin})
    assert cors(answer)["access-control-allow-origin"] == origin
    assert "access-control-allow-credentials" not in answer.headers
    with opened(servers, user, f"Origin: {origin}"):
        pass


@pytest.mark.parametrize("header", ["Sec-WebSocket-Origin", "X-Forwarded-Host", "X-Original-Host", "Referer"])
def test_no_other_header_stands_for_the_origin(servers, user, header):
    """A foreign page stays one, whatever else it brings."""
    with Raw(servers.ws_port) as raw:
        assert raw.handshake("Origin: https://evil.example", f"{header}: {GOOD}") == 101
        assert raw.close_code() == 4507
    answer = servers.send("GET", "/app-config", user=user, headers={"Origin": "https://evil.example", header: GOOD})
    assert cors(answer) == {}


def test_a_program_sends_no_origin(servers):
    """And is let in by its token alone."""
    servers.serves_others()
