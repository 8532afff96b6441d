"""Evaluations of a group as they happen in; JSON lines always, TensorBoard, Trackio and Weights & Biases on demand out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from layerscout.cache.durable import write_atomic
from layerscout.errors import MissingExtraError, install

FILE = "log.jsonl"
PROJECT = "layerscout"  # at Weights & Biases


class Sink(Protocol):
    """Somewhere figures of one run go to."""

    def add(self, run: int, at: int, figures: dict[str, float]) -> None:
        """Take the figures of one run at one time (updates offline, environment steps otherwise)."""

    def close(self) -> None:
        """Write what is still in memory, and give back what was opened."""


class Log:
    """What a group's runs did, one line an evaluation and run. A continued group writes its file anew, so nothing stands twice.

    Parameters
    ----------
    names
        (arm, seed) of every run.
    folder
        Of the group.
    tensorboard, wandb, trackio
        What else to feed; "offline" keeps Weights & Biases' files beside the results for ``wandb sync``.

    Raises
    ------
    MissingExtraError
        A package that was asked for is not installed.
    """

    def __init__(
        self,
        names: Sequence[tuple[str, int]],
        folder: Path,
        *,
        tensorboard: bool = False,
        wandb: Literal["off", "offline", "online"] = "off",
        trackio: bool = False,
        facts: dict[str, Any] | None = None,
    ) -> None:
        self._names, self._path = list(names), folder / FILE
        self._lines: list[str] = []
        self._sinks: list[Sink] = []
        if tensorboard:
            self._sinks.append(TensorBoard(self._names, folder))
        if trackio:
            self._sinks.append(Trackio(self._names, facts or {}))
        if wandb != "off":
            self._sinks.append(WeightsAndBiases(self._names, folder, wandb, facts or {}))

    def begin(self, evaluations: Sequence[Sequence[Any]]) -> None:
        """Start over with the evaluations [at, returns [run][episode]] that an earlier process made."""
        self._lines = []
        for at, returns in evaluations:
            self._note(int(at), np.asarray(returns), None)
        self._write()

    def add(self, at: int, returns: np.ndarray, losses: np.ndarray | None = None) -> None:
        """Note an evaluation: returns [run, episode], and each run's mean loss since the last one."""
        self._note(at, returns, losses)
        self._write()

    def close(self) -> None:
        """Finish what other programs read."""
        for sink in self._sinks:
            sink.close()

    def _note(self, at: int, returns: np.ndarray, losses: np.ndarray | None) -> None:
        for run, (arm, seed) in enumerate(self._names):
            figures = {"return": float(np.mean(returns[run]))}
            if losses is not None and np.isfinite(losses[run]):
                figures["loss"] = float(losses[run])
            self._lines.append(json.dumps({"arm": arm, "seed": seed, "at": at, "episodes": len(returns[run])} | figures))
            for sink in self._sinks:
                sink.add(run, at, figures)

    def _write(self) -> None:
        write_atomic(self._path, "".join(line + "\n" for line in self._lines).encode())


class TensorBoard:
    """One folder of events a run under ``tensorboard/``."""

    def __init__(self, names: Sequence[tuple[str, int]], folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("train.tensorboard needs the package tensorboard", hint=install("tensorboard")) from None
        self._writers = [SummaryWriter(str(folder / "tensorboard" / f"{arm} {seed}".replace("/", "-"))) for arm, seed in names]

    def add(self, run: int, at: int, figures: dict[str, float]) -> None:
        """Write every figure of one run as a scalar at environment step ``at``."""
        for name, value in figures.items():
            self._writers[run].add_scalar(name, value, at)

    def close(self) -> None:
        """Flush and close every run's file of events."""
        for writer in self._writers:
            writer.close()


class Trackio:
    """One run of Trackio a run of ours, grouped by arm; its files lie on this machine, where ``trackio show`` finds them."""

    def __init__(self, names: Sequence[tuple[str, int]], facts: dict[str, Any]) -> None:
        try:
            import trackio
        except ImportError:
            raise MissingExtraError("train.trackio needs the package trackio", hint=install("trackio")) from None
        self._runs = [
            trackio.init(project=PROJECT, name=f"{arm} {seed}", group=arm, config=facts | {"arm": arm, "seed": seed}, embed=False)
            for arm, seed in names
        ]

    def add(self, run: int, at: int, figures: dict[str, float]) -> None:
        """Log the figures of one run together, at environment step ``at``."""
        self._runs[run].log(figures, step=at)

    def close(self) -> None:
        """Finish every run, so that its last figures are written."""
        for one in self._runs:
            one.finish()


class WeightsAndBiases:
    """One run of Weights & Biases a run of ours, grouped by arm."""

    def __init__(self, names: Sequence[tuple[str, int]], folder: Path, mode: Literal["offline", "online"], facts: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingExtraError("train.wandb needs the package wandb", hint=install("wandb")) from None
        self._runs = [
            wandb.init(
                project=PROJECT,
                name=f"{arm} {seed}",
                group=arm,
                dir=str(folder),
                mode=mode,
                config=facts | {"arm": arm, "seed": seed},
                reinit="create_new",
                settings=wandb.Settings(silent=True, x_disable_stats=True),
            )
            for arm, seed in names
        ]

    def add(self, run: int, at: int, figures: dict[str, float]) -> None:
        """Log the figures of one run together, at environment step ``at``."""
        self._runs[run].log(figures, step=at)

    def close(self) -> None:
        """Finish every run, which waits until its figures are on their server."""
        for one in self._runs:
            one.finish()
