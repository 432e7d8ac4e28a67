"""The variables that join the stack to the scripted partners, for every setting that the developer has not made."""

import json
from collections.abc import Mapping

from chatapp.dev.partner_travel import CLIENT_ID, CLIENT_SECRET
from chatapp.dev.ports import HOST
from chatapp.flows.registry import OURS
from config.settings import DEV_OUTBOUND_SECRET, DEV_WEBHOOK_SECRET, Settings

ACTIONS = ("clinical_note", "shift_check_in", "finish_shift")

_SERVED = {"AMADEUS_BASE_URL", "ACTION_URLS", "OUTBOUND_WEBHOOK_URL"}


def env(settings: Settings, port: int) -> dict[str, str]:
    """Make the variables; `port` is the partners'. All flows of ours can be begun, and any `callback_url` is allowed."""
    address = f"http://{HOST}:{port}"
    targets = {name: {"url": f"{address}/actions/{name}", "status_url": f"{address}/actions/{name}/status"} for name in ACTIONS}
    amadeus = {
        "AMADEUS_BASE_URL": address,
        "AMADEUS_CLIENT_ID": CLIENT_ID,
        "AMADEUS_CLIENT_SECRET": CLIENT_SECRET,
    }
    alone = {
        "ACTION_URLS": json.dumps(targets),
        "OUTBOUND_WEBHOOK_URL": f"{address}/outbound",
        "OUTBOUND_WEBHOOK_SECRETS": DEV_OUTBOUND_SECRET,
        "WEBHOOK_SECRETS": DEV_WEBHOOK_SECRET,
        "CALLBACK_PRIVATE": "true",
        "FLOWS": ",".join(OURS),
    }
    given = {name.upper() for name in settings.model_fields_set}
    made = {variable: value for variable, value in alone.items() if variable not in given}
    return made if given & amadeus.keys() else amadeus | made


def needed(made: Mapping[str, str]) -> bool:
    """Say whether some of the variables lead to the partners."""
    return bool(_SERVED & made.keys())
