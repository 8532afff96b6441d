"""What a stage was told and what it made in, the command that comes next out: whole, so that it can be typed as it stands."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from layerscout.errors import LayerscoutError, shell

if TYPE_CHECKING:
    from layerscout.cache.store import Store

PROBE, TRAIN = Path("outputs/probe"), Path("outputs/train")  # where the stages write when nothing else is said
UNTRAINED = "-untrained"


def after_model(kind: str, folder: Path, data: Path) -> str:
    """Return the command that looks with a pretrained model at what it learned from: videos of others were imported beside it."""
    from layerscout.rl.transfer.folders import IMPORTED

    imported = folder / IMPORTED
    return shell("extract", f"{kind}:{folder}", imported if imported.is_file() else data)


def after_store(store: Store, root: Path | None, name: str | None = None, out: Path = PROBE) -> str:
    """Return the command that ranks a store's layers, beside the untrained model's store of the same data when it is here."""
    from layerscout.cache.root import default_root, root_words

    mine, other = store, None
    with suppress(LayerscoutError):  # a folder that nobody could look through has no twin
        other = _partner(root or default_root(), store)
    words: list[object] = [name or mine.id]
    if other is not None:
        words = [other[0], "--twin", *words] if other[1] else [*words, "--twin", other[0]]
    places = () if out == PROBE else ("--out", out)
    return shell("probe", *words, *places, *root_words(root))


def _partner(root: Path, store: Store) -> tuple[str, bool] | None:
    """Return the store of the same data by the same model with the other weights, and whether it is the trained one."""
    from layerscout.cache.catalog.entries import list_entries

    mine, digest = str(store.identity["backbone"].get("name", "")), str(store.identity["dataset"]["digest"])
    wanted = mine.removesuffix(UNTRAINED) if mine.endswith(UNTRAINED) else mine + UNTRAINED
    layers = [spec.name for spec in store.specs.values() if spec.role == "layer"]
    for entry in list_entries(root):
        if (entry.backbone, entry.dataset, entry.rows) == (wanted, digest, store.rows) and entry.damage is None:
            from layerscout.cache.store import Store as Opened

            other = Opened.open(entry.path)
            if [spec.name for spec in other.specs.values() if spec.role == "layer"] == layers:
                return (entry.names or (entry.store_id,))[0], mine.endswith(UNTRAINED)
    return None


def after_ranking(out: Path, store: Store, root: Path | None, selection: str = "selection.json") -> str:
    """Return the command that trains agents on a selection; that writes the page where the dataset names no environment to play."""
    from layerscout.cache.provenance import played_attributes

    environment = None
    with suppress(LayerscoutError):  # somebody else's store may tell nonsense, and an imported dataset names no environment
        environment = played_attributes(store).get("environment")
    return after_selection(out, environment, root, selection)


def after_selection(out: Path, environment: str | None, root: Path | None, selection: str = "selection.json") -> str:
    """Return the command that trains agents on a selection in ``environment``; that writes the page where there is none to play."""
    from layerscout.cache.root import root_words

    folder = results_folder(out)
    if environment is None:
        return shell("report", folder)
    places = () if folder / "train" == TRAIN else ("--out", folder / "train")
    return shell("train", environment, "--selection", out / selection, *places, *root_words(root))


def after_agents(out: Path, selection: Path) -> str:
    """Return the command that writes the page of agents: the report of the folder that holds them and their ranking, else where all stand."""
    folder = results_folder(selection.parent)
    reported = (selection.parent / "ranking.json").is_file() and out.name.startswith("train") and out.parent == folder
    return shell("report", folder) if reported or out == folder else shell("status", folder)


def results_folder(out: Path) -> Path:
    """The folder above ``out`` where that is named "probe…", as every command names it, else ``out`` itself."""
    return out.parent if out.name.startswith("probe") else out
