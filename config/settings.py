"""Every setting, in one class, validated whole before anything starts.

A setting's variable is its name in capitals, e.g. `LLM_MODEL`; each may also be written with the prefix `CHATAPP_`
(`CHATAPP_LLM_MODEL`), which wins. A `.env` file in the working directory is read too (`CHATAPP_ENV_FILE` names another,
an empty value none); real variables win over it.
"""

import base64
import difflib
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AliasChoices, AliasGenerator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config.actions import ActionTargets, from_lambdas
from config.fallbacks import Fallbacks

DEV_JWT_SECRET = "chatapp-development-secret-do-not-use-elsewhere"  # noqa: S105  known to everybody, refused in production
LOOPBACK = ("127.0.0.1", "localhost", "::1")

DEV_WEBHOOK_SECRET = "chatapp-development-webhook-secret"  # noqa: S105  as above
DEV_OUTBOUND_SECRET = "whsec_Y2hhdGFwcC1kZXZlbG9wbWVudC1zZWNyZXQ="  # noqa: S105  as above

Seconds = Annotated[float, Field(gt=0)]
Words = Annotated[tuple[str, ...], NoDecode]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode]


class SettingsError(Exception):
    """The settings are wrong. `problems` has one line for each, all of them at once; no line holds a secret's value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(["The settings are wrong:", *(f"  - {p}" for p in problems)]))
        self.problems = problems


class Settings(BaseSettings):
    """The effective settings. Seconds unless a name says otherwise."""

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        alias_generator=AliasGenerator(validation_alias=lambda name: AliasChoices(f"CHATAPP_{name.upper()}", name.upper())),
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    env: Literal["development", "test", "production"] = Field(
        "development", validation_alias="CHATAPP_ENV", description="`production` refuses what is only safe on a laptop"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe level that is logged")

    # AWS
    aws_region: str = Field("us-east-1", description="region of the queues and tables")
    aws_endpoint_url: str | None = Field(
        None, description="an emulator's address; unset for AWS itself, or where SQS_QUEUE_URL_PREFIX names this machine"
    )
    sqs_queue_url_prefix: str = Field(
        "http://127.0.0.1:4566/000000000000/chatapp-",
        description="what stands before `chat` in the queue's URL, e.g. `https://sqs.eu-west-1.amazonaws.com/<account>/chatapp-`",
    )
    dynamodb_table_prefix: str = Field(
        "chatapp-", pattern=r"^[A-Za-z0-9_.-]*$", description="what stands before the names of the tables"
    )

    # Redis
    redis_url: SecretStr | None = Field(None, description="`redis://` or `rediss://`; instead of the three below")
    redis_host: str = Field("127.0.0.1", description="Redis host, when REDIS_URL is not set")
    redis_port: int = Field(6379, ge=1, le=65535, description="Redis port, when REDIS_URL is not set")
    redis_password: SecretStr | None = Field(None, description="Redis password, when REDIS_URL is not set")

    # Authentication
    jwt_secret: SecretStr | None = Field(
        None, description="shared secret for HS256 (32 bytes or more); not together with JWT_JWKS_URL"
    )
    jwt_jwks_url: str | None = Field(None, description="key set of an identity provider (RS256, ES256)")
    jwt_issuer: str | None = Field(None, description="`iss` that a token must have, when set")
    jwt_audience: str | None = Field(None, description="`aud` that a token must have, when set")

    # HTTP and WebSocket
    api_bind: str = Field("127.0.0.1:8000", pattern=r"^.+:[0-9]{1,5}$", description="host:port of the API")
    ws_bind: str = Field("127.0.0.1:8001", pattern=r"^.+:[0-9]{1,5}$", description="host:port of the WebSocket server")
    public_ws_url: str = Field("ws://127.0.0.1:8001/ws", description="the WebSocket's address as clients see it")
    cors_origins: Words = Field(
        (),
        description="origins that may call from a browser, by commas; unset in development: any port of this machine",
    )
    web_workers: int = Field(1, ge=1, description="gunicorn worker processes of the API")
    max_body_bytes: int = Field(262_144, ge=1024, le=350_000, description="largest request body")
    max_message_chars: int = Field(32_000, ge=1, le=64_000, description="longest message")
    rate_limit_requests: int = Field(
        120, ge=0, description="requests a user may send per RATE_LIMIT_SECONDS; 0 switches the limit off"
    )
    rate_limit_seconds: Seconds = Field(60, description="the window of the rate limit")
    ws_ping_seconds: Seconds = Field(25, description="time between pings")
    ws_max_payload: int = Field(65_536, ge=1024, description="largest WebSocket frame from a client, bytes")
    ws_auth_seconds: Seconds = Field(5, description="time a socket has to authenticate")
    ws_send_queue: int = Field(1_000, ge=10, description="events that wait for one slow reader before its socket is closed")
    ws_send_bytes: int = Field(
        1_048_576, ge=65_536, description="bytes of events that wait for one slow reader before its socket is closed"
    )
    ws_frames_per_second: float = Field(
        20, gt=0, description="frames a client may send over a socket, ten seconds' worth at once; who sends more is closed"
    )
    ws_max_sockets: int = Field(100, ge=1, description="sockets a user may have open, over all processes")
    ws_max_subscriptions: int = Field(100, ge=1, description="sessions that one socket may follow")

    # Models
    openai_api_key: SecretStr | None = Field(None, description="key of OpenAI or of any OpenAI-compatible provider")
    openai_base_url: str = Field("https://api.openai.com/v1", description="address of any OpenAI-compatible API")
    llm_model: str = Field("gpt-5-mini", min_length=1, description="the model used when a request names none")
    llm_models: Words = Field((), description="models that a request may name, separated by commas; LLM_MODEL is always one")
    llm_connect_seconds: Seconds = Field(5, description="time to connect to the provider")
    llm_read_seconds: Seconds = Field(60, description="longest silence of the provider's stream")
    llm_total_seconds: Seconds = Field(
        120, description="time in which some provider must have begun to answer; those still to be asked share what is left of it"
    )
    llm_fallbacks: Fallbacks = Field(
        (),
        description="who is asked, in this order, when the provider cannot answer: a JSON list of"
        ' `{"base_url": "https://…/v1", "model": "…", "api_key": "…"}` (`api_key` may be left out)',
    )
    breaker_errors: int = Field(
        5, ge=1, description="errors of a provider within BREAKER_WINDOW_SECONDS that are borne; one more opens its breaker"
    )
    breaker_window_seconds: Seconds = Field(10, description="the window of BREAKER_ERRORS")
    breaker_open_seconds: float = Field(
        15, ge=1, le=120, description="time a breaker is open before one probe is let through; a longer Retry-After wins"
    )
    max_output_tokens: int = Field(
        4_096, ge=1, description="limit for answers when a request names none, and the most it may name"
    )
    history_turns: int = Field(40, ge=0, le=45, description="earlier turns the model is shown at most")
    history_tokens: int = Field(
        12_000, ge=0, description="tokens of history the model is shown at most (estimated at 4 bytes a token)"
    )

    # Turns
    max_open_turns: int = Field(100, ge=1, le=1_000, description="open turns of a session before a 429")
    queue_deadline_seconds: Seconds = Field(3_600, description="a turn that has not started by then fails as `expired`")
    attempt_deadline_seconds: Seconds = Field(600, description="longest run of one attempt")
    lease_seconds: Seconds = Field(20, description="an attempt's right to run, renewed while it lives")
    lease_renew_seconds: Seconds = Field(8, description="time between renewals")
    max_failures: int = Field(4, ge=1, description="retryable failures before a turn fails for good, into the dead-letter queue")
    retry_seconds: Seconds = Field(2, description="pause before the first retry; each further one takes twice as long")
    max_crashes: int = Field(5, ge=1, description="lapsed leases before a turn fails")
    shutdown_grace_seconds: float = Field(
        20, ge=0, description="how long a worker that is told to stop lets its turns finish before it hands them back"
    )
    on_breaker_open: Literal["fail", "wait"] = Field(
        "fail", description="a fresh turn while the breaker is open: fail at once, or wait until the provider may be tried"
    )
    fail_points: str | None = Field(
        None, description="folder in which tests arm faults inside a process (chatapp/failpoints.py); refused in production"
    )
    relay_seconds: Seconds = Field(3, description="time between two looks of the relay")
    relay_first_look_seconds: Seconds = Field(20, description="how long a new turn is left to its own message")
    session_hours: float = Field(24, gt=0, description="life of a session after its last use")
    turn_days: float = Field(7, gt=0, description="how long turns are kept")

    # Flows
    flows: Words = Field(
        ("chat", "interview"),
        description="flows that clients may begin, by commas: `chat`, `interview`, `orchestrator`, or `module:Class` of your own;"
        " the first is the one of who names none",
    )
    default_language: Literal["en", "pt"] = Field("en", description="what flows speak when nothing tells the user's language")
    phone_session_days: float = Field(7, gt=0, description="life of a webhook's session after its last use")
    amadeus_base_url: str | None = Field(
        None, description="address of the Amadeus API (airports, flights) for the interview; unset: it does without"
    )
    amadeus_client_id: str | None = Field(None, description="client id at Amadeus")
    amadeus_client_secret: SecretStr | None = Field(None, description="client secret at Amadeus")
    api_cache_seconds: Seconds = Field(300, description="how long answers of external APIs count as fresh")
    api_stale_seconds: Seconds = Field(86_400, description="how long they are kept for when that API is away")

    # Webhooks and effects
    webhook_secrets: Secrets = Field(
        (), description="secrets of who may call `/webhook/ingest` and `/hooks/template-fired`, by commas; any of them signs"
    )
    action_urls: ActionTargets = Field(
        {},
        description="where confirmed actions are carried out: a JSON object of"
        ' `{"action": "https://…"}` or `{"action": {"url": "…", "status_url": "…"}}`',
    )
    action_seconds: Seconds = Field(3_600, description="how long a proposed action waits for its confirmation")
    outbound_webhook_url: str | None = Field(None, description="where replies to webhook sessions are delivered")
    outbound_webhook_secrets: Secrets = Field(
        (),
        description="secrets that sign what is delivered and actions, `whsec_` and base64, by commas; all of them sign",
    )
    callback_private: bool = Field(False, description="whether a `callback_url` may lead to a private address")
    effect_timeout_seconds: Seconds = Field(10, description="longest call of an action's or a callback's URL")
    effect_max_attempts: int = Field(8, ge=1, description="tries to deliver before the dead-letter queue")
    effect_retry_seconds: Seconds = Field(5, description="pause before the second try; each further one takes twice as long")

    @field_validator("cors_origins", "llm_models", "flows", "webhook_secrets", "outbound_webhook_secrets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(w.strip() for w in value.split(",") if w.strip()) if isinstance(value, str) else value

    @field_validator("outbound_webhook_secrets")
    @classmethod
    def _standard_secrets(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            text = secret.get_secret_value()
            try:
                key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
            except ValueError:
                key = b""
            if not text.startswith("whsec_") or not 24 <= len(key) <= 64:
                raise ValueError("must be `whsec_` and the base64 of 24 to 64 random bytes")
        return value

    @field_validator(
        "aws_endpoint_url", "sqs_queue_url_prefix", "jwt_jwks_url", "openai_base_url", "amadeus_base_url", "outbound_webhook_url"
    )
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is not None and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("must be an http:// or https:// address")
        if value is not None and ("@" in urlsplit(value).netloc or "key=" in urlsplit(value).query):
            raise ValueError("must hold no user, password or key: it is shown and logged")
        return value

    @field_validator("public_ws_url")
    @classmethod
    def _ws_url(cls, value: str) -> str:
        if urlsplit(value).scheme not in ("ws", "wss") or not urlsplit(value).hostname:
            raise ValueError("must be a ws:// or wss:// address")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or parts.username:
                raise ValueError(f"{origin!r} is not an origin: write scheme://host[:port], without a path, and no *")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = list(_contradictions(self))
        if self.env == "production":
            problems += _unsafe_in_production(self)
        if problems:
            raise SettingsError(problems)
        return self

    @property
    def signing_secret(self) -> str | None:
        """The HS256 secret, or None when tokens are checked by a key set."""
        if self.jwt_jwks_url:
            return None
        return self.jwt_secret.get_secret_value() if self.jwt_secret else DEV_JWT_SECRET

    @property
    def delivery_secrets(self) -> tuple[str, ...]:
        """What signs actions and deliveries; outside production the built-in secret where none is set. Never log them."""
        given = tuple(secret.get_secret_value() for secret in self.outbound_webhook_secrets)
        return given or (() if self.env == "production" else (DEV_OUTBOUND_SECRET,))

    @property
    def aws_endpoint(self) -> str | None:
        """The emulator's address, None for AWS itself. Queues on this machine mean that the tables are here too."""
        if self.aws_endpoint_url:
            return self.aws_endpoint_url
        prefix = urlsplit(self.sqs_queue_url_prefix)
        return f"{prefix.scheme}://{prefix.netloc}" if prefix.hostname in LOOPBACK else None

    @property
    def redis_address(self) -> str:
        """The Redis URL. Holds the password: never log it."""
        if self.redis_url:
            return self.redis_url.get_secret_value()
        return f"redis://{self.redis_host}:{self.redis_port}/0"

    @property
    def models(self) -> tuple[str, ...]:
        """The models that a request may name."""
        return tuple(dict.fromkeys((self.llm_model, *self.llm_models)))

    def queue_url(self, name: str) -> str:
        """Say the URL of a queue, by its name without the prefix."""
        return self.sqs_queue_url_prefix + name

    def table_name(self, name: str) -> str:
        """Say a table's full name."""
        return self.dynamodb_table_prefix + name


