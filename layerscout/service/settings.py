"""The settings of the service: frozen, closed to unknown keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from layerscout.cluster import check_scheduler
from layerscout.settings import Config

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ServeConfig(Config):
    """Which folders are served, where, and how much work may run at once."""

    roots: tuple[str, ...] = Field(
        default=(), description="Folder of stores, or a bucket's URL; left out: LAYERSCOUT_ROOT, or the user's cache."
    )
    runs: tuple[Path, ...] = Field(default=(), description="Folder of results of probe, train and report, searched through.")
    host: str = Field(default="127.0.0.1", description="Address to listen at; any but this machine's own needs --token-file.")
    port: int = Field(default=8347, ge=0, le=65535, description="Port to listen at; 0: any that is free.")
    jobs: int = Field(default=1, ge=1, le=64, description="Jobs that run at once.")
    memory: str | None = Field(
        default=None, description="Memory for all jobs together, as 8GB; left out: 70 % of what is free at the start."
    )
    scheduler: Annotated[str | None, AfterValidator(check_scheduler)] = Field(
        default=None, description="Cluster that does the jobs' work: address of a dask scheduler (tcp://...), local, or local:N."
    )
    token_file: Path | None = Field(default=None, description="Users and the hashes of their tokens, as `serve token add` writes them.")
    allow_hosts: tuple[str, ...] = Field(default=(), description="Further name under which browsers reach this server, as behind a proxy.")
    probe_new: bool = Field(default=False, description="Probe every store that has no ranking yet, with the default settings.")
    submissions: int = Field(default=60, ge=1, le=100_000, description="Jobs that a user may submit a minute.")

    @model_validator(mode="after")
    def _guarded(self) -> ServeConfig:
        if self.host not in LOOPBACK and self.token_file is None:
            raise ValueError(f"host {self.host} can be reached from elsewhere, so who may use it must be known: give token_file")
        return self
