"""What the scripted model answers when nobody tells it what to say. Pure: the same conversation gets the same answer."""

import random
import re
import zlib
from collections.abc import Sequence

_GREETING = re.compile(r"\b(hi|hello|hey|good (morning|afternoon|evening)|ol[áa]|oi|hola|bonjour|hallo|ciao)\b", re.IGNORECASE)
_THANKS = re.compile(r"\b(thanks?|thank you|obrigad[oa]|gracias|merci|danke)\b", re.IGNORECASE)
_CODE = re.compile(r"\b(code|python|function|script|program|json|sql|regex|bash|curl)\b", re.IGNORECASE)
_LIST = re.compile(r"\b(list|steps?|how|plan|ways?|ideas?|options|compare|explain)\b", re.IGNORECASE)
_TOKEN = re.compile(r"\s*\S+|\s+$")
_STOP_WORDS = frozenset(
    """
    explain write list steps code script function program
    a about am an and are as at be been but by can could did do does for from get give had has have hello hey hi how i if in is
    it its just know let like make me my no not of ok on or our out please say see should so some tell than thank thanks that
    the their them then there these they this to too up us use want was we were what when where which who why will with would
    yes you your
    """.split()
)
_FILLER = (
    "Every token of this answer was asked for by a directive, and it arrives over the same path as a real one: "
    "the queue wakes a worker, the worker claims the turn, the stream is read, and each piece is appended to the log "
    "before it is pushed to whoever listens."
).split()


def tokens_of(text: str) -> list[str]:
    """Cut a text into the pieces in which it is streamed: a word with the space before it. Joined they are the text."""
    return _TOKEN.findall(text)


def filler(count: int) -> str:
    """Make a text of exactly `count` tokens."""
    return " ".join(_FILLER[i % len(_FILLER)] for i in range(count))


def answer(text: str, earlier: Sequence[str]) -> str:
    """Answer a message in markdown, in about 40 to 120 tokens.

    Args:
        text: the last user message, without directives.
        earlier: the user messages before it, oldest first.
    """
    chance = random.Random(zlib.crc32(text.encode("utf-8", "replace")))
    topics = _topics(text)
    paragraphs = [_opening(text, topics, chance), _memory(earlier)]
    if _CODE.search(text):
        paragraphs.append(_code(topics))
    elif _LIST.search(text) or chance.random() < 0.5:
        paragraphs.append(_list(topics, chance))
    else:
        paragraphs.append(_prose(topics, chance))
    paragraphs.append(_closing(chance))
    return "\n\n".join(p for p in paragraphs if p)


def _topics(text: str) -> list[str]:
    words = (w.strip("_") for w in re.findall(r"[^\W\d]\w*", text))
    return list(dict.fromkeys(w for w in words if 2 < len(w) <= 24 and w.lower() not in _STOP_WORDS))[:3]


def _named(topics: Sequence[str]) -> str:
    marked = [f"**{t}**" for t in topics] or ["that"]
    return marked[0] if len(marked) == 1 else ", ".join(marked[:-1]) + " and " + marked[-1]


def _opening(text: str, topics: Sequence[str], chance: random.Random) -> str:
    if _GREETING.search(text) and len(text) < 40:
        return "Hello! I am the scripted model of this stack: no key, no cost, and always the same answer to the same words."
    if _THANKS.search(text):
        return "You are welcome. I am scripted, but the path your message took to reach me is the real one."
    if not topics:
        return "I have read your message, and I am glad to say something about it."
    asked = (
        "Good question about"
        if text.rstrip().endswith("?")
        else chance.choice(["You wrote about", "Let us look at", "Some thoughts on"])
    )
    return f"{asked} {_named(topics)}. I am a scripted model, so take the form of this answer seriously rather than its content."


def _memory(earlier: Sequence[str]) -> str:
    if not earlier:
        return ""
    last = " ".join(earlier[-1].split())
    quoted = last if len(last) <= 60 else last[:57].rstrip() + "..."
    turns = "one earlier turn" if len(earlier) == 1 else f"{len(earlier)} earlier turns"
    return f"I can see {turns} of this conversation; the last time you said “{quoted}”."


def _list(topics: Sequence[str], chance: random.Random) -> str:
    subject = topics[0] if topics else "it"
    points = [
        f"**Begin small:** write down what you expect of {subject}, in one sentence.",
        f"**Measure:** a number about {subject} is worth more than two opinions.",
        "**Keep the truth in one place**, and let everything else be derived from it.",
        "**Assume that it fails** half-way, and decide now what should happen then.",
        f"**Ask someone** who has done {subject} before; they remember what the books leave out.",
    ]
    return "\n".join(f"- {p}" for p in chance.sample(points, 3))


def _code(topics: Sequence[str]) -> str:
    name = re.sub(r"\W", "", topics[-1].lower()) if topics else "answer"
    return (
        f"A small sketch to begin with:\n\n```python\ndef {name}(items: list[str]) -> dict[str, int]:\n"
        '    """Count how often each item occurs."""\n'
        "    counts: dict[str, int] = {}\n    for item in items:\n"
        "        counts[item] = counts.get(item, 0) + 1\n    return counts\n```"
    )


def _prose(topics: Sequence[str], chance: random.Random) -> str:
    subject = topics[-1] if topics else "such things"
    places = (
        f"The short version: with {subject} most surprises come from the places where two parts meet, so look there first. "
        "Make each side say what it promises, test the promise by breaking it on purpose, "
        "and keep what you learned next to the code."
    )
    times = (
        f"What is easily forgotten about {subject} is time: things happen late, twice, or in another order than drawn. "
        "A design that says what should happen in each of these cases is usually *simpler* than one that hopes for the best."
    )
    return chance.choice([places, times])


def _closing(chance: random.Random) -> str:
    return chance.choice(
        [
            "Try `[[tokens=300]]` or `[[cut=10]]` in your next message to see how the stack behaves.",
            "What would you like to look at next?",
            "Shall I go into more detail?",
        ]
    )
