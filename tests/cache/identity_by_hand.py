"""An identity for layers that a test makes up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from layerscout.cache.identity import SCHEMA
from layerscout.cache.store import LayerSpec


def make_identity(specs: Iterable[LayerSpec]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "backbone": {"name": "tiny", "weights_digest": "sha256:aa"},
        "recipe": {"timestep": 0.25, "noise_seed": 3},
        "preprocessing": {"clip_length": 5, "fingerprint": "sha256:bb"},
        "dataset": {"digest": "sha256:cc"},
        "layers": [{"name": spec.name, "module": spec.module, "width": spec.width, "role": spec.role} for spec in specs],
        "pooling": {"kind": "grid", "cells": [4, 4]},
        "logical_dtype": "float16",
    }
