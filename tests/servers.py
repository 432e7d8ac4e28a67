"""Real servers for tests: started on free ports, stopped whatever happens."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from chatapp.dev import alone
from chatapp.dev.child import Child


def clean_env(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without anything that would make a test depend on the developer's own settings or credentials."""
    from config.settings import variables

    named = {v.upper() for v in variables()}
    prefixes = ("CHATAPP_", "AWS_", "OPENAI_", "ANTHROPIC_")
    kept = {k: v for k, v in os.environ.items() if k.upper() not in named and not k.upper().startswith(prefixes)}
    return {**kept, "CHATAPP_ENV_FILE": "", "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", **(extra or {})}


@contextmanager
def running(child: Child, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run one child, with its log in `folder`, in an environment without anything of the developer's."""
    with alone.running(child, clean_env(child.env), folder) as process:
        yield process
