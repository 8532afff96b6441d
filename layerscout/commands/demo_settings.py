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
    # half of the steps are the scripted expert's: from what is tried at random alone, nothing near its return is learned in minutes
    "collect": {"environment": ENVIRONMENT, "steps": 24_000, "policy": "epsilon:0.5"},
    # every second block: neighbours say the same; smaller units, less memory in every stage
    "extract": {
        "backbone": "tiny",
        "layers": ("blocks.1", "blocks.3", "blocks.5", "blocks.7"),
        "batch": 64,
        "rows_per_chunk": 2048,
        "passport_clips": 0,
    },
    "probe": {
        "top_k": 4,  # agents on all of them: what a blind pick gives up can only be told where every layer was tried
        "confirmation": 0.0,  # every layer's agents follow, and confirm or refute
        "targets": (),  # the game's hidden state is not looked at, as with a recorded video
        "measures": False,
        "groups": 12,  # fewer groups for less memory
        "precision": "float64",  # nearly all of these layers would be measured again in it
    },
    "train": {
        "environment": ENVIRONMENT,
        "mode": "offline",
        "algorithm": "iql",
        "whiten": True,  # or far more updates
        "seeds": 8,
        "updates": 800,
        "evaluations": 2,
        "evaluation_episodes": 5,
        "final_episodes": 30,  # 240 an arm: playing them costs as much as learning does
        "scratch_hidden": (64, 32),
        # one action changes a return of ±1 little: larger temperatures weigh luck
        "iql": {"batch": 64, "lr": 2e-3, "hidden": (32,), "inverse_temperature": 1.0},
        "best_possible": 1.0,
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
