"""The demo's own settings, a file and words in; the settings of all its stages out, and no stage is imported for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout import settings
from layerscout.errors import UsageError, suggest
from layerscout.extract.config import ExtractConfig
from layerscout.probe.config import ProbeConfig
from layerscout.rl.config import TrainConfig
from layerscout.worlds.config import CollectConfig

ENVIRONMENT = "layerscout/Intercept-v0"
DEFAULTS: dict[str, dict[str, Any]] = {
    "collect": {"environment": ENVIRONMENT, "steps": 30_000, "policy": "random:4"},
    "extract": {"backbone": "tiny", "batch": 64, "rows_per_chunk": 2048},  # smaller units, less memory in every stage
    # fewer groups for less memory; products in float64, since nearly all of these layers would be measured again in it
    "probe": {"top_k": 2, "groups": 12, "precision": "float64"},
    "train": {
        "environment": ENVIRONMENT,
        "mode": "offline",
        "seeds": 6,
        "updates": 4_000,
        "evaluations": 3,
        # a landing is rewarded some 25 steps after the paddle had to start: values must travel far in few updates
        "dqn": {"lr": 3e-4, "gamma": 0.99, "target_interval": 25, "hidden": (64, 64)},
    },
}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "quick": {
        "collect": {"steps": 1_500},
        "train": {"seeds": 2, "updates": 200, "evaluations": 1, "final_episodes": 10},
    }
}


@dataclass(frozen=True)
class DemoSettings:
    """The settings of every stage, in the order in which they run. ``twin`` is the untrained backbone on the same data."""

    out: Path
    collect: CollectConfig
    extract: ExtractConfig
    twin: ExtractConfig
    probe: dict[str, Any]  # store and twin are known only when they have been extracted
    train: TrainConfig


def settings_for(out: Path, *, file: Path | None, preset: str | None, assignments: Sequence[str]) -> DemoSettings:
    """Resolve every stage's settings: the demo's own, then file, preset and assignments of the form ``stage.key=value``.

    Raises
    ------
    UsageError
        An assignment names no stage, or a setting is unknown.
    """
    for assignment in assignments:
        stage, dot, _ = assignment.partition("=")[0].partition(".")
        if stage not in DEFAULTS or not dot:
            raise UsageError(
                f"--set '{assignment}' names no stage{suggest(stage, DEFAULTS)}", hint="write stage.key=value, e.g. train.seeds=10"
            )

    def resolve(model: Any, section: str, **fixed: Any) -> Any:
        sources: dict[str, Any] = {"file": file, "preset": preset, "assignments": assignments, "presets": PRESETS}
        return settings.resolve(model, section, defaults=DEFAULTS[section], flags=fixed, **sources)

    data, root = out / "data.h5", out / "cache"
    extract = resolve(ExtractConfig, "extract", data=data, root=root)
    probe = resolve(ProbeConfig, "probe", store="pending", root=root, out=out / "probe")
    return DemoSettings(
        out=out,
        collect=resolve(CollectConfig, "collect", out=data),
        extract=extract,
        twin=extract.model_copy(update={"backbone": "tiny-untrained"}),
        probe=probe.model_dump(exclude={"store", "twin"}),
        train=resolve(TrainConfig, "train", selection=out / "probe" / "selection.json", root=root, out=out / "train"),
    )
