"""Which of the two languages a message is in. Pure and cheap: a few words tell."""

from chatapp.flows.orchestrator.intents import words
from chatapp.flows.orchestrator.vitals import Language

_PT = frozenset(
    "sim nao como isto aqui qual quando onde voces cheguei ola oi bom boa dia tarde noite plantao paciente com sem "
    "dor refere esta estou ajuda obrigado obrigada pa fc fr hgt glicemia pressao saturacao temperatura nota anotar "
    "registrar encerrar finalizar confirmo cancela tudo bem voce uma um de da do e o que posso leito medicado febre "
    "quero".split()
)
_EN = frozenset(
    "yes how where when which this hello hi good morning evening shift patient with without pain is the help thanks "
    "please bp hr rr glucose pressure note record finish end start arrived here i am m confirm cancel what can a an "
    "of and complains bed fever want his her".split()
)
MAX_ASKED_CHARS = 80
_ASKED: dict[str, Language] = {
    "english": "en",
    "ingles": "en",
    "in english": "en",
    "em ingles": "en",
    "english please": "en",
    "portugues": "pt",
    "em portugues": "pt",
    "portuguese": "pt",
}


def asked_for(text: str) -> Language | None:
    """Say which language a message asks for, if that is all that it does. A long text is not looked at: it does not."""
    return _ASKED.get(words(text)) if len(text) <= MAX_ASKED_CHARS else None


def detect(text: str) -> Language | None:
    """Say which language a message is in; None when it does not tell."""
    said = words(text).split()
    pt, en = sum(w in _PT for w in said), sum(w in _EN for w in said)
    pt += any(c in "ãõçÃÕÇ" for c in text)
    if pt == en:
        return None
    return "pt" if pt > en else "en"
