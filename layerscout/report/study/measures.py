"""What a ranking says of a layer in, the figures by name that a study holds against returns out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from layerscout.cache.records import Estimate, LayerScore, Ranking

CTRL, S, SKILL, DEPTH, MIDDLE = "S-ctrl", "S", "S-skill", "depth alone", "nearness to the middle"
REWARD, TRANSITION, BITS, STATE = "reward R²", "transition R²", "bits of action", "state R²"
BLIND = (DEPTH, MIDDLE)  # what anybody knows without a probe


def estimate_value(estimate: Estimate | None) -> float | None:
    """Return the value of an estimate without its interval; None where there is no estimate."""
    return None if estimate is None else estimate.value


PROBED: dict[str, Callable[[LayerScore], float | None]] = {
    CTRL: lambda layer: layer.bits_action,  # ranks among the cells of a task are taken of it and of the state: `tasks.control_ranks`
    S: lambda layer: estimate_value(layer.score),
    SKILL: lambda layer: estimate_value(layer.skill_score),
    REWARD: lambda layer: estimate_value(layer.reward_r2),
    TRANSITION: lambda layer: estimate_value(layer.transition_r2),
    "effective rank": lambda layer: estimate_value(layer.effective_rank),
    "transition skill": lambda layer: estimate_value(layer.transition_skill),
    "log rank": lambda layer: layer.log_rank,
    "transition gain": lambda layer: layer.transition_gain,
    "persistence R²": lambda layer: layer.persistence_r2,
    BITS: lambda layer: layer.bits_action,
    STATE: lambda layer: estimate_value(layer.targets.get("state")),
}
MEASURES = (*PROBED, DEPTH, MIDDLE)  # those with a name of their own; a ranking may have more under `LayerScore.measures`
PRIMARY_OF = {"S-ctrl/1": CTRL, "S-skill/1": SKILL}  # kind of score → the measure that ordered the layers; else S


def measure_names(layers: Iterable[LayerScore]) -> tuple[str, ...]:
    """Return the names of everything that some of these layers could be ordered by: the fixed ones, then the ranking's own by name."""
    own = sorted({name for layer in layers for name in layer.measures} - set(MEASURES))
    return (*PROBED, *own, *BLIND)


def measure_of(layer: LayerScore, name: str) -> float | None:
    """Return what a ranking says of a layer under a name; None where it says nothing, or for what only a place in depth tells."""
    return PROBED[name](layer) if name in PROBED else estimate_value(layer.measures.get(name))


def primary_of(rankings: Sequence[Ranking]) -> str:
    """Return the measure that ordered the layers in all of these rankings; S where they differ."""
    kinds = {PRIMARY_OF.get(ranking.score_kind, S) for ranking in rankings}
    return kinds.pop() if len(kinds) == 1 else S
