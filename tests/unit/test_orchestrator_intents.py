"""What a message wants: obvious words, guesses by keyword, and the language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.dev.forms import fill
from chatapp.flows.orchestrator.intents import Intent, by_keyword, obvious, says_nothing
from chatapp.flows.orchestrator.language import asked_for, detect
from chatapp.flows.orchestrator.state import OrchestratorState
from chatapp.flows.orchestrator.understanding import noted
from chatapp.flows.port import Asked
from chatapp.flows.structured import form_of
from chatapp.model import ModelOptions, Turn


@pytest.fixture
def asked():
    """An empty state, and a turn with this part."""

    def make(part):
        options = ModelOptions("m")
        turn = Turn(session_id="s", number=1, user_id="u", flow="f", input=(part,), options=options, created_at=0, expires_at=0)
        return OrchestratorState(), Asked(turn, None, (), None, None, None, 1)

    return make


@pytest.mark.parametrize(
    ("intent", "texts"),
    [
        (
            "confirm",
            "sim|Sim!|SIM|s|sim, por favor|yes|Yes please|y|ok|OK.|okay|confirmo|👍|👍🏽|✅|✔️|isso mesmo|pode registrar|é isso",
        ),
        (
            "deny",
            "não|Nao|NÃO!|n|no|nope|cancela|cancelar|não, obrigada|não confirmo|deixa pra lá|👎|❌|never mind|errado|nada mais",
        ),
        ("deny", "cancela isso|pode cancelar|ok, cancela|isso não"),
        (
            "shift_check_in",
            "cheguei|Cheguei!|cheguei no plantão|acabei, cheguei|I'm here|I’ve arrived|check-in|iniciar plantão|start my shift",
        ),
        ("shift_check_in", "oi, acabei de chegar|just got here"),
        (
            "finish_shift",
            "encerrar plantão|Finalizar o plantão|fim do plantão|terminei|saindo do plantão|finish shift|end of shift|check-out",
        ),
        ("help", "ajuda|Ajuda!|help|?|???|menu|o que posso dizer?|What can I say?"),
        ("clinical_note", "nota: paciente bem|Nota|anotar|evolução: sem queixas|note: all well|correção: dormiu mal|registrar"),
        (
            None,
            "não cheguei|ainda não cheguei|cheguei?|bom dia|sim não|quando termino o plantão?|xyz|oi, tudo bem|not arrived",
        ),
        (None, "sim, cancela|confirma ou cancela?|acho que não acabei de chegar"),
    ],
)
def test_obvious_words_are_decided_without_a_model(intent, texts):
    """And what is not obvious is left to it."""
    assert {text: obvious(text) for text in texts.split("|")} == dict.fromkeys(texts.split("|"), intent)


@pytest.mark.parametrize(
    ("intent", "texts"),
    [
        ("shift_check_in", "chegueii|oi, cheguei agora no plantão da noite com a Maria"),
        ("finish_shift", "pessoal, estou encerrando meu plantão"),
        ("clinical_note", "A paciente dormiu|medicado às 10h|patient is asleep|queixa de cefaleia"),
        ("help", "como faço para anotar?|preciso de ajuda"),
        ("other", "bom dia|ainda não cheguei|qual é o telefone?|"),
    ],
)
def test_keywords_guess(intent, texts):
    """Worse than a model, better than nothing."""
    assert {text: by_keyword(text) for text in texts.split("|")} == dict.fromkeys(texts.split("|"), intent)


def test_a_long_text_is_no_command():
    """A word in a story is not what the story wants."""
    assert obvious("cheguei " + "e vi o paciente " * 10) is None


@pytest.mark.parametrize(
    ("text", "nothing"), [("na verdade", True), ("Bom dia!", True), ("sim", True), ("", True), ("dormiu", False)]
)
def test_words_that_observe_nothing_are_known(text, nothing):
    """They do not become a note."""
    assert says_nothing(text) is nothing


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("pt", "sim|cheguei|PA 120x80|paciente com dor|ajuda|não|evolução"),
        ("en", "yes|I'm here|BP 120x80|the patient is well|help"),
        (None, "ok|👍|120x80||xyz|no"),
    ],
)
def test_a_few_words_tell_the_language(language, texts):
    """Or none does."""
    assert {text: detect(text) for text in texts.split("|")} == dict.fromkeys(texts.split("|"), language)


def test_a_language_can_be_asked_for():
    """By its name."""
    assert [asked_for(text) for text in ("English, please", "em português", "english breakfast")] == ["en", "pt", None]


@given(st.text(max_size=200))
def test_no_text_makes_them_raise(text):
    """Whatever is written has an intent."""
    assert obvious(text) or by_keyword(text)
    detect(text)
    says_nothing(text)


@pytest.mark.parametrize("text", ["cheguei", "qual é o telefone?", "A paciente dormiu", ""])
def test_the_scripted_model_answers_in_the_form_of_an_intent(text):
    """So that the flow runs without an account."""
    answer = fill("Intent", form_of(Intent).schema, [{"role": "user", "content": text}])
    assert Intent.model_validate_json(answer).intent == (obvious(text) or by_keyword(text))


@pytest.mark.parametrize(
    ("name", "text", "opens"),
    [
        ("shift_reminder", "", "shift_check_in"),
        ("lembrete-plantao", "", "shift_check_in"),
        ("x1", "Você já chegou?", "shift_check_in"),
        ("shift_end", "", "finish_shift"),
        ("x2", "Quer encerrar o plantão?", "finish_shift"),
        ("vital_signs_due", "", "clinical_note"),
        ("x3", "Como estão os sinais vitais?", "clinical_note"),
        ("newsletter", "Feliz Natal!", None),
    ],
)
def test_a_template_asks_for_a_sub_flow(name, text, opens, asked):
    """Its name tells, else its text."""
    state = noted(*asked({"kind": "template", "name": name, "text": text}))
    assert (state.last_template.name, state.last_template.opens) == (name, opens)
