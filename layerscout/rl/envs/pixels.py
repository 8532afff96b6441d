"""An environment's id in, a world out: ours directly, any other Gymnasium id through an adapter."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from layerscout import registry
from layerscout.errors import DataError, MissingExtraError, UsageError, suggest
from layerscout.rl.envs.core import World
from layerscout.rl.envs.resized import Resized

FOREIGN_LARGEST = 128  # pixels: a foreign frame with a longer side is shrunk when no size is asked for
FOREIGN_SIZE = 64  # pixels: to this
MINIGRID_PREFIXES = ("MiniGrid-", "BabyAI-")


def make_world(environment_id: str, copies: int, size: int | None = None, options: Mapping[str, Any] | None = None) -> World:
    """Build ``copies`` copies of an environment.

    Parameters
    ----------
    environment_id
        One of ours (``layerscout/Grid-v0``, ``layerscout/Intercept-v0``) or any Gymnasium id, also as ``module:id``.
    copies
        How many episodes run side by side, at least 1.
    size
        Frames become ``size`` x ``size`` pixels. None: as the environment gives them, except that frames of another
        project's environment with a side above 128 pixels become 64 x 64.
    options
        Passed to the world or to ``gymnasium.make``; a mapping, because an environment may have a ``size`` of its own.

    Raises
    ------
    UsageError
        The id or an option is unknown, actions are not discrete, or the environment has no pixels.
    MissingExtraError
        A MiniGrid id without the package.
    DataError
        The environment fails when it starts.
    """
    options = dict(options or {})
    if copies < 1 or (size is not None and size < 1):
        raise UsageError(f"copies {copies} and size {size} must be at least 1", hint="give positive numbers")
    if environment_id in registry.names("world"):
        kind = registry.load("world", environment_id)
        _check_options(environment_id, kind, options)
        world: World = kind(copies, **options)
    else:
        _find(environment_id)
        from layerscout.rl.envs.gym_world import GymWorld

        world = GymWorld(environment_id, copies, **options)
        if size is None and max(world.frame_shape[:2]) > FOREIGN_LARGEST:
            size = FOREIGN_SIZE
    return world if size is None or world.frame_shape[:2] == (size, size) else Resized(world, size)


def world_of(attributes: Mapping[str, Any], copies: int) -> World:
    """Build the environment from which a dataset was collected, given the attributes of its file.

    Raises
    ------
    DataError
        The attributes name no environment: the dataset was imported.
    """
    if "environment" not in attributes:
        raise DataError("the dataset names no environment, so nothing can be played", hint="collect one with layerscout collect")
    return make_world(attributes["environment"], copies, attributes.get("size"), attributes.get("options"))


def _check_options(environment_id: str, kind: Any, options: dict[str, Any]) -> None:
    known = [name for name in inspect.signature(kind).parameters if name != "copies"]
    for name in options:
        if name not in known:
            hint = f"options of {environment_id}: {', '.join(known) or 'none'}"
            raise UsageError(f"unknown option '{name}' of {environment_id}{suggest(name, known)}", hint=hint)


def _find(environment_id: str) -> None:
    """Make sure that Gymnasium knows the id, importing what registers it."""
    import gymnasium

    if environment_id.startswith(MINIGRID_PREFIXES):
        try:
            import minigrid  # noqa: F401  importing it registers its environments
        except ImportError:
            raise MissingExtraError(f"{environment_id} needs the package minigrid", hint="pip install 'layerscout[minigrid]'") from None
    module, _, name = environment_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever a stranger's module does when it is imported
            raise UsageError(
                f"environment '{environment_id}': module '{module}' cannot be imported: {type(error).__name__}: {error}",
                hint="the word before the colon is the Python module that registers the environment; is it on PYTHONPATH?",
            ) from error
    try:
        gymnasium.spec(name)
    except gymnasium.error.Error:
        known = [*registry.names("world"), *gymnasium.registry]
        raise UsageError(
            f"unknown environment '{environment_id}'{suggest(name, known)}",
            hint=f"ours: {', '.join(registry.names('world'))}; others: any Gymnasium id, or module:id when a module registers it",
        ) from None
