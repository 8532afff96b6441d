"""A labour world in, what an agent is given of it out: four encoders behind one face, of which the agent knows none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt8

from layerscout.cache.opening import open_store
from layerscout.cache.provenance import played_attributes
from layerscout.cache.store import Store
from layerscout.errors import UsageError, shell, suggest
from layerscout.rl.agents.configs import SACConfig
from layerscout.rl.agents.latent_learner import LatentLearner
from layerscout.rl.arms import ArmSpec
from layerscout.rl.economics.config import EncoderConfig
from layerscout.rl.networks.latents import LATENT, LatentNetwork, OwnLosses, TunedBackbone
from layerscout.rl.seeing.features import ClipObserver, FeatureObserver, Observer, encoders_of
from layerscout.rl.seeing.pooled_layer import PooledLayer
from layerscout.rl.seeing.recorded import clip_spec
from layerscout.rl.seeing.representation import Representation
from layerscout.worlds.labour.base import LabourWorld

Observed = Shaped[np.ndarray, "copy *feature"]
Frames = UInt8[np.ndarray, "copy height width channel"]


class Sight(Protocol):
    """Looks at a world's copies: at their beginning, and after every minute. ``frames`` are there for who sees pictures."""

    def begin(self, world: LabourWorld, frames: Frames | None) -> Observed:
        """What is seen of every copy in the first moment of an hour."""

    def after(self, world: LabourWorld, frames: Frames | None) -> Observed:
        """What is seen of every copy after a minute of work."""


class StateSight:
    """The four numbers of the state: seconds, completed, attempts, errors."""

    def begin(self, world: LabourWorld, frames: Frames | None) -> Float32[np.ndarray, "copy 4"]:
        """The world's state, at the beginning and after every minute alike; ``frames`` are not looked at."""
        return world.state()

    after = begin


class FrameSight:
    """Pictures, through an observer: a frozen layer's features, or the clips themselves."""

    def __init__(self, observer: Observer, copies: int) -> None:
        self._observer, self._everyone = observer, np.arange(copies)
        self._live: Bool[np.ndarray, " copy"] = np.ones(copies, dtype=bool)

    def begin(self, world: LabourWorld, frames: Frames | None) -> Observed:
        """Fill every copy's clip with its first frame, as stores do, and return what the observer makes of it."""
        assert frames is not None, "a sight of pictures is given them"
        self._observer.start(self._everyone, frames)
        return self._observer.observe(self._live)

    def after(self, world: LabourWorld, frames: Frames | None) -> Observed:
        """Add the newest frame to every copy's clip and return what the observer makes of it."""
        assert frames is not None, "a sight of pictures is given them"
        self._observer.push(self._everyone, frames)
        return self._observer.observe(self._live)


@dataclass(frozen=True)
class Encoding:
    """One encoder, whichever: what is looked at, and what learns to make 128 numbers of it.

    Attributes
    ----------
    sight
        So many copies → what looks at them.
    shape, dtype
        Of what is looked at: what the replay keeps of a step.
    learner
        Seeds and failed runs → what makes latents; None: the agent sees what is looked at.
    features
        Width of the frozen video model's features, which are kept beside clips; 0: there is none.
    arm, seen
        The store's array, and how its rows are brought to the scale that is seen, where there is one.
    recorded_steps
        Steps of the store's own hours that the replay begins with.
    """

    sight: Callable[[int], Sight]
    shape: tuple[int, ...]
    dtype: type
    learner: Callable[[Sequence[int], Bool[np.ndarray, " run"]], LatentLearner] | None
    features: int = 0
    arm: ArmSpec | None = None
    seen: Representation | None = None
    recorded_steps: int = 0

    @property
    def sees(self) -> bool:
        """True where pictures have to be drawn for it: a layer or the pixels, not the bare state."""
        return self.shape != (4,) or self.arm is not None

    @property
    def width(self) -> int:
        """Numbers that the agent is given of a step."""
        return LATENT if self.learner is not None else self.shape[0]


def encoding_of(config: EncoderConfig, sac: SACConfig, environment: str, root: Path | None = None, trust: bool = False) -> Encoding:
    """Return the encoder that the settings name.

    Raises
    ------
    UsageError
        The store was not made from this environment, or has no such layer.
    DataError
        There is no such store.
    """

    def learner(width: int, backbone: Callable[[int], TunedBackbone] | None = None) -> Callable[..., LatentLearner]:
        hidden = config.hidden if config.hidden is not None else (256, 256) if config.kind == "mlp" else ()

        def make(seeds: Sequence[int], failed: Bool[np.ndarray, " run"]) -> LatentLearner:
            return LatentLearner(
                LatentNetwork(width, seeds, hidden),
                OwnLosses(seeds, config.consistency, config.contrastive),
                config.lr or sac.lr,
                failed,
                None if backbone is None else backbone(len(seeds)),
                config.tune_lr,
            )

        return make

    if config.kind in ("state", "mlp"):
        return Encoding(lambda copies: StateSight(), (4,), np.float32, learner(4) if config.kind == "mlp" else None)
    store = _store_of(config, environment, root)
    assert config.layer is not None, "settings of a store name a layer"
    arm = ArmSpec(config.layer, "layer", config.layer, store, "mlp", (), None)
    seen = Representation.measure(arm, standardise=True)
    if config.kind == "store":
        encoders = encoders_of([arm], "cpu", trust)

        def observer(copies: int) -> FrameSight:
            return FrameSight(FeatureObserver([arm], [seen], np.zeros(copies, dtype=np.int64), encoders, 1), copies)

        steps = store.rows if config.recorded else 0
        return Encoding(observer, (arm.width,), np.float32, learner(arm.width), arm=arm, seen=seen, recorded_steps=steps)
    clip = clip_spec(store)
    features = PooledLayer(store, config.layer, seen.scaler, trust=trust)
    return Encoding(
        lambda copies: FrameSight(ClipObserver(copies, clip), copies),
        (len(clip.offsets), *clip.frame_shape),
        np.uint8,
        learner(arm.width, lambda runs: TunedBackbone(features, runs)),
        features=arm.width,
        arm=arm,
        seen=seen,
    )


def _store_of(config: EncoderConfig, environment: str, root: Path | None) -> Store:
    store = open_store(root, str(config.store))
    played = played_attributes(store).get("environment")
    if played != environment:
        raise UsageError(
            f"store {store.id} was made from {played or 'a dataset that names no environment'}, and the work is {environment}",
            hint=f"name a store of the work's own frames; they are played by: {shell('collect', environment, '--steps', 10_000)}",
        )
    if config.layer not in store.specs:
        raise UsageError(
            f"store {store.id} has no layer '{config.layer}'{suggest(str(config.layer), store.specs)}",
            hint=f"layers: {', '.join(store.specs)}",
        )
    return store


def require_width(latents: Float32[np.ndarray, "run batch width"], width: int) -> None:
    """Refuse an encoder whose latents are not those that the agent was built for.

    Raises
    ------
    UsageError
        Its width is another.
    """
    if latents.shape[-1] != width:
        raise UsageError(
            f"the encoder gives {latents.shape[-1]} numbers, and the agent takes {width}", hint=f"end it in a layer of {width} features"
        )
