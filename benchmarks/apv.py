"""What action-free pretraining costs and is worth on Intercept: update cost, video loss against the mean picture, fine-tuning against scratch.

    python benchmarks/apv.py --quick [--sheeprl FOLDER]        60 updates of pretraining and the cost of updates; fails outside its bars
    python benchmarks/apv.py [--seeds 3] [--out FOLDER]        400 updates, read-outs, then 100 updates of every arm's world model
    python benchmarks/apv.py --curves outputs/apv-distance/train [--kept FILE]   what the agents of experiments/apv_distance.toml earned
    python benchmarks/apv.py --areas FILE                      the same as one JSON object, from what was kept

sheeprl is measured beside ours where its unpacked wheel is (``pip download sheeprl==0.8.4 --no-deps``): the same sizes at 64 x 64 pixels, the same batch. Times are
CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import finish

from layerscout.cache import records
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.records import RunRecord
from layerscout.cache.records.world_models import WORLD_MODEL_NAME, WorldModelRecord
from layerscout.extract.device import torch_threads
from layerscout.probe.solve.read_out import read_out
from layerscout.progress import SILENT, Reporter
from layerscout.report.numbers.statistics import mean_interval
from layerscout.report.world_models import losses_at_marks
from layerscout.rl.agents.dreamer import on_device
from layerscout.rl.comparison.dreamers import NAMES
from layerscout.rl.memory.sequences import SequenceReplay, StepWindows
from layerscout.rl.transfer.apv import pretraining
from layerscout.rl.transfer.apv.action_free import new_action_free
from layerscout.rl.transfer.apv.agent_config import DreamerConfig, TransferWay
from layerscout.rl.transfer.apv.config import APVModelConfig, PretrainAPVConfig
from layerscout.rl.transfer.apv.folder import open_folder
from layerscout.rl.transfer.apv.keeping import load_action_free
from layerscout.rl.transfer.apv.learner import DreamerLearner
from layerscout.rl.transfer.clips import FrameStream
from layerscout.worlds import collect
from layerscout.worlds.config import CollectConfig

ENVIRONMENT = "layerscout/Intercept-v0"
AT = (10, 25, 50, 100)  # updates after which a world model is measured
ARMS = {"apv-no-bonus": {}, "apv-no-bonus, not frozen": {"frozen_updates": 0}, "untrained": {}, "none": {}, "naive": {}}
SIXTY, SHARE, BALL, SHEEPRL = (
    1.2,
    0.75,
    0.6,
    1.3,
)  # bars: of the mean picture after 60 and 400 updates, R² of the ball's column, of sheeprl's cost
SIXTY_FOUR = {"size": 64, "depth": 8, "stages": 4, "published": True}


def played(folder: Path, name: str, steps: int, policy: str, seed: int, **options: Any) -> Path:
    """Collect a dataset, or find it there."""
    config = CollectConfig(environment=ENVIRONMENT, steps=steps, policy=policy, seed=seed, out=folder / f"{name}.h5", options=options)
    return collect.run(collect.plan(config), Reporter(quiet=True))


def replay_of(path: Path) -> SequenceReplay:
    """Put a dataset into the memory that agents learn from."""
    with Trajectories(path) as data:
        replay = SequenceReplay(1, int((data.lengths + 1).sum()), data.frame_shape, 3)
        for number in range(len(data)):
            episode = data.episode(number)
            replay.begin(np.zeros(1, np.int64), episode.frames[:1])
            for t in range(episode.steps):
                hot = np.eye(3, dtype=np.float32)[episode.actions[t : t + 1]]
                replay.add(episode.frames[t + 1 : t + 2], hot, episode.rewards[t : t + 1], episode.terminated[t : t + 1])
    return replay


@torch.no_grad()
def losses_of(learner: DreamerLearner, replay: SequenceReplay) -> dict[str, float]:
    """Mean losses of the world model on windows that are the same at every call."""
    config, generator, found = learner.config, np.random.default_rng(99), []
    for _ in range(8):
        windows = on_device(replay.sample(0, config.batch, config.length, generator), learner.device)
        chances = torch.from_numpy(generator.random((2, config.batch, config.length, learner.sizes.latents), dtype=np.float32))
        found.append({name: float(value) for name, value in learner.world(windows, chances).parts.items()})
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def fine_tuned(arm: str, seed: int, model: Path, train: SequenceReplay, test: SequenceReplay) -> list[dict[str, float]]:
    """Improve one arm's world model alone, and measure it at equal updates."""
    kept = open_folder(model)
    config = DreamerConfig(**ARMS[arm])
    learner = DreamerLearner(config, kept.sizes, 3, 0, arm.partition(",")[0], seed, load_action_free(kept))  # type: ignore[arg-type]
    generator, measured = np.random.default_rng([seed, 1]), []
    for update in range(1, AT[-1] + 1):
        learner._learn_world(on_device(train.sample(0, config.batch, config.length, generator), learner.device))
        learner.updates += 1
        if update in AT:
            measured.append(losses_of(learner, test) | {"updates": update})
    return measured


