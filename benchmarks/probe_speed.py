"""CPU seconds of probing a layer, against scikit-learn, himalaya and dask.array on the same rows in the same process.

    python benchmarks/probe_speed.py [--quick] [--json]

12 layers of 20,000 transitions x 512 features in float16, 100 episodes, 4 actions, 5 folds of whole episodes, 10 penalties;
targets are the reward and the 512 features of the next row. Contenders take turns; every figure is the median over
rounds, of CPU seconds (all threads, though each library is held to one). What each of them does:

layerscout         reads the store with its checksums and does all that ``layerscout probe`` does with a layer: both probes
                   with nested penalties (a fold's penalty is chosen without that fold), 50 shifted rewards, the probe
                   without action, baselines, bits of action, ranks, and every figure again without each of 20 groups;
                   with float32 products also the check of what their rounding does. ``score_only`` is the same without what stands
                   beside the score, and with every penalty chosen on one partner fold (``measures=false``, ``inner=pair``): the fairest
                   comparison, for the others have one level of folds and no more than a score
scikit-learn       GridSearchCV(StandardScaler + Ridge) without the last refit, on the same folds, once for the reward and
                   once for the transition, from rows in memory: one level of folds, so that the best penalty is chosen on
                   the rows it is scored on
RidgeCV            scikit-learn's RidgeCV in float64 on the same two problems: it leaves out one row at a time, which episodes leak
                   into, and so answers an easier question
himalaya           RidgeCV in float32 (torch, CPU), the same two searches, one penalty for all targets; on a fifth of the
                   rows, which favours it
dask.array         the same search written down directly: X'X and X'Y of each fold's training rows by dask.array, then one
                   solve, prediction and R² for each penalty; synchronous scheduler

R² are compared with scikit-learn's in float64 at fixed penalties, where both fit the same: the same folds, out-of-fold
predictions put together. ``gemm_share`` is the rate of a pass over 200 rows a feature, from the store to the moments,
divided by the rate of X'Y on blocks of 2048 rows in the processor's cache; the pass must do 3 n d² floating-point
operations for the features and 2 n d for each product of a feature with an action or a target. ``--quick`` has 2 layers of
3,000 transitions, one penalty to compare at, and other bars.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import harness
import numpy as np
import probe_world
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from layerscout.memory import hold_freed
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.evidence import measure
from layerscout.probe.moments.moments import ReusableSums, accumulate
from layerscout.probe.plan import ProbePlan, plan
from layerscout.probe.work import measure_layer

FOLDS, WIDTH = 5, 512
PENALTIES = ProbeConfig(store="").penalties
AGREEMENT = {"float32": 1e-6, "float64": 1e-8}
BARS = {"float32_vs_sklearn_float64": 60.0, "float32_vs_sklearn_float32": 25.0, "float32_vs_ridgecv_float64": 20.0, "gemm_share": 0.7}
QUICK_BARS = {"float32_vs_sklearn_float64": 6.0, "gemm_share": 0.5}
HIMALAYA_SHARE = 5  # it runs on one row of so many


def planned(store: Any, root: Path, **settings: Any) -> ProbePlan:
    """The plan of a probe with every episode in the ranking, as the contenders have."""
    return plan(ProbeConfig(store=store.id, root=root, out=root / "out", folds=FOLDS, confirmation=0, **settings))


def probe(what: ProbePlan, precision: str) -> None:
    """Measure every layer, as ``layerscout probe`` does: in float64 where float32 products would move an R²."""
    space = ReusableSums()
    for job in what.jobs:
        float32_effect = measure_layer(what, job, precision, space=space)
        if float32_effect is not None:
            measure_layer(what, job, "float64", float32_effect, space=space)


def inputs_and_targets(what: ProbePlan, layer: int) -> dict[str, np.ndarray]:
    """The same problem as plain matrices."""
    z = what.store.layer(f"blocks.{layer}").all().astype(np.float64)
    transitions = what.transitions
    now = z[transitions.row]
    fold = what.split.fold_of_group[what.split.group_of_episode[transitions.episode]]
    both = np.hstack([now, transitions.inputs])
    return {"z": now, "both": both, "reward": transitions.scalars[:, 0], "next": z[transitions.row + 1], "fold": fold}


def by_sklearn(problem: dict[str, np.ndarray], dtype: str) -> None:
    """Two grid searches; ``alpha`` is a penalty times the number of training rows."""
    for x, y in (("z", "reward"), ("both", "next")):
        alphas = [penalty * len(problem[x]) * (FOLDS - 1) / FOLDS for penalty in PENALTIES]
        search = GridSearchCV(
            make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": alphas}, cv=PredefinedSplit(problem["fold"]), refit=False
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # float32 at the smallest penalty: "ill-conditioned"
            search.fit(problem[x].astype(dtype), problem[y].astype(dtype))


def by_ridgecv(problem: dict[str, np.ndarray]) -> None:
    """Two searches by leaving out one row at a time; one penalty for all targets."""
    for x, y in (("z", "reward"), ("both", "next")):
        alphas = [penalty * len(problem[x]) for penalty in PENALTIES]
        make_pipeline(StandardScaler(), RidgeCV(alphas=alphas)).fit(problem[x], problem[y])


def by_himalaya(problem: dict[str, np.ndarray]) -> None:
    """Two searches with one penalty for all targets."""
    import torch
    from himalaya.backend import set_backend
    from himalaya.ridge import RidgeCV

    torch.set_num_threads(1)
    backend = set_backend("torch", on_error="raise")
    for x, y in (("z", "reward"), ("both", "next")):
        rows = StandardScaler().fit_transform(problem[x]).astype(np.float32)
        targets = problem[y].reshape(len(rows), -1).astype(np.float32)
        alphas = np.array(PENALTIES, dtype=np.float32) * len(rows) * (FOLDS - 1) / FOLDS
        solver = {"local_alpha": False, "n_alphas_batch": 1, "warn": False}
        found = RidgeCV(alphas=alphas, fit_intercept=True, cv=PredefinedSplit(problem["fold"]), solver_params=solver)
        found.fit(backend.asarray(rows), backend.asarray(targets))


def by_dask(problem: dict[str, np.ndarray]) -> None:
    """Two searches by products of training rows."""
    import dask
    import dask.array as da
    import scipy.linalg

    with dask.config.set(scheduler="synchronous"):
        for x, y in (("z", "reward"), ("both", "next")):
            rows = da.from_array(problem[x], chunks=(4096, -1))
            targets = da.from_array(problem[y].reshape(len(problem[x]), -1), chunks=(4096, -1))
            for fold in range(FOLDS):
                train, test = np.flatnonzero(problem["fold"] != fold), np.flatnonzero(problem["fold"] == fold)
                seen, true = rows[train], targets[train]
                mean, scale, centre = dask.compute(seen.mean(axis=0), seen.std(axis=0), true.mean(axis=0))
                scale[scale == 0] = 1
                seen = (seen - mean) / scale
                xx, xy = dask.compute(seen.T @ seen, seen.T @ (true - centre))
                tested, wanted = dask.compute((rows[test] - mean) / scale, targets[test])
                for penalty in PENALTIES:
                    matrix = xx + penalty * len(train) * np.eye(len(xx))
                    weights = scipy.linalg.solve(matrix, xy, assume_a="pos")
                    r2_score(wanted, tested @ weights + centre)


def differences(what: Callable[..., ProbePlan], problem: dict[str, np.ndarray], penalties: tuple[float, ...]) -> dict[str, float]:
    """Largest |R² - scikit-learn's in float64| over penalties, of the first layer."""
    found = dict.fromkeys((f"{target}_{precision}" for target in ("reward", "transition") for precision in AGREEMENT), 0.0)
    for penalty in penalties:
        oracle = {}
        for target, x, y in (("reward", "z", "reward"), ("transition", "both", "next")):
            predicted = np.empty_like(problem[y])
            for fold in range(FOLDS):
                train, test = problem["fold"] != fold, problem["fold"] == fold
                model = make_pipeline(StandardScaler(), Ridge(alpha=penalty * train.sum()))
                predicted[test] = model.fit(problem[x][train], problem[y][train]).predict(problem[x][test])
            oracle[target] = r2_score(problem[y], predicted)
        for precision in AGREEMENT:
            one = what(precision=precision, penalties=(penalty,), shifts=0)
            moments = accumulate("", one.store.layer("blocks.0"), one.transitions, one.split, precision)
            evidence = measure("", "layer", 0, moments, one.transitions, one.split, one.config)
            for target, value in (("reward", evidence.reward_r2), ("transition", evidence.transition_r2)):
                assert value is not None
                found[f"{target}_{precision}"] = max(found[f"{target}_{precision}"], abs(value - oracle[target]))
    return found


