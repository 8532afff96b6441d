"""What gates of PVDR ask of Dot: bounds of the world, tokenizer, dynamics, planner, pretraining and arms, each figure said beside its bar."""

from __future__ import annotations

import numpy as np
import torch
from harness import Said
from scipy import ndimage

from layerscout.rl.seeing.rollouts import evaluation_seeds
from layerscout.rl.transfer.pvdr.action_fit import explained, linear_fit
from layerscout.rl.transfer.pvdr.arms import GoalRun, evaluate, train_goal_run
from layerscout.rl.transfer.pvdr.config import ArmName, PvdrConfig
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


def bounds(said: Said, ground: str, future: int, seeds: int) -> bool:
    """Say what random play and the planner with the true dynamics reach."""
    low = success_of(HeldActions(2, 1.0, np.random.default_rng(0)), ground, 10)
    good = said.figure(f"{ground}: random play: success", low, at_most=0.10)
    high = success_of(TrueDynamics(future, "transport"), ground, seeds)
    good &= said.figure(f"{ground}: planner with the true dynamics: success", high, at_least=0.95)
    for name, kind in (("pixels and blurred pictures", "both"), ("pixels alone", "pixels")):
        said.figure(f"{ground}: the same, nearness by {name}", success_of(TrueDynamics(future, kind), ground, seeds))
    return good


def judge_tokenizer(said: Said, learned: PvdrPretraining, held: Films) -> tuple[bool, TokenStream]:
    """Say error and perplexity; return whether both bars hold, and the tokens."""
    tokenizer, shape = learned.tokenizer.eval(), learned.config.shape
    tokens = coded(tokenizer, held.frames)
    found = tokenizer_figures(tokenizer, held.frames, tokens)
    good = said.figure("tokenizer: error as a share of the frames' variance", found.error_share or 1.0, at_most=0.06)
    good &= said.figure("tokenizer: perplexity", found.perplexity, at_least=2.5)
    return good, TokenStream(tokens, held.lengths, shape.window)


def judge_dynamics(said: Said, learned: PvdrPretraining, held: TokenStream, ground: str) -> None:
    """Say held-out nats beside their baselines, and how many sampled plans show exactly one disc."""
    shape = learned.config.shape
    found = dynamics_figures(learned.dynamics.eval(), held.spread(256), learned.stream.tokens)
    said.figure("dynamics: held-out cross-entropy, nats", found.cross_entropy, f"after {learned.done[1]} updates", at_most=40)
    said.figure("dynamics: divergence of z, nats", found.divergence)
    said.figure("dynamics: baseline: entropy of each place's tokens, nats", found.marginal)
    said.figure("dynamics: baseline: the last frame copied, nats", found.copying)
    said.figure("dynamics: nats of tokens that do not change", found.unchanged, "near 0")
    said.figure("dynamics: tokens that differ from the last frame", found.copied, f"of {found.tokens}")
    said.figure("dynamics: nats of clips that stand still", found.still, "near 0")
    planner = PvdrLearner("pvdr", PvdrConfig(), learned.tokenizer, learned.dynamics, 2, 0).planner
    noise = torch.randn(64, 4, shape.z, generator=torch.Generator().manual_seed(0))
    _, plans = planner.sample(held.spread(64)[:, : shape.history], noise)
    with torch.no_grad():
        ends = ((learned.tokenizer.decode(plans[:, :, -1].flatten(0, 1)).mean(1) + 0.5) * 255).numpy()
    texture = Dot(1, ground)._ground
    share = float((discs(ends, texture if ground == "textured" else np.full_like(texture, GROUND_LIGHT)) == 1).mean())
    said.figure("dynamics: sampled plans that show exactly one disc", share, at_least=0.9)


