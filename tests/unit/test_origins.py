"""Which pages may call: the one rule of the API and the WebSocket."""

import pytest

from chatapp.origins import may_call
from config.settings import Settings

APP = ("https://app.example",)


@pytest.mark.parametrize("env", ["development", "test"])
@pytest.mark.parametrize("allowed", [(), APP])
def test_programs_may_call(env, allowed):
    """They send no Origin."""
    assert may_call(None, Settings(env=env, cors_origins=allowed))


@pytest.mark.parametrize("env", ["development", "test"])
def test_a_listed_page_may_call_and_nothing_that_looks_like_it(env):
    """Exactly as it is written."""
    settings = Settings(env=env, cors_origins=(*APP, "http://localhost:5173"))
    assert may_call("https://app.example", settings)
    assert may_call("http://localhost:5173", settings)
    strangers = """https://app.example.evil https://evil-app.example http://app.example https://app.example:444
        https://app.example/ https://APP.example https://app.example@evil https://sub.app.example http://localhost:5174
        null http://localhost""".split()
    for origin in [*strangers, "", " https://app.example", "https://app.example\n", "https://app.example https://evil.example"]:
        assert not may_call(origin, settings), origin


def test_in_development_any_port_of_this_machine_may_call():
    """As long as nothing is listed."""
    settings = Settings(env="development", cors_origins=())
    for origin in "http://localhost http://localhost:5173 https://localhost:8443 http://127.0.0.1:8000 https://127.0.0.1".split():
        assert may_call(origin, settings), origin
    strangers = """http://localhost.evil:80 http://evil-localhost http://127.0.0.1.evil http://127.0.0.12 http://localhost:123456
        ftp://localhost http://localhost:80:80 http://localhost@evil http://localhost/x http://[::1] null""".split()
    for origin in [*strangers, "", "http://localhost:80\n", "http://localhost:８０"]:
        assert not may_call(origin, settings), origin


def test_elsewhere_this_machine_is_a_stranger_too():
    """What a developer's browser may do there, a page on a user's own machine may not do here."""
    assert not may_call("http://localhost:5173", Settings(env="test", cors_origins=()))