def _contradictions(s: Settings) -> list[str]:
    problems = []
    if s.jwt_secret and s.jwt_jwks_url:
        problems.append("JWT_SECRET and JWT_JWKS_URL are both set: choose one, so that no key can serve two algorithms")
    if s.jwt_secret and len(s.jwt_secret.get_secret_value().encode()) < 32:
        problems.append("JWT_SECRET is too short: HS256 needs 32 bytes or more")
    if s.lease_seconds < 2 * s.lease_renew_seconds:
        problems.append("LEASE_RENEW_SECONDS must be at most half of LEASE_SECONDS, or one late renewal loses the turn")
    if s.turn_days * 86_400 < 2 * (s.queue_deadline_seconds + s.attempt_deadline_seconds):
        problems.append(
            "TURN_DAYS must be well beyond QUEUE_DEADLINE_SECONDS and ATTEMPT_DEADLINE_SECONDS: turns must not vanish while open"
        )
    if (s.amadeus_client_id is None) != (s.amadeus_client_secret is None):
        problems.append("AMADEUS_CLIENT_ID and AMADEUS_CLIENT_SECRET belong together: set both or neither")
    if s.max_message_chars > s.max_body_bytes:
        problems.append("MAX_BODY_BYTES must be at least MAX_MESSAGE_CHARS")
    return problems


