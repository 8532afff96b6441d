"""Settings as keywords in; files, stores, rankings and records out: the stages as functions, for notebooks and programs.

Everything here is reached as ``layerscout.NAME``. Paths may begin with ``~``, as in settings.
"""

from layerscout.api.plans import Plans, plan
from layerscout.api.results import load_ranking, load_runs, open_store
from layerscout.api.stages import collect, extract, import_data, pretrain, probe, report, train, transfer

__all__ = [
    "Plans",
    "collect",
    "extract",
    "import_data",
    "load_ranking",
    "load_runs",
    "open_store",
    "plan",
    "pretrain",
    "probe",
    "report",
    "train",
    "transfer",
]
