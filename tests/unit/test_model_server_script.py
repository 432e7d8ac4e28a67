"""The directives of the scripted model, as read from a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.dev.script import Script, ScriptError, read


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("[[tokens=200]]", Script(tokens=200)),
        ("[[delay=0.05]] [[ttft=1]]", Script(delay=0.05, ttft=1.0)),
        ("[[status=500]]", Script(status=500)),
        ("[[status=429 retry_after=2]]", Script(status=429, retry_after=2.0)),
        ("[[fail=2]] [[status=503]]", Script(fail=2, status=503)),
        ("[[cut=10]]", Script(cut=10)),
        ("[[hang]]", Script(hang=0)),
        ("[[hang=3]]", Script(hang=3)),
        ("[[garbage]]", Script(garbage=0)),
        ("[[echo=Hello, **world**! = ]]", Script(echo="Hello, **world**! = ")),
        ("[[echo=two\nlines]]", Script(echo="two\nlines")),
    ],
)
def test_directives_are_read(text: str, script: Script) -> None:
    """Every directive of the table is understood and taken out of the text."""
    found, rest = read(f"before {text} after")
    assert (found, rest.split()) == (script, ["before", "after"])


@pytest.mark.parametrize("text", ["[[x]]", "a[[1, 2], [3]]b", "[[tokens=1 and more]]", "[[]]", "[[Tokens=1]]", "[[wiki link]]"])
def test_other_brackets_stay(text: str) -> None:
    """Brackets that are no directives are part of what the user said."""
    assert read(text) == (Script(), text)


@pytest.mark.parametrize(
    "text", ["[[tokens=x]]", "[[tokens=0]]", "[[tokens]]", "[[delay=-1]]", "[[delay=nan]]", "[[status=200]]", "[[cut=1e9]]"]
)
def test_a_value_that_makes_no_sense_is_named(text: str) -> None:
    """A wrong value is refused with the directive's name, not silently ignored."""
    with pytest.raises(ScriptError, match=text.strip("[]").partition("=")[0]):
        read(text)


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    """Whatever people write is read, or refused as a directive with a wrong value: nothing else can happen."""
    try:
        script, rest = read(text)
    except ScriptError:
        return
    if script == Script():
        assert rest == text.strip()
