"""A folder of the probe's results and a place in; the ranking with its card beside the stores there, out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.cache.durable import write_atomic
from layerscout.cache.manifest import CARD_NAME, LARGEST_DOCUMENT
from layerscout.cache.records import Ranking, load, load_object
from layerscout.cache.records.making import load_command
from layerscout.cache.remote.bucket import ObjectPlace
from layerscout.cache.remote.hub import HubPlace
from layerscout.cache.remote.published import resolve_place
from layerscout.cache.remote.transfer import RANKINGS, Url, place_card
from layerscout.cache.store import Store
from layerscout.cache.writing.card import PICTURE
from layerscout.cache.writing.ranking_card import ranking_card
from layerscout.errors import DataError

RANKING_FILE = "ranking.json"
BESIDE = ("selection.json", "layer_analysis.csv", "layer_analysis.md", "selected_layer.txt", "score_by_depth.svg", PICTURE, "probe.html")


@dataclass(frozen=True)
class RankingFolder:
    """A ranking that may be published: its id, and its files by name, with the card first and ``ranking.json`` last."""

    id: str
    files: tuple[tuple[str, bytes], ...]

    def describe(self) -> dict[str, Any]:
        """Return the facts for ``--dry-run`` and ``--json``."""
        return {"ranking": self.id, "ranking_files": len(self.files), "ranking_bytes": sum(len(content) for _, content in self.files)}


def read_ranking_folder(store: Store, folder: Path) -> RankingFolder:
    """Read what the probe wrote into a folder, and write its card.

    Raises
    ------
    DataError
        There is no ranking, or it is of another store.
    """
    path = folder / RANKING_FILE
    if not path.is_file():
        raise DataError(f"no ranking lies in {folder}", hint="give the folder that layerscout probe wrote to")
    ranking = load(Ranking, path)
    ranked = {ranking.store_id, *(one.store_id for one in ranking.stores)}
    if store.id not in ranked:
        raise DataError(
            f"the ranking in {folder} is of {', '.join(sorted(ranked))}, not of {store.id}", hint="push the store that it is of"
        )
    found = [(name, (folder / name).read_bytes()) for name in BESIDE if (folder / name).is_file()]
    card = ranking_card(ranking, store.manifest.provenance, load_command("probe", folder), any(name == PICTURE for name, _ in found))
    return RankingFolder(_id_of(path), ((CARD_NAME, card.encode()), *found, (RANKING_FILE, path.read_bytes())))


def push_ranking(store: Store, ranking: RankingFolder, url: Url) -> None:
    """Publish a ranking under ``rankings/ID`` of a place, beside the store that it is of; what is there under its id is replaced.

    In a repository of the hub its card and picture are named on the repository's own page too.
    """
    place, _ = resolve_place(url)
    files = [(f"{RANKINGS}/{ranking.id}/{name}", content) for name, content in ranking.files]
    if isinstance(place, HubPlace):
        card = place_card(place, store, (ranking.id,))
        place.send([*files, *([(CARD_NAME, card)] if card is not None else [])], f"Ranking {ranking.id}")
        return
    for path, content in files:
        if isinstance(place, ObjectPlace):
            _replace(place, path, content)
        else:
            write_atomic(place.folder / path, content)


def _replace(place: ObjectPlace, path: str, content: bytes) -> None:
    if place.read(path, LARGEST_DOCUMENT) == content:
        return
    place.delete([path])
    if not place.create(path, content):
        raise DataError(f"{place.url}/{path} was written by somebody else at the same moment", hint="run the same command again")


def _id_of(path: Path) -> str:
    """Return the beginning of the digest of a ranking's question, as the service names it; of its own text where the question is not there."""
    try:
        return str(load_object(path.parent / "probe.json")["key"])[:32]
    except (DataError, KeyError):
        return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
