"""`cache`: forget what was kept of external APIs."""

import click
from redis import RedisError

from chatapp.cli.operating import services
from chatapp.errors import LiveUnavailable


@click.group()
def cache() -> None:
    """Work with the cache of external APIs (docs/external-apis.md)."""


@cache.command()
@click.argument("pattern")
def invalidate(pattern: str) -> None:
    """Forget the answers of an endpoint: fresh ones, and the copies for when its API is away.

    PATTERN is `endpoint` or `endpoint:hash`; * and ? stand for any characters.
    """
    with services() as made:
        try:
            forgotten = made.api_cache.invalidate(pattern)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="PATTERN") from error
        except RedisError as error:
            raise LiveUnavailable(f"Redis is not available: {error}") from error
    click.echo(f"fresh answers forgotten: {forgotten}")
