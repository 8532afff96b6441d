"""An environment, its options and what is to be seen of it in; a task for students and teachers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from layerscout.cache.provenance import played_attributes
from layerscout.cache.store import Store
from layerscout.errors import DataError, UsageError, suggest
from layerscout.extract.device import cores
from layerscout.rl.arms import ArmSpec
from layerscout.rl.seeing.features import FeatureObserver, Observer, encoders_of
from layerscout.rl.seeing.representation import Representation, Scaler
from layerscout.rl.seeing.rollouts import Stage
from layerscout.rl.seeing.vectors import PairObserver, StateWorld, VectorObserver, measured_scale, shows_vectors
from layerscout.rl.transfer.teacher import Teacher
from layerscout.worlds.core import World
from layerscout.worlds.pixels import is_light, make_world, side_by_side
from layerscout.worlds.reacher import SCALE, ReacherTwin

STATE = "the state"
MANY, FEW = 64, 8  # games of random play over which a state is scaled: of light worlds, and of simulators

MakeObserver = Callable[[Int[np.ndarray, " copy"]], Observer]


@dataclass(frozen=True)
class Eyes:
    """What is seen of a world, whichever its options are.

    Attributes
    ----------
    width, sees
        Numbers that are seen, and what they are.
    scale
        What is done to the environment's own numbers (or the layer's) before they are seen.
    wrap, make_observer
        What stands between a world and what looks at its frames; what looks at the copies of which runs.
    size
        Side of the pictures, pixels; None: as the environment gives them.
    """

    width: int
    sees: str
    scale: Scaler
    wrap: Callable[[World], World]
    make_observer: MakeObserver
    size: int | None = None


@dataclass(frozen=True)
class TransferTask:
    """Where students play, and what they see of it.

    Attributes
    ----------
    make_world, make_observer
        Give so many copies of the game, and what looks at the copies of which runs.
    width
        Numbers that a student sees.
    dimensions, actions
        Of a continuous action, or how many discrete ones; the other is 0.
    extra
        Numbers that come after those and only a teacher sees.
    sees, scale
        What a student's numbers are, and what was done to them.
    teacher_sees, teacher_scale
        The same of a teacher's.
    together
        How many games are held at once while agents are evaluated; None: as many as of any light world.
    """

    make_world: Callable[[int], World]
    make_observer: MakeObserver
    width: int
    dimensions: int = 0
    actions: int = 0
    extra: int = 0
    sees: str = STATE
    scale: Scaler = field(default_factory=lambda: Scaler.unchanged(0))
    teacher_sees: str = STATE
    teacher_scale: Scaler = field(default_factory=lambda: Scaler.unchanged(0))
    together: int | None = None

    def stage(self, runs: int) -> Stage:
        """Return where so many students are evaluated, all on the same episodes."""
        return Stage(runs, self.make_world, self.make_observer, self.together)

    def fitted(self, teacher: Teacher) -> Teacher:
        """Return a teacher as a function of what is seen here: its part of the numbers found, and the scale that they have here undone.

        Raises
        ------
        UsageError
            It is of another observation or of other actions, or nearly certain of what it does.
        """
        teacher.check(self.extra or self.width, self.dimensions, self.actions, self.teacher_sees)
        return teacher.behind(self.teacher_scale, self.width if self.extra else 0)

    def freed(self, policy: Teacher) -> Teacher:
        """Return a student's policy as a teacher of the environment's own numbers, ready to be saved."""
        mean, inverse = torch.from_numpy(self.scale.mean), torch.from_numpy(self.scale.inverse)
        return replace(policy, mean=mean, inverse=inverse, sees=self.sees)


def reacher_task(distance: float = 1.0, control: float = 1.0) -> TransferTask:
    """Return the analytic twin of Reacher-v5 with these weights of the reward's parts."""
    place = f"{ReacherTwin.__module__}:{ReacherTwin.__name__}"
    options = {"distance": distance, "control": control}
    return task_in(place, options, _vector_eyes(len(SCALE)))


