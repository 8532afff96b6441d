"""Agents trained on a mirror of a shared store are those trained on the store, and only the selected layers come."""

from __future__ import annotations

from by_hand import select, settings, without_times

from layerscout.cache.opening import open_store
from layerscout.cache.remote.transfer import push
from layerscout.rl.run import plan, run


def test_training_reads_the_selected_layers_from_the_place_and_gives_the_same_agents(small, synthetic_store, tmp_path):
    choices = (("ranked", synthetic_store, "structured_mid"), ("pixels", synthetic_store, "pixels"))
    selection = select(tmp_path / "grid.json", *choices)
    place = (tmp_path / "place").as_uri()
    push(synthetic_store, place)
    mirror = open_store(tmp_path / "reader", f"{place}/{synthetic_store.id}")
    assert mirror.layers_here == ()
    made = [settings(selection, tmp_path / root.name, root, updates=20, trust=True) for root in (small.root, tmp_path / "reader")]
    near, far = (run(plan(one)) for one in made)
    assert without_times(far) == without_times(near)
    assert set(open_store(tmp_path / "reader", synthetic_store.id).layers_here) == {"structured_mid", "pixels"}
    assert not (tmp_path / "reader" / "stores").exists()
