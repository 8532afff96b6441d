"""Visual dynamics on Dot, gate by gate: bounds of the world, tokenizer, dynamics, plans, alignment, planning, pretraining, arms, horizon.

    python benchmarks/pvdr.py --quick                 bounds, tokenizer, cost of an update; fails outside its bars (under 60 CPU s)
    python benchmarks/pvdr.py --out FOLDER [--ground flat] [--updates 4000] [--until planner] [--future 4] [--share 1] [--seeds 3] [--recorded 19200]

Every gate is printed with its bar. What was learned is kept in FOLDER, and the same command goes on. One torch thread.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from scipy import ndimage

from layerscout.extract.backbones.pvdr import PvdrShape
from layerscout.rl.loops.checkpoint import load_checkpoint, save_checkpoint
from layerscout.rl.seeing.rollouts import evaluation_seeds
from layerscout.rl.transfer.pvdr.action_fit import explained, linear_fit
from layerscout.rl.transfer.pvdr.arms import GoalRun, evaluate, train_goal_run
from layerscout.rl.transfer.pvdr.config import ArmName, PretrainPvdrConfig, PvdrConfig
from layerscout.rl.transfer.pvdr.judging import dynamics_figures, held_out_nats, tokenizer_figures
from layerscout.rl.transfer.pvdr.learner import PvdrLearner
from layerscout.rl.transfer.pvdr.planning import nearest, picture_distance
from layerscout.rl.transfer.pvdr.pretraining import Films, PvdrPretraining
from layerscout.rl.transfer.pvdr.rounds import Deed, HeldActions, play_round
from layerscout.rl.transfer.pvdr.tokens import TokenStream, coded, pictures
from layerscout.worlds.core import StepOutcome
from layerscout.worlds.dot import GROUND_LIGHT, RANGE, SPEED, Dot
from layerscout.worlds.exploring import parse_policy
from layerscout.worlds.playing import play

EPISODES, SAMPLES = 24, 16
GATES = ("bounds", "tokenizer", "dynamics", "plans", "planner", "scratch", "arms")
LIGHT = 0.2  # above the ground: what counts as part of a disc


def films(ground: str, steps: int, seed: int) -> Films:
    """Play held random actions."""
    episodes = list(play(Dot(64, ground), parse_policy("random:8"), seed, steps))
    return Films(np.concatenate([one.frames for one in episodes]), np.array([len(one.frames) for one in episodes]))


class TrueDynamics:
    """Plans whose futures are the game's own: velocities held for n steps; the bound of what planning can do."""

    def __init__(self, future: int, kind: str) -> None:
        self.future, self.kind, self.generator = future, kind, np.random.default_rng(0)
        self.world: Dot | None = None

    def act(self, past: np.ndarray, goals: np.ndarray, live: np.ndarray) -> Deed:
        world = self.world
        assert world is not None
        velocities = self.generator.uniform(-1, 1, (SAMPLES, world.copies, 2))
        ends = np.stack([world.picture_of(np.clip(world.place + self.future * SPEED * one, *RANGE)) for one in velocities], axis=1)
        best = nearest(picture_distance(pictures(ends), pictures(goals)[:, None], self.kind)).numpy()  # type: ignore[arg-type]
        return Deed(velocities[best, np.arange(world.copies)].astype(np.float32))


class Traced(Dot):
    """Dot that remembers which moves were made in full; where a wall stood in the way, no picture tells the whole action."""

    def __init__(self, copies: int, ground: str) -> None:
        super().__init__(copies, ground)
        self.whole: list[np.ndarray] = []

    def step(self, actions: np.ndarray) -> StepOutcome:
        before = self.place.copy()
        outcome = super().step(actions)
        self.whole.append(np.abs(self.place - before - SPEED * actions).max(1) < 1e-5)
        return outcome

    def visible(self, lengths: np.ndarray) -> np.ndarray:
        """For the frames of all episodes in a row: whether the action after each was made in full; the last has none."""
        whole = np.stack(self.whole)
        return np.concatenate([np.append(whole[:steps, copy], False) for copy, steps in enumerate(lengths)])


