"""TrainConfig in, a TrainPlan out: the arms and runs of a comparison, what they cost, and whether they may begin; trains nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from layerscout.cache import records
from layerscout.cache.opening import open_store
from layerscout.cache.provenance import backbone_source, played_attributes
from layerscout.cache.records import Selection
from layerscout.cache.store import Store
from layerscout.errors import BudgetError, DataError, UsageError
from layerscout.extract.device import check_device, cores, torch_threads
from layerscout.extract.trust import foreign_source, made_elsewhere, trusted_backbone
from layerscout.memory import available_memory
from layerscout.rl.agents.base import Agent
from layerscout.rl.agents.divided import divided
from layerscout.rl.arms import CLIPS, ArmSpec, arms_of, check_environment, in_loop_arms
from layerscout.rl.comparison.closed_form import closed_form_arms, in_closed_form
from layerscout.rl.comparison.dreamers import dreamer_arms, replay_bytes
from layerscout.rl.comparison.extending import require_same_or_more
from layerscout.rl.comparison.learners import ActionSpace, Algorithm, algorithm_of, head_learner, settings_of, updates_within
from layerscout.rl.config import TrainConfig, comparison_key
from layerscout.rl.coverage import coverage_of
from layerscout.rl.kinds import require_same_kind
from layerscout.rl.learner_choice import choose_learner
from layerscout.rl.memory.replay import Batch
from layerscout.showing import ShownPlan
from layerscout.worlds.pixels import world_of

PILOT_UPDATES = 3


@dataclass(frozen=True)
class TrainPlan(ShownPlan):
    """What a comparison will do.

    Attributes
    ----------
    config, selection
        What was asked for, and the layers that probing chose.
    arms
        What is trained, in the order of the report.
    actions
        What the environment takes.
    key
        Names everything that decides the numbers: a folder of results belongs to one key.
    resolved
        The settings with the learner that was chosen; what trains reads these.
    algorithm_reason
        Why this learner.

    Examples
    --------
    ``selection`` is the ``selection.json`` of a probe, ``root`` the folder of its stores:

    >>> planned = plan(TrainConfig(environment="layerscout/Grid-v0", selection=selection, root=root, seeds=2, updates=100))
    >>> [arm.name for arm in planned.arms]
    ['structured_mid', 'pixels', 'scratch']
    >>> planned.algorithm, planned.describe()["runs"]
    ('iql', 6)
    >>> planned.algorithm_reason
    'the dataset was played by epsilon:0.6, an expert in 40% of the steps; implicit Q-learning stays near what was done there'
    """

    config: TrainConfig
    selection: Selection
    arms: tuple[ArmSpec, ...]
    actions: ActionSpace
    key: str
    resolved: TrainConfig
    algorithm_reason: str
    untrusted_options: dict[str, Any] = field(default_factory=dict)
    goes_on_from: int = 0  # updates or steps of the runs that are there and learn on

    @property
    def algorithm(self) -> Algorithm:
        """The learner that trains, with ``auto`` resolved by what actions the environment takes."""
        return algorithm_of(self.resolved, self.actions)

    @property
    def memory_bytes(self) -> int:
        """Feature tables (offline) or replay (online, in-loop), plus weights, target and optimiser."""
        config = self.resolved
        if self.algorithm == "dreamer":
            return replay_bytes(config)
        weights = 16 * config.seeds * sum(arm.width * sum(arm.hidden[:1] or (8,)) for arm in self.arms if arm.layer != CLIPS)
        if config.mode == "offline":
            return weights + sum(arm.store.rows * arm.width * (1 if arm.layer == CLIPS else 4) for arm in self.arms)
        kept = min(settings_of(config, self.algorithm).capacity, config.steps) * config.seeds
        on_features = [arm for arm in self.arms if arm.layer != CLIPS]
        if config.mode == "in-loop":  # arms train one after the other
            return weights + 2 * kept * _clip_bytes(self.arms[0])
        clips = [_clip_bytes(arm) for arm in self.arms if arm.layer == CLIPS]
        return weights + kept * max(8 * len(on_features) * max(arm.width for arm in on_features), 2 * max(clips, default=0))

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Runs, budget, memory and what exists already, for ``--dry-run``.

        With ``measure`` also the seconds of the updates, of which a few are tried out; in-loop updates are too costly for that.
        """
        config, exists = self.resolved, (self.config.out / "runs.json").exists() and not self.goes_on_from
        seconds = (
            0.0
            if exists or not measure
            else None
            if config.mode == "in-loop" or self.algorithm == "dreamer"
            else round(self._seconds_of_updates(), 1)
        )
        return {
            "mode": config.mode,
            "algorithm": self.algorithm,
            "algorithm_reason": self.algorithm_reason,
            "arms": [arm.name for arm in self.arms],
            "seeds": config.seeds,
            "runs": len(self.arms) * config.seeds,
            **({"updates": config.updates} if config.mode == "offline" else {"environment_steps": config.steps}),
            "memory_bytes": self.memory_bytes,
            **({"seconds_of_updates": seconds} if measure else {}),
            **self._from_elsewhere(),
            "out": str(config.out),
            "exists": exists,
            **({"goes_on_from": self.goes_on_from} if self.goes_on_from else {}),
        }

    def _from_elsewhere(self) -> dict[str, Any]:
        """What the stores say about themselves that a run would follow, with ``--trust`` where they were made elsewhere."""
        stores = {arm.store.id: arm.store for arm in self.arms}.values()
        backbones = dict(map(backbone_source, stores))
        return {
            "backbones": backbones,
            "environment_options": played_attributes(self.arms[0].store).get("options", {}),
            "to_fetch": sorted({source for store in stores if (source := foreign_source(store)) is not None}),
            "needs_trust": self.needs_trust,
        }

    @property
    def needs_trust(self) -> bool:
        """Whether a run would follow a store that was made elsewhere, and was not allowed to."""
        return not self.config.trust and (bool(self.untrusted_options) or any(foreign_source(arm.store) for arm in self.arms))

    def require_trust(self) -> None:
        """Refuse to follow what a store from elsewhere says, unless the settings allow it.

        Raises
        ------
        UsageError
            It names environment options, or a checkpoint that is not on this machine.
        """
        if self.untrusted_options:
            store, wanted = self.arms[0].store, json.dumps(self.untrusted_options, sort_keys=True)
            raise UsageError(
                f"store {store.id} was made elsewhere and wants {self.config.environment} with the options {wanted}",
                hint="--trust plays with them; --dry-run shows all that a run would follow",
            )
        for arm in self.arms:
            trusted_backbone(arm.store, self.config.trust)

    def _seconds_of_updates(self) -> float:
        """Estimate the updates of the groups on features from a few on made-up batches; acting and evaluating come on top."""
        config, seconds = self.resolved, 0.0
        arms = [arm for arm in self.arms if arm.layer != CLIPS and not in_closed_form(arm)]
        if not arms:
            return seconds
        updates = updates_within(config, self.algorithm)
        if self.goes_on_from:
            updates -= updates_within(config.lasting(self.goes_on_from), self.algorithm)
        for head, hidden in dict.fromkeys((arm.head, arm.hidden) for arm in arms):
            widths = [arm.width for arm in arms if (arm.head, arm.hidden) == (head, hidden)]
            with torch_threads(1):
                seconds += updates * seconds_of_update(config, self.actions, head, hidden, max(widths), len(widths) * config.seeds)
        return seconds