def _unsafe_in_production(s: Settings) -> list[str]:
    problems = []
    if not s.jwt_jwks_url and (not s.jwt_secret or s.jwt_secret.get_secret_value() == DEV_JWT_SECRET):
        problems.append("JWT_SECRET or JWT_JWKS_URL must be set in production: the built-in secret is known to everybody")
    if s.jwt_jwks_url and not s.jwt_jwks_url.startswith("https://"):
        problems.append("JWT_JWKS_URL must be https in production")
    if s.aws_endpoint_url and urlsplit(s.aws_endpoint_url).hostname in LOOPBACK:
        problems.append("AWS_ENDPOINT_URL points at an emulator on this machine: unset it in production")
    if not s.sqs_queue_url_prefix.startswith("https://"):
        problems.append("SQS_QUEUE_URL_PREFIX must be the https address of your queues in production")
    addresses = {"OPENAI_BASE_URL": [s.openai_base_url], "LLM_FALLBACKS": [f.base_url for f in s.llm_fallbacks]}
    problems += [
        f"{variable} points at this machine: name the provider's https address in production"
        for variable, urls in addresses.items()
        if any(map(_plain_and_local, urls))
    ]
    if not s.openai_api_key:
        problems.append("OPENAI_API_KEY must be set in production")
    if not s.public_ws_url.startswith("wss://"):
        problems.append("PUBLIC_WS_URL must be wss in production")
    problems += list(_unsafe_effects(s))
    if s.fail_points:
        problems.append("FAIL_POINTS must not be set in production: they are for tests")
    if s.log_level == "DEBUG":
        problems.append("LOG_LEVEL must not be DEBUG in production")
    return problems


