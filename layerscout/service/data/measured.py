"""A folder of results in; the evidence of its layers, and what only evidence can tell, out: parts, other weights, pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from layerscout.cache.records import Estimate, LayerScore, Ranking, load, load_object
from layerscout.errors import LayerscoutError
from layerscout.service.data.results import QUESTION, FoundResult

Key = tuple[str, str, str]  # store, role, layer


MOST_PAIRS = 12  # layers of which every two are compared


@dataclass(frozen=True)
class WhatIf:
    """A layer under other weights: its score with its interval, and its place among the candidates (from 1)."""

    layer: LayerScore
    score: Estimate | None
    place: int


def evidence_of(found: FoundResult, ranking: Ranking, digests: Mapping[str, str]) -> dict[Key, Any]:
    """Return the evidence of a ranking's layers by store, role and name; a layer whose file is gone or damaged is left out.

    Parameters
    ----------
    digests
        Digest of the manifest of every store that is at hand, by store id: evidence is named by digests.
    """
    files = tuple(
        sorted((str(path), path.stat().st_mtime_ns) for path in (found.folder / "evidence").glob("*.json") if not path.is_symlink())
    )
    kept = _kept(files, str(found.folder))
    result: dict[Key, Any] = {}
    for layer in ranking.layers:
        alike = [one for digest, one in kept.get((layer.role, layer.name), ()) if digest == digests.get(layer.store_id, digest)]
        if len(alike) == 1:
            result[layer.store_id, layer.role, layer.name] = alike[0]
    return result


@lru_cache(maxsize=4)
def _kept(files: tuple[tuple[str, int], ...], folder: str) -> dict[tuple[str, str], list[tuple[str, Any]]]:
    """Read evidence files; those that answer other settings than the ranking's are not its."""
    from layerscout.probe.config import RANKING_ONLY, RUN_ONLY
    from layerscout.probe.evidence.kept import KeptEvidence

    found: dict[tuple[str, str], list[tuple[str, Any]]] = {}
    try:
        asked = load_object(Path(folder) / QUESTION)["settings"]
        wanted = {name: value for name, value in asked.items() if name not in RUN_ONLY | RANKING_ONLY}
    except (LayerscoutError, KeyError, TypeError, AttributeError):
        wanted = None
    for path, _ in files:
        try:
            one = load(KeptEvidence, Path(path), warn=False)
        except LayerscoutError:
            continue
        if wanted is None or one.job.settings == wanted:
            found.setdefault((one.job.role, one.job.layer), []).append((one.job.stores[0], one.evidence))
    return found


def parts_of(ranking: Ranking, layer: LayerScore, evidence: Mapping[Key, Any]) -> Any:
    """Return the three parts that weights can be given to: over all groups in row 0, then without each group where the evidence is there.

    Those of the score that orders; of S where a ranking is ordered by ranks (S-ctrl), which have no weights.
    """
    import numpy as np

    from layerscout.pages.ranking import short_kind
    from layerscout.probe.page.wording import weighted_parts
    from layerscout.probe.ranking.score import score_parts

    kind = "S" if short_kind(ranking) == "S-ctrl" else short_kind(ranking)
    found = evidence.get((layer.store_id, layer.role, layer.name))
    if found is not None:
        return score_parts(found, kind, ranking.normalisation)
    unit = ranking.model_copy(update={"weights": (1.0, 1.0, 1.0), "score_kind": f"{kind}/1"})
    return np.array([[value or 0.0 for _, value in weighted_parts(unit, layer)]])


def ordering_parts(ranking: Ranking, layer: LayerScore, evidence: Mapping[Key, Any]) -> Any:
    """Return the parts of the score that orders, as the ranking compared them; None where the evidence is not there, or has none."""
    from layerscout.pages.ranking import short_kind
    from layerscout.probe.ranking.control import control_parts

    found = evidence.get((layer.store_id, layer.role, layer.name))
    if found is None:
        return None
    return control_parts(found) if short_kind(ranking) == "S-ctrl" else parts_of(ranking, layer, evidence)


def reweighted(ranking: Ranking, weights: Sequence[float], evidence: Mapping[Key, Any]) -> list[WhatIf]:
    """Put the candidates in order under other weights, from what was measured: no activation is read."""
    import numpy as np

    from layerscout.probe.evidence.components import jackknife

    found = []
    for layer in ranking.candidates:
        values = (parts_of(ranking, layer, evidence) @ np.array(weights)).tolist()
        found.append((layer, jackknife(values[0], tuple(values[1:]) or None, 0.0, 1.0)))
    found.sort(key=lambda pair: (-(pair[1].value if pair[1] else 0.0), pair[0].depth))
    return [WhatIf(layer, score, place) for place, (layer, score) in enumerate(found, 1)]


def pairs(ranking: Ranking, layers: Sequence[LayerScore], evidence: Mapping[Key, Any]) -> list[list[Estimate | None]]:
    """Return by how much each layer's score exceeds each other's: the paired jackknife over episode groups; None beside itself."""
    return [[None if one is other else difference(ranking, one, other, evidence) for other in layers] for one in layers]


def difference(ranking: Ranking, one: LayerScore, other: LayerScore, evidence: Mapping[Key, Any]) -> Estimate | None:
    """Return one layer's score minus another's, with the paired interval where both have evidence."""
    from layerscout.pages.ranking import ordering, short_kind
    from layerscout.probe.ranking.compare import score_behind_best

    first, second = (ordering_parts(ranking, layer, evidence) for layer in (one, other))
    if first is not None and second is not None and first.shape[1] == second.shape[1]:
        weights = (1 / first.shape[1],) * first.shape[1] if short_kind(ranking) == "S-ctrl" else ranking.weights
        return score_behind_best(first, second, weights)
    scores = ordering(ranking, one), ordering(ranking, other)
    return Estimate(value=scores[0].value - scores[1].value) if scores[0] and scores[1] else None


def read_weights(words: Sequence[str]) -> tuple[float, float, float] | None:
    """Return three weights whose sum is 1; None where the words are not three sizes of which one is above 0."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    if len(values) != 3 or not all(math.isfinite(value) and 0 <= value <= 1000 for value in values) or sum(values) <= 0:
        return None
    total = sum(values)
    return (round(values[0] / total, 6), round(values[1] / total, 6), round(values[2] / total, 6))