class Servo:
    """Goes straight to the disc of the chosen plan: what plans are worth, without the alignment."""

    def __init__(self, learner: PvdrLearner, world: Dot) -> None:
        self.learner, self.world, self.ground = learner, world, pictures(world._ground.astype(np.uint8)[None, ..., None])[0]

    def act(self, past: np.ndarray, goals: np.ndarray, live: np.ndarray) -> Deed:
        learner, future = self.learner, self.learner.shape.future
        noise = torch.randn(len(past), SAMPLES, learner.shape.z, generator=learner.torch_generator)
        with torch.no_grad():
            chosen = learner.planner.choose(learner._tokens(past), pictures(goals), noise)
            ends = learner.tokenizer.decode(chosen.tokens[:, -1])
        weight = ((ends - self.ground).mean(1) - 0.1).clamp(min=0) + 1e-6
        rows = torch.arange(weight.shape[1], dtype=torch.float32)
        place = torch.stack([(weight.sum(2) * rows).sum(1), (weight.sum(1) * rows).sum(1)], 1) / weight.sum((1, 2))[:, None]
        return Deed(((place.numpy() - self.world.place) / (future * SPEED)).astype(np.float32))


def discs(ends: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Count the discs of pictures, [picture, height, width] in [0, 255]: bright regions that hang together."""
    return np.array([ndimage.label(one - ground > LIGHT * 255, np.ones((3, 3)))[1] for one in ends])


def success_of(policy: object, ground: str, seeds: int, history: int = 1) -> float:
    """Mean success over ``seeds`` blocks of evaluation episodes."""
    found = []
    for seed in range(seeds):
        world = Dot(EPISODES, ground)
        if hasattr(policy, "world"):
            policy.world = world
        found.append(play_round(world, policy, evaluation_seeds(seed, np.arange(EPISODES)), history).reached.mean())  # type: ignore[arg-type]
    return float(np.mean(found))


def say(name: str, value: float, bar: str, holds: bool | None = None) -> None:
    mark = "" if holds is None else "   holds" if holds else "   DOES NOT HOLD"
    print(f"{name:56} {value:9.3f}   {bar}{mark}", flush=True)


def bounds(ground: str, future: int, seeds: int) -> bool:
    """Print what random play and the planner with the true dynamics reach."""
    low = success_of(HeldActions(2, 1.0, np.random.default_rng(0)), ground, 10)
    high = success_of(TrueDynamics(future, "transport"), ground, seeds)
    say("random play: success", low, "at most 0.10", low <= 0.10)
    say("planner with the true dynamics: success", high, "at least 0.95", high >= 0.95)
    for name, kind in (("pixels and blurred pictures", "both"), ("pixels alone", "pixels")):
        say(f"  the same, nearness by {name}", success_of(TrueDynamics(future, kind), ground, seeds), "")
    return low <= 0.10 and high >= 0.95


def judge_tokenizer(learned: PvdrPretraining, held: Films) -> tuple[bool, TokenStream]:
    """Print error, perplexity and what a still frame costs the prior's best guess."""
    tokenizer, shape = learned.tokenizer.eval(), learned.config.shape
    tokens = coded(tokenizer, held.frames)
    found = tokenizer_figures(tokenizer, held.frames, tokens)
    share, used = found.error_share or 1.0, found.perplexity
    say("tokenizer: error as a share of the frames' variance", share, "at most 0.06", share <= 0.06)
    say("tokenizer: perplexity", used, "at least 2.5", used >= 2.5)
    return share <= 0.06 and used >= 2.5, TokenStream(tokens, held.lengths, shape.window)


def judge_dynamics(learned: PvdrPretraining, held: TokenStream, ground: str) -> bool:
    """Print held-out nats beside their baselines, and how many sampled plans show exactly one disc."""
    shape = learned.config.shape
    found = dynamics_figures(learned.dynamics.eval(), held.spread(256), learned.stream.tokens)
    say(
        f"dynamics: held-out cross-entropy after {learned.done[1]} updates",
        found.cross_entropy,
        "at most 40 nats",
        found.cross_entropy <= 40,
    )
    say("  divergence of z, nats", found.divergence, "")
    say("  baseline: entropy of each place's tokens, nats", found.marginal, "")
    say("  baseline: the last frame copied, nats", found.copying, "")
    say("  of the cross-entropy, of tokens that do not change", found.unchanged, "near 0")
    say("  tokens that differ from the last frame", found.copied, f"of {found.tokens}")
    say("  cross-entropy of clips that stand still", found.still, "near 0")
    planner = PvdrLearner("pvdr", PvdrConfig(), learned.tokenizer, learned.dynamics, 2, 0).planner
    noise = torch.randn(64, 4, shape.z, generator=torch.Generator().manual_seed(0))
    _, plans = planner.sample(held.spread(64)[:, : shape.history], noise)
    with torch.no_grad():
        ends = ((learned.tokenizer.decode(plans[:, :, -1].flatten(0, 1)).mean(1) + 0.5) * 255).numpy()
    texture = Dot(1, ground)._ground
    share = float((discs(ends, texture if ground == "textured" else np.full_like(texture, GROUND_LIGHT)) == 1).mean())
    say("dynamics: sampled plans that show exactly one disc", share, "at least 0.90", share >= 0.9)
    return found.cross_entropy <= 40 and share >= 0.9


def aligned(learned: PvdrPretraining, ground: str, steps: int, config: PvdrConfig, seed: int) -> tuple[PvdrLearner, float]:
    """Align with ``steps`` steps of held random play; return the learner and R² on steps of other episodes."""
    learner = PvdrLearner("supervised", config, learned.tokenizer, learned.dynamics, 2, seed)
    held = HeldActions(2, config.hold, np.random.default_rng(seed))
    history, copies = learner.shape.history, steps // 16
    learner.experience.add(play_round(Dot(copies, ground), held, np.arange(copies) + 10_000 * (seed + 1), history))
    learner.adapt(config.adapt_updates)
    learner.align(config.align_updates)
    other = PvdrLearner("supervised", config, learned.tokenizer, learner.dynamics, 2, seed).experience
    world = Traced(24, ground)
    played = play_round(world, held, np.arange(24) + 5_000_000, history)
    other.add(played)
    clips, visible = other.clips(other.whole()), torch.from_numpy(world.visible(played.lengths)[other.whole()])
    with torch.no_grad():
        z = learner.dynamics.encoder(clips.tokens).mean
        said = learner.alignment(z, clips.seen)
        known = learner.experience.clips(learner.experience.whole())
        print(
            f"  R² of actions from z alone, by a linear map: {linear_fit(learner.dynamics.encoder(known.tokens).mean, known.actions, z, clips.actions):.3f}"
        )
    fit, free = explained(said, clips.actions), explained(said[visible], clips.actions[visible])
    assert fit is not None, "random actions vary"
    assert free is not None, "those too"
    print(f"  R² of the {visible.float().mean():.0%} of actions that no wall hindered: {free:.3f}")
    return learner, fit


def judge_planner(learned: PvdrPretraining, ground: str, seeds: int, config: PvdrConfig) -> None:
    """Print success of the servo, R² of the alignment, and success of the planner, over seeds of adaptation and blocks of episodes."""
    history, fits, servo, planned = learned.config.shape.history, [], [], []
    for seed in range(seeds):
        learner, fit = aligned(learned, ground, 1_000, config, seed)
        world = Dot(EPISODES, ground)
        servo.append(play_round(world, Servo(learner, world), evaluation_seeds(seed, np.arange(EPISODES)), history).reached.mean())
        run = GoalRun("supervised", seed, lambda copies: Dot(copies, ground), (), EPISODES)
        planned.append(evaluate(run, learner, EPISODES).mean())
        fits.append(fit)
        print(f"  seed {seed}: servo {servo[-1]:.2f}, alignment R² {fit:.3f}, planner {planned[-1]:.2f}", flush=True)
    random = success_of(HeldActions(2, 1.0, np.random.default_rng(0)), ground, 10)
    say("servo to the chosen plan: success", float(np.mean(servo)), "at least 0.50", np.mean(servo) >= 0.5)
    say("alignment: R² of actions, steps of other episodes", float(np.mean(fits)), "at least 0.85", np.mean(fits) >= 0.85)
    gain = float(np.mean(planned)) - random
    say("planner minus random: success", gain, "at least 0.30", gain >= 0.3)


def judge_scratch(learned: PvdrPretraining, held: TokenStream, ground: str, seeds: int, config: PvdrConfig) -> None:
    """Print held-out nats and success with and without pretraining, after equal online updates on equal steps."""
    clips, rows = held.spread(256), {}
    for arm in ("supervised", "scratch"):
        nats, reached = [], []
        for seed in range(seeds):
            learner = PvdrLearner(arm, config, learned.tokenizer, learned.dynamics, 2, seed)  # type: ignore[arg-type]
            play_with = HeldActions(2, config.hold, np.random.default_rng(seed))
            learner.experience.add(play_round(Dot(62, ground), play_with, np.arange(62) + 10_000 * (seed + 1), learner.shape.history))
            learner.adapt(config.adapt_updates)
            learner.align(config.align_updates)
            nats.append(held_out_nats(learner.dynamics, clips)[0])
            reached.append(evaluate(GoalRun(arm, seed, lambda copies: Dot(copies, ground), ()), learner, EPISODES).mean())  # type: ignore[arg-type]
        rows[arm] = float(np.mean(nats)), float(np.mean(reached))
        name = "pretrained" if arm == "supervised" else "from scratch"
        print(f"  {name}: {rows[arm][0]:.1f} nats, success {rows[arm][1]:.2f} after {config.adapt_updates} online updates", flush=True)
    say("pretrained minus scratch: nats", rows["supervised"][0] - rows["scratch"][0], "below 0", rows["supervised"][0] < rows["scratch"][0])
    say(
        "pretrained minus scratch: success",
        rows["supervised"][1] - rows["scratch"][1],
        "above 0",
        rows["supervised"][1] > rows["scratch"][1],
    )


def judge_arms(learned: PvdrPretraining, ground: str, seeds: range, config: PvdrConfig, steps: int, arms: list[ArmName]) -> None:
    """Print what every arm reaches under one budget of environment steps, in the same 48 episodes, and whether reinforcement does harm."""
    networks, found = (learned.tokenizer, learned.dynamics), {}
    for arm in arms:
        each = []
        for seed in seeds:
            run = GoalRun(arm, seed, lambda copies: Dot(copies, ground), (steps,), EPISODES, 48)
            each.append(float(np.mean(train_goal_run(run, config, networks)[1].evaluations[-1][1])))
        found[arm] = float(np.mean(each))
        print(f"  {arm}: success {found[arm]:.2f} ({', '.join(f'{one:.2f}' for one in each)}) after {steps} steps", flush=True)
    if {"pvdr", "supervised"} <= set(found):
        gain = found["pvdr"] - found["supervised"]
        say("reinforced minus supervised alignment: success", gain, "at least 0", gain >= 0)


def pretrained(out: Path, config: PretrainPvdrConfig, learned: PvdrPretraining, held: Films | None, seconds: float | None) -> bool:
    """Learn until it is finished or the time is over; prints the curve. Whether it is finished."""
    file, key = out / "checkpoint.npz", config.model_dump_json(exclude={"out", "checkpoint_every", "data"})
    if (state := load_checkpoint(file, key)) is not None:
        learned.restore(state)
    began = time.process_time()
    while not learned.finished and (seconds is None or time.process_time() - began < seconds):
        before, at = list(learned.done), time.process_time()
        learned.advance(config.checkpoint_every)
        save_checkpoint(file, key, learned.state())
        if held is not None and learned.done[1] > before[1]:
            clips = TokenStream(coded(learned.tokenizer, held.frames), held.lengths, config.shape.window).spread(256)
            nats = held_out_nats(learned.dynamics.eval(), clips)
            cost = (time.process_time() - at) / (learned.done[1] - before[1])
            print(
                f"  {learned.done[1]:5} updates: held-out {nats[0]:6.1f} nats, z {nats[1]:5.1f} nats, {cost:.3f} CPU s an update",
                flush=True,
            )
    return learned.finished


def quick() -> None:
    """Hold the bounds, the tokenizer and the cost of an update against their bars."""
    good = bounds("textured", 4, 2) & bounds("flat", 4, 2)
    config = PretrainPvdrConfig(data=Path("-"), tokenizer_updates=500, updates=24)
    learned = PvdrPretraining(config, films("flat", 4_800, 1))
    while learned.done[0] < config.tokenizer_updates:
        learned.advance(100)
    good &= judge_tokenizer(learned, films("flat", 1_600, 2))[0]
    learned.advance(4)
    began = time.process_time()
    learned.advance(20)
    cost = (time.process_time() - began) / 20
    count = sum(parameter.numel() for parameter in learned.dynamics.parameters())
    say(f"update of {count:,} parameters, CPU s", cost, "at most 0.1", cost <= 0.1)
    if not (good and cost <= 0.1):
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("outputs/pvdr-gates"))
    parser.add_argument("--ground", choices=("textured", "flat"), default="flat")
    parser.add_argument("--updates", type=int, default=4_000)
    parser.add_argument("--recorded", type=int, default=19_200, help="steps of random:8 that are pretrained on")
    parser.add_argument("--codes", type=int, default=32)
    parser.add_argument("--future", type=int, default=4)
    parser.add_argument("--share", type=float, default=1.0, help="of the recordings that is pretrained on")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=get_args(ArmName), default=list(get_args(ArmName)), help="that are compared last")
    parser.add_argument("--first-seed", type=int, default=0, help="of these")
    parser.add_argument("--steps", type=int, default=4_000, help="environment steps of each of them")
    parser.add_argument("--adapt-updates", type=int, default=50, help="of the dynamics after every round of play")
    parser.add_argument("--until", choices=GATES, default=GATES[-1])
    parser.add_argument("--only", action="store_true", help="judge that gate alone")
    parser.add_argument("--pretrain-seconds", type=float, help="of the processor, in this call")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.quick:
        return quick()
    chosen.out.mkdir(parents=True, exist_ok=True)
    last = GATES.index(chosen.until)

    def asked(gate: int) -> bool:
        return last == gate if chosen.only else last >= gate

    shape = PvdrShape(codes=chosen.codes, future=chosen.future)
    config = PretrainPvdrConfig(data=Path("-"), shape=shape, updates=chosen.updates, share=chosen.share)
    trained, held = films(chosen.ground, int(chosen.recorded * chosen.share), 1), films(chosen.ground, 1_600, 2)
    if asked(0):
        bounds(chosen.ground, chosen.future, chosen.seeds)
    learned = PvdrPretraining(config, trained)
    if last >= 1:
        pretrained(chosen.out, config, learned, held, chosen.pretrain_seconds)
        stream = judge_tokenizer(learned, held)[1]
    if asked(2):
        judge_dynamics(learned, stream, chosen.ground)
    agent = PvdrConfig(samples=SAMPLES, adapt_updates=chosen.adapt_updates)
    if asked(4):
        judge_planner(learned, chosen.ground, chosen.seeds, agent)
    if asked(5):
        judge_scratch(learned, stream, chosen.ground, chosen.seeds, agent)
    if asked(6):
        judge_arms(learned, chosen.ground, range(chosen.first_seed, chosen.first_seed + chosen.seeds), agent, chosen.steps, chosen.arms)
    print(json.dumps({"out": str(chosen.out), "updates": learned.done[1]}))
    return None


if __name__ == "__main__":
    main()
