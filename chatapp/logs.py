"""How our processes log: a line each, with time, level and name."""

import logging


def set_up(level: str) -> None:
    """Log to standard error from `level` on. Whoever has set logging up before, a test say, is left alone."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx2", "botocore"):  # a line per request to the model
        logging.getLogger(chatty).setLevel(logging.WARNING)
