"""A model behind OpenAI's chat completions API, or any API compatible with it.

The official SDK makes the connection, authenticates and knows the errors; the stream's lines are read here, because a
model object per chunk costs four times the CPU.
"""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import httpx2
import openai
from pydantic_core import from_json

from chatapp.errors import (
    ContentRefused,
    ContextTooLong,
    ModelError,
    ModelRequestInvalid,
    ProviderMisconfigured,
    ProviderRateLimited,
    ProviderUnavailable,
)
from chatapp.interrupts import keep_pools_whole
from chatapp.model import Finish, FinishReason, ModelRequest, Pending, Piece, ReasoningDelta, TextDelta, ToolCallDelta, Usage

MAX_LINE_BYTES = 1_048_576
"""A longer line is no stream of ours: memory stays bounded whatever a provider sends."""

MAX_MODEL_CHARS = 200
PENDING = (Pending(),)

FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
}


class OpenAIModel:
    """Implements the `LLM` port."""

    def __init__(
        self, *, api_key: str | None, base_url: str, connect_seconds: float, read_seconds: float, connections: int = 1_000
    ) -> None:
        keep_pools_whole()
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._client = openai.OpenAI(
            api_key=api_key or "none",  # compatible servers on one's own machine want none
            base_url=base_url,
            max_retries=0,  # a retry is the turn's business
            http_client=httpx2.Client(
                limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
            ),
        )
        # OpenAI's own models refuse the old name of the limit; most compatible servers know only that.
        self._limit_name = "max_completion_tokens" if httpx2.URL(base_url).host == "api.openai.com" else "max_tokens"

    def stream(self, request: ModelRequest, seconds: float = math.inf) -> Generator[Piece, None, None]:
        """Yield the answer as it is made, a `Finish` last. Closing the generator closes the provider's stream.

        So does whatever is thrown into a thread that waits here; it passes unchanged. `seconds` bounds every wait, where it
        is less than the adapter's own limits.
        """
        connect, read = min(self._connect_seconds, seconds), min(self._read_seconds, seconds)
        timeout = httpx2.Timeout(connect=connect, read=read, write=connect, pool=connect)
        try:
            create = self._client.chat.completions.with_streaming_response.create
            with create(**self._arguments(request), timeout=timeout) as response:
                yield from _pieces(_data(_lines(response.iter_bytes())), request.options.model)
        except openai.APIStatusError as error:
            raise _of_status(error) from error
        except openai.APITimeoutError as error:
            raise ProviderUnavailable("The model did not answer in time") from error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise ProviderUnavailable("The connection to the model failed") from error

    def _arguments(self, request: ModelRequest) -> dict[str, Any]:
        options = request.options
        messages = [{"role": m.role, "content": m.text} for m in request.messages]
        if options.instructions:
            messages.insert(0, {"role": "system", "content": options.instructions})
        arguments: dict[str, Any] = {"model": options.model, "messages": messages, "stream": True}
        arguments["stream_options"] = {"include_usage": True}
        if request.answer is not None:
            form = {"name": request.answer.name, "schema": request.answer.schema, "strict": True}
            arguments["response_format"] = {"type": "json_schema", "json_schema": form}
        if options.temperature is not None:
            arguments["temperature"] = options.temperature
        if options.max_output_tokens is not None:
            arguments[self._limit_name] = options.max_output_tokens
        return arguments


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines or (b":",)  # a part of a line is a sign of life: who reads may look whether to go on
        if len(rest) > MAX_LINE_BYTES:
            raise ProviderUnavailable("The model sent a line without an end")
    if rest:
        yield rest


