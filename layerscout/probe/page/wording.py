"""A ranking in, the sentences and labels of all its outputs out."""

from __future__ import annotations

from layerscout.cache.records import Estimate, LayerScore, Ranking, Selection, as_table_value
from layerscout.pages.ranking import best_twin, control_shares, has_state, layer_title, ordering, short_kind
from layerscout.probe.ranking import score
from layerscout.probe.ranking.control import STATE


def weighted_parts(ranking: Ranking, layer: LayerScore) -> tuple[tuple[str, float | None], ...]:
    """Return what each part adds to the score that orders; None where the part is undefined (it then adds 0)."""
    names, values = _parts(ranking, layer)
    weights = ranking.weights if short_kind(ranking) != "S-ctrl" else (1 / len(names),) * len(names)
    return tuple(
        (f"{weight:g} · {name}", None if value is None else weight * value)
        for weight, name, value in zip(weights, names, values, strict=True)
    )


def _parts(ranking: Ranking, layer: LayerScore) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    if short_kind(ranking) == "S-ctrl":
        return _control_parts(ranking, layer)
    reward = score.normalise_r2(layer.reward_r2.value, ranking.normalisation) if layer.reward_r2 else None
    if short_kind(ranking) == "S-skill":
        skill = max(0.0, layer.transition_skill.value) if layer.transition_skill else None
        return ("reward R²", "transition skill", "log rank"), (reward, skill, layer.log_rank)
    transition = score.normalise_r2(layer.transition_r2.value, ranking.normalisation) if layer.transition_r2 else None
    if short_kind(ranking) == "S-across":
        return ("reward R²", "transition R²", "log rank"), (reward, transition, layer.log_rank)
    return ("reward R²", "transition R²", "effective rank / width"), (reward, transition, layer.effective_rank.value)


def _control_parts(ranking: Ranking, layer: LayerScore) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    effect, state = control_shares(layer)
    if not has_state(ranking):
        return ("action's effect",), (effect,)
    return ("action's effect", "state R²"), (None if state is None else effect, None if state is None else state.value)


def formula(ranking: Ranking) -> str:
    """Return how the ranking's score was computed, with its weights, normalisation and version."""
    if short_kind(ranking) == "S-ctrl":
        state = has_state(ranking)
        order = "mean rank by bits of action and by state R²" if state else "rank by bits of action"
        alone = "mean of 1 - 2^(-2 bits / action columns) and state R²" if state else "1 - 2^(-2 bits / action columns)"
        return f"{ranking.score_kind}: ordered by {order}; shown for each layer: {alone}"
    names, _ = _parts(ranking, ranking.layers[0])
    total = " + ".join(f"{weight:g} · {name}" for weight, name in zip(ranking.weights, names, strict=True))
    how = "clipped to [0, 1]" if ranking.normalisation == "clip" else "as clip((R² + 1) / 2, 0, 1)"
    return f"{ranking.score_kind}: {total}, R² {how}"


def told_of_twin(behind: Estimate | None) -> str:
    """Say in brackets that the best untrained block is ahead of the best layer, or not told apart from it; nothing where it is below."""
    if behind is None:
        return ""
    if (behind.value if behind.high is None else behind.high) < 0:
        return " (ahead of the best layer)"
    return " (not told apart)" if behind.low is not None and behind.low <= 0 else ""


def handed_over(selection: Selection) -> str:
    """Return what agents get, each with what it is there for; the pixels are called once."""
    return ", ".join(one.layer if one.layer == one.kind else f"{one.layer} ({one.kind})" for one in selection.choices)


def reasons(ranking: Ranking) -> str:
    """Return one line that says why the best layer is the best, how far the next one and the controls are, and how sure that is."""
    best, *rest = ranking.candidates

    def shown(layer: LayerScore) -> str:
        return layer.name if layer.role == "twin" else layer_title(ranking, layer)

    text = f"score {as_table_value(ordering(ranking, best))}: "
    if short_kind(ranking) == "S-ctrl":
        text += f"bits of action {as_table_value(best.bits_action)}"
        text += f", state R² {as_table_value(best.targets[STATE])}" if best.targets.get(STATE) else ""
    elif short_kind(ranking) == "S":
        text += f"reward R² {as_table_value(best.reward_r2)}, transition R² {as_table_value(best.transition_r2)}, relative effective rank {as_table_value(best.effective_rank)}"
    else:
        skilled = short_kind(ranking) == "S-skill"
        forecast = f"skill {as_table_value(best.transition_skill)}" if skilled else f"R² {as_table_value(best.transition_r2)}"
        text += f"reward R² {as_table_value(best.reward_r2)}, transition {forecast}, log rank {as_table_value(best.log_rank)}"
    if best.confirmation is not None:
        text += f"; on held-out episodes {as_table_value(best.confirmation.score)}"
    others = [("next best", layer) for layer in rest[:1]]
    others += [("control", layer) for layer in ranking.layers if layer.role == "control"]
    others += [("best untrained", twin)] if (twin := best_twin(ranking)) is not None else []
    for kind, layer in others:
        text += f"; {kind} {shown(layer)} {as_table_value(ordering(ranking, layer))}"
        if kind in ("next best", "best untrained") and layer.behind_best is not None:
            text += f", behind by {as_table_value(layer.behind_best)}"
            text += told_of_twin(layer.behind_best) if kind == "best untrained" else ""
    if best.p_top_k is not None and ranking.top_k is not None:
        text += f"; in the top {ranking.top_k} with probability {best.p_top_k:.2f}"
    return text + (f"; flags {' '.join(best.flags)}" if best.flags else "")
