"""Pushing to people: to all sockets of a user, or to all sockets, across processes; against real gunicorns."""

import secrets

import pytest

from tests.integration.ws_kit import Client, signed_in, ws_server


@pytest.fixture(scope="module")
def urls(settings, tmp_path_factory):
    """Two WebSocket servers of one fleet."""
    with (
        ws_server(settings, tmp_path_factory.mktemp("ws1")) as first,
        ws_server(settings, tmp_path_factory.mktemp("ws2")) as second,
    ):
        yield first, second


def notification(text="hello"):
    """A frame as the API pushes it."""
    return {"type": "notification", "id": secrets.token_hex(16), "created_at": "2026-01-01T00:00:00.000Z", "text": text}


def test_a_push_reaches_every_socket_of_its_user_and_nobody_else(urls, services, user):
    """In whichever process they are; who has not said who it is gets nothing."""
    with (
        signed_in(urls[0], user) as one,
        signed_in(urls[0], user) as two,
        signed_in(urls[1], user) as elsewhere,
        signed_in(urls[0], user + "x") as somebody,
        Client(urls[1]) as nobody,
    ):
        nobody.expect("connected")
        assert services.pushes.to_user(user, sent := notification()) == 2
        assert [client.recv() for client in (one, two, elsewhere)] == [sent] * 3
        for client in (somebody, nobody):
            assert client.ask("ping") == {"type": "pong"}


def test_a_push_to_all_reaches_every_authenticated_socket(urls, services, user):
    """Of every user, in every process."""
    with signed_in(urls[0], user) as one, signed_in(urls[1], user + "x") as two, Client(urls[0]) as nobody:
        nobody.expect("connected")
        assert services.pushes.to_all(sent := notification("Ünïcödé ✓")) == 2
        assert (one.recv(), two.recv()) == (sent, sent)
        assert nobody.ask("ping") == {"type": "pong"}


def test_pushes_arrive_in_the_order_in_which_they_were_sent(urls, services, user):
    """Many to one user, and many to all, without a loss."""
    with signed_in(urls[0], user) as client:
        for n in range(200):
            services.pushes.to_user(user, notification(str(n)))
        assert [client.recv()["text"] for _ in range(200)] == [str(n) for n in range(200)]
        for n in range(200):
            services.pushes.to_all(notification(str(n)))
        assert [client.recv()["text"] for _ in range(200)] == [str(n) for n in range(200)]


def test_who_has_left_is_pushed_nothing_and_who_comes_again_is(urls, services, user):
    """A closed socket is forgotten."""
    with signed_in(urls[0], user):
        pass
    with signed_in(urls[0], user) as client:
        services.pushes.to_user(user, sent := notification())
        assert client.recv() == sent


def test_what_is_not_a_push_harms_nobody(urls, services, user):
    """Whoever may write to Redis may also make a mistake."""
    with signed_in(urls[0], user) as client:
        for text in ("", "[]", "{}", '{"user_id": 1, "frame": "x"}', '{"user_id": null}'):
            services.redis.publish("ws:push", text)
        services.pushes.to_user(user, sent := notification())
        assert client.recv() == sent
