"""The example of docs/client.md works as it is printed."""

import re

from tests.stack import ROOT


def test_the_example_of_the_documentation_runs(stack, capsys):
    """Against a running stack, with nothing but what the page shows."""
    example = re.search(r"```python\n(.*?)```", (ROOT / "docs/client.md").read_text(), re.DOTALL)[1]
    exec(example, {"url": stack.api, "token": stack.token_for("ada")})  # noqa: S102  ours
    said = capsys.readouterr().out
    assert said.splitlines()[-2:] == ["cancelled", "model_request_invalid False"]
    assert "Ada" in said
