"""A layer's evidence and the job that it answers in, one file out, and back only to the same job."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from layerscout.cache import records
from layerscout.cache.records import Record
from layerscout.errors import DataError
from layerscout.probe.evidence.evidence import LayerEvidence


class EvidenceKey(Record):
    """Everything that a layer's evidence depends on. Stores go by the digests of their manifests: two runs of one identity may differ."""

    algorithm: str
    stores: tuple[str, str]  # the layer's, and the one that gives the index columns
    layer: str
    role: Literal["layer", "control", "twin"]
    columns: tuple[str, ...]
    settings: dict[str, Any]

    @property
    def file_name(self) -> str:
        """Name of the file that keeps the evidence: a digest of everything that decides it."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


class KeptEvidence(Record):
    """One layer's evidence as a file of ``evidence/``, with the key that says what it was computed from."""

    format: Literal["layerscout-evidence/2"] = "layerscout-evidence/2"
    job: EvidenceKey
    evidence: LayerEvidence


def save_evidence(folder: Path, key: EvidenceKey, evidence: LayerEvidence) -> None:
    """Write a layer's evidence with the job that it answers."""
    records.save(KeptEvidence(job=key, evidence=evidence), folder / key.file_name)


def load_evidence_of(folder: Path, key: EvidenceKey) -> LayerEvidence:
    """Read the evidence of a job.

    Raises
    ------
    DataError
        There is none, its file is damaged, or what lies there answers another job.
    """
    path = folder / key.file_name
    kept = records.load(KeptEvidence, path)
    if kept.job != key or (kept.evidence.name, kept.evidence.role) != (key.layer, key.role):
        raise DataError(
            f"{path} is the evidence of another job: {kept.job.layer} of {kept.job.stores[0]}", hint="delete it, and probe again"
        )
    return kept.evidence
