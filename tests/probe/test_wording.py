"""The words of a ranking say what its score is made of, how far the others are, and nothing that the score does not use."""

from __future__ import annotations

import pytest
from ranking_by_hand import example

from layerscout.cache.records import Choice, Estimate, LayerScore, Ranking, Selection
from layerscout.probe.page.charts import _score_text, ends
from layerscout.probe.page.wording import formula, handed_over, reasons, told_of_twin, weighted_parts

WEIGHTS = (0.5, 0.25, 0.25)
KINDS = ("S/1", "S-across/1", "S-skill/1")


def ranking_of(kind: str, state: bool = True, **figures: object) -> Ranking:
    """One store's ranking whose layers all have these figures: reward R² 0.4, transition R² 0.8, skill 0.6, log rank 0.3, rank 0.2."""
    known: dict[str, object] = {
        "reward_r2": Estimate(value=0.4),
        "transition_r2": Estimate(value=0.8),
        "transition_skill": Estimate(value=0.6),
        "effective_rank": Estimate(value=0.2),
        "log_rank": 0.3,
        "bits_action": 1.0,
        "score": Estimate(value=0.5),
        "skill_score": Estimate(value=0.5),
        "control_score": Estimate(value=0.7),
        "targets": {"state": Estimate(value=0.5)} if state else {},
        "flags": (),
    }
    shown = example(2, confirmed=0).ranking
    layers = tuple(layer.model_copy(update=known | figures) for layer in shown.layers)
    return shown.model_copy(update={"layers": layers, "weights": WEIGHTS, "score_kind": kind})


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("S/1", [("0.5 · reward R²", 0.2), ("0.25 · transition R²", 0.2), ("0.25 · effective rank / width", 0.05)]),
        ("S-across/1", [("0.5 · reward R²", 0.2), ("0.25 · transition R²", 0.2), ("0.25 · log rank", 0.075)]),
        ("S-skill/1", [("0.5 · reward R²", 0.2), ("0.25 · transition skill", 0.15), ("0.25 · log rank", 0.075)]),
    ],
)
def test_each_part_is_its_weight_times_its_figure(kind: str, parts: list[tuple[str, float]]) -> None:
    ranking = ranking_of(kind)
    found = weighted_parts(ranking, ranking.candidates[0])
    assert [name for name, _ in found] == [name for name, _ in parts]
    assert [value for _, value in found] == pytest.approx([value for _, value in parts])


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_that_is_undefined_is_none_and_the_others_keep_their_weights(kind: str) -> None:
    ranking = ranking_of(kind, reward_r2=None, transition_r2=None, transition_skill=None)
    found = weighted_parts(ranking, ranking.candidates[0])
    assert [value is None for _, value in found] == [True, True, False]
    whole = weighted_parts(ranking_of(kind), ranking.candidates[0].model_copy(update={"reward_r2": Estimate(value=0.4)}))
    assert found[2] == whole[2]


@pytest.mark.parametrize(
    ("r2", "clipped", "affine"), [(-3.0, 0.0, 0.0), (-0.5, 0.0, 0.25), (0.0, 0.0, 0.5), (0.4, 0.4, 0.7), (1.0, 1.0, 1.0)]
)
def test_r2_are_brought_to_the_scores_range_as_the_ranking_says(r2: float, clipped: float, affine: float) -> None:
    for how, share in (("clip", clipped), ("affine", affine)):
        ranking = ranking_of("S/1", reward_r2=Estimate(value=r2)).model_copy(update={"normalisation": how})
        assert weighted_parts(ranking, ranking.candidates[0])[0][1] == pytest.approx(0.5 * share)
        assert formula(ranking).endswith("R² clipped to [0, 1]" if how == "clip" else "R² as clip((R² + 1) / 2, 0, 1)")


def test_a_skill_below_zero_adds_nothing() -> None:
    ranking = ranking_of("S-skill/1", transition_skill=Estimate(value=-0.2))
    assert weighted_parts(ranking, ranking.candidates[0])[1][1] == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_formula_names_every_part_with_its_weight(kind: str) -> None:
    ranking = ranking_of(kind)
    told = formula(ranking)
    assert told.startswith(f"{kind}: 0.5 · reward R² + 0.25 · ")
    assert all(name in told for name, _ in weighted_parts(ranking, ranking.candidates[0]))


@pytest.mark.parametrize("state", [True, False])
def test_s_ctrl_has_the_state_for_a_part_only_where_there_is_one(state: bool) -> None:
    ranking = ranking_of("S-ctrl/1", state)
    parts, told = weighted_parts(ranking, ranking.candidates[0]), formula(ranking)
    if state:  # a score of 0.7 that is the mean of a state R² of 0.5 and of the action's effect
        assert parts == (("0.5 · action's effect", pytest.approx(0.45)), ("0.5 · state R²", pytest.approx(0.25)))
        assert "mean rank by bits of action and by state R²" in told
    else:
        assert parts == (("1 · action's effect", pytest.approx(0.7)),)
        assert "ordered by rank by bits of action;" in told
        assert "state" not in told
    assert "reward" not in told


