"""A layer of a store in; what a linear map reads of one episode, and the main directions of its features, out.

The map is fitted on other episodes only, so what it says of this one is a forecast. At most two thousand rows are read.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from layerscout.cache.store import Store
from layerscout.errors import BudgetError, DataError, suggest
from layerscout.service.data.catalogue import Catalogue

MOST_ROWS, FEWEST_ROWS = 2048, 64
MOST_BYTES = 2**28  # of the features that are read, as float64
PENALTIES = 10.0 ** np.arange(-6, 4)  # shares of the mean square singular value
HIDDEN = ("padding",)
ITERATIONS = 24
ONE_AT_A_TIME = threading.Lock()  # a fit takes memory


@dataclass(frozen=True)
class LayerLook:
    """One episode seen through a layer.

    Attributes
    ----------
    true, predicted
        The target at every step, and what the map says; None where the target is undefined.
    r2
        Of this episode; None where its target does not vary.
    components
        Coordinates of the sampled rows along the first two directions, with the share of the variance of each.
    columns
        What every sampled row is coloured by and told with: one value a row.
    """

    layer: str
    episode: int
    episodes: int
    target: str
    targets: tuple[str, ...]
    steps: tuple[int, ...]
    true: tuple[float | None, ...]
    predicted: tuple[float | None, ...]
    r2: float | None
    rows: int
    components: Float[np.ndarray, "row 2"]
    shares: tuple[float, float]
    columns: dict[str, Float[np.ndarray, " row"]]
    features: Float[np.ndarray, "row feature"]


def look_inside(store: Store, layer: str, episode: int, target: str) -> LayerLook:
    """Fit a ridge regression on other episodes' rows, and apply it to one.

    Raises
    ------
    DataError
        There is no such layer, episode or target, or the store has too few rows.
    BudgetError
        The layer is too wide to be looked into.
    """
    reader = store.layer(layer)
    columns = numbers_of(store)
    if target not in columns:
        raise DataError(f"no target '{target[:60]}'{suggest(target, columns)}", hint=f"targets: {', '.join(columns)}")
    number = store.index("episode").astype(np.int64)
    every = np.unique(number)
    if episode not in every:
        raise DataError(f"there is no episode {episode}", hint=f"episodes {every[0]} to {every[-1]}")
    rows = sampled_rows(number, episode, reader.shape[1])
    features = reader.rows(rows.tolist()).astype(np.float64)
    features[~np.isfinite(features)] = 0.0
    here, wanted = number[rows] == episode, columns[target][rows]
    predicted = predict(features, wanted, here)
    true = wanted[here]
    centred = features - features.mean(axis=0)
    components, shares = main_directions(centred)
    return LayerLook(
        layer=layer,
        episode=episode,
        episodes=len(every),
        target=target,
        targets=tuple(columns),
        steps=tuple(int(step) for step in store.index("step")[rows][here]),
        true=tuple(none_where_undefined(true)),
        predicted=tuple(none_where_undefined(predicted)),
        r2=r2_of(true, predicted),
        rows=len(rows),
        components=components,
        shares=shares,
        columns={name: values[rows] for name, values in columns.items()},
        features=features,
    )


def numbers_of(store: Store) -> dict[str, Float[np.ndarray, " row"]]:
    """Return every index column that holds numbers, one a row; of wider ones their first eight."""
    found: dict[str, Any] = {}
    for name in ("reward", *sorted(set(store.columns) - {"reward", *HIDDEN})):
        if name not in store.columns:
            continue
        values = store.index(name)
        if values.ndim == 1:
            found[name] = values.astype(np.float64)
        else:
            found |= {f"{name}.{place}": values[:, place].astype(np.float64) for place in range(min(values.shape[1], 8))}
    return found


def sampled_rows(number: Int[np.ndarray, " row"], episode: int, width: int) -> Int[np.ndarray, " sampled"]:
    """Return the rows of an episode and of others spread evenly over the store, as many as may be read."""
    most = min(MOST_ROWS, MOST_BYTES // (8 * width))
    own = np.flatnonzero(number == episode)[:most]
    if most < FEWEST_ROWS:
        raise BudgetError(f"a layer of width {width:,} is too wide to be looked into here", hint="probe it: layerscout probe")
    others = [np.flatnonzero(number == one) for one in np.unique(number) if one != episode]
    if not others:
        raise DataError("the store has one episode, so there is no other one to learn from", hint="record more episodes")
    room = most - len(own)
    count = min(len(others), max(1, round(len(others) * room / sum(map(len, others)))))
    evenly = np.linspace(0, len(others) - 1, count).round().astype(np.int64)  # a whole step would leave out the end of the store
    chosen = np.concatenate([others[at] for at in evenly])[:room]
    return np.sort(np.concatenate([own, chosen]))


def predict(features: Float[np.ndarray, "row feature"], wanted: Float[np.ndarray, " row"], here: Any) -> Float[np.ndarray, " row_here"]:
    """Fit on the rows that are not here, at the penalty of the least generalised cross-validation error, and apply to those that are.

    GCV(λ) = n ‖y − ŷ(λ)‖² / (n − tr H(λ))², from one decomposition.

    References
    ----------
    Golub, Heath, Wahba (1979), Generalized cross-validation as a method for choosing a good ridge parameter, Technometrics 21.
    """
    known = ~here & np.isfinite(wanted)
    if known.sum() < FEWEST_ROWS // 2:
        return np.full(int(here.sum()), np.nan)
    mean, deviation = features[known].mean(axis=0), features[known].std(axis=0)
    scaled = (features - mean) / np.where(deviation > 0, deviation, 1.0)
    offset = wanted[known].mean()
    values, vectors, projected = decompose(scaled[known], wanted[known] - offset)
    best, fitted = np.inf, np.zeros(len(values))
    scale = float(np.mean(values)) if len(values) else 1.0  # features that never vary tell the mean alone
    for penalty in PENALTIES * scale:
        shrunk = values / (values + penalty)
        error = np.sum((wanted[known] - offset) ** 2) - np.sum((2 * shrunk - shrunk**2) * projected**2)
        score = error / max(known.sum() - 1 - shrunk.sum(), 1e-9) ** 2
        if score < best:
            best, fitted = score, np.sqrt(values) / (values + penalty) * projected
    return offset + scaled[here] @ (vectors @ fitted)


def decompose(
    rows: Float[np.ndarray, "row feature"], wanted: Float[np.ndarray, " row"]
) -> tuple[Float[np.ndarray, " rank"], Float[np.ndarray, "feature rank"], Float[np.ndarray, " rank"]]:
    """Return the squared singular values of rows, their right singular vectors, and what is wanted along the left ones.

    From the smaller of the two matrices of products; directions of no extent are left out.
    """
    tall = rows.shape[0] >= rows.shape[1]
    values, vectors = np.linalg.eigh(rows.T @ rows if tall else rows @ rows.T)
    kept = values > 1e-10 * max(float(values[-1]), 1e-300)
    values, vectors = values[kept], vectors[:, kept]
    if tall:
        return values, vectors, vectors.T @ (rows.T @ wanted) / np.sqrt(values)
    return values, rows.T @ vectors / np.sqrt(values), vectors.T @ wanted


def main_directions(centred: Float[np.ndarray, "row feature"]) -> tuple[Float[np.ndarray, "row 2"], tuple[float, float]]:
    """Return coordinates along the two directions of largest variance, each with its share; the sign makes the largest one positive.

    By subspace iteration: two directions of a thousand take no whole decomposition.
    """
    total = float(np.sum(centred**2)) or 1.0
    block, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((centred.shape[1], min(8, *centred.shape))))
    for _ in range(ITERATIONS):
        block, _ = np.linalg.qr(centred.T @ (centred @ block))
    left, singular, _ = np.linalg.svd(centred @ block, full_matrices=False)
    found = np.zeros((len(centred), 2))
    count = min(2, len(singular))
    found[:, :count] = left[:, :count] * singular[:count]
    signs = np.sign(found[np.abs(found).argmax(axis=0), [0, 1]])
    shares = np.zeros(2)
    shares[:count] = singular[:count] ** 2 / total
    return found * np.where(signs == 0, 1.0, signs), (float(shares[0]), float(shares[1]))


def r2_of(true: Float[np.ndarray, " row"], predicted: Float[np.ndarray, " row"]) -> float | None:
    """Return 1 - squared error / squared deviation over the rows where both are known; None where the target does not vary."""
    known = np.isfinite(true) & np.isfinite(predicted)
    spread = float(np.sum((true[known] - true[known].mean()) ** 2)) if known.any() else 0.0
    return 1 - float(np.sum((true[known] - predicted[known]) ** 2)) / spread if spread > 0 else None


def none_where_undefined(values: Float[np.ndarray, " row"]) -> list[float | None]:
    """Python floats for JSON, which has neither NaN nor infinity: None in their place."""
    return [float(value) if np.isfinite(value) else None for value in values]


def look_into(catalogue: Catalogue, store_id: str, layer: str, episode: int, target: str) -> LayerLook:
    """Return one episode of a store seen through a layer, the first one where none is named."""
    one = catalogue.find(store_id)
    if one.entry.damage:
        raise DataError(f"store {store_id} is damaged: {one.entry.damage}", hint="extract it again")
    return _looked(str(one.folder()), one.digest, layer or next(iter(one.layers), ""), episode, target)


@lru_cache(maxsize=8)
def _looked(folder: str, digest: str, layer: str, episode: int, target: str) -> LayerLook:
    with ONE_AT_A_TIME:
        store = Store.open(folder)
        known = numbers_of(store)
        return look_inside(store, layer, episode, target if target in known or target != "reward" else next(iter(known), target))
