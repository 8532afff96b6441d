"""Stores elsewhere, a cluster that does the work, and studies among the runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from team import QUICK, World, rows, served

from layerscout.cache.opening import open_store
from layerscout.cache.remote.transfer import push
from layerscout.probe.config import ProbeConfig
from layerscout.probe.run import plan, run


def test_a_place_elsewhere_is_listed_by_its_manifests_and_takes_no_jobs(world: World, tmp_path: Path) -> None:
    here = world.copied(tmp_path)
    push(open_store(here.root, here.other), f"file://{tmp_path}/bucket")
    (tmp_path / "mine" / "stores").mkdir(parents=True)
    with served(here.config(roots=(str(tmp_path / "mine"), f"file://{tmp_path}/bucket"), runs=())) as browser:
        assert [row[10] for row in rows(browser.page("/stores"), "stores")] == ["elsewhere"]
        page = browser.page(f"/stores/{here.other}")
        assert f"layerscout store pull file://{tmp_path}/bucket/{here.other}" in page
        answer = browser.client.post("/api/v1/jobs", json={"store": here.other, "groups": 6, "folds": 3})
        assert (answer.status_code, answer.json()["kind"]) == (409, "data")
        assert "store pull" in answer.json()["hint"]


def test_a_place_that_does_not_answer_is_told_and_the_others_are_served(world: World, tmp_path: Path) -> None:
    with served(world.config(roots=(str(world.root), f"file://{tmp_path}/nothing"))) as browser:
        page = browser.page("/stores")
        assert len(rows(page, "stores")) == 3


def test_a_store_in_two_roots_is_one_and_a_twin_may_lie_in_another(world: World, tmp_path: Path) -> None:
    one, two = world.copied(tmp_path / "one"), world.copied(tmp_path / "two")
    import shutil

    shutil.rmtree(one.root / "stores" / one.twin)
    with served(one.config(roots=(str(one.root), str(two.root)), runs=())) as browser:
        assert len(rows(browser.page("/stores"), "stores")) == 3
        plan_ = browser.client.post("/api/v1/plans", json={"store": one.store, "twin": one.twin, "groups": 6, "folds": 3})
        assert plan_.status_code == 200, plan_.text
        assert plan_.json()["facts"]["twin"] == one.twin


@pytest.mark.usefixtures("quick_workers")
def test_a_cluster_does_the_work_to_the_same_bytes(world: World, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is not installed; it comes with the extra 'cluster'")
    here = world.copied(tmp_path)
    with served(here.config(runs=(), scheduler="local:1")) as browser:
        job = browser.ask(store=here.other, **QUICK)
        found = browser.until(job, "done", "failed", seconds=120)
        assert (found["state"], found["error"]) == ("done", None)
    run(plan(ProbeConfig(store=world.other, root=world.root, out=tmp_path / "fresh", threads=1, **QUICK)))
    answer = here.root / "service" / "results" / job / "ranking.json"
    assert answer.read_bytes() == (tmp_path / "fresh" / "ranking.json").read_bytes()


def test_a_study_is_among_the_runs_with_its_own_sentence(world: World, tmp_path: Path) -> None:
    from example_records import example_ranking, example_runs, example_selection

    from layerscout.cache.records import save
    from layerscout.report.experiment import gather_experiment
    from layerscout.report.study.study import study_experiments

    for name in ("a", "b"):
        save(example_ranking(), tmp_path / name / "probe" / "ranking.json")
        save(example_selection(), tmp_path / name / "probe" / "selection.json")
        save(example_runs(), tmp_path / name / "train" / "runs.json")
    study = study_experiments([gather_experiment(tmp_path / name) for name in ("a", "b")])
    save(study, tmp_path / "study" / "study.json")
    with served(world.config(runs=(tmp_path,))) as browser:
        page = browser.page("/runs")
        link = next(row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if "study" in row)
        shown = browser.page(re.findall(r"/runs/[0-9a-f]{32}", link)[0])
        assert study.analyses[0].sentence[:30] in shown.replace("&#39;", "'")
        assert len(rows(shown, "measures-1")) >= 5
