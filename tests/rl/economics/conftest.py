"""Two hours at the sink through ``tiny``, with the denoising error of every row, made once."""

from __future__ import annotations

import pytest

SINK = "layerscout/Dishwashing-v0"


@pytest.fixture(scope="session")
def sink_store(tmp_path_factory, _no_waiting_for_the_disk):
    from layerscout.extract.config import ExtractConfig
    from layerscout.extract.run import plan as plan_extract
    from layerscout.extract.run import run as extract
    from layerscout.worlds.collect import plan, run
    from layerscout.worlds.config import CollectConfig

    folder = tmp_path_factory.mktemp("sink")
    data = run(plan(CollectConfig(environment=SINK, steps=120, policy="random", out=folder / "sink.h5")))
    settings = ExtractConfig(
        backbone="tiny",
        data=data,
        root=folder / "root",
        layers=("blocks.1",),
        pooling=("future/mean",),
        name="sink",
        passport_clips=0,
        denoising_error=True,
    )
    return extract(plan_extract(settings)), folder / "root"