def seconds_of_update(config: TrainConfig, actions: ActionSpace, head: str, hidden: tuple[int, ...], width: int, runs: int) -> float:
    """Estimate the seconds of one update of so many runs side by side, from a few on made-up batches.

    Parameters
    ----------
    head, hidden
        What every run trains.
    width
        Features of the widest run; the others are padded to it.
    runs
        Agents in one group: arms times seeds.
    """

    def learner(own: slice) -> Agent:
        seeds = range(runs)[own]
        return head_learner(config, actions, seeds, width, [width] * len(seeds), head, hidden)

    batch, workers = settings_of(config, algorithm_of(config, actions)).batch, cores(config.threads) if config.device == "cpu" else 1
    # one thread's processor time is what an update takes, however busy the machine is now
    clock = time.process_time if config.device == "cpu" and workers == 1 else time.monotonic
    agent = divided(learner, runs, workers, batch)
    shape = (runs, batch)
    blank = np.zeros(shape, np.float32)
    action = np.zeros((*shape, actions.dimensions), np.float32) if actions.continuous else blank.astype(np.int64)
    ahead = blank if algorithm_of(config, actions) == "dqn" and config.dqn.n_step > 1 else None
    made_up = Batch(np.zeros((runs, 2 * batch, width), np.float32), action, blank, blank.astype(bool), ahead)
    agent.update(made_up)  # the first one pays for what is set up once
    began = clock()
    for _ in range(PILOT_UPDATES):
        agent.update(made_up)
    return (clock() - began) / PILOT_UPDATES


def _clip_bytes(arm: ArmSpec) -> int:
    identity = arm.store.identity
    return int(np.prod(identity["preprocessing"]["frame_shape"])) * len(identity["recipe"]["offsets"])


