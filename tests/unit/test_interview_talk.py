"""What the interview says, message by message, with the scripted model and travel API."""

from tests.unit.interview_stage import Said, hold

ALL_PT = "Saindo de São Paulo com 8 mil, 1 adulto, junho, praia e trilhas, férias. Hobby: fotografia"
ALL_EN = "Leaving from São Paulo, budget 100, 1 adult, June, beach and hiking, holidays. Hobby: reading"


def named(turn: Said) -> str:
    """Say which destination stands after a turn."""
    name: str = turn.state["RecommendedDestination"]["name"]
    return name


def test_a_destination_that_was_not_wanted_is_never_named_again() -> None:
    """Not when an answer changes later, nor when only the recommendation is asked for."""
    first, second, third, fourth = hold((ALL_PT, "outro destino", "na verdade o orçamento é 500", "obrigado"), "pt")[1:]
    rejected = named(first)
    assert named(second) != rejected
    for turn in (second, third, fourth):
        assert rejected not in turn.answer
    assert third.state["RejectedDestinations"] == [{"name": rejected, "iata": first.state["RecommendedDestination"]["iata"]}]


def test_who_rejects_all_that_the_model_knows_is_told_so() -> None:
    """The last one is not brought up again either."""
    held = hold((ALL_PT, *["outro destino"] * 8, "obrigado"), "pt")[1:]
    seen = []
    for turn in held:
        if "Minha recomendação é" in turn.answer:
            assert named(turn) not in seen
            seen.append(named(turn))
    assert len(seen) > 3
    for turn in held[-2:]:
        assert "Não encontrei outro destino" in turn.answer
        assert not any(name in turn.answer for name in seen)


def test_nothing_is_claimed_about_the_budget_but_what_the_price_tells() -> None:
    """The state says it too, for who shows the recommendation."""
    dear, cheap = hold((ALL_EN,), "en")[-1], hold((ALL_EN.replace("100", "90,000"),), "en")[-1]
    assert "That is over your budget." in dear.answer
    assert dear.answer.count("budget") == 1
    assert "budget" not in cheap.answer
    assert [turn.state["RecommendedDestination"]["over_budget"] for turn in (dear, cheap)] == [True, False]
    assert "budget" not in dear.state["RecommendedDestination"]["reason"]
