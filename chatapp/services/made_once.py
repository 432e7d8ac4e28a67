"""`@made_once`: what a process makes on first use, and once."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    made_once = cached_property
else:

    class made_once(cached_property):  # noqa: N801  used as `@made_once`, like the decorator it extends
        """A `cached_property` that is made once even when two requests ask first at the same moment.

        boto3's clients must not be made by two threads at a time, and two channels would be two connections.
        """

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            """Give the value, made under the instance's lock."""
            if instance is None:
                return self
            with instance.making:
                return super().__get__(instance, owner)
