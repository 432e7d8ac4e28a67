"""What a message wants. Obvious words are decided here; `by_keyword` guesses when no model can be asked. Pure."""

import re
import unicodedata
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

Name: TypeAlias = Literal["shift_check_in", "clinical_note", "finish_shift", "confirm", "deny", "help", "other"]


class Intent(BaseModel):
    """What a model is asked to find out about a message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    intent: Name
    language: Literal["pt", "en", "unknown"]


MAX_OBVIOUS_CHARS = 80
"""Longer messages tell more than one word of theirs: a model reads them."""

_CONFIRM = frozenset(
    "sim s ss y yes yep yeah ok okay okey confirmo confirma confirmar confirmado confirmada confirm confirmed pode "
    "positivo certo correto correct right sure claro isso exato perfeito 👍 ✅ ✔ 👌".split()
)
_DENY = frozenset(
    "nao n no nope cancela cancelar cancele cancelado cancel negativo errado wrong esquece esqueca 👎 ❌ ✖ 🚫".split()
)
_COURTESY = frozenset(
    "por favor please obrigado obrigada thanks thank you obg pfv pf registrar registra gravar grava salvar salva "
    "save it that is mesmo com certeza e a o ser quero isso tudo nada mais 🙏".split()
)
_CANCEL = frozenset("cancela cancelar cancele cancel".split())
_GRANTING = frozenset("pode ok okay certo".split())
"""Words of a yes that, beside a wish to cancel, only bid it: "pode cancelar", "ok, cancela"."""
_DENIABLE = frozenset("confirmo confirma confirmar isso pode certo correto".split())
_DENY_PHRASES = frozenset(
    (
        "deixa pra la",
        "deixa para la",
        "never mind",
        "nevermind",
        "nada a acrescentar",
        "nothing else",
        "nada",
        "nada mais",
        "no more",
    )
)
_HELP = re.compile(
    r"(?:ajuda|help|menu|socorro|comandos?|commands?|\?+|o que (?:posso|eu posso) (?:dizer|fazer)|what can i (?:say|do))"
)
_ARRIVED = re.compile(
    r"\b(?:cheguei|(?:acabei|acabo) de chegar|check ?in|(?:i ?m|i am|im) (?:here|in)|arrived|(?:just )?got here|"
    r"estou no (?:local|plantao|hospital)|"
    r"(?:iniciar|inicio|iniciando|comecar|comecando|comeco|assumir|assumindo|assumi) (?:do |o |meu )*plantao|"
    r"(?:start|starting|begin|beginning) (?:of )?(?:my |the )?shift)\b"
)
_FINISH = re.compile(
    r"^(?:terminei|acabei|encerrar|finalizar|finish)$|\bcheck ?out\b|"
    r"\b(?:encerr|finaliz|termin|conclu|fech)\w* (?:(?:de|o|do|meu|com o) )*plantao\b|"
    r"\b(?:fim|final|saida|saindo|sai|acabou|acabei) (?:(?:de|o|do|meu) )*plantao\b|"
    r"\b(?:end|finish|ending|finishing|close|finished|ended) (?:of )?(?:(?:my|the) )?shift\b"
)
_NOTE = re.compile(
    r"^(?:nota|anota|anotar|anote|registr[aoe]r?|evolucao|obs|observacao|note|record|write down|corrige|correcao|correction)\b"
)
_NOT = re.compile(r"\b(?:nao|ainda|not|didn ?t|haven ?t|never|quando|when|sera|se)\b")


def words(text: str) -> str:
    """Reduce a text to its words: lower case, no accents, no punctuation, no skin tones; emoji stay."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    kept = (
        c if c.isalnum() or unicodedata.category(c) == "So" else "" if unicodedata.category(c) in ("Sk", "Cf") else " "
        for c in plain
    )
    return " ".join("".join(kept).split())


def obvious(text: str) -> Name | None:
    """Say what a message wants, if that is plain to see."""
    said = words(text)
    if not said:
        return "help" if "?" in text else None
    if len(said) > MAX_OBVIOUS_CHARS:
        return "clinical_note" if _NOTE.search(said) else None
    return _yes_or_no(said) or _command(said, question="?" in text)


def by_keyword(text: str) -> Name:
    """Guess what a message wants, as well as words tell."""
    said = words(text)
    denied = _NOT.search(said) is not None
    if not denied and (_ARRIVED.search(said) or said.startswith("chegu")):
        return "shift_check_in"
    if not denied and _FINISH.search(said):
        return "finish_shift"
    if _NOTE.search(said) or re.search(
        r"\b(?:paciente|patient|refere|medicad[oa]|medicacao|administr\w+|curativo|queixa\w*)\b", said
    ):
        return "clinical_note"
    if re.search(r"\b(?:ajuda\w*|help|como (?:faco|funciona))\b", said):
        return "help"
    return "other"


def _yes_or_no(said: str) -> Name | None:
    if said in _DENY_PHRASES:
        return "deny"
    spoken = {word.rstrip("\ufe0f") for word in said.split()}
    yes, no = _CONFIRM & spoken, _DENY & spoken
    if not spoken <= _CONFIRM | _DENY | _COURTESY or not (yes or no):
        return None
    if not no:
        return "confirm"
    yes -= _COURTESY  # "cancela isso"
    return "deny" if not yes or ("nao" in no and yes <= _DENIABLE) or (no & _CANCEL and yes <= _GRANTING) else None


def _command(said: str, *, question: bool) -> Name | None:
    if _HELP.fullmatch(said):
        return "help"
    if _NOTE.search(said):
        return "clinical_note"
    if question or _NOT.search(said):
        return None
    if _ARRIVED.search(said):
        return "shift_check_in"
    return "finish_shift" if _FINISH.search(said) else None


_ASIDE = frozenset(
    "na verdade corrigindo desculpa desculpe errei errado era ops eh actually sorry i meant it is was agora now os "
    "as the bom dia boa tarde noite ola oi hello hi good morning afternoon evening corrige correcao correction "
    "sinais vitais vital signs vitals".split()
)


def says_nothing(text: str) -> bool:
    """Whether these words, said beside vital signs, are no observation: a yes, a greeting, "na verdade"."""
    return set(words(text).split()) <= _CONFIRM | _DENY | _COURTESY | _ASIDE
