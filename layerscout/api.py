"""Settings as keywords in; files, stores, rankings and records out: the stages as functions, for notebooks and programs.

Everything here is reached as ``layerscout.NAME``. Paths may begin with ``~``, as in settings.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscout import settings
from layerscout.cache.root import MIRRORS, STORES
from layerscout.paths import expand
from layerscout.progress import Reporter

if TYPE_CHECKING:
    from layerscout.cache.importers.plan import ImportPlan
    from layerscout.cache.records import Ranking, RunRecord
    from layerscout.cache.records.work import WorkRecord
    from layerscout.cache.store import Store
    from layerscout.extract.plan import ExtractPlan
    from layerscout.probe.plan import ProbePlan
    from layerscout.report.labour.page import LabourReport
    from layerscout.report.plan import ReportPlan
    from layerscout.rl.economics.experiment import WorkPlan
    from layerscout.rl.plan import TrainPlan
    from layerscout.worlds.collect import CollectPlan

# stage → its settings and the module whose plan and run do the work
STAGES = {
    "collect": ("worlds.config:CollectConfig", "worlds.collect"),
    "import": ("cache.importers.config:ImportConfig", "cache.importers.run"),
    "extract": ("extract.config:ExtractConfig", "extract.run"),
    "probe": ("probe.config:ProbeConfig", "probe.run"),
    "train": ("rl.config:TrainConfig", "rl.run"),
}


def collect(environment: str, *, progress: bool = False, **keys: Any) -> Path:
    """Play an environment with an exploratory policy and keep the episodes.

    Parameters
    ----------
    environment
        ``layerscout/Intercept-v0``, ``layerscout/Grid-v0``, any Gymnasium id with pixels, or ``module:id``.
    progress
        Whether to tell on stderr how it is going.
    keys
        Settings of `CollectConfig`, such as ``steps`` (required), ``policy``, ``seed`` and ``out``; and ``config`` and ``preset``,
        a TOML file and the name of one of its presets.

    Returns
    -------
    Path
        The HDF5 file; the same call again finds it complete.

    Raises
    ------
    LayerscoutError
        As the command ``layerscout collect``.
    """
    return _run("collect", progress, {"environment": environment} | keys)


def import_data(source: Path | str, *, progress: bool = False, **keys: Any) -> Path:
    """Make a trajectory file of a dataset that others recorded.

    Parameters
    ----------
    source
        The file or folder of the dataset.
    progress
        Whether to tell on stderr how it is going.
    keys
        Settings of `ImportConfig`, such as ``out``, ``format``, ``camera`` and ``size``; and ``config`` and ``preset``.

    Returns
    -------
    Path
        The HDF5 file; the same call again finds it complete.

    Raises
    ------
    LayerscoutError
        As the command ``layerscout import``.
    """
    return Path(_run("import", progress, {"source": Path(source)} | keys)["data"])


def extract(backbone: str, data: Path | str, *, progress: bool = False, **keys: Any) -> Store:
    """Run a frozen video model once over a dataset and store every layer.

    Parameters
    ----------
    backbone
        ``NAME`` or ``NAME:SOURCE``, such as ``tiny`` or ``wan:FOLDER``.
    data
        The trajectory file that `collect` returned.
    progress
        Whether to tell on stderr how it is going.
    keys
        Settings of `ExtractConfig`, such as ``layers``, ``pooling``, ``root`` and ``device``; and ``config`` and ``preset``.

    Returns
    -------
    Store
        The committed store; the same call again finds it, and after a kill it does what is missing.

    Raises
    ------
    LayerscoutError
        As the command ``layerscout extract``.
    """
    return _run("extract", progress, {"backbone": backbone, "data": Path(data)} | keys)


def probe(store: Store | str, *others: Store | str, progress: bool = False, **keys: Any) -> Ranking:
    """Rank stores' layers by what a linear map can read from them, and write the ranking, the selection and their pages.

    Parameters
    ----------
    store, others
        Open stores, or their ids, names, folders or URLs. Layers of several stores are ranked together.
    progress
        Whether to tell on stderr how it is going.
    keys
        Settings of `ProbeConfig`, such as ``twin`` (a store too), ``out``, ``top_k`` and ``layers``; and ``config`` and ``preset``.

    Returns
    -------
    Ranking
        All layers in order, with an interval on every figure.

    Raises
    ------
    LayerscoutError
        As the command ``layerscout probe``.
    """
    return _run("probe", progress, _stores(store, others, keys))


def train(environment: str, selection: Path | str | None = None, *, progress: bool = False, **keys: Any) -> RunRecord | WorkRecord:
    """Train agents on the selected layers and on the controls, under one budget; or, with ``work``, agents that earn a wage.

    Parameters
    ----------
    environment
        The one that the dataset came from.
    selection
        The ``selection.json`` that `probe` wrote; None: the one in ``outputs/probe``, and none for agents that earn a wage.
    progress
        Whether to tell on stderr how it is going.
    keys
        Settings of `TrainConfig`, such as ``mode``, ``seeds``, ``updates``, ``out`` and ``dqn={"lr": 1e-3}``; and ``config`` and ``preset``.

    Returns
    -------
    RunRecord or WorkRecord
        Every arm with its budget and every run with its returns; of work, what each arm's policy was expected to earn.

    Raises
    ------
    LayerscoutError
        As the command ``layerscout train``.
    """
    return _run("train", progress, {"environment": environment} | _selected(selection) | keys)


def report(*folders: Path | str, out: Path | str | None = None, registration: Path | str | None = None) -> Path:
    """Write the pages of a run's results, or of several folders a study of whether the score foretells the return.

    Parameters
    ----------
    folders
        Folders of results; ``outputs`` when there is none.
    out
        Where a study goes; ``outputs/study`` when there are several folders.
    registration
        The file in which a study was fixed before it was run; by default the one for which ``layerscout study`` made the folders.

    Returns
    -------
    Path
        The HTML page.

    Raises
    ------
    DataError
        A folder holds no ranking, or a file cannot be read.
    """
    from layerscout.report import plan as stage

    return stage.run(plan.report(*folders, out=out, registration=registration))


def open_store(store: Path | str, root: Path | str | None = None) -> Store:
    """Open a store by its id, name, folder or URL: ``open_store("best")["blocks.3"][0:5]``.

    Parameters
    ----------
    store
        What names it. Of a URL (``s3://…``), only the layers that are read are fetched.
    root
        Folder of all stores; None means ``LAYERSCOUT_ROOT``, or the user's cache.

    Raises
    ------
    DataError
        There is no such store, or it is damaged or cannot be reached.
    """
    from layerscout.cache.opening import open_store as opened

    return opened(None if root is None else expand(root), store)


def load_ranking(path: Path | str = "outputs/probe") -> Ranking:
    """Read a ranking from its ``ranking.json`` or from the folder that holds it.

    Raises
    ------
    DataError
        There is no such file, or it is damaged.
    """
    return _load("Ranking", path, "ranking.json")


def load_runs(path: Path | str = "outputs/train") -> RunRecord:
    """Read agents' results from their ``runs.json`` or from the folder that holds it.

    Raises
    ------
    DataError
        There is no such file, or it is damaged.
    """
    return _load("RunRecord", path, "runs.json")


class Plans:
    """The stages' plans: the same arguments as the functions beside it, and nothing is done. A notebook shows a plan as a table."""

    def collect(self, environment: str, **keys: Any) -> CollectPlan:
        """Say what `collect` would do: steps, bytes, seconds, and whether the file is complete."""
        return _plan("collect", {"environment": environment} | keys)

    def import_data(self, source: Path | str, **keys: Any) -> ImportPlan:
        """Say what `import_data` would do: format, episodes, steps, bytes, and what comes over."""
        return _plan("import", {"source": Path(source)} | keys)

    def extract(self, backbone: str, data: Path | str, **keys: Any) -> ExtractPlan:
        """Say what `extract` would do: rows, layers, bytes, files, memory, and the store that is there already."""
        return _plan("extract", {"backbone": backbone, "data": Path(data)} | keys)

    def probe(self, store: Store | str, *others: Store | str, **keys: Any) -> ProbePlan:
        """Say what `probe` would do: layers to measure, bytes to read, memory, and what is measured already."""
        return _plan("probe", _stores(store, others, keys))

    def train(self, environment: str, selection: Path | str | None = None, **keys: Any) -> TrainPlan | WorkPlan:
        """Say what `train` would do: arms, runs, budget, memory; of work, what the best hours earn."""
        return _plan("train", {"environment": environment} | _selected(selection) | keys)

    def report(
        self, *folders: Path | str, out: Path | str | None = None, registration: Path | str | None = None
    ) -> ReportPlan | LabourReport:
        """Say what `report` would write, and from which records."""
        from layerscout.report import plan as stage

        places = [None if place is None else expand(place) for place in (out, registration)]
        return stage.plan([expand(folder) for folder in folders or ("outputs",)], *places)


plan = Plans()


def _plan(stage: str, keys: dict[str, Any]) -> Any:
    where, module = STAGES[stage]
    sources = {"file": keys.pop("config", None), "preset": keys.pop("preset", None)}
    model, _, name = where.partition(":")
    config = settings.resolve(_module(model).__dict__[name], stage, flags=keys, **sources)
    return _stage(module, config).plan(config)


def _stage(module: str, config: Any) -> Any:
    """Return the stage that these settings are for: agents that earn a wage, or that plan towards a picture, have one of their own."""
    if getattr(config, "work", None) is not None:
        return _module("rl.economics.experiment")
    return _module("rl.transfer.pvdr.stage" if getattr(config, "algorithm", "") == "pvdr" else module)


def _run(stage: str, progress: bool, keys: dict[str, Any]) -> Any:
    planned = _plan(stage, keys)
    events = planned.config.out / "events.jsonl" if stage == "train" else None
    return _stage(STAGES[stage][1], planned.config).run(planned, Reporter(not progress, events))


def _selected(selection: Path | str | None) -> dict[str, Any]:
    return {} if selection is None else {"selection": Path(selection)}


def _module(name: str) -> Any:
    return importlib.import_module(f"layerscout.{name}")


def _load(kind: str, path: Path | str, name: str) -> Any:
    from layerscout.cache import records

    place = expand(path)
    return records.load(getattr(records, kind), place / name if place.is_dir() else place)


def _stores(store: Store | str, others: tuple[Store | str, ...], keys: dict[str, Any]) -> dict[str, Any]:
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