def plan(config: TrainConfig) -> TrainPlan:
    """Work out arms, runs and memory; trains nothing.

    Raises
    ------
    UsageError
        The selection was made from another environment, the device is not there, ``out`` holds results of other settings or of another kind, or
        the learner asked for cannot take the environment's actions.
    DataError
        A store of the selection is missing or does not fit, has no actions to learn from offline, or the environment fails.
    BudgetError
        The tables or the replay do not fit into memory.
    """
    check_device(config.device)
    if config.algorithm == "pvdr":
        raise UsageError(
            "pvdr plans towards a picture and trains on no ranked layers",
            hint="layerscout train layerscout/Dot-v0 --algorithm pvdr --mode online",
        )
    if not config.selection.exists():
        raise DataError(
            f"no selection {config.selection}: it says which layers agents are trained on",
            hint="layerscout probe STORE writes it; layerscout store ls has the stores",
        )
    require_same_kind(config)
    selection = records.load(Selection, config.selection)
    home = open_store(config.root, selection.store_id)
    check_environment(config, home, config.selection)
    attributes = played_attributes(home)
    untrusted = {} if config.trust or not made_elsewhere(home) else attributes.get("options", {})
    actions = recorded_actions(attributes) if untrusted else _actions(attributes)
    resolved, reason = choose_learner(config, actions, lambda: coverage_of(home))
    arms = _arms(selection, resolved, algorithm_of(resolved, actions))
    if config.mode == "offline":
        _check_recorded_actions(config, actions, home)
    if config.mode == "in-loop":
        arms = in_loop_arms(arms, config)
    planned = TrainPlan(config, selection, tuple(arms), actions, comparison_key(resolved, selection), resolved, reason, untrusted)
    planned = replace(planned, goes_on_from=require_same_or_more(resolved, selection, planned.key, [arm.name for arm in arms]))
    available = available_memory()
    if available is not None and planned.memory_bytes > available:
        raise BudgetError(
            f"training needs about {planned.memory_bytes / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are free",
            hint="fewer seeds, a smaller --set train.dqn.capacity, or fewer layers in the selection",
        )
    return planned


def _arms(selection: Selection, resolved: TrainConfig, algorithm: Algorithm) -> list[ArmSpec]:
    """Return the arms that are trained, then those that are solved in closed form."""
    if algorithm == "dreamer":
        return dreamer_arms(selection, resolved)
    if algorithm == "ridge":
        return [
            replace(arm, name=arm.name.removeprefix("closed form, "))
            for arm in closed_form_arms(arms_of(selection, resolved, ()), resolved)
        ]
    arms = arms_of(selection, resolved, settings_of(resolved, algorithm).hidden)
    return arms + (closed_form_arms(arms, resolved) if resolved.closed_form else [])


def recorded_actions(attributes: Mapping[str, Any]) -> ActionSpace:
    """Return what a dataset says that its environment takes, without making that environment."""
    return ActionSpace(attributes.get("action_count", 0), attributes.get("action_dimensions", 0))


def _actions(attributes: Mapping[str, Any]) -> ActionSpace:
    """Ask the environment what it takes, and refuse one that is no longer what the dataset was collected from."""
    world = world_of(attributes, 1)
    try:
        now = {"frame_shape": tuple(world.frame_shape), "action_count": world.action_count, "action_dimensions": world.action_dimensions}
        for name, value in now.items():
            recorded = attributes.get(name, value)
            if (tuple(recorded) if isinstance(recorded, list) else recorded) != value:
                raise UsageError(
                    f"{attributes['environment']} has {name} {value}, and the dataset was collected with {recorded}",
                    hint="collect, extract and probe again, or install the version of the environment that the dataset came from",
                )
        return ActionSpace.of(world)
    finally:
        world.close()


def _check_recorded_actions(config: TrainConfig, actions: ActionSpace, store: Store) -> None:
    """Refuse to learn offline from actions that the environment does not take, or from none."""
    column, values = store.columns["action"], store.index("action")
    hint = "--mode online acts for itself"
    known = np.isfinite(values).all(axis=1) if column.width is not None else values >= 0
    if not known.any():
        raise UsageError(f"store {store.id} has no actions, and learning offline needs them", hint=hint)
    if column.width is None and not actions.continuous and values.max() >= actions.count:
        message = f"store {store.id} has the action {int(values.max())}, and {config.environment} takes 0 to {actions.count - 1}"
        raise DataError(message, hint="the store was not made from this environment; collect, extract and probe again")
    if (column.width or 0) != actions.dimensions:
        here = f"continuous actions ({column.width} dimensions)" if column.width else "discrete actions"
        takes = f"continuous ones ({actions.dimensions} dimensions)" if actions.continuous else f"one of {actions.count}"
        raise UsageError(f"store {store.id} has {here}, and {config.environment} takes {takes}", hint=hint)