def pretrained(folder: Path, data: Path, updates: int, look: int) -> dict[str, Any]:
    """Pretrain at the default sizes; the same call continues."""
    config = PretrainAPVConfig(data=data, out=folder / "model", updates=updates, look_every=look, threads=1)
    return pretraining.run(pretraining.plan(config), Reporter(), read_out)


def sheeprls_seconds(folder: Path, updates: int = 3) -> float:
    """CPU seconds of one update of sheeprl's encoder, recurrent model and decoder at the sizes of ``SIXTY_FOUR``."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "rl" / "golden"))
    import sheeprl_dreamer as golden

    parts, sizes, shape = golden.sheeprl(folder), APVModelConfig(**SIXTY_FOUR), (25, 16)
    agent, normal = parts["agent"], torch.distributions.Normal
    encoder = agent.CNNEncoder(["rgb"], [3], (64, 64), sizes.depth)
    decoder = agent.CNNDecoder(["rgb"], [3], sizes.depth, sizes.features, encoder.output_dim, (64, 64))
    widths = {"latents": sizes.latents, "classes": sizes.classes, "deter": sizes.deter, "hidden": sizes.hidden}
    rssm = golden.rssm_of(parts, widths | {"embedding": encoder.output_dim, "actions": 1})
    modules = torch.nn.ModuleList([encoder, decoder, rssm])
    optimiser = torch.optim.Adam(modules.parameters(), lr=1e-3)
    frames, action, first = torch.rand(*shape, 3, 64, 64) - 0.5, torch.zeros(1, 16, 1), torch.zeros(1, 16, 1)

    def update() -> None:
        embedded = encoder({"rgb": frames})
        h, z = torch.zeros(1, 16, sizes.deter), torch.zeros(1, 16, sizes.latents, sizes.classes)
        states, seen, foretold = [], [], []
        for t in range(shape[0]):
            h, z, _, one, other = rssm.dynamic(z, h, action, embedded[t : t + 1], first)
            states.append(torch.cat([z.flatten(-2), h], -1))
            seen.append(one)
            foretold.append(other)
        decoded = torch.distributions.Independent(normal(decoder(torch.cat(states))["rgb"], 1), 3)
        logits = (torch.cat(some).unflatten(-1, (sizes.latents, sizes.classes)) for some in (foretold, seen))
        loss = parts["loss"].reconstruction_loss(
            {"rgb": decoded}, {"rgb": frames}, normal(torch.zeros(1), 1.0), torch.zeros(1), *logits, kl_regularizer=0.1
        )[0]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 100.0)
        optimiser.step()

    update()
    began = time.process_time()
    for _ in range(updates):
        update()
    return (time.process_time() - began) / updates


def seconds_an_update(config: PretrainAPVConfig, updates: int = 3) -> float:
    """Return the CPU seconds of one update on blank frames."""
    frames = np.zeros((4 * config.length, config.model.size, config.model.size, config.model.channels), np.uint8)
    stream = FrameStream(frames, np.full(2, 2 * config.length), None, "blank")
    with torch_threads(1):
        trained = pretraining._Pretraining(config, stream, SILENT, None)
        trained._update()
        began = time.process_time()
        for _ in range(updates):
            trained._update()
        return (time.process_time() - began) / updates


def agents_seconds(transfer: TransferWay, updates: int = 3) -> float:
    """CPU seconds of one update of a whole agent at the default sizes, imagination included, on blank steps."""
    config, sizes = DreamerConfig(frozen_updates=0), APVModelConfig()
    learner = DreamerLearner(config, sizes, 3, 0, transfer, 0, new_action_free(sizes, 0))
    shape, frame = (config.batch, config.length), (sizes.size, sizes.size, sizes.channels)
    columns = (np.zeros(shape, kind) for kind in (np.float32, np.bool_, np.bool_))
    blank = on_device(StepWindows(np.zeros((*shape, *frame), np.uint8), np.zeros((*shape, 3), np.float32), *columns), learner.device)
    learner.update(blank)
    began = time.process_time()
    for _ in range(updates):
        learner.update(blank)
    return (time.process_time() - began) / updates


def quick(sheeprl: Path | None, as_json: bool) -> bool:
    """Measure the cost of updates and the first 60 of them; say whether the bars hold."""
    with tempfile.TemporaryDirectory() as folder:
        measured = pretrained(Path(folder), played(Path(folder), "videos", 2_400, "epsilon:0.5", 0), 60, 60)
    share = measured["video_loss"] / measured["mean_picture"]
    blank = PretrainAPVConfig(data=Path(), threads=1)
    cost = seconds_an_update(blank)
    large = seconds_an_update(PretrainAPVConfig(data=Path(), threads=1, model=SIXTY_FOUR))
    figures = {"video loss / mean picture, 60 updates": share, "CPU s an update, 32 x 32": cost, "CPU s an update, 64 x 64": large}
    figures |= {"CPU s an update of an agent": agents_seconds("apv-no-bonus"), "the same with the bonus": agents_seconds("apv")}
    bars = {"video loss / mean picture, 60 updates": SIXTY}
    if sheeprl is not None:
        other = sheeprls_seconds(sheeprl)
        figures |= {"sheeprl's CPU s an update, 64 x 64": other, "ours / sheeprl's": large / other}
        bars["ours / sheeprl's"] = SHEEPRL
    finish("apv", ("torch", "numpy"), figures, as_json, at_most=bars)
    return all(figures[name] <= bar for name, bar in bars.items())


def whole(folder: Path, seeds: int) -> bool:
    """Pretrain 400 updates, then improve every arm's world model on 2,000 random steps; print the table and say whether the bars hold."""
    began = time.process_time()
    measured = pretrained(folder, played(folder, "videos", 9_600, "epsilon:0.5", 0), 400, 50)
    share, ball = measured["video_loss"] / measured["mean_picture"], measured["read_out"][0]
    print(
        f"400 updates: {share:.2f} of the mean picture (bar: at most {SHARE}), ball column R² {ball:.2f} (bar: at least {BALL}), {time.process_time() - began:.0f} CPU s"
    )
    train, test = (
        replay_of(played(folder, name, steps, "random", seed)) for name, steps, seed in (("train", 2_000, 11), ("test", 3_200, 12))
    )
    curves: dict[str, list[list[dict[str, float]]]] = {}
    for arm in ARMS:
        began = time.process_time()
        curves[arm] = [fine_tuned(arm, seed, folder / "model", train, test) for seed in range(seeds)]
        for part in ("picture", "reward", "divergence"):
            cells = "  ".join("/".join(f"{run[place][part]:.4g}" for run in curves[arm]) for place in range(len(AT)))
            print(f"{arm:26} {part:10} at {AT}: {cells}", flush=True)
        print(f"{arm:26} {(time.process_time() - began) / seeds / AT[-1]:.3f} CPU s an update and its share of measuring", flush=True)
    (folder / "fine-tuning.json").write_text(json.dumps(curves) + "\n")
    mine, other = (np.array([[one["picture"] for one in run] for run in curves[arm]]) for arm in ("apv-no-bonus", "untrained"))
    earlier = bool((mine[:, 1] <= other[:, 3]).all())
    print(
        f"pretrained at 25 updates against scratch at 100: {mine[:, 1].round(2)} and {other[:, 3].round(2)}; lower at each: {(mine < other).all(0)}"
    )
    return share <= SHARE and ball >= BALL and earlier and bool((mine < other).all())


