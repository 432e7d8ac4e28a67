"""The transcript of docs/interview.md is what the interview says."""

import re

from tests.conversations import CONVERSATIONS
from tests.stack import ROOT
from tests.unit.interview_stage import Said, hold

MESSAGES = (
    "Saindo de São Paulo, com R$ 5 mil",
    "2 crianças",
    "2 adultos",
    "na verdade somos 3 adultos",
    "13",
    "Junho a agosto",
    "praia e trilhas",
    "férias",
    "fotografia, leitura",
    "outro destino, por favor",
)


def shown(turn: Said) -> str:
    """Write a turn as the page does."""
    lines = [f"> {turn.message}"] if turn.message else []
    offered = [" ".join(f"[{reply}]" for reply in turn.replies)] if turn.replies else []
    return "\n".join([*lines, turn.answer, *offered])


def test_the_transcript_of_the_documentation_is_true() -> None:
    """Word by word, with the scripted model and travel API, on a fixed day."""
    page = (ROOT / "docs/interview.md").read_text()
    (written,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert written == "\n\n".join(shown(turn) for turn in hold(MESSAGES, "pt")) + "\n"


def test_the_page_names_every_question_and_field() -> None:
    """What is in the state, and what is asked."""
    page = (ROOT / "docs/interview.md").read_text()
    state = hold(CONVERSATIONS[2].messages)[-1].state
    missing = [name for name in (*state, *state["ProfileData"], "profile_updated") if f"`{name}`" not in page]
    assert missing == []