def aligned(said: Said, learned: PvdrPretraining, ground: str, steps: int, config: PvdrConfig, seed: int) -> tuple[PvdrLearner, float]:
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
        meant = learner.alignment(z, clips.seen)
        known = learner.experience.clips(learner.experience.whole())
        linear = linear_fit(learner.dynamics.encoder(known.tokens).mean, known.actions, z, clips.actions)
    fit, free = explained(meant, clips.actions), explained(meant[visible], clips.actions[visible])
    assert linear is not None, "random actions vary"
    assert fit is not None, "random actions vary"
    assert free is not None, "those too"
    said.figure(f"alignment, seed {seed}: R² of actions from z alone, by a linear map", linear)
    said.figure(f"alignment, seed {seed}: R² of actions that no wall hindered", free, f"{visible.float().mean():.0%} of them")
    said.figure(f"alignment, seed {seed}: R² of actions", fit)
    return learner, fit


def judge_planner(said: Said, learned: PvdrPretraining, ground: str, seeds: int, config: PvdrConfig) -> None:
    """Say success of the servo, R² of the alignment, and success of the planner, over seeds of adaptation and blocks of episodes."""
    history, fits, servo, planned = learned.config.shape.history, [], [], []
    for seed in range(seeds):
        learner, fit = aligned(said, learned, ground, 1_000, config, seed)
        world = Dot(EPISODES, ground)
        servo.append(float(play_round(world, Servo(learner, world), evaluation_seeds(seed, np.arange(EPISODES)), history).reached.mean()))
        run = GoalRun("supervised", seed, lambda copies: Dot(copies, ground), (), EPISODES)
        planned.append(float(evaluate(run, learner, EPISODES).mean()))
        fits.append(fit)
        said.figure(f"servo to the chosen plan: success, seed {seed}", servo[-1])
        said.figure(f"planner: success, seed {seed}", planned[-1])
    random = success_of(HeldActions(2, 1.0, np.random.default_rng(0)), ground, 10)
    said.figure("servo to the chosen plan: success", float(np.mean(servo)), at_least=0.5)
    said.figure("alignment: R² of actions, steps of other episodes", float(np.mean(fits)), at_least=0.85)
    said.figure("planner: success", float(np.mean(planned)))
    said.figure("planner minus random: success", float(np.mean(planned)) - random, at_least=0.3)


def judge_scratch(said: Said, learned: PvdrPretraining, held: TokenStream, ground: str, seeds: int, config: PvdrConfig) -> None:
    """Say held-out nats and success with and without pretraining, after equal online updates on equal steps."""
    clips, rows = held.spread(256), {}
    for arm, name in (("supervised", "pretrained"), ("scratch", "from scratch")):
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
        said.figure(f"{name}: held-out nats", rows[arm][0], f"after {config.adapt_updates} online updates")
        said.figure(f"{name}: success", rows[arm][1])
    said.figure("pretrained minus scratch: nats", rows["supervised"][0] - rows["scratch"][0], at_most=0.0)
    said.figure("pretrained minus scratch: success", rows["supervised"][1] - rows["scratch"][1], at_least=0.0)


def judge_arms(
    said: Said, learned: PvdrPretraining, ground: str, seeds: range, config: PvdrConfig, steps: int, arms: list[ArmName]
) -> None:
    """Say what every arm reaches under one budget of environment steps, in the same 48 episodes, and whether reinforcement does harm."""
    networks, found = (learned.tokenizer, learned.dynamics), {}
    for arm in arms:
        each = []
        for seed in seeds:
            run = GoalRun(arm, seed, lambda copies: Dot(copies, ground), (steps,), EPISODES, 48)
            each.append(float(np.mean(train_goal_run(run, config, networks)[1].evaluations[-1][1])))
            said.figure(f"{arm}: success, seed {seed}", each[-1])
        found[arm] = float(np.mean(each))
        said.figure(f"{arm}: success", found[arm], f"after {steps} steps")
    if {"pvdr", "supervised"} <= set(found):
        said.figure("reinforced minus supervised alignment: success", found["pvdr"] - found["supervised"], at_least=0.0)
