"""layerscout: find the one layer of a frozen video model that is worth handing to a reinforcement-learning agent.

The stages are functions: ``collect``, ``import_data``, ``extract``, ``probe``, ``pretrain``, ``train``, ``transfer`` and ``report``; what they make can be opened again with
``open_store``, ``load_ranking`` and ``load_runs``; ``plan`` says what a stage would do. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# oneDNN's bfloat16 kernels for AMX give wrong numbers for a strided convolution to one column (torch 2.13), which a video model's VAE can have. It reads this
# variable once, before its first product, so it is said here; where that was too late, extract.device.check_convolutions refuses.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

# name → module and the name in it
_PUBLIC = {
    "collect": "api:collect",
    "import_data": "api:import_data",
    "extract": "api:extract",
    "probe": "api:probe",
    "pretrain": "api:pretrain",
    "train": "api:train",
    "transfer": "api:transfer",
    "report": "api:report",
    "plan": "api:plan",
    "open_store": "api:open_store",
    "load_ranking": "api:load_ranking",
    "load_runs": "api:load_runs",
    "FrozenLayer": "extract.passports.frozen_layer:FrozenLayer",
    "StreamingRidge": "probe.solve.streaming:StreamingRidge",
    "LayerscoutError": "errors:LayerscoutError",
    "UsageError": "errors:UsageError",
    "MissingExtraError": "errors:MissingExtraError",
    "DataError": "errors:DataError",
    "BudgetError": "errors:BudgetError",
}
_ROOMS = ("extract", "probe", "report")  # packages that share their name with the function that runs them
__all__ = [*_PUBLIC, "__version__"]

if TYPE_CHECKING:
    from layerscout.api import collect as collect
    from layerscout.api import extract as extract
    from layerscout.api import import_data as import_data
    from layerscout.api import load_ranking as load_ranking
    from layerscout.api import load_runs as load_runs
    from layerscout.api import open_store as open_store
    from layerscout.api import plan as plan
    from layerscout.api import pretrain as pretrain
    from layerscout.api import probe as probe
    from layerscout.api import report as report
    from layerscout.api import train as train
    from layerscout.api import transfer as transfer
    from layerscout.errors import BudgetError as BudgetError
    from layerscout.errors import DataError as DataError
    from layerscout.errors import LayerscoutError as LayerscoutError
    from layerscout.errors import MissingExtraError as MissingExtraError
    from layerscout.errors import UsageError as UsageError
    from layerscout.extract.passports.frozen_layer import FrozenLayer as FrozenLayer
    from layerscout.probe.solve.streaming import StreamingRidge as StreamingRidge


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"layerscout.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'layerscout' has no attribute '{name}'")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(f"layerscout.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


class _Room(ModuleType):
    """A stage's package that can be called: ``layerscout.extract("tiny", data)``, beside ``layerscout.extract.config``."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._function(*arguments, **keywords)

    @property
    def _function(self) -> Any:
        return getattr(importlib.import_module("layerscout.api"), self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> Any:  # what a notebook shows of the call
        return importlib.import_module("inspect").signature(self._function)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ROOMS and isinstance(value, ModuleType):  # Python sets a package's attribute when it has imported the module
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
