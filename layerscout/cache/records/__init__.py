"""The files by which stages speak: Ranking, Selection, RunRecord. JSON in, frozen models out, and back."""

from layerscout.cache.records.base import (
    Estimate,
    Record,
    as_table_value,
    encode_record,
    load,
    load_object,
    none_if_nan,
    parse_json,
    save,
    save_settings,
    validate_record,
)
from layerscout.cache.records.ranking import COST_NAME, Choice, Confirmation, Cost, LayerScore, RankedStore, Ranking, Selection
from layerscout.cache.records.runs import Arm, Budget, ReferenceReturn, Run, RunRecord

__all__ = [
    "COST_NAME",
    "Arm",
    "Budget",
    "Choice",
    "Confirmation",
    "Cost",
    "Estimate",
    "LayerScore",
    "RankedStore",
    "Ranking",
    "Record",
    "ReferenceReturn",
    "Run",
    "RunRecord",
    "Selection",
    "as_table_value",
    "encode_record",
    "load",
    "load_object",
    "none_if_nan",
    "parse_json",
    "save",
    "save_settings",
    "validate_record",
]
