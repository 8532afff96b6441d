"""The folder of a finished experiment with labour in, what each arm earned out, as JSON.

    python benchmarks/earned.py FOLDER

Of each arm the means over seeds of its last judgement, the worst seed, the difference to the first arm, paired by seed, with its p before and after Holm, and the correlation of
novelty with the gain: what `layerscout report FOLDER` writes as a table. What cannot be computed is null.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from layerscout.cache import records
from layerscout.cache.records.work import WORK_NAME, WorkRecord
from layerscout.report.labour.compare import standings


def earned(record: WorkRecord) -> dict[str, dict[str, float | None]]:
    """Return the figures of every arm that is compared with the first: dollars an hour, error as a share, p values, a correlation."""
    return {
        row.arm.name: {
            "profit": float(np.mean(row.arm.last.profit)),
            "worst": min(row.arm.last.profit),
            "error": float(np.mean(row.arm.last.error)),
            "difference": None if row.difference is None else row.difference.value,
            "p": row.p,
            "adjusted": row.adjusted,
            "novel": None if row.novel is None else row.novel.value,
        }
        for row in standings(record)
    }


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(json.dumps(earned(records.load(WorkRecord, Path(sys.argv[1]) / WORK_NAME))))


if __name__ == "__main__":
    main()
