"""A chosen layer in, a Stable-Baselines3 features extractor out.

kwargs = dict(features_extractor_class=FrozenLayerExtractor, features_extractor_kwargs={"selection": "outputs/probe/selection.json"})
env = gymnasium.wrappers.FrameStackObservation(env, 3)   # as many frames as the layer's clip
model = DQN("MlpPolicy", env, policy_kwargs=kwargs)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from layerscout.errors import MissingExtraError, UsageError, install
from layerscout.rl.export.export import layer_module

try:
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
except ImportError:
    raise MissingExtraError("the export to Stable-Baselines3 needs stable-baselines3", hint=install("sb3")) from None


class FrozenLayerExtractor(BaseFeaturesExtractor):
    """Features of one frozen layer for any policy of Stable-Baselines3.

    All extractors of a process share one frozen copy, which is in no optimiser and in no saved file.

    Parameters
    ----------
    observation_space
        uint8 ``[time, height, width, channel]``, as ``gymnasium.wrappers.FrameStackObservation`` gives it (it repeats an
        episode's first frame, as the store did).
    selection, layer, root, standardise, whiten, device
        See `layerscout.rl.export.export.layer_module`.

    Raises
    ------
    UsageError
        The observation space does not hold the layer's clips.

    References
    ----------
    Raffin et al. 2021, "Stable-Baselines3: reliable reinforcement learning implementations", JMLR 22.
    """

    def __init__(
        self,
        observation_space: gymnasium.spaces.Box,
        selection: str | Path,
        layer: str | None = None,
        root: str | Path | None = None,
        standardise: bool = True,
        whiten: bool = False,
        device: str = "cpu",
    ) -> None:
        module = layer_module(selection, layer, root=root, standardise=standardise, whiten=whiten, device=device)
        shape, dtype = observation_space.shape, observation_space.dtype
        if len(shape) != 4 or shape[0] != module.frames or dtype != "uint8":
            raise UsageError(
                f"observations are {dtype} {shape}, and layer {module.layer} needs uint8 ({module.frames}, height, width, channel)",
                hint=f"env = gymnasium.wrappers.FrameStackObservation(env, {module.frames})",
            )
        super().__init__(observation_space, features_dim=module.width)
        self._layer: tuple[Any, ...] = (module,)  # in a tuple: shared, and no part of the policy's state

    def forward(self, observations: Shaped[Tensor, "batch time height width channel"]) -> Float[Tensor, "batch feature"]:
        """Features of the frozen layer; pixels come as floats in [0, 255] and are made uint8 again."""
        return self._layer[0](observations.to(torch.uint8))  # Stable-Baselines3 has made floats of them, unscaled