def _data(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Read the stream's chunks; a comment, with which a provider shows that it is alive, is an empty one."""
    for line in lines:
        if line.startswith(b":"):
            yield {}
        if not line.startswith(b"data:"):
            continue
        text = line[5:].strip()
        if text == b"[DONE]":
            return
        try:
            data = from_json(text)
        except ValueError as error:
            raise ProviderUnavailable("The model sent something that is not JSON") from error
        if not isinstance(data, dict):
            raise ProviderUnavailable("The model sent something that is not a chunk")
        if reported := data.get("error"):
            raise _in_stream(reported)
        yield data


def _pieces(chunks: Iterable[dict[str, Any]], asked_model: str) -> Iterator[Piece]:
    reason, usage, model = None, None, asked_model
    try:
        for chunk in chunks:
            try:
                if told := chunk.get("usage"):
                    usage = _usage(told)
                pieces: list[Piece] = []
                for choice in chunk.get("choices") or ():
                    pieces += _pieces_of(choice.get("delta") or {})
                    if told_reason := choice.get("finish_reason"):
                        reason = FINISH_REASONS.get(told_reason, FinishReason.STOP)
                        model = str(chunk.get("model") or model)[:MAX_MODEL_CHARS]
            except (AttributeError, TypeError) as error:  # a number where an object or a text should be
                raise ProviderUnavailable("The model sent something that is not a chunk") from error
            yield from pieces or PENDING
    except httpx2.HTTPError:
        if reason is None:  # cut after it the answer is whole, and only its usage is not known
            raise
    if reason is None:
        raise ProviderUnavailable("The model's answer broke off")
    yield Finish(reason, model, usage)


def _pieces_of(delta: dict[str, Any]) -> Sequence[Piece]:
    text = delta.get("content")
    if text and not isinstance(text, str):
        raise TypeError("text that is none")
    if text and len(delta) == 1:  # nearly always
        return (TextDelta(text),)
    pieces: list[Piece] = []
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if reasoning and isinstance(reasoning, str):
        pieces.append(ReasoningDelta(reasoning))
    pieces += [TextDelta(said) for said in (text, delta.get("refusal")) if said]
    for tool in delta.get("tool_calls") or ():
        function = tool.get("function") or {}
        pieces.append(ToolCallDelta(tool.get("index", 0), tool.get("id"), function.get("name"), function.get("arguments") or ""))
    return pieces


def _usage(told: dict[str, Any]) -> Usage:
    asked, said = told.get("prompt_tokens_details") or {}, told.get("completion_tokens_details") or {}
    return Usage(
        _count(told.get("prompt_tokens")) or 0,
        _count(told.get("completion_tokens")) or 0,
        _count(asked.get("cached_tokens")),
        _count(said.get("reasoning_tokens")),
    )


def _count(told: object) -> int | None:
    """Take a number from a provider; what is none is not known."""
    return int(told) if isinstance(told, int | float) and 0 <= told < 10**12 else None


def _in_stream(error: Any) -> ModelError:
    """Read an error that a provider reports within the stream, as it would have by its status."""
    told = error if isinstance(error, dict) else {}
    code, kind = told.get("code"), str(told.get("type") or "")
    if known := _of_code(code):
        return known
    if code == 429 or "rate_limit" in f"{code} {kind}":
        return ProviderRateLimited("The model is rate limited")
    if kind in ("invalid_request_error", "BadRequestError") or code in (400, 404, 413, 422):
        return ModelRequestInvalid("The model refused the request")
    return ProviderUnavailable("The model reported an error in mid-answer")


def _of_code(code: object) -> ModelError | None:
    if code == "context_length_exceeded":
        return ContextTooLong("The conversation is too long for the model; begin a new session")
    if code in ("content_filter", "content_policy_violation"):
        return ContentRefused("The model's content filter refused the request")
    if code == "insufficient_quota":
        return ProviderMisconfigured("The model's account has no quota left")
    return None


def _of_status(error: openai.APIStatusError) -> ModelError:
    if known := _of_code(error.code):
        return known
    status = error.status_code
    if status == 429:
        return ProviderRateLimited("The model is rate limited", retry_after=_retry_after(error.response.headers))
    if status in (401, 403, 404):
        return ProviderMisconfigured(f"The model's provider refused us (HTTP {status})")
    if status in (408, 409) or status >= 500:
        return ProviderUnavailable(
            f"The model's provider failed (HTTP {status})", retry_after=_retry_after(error.response.headers)
        )
    return ModelRequestInvalid(f"The model refused the request (HTTP {status})")


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Read `retry-after-ms`, then `retry-after` (seconds or a date), as OpenAI's SDK does."""
    milliseconds, seconds = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds:
            told = float(milliseconds) / 1000
        elif seconds and seconds.replace(".", "", 1).isdigit():
            told = float(seconds)
        elif seconds:
            told = parsedate_to_datetime(seconds).timestamp() - time()
        else:
            return None
    except (ValueError, OverflowError):
        return None  # a header that says nothing we understand
    return max(0.0, told) if math.isfinite(told) else None