def compare(folder: Path, kept: Path | None) -> None:
    """Print every arm's area under the curve less scratch's, and the reward losses at equal updates."""
    curves = curves_of(records.load(RunRecord, folder / "runs.json"), reward_losses_of(folder))
    if kept is not None:
        kept.write_text(json.dumps(curves, indent=1) + "\n")
    for arm, found in areas_of(curves).items():
        apart = found["less_scratch"]
        told = "n/a" if apart is None else f"{apart['value']:+.2f} [{apart['low']:+.2f}, {apart['high']:+.2f}]"
        print(f"{arm:26} area {found['area']:8.2f}   less scratch {told}, {found['seeds']} seeds, last episodes {found['last']:.2f}")
    for arm, losses in curves["reward_losses"].items():
        print(f"{arm:26} reward loss, seeds' means: {'  '.join(map(str, losses.values()))}")


def reward_losses_of(folder: Path) -> dict[str, dict[str, float]]:
    """Return every arm's mean reward loss at equal updates, by how many these were."""
    marks, found = losses_at_marks([records.load(WorldModelRecord, path) for path in sorted(folder.glob(f"*/{WORLD_MODEL_NAME}"))])
    return {
        arm: {str(at): round(value, 4) for at, value in zip(marks, values, strict=True) if value is not None}
        for (arm, part), values in found.items()
        if part == "reward"
    }


