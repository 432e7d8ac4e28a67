"""The command line: commands are found, wrong settings are listed, tokens are made for development only."""

import jwt
import pytest
from click.testing import CliRunner

from chatapp.cli import COMMANDS, cli
from chatapp.cli.chat import _inert
from config.settings import DEV_JWT_SECRET


def test_every_command_is_listed() -> None:
    """`--help` names them all."""
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output for name in COMMANDS)


def test_an_unknown_command_is_refused() -> None:
    """A wrong name is an error, not a traceback."""
    result = CliRunner().invoke(cli, ["deploy"])
    assert result.exit_code == 2
    assert "No such command" in result.output


def test_wrong_settings_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every problem is named at once, without a traceback."""
    monkeypatch.setenv("REDIS_PORT", "x")
    monkeypatch.setenv("JWT_SECRET", "short")
    result = CliRunner().invoke(cli, ["config"])
    assert result.exit_code == 1
    assert "REDIS_PORT" in result.output
    assert "JWT_SECRET" in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_token_is_for_the_user_and_scopes_that_were_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token can be verified with the shared secret."""
    monkeypatch.delenv("JWT_SECRET", raising=False)
    result = CliRunner().invoke(cli, ["token", "--user", "ana", "--scope", "admin", "--hours", "0.5"])
    claims = jwt.decode(result.output.strip(), DEV_JWT_SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["scope"], claims["exp"] - claims["iat"]) == ("ana", "admin", 1800)


def test_no_token_is_made_where_an_identity_provider_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key set there is no secret to sign with."""
    monkeypatch.setenv("JWT_JWKS_URL", "https://example.com/keys")
    result = CliRunner().invoke(cli, ["token", "--user", "ana"])
    assert result.exit_code == 1
    assert "JWT_JWKS_URL" in result.output


def test_an_answer_moves_no_cursor_and_sets_no_title():
    """What a terminal would obey is taken out; text, tabs and lines stay."""
    assert _inert("A\033]0;title\007\033[2JB\tC\nD\r\x9b1m é") == "A]0;title[2JB\tC\nD1m é"
