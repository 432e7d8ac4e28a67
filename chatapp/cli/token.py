"""`token`: a bearer token for development."""

import click

from chatapp.auth import issue
from config.settings import load


@click.command()
@click.option("--user", required=True, help="Who the token is for (`sub`).")
@click.option("--scope", "scopes", multiple=True, help="A scope, such as `admin`; may be given more than once.")
@click.option(
    "--hours", type=click.FloatRange(min=0, min_open=True), default=24.0, show_default=True, help="How long it is valid."
)
def token(user: str, scopes: tuple[str, ...], hours: float) -> None:
    """Print a token that is signed with JWT_SECRET."""
    settings = load()
    secret = settings.signing_secret
    if secret is None:
        raise click.ClickException("JWT_JWKS_URL is set: tokens come from your identity provider, and cannot be made here.")
    seconds = max(1, round(hours * 3_600))
    click.echo(issue(secret, user, seconds=seconds, issuer=settings.jwt_issuer, audience=settings.jwt_audience, scopes=scopes))