def _unsafe_effects(s: Settings) -> Iterator[str]:
    """Look at what goes out into the world, and at who may come in from it."""
    if any(
        len(secret.get_secret_value()) < 16 or secret.get_secret_value() == DEV_WEBHOOK_SECRET for secret in s.webhook_secrets
    ):
        yield "WEBHOOK_SECRETS: each needs 16 characters or more in production, and not the built-in one"
    outward = [t.url for t in s.action_urls.values()] + [url for url in (s.outbound_webhook_url, s.amadeus_base_url) if url]
    if any(not url.startswith("https://") for url in outward):
        yield "ACTION_URLS, OUTBOUND_WEBHOOK_URL and AMADEUS_BASE_URL must be https in production"
    if (s.action_urls or s.outbound_webhook_url) and not s.outbound_webhook_secrets:
        yield "OUTBOUND_WEBHOOK_SECRETS must be set in production: who is called must be able to tell that it is you"
    if any(secret.get_secret_value() == DEV_OUTBOUND_SECRET for secret in s.outbound_webhook_secrets):
        yield "OUTBOUND_WEBHOOK_SECRETS: the built-in one is known to everybody"
    if s.callback_private:
        yield "CALLBACK_PRIVATE must not be set in production: users could reach your own network"


def _plain_and_local(url: str) -> bool:
    return not url.startswith("https://") and urlsplit(url).hostname in LOOPBACK


