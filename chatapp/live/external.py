"""Other APIs, asked through a cache in Redis."""

from collections.abc import Callable, Mapping
from typing import Any

from chatapp.errors import ExternalUnavailable

Fetch = Callable[[Mapping[str, Any]], Any]
"""Asks an API. Takes the parameters. Returns: its JSON. Raises: ExternalUnavailable."""


class CachedApis:
    """Implements the port `External` over endpoints by name."""

    def __init__(self, endpoints: Mapping[str, Fetch]) -> None:
        self._endpoints = endpoints

    def cached_get(self, endpoint: str, params: Mapping[str, Any]) -> Any:
        """Ask an endpoint. Raises: ExternalUnavailable."""
        fetch = self._endpoints.get(endpoint)
        if fetch is None:
            raise ExternalUnavailable(f"No API is configured for `{endpoint}`")
        return fetch(params)
