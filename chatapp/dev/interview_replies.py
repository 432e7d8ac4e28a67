"""What the scripted model replies when a traveller asks something back. Pure."""

import re

_REPLIES = (
    (
        r"PREC|CUST|QUANTO|HOTE|PRICE|COST|HOW MUCH|CHEAP",
        "O preço do voo eu procuro junto com a recomendação; hotéis eu não procuro.",
        "I look up the price of a flight together with the recommendation; hotels I do not look up.",
    ),
    (
        r"POR ?QUE|PRA QUE|PARA QUE|WHY|WHAT FOR",
        "Para que a recomendação combine com o que você conta.",
        "So that the recommendation suits what you tell me.",
    ),
    (
        r"QUEM|COMO|FUNCIONA|O QUE (?:VOCE|E ISSO)|WHO|HOW|WHAT (?:CAN|DO|ARE|IS THIS)",
        "Sou um entrevistador: faço sete perguntas, recomendo um destino e procuro um voo.",
        "I am an interviewer: I ask seven questions, recommend a destination and look up a flight.",
    ),
    (
        r"DESTINO|ONDE|RECOMEND|SUGE|DESTINATION|WHERE|RECOMMEND|SUGGEST",
        "Recomendo um destino assim que souber as suas respostas.",
        "I recommend a destination as soon as I know your answers.",
    ),
    (
        r"",
        "Isso eu não sei: por aqui só planejo a sua viagem.",
        "That I do not know: all I can do here is plan your journey.",
    ),
)


def reply(plain: str, *, english: bool) -> str:
    """Answer a question (folded: capitals without accents) in a sentence."""
    pt, en = next((pt, en) for asks, pt, en in _REPLIES if re.search(asks, plain))
    return en if english else pt
