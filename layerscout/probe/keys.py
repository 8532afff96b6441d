"""A probe's settings and stores in; the names of what they ask, and what already answers it, out.

Stores go by the digests of their manifests, never by paths or ids: two runs of one identity need not have the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layerscout.cache import records
from layerscout.cache.records import Ranking, Selection
from layerscout.cache.root import SERVICE, default_root
from layerscout.cache.store import Store
from layerscout.errors import DataError, UsageError
from layerscout.probe.config import RANKING_ONLY, RUN_ONLY, ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.evidence.kept import EvidenceKey, load_evidence_of
from layerscout.probe.page.tables import CSV_NAME, FIGURE_NAMES, PAGE_NAME, SELECTED_NAME, TABLE_NAME
from layerscout.probe.questions.sources import Job, store_labels
from layerscout.probe.questions.targets import needed_columns

ALGORITHM = "probe/7"  # raise it when the same settings would give other numbers
RANKING_NAME, SELECTION_NAME, KEY_NAME, EVIDENCE_FOLDER = "ranking.json", "selection.json", "probe.json", "evidence"
OUTPUTS = (RANKING_NAME, SELECTION_NAME, CSV_NAME, TABLE_NAME, SELECTED_NAME, PAGE_NAME, *FIGURE_NAMES)


def ranking_key(config: ProbeConfig, stores: Sequence[Store], twin: Store | None) -> str:
    """Return the name of a question: equal for equal stores and settings, whatever their paths."""
    parts: dict[str, Any] = {
        "algorithm": ALGORITHM,
        "stores": [store.manifest.digest for store in stores],
        "labels": store_labels(config, stores),
        "twin": twin.manifest.digest if twin else None,
        "settings": config.model_dump(mode="json", exclude=set(RUN_ONLY)),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def evidence_key(config: ProbeConfig, job: Job, store: Store) -> EvidenceKey:
    """Return everything that a layer's evidence depends on; ``store`` gives the index columns."""
    return EvidenceKey(
        algorithm=ALGORITHM,
        stores=(job.store.manifest.digest, store.manifest.digest),
        layer=job.spec.name,
        role=job.role,
        columns=tuple(sorted(needed_columns(store.columns, config))),
        settings=config.model_dump(mode="json", exclude=set(RUN_ONLY | RANKING_ONLY)),
    )


def measured_evidence(config: ProbeConfig, job: Job, store: Store) -> LayerEvidence | None:
    """Read a layer's evidence, or return None when it is missing or unreadable: measuring again gives the same numbers.

    It lies beside the ranking, or under the root where a team's server leaves what it measured.
    """
    key = evidence_key(config, job, store)
    for folder in (config.out / EVIDENCE_FOLDER, shared_evidence(config)):
        try:
            if folder is not None:
                return load_evidence_of(folder, key)
        except DataError:
            continue
    return None


def shared_evidence(config: ProbeConfig) -> Path | None:
    """Return the folder of evidence that all questions to a root's server share; None where there is no root."""
    try:
        return Path(config.root or default_root()) / SERVICE / EVIDENCE_FOLDER
    except UsageError:
        return None


def existing_ranking(config: ProbeConfig, stores: Sequence[Store], twin: Store | None) -> Ranking | None:
    """Read the ranking that already answers, with all its files; None when one is missing, unreadable or of another question."""
    if any(not (config.out / name).exists() for name in (*OUTPUTS, KEY_NAME)):
        return None
    try:
        if records.load_object(config.out / KEY_NAME).get("key") != ranking_key(config, stores, twin):
            return None
        records.load(Selection, config.out / SELECTION_NAME)
        return records.load(Ranking, config.out / RANKING_NAME)
    except DataError:  # writing everything again gives the same files
        return None