def variables() -> dict[str, str]:
    """Name every setting's variable, with its description: what README's table and `.env.example` are checked against."""
    return {variable_of(name): field.description or "" for name, field in Settings.model_fields.items()}


def variable_of(name: str) -> str:
    """Say the variable of a field."""
    return "CHATAPP_ENV" if name == "env" else name.upper()


def load() -> Settings:
    """Read and check the settings.

    Raises: SettingsError, with every problem at once.
    """
    env_file = os.environ.get("CHATAPP_ENV_FILE", ".env") or None
    given = {**(dotenv_values(env_file) if env_file else {}), **os.environ}
    lambdas, problems = from_lambdas(given)
    problems += _unknown(given)
    settings = None
    try:
        settings = Settings(_env_file=env_file)
        if lambdas:  # another way to write ACTION_URLS, which wins
            settings = Settings(_env_file=env_file, action_urls={**lambdas, **settings.action_urls})
    except SettingsError as error:
        problems += error.problems
    except ValidationError as error:
        wrong = {str(e["loc"][0]).lower().removeprefix("chatapp_"): e["msg"] for e in error.errors()}
        problems += [f"{variable_of(name)}: {message.removeprefix('Value error, ')}" for name, message in wrong.items()]
        # Once more with the defaults in the place of what is wrong, to learn what else does not fit together.
        try:
            Settings(_env_file=env_file, **{name: Settings.model_fields[name].get_default() for name in wrong})
        except SettingsError as other:
            problems += other.problems
    if settings is None or problems:
        raise SettingsError(problems)
    return settings


def _unknown(given: Mapping[str, str | None]) -> list[str]:
    known = {f"CHATAPP_{name.upper()}" for name in Settings.model_fields} | {"CHATAPP_ENV_FILE"}
    problems = []
    for variable in sorted(v for v in map(str.upper, given) if v.startswith("CHATAPP_") and v not in known):
        near = difflib.get_close_matches(variable, known, n=1)
        problems.append(f"{variable} is not a setting" + (f": did you mean {near[0]}?" if near else ""))
    return problems
