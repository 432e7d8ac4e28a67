"""What tests of effects share: effects as flows and users make them."""

import secrets
from typing import Any

from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.model import new_session_id
from chatapp.services import Services
from chatapp.stores.dynamo import call
from chatapp.stores.effect_records import effect_item


def staged(services: Services, name: str = "book", *, confirmed: bool = True, **fields: Any) -> Effect:
    """Store an action as a turn's end does; unless told otherwise confirmed, without its message."""
    now = services.clock.now()
    status = EffectStatus.CONFIRMED if confirmed else EffectStatus.STAGED
    more: dict[str, Any] = {"expires_at": now + 3_600_000} | ({"due": now, "wake_at": now + 60_000} if confirmed else {})
    action = EffectId.action(new_session_id(), 1, 0)
    return put(services, id=action, name=name, status=status, **(more | fields))


def owed(services: Services, url: str, **fields: Any) -> Effect:
    """Store a delivery as a turn's end does, without its message."""
    now = services.clock.now()
    more = {"status": EffectStatus.CONFIRMED, "due": now, "wake_at": now + 60_000, "expires_at": now, "target": url}
    return put(services, id=EffectId.reply(new_session_id(), 1), name="turn", payload={"turn": 1}, **(more | fields))


def put(services: Services, **fields: Any) -> Effect:
    """Store an effect as it is given."""
    effect = Effect(user_id=f"user-{secrets.token_hex(4)}", created_at=services.clock.now(), **fields)
    table = services.settings.table_name("pending-actions")
    services.dynamodb.put_item(**call(table, item=effect_item(effect)))
    return effect
