"""The whole suite: `python -m tests.chaos --seed 1 --turns 200`. Exit code 0 only if every fault hit and everything held."""

import argparse
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from chatapp.dev.process import ROOT
from tests.chaos.cells import CELLS
from tests.chaos.suite import perform

WORKERS, EFFECTS_WORKERS = 4, 2


def main() -> int:
    """Read the command line, run, print the scorecard, keep it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break everything, and see what holds.")
    parser.add_argument("--seed", type=int, default=1, help="decides the order of the faults, their places and their load")
    parser.add_argument("--turns", type=int, default=200, help="at least so many turns")
    parser.add_argument("--only", default="", help="only the faults whose names hold this, or that attack it (G7)")
    parser.add_argument("--keep", action="store_true", help="keep the logs, and say where")
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    cells = [cell for cell in CELLS if args.only in cell.name or args.only in cell.attacks.split()]
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        size = {"turns": args.turns, "workers": WORKERS, "effects": EFFECTS_WORKERS}
        card = perform(folder, cells, seed=args.seed, **size, say=_say, measures=not args.only)
    finally:
        if args.keep:
            _say(f"logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    _say("\n".join(card.lines()))
    _say(f"written to {card.save(ROOT / '.artifacts')}")
    return 0 if card.passed else 1


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
