"""The probe's own settings in; what somebody may ask over a network, which names no place, out."""

from __future__ import annotations

import copy
from typing import Any

from pydantic import ConfigDict, Field, create_model

from layerscout.probe.config import RUN_ONLY, ProbeConfig
from layerscout.settings import Config

STORES = ("store", "others", "twin")
NAMES = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"  # ids and names; never a path, never a URL
MOST_STORES, MOST_VALUES = 16, 200


def _asked() -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, field in ProbeConfig.model_fields.items():
        if name not in RUN_ONLY:
            fields[name] = (field.rebuild_annotation(), copy.copy(field))
    word = Field(pattern=NAMES, description="A store's id, or its name on this server.", examples=["ls1-0123456789abcdef0123456789abcdef"])
    fields["store"] = (str, word)
    fields["others"] = (
        tuple[str, ...],
        Field(default=(), max_length=MOST_STORES, description="Ids or names of stores that are ranked together with it."),
    )
    fields["twin"] = (
        str | None,
        Field(default=None, pattern=NAMES, description="Id or name of the store of the untrained backbone on the same data."),
    )
    return fields


ProbeQuestion: type[Config] = create_model(
    "ProbeQuestion",
    __base__=Config,
    __doc__="What to probe and how: the settings of ``layerscout probe`` that change numbers. Left out: the command's own defaults.",
    __module__=__name__,
    **_asked(),
)
ProbeQuestion.model_config = ConfigDict(frozen=True, extra="forbid")


def settings_of(question: Any) -> dict[str, Any]:
    """Return the settings that change numbers, without the stores."""
    return {name: value for name, value in question.model_dump(mode="json").items() if name not in STORES}
