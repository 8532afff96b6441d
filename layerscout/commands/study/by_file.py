"""A settings file and what a stage made in, the file's own command for what comes next out: where the file means what was made, it says the rest."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscout.commands.following import UNTRAINED
from layerscout.commands.words import Sources
from layerscout.errors import LayerscoutError, shell
from layerscout.paths import expand

if TYPE_CHECKING:
    from layerscout.probe.config import ProbeConfig

# the settings of the stages that a study begins with, by module and class: they are imported where a file is read
MODELS = {
    "collect": ("layerscout.worlds.config", "CollectConfig"),
    "pretrain.apv": ("layerscout.rl.transfer.apv.config", "PretrainAPVConfig"),
    "pretrain.pvdr": ("layerscout.rl.transfer.pvdr.config", "PretrainPvdrConfig"),
    "extract": ("layerscout.extract.config", "ExtractConfig"),
    "probe": ("layerscout.probe.config", "ProbeConfig"),
    "train": ("layerscout.rl.config", "TrainConfig"),
}


def model_of(stage: str) -> Any:
    """Return the class of a stage's settings."""
    module, name = MODELS[stage]
    return getattr(import_module(module), name)


def settings_of(sources: Sources, stage: str, folder: Path = Path()) -> Any:
    """Return what a file says of a stage; None where no file is named, or it has no whole table of it. ``folder`` is where it is read from."""
    from layerscout import settings

    if sources.file is None:
        return None
    with suppress(LayerscoutError):
        file, said = folder / expand(sources.file), _named(sources, stage)
        return settings.resolve(model_of(stage), stage, file=file, preset=sources.preset, assignments=said)
    return None


def after_data(sources: Sources, data: Path) -> str | None:
    """Return what pretrains on a dataset, else what extracts from it."""
    for stage in ("pretrain.apv", "pretrain.pvdr", "extract"):
        said = settings_of(sources, stage)
        if said is not None and _same(said.data, data):
            return _command(sources, stage)
    return None


def after_model(sources: Sources, kind: str, folder: Path) -> str | None:
    """Return what looks with a model that was pretrained."""
    said = settings_of(sources, "extract")
    named, _, place = ("", "", "") if said is None else said.backbone.partition(":")
    return _command(sources, "extract") if named == kind and _same(Path(place), folder) else None


def after_store(sources: Sources, store_id: str, root: Path | None) -> str | None:
    """Return what probes a store of the file's, else what makes the first of the others that is not here yet."""
    said: ProbeConfig | None = settings_of(sources, "probe")
    return None if said is None or not _same(said.root, root) else _probing(sources, said, store_id)


def after_ranking(sources: Sources, out: Path, root: Path | None) -> str | None:
    """Return what trains agents on a ranking's selection."""
    said = settings_of(sources, "train")
    fits = said is not None and _same(said.selection, out / "selection.json") and _same(said.root, root)
    return _command(sources, "train") if fits else None


def probing(sources: Sources, folder: Path = Path()) -> str | None:
    """Return what probes the stores that the file names, or makes the first that is not here; None where the file does not tell how."""
    said: ProbeConfig | None = settings_of(sources, "probe", folder)
    return None if said is None else _probing(sources, said, folder=folder)


def _probing(sources: Sources, said: ProbeConfig, made: str | None = None, folder: Path = Path()) -> str | None:
    """The same; None too where a store that was just ``made`` is not one of the file's."""
    held = _held(said, None if said.root is None else folder / said.root)
    if made is not None and made not in held.values():
        return None
    missing = next((word for word in (said.store, *said.others, said.twin) if word is not None and word not in held), None)
    return _command(sources, "probe") if missing is None else _making(sources, missing, missing == said.twin, folder)


def _making(sources: Sources, word: str, twin: bool, folder: Path) -> str | None:
    """Return what extracts the store of that name: by the file's backbone, or by the same one untrained."""
    from layerscout import registry

    said = settings_of(sources, "extract", folder)
    if said is None:
        return None
    if said.name == word:
        return _command(sources, "extract")
    if not twin or "weights" in said.backbone_options:
        return None
    if (untrained := said.backbone + UNTRAINED) in registry.names("backbone"):
        return _command(sources, "extract", untrained, more=("--name", word))
    if ":" in said.backbone:
        return _command(sources, "extract", more=("--set", "extract.backbone_options.weights=reinitialised", "--name", word))
    return None


def _held(said: ProbeConfig, root: Path | None) -> dict[str, str]:
    """Return those of a probe's stores that are here, each word's id; of an address, which is not looked up, the address."""
    from layerscout.cache.opening import find_folder
    from layerscout.cache.root import default_root

    held = {}
    for word in (said.store, *said.others, said.twin):
        with suppress(LayerscoutError):
            if word is not None:
                held[word] = word if "://" in word else find_folder(root or default_root(), word).name
    return held


def _command(sources: Sources, stage: str, *words: object, more: tuple[object, ...] = ()) -> str:
    return shell(*stage.split("."), *words, *replace(sources, assignments=_named(sources, stage)).as_words(), *more)


def _named(sources: Sources, stage: str) -> tuple[str, ...]:
    """Return the assignments that name the stage; those of the command that was just run are its own."""
    return tuple(one for one in sources.assignments if one.startswith(f"{stage}."))


def _same(one: Path | None, other: Path | None) -> bool:
    return one == other or (one is not None and other is not None and one.resolve() == other.resolve())
