"""A stage's name and settings as keywords in; its plan, or what it made, out."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscout import settings
from layerscout.cache.root import MIRRORS, STORES
from layerscout.errors import UsageError
from layerscout.paths import expand
from layerscout.progress import Reporter

if TYPE_CHECKING:
    from layerscout.cache.store import Store

# stage, as its table in a file of settings is called → its settings and the module whose plan and run do the work
STAGES = {
    "collect": ("worlds.config:CollectConfig", "worlds.collect"),
    "import": ("cache.importers.config:ImportConfig", "cache.importers.run"),
    "extract": ("extract.config:ExtractConfig", "extract.run"),
    "probe": ("probe.config:ProbeConfig", "probe.run"),
    "pretrain.apv": ("rl.transfer.apv.config:PretrainAPVConfig", "rl.transfer.apv.pretraining"),
    "pretrain.pvdr": ("rl.transfer.pvdr.config:PretrainPvdrConfig", "rl.transfer.pvdr.pretrain"),
    "train": ("rl.config:TrainConfig", "rl.run"),
    "transfer": ("rl.transfer.config:TransferConfig", "rl.transfer.run"),
}
LEARNING = ("pretrain", "train", "transfer")  # stages that write what happened into events.jsonl


def plan_stage(stage: str, keys: dict[str, Any]) -> Any:
    """Return what a stage would do under these settings; ``config`` and ``preset`` among them are a file and a name in it."""
    where, module = STAGES[stage]
    sources = {"file": keys.pop("config", None), "preset": keys.pop("preset", None)}
    model, _, name = where.partition(":")
    config = settings.resolve(_module(model).__dict__[name], stage, flags=keys, **sources)
    return _stage(module, config).plan(config)


def run_stage(stage: str, progress: bool, keys: dict[str, Any], **more: Any) -> Any:
    """Do what a stage does under these settings, and return what it made; ``more`` is handed to the stage as it is."""
    planned = plan_stage(stage, keys)
    events = planned.config.out / "events.jsonl" if stage.partition(".")[0] in LEARNING else None
    return _stage(STAGES[stage][1], planned.config).run(planned, Reporter(not progress, events), **more)


def plan_report(folders: tuple[Path | str, ...], out: Path | str | None, registration: Path | str | None) -> Any:
    """Return what a report of folders would write."""
    from layerscout.report import plan as stage

    places = [None if place is None else expand(place) for place in (out, registration)]
    return stage.plan([expand(folder) for folder in folders or ("outputs",)], *places)


def pretraining(method: str) -> str:
    """Return the stage of a method of pretraining.

    Raises
    ------
    UsageError
        There is no such method.
    """
    stage, known = f"pretrain.{method}", [name.partition(".")[2] for name in STAGES if name.startswith("pretrain.")]
    if stage not in STAGES:
        raise UsageError(f"no method of pretraining is called {method!r}", hint=f"one of {', '.join(known)}")
    return stage


def selected(selection: Path | str | None) -> dict[str, Any]:
    """Return a selection as a setting, where one is given."""
    return {} if selection is None else {"selection": Path(selection)}


def stores(store: Store | str, others: tuple[Store | str, ...], keys: dict[str, Any]) -> dict[str, Any]:
    """Name open stores as settings do, and take the folder of stores in which they lie as the root."""
    named = {"store": _word(store)} | keys
    if others:
        named["others"] = tuple(map(_word, others))
    if keys.get("twin") is not None:
        named["twin"] = _word(keys["twin"])
    homes = {one.path.parents[1] for one in (store, *others) if not isinstance(one, str) and one.path.parent.name in (STORES, MIRRORS)}
    if len(homes) == 1:
        named.setdefault("root", homes.pop())
    return named


def _word(store: Store | str) -> str:
    if isinstance(store, str):
        return store
    return store.id if store.path.parent.name == MIRRORS else str(store.path)


def _stage(module: str, config: Any) -> Any:
    """Return the stage that these settings are for: agents that earn a wage, or that plan towards a picture, have one of their own."""
    if getattr(config, "work", None) is not None:
        return _module("rl.economics.run")
    return _module("rl.transfer.pvdr.stage" if getattr(config, "algorithm", "") == "pvdr" else module)


def _module(name: str) -> Any:
    return importlib.import_module(f"layerscout.{name}")
