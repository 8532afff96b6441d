"""Any torch module and names of modules inside it in, a backbone out: widths and token grids are found by one blank pass."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.errors import DataError, UsageError, suggest
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo
from layerscout.extract.backbones.loaded import LoadedBackbone, digest_tensors
from layerscout.extract.backbones.own_code import code_of
from layerscout.extract.backbones.views import View, first_tensor, read_view
from layerscout.extract.checkpoints.states import fitted

SEED = 0  # of the weights that a module draws for itself
CLIPS = 2  # in the blank pass; one clip could not be told from one frame
INPUTS = {  # how the module wants its pixels, from [clip, time, channel, height, width]
    "clip channel time height width": lambda pixels: pixels.transpose(1, 2),
    "clip time channel height width": lambda pixels: pixels,
    "frame channel height width": lambda pixels: pixels.flatten(0, 1),  # an image model: every frame by itself
    "clip channel height width": lambda pixels: pixels.flatten(1, 2),  # frames stacked as channels
}


def from_module(
    name: str,
    make_module: Callable[[], nn.Module],
    module_names: Sequence[str],
    *,
    frames: int,
    size: tuple[int, int],
    stride: int = 1,
    takes: str = "clip channel time height width",
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    std: Sequence[float] = (0.5, 0.5, 0.5),
    grid: tuple[int, int, int] | None = None,
    class_tokens: int = 0,
    default_pooling: str = "all/mean",
    weights: Callable[[], dict[str, Tensor]] | None = None,
    strict: bool = True,
    identity: dict[str, Any] | None = None,
) -> Backbone:
    """Describe a backbone made of a torch module of yours.

    The module is made once on the meta device, without memory for weights, and sees one blank batch there; what the
    named modules put out tells their widths, their token grids and their order. Each of them must run once a pass and
    put out one of [clip, feature, time, height, width], [clip, feature, height, width], [clip, token, feature] or
    [clip, feature]; where every frame passes by itself, the first axis holds clips x frames. Of a tuple, the first entry counts.

    Parameters
    ----------
    make_module
        Makes a new module, with random weights unless it loads its own; its random numbers start from seed 0.
    module_names
        Names as in ``named_modules()``; they become the layers' names.
    frames, stride
        A clip is ``frames`` frames, ``stride`` steps apart, the last at the row's own step.
    size
        Height and width in pixels that the module takes.
    takes
        Axes of its input: one of ``INPUTS``.
    mean, std
        Per channel, of pixels in [0, 1]; 0.5 and 0.5 bring them to [-1, 1].
    grid
        Time, height and width of the tokens of [clip, token, feature] outputs, row-major; (1, height, width) where every
        frame passes by itself.
    class_tokens
        How many of such tokens come before the video's.
    weights
        Returns the state to load into the module, e.g. ``lambda: read_state(path)`` (see `read_state`). It is not called for a
        description. Numbers with a scale beside them are multiplied by it, and other quantised formats refused.
    strict
        Whether the state must be the module's whole state and nothing else; without it, what is missing stays as the module makes
        it, and what belongs to nothing is dropped.
    identity
        Further values that change the numbers, as plain JSON.

    Raises
    ------
    UsageError
        An unknown ``takes`` or module name, a module that does not run once a pass, or an output of another shape.
    """
    if takes not in INPUTS:
        raise UsageError(f"unknown input axes '{takes}'{suggest(takes, INPUTS)}", hint=f"one of: {'; '.join(INPUTS)}")
    recipe = _Recipe(name, make_module, takes, tuple(mean), tuple(std), weights, strict)
    with torch.device("meta"):
        module = recipe.made()
    outputs = _blank_pass(name, module, module_names, recipe, (CLIPS, frames, *size, len(recipe.mean)))
    views = {path: read_view(path, shape, CLIPS, frames, grid, class_tokens) for path, shape in outputs.items()}
    layers = tuple(
        LayerInfo(path, path, depth, view.width, sum(p.numel() for p in module.get_submodule(path).parameters()), view.grid)
        for depth, (path, view) in enumerate(views.items())
    )
    return Backbone(
        name=name,
        clip=ClipSpec(offsets=tuple(stride * (i + 1 - frames) for i in range(frames)), frame_shape=(*size, len(recipe.mean))),
        grid=views[layers[0].name].grid,
        layers=layers,
        default_pooling=default_pooling,
        identity={
            "class": type(module).__name__,
            "architecture": f"sha256:{hashlib.sha256(repr(module).encode()).hexdigest()}",  # strides, activations: no weight tells them
            "takes": takes,
            "mean": list(mean),
            "std": list(std),
        }
        | (identity or {}),
        weights_digest=lambda: recipe.digest(module),
        load=lambda device, dtype=torch.float32: _LoadedModule(recipe, views, device, dtype),
        code=lambda: code_of(module.modules()),
        class_token=class_tokens > 0 and all(view.class_tokens and not view.frames for view in views.values()),
    )


@dataclass(frozen=True)
class _Recipe:
    """How the module is made and fed. ``seen`` keeps the digest that was told, so that no other weights are loaded."""

    name: str
    make_module: Callable[[], nn.Module]
    takes: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: Callable[[], dict[str, Tensor]] | None
    strict: bool
    seen: list[str] = field(default_factory=list)

    def digest(self, blank: nn.Module) -> str:
        """Return the digest of what will be loaded, which must fit the module; ``blank`` is the module without memory."""
        if self.weights is not None and self.strict:
            state = self.weights()
            fitted(blank.state_dict(), state, f"the weights of {self.name}")
            self.seen[:] = [digest_tensors(state)]
        else:  # what the module draws for itself is known only when it is made
            self.seen[:] = [self._loaded()[1]]
        return self.seen[0]

    def loaded(self) -> nn.Module:
        """Make the module with its weights.

        Raises
        ------
        DataError
            The weights do not fit it, or are others than those whose digest was told.
        """
        module, digest = self._loaded()
        if self.seen and digest != self.seen[0]:
            raise DataError(f"the weights of {self.name} changed since their digest was taken", hint="run the same command again")
        return module

    def _loaded(self) -> tuple[nn.Module, str]:
        module = self.made()
        if self.weights is None:
            return module, digest_tensors(module.state_dict())
        state = self.weights()
        digest = digest_tensors(state)
        module.load_state_dict(fitted(module.state_dict(), state, f"the weights of {self.name}", self.strict), strict=self.strict)
        # without strictness the module adds weights of its own
        return module, digest if self.strict else digest_tensors(module.state_dict())

    def made(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return self.make_module().eval().requires_grad_(False)

    def inputs(self, clip: UInt8[Tensor, "clip time height width channel"], dtype: torch.dtype) -> Tensor:
        """Scale uint8 pixels on the device that they are on, and order the axes as the module wants them."""
        scaled = clip.to(torch.float32) / 255
        mean, std = (torch.tensor(values, device=clip.device) for values in (self.mean, self.std))
        return INPUTS[self.takes](((scaled - mean) / std).permute(0, 1, 4, 2, 3)).to(dtype)


class _LoadedModule(LoadedBackbone):
    def __init__(self, recipe: _Recipe, views: dict[str, View], device: torch.device, dtype: torch.dtype) -> None:
        self.device, self._dtype, self._recipe, self._views = device, dtype, recipe, views
        self.module = recipe.loaded().to(device, dtype)
        self._last = ""
        self._stop: Any = None
        self._lock = threading.Lock()
        self._pass = threading.local()

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        self._pass.running = True
        try:
            self.module(self._recipe.inputs(clip, self._dtype))
        except _Enough:
            pass
        finally:
            self._pass.running = False

    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        return self._views[layer.module].tokens(first_tensor(output))

    def class_token(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip feature"]:
        return first_tensor(output)[:, 0]

    def truncate(self, last: LayerInfo) -> None:
        """End passes when ``last`` has run. Hooks that were registered before this call see its output, later ones may not."""
        with self._lock:
            if last.module == self._last:
                return
            if self._stop is not None:
                self._stop.remove()
            self._stop = self.module.get_submodule(last.module).register_forward_hook(self._end)
            self._last = last.module

    def _end(self, module: nn.Module, arguments: Any, output: Any) -> None:
        if getattr(self._pass, "running", False):  # the module may be somebody else's too
            raise _Enough


class _Enough(Exception):
    """The last wanted layer has run."""


def _blank_pass(name: str, module: nn.Module, paths: Sequence[str], recipe: _Recipe, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shape of what each named module puts out, in the order in which they run."""
    known = dict(module.named_modules())
    device = next((parameter.device for parameter in module.parameters()), torch.device("meta"))
    outputs: dict[str, tuple[int, ...]] = {}

    def note(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            if path in outputs:
                raise UsageError(f"module '{path}' of {name} runs more than once a pass", hint="name the modules inside it, or around it")
            outputs[path] = tuple(first_tensor(output).shape)

        return hook

    handles = []
    for path in paths:
        if path not in known or not path:
            raise UsageError(f"{name} has no module '{path}'{suggest(path, known)}", hint="names are those of module.named_modules()")
        handles.append(known[path].register_forward_hook(note(path)))
    inputs = recipe.inputs(torch.zeros(shape, dtype=torch.uint8, device=device), torch.float32)
    try:
        with torch.no_grad():
            module(inputs)
    except RuntimeError as error:
        raise UsageError(
            f"{name} does not take {CLIPS} blank clips as {tuple(inputs.shape)}, {recipe.takes}: {' '.join(str(error).split())}",
            hint="check takes, frames and size; if the meta device lacks an operation, return a module made outside of make_module",
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    silent = [path for path in paths if path not in outputs]
    if silent or not paths:
        raise UsageError(
            f"module '{silent[0]}' of {name} does not run in a pass" if silent else f"{name} names no modules", hint="name modules that run"
        )
    return outputs