def curves_of(record: RunRecord, losses: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return what the references earn, of every seed of every arm the mean return of each evaluation and the final return, and the reward losses."""
    arms: dict[str, dict[str, dict[str, object]]] = {arm.name: {"curves": {}, "final": {}} for arm in record.arms}
    for run in record.runs:
        arms[run.arm]["curves"][str(run.seed)] = [[at, round(float(np.mean(values)), 4)] for at, values in run.evaluations]
        arms[run.arm]["final"][str(run.seed)] = None if run.final is None else round(run.final, 4)
    references = [one.model_dump(include={"name", "mean", "low", "high"}) for one in record.references]
    return {"references": references, "arms": arms, "reward_losses": losses}


def areas_of(curves: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return of every arm its area (mean return over all evaluations), the area less scratch's, paired by seed with a 95 % interval, and the mean final return."""
    areas = {
        arm: {seed: float(np.mean([value for _, value in curve])) for seed, curve in found["curves"].items()}
        for arm, found in curves["arms"].items()
    }
    scratch = areas[NAMES["none"]]
    told: dict[str, dict[str, Any]] = {}
    for arm, mine in areas.items():
        last = [value for value in curves["arms"][arm]["final"].values() if value is not None]
        others = [] if arm == NAMES["none"] else [mine[seed] - scratch[seed] for seed in mine if seed in scratch]
        apart = mean_interval(np.array(others))
        told[arm] = {
            "area": float(np.mean(list(mine.values()))),
            "less_scratch": None if apart is None or apart.low is None else apart.model_dump(),
            "last": float(np.mean(last)),
            "seeds": len(mine),
            "reward_losses": curves["reward_losses"].get(arm, {}),
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="with --quick: print one JSON object instead of the table")
    parser.add_argument("--curves", type=Path, help="folder of agents that experiments/apv_distance.toml trained: compare their arms")
    parser.add_argument("--areas", type=Path, help="a file that --kept wrote: compare its arms, and print JSON")
    parser.add_argument("--kept", type=Path, help="with --curves: write every seed's evaluations there as JSON")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/apv-benchmark"), help="datasets, the pretrained model, curves; the same command continues"
    )
    parser.add_argument("--sheeprl", type=Path, help="folder of sheeprl's unpacked wheel")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.curves is not None:
        compare(chosen.curves, chosen.kept)
        return
    if chosen.areas is not None:
        print(json.dumps(areas_of(json.loads(chosen.areas.read_text(encoding="utf-8")))))
        return
    holds = quick(chosen.sheeprl, chosen.json) if chosen.quick else whole(chosen.out, chosen.seeds)
    if not chosen.quick:
        print("all bars hold" if holds else "A BAR DOES NOT HOLD")
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    main()
