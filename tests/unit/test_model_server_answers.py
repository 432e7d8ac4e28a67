"""What the scripted model says, and the bytes it says it in."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.dev.answers import answer, filler, tokens_of
from chatapp.dev.completion import BadRequest, Completion, prepare


def prepared(*messages: str, **more: Any) -> Completion:
    """Prepare a completion for a conversation in which user and assistant take turns."""
    roles = ("user", "assistant")
    body = {"model": "m", "messages": [{"role": roles[i % 2], "content": m} for i, m in enumerate(messages)], **more}
    return prepare(body)


def test_the_same_prompt_gets_the_same_answer() -> None:
    """Nothing but the conversation decides on the answer."""
    assert prepared("Compare queues and logs").pieces == prepared("Compare queues and logs").pieces
    assert prepared("Compare queues and logs").pieces != prepared("Compare cats and dogs").pieces


@pytest.mark.parametrize(
    "text", ["Hello!", "Olá", "Explain leases to me", "How do I write this in Python?", "?", "thanks a lot", "🙂", "a" * 5_000]
)
def test_answers_have_the_length_of_a_real_one(text: str) -> None:
    """An unscripted answer is 25 to 130 tokens long."""
    assert 25 <= len(tokens_of(answer(text, []))) <= 130


def test_a_greeting_is_understood() -> None:
    """Hello is answered with hello, also after other words were exchanged."""
    assert answer("hello", []).startswith("Hello!")
    assert answer("Oi!", ["x"]).startswith("Hello!")


def test_the_answer_refers_to_the_words_of_the_user() -> None:
    """What was asked about appears in the answer."""
    assert "**leases**" in answer("What are leases?", [])


def test_the_answer_shows_that_it_saw_the_history() -> None:
    """Earlier turns are counted and the last one is quoted, without its directives."""
    assert "earlier turn" not in "".join(prepared("first").pieces)
    assert "one earlier turn" in "".join(prepared("first", "a", "second").pieces)
    third = "".join(prepared("first", "a", "second [[delay=0]]", "b", "third").pieces)
    assert "2 earlier turns" in third
    assert "“second”" in third


def test_an_echo_is_exact() -> None:
    """`[[echo=...]]` comes back letter by letter."""
    assert "".join(prepared("x [[echo=  two  spaces\n\nand **lines** ]]").pieces) == "  two  spaces\n\nand **lines** "


@pytest.mark.parametrize("count", [1, 7, 200, 5_000])
def test_the_number_of_tokens_is_exact(count: int) -> None:
    """`[[tokens=n]]` is answered with n chunks, and usage says so."""
    completion = prepared(f"[[tokens={count}]]")
    assert len(completion.pieces) == completion.usage()["completion_tokens"] == count
    assert tokens_of(filler(count)) == completion.pieces


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_token_limit_is_kept(name: str) -> None:
    """An answer is cut at the limit and says that it was."""
    completion = prepared("[[tokens=20]]", **{name: 5})
    assert (len(completion.pieces), completion.finish_reason) == (5, "length")


@given(st.text())
def test_tokens_join_to_the_text(text: str) -> None:
    """Cutting a text into tokens loses nothing."""
    assert "".join(tokens_of(text)) == text


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_chunks_are_json_that_holds_the_pieces(words: list[str]) -> None:
    """The fast way of making chunks gives the same as the slow one."""
    completion = prepared("x")
    object.__setattr__(completion, "pieces", words)
    texts = [json.loads(c.removeprefix(b"data: "))["choices"][0]["delta"]["content"] for c in completion.chunks()]
    assert texts == words


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"model": "m"},
        {"model": "m", "messages": []},
        {"model": "m", "messages": ["x"]},
        {"model": "m", "messages": [{"role": "system", "content": "x"}]},
        {"model": 1, "messages": [{"role": "user", "content": "x"}]},
        {"model": "m", "messages": [{"role": "user", "content": "[[tokens=x]]"}]},
    ],
)
def test_a_wrong_request_is_refused(body: object) -> None:
    """What is no chat completion request is said to be none."""
    with pytest.raises(BadRequest):
        prepare(body)


def test_content_may_be_parts() -> None:
    """The newer form of messages is understood."""
    parts = [{"type": "text", "text": "[[echo=yes]]"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert prepare({"model": "m", "messages": [{"role": "user", "content": parts}]}).pieces == ["yes"]
