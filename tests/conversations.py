"""Ten conversations with the interview, message by message, and the profile each of them must come to.

They are held in process, and with workers that are killed after every turn; `docs/interview.md` shows one of them.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def nonsense() -> str:
    """Make a word that nobody has said yet, in which no flow reads anything: "fc07" would be a heart rate."""
    return "".join(secrets.choice("jkmqvwxyz") for _ in range(12))


@dataclass(frozen=True)
class Conversation:
    """One conversation. `asked`: how many different questions had to be asked; `language`: that of the session, if it has one."""

    name: str
    messages: tuple[str, ...]
    profile: Mapping[str, Any]
    asked: int
    language: str | None = None


def profile(
    origin: tuple[str, str], budget: int, people: tuple[int, int], months: list[int], **wishes: list[str] | str
) -> dict[str, Any]:
    """Write a profile. `origin`: city and IATA code; `people`: adults and children."""
    city, iata = origin
    adults, children = people
    return {
        "origin": {"city": city, "iata": iata},
        "budget": budget,
        "passengers": {"adults": adults, "children": children},
        "months": months,
        **wishes,
    }


CONVERSATIONS = (
    Conversation(
        "one by one, in Portuguese",
        (
            "São Paulo",
            "R$ 5 mil",
            "2 adultos e 1 criança",
            "de junho a agosto",
            "praia e trilhas",
            "férias",
            "fotografia, leitura",
        ),
        profile(
            ("São Paulo", "SAO"), 5_000, (2, 1), [6, 7, 8],
            activities=["praia", "trilhas"], purpose="férias", hobbies=["fotografia", "leitura"],
        ),
        asked=7,
        language="pt",
    ),
    Conversation(
        "one by one, in English",
        (
            "I live in Rio de Janeiro",
            "my budget is 8,000",
            "2 adults",
            "March and April",
            "museums, food",
            "honeymoon",
            "reading",
        ),
        profile(
            ("Rio de Janeiro", "RIO"), 8_000, (2, 0), [3, 4],
            activities=["museums", "food"], purpose="honeymoon", hobbies=["reading"],
        ),
        asked=7,
        language="en",
    ),
    Conversation(
        "all in one message, in Portuguese",
        (
            "Saindo de Curitiba com R$ 3.500, 2 adultos e 2 crianças, em janeiro ou fevereiro, praia, férias. Hobby: surfe",
        ),
        profile(
            ("Curitiba", "CWB"), 3_500, (2, 2), [1, 2],
            activities=["praia"], purpose="férias", hobbies=["surfe"],
        ),
        asked=1,
    ),
    Conversation(
        "all in one message, in English",
        (
            "From Recife with a budget of 4k, 1 adult, in May, hiking and nature on vacation; hobbies: photography and chess",
        ),
        profile(
            ("Recife", "REC"), 4_000, (1, 0), [5],
            activities=["hiking", "nature"], purpose="vacation", hobbies=["photography", "chess"],
        ),
        asked=1,
        language="en",
    ),
    Conversation(
        "out of order",
        (
            "Quero praia em dezembro, somos um casal",
            "lua de mel, e o orçamento é de 9 mil reais",
            "Meus hobbies são mergulho e culinária",
            "moro em Belo Horizonte",
        ),
        profile(
            ("Belo Horizonte", "BHZ"), 9_000, (2, 0), [12],
            activities=["praia"], purpose="lua de mel", hobbies=["mergulho", "culinária"],
        ),
        asked=1,
        language="pt",
    ),
    Conversation(
        "wrong answers first",
        (
            "Atlântida",
            "Fortaleza",
            "-200",
            "2.500 reais",
            "0 adultos",
            "1 adulto",
            "13",
            "novembro",
            "natureza",
            "descanso",
            "pintura",
        ),
        profile(
            ("Fortaleza", "FOR"), 2_500, (1, 0), [11],
            activities=["natureza"], purpose="descanso", hobbies=["pintura"],
        ),
        asked=7,
        language="pt",
    ),
    Conversation(
        "half answers",
        (
            "não sei",
            "San",
            "San Francisco (SFO)",
            "6000",
            "2 crianças",
            "dois adultos",
            "setembro",
            "vida noturna e museus",
            "aniversário da minha mãe",
            "nenhum",
        ),
        profile(
            ("San Francisco", "SFO"), 6_000, (2, 2), [9],
            activities=["vida noturna", "museus"], purpose="aniversário", hobbies=["nenhum"],
        ),
        asked=7,
        language="pt",
    ),
    Conversation(
        "changed answers, also after the end",
        (
            "Brasília, e tenho 4 mil",
            "2 adultos",
            "na verdade somos 3",
            "julho",
            "neve",
            "na verdade o orçamento é R$ 9.000",
            "férias",
            "esqui",
            "mudei: agosto a outubro",
            "outro destino, por favor",
        ),
        profile(
            ("Brasília", "BSB"), 9_000, (3, 0), [8, 9, 10],
            activities=["neve"], purpose="férias", hobbies=["esqui"],
        ),
        asked=6,
        language="pt",
    ),
    Conversation(
        "quick replies wherever there are any",
        ("Porto Alegre", "3000", "2 adultos e 2 crianças", "Dezembro a fevereiro", "compras", "lazer", "jardinagem"),
        profile(
            ("Porto Alegre", "POA"), 3_000, (2, 2), [1, 2, 12],
            activities=["compras"], purpose="lazer", hobbies=["jardinagem"],
        ),
        asked=7,
        language="pt",
    ),
    Conversation(
        "questions instead of answers, and two languages",
        (
            "Hello!",
            "Who are you?",
            "from Manaus",
            "7000",
            "How much is a hotel there?",
            "just me",
            "qualquer mês",
            "gastronomia, história",
            "É para trabalho",
            "adoro cinema",
        ),
        profile(
            ("Manaus", "MAO"), 7_000, (1, 0), list(range(1, 13)),
            activities=["gastronomia", "história"], purpose="trabalho", hobbies=["cinema"],
        ),
        asked=7,
    ),
)  # fmt: skip
