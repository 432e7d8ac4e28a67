"""`dev`: the whole stack on this machine, with nothing but Python."""

import sys
from pathlib import Path

import click

from chatapp.dev.console import Console
from chatapp.dev.main import Options, run
from chatapp.dev.state import FOLDER, READY, StateInUseError
from chatapp.dev.twin import NoRedisServerError
from config.settings import load

PORT = click.IntRange(0, 65_535)


@click.command()
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write where everything is to this file (JSON), once healthy. [default: ready.json in the state folder]",
)
@click.option("--fresh", is_flag=True, help="Forget the state of earlier runs.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
    show_default=True,
    help="Where state is kept.",
)
@click.option("--api-port", "api", type=PORT, help="Port of the API and the page. [default: 8000; 0 is any free one]")
@click.option("--ws-port", "ws", type=PORT, help="Port of the WebSocket server. [default: 8001]")
@click.option("--llm-port", "llm", type=PORT, help="Port of the scripted model server. [default: 8002]")
@click.option("--redis-port", "redis", type=PORT, help="Port of Redis. [default: 6390]")
@click.option("--aws-port", "aws", type=PORT, help="Port of SQS and DynamoDB. [default: that of the last run, or 4566]")
@click.option("--partners-port", "partners", type=PORT, help="Port of the scripted partners. [default: 8003]")
@click.option(
    "--model-delay", type=click.FloatRange(0, 60), help="Seconds between the tokens of the scripted model. [default: 0.02]"
)
def dev(
    ready_file: Path | None,
    state_dir: Path,
    *,
    fresh: bool,
    api: int | None,
    ws: int | None,
    llm: int | None,
    redis: int | None,
    aws: int | None,
    partners: int | None,
    model_delay: float | None,
) -> None:
    """Run everything on this machine: emulators, scripted model, API, WebSocket server and worker.

    A port that is taken is replaced by a free one. Ctrl-C stops everything.
    """
    settings = load()
    if settings.env == "production":
        raise click.ClickException("CHATAPP_ENV is `production`: this command is for development.")
    options = Options(
        state_dir=state_dir.resolve(),
        ready_file=(ready_file or state_dir / READY).resolve(),
        fresh=fresh,
        model_delay=model_delay,
        api=api,
        ws=ws,
        llm=llm,
        redis=redis,
        aws=aws,
        partners=partners,
    )
    try:
        code = run(options, settings, Console())
    except (StateInUseError, NoRedisServerError) as error:
        raise click.ClickException(str(error)) from error
    sys.exit(code)
