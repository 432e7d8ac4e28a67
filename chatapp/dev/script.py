"""Directives of the scripted model: `[[tokens=200]] [[status=429 retry_after=2]]`, read from the last user message.

Pure. Anyone can stage a fault from curl or from the page by writing one into a message:

| directive | the model then |
|---|---|
| `[[tokens=200]]` | answers with exactly that many tokens |
| `[[delay=0.05]]` | waits that long (s) between tokens |
| `[[ttft=1]]` | waits that long (s) before the first token |
| `[[echo=text]]` | answers with that text |
| `[[json={"a": 1}]]` | answers with exactly that, JSON or not, when it is asked for JSON (`response_format`) |
| `[[status=500]]`, `[[status=429 retry_after=2]]` | answers with that HTTP error |
| `[[fail=2]]` | fails that many times for this conversation, then answers (`status` says how, else 500) |
| `[[cut]]`, `[[cut=10]]` | drops the connection before the answer, or after that many chunks |
| `[[hang]]`, `[[hang=10]]` | goes silent before the answer, or after that many chunks, until the client leaves |
| `[[garbage]]`, `[[garbage=10]]` | sends what is not JSON, at once or after that many chunks, and ends the stream |

Brackets whose words are not directives are left in the text. An answer in JSON is never that of `echo` or `tokens`.
`]]` ends a directive, also within a text.
"""

import dataclasses
import re
from typing import Any

_BRACKETS = re.compile(r"\[\[(.*?)\]\](?!\])", re.DOTALL)
_ASSIGNMENT = re.compile(r"([a-z_]+)(?:=(\S+))?")

_WHOLE = {"tokens": 100_000, "status": 599, "fail": 1_000, "cut": 100_000, "hang": 100_000, "garbage": 100_000}
_SECONDS = {"delay": 600.0, "ttft": 600.0, "retry_after": 86_400.0}
_LOWEST = {"tokens": 1, "status": 400}
_MAY_STAND_ALONE = {"hang", "garbage", "cut"}


class ScriptError(ValueError):
    """A directive has a value that makes no sense; the text says which and what would be right."""


@dataclasses.dataclass(frozen=True)
class Script:
    """What one message asks of the model. None: not asked for. Times in seconds, places in chunks."""

    tokens: int | None = None
    delay: float | None = None
    ttft: float | None = None
    echo: str | None = None
    json: str | None = None
    status: int | None = None
    retry_after: float | None = None
    fail: int | None = None
    cut: int | None = None
    hang: int | None = None
    garbage: int | None = None


def read(text: str) -> tuple[Script, str]:
    """Split a message into its directives and the text without them.

    Raises: ScriptError.
    """
    found: dict[str, Any] = {}

    def take(match: re.Match[str]) -> str:
        directives = _directives(match.group(1).lstrip())
        if directives is None:
            return match.group(0)
        found.update(directives)
        return ""

    rest = _BRACKETS.sub(take, text)
    return Script(**found), rest.strip()


def _directives(inside: str) -> dict[str, Any] | None:
    for name in ("echo", "json"):
        if inside.startswith(f"{name}="):
            return {name: inside.removeprefix(f"{name}=")}
    found = {}
    for word in inside.split():
        match = _ASSIGNMENT.fullmatch(word)
        if match is None or match.group(1) not in _WHOLE | _SECONDS:
            return None
        name, value = match.groups()
        found[name] = _value(name, value)
    return found or None


def _value(name: str, value: str | None) -> int | float:
    if value is None and name in _MAY_STAND_ALONE:
        return 0
    kind, most = (int, _WHOLE[name]) if name in _WHOLE else (float, _SECONDS[name])
    lowest = _LOWEST.get(name, 0)
    try:
        number = kind(value or "")
    except ValueError:
        number = lowest - 1
    if not lowest <= number <= most:  # also false for NaN
        raise ScriptError(f"[[{name}={value or ''}]]: {name} must be a number from {lowest} to {most}")
    return number
