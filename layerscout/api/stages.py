"""Settings as keywords in; files, stores, rankings and records out: the stages as functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from layerscout.api.running import plan_report, pretraining, run_stage, selected, stores

if TYPE_CHECKING:
    from layerscout.cache.records import Ranking, RunRecord
    from layerscout.cache.records.transfer import TransferRecord
    from layerscout.cache.records.work import WorkRecord
    from layerscout.cache.store import Store


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
    return run_stage("collect", progress, {"environment": environment} | keys)


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
    return Path(run_stage("import", progress, {"source": Path(source)} | keys)["data"])


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
    return run_stage("extract", progress, {"backbone": backbone, "data": Path(data)} | keys)


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
    return run_stage("probe", progress, stores(store, others, keys))


def pretrain(method: Literal["apv", "pvdr"], data: Path | str, *, progress: bool = False, **keys: Any) -> dict[str, Any]:
    """Learn a model from videos before anything is played; no action is read. It is a backbone too: ``apv:FOLDER``, ``pvdr:FOLDER``.

    Parameters
    ----------
    method
        ``apv``: an action-free world model, from which `train` starts with ``algorithm="dreamer"``. ``pvdr``: visual dynamics, with which agents of
        ``algorithm="pvdr"`` plan.
    data
        A trajectory file, or whatever `import_data` takes: videos, pictures, another project's file.
    progress
        Whether to tell on stderr how it is going.
    keys
        Settings of `PretrainAPVConfig` or `PretrainPvdrConfig`, such as ``updates`` and ``out``; and ``config`` and ``preset``, a TOML file and the
        name of one of its presets.

    Returns
    -------
    dict
        ``model``, the folder, and the figures, each with its baselines; the same call again finds them, and after a kill it continues.

    Raises
    ------
    LayerscoutError
        As the command ``layerscout pretrain``.
    """
    more: dict[str, Any] = {}
    if method == "apv":
        from layerscout.probe.solve.read_out import read_out

        more["read_out"] = read_out
    return run_stage(pretraining(method), progress, {"data": Path(data)} | keys, **more)


def train(environment: str, selection: Path | str | None = None, *, progress: bool = False, **keys: Any) -> RunRecord | WorkRecord:
    """Train agents on the selected layers and on the controls, under one budget; or agents that need no selection.

    Those are, with ``work``, agents that earn a wage, and with ``algorithm="pvdr"`` agents that plan towards a picture. With ``algorithm="dreamer"`` the
    selection says what is played, and agents see its frames.

    Parameters
    ----------
    environment
        The one that the dataset came from.
    selection
        The ``selection.json`` that `probe` wrote; None: the one in ``outputs/probe``, and none for agents that need none.
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
    return run_stage("train", progress, {"environment": environment} | selected(selection) | keys)


def transfer(environment: str, *, progress: bool = False, **keys: Any) -> TransferRecord:
    """Train students with and without a teacher, under one budget of iterations, and count what the teacher saves.

    Parameters
    ----------
    environment
        Where students play.
    progress
        Whether to tell on stderr how it is going.
    keys
        Settings of `TransferConfig`, such as ``teachers``, ``teacher_options``, ``seeds``, ``iterations`` and ``out``; and ``config`` and ``preset``.

    Returns
    -------
    TransferRecord
        Every arm with its curves and steps; the same call again finds it, and after a kill it continues.

    Raises
    ------
    LayerscoutError
        As the command ``layerscout transfer``.
    """
    return run_stage("transfer", progress, {"environment": environment} | keys)


def report(*folders: Path | str, out: Path | str | None = None, registration: Path | str | None = None) -> Path:
    """Write the pages of a run's results, or of several folders a study of whether the score foretells the return.

    Parameters
    ----------
    folders
        Folders of results, of `train` and of `transfer` alike; ``outputs`` when there is none.
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

    return stage.run(plan_report(folders, out, registration))
