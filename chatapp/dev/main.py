"""The whole life of a stack: choose ports, start everything, tell where it is, keep it running, stop it."""

import asyncio
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from chatapp.auth import issue
from chatapp.dev import plan, state
from chatapp.dev.console import Console
from chatapp.dev.ports import Ports, settle, turn_to_choose
from chatapp.dev.report import Addresses, ReadyFile, table
from chatapp.dev.supervisor import StackFailedError, Supervisor
from config.settings import Settings, variable_of

USER = "demo"
TERMINAL_SECONDS = 0.5
OPEN_FILES = 65_536
TOKEN_SECONDS = 24 * 3_600


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line. A port that is None is the usual one, 0 any free one."""

    state_dir: Path
    ready_file: Path | None = None
    fresh: bool = False
    model_delay: float | None = None
    api: int | None = None
    ws: int | None = None
    llm: int | None = None
    redis: int | None = None
    aws: int | None = None
    partners: int | None = None


LayOut = Callable[[Settings, Ports, Path, float | None], plan.Plan]


def run(options: Options, settings: Settings, console: Console, lay_out: LayOut = plan.make) -> int:
    """Run a stack until it is told to stop. `lay_out` says what it consists of. Returns: the exit code.

    Raises: StateInUseError, NoRedisServerError.
    """
    _allow_open_files()
    with state.held(options.state_dir):
        if options.fresh:
            state.clear(options.state_dir)
        return asyncio.run(_Run(options, settings, console, lay_out).live())


class _Run:
    def __init__(self, options: Options, settings: Settings, console: Console, lay_out: LayOut) -> None:
        self._lay_out = lay_out
        self._options = options
        self._settings = settings
        self._console = console
        self._token = _token(settings)
        self._stopping = False

    async def live(self) -> int:
        """Start, watch, stop. Signals end the watching, whichever state it is in."""
        main = asyncio.current_task()
        assert main is not None  # noqa: S101  inside a coroutine there is one
        _on_signals(lambda: self._stop_once(main))
        terminal = asyncio.create_task(self._follow_terminal(main))
        try:
            await self._start_and_watch()
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            return 0
        except StackFailedError as failed:
            self._console.say(str(failed))
            return 1
        finally:
            terminal.cancel()
        return 1

    def _stop_once(self, main: "asyncio.Task[object]") -> None:
        if not self._stopping:
            self._stopping = True
            main.cancel()

    async def _follow_terminal(self, main: "asyncio.Task[object]") -> None:
        """Stop when the terminal is closed. SIGHUP tells only its first process, which may be `make` (`ssh -t host make run`)."""
        if not self._console.on_terminal() or signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
            return
        while self._console.on_terminal():  # noqa: ASYNC110  nothing can be awaited: the terminal's end makes no event
            await asyncio.sleep(TERMINAL_SECONDS)
        self._stop_once(main)

    async def _start_and_watch(self) -> None:
        ready_file: ReadyFile | None = None
        supervisor: Supervisor | None = None

        def tell(pids: dict[str, int]) -> None:
            if ready_file is not None:
                ready_file.write(pids)

        try:
            async with turn_to_choose():
                ports = self._ports()
                laid_out = self._lay_out(self._settings, ports, self._options.state_dir, self._options.model_delay)
                addresses = self._addresses(ports)
                if self._options.ready_file is not None:
                    ready_file = ReadyFile(self._options.ready_file, addresses, self._token, laid_out.joining)
                    ready_file.remove()
                supervisor = Supervisor(laid_out.children, {**laid_out.inherited, **laid_out.joining}, self._console, tell)
                await supervisor.start()
            scripted = not plan.uses_real_model(self._settings)
            self._console.plain("\n" + table(addresses, self._token, supervisor.pids(), scripted=scripted) + "\n")
            await supervisor.watch()
        finally:
            if ready_file is not None:
                ready_file.remove()
            self._stopping = True  # from here on a signal must not interrupt the stopping
            if supervisor is not None:
                self._console.say("stopping")
                await supervisor.stop()

    def _ports(self) -> Ports:
        usual = Ports()
        if (kept := state.last_aws_port(self._options.state_dir)) is not None:
            usual = replace(usual, aws=kept)
        asked = {f.name: port for f in fields(Ports) if (port := getattr(self._options, f.name)) is not None}
        wanted = replace(usual, **asked)
        ports = settle(wanted)
        if given := [variable_of(name) for name in plan.CHOSEN_HERE if name in self._settings.model_fields_set]:
            self._console.say(f"{', '.join(given)} given and not used here: the stack brings its own (see --help for ports)")
        for f in fields(Ports):
            want, got = getattr(wanted, f.name), getattr(ports, f.name)
            if want not in (0, got):
                self._console.say(f"port {want} is taken: {f.name} uses {got}")
        state.remember_aws_port(self._options.state_dir, ports.aws)
        return ports

    def _addresses(self, ports: Ports) -> Addresses:
        return Addresses.of(ports, self._settings.openai_base_url if plan.uses_real_model(self._settings) else None)


def _on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` when the user presses Ctrl-C, when asked to terminate, and when the terminal is closed."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            continue  # started with nohup: the terminal's end is not ours
        loop.add_signal_handler(number, stop)


def _allow_open_files() -> None:
    """Let the children open as many files as the system allows: thousands of sockets are more than the usual 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _token(settings: Settings) -> str | None:
    secret = settings.signing_secret
    if secret is None:
        return None
    return issue(secret, USER, seconds=TOKEN_SECONDS, issuer=settings.jwt_issuer, audience=settings.jwt_audience)
