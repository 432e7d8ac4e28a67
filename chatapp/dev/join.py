"""How a command in another terminal finds the stack that `make run` has started in this folder."""

import json
import os
from pathlib import Path

from chatapp.dev.state import FOLDER, READY
from config.settings import Settings, load

NAMING = {"aws_endpoint_url", "sqs_queue_url_prefix"}
"""Settings that say which queues are meant. Where one is given, nothing is joined."""


def settings(folder: Path = Path(FOLDER)) -> Settings:
    """Load the settings; those of the stack that runs here, if there is one and no other queues are named.

    Joining puts the stack's variables into this process's environment. Raises: SettingsError.
    """
    given = load()
    if given.env == "production" or NAMING & given.model_fields_set:
        return given
    try:
        env: dict[str, str] = json.loads((folder / READY).read_text(encoding="utf-8"))["env"]
    except FileNotFoundError:  # no stack runs here
        return given
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):  # the emulator's are given whole
        os.environ.pop(name, None)
    os.environ.update(env)
    return load()
