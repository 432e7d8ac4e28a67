"""One side of `bench.stream`: a process that reads streams from the scripted model, all of a round at once.

`python -m gevent.monkey --module bench.stream_child worker|sdk` takes rounds as JSON lines `{"turns", "tokens", "delay"}` and
answers each with a line `{"cpu": seconds of this process}`. Both sides run on gevent, as the worker does.
"""

import json
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass

import openai
from gevent.pool import Pool

from chatapp.flows.submit import Submission
from chatapp.model import ModelOptions, text_part
from chatapp.services import build
from config.settings import Settings, load


@dataclass(frozen=True)
class Round:
    """So many streams at once, each of so many tokens, with a pause (seconds) between them."""

    turns: int
    tokens: int
    delay: float

    @property
    def message(self) -> str:
        """What makes the scripted model answer so."""
        return f"[[tokens={self.tokens}]] [[delay={self.delay}]]"


def worker(settings: Settings) -> Callable[[Round], float]:
    """Make the worker's side: whole turns, from the claim to the stored end, every delta by way of Redis."""
    services = build(settings)

    def measure(asked: Round) -> float:
        submission = Submission(user_id="bench", input=(text_part(asked.message),), options=ModelOptions(settings.llm_model))
        jobs = [services.submit(submission).job_id for _ in range(asked.turns)]
        cpu = _cpu_of(lambda: Pool().map(services.answer, jobs))
        for turn in map(services.turns.get, jobs):
            if turn is None or len((turn.answer or "").split()) != asked.tokens:
                raise RuntimeError(f"not answered in full: {turn}")
        return cpu

    return measure


def sdk(settings: Settings) -> Callable[[Round], float]:
    """Make the baseline's side: the SDK's own loop over its model objects, and nothing done with the text."""
    client = openai.OpenAI(base_url=settings.openai_base_url, api_key="none", max_retries=0)

    def read(asked: Round) -> int:
        stream = client.chat.completions.create(
            model=settings.llm_model, messages=[{"role": "user", "content": asked.message}], stream=True
        )
        return sum(1 for chunk in stream if chunk.choices and chunk.choices[0].delta.content)

    def measure(asked: Round) -> float:
        counts: list[int] = []
        cpu = _cpu_of(lambda: counts.extend(Pool().map(read, [asked] * asked.turns)))
        if counts != [asked.tokens] * asked.turns:
            raise RuntimeError(f"not read in full: {counts}")
        return cpu

    return measure


def _cpu_of(work: Callable[[], object]) -> float:
    before = _cpu()
    work()
    return _cpu() - before


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Do rounds until the input ends."""
    measure = {"worker": worker, "sdk": sdk}[sys.argv[1]](load())
    for line in sys.stdin:
        print(json.dumps({"cpu": measure(Round(**json.loads(line)))}), flush=True)


if __name__ == "__main__":
    main()