def gemm_share(root: Path, rounds: int) -> dict[str, float]:
    """The pass over 200 rows a feature, in turns with plain products of blocks; each the median of its rounds."""
    store = probe_world.write_store(root, WIDTH * 200 // probe_world.STEPS, 1, WIDTH)
    what = planned(store, root)
    block = np.random.default_rng(0).standard_normal((2, 2048, WIDTH), dtype=np.float32)
    rates: dict[str, list[float]] = {"pass": [], "gemm": []}
    space, (actions, scalars) = ReusableSums(), (what.transitions.inputs.shape[1], what.transitions.scalars.shape[1])
    operations = len(what.transitions) * WIDTH * (3 * WIDTH + 2 * (2 * actions + scalars))
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(40):
            block[0].T @ block[1]
        rates["gemm"].append(40 * 2 * 2048 * WIDTH**2 / (time.process_time() - began) / 1e9)
        began = time.process_time()
        accumulate(
            "blocks.0", store.layer("blocks.0"), what.transitions, what.split, "float32", space=space, choose=what.work.transitions_of_span
        )
        rates["pass"].append(operations / (time.process_time() - began) / 1e9)
    median = {name: statistics.median(values) for name, values in rates.items()}
    return {"gemm_gflops": median["gemm"], "pass_gflops": median["pass"], "gemm_share": median["pass"] / median["gemm"]}


def main() -> None:
    chosen = harness.options(__doc__)
    episodes, layers, rounds = (15, 2, 2) if chosen.quick else (100, 12, 3)
    seconds: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any], times: int = 1) -> None:
        began = time.process_time()
        work()
        seconds.setdefault(name, []).append((time.process_time() - began) / times)

    hold_freed()  # as ``layerscout probe`` does for layers of this size; it helps every contender
    with threadpool_limits(limits=1), tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = probe_world.write_store(root, episodes, layers, WIDTH)
        plans = {precision: planned(store, root, precision=precision) for precision in AGREEMENT}
        plain = planned(store, root, precision="float32", inner="pair", measures=False)
        problem = inputs_and_targets(plans["float64"], 0)
        figures: dict[str, Any] = {"layers": layers, "transitions": len(problem["z"]), "rounds": rounds}
        for turn in range(rounds):
            problem = inputs_and_targets(plans["float64"], turn % layers)
            for precision, what in plans.items():
                timed(f"layerscout_{precision}", lambda what=what, precision=precision: probe(what, precision), layers)
            timed("layerscout_score_only", lambda: probe(plain, "float32"), layers)
            for dtype in AGREEMENT:
                timed(f"sklearn_{dtype}", lambda problem=problem, dtype=dtype: by_sklearn(problem, dtype))
            timed("ridgecv_float64", lambda problem=problem: by_ridgecv(problem))
            timed("dask_array_float64", lambda problem=problem: by_dask(problem))
            if find_spec("himalaya") is not None:
                fewer = {name: values[::HIMALAYA_SHARE] for name, values in problem.items()}
                timed("himalaya_float32_fewer_rows", lambda fewer=fewer: by_himalaya(fewer))
        for name, values in seconds.items():
            figures[f"{name}_cpu_s"] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
        median = {name: statistics.median(values) for name, values in seconds.items()}
        if "himalaya_float32_fewer_rows" not in median:
            figures["himalaya_float32_fewer_rows_cpu_s"] = "n/a (himalaya is not installed)"
        for precision in (*AGREEMENT, "score_only"):
            for contender in ("sklearn_float64", "sklearn_float32", "ridgecv_float64", "dask_array_float64"):
                figures[f"{precision}_vs_{contender}"] = median[contender] / median[f"layerscout_{precision}"]
        problem = inputs_and_targets(plans["float64"], 0)
        fixed = (1.0,) if chosen.quick else PENALTIES
        found = differences(lambda **settings: planned(store, root, **settings), problem, fixed)
        figures |= {f"r2_difference_{name}": f"{value:.1e}" for name, value in found.items()}
        for precision in AGREEMENT:
            figures[f"r2_difference_{precision}_of_bar"] = (
                max(found[f"{t}_{precision}"] for t in ("reward", "transition")) / AGREEMENT[precision]
            )
        figures |= gemm_share(root / "long", 3 if chosen.quick else 7)
    at_most = {f"r2_difference_{precision}_of_bar": 1.0 for precision in AGREEMENT}
    bars = QUICK_BARS if chosen.quick else BARS
    harness.finish("probe_speed", ("numpy", "scipy", "scikit-learn", "dask"), figures, chosen.json, at_least=bars, at_most=at_most)


if __name__ == "__main__":
    main()
