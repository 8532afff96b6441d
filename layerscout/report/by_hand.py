"""An experiment in, the commands that made it out: whole, in order, to be typed where they were typed before."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from layerscout.cache.manifest import read_manifest
from layerscout.cache.opening import find_folder
from layerscout.cache.provenance import Provenance
from layerscout.cache.records import RunRecord
from layerscout.cache.records.making import load_command, safe_command
from layerscout.cache.root import default_root
from layerscout.errors import LayerscoutError, shell
from layerscout.report.experiment import Experiment

BY_HAND = "To be typed in the folder where the stages ran; what is there already is not done again."


def stage_commands(experiment: Experiment) -> tuple[str, ...]:
    """Return the commands of all stages, from the data to this page.

    Those of the data and of the stores are known where the stores are still here; the others stand beside their results. Results of an
    earlier version, which kept no commands, get what their records tell.
    """
    ranking = experiment.ranking
    provenances = [found for store in _stores(experiment) if (found := _provenance(experiment, store)) is not None]
    extractions = [command for found in provenances if (command := safe_command("extract", found.command)) is not None]
    data = [command for found in provenances[:1] if (command := _collection(found)) is not None]
    twin = ("--twin", ranking.twin_store_id) if ranking.twin_store_id else ()
    probe = load_command("probe", _probe_folder(experiment)) or shell("probe", ranking.store_id, *twin)
    agents = [_training(experiment, path, record) for path, record in experiment.records]
    return (*data, *dict.fromkeys(extractions), probe, *dict.fromkeys(agents), shell("report", experiment.folder))


def _stores(experiment: Experiment) -> list[str]:
    ranking = experiment.ranking
    named = [store.store_id for store in ranking.stores] or [ranking.store_id]
    return [*named, *([ranking.twin_store_id] if ranking.twin_store_id else [])]


def _provenance(experiment: Experiment, store_id: str) -> Provenance | None:
    """Return what a store says of how it was made; None when it is not here, or says nonsense."""
    settings = next((values for path, values in experiment.settings if path.endswith("probe.json")), {})
    said = settings.get("settings", {})
    root = said.get("root") if isinstance(said, dict) else None
    with suppress(LayerscoutError, ValueError, OSError):
        folder = find_folder(Path(root) if isinstance(root, str) else default_root(), store_id)
        return Provenance.model_validate(read_manifest(folder).provenance)
    return None


def _collection(found: Provenance) -> str | None:
    """Return the command that collected a store's dataset, under the name that its extraction read; None for an imported dataset."""
    played, extraction = found.dataset_attributes, safe_command("extract", found.command)
    read = shlex.split(extraction or "")[3:4]  # layerscout extract BACKBONE DATA; a stranger's command may end before it
    if not read or played.environment is None or played.steps is None:
        return None
    words: list[object] = ["collect", played.environment, "--steps", played.steps, "--out", *read]
    words += ["--policy", played.policy] if played.policy else []
    words += ["--seed", played.seed] if played.seed else []
    words += ["--size", played.size] if played.size and not played.options else []
    for name, value in played.options.items():
        words += ["--set", f"options.{name}={json.dumps(value)}"]
    return shell(*words)


def _probe_folder(experiment: Experiment) -> Path:
    probe = experiment.folder / "probe"
    return probe if (probe / "ranking.json").is_file() else experiment.folder


def _training(experiment: Experiment, path: str, record: RunRecord) -> str:
    folder = (experiment.folder / path).parent
    selection: Any = record.selection or experiment.folder / "probe" / "selection.json"
    return load_command("train", folder) or shell(
        "train", record.environment, "--mode", record.mode, "--selection", selection, "--out", folder
    )