@pytest.mark.parametrize(
    ("kind", "told", "untold"),
    [
        ("S/1", ("reward R² 0.400", "transition R² 0.800", "relative effective rank 0.200"), ("skill", "log rank", "bits")),
        ("S-across/1", ("reward R² 0.400", "transition R² 0.800", "log rank 0.300"), ("skill", "effective rank", "bits")),
        ("S-skill/1", ("reward R² 0.400", "transition skill 0.600", "log rank 0.300"), ("transition R²", "effective rank", "bits")),
        ("S-ctrl/1", ("bits of action 1.000", "state R² 0.500"), ("reward R²", "transition", "rank ")),
    ],
)
def test_the_reasons_are_the_parts_of_the_score_that_orders_and_no_others(
    kind: str, told: tuple[str, ...], untold: tuple[str, ...]
) -> None:
    first = reasons(ranking_of(kind)).partition("; ")[0]
    for word in told:
        assert word in first
    for word in untold:
        assert word not in first


def test_the_reasons_go_on_with_the_next_best_the_controls_and_the_best_untrained_block() -> None:
    shown = example(4)
    parts = reasons(shown.ranking).split("; ")
    best, second, *_ = shown.ranking.candidates
    assert (
        parts[1]
        == f"on held-out episodes {best.confirmation.score.value:.3f} [{best.confirmation.score.low:.3f}, {best.confirmation.score.high:.3f}]"
    )
    assert [part.split()[0] for part in parts[2:5]] == ["next", "control", "best"]
    assert parts[2].startswith(f"next best {second.name} ")
    assert "behind by" in parts[2]
    assert "behind by" not in parts[3]
    assert parts[5] == "in the top 2 with probability 1.00"
    assert "held-out" not in reasons(example(4, confirmed=0).ranking)


def test_a_layer_alone_has_no_next_best_and_its_flags_stand_last() -> None:
    shown = example(1, confirmed=0).ranking
    alone = shown.model_copy(
        update={"layers": (shown.candidates[0].model_copy(update={"flags": ("COLLAPSED", "DEAD_DIMS"), "p_top_k": None}),)}
    )
    told = reasons(alone)
    assert "next best" not in told
    assert "control" not in told
    assert "untrained" not in told
    assert "probability" not in told
    assert told.endswith("; flags COLLAPSED DEAD_DIMS")


@pytest.mark.parametrize(
    ("behind", "told"),
    [
        (None, ""),
        (Estimate(value=0.1), ""),
        (Estimate(value=-0.1), " (ahead of the best layer)"),
        (Estimate(value=0.1, low=0.0, high=0.2), " (not told apart)"),
        (Estimate(value=0.1, low=1e-9, high=0.2), ""),
        (Estimate(value=-0.1, low=-0.2, high=0.0), " (not told apart)"),
        (Estimate(value=-0.1, low=-0.2, high=-1e-9), " (ahead of the best layer)"),
    ],
)
def test_an_untrained_block_is_below_only_where_its_interval_is(behind: Estimate | None, told: str) -> None:
    assert told_of_twin(behind) == told


def test_what_is_handed_over_is_named_with_its_kind_once() -> None:
    ranking = example(2).ranking
    choices = [("ranked", "blocks.1"), ("worst", "blocks.0"), ("pixels", "pixels")]
    selection = Selection(
        ranking="ranking.json",
        store_id=ranking.store_id,
        dataset_digest=ranking.dataset_digest,
        backbone=ranking.backbone,
        choices=tuple(Choice(kind=kind, store_id=ranking.store_id, layer=name, rank=None, score=None) for kind, name in choices),  # type: ignore[arg-type]
    )
    assert handed_over(selection) == "blocks.1 (ranked), blocks.0 (worst), pixels"


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (Estimate(value=0.5, low=0.4, high=0.7), (0.4, 0.7)),
        (Estimate(value=0.5), (0.5, 0.5)),
        (Estimate(value=0.0, low=0.0, high=0.0), (0.0, 0.0)),
    ],
)
def test_an_estimate_without_an_interval_ends_where_it_is(estimate: Estimate, expected: tuple[float, float]) -> None:
    assert ends(estimate) == expected


def text_of(kind: str, **figures: object) -> str:
    ranking = ranking_of(kind, **figures)
    layer: LayerScore = ranking.candidates[0]
    return _score_text(ranking, layer)


def test_a_reward_that_is_missing_is_said_beside_a_score_that_it_is_a_part_of_only() -> None:
    for kind in ("S/1", "S-skill/1"):
        assert text_of(kind) == "0.500"
        assert text_of(kind, reward_r2=None) == "0.500 (reward n/a)"
    assert text_of("S-ctrl/1", reward_r2=None) == "0.700"
    assert text_of("S/1", score=None) == "n/a"
    assert text_of("S-ctrl/1", control_score=None) == "n/a"
