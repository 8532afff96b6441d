"""What goes to agents: the best, the middle picked blind, the worst, the twin, the controls; each once."""

from __future__ import annotations

from test_score import layer

from layerscout.probe.ranking.choose import choose

DEPTHS = {"a": 3, "b": 0, "c": 2, "d": 1, "e": 4}  # in the ranking's order


def ranked() -> list:
    return [layer(name, depth, 1 - 0.1 * place) for place, (name, depth) in enumerate(DEPTHS.items())]


def parts(choices: tuple) -> list[tuple]:
    return [(choice.kind, choice.store_id, choice.layer, choice.rank) for choice in choices]


def test_every_part_is_chosen_with_its_store_and_its_rank() -> None:
    others = [layer("pixels", -1, 0.0, "control"), layer("a", 3, 0.0, "twin"), layer("b", 0, 0.0, "twin")]
    choices, notes = choose([*ranked(), *others], 2, "ls1-a", "ls1-t")
    assert parts(choices) == [
        ("ranked", "ls1-a", "a", 1),
        ("ranked", "ls1-a", "b", 2),
        ("middle", "ls1-a", "c", 3),  # depth 2 of 0 to 4, whatever its score
        ("worst", "ls1-a", "e", 5),
        ("twin", "ls1-t", "a", None),
        ("pixels", "ls1-a", "pixels", None),
    ]
    assert notes == ()
    assert [choice.score for choice in choices[:4]] == [1.0, 0.9, 0.8, 0.6]


def test_a_part_that_falls_on_a_chosen_layer_is_a_note() -> None:
    choices, notes = choose(ranked(), 3, "ls1-a", None)
    assert [choice.kind for choice in choices] == ["ranked", "ranked", "ranked", "worst"]
    assert notes == ("the middle layer c is already chosen as ranked",)
    alone, said = choose(ranked()[:1], 1, "ls1-a", None)
    assert [choice.kind for choice in alone] == ["ranked"]
    assert said == ("the middle layer a is already chosen as ranked", "the worst layer a is already chosen as ranked")


def test_of_an_even_number_the_middle_is_the_deeper_of_two() -> None:
    four = [layer(name, depth, 1 - depth / 10) for depth, name in enumerate("abcd")]
    assert [(choice.kind, choice.layer) for choice in choose(four, 1, "s", None)[0]] == [("ranked", "a"), ("middle", "c"), ("worst", "d")]


def test_of_several_stores_the_middle_and_the_controls_are_those_of_the_best_layers_store() -> None:
    one = [
        layer(name, depth, value, store_id="ls1-x", label="x")
        for depth, (name, value) in enumerate(zip("abc", (0.5, 0.9, 0.4), strict=True))
    ]
    two = [
        layer(name, depth, value, store_id="ls1-y", label="y")
        for depth, (name, value) in enumerate(zip("abc", (0.8, 0.7, 0.1), strict=True))
    ]
    controls = [layer("pixels", -1, 0.0, "control", store_id=store) for store in ("ls1-x", "ls1-y")]
    twins = [layer("b", 1, 0.0, "twin", label=label) for label in ("x", "y")]
    order = sorted([*one, *two], key=lambda each: -each.score.value)
    choices, notes = choose([*order, *controls, *twins], 1, "ls1-x", "ls1-t")
    assert parts(choices) == [
        ("ranked", "ls1-x", "b", 1),
        ("worst", "ls1-y", "c", 6),
        ("twin", "ls1-t", "b", None),
        ("pixels", "ls1-x", "pixels", None),
    ]
    assert notes == ("the middle layer b is already chosen as ranked",)


def test_a_twin_without_a_store_of_its_own_lies_in_the_ranked_one() -> None:
    choices, notes = choose([*ranked(), layer("a", 3, 0.0, "twin")], 1, "ls1-a", None)
    assert "the twin layer a is already chosen as ranked" in notes
    assert "twin" not in [choice.kind for choice in choices]


def test_the_score_that_orders_is_the_one_that_is_written() -> None:
    choices, _ = choose(ranked(), 1, "ls1-a", None, "S-skill")
    assert [choice.score for choice in choices] == [None, None, None]  # these layers have no skill score