def task_in(environment: str, options: Mapping[str, Any], eyes: Eyes, teacher_eyes: Eyes | None = None) -> TransferTask:
    """Return the task of playing an environment with these eyes.

    Parameters
    ----------
    teacher_eyes
        What teachers see, where that is the state and students see something else.

    Raises
    ------
    UsageError
        The environment or an option is unknown, or its state has another width than the eyes take.
    """

    def wrapped(copies: int) -> World:
        world = make_world(environment, copies, eyes.size, options)
        return eyes.wrap(world) if teacher_eyes is None else StateWorld(world, teacher_eyes.scale, pictures=True)  # type: ignore[return-value]

    def paired(runs: Int[np.ndarray, " copy"]) -> Observer:
        assert teacher_eyes is not None, "otherwise the eyes' own observer looks"
        return PairObserver(eyes.make_observer(runs), len(runs), teacher_eyes.width)  # type: ignore[arg-type]

    with closing(wrapped(1)) as world:
        dimensions, actions = world.action_dimensions, world.action_count
        light = is_light(environment) or (shows_vectors(world) and not isinstance(world, StateWorld))
    its = eyes if teacher_eyes is None else teacher_eyes
    return TransferTask(
        wrapped,
        eyes.make_observer if teacher_eyes is None else paired,
        eyes.width,
        dimensions,
        0 if dimensions else actions,
        extra=0 if teacher_eyes is None else teacher_eyes.width,
        sees=eyes.sees,
        scale=eyes.scale,
        teacher_sees=its.sees,
        teacher_scale=its.scale,
        together=None if light else side_by_side(environment),
    )


def state_eyes(environment: str, options: Mapping[str, Any]) -> Eyes:
    """Return eyes for the state of an environment, scaled over random play; a world that shows vectors is seen as it shows itself.

    Raises
    ------
    UsageError
        The environment does not tell its state.
    """
    with closing(make_world(environment, MANY if is_light(environment) else FEW, None, options)) as world:
        if shows_vectors(world):
            return _vector_eyes(world.frame_shape[0])
        scale = measured_scale(world)
    width = len(scale.mean)
    return replace(_vector_eyes(width), scale=scale, wrap=partial(StateWorld, scale=scale))  # type: ignore[arg-type]


def _vector_eyes(width: int) -> Eyes:
    def observer(runs: Int[np.ndarray, " copy"]) -> Observer:
        return VectorObserver(len(runs), width)

    return Eyes(width, STATE, Scaler.unchanged(width), lambda world: world, observer)


def layer_eyes(
    environment: str,
    options: Mapping[str, Any],
    store: Store,
    layer: str,
    *,
    device: str = "cpu",
    trust: bool = False,
    threads: int | None = None,
) -> Eyes:
    """Return eyes that are one layer of the video model that filled a store, scaled over the store's rows.

    Raises
    ------
    UsageError
        The store was made from another environment, or has no such layer.
    DataError
        The environment's pictures are not those that the store was made from.
    """
    attributes = played_attributes(store)
    if attributes.get("environment") != environment:
        raise UsageError(
            f"store {store.id} was made from '{attributes.get('environment', 'an imported dataset')}', not from '{environment}'",
            hint="collect and extract this environment, or let students see the state",
        )
    if layer not in store.specs:
        raise UsageError(f"store {store.id} has no layer '{layer}'{suggest(layer, store.specs)}", hint=f"layers: {', '.join(store.specs)}")
    size = attributes.get("size")
    with closing(make_world(environment, 1, size, options)) as world:
        shown = tuple(world.frame_shape)
    recorded = tuple(attributes.get("frame_shape", shown))  # before the video model's own size, to which it brings all frames
    if shown != recorded:
        raise DataError(
            f"{environment} shows {shown} with these options, and store {store.id} was made from {recorded}", hint="collect again"
        )
    arm = ArmSpec(layer, "ranked", layer, store, "mlp", (), None)
    seen = Representation.measure(arm, standardise=True)
    encoders = cache(lambda: encoders_of([arm], device, trust))  # the model is loaded when somebody looks, not to plan

    def observer(runs: Int[np.ndarray, " copy"]) -> Observer:
        return FeatureObserver([arm], [seen], np.zeros(len(runs), np.int64), encoders(), cores(threads))

    model = store.identity["backbone"]
    sees = f"{layer} of {model.get('name')} {str(model.get('weights_digest', ''))[:19]}".strip()
    return Eyes(arm.width, sees, seen.scaler, lambda world: world, observer, size)
