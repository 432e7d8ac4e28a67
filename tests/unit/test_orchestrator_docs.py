"""docs/orchestrator.md: its transcript is what the flow says."""

import re
from pathlib import Path

from tests.unit.nurse import Nurse

DOCUMENT = Path(__file__).parents[2] / "docs" / "orchestrator.md"


def test_the_transcript_in_the_documentation_is_what_the_flow_says():
    """Every message and every line of every reply."""
    (written,) = re.findall(r"```text\n(> .*?)```", DOCUMENT.read_text(), re.DOTALL)
    nurse = Nurse()
    said = "".join(f"> {message}\n{nurse.says(message)}\n\n" for message in re.findall(r"^> (.*)$", written, re.MULTILINE))
    assert said.strip() == written.strip()
    assert [action.status.value for action in reversed(nurse.recent())] == ["confirmed", "cancelled", *["confirmed"] * 3]
