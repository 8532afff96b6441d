"""A store's layer in, a recording for Rerun out: frames, rewards, the reward that the layer foretells, and its first components, step by step."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.provenance import dataset_path
from layerscout.cache.store import Store
from layerscout.errors import DataError, MissingExtraError, install

MOST_ROWS, COMPONENTS, PENALTY, HALVES = 3_000, 3, 1e-2, 2


def export_recording(store: Store, layer: str, out: Path, most: int = MOST_ROWS) -> dict[str, Any]:
    """Write a ``.rrd`` file and return what is in it.

    The predicted reward is that of a ridge regression fitted on the other half of the episodes, so no episode foretells itself. The
    components are the first principal ones of the rows shown. Frames are there where the dataset still lies where the store says.

    Parameters
    ----------
    layer
        Whose rows.
    most
        At most so many rows, from the beginning, whole episodes as far as they fit; at least one episode is shown.

    Raises
    ------
    MissingExtraError
        rerun-sdk is not installed.
    DataError
        The store has no such layer, a chunk is damaged, or ``out`` is a folder.
    """
    try:
        import rerun
    except ImportError:
        raise MissingExtraError("a recording for Rerun needs the package rerun-sdk", hint=install("rerun")) from None
    if out.is_dir():
        raise DataError(f"{out} is a folder, expected a file", hint=f"name a file in it: {out / 'store.rrd'}")
    episode = store.index("episode")
    rows = first_episodes(episode, most)
    values = store.layer(layer).read(0, len(rows)).astype(np.float64)
    reward = store.index("reward")[rows].astype(np.float64)
    scores, predicted = components(values), foretold(values, reward, episode[rows])
    frames = _frames(store, len(np.unique(episode[rows])))
    out.parent.mkdir(parents=True, exist_ok=True)
    recording = rerun.RecordingStream("layerscout", recording_id=f"{store.id} {layer}")
    recording.save(out)
    for row in rows:
        recording.set_time("row", sequence=int(row))
        if frames is not None and row < len(frames):
            recording.log("frame", rerun.Image(frames[row]))
        if np.isfinite(reward[row]):
            recording.log("reward/given", rerun.Scalars(float(reward[row])))
        if predicted is not None:
            recording.log("reward/foretold", rerun.Scalars(float(predicted[row])))
        for place in range(scores.shape[1]):
            recording.log(f"components/{place + 1}", rerun.Scalars(float(scores[row, place])))
    recording.disconnect()
    return {
        "recording": str(out),
        "layer": layer,
        "rows": len(rows),
        "frames": frames is not None,
        "predicted_reward": predicted is not None,
        "components": scores.shape[1],
    }


def first_episodes(episode: Int[np.ndarray, " row"], most: int) -> Int[np.ndarray, " shown"]:
    """Return the rows of the first whole episodes that are at most ``most`` rows together; those of the first one in any case."""
    ends = np.flatnonzero(np.diff(episode, append=episode[-1] + 1)) + 1
    fitting = ends[ends <= most]
    return np.arange(fitting[-1] if len(fitting) else ends[0])


def components(values: Float[np.ndarray, "row feature"], count: int = COMPONENTS) -> Float[np.ndarray, "row component"]:
    """Return the first principal components of rows, each of variance 1 where it varies."""
    centred = values - values.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    kept = left[:, :count] * (sizes[:count] > sizes[:1] * 1e-9)
    return kept * np.sqrt(len(values))


def foretold(
    values: Float[np.ndarray, "row feature"], reward: Float[np.ndarray, " row"], episode: Int[np.ndarray, " row"]
) -> Float[np.ndarray, " row"] | None:
    """Return each row's reward as a ridge regression on the other half of the episodes tells it; None where there is no reward or one episode.

    The row of an episode's last frame has no reward and is foretold like the others.
    """
    numbers = np.unique(episode, return_inverse=True)[1] % HALVES
    known = np.isfinite(reward)
    if not known.any() or len(set(numbers[known])) < HALVES:
        return None
    result = np.zeros(len(values))
    for half in range(HALVES):
        fit = known & (numbers != half)
        middle, spread = values[fit].mean(axis=0), values[fit].std(axis=0)
        scaled = (values - middle) / np.where(spread > 0, spread, 1.0)
        inputs, mean = scaled[fit], reward[fit].mean()
        products = inputs.T @ inputs / fit.sum() + PENALTY * np.eye(values.shape[1])
        weights = np.linalg.solve(products, inputs.T @ (reward[fit] - mean) / fit.sum())
        result[numbers == half] = scaled[numbers == half] @ weights + mean
    return result


def _frames(store: Store, episodes: int) -> np.ndarray | None:
    """Return the frames of the first episodes, row by row; None where the dataset is not here, or another one by now."""
    with contextlib.suppress(DataError, OSError), Trajectories(dataset_path(store)) as data:
        if data.stated_digest() == store.identity["dataset"]["digest"] and data.frame_shape[-1] == 3:
            return np.concatenate([data.episode(number).frames for number in range(min(episodes, len(data)))])
    return None
