"""The settings are checked whole, before anything starts."""

import os

import pytest
from click.testing import CliRunner

from chatapp.cli.config import config
from config.settings import DEV_JWT_SECRET, SettingsError, load, variables

GOOD_PRODUCTION = {
    "CHATAPP_ENV": "production",
    "JWT_SECRET": "x" * 40,
    "SQS_QUEUE_URL_PREFIX": "https://sqs.eu-west-1.amazonaws.com/1/chatapp-",
    "OPENAI_API_KEY": "sk-canary",
    "PUBLIC_WS_URL": "wss://chat.example.com/ws",
}


@pytest.fixture(autouse=True)
def only(monkeypatch):
    """Begin each test without any setting in the environment."""
    for name in [n for n in os.environ if n.upper() in variables() or n.upper().startswith("CHATAPP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHATAPP_ENV_FILE", "")

    def given(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return load()

    return given


def problems(only, **values):
    with pytest.raises(SettingsError) as caught:
        only(**values)
    return caught.value.problems


def test_the_defaults_are_enough_for_a_laptop(only):
    """Nothing has to be set to try the product."""
    assert only().env == "development"


def test_every_problem_is_listed_at_once(only):
    """Wrong values, contradictions and unknown names come in one answer, each with its variable."""
    found = "\n".join(
        problems(only, REDIS_PORT="abc", LEASE_SECONDS="-1", JWT_SECRET="short", CHATAPP_LLM_MODL="m", CORS_ORIGINS="*")
    )
    for name in ("REDIS_PORT", "LEASE_SECONDS", "JWT_SECRET", "CHATAPP_LLM_MODL", "CORS_ORIGINS"):
        assert name in found


def test_an_unknown_variable_is_refused_with_the_nearest_right_name(only):
    """A typo is not a silent default."""
    assert problems(only, CHATAPP_LLM_MODL="m") == ["CHATAPP_LLM_MODL is not a setting: did you mean CHATAPP_LLM_MODEL?"]


def test_no_secret_is_ever_printed(only):
    """Neither in an error nor in the settings' own text."""
    settings = only(OPENAI_API_KEY="sk-canary", REDIS_URL="redis://:canary@h/0")
    assert "canary" not in repr(settings)
    assert "canary" not in "\n".join(problems(only, JWT_SECRET="canary", REDIS_URL="canary://x"))


def test_production_refuses_what_is_only_safe_on_a_laptop(only):
    """The default secret, emulators and plain addresses are named, all of them."""
    found = "\n".join(
        problems(only, CHATAPP_ENV="production", AWS_ENDPOINT_URL="http://127.0.0.1:4566", JWT_SECRET=DEV_JWT_SECRET)
    )
    for name in ("JWT_SECRET", "AWS_ENDPOINT_URL", "SQS_QUEUE_URL_PREFIX", "OPENAI_API_KEY", "PUBLIC_WS_URL"):
        assert name in found


def test_a_good_production_configuration_is_accepted(only):
    """What is asked for is enough."""
    assert only(**GOOD_PRODUCTION).env == "production"


def test_every_setting_may_have_the_prefix_and_the_prefix_wins(only):
    """CHATAPP_LLM_MODEL is LLM_MODEL."""
    assert only(CHATAPP_LLM_MODEL="a", LLM_MODEL="b").llm_model == "a"


def test_two_kinds_of_keys_are_a_contradiction(only):
    """No key may serve two algorithms."""
    assert any("choose one" in p for p in problems(only, JWT_SECRET="x" * 40, JWT_JWKS_URL="https://idp.example.com/keys"))


def test_a_lambda_variable_names_the_target_of_an_action(only, monkeypatch):
    """ACTION_URLS wins; what AWS sets for its own functions is none, and a wrong one is refused by its own name."""
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")
    monkeypatch.setenv("LAMBDA_CHECK_IN", "https://one.example.com/")
    monkeypatch.setenv("LAMBDA_CLINICAL_NOTE", "https://two.example.com/")
    urls = only(ACTION_URLS='{"check_in": "https://wins.example.com/"}').action_urls
    assert {name: str(target) for name, target in urls.items()} == {
        "check_in": "https://wins.example.com/",
        "clinical_note": "https://two.example.com/",
    }
    assert problems(only, LAMBDA_HELP="not-a-url") == [
        "LAMBDA_HELP: must be an http:// or https:// address, without a user or password in it"
    ]


def test_a_dotenv_file_is_read_and_checked(only, tmp_path):
    """Also the names in it."""
    file = tmp_path / "settings"
    file.write_text("LLM_MODEL=from-file\nCHATAPP_OOPS=1\n")
    assert any("CHATAPP_OOPS" in p for p in problems(only, CHATAPP_ENV_FILE=str(file)))
    file.write_text("LLM_MODEL=from-file\n")
    assert only(CHATAPP_ENV_FILE=str(file)).llm_model == "from-file"


def test_fallbacks_are_a_json_list(only):
    """In the order in which they are asked; a key may be left out."""
    given = '[{"base_url": "https://a/v1", "model": "m", "api_key": "sk-canary"}, {"base_url": "http://b:1/v1", "model": "n"}]'
    first, second = only(LLM_FALLBACKS=given).llm_fallbacks
    assert (first.base_url, first.model, first.api_key.get_secret_value()) == ("https://a/v1", "m", "sk-canary")
    assert (second.base_url, second.model, second.api_key) == ("http://b:1/v1", "n", None)
    assert only(LLM_FALLBACKS="").llm_fallbacks == ()


@pytest.mark.parametrize(
    "wrong",
    [
        "sk-canary",
        '{"base_url": "https://a", "model": "m", "api_key": "sk-canary"}',
        '["sk-canary"]',
        '[{"model": "m", "api_key": "sk-canary"}]',
        '[{"base_url": "https://a", "api_key": "sk-canary"}]',
        '[{"base_url": "https://a", "model": "m", "api_key": ["sk-canary"]}]',
        '[{"base_url": "https://a", "model": "m", "key": "sk-canary"}]',
        '[{"base_url": "ftp://sk-canary", "model": "m"}]',
        '[{"base_url": "https://me:sk-canary@a", "model": "m"}]',
        "[" * 100_000,
        "5",
    ],
)
def test_wrong_fallbacks_are_refused_without_showing_a_key(only, wrong):
    """Not JSON, not a list, no address, an unknown field, a password in the address."""
    (problem,) = problems(only, LLM_FALLBACKS=wrong)
    assert problem.startswith("LLM_FALLBACKS")
    assert "canary" not in problem


def test_the_keys_of_fallbacks_are_never_printed(only):
    """Neither in the settings' own text nor by `config`."""
    given = '[{"base_url": "https://a/v1", "model": "m", "api_key": "sk-canary"}]'
    shown = CliRunner().invoke(config, env={"LLM_FALLBACKS": given}).output
    assert "LLM_FALLBACKS=m at https://a/v1" in shown
    assert "canary" not in shown + repr(only(LLM_FALLBACKS=given))


def test_a_fallback_on_this_machine_is_refused_in_production(only):
    """As the provider itself is."""
    given = '[{"base_url": "http://127.0.0.1/v1", "model": "m"}]'
    (problem,) = problems(only, **GOOD_PRODUCTION, LLM_FALLBACKS=given)
    assert "LLM_FALLBACKS" in problem
