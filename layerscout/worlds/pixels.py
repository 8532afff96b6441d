"""An environment's id in, a world out: ours directly, a simulator's task or any other Gymnasium id as copies side by side."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from typing import Any

from layerscout import registry
from layerscout.errors import DataError, MissingExtraError, UsageError, install, suggest
from layerscout.worlds.core import World
from layerscout.worlds.resized import Resized
from layerscout.worlds.simulators.copies import Copies, Single

FOREIGN_LARGEST = 128  # pixels: a foreign frame with a longer side is shrunk when no size is asked for
FOREIGN_SIZE = 64  # pixels: to this; what is drawn here is drawn at this size
OURS_TOGETHER, SIMULATORS_TOGETHER = 1024, 64  # copies at once: ours are rows of arrays, a Meta-World task holds 26 MB
EXTRAS = {"MiniGrid-": ("minigrid", "minigrid"), "BabyAI-": ("minigrid", "minigrid"), "ALE/": ("ale_py", "ale")}  # prefix: package, extra


def make_world(environment_id: str, copies: int, size: int | None = None, options: Mapping[str, Any] | None = None) -> World:
    """Build ``copies`` copies of an environment.

    Parameters
    ----------
    environment_id
        One of ours (``layerscout/Grid-v0``, ``layerscout/Intercept-v0``), a simulator's task (``metaworld/drawer-open-v3``,
        ``dm_control/walker-walk``) or any Gymnasium id (``ALE/Breakout-v5``, ``Reacher-v5``), also as ``module:id``; or ``module:name`` of a world of one's own.
    copies
        How many episodes run side by side, at least 1.
    size
        Frames become ``size`` x ``size`` pixels. None: as the environment gives them, except that frames of another
        project's environment with a side above 128 pixels become 64 x 64. MuJoCo's pictures are drawn at this size, 64 when None.
    options
        Passed to the world or to ``gymnasium.make``; a mapping, because an environment may have a ``size`` of its own.

    Raises
    ------
    UsageError
        The id or an option is unknown, actions are neither discrete nor bounded vectors, or the environment has no pixels.
    MissingExtraError
        A package that the environment needs is not installed, or no OpenGL library works.
    DataError
        The environment fails when it starts.
    """
    options = dict(options or {})
    if copies < 1 or (size is not None and size < 1):
        raise UsageError(f"copies {copies} and size {size} must be at least 1", hint="give positive numbers")
    family, _, task = environment_id.partition("/")
    if environment_id in registry.names("world"):
        kind = registry.load_entry("world", environment_id)
        _check_options(environment_id, kind, options, given=("copies",))
        world: World = kind(copies, **options)
    elif family in registry.names("simulator"):
        kind = registry.load_entry("simulator", family)
        _check_options(environment_id, kind, options, given=("task", "size"))
        world = Copies(kind(task, size or FOREIGN_SIZE, **options), copies)
    elif (own := _own_world(environment_id)) is not None:
        _check_options(environment_id, own, options, given=("copies",))
        expected = f"{environment_id.rpartition(':')[2]}(copies), which returns a world with all that layerscout.worlds.core.World names"
        world = registry.made_by_own(f"environment '{environment_id}'", own, copies, expected=expected, fits=_is_world, **options)
    else:
        world = Copies(_gymnasium(environment_id, size, options), copies)
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


def side_by_side(environment_id: str) -> int:
    """Return how many copies of an environment are reasonably held at once."""
    return OURS_TOGETHER if is_light(environment_id) else SIMULATORS_TOGETHER


def is_light(environment_id: str) -> bool:
    """Whether copies of an environment are rows of arrays, so that hundreds of episodes without pictures take no time."""
    return environment_id in registry.names("world")


def _gymnasium(environment_id: str, size: int | None, options: dict[str, Any]) -> Single:
    specification = _find_specification(environment_id)
    from layerscout.worlds.simulators.gym_mujoco import GymMujoco, is_mujoco
    from layerscout.worlds.simulators.gym_world import GymSingle

    if is_mujoco(specification):
        return GymMujoco(environment_id, size or FOREIGN_SIZE, **options)
    return GymSingle(environment_id, options)


def _own_world(environment_id: str) -> Any:
    """Return somebody's own world, ``module:name``; None when it is an id that the module registers with Gymnasium, or none of ours to find."""
    module, _, name = environment_id.rpartition(":")
    if not module or not name.isidentifier():
        return None
    own = getattr(registry.import_own(module, f"environment '{environment_id}'"), name, None)
    if own is not None and not callable(own):
        message = f"environment '{environment_id}' is of type {type(own).__name__}, which cannot be called"
        raise UsageError(message, hint="expected is a world's class, or a function of the number of copies that makes one")
    return own if callable(own) and not hasattr(own, "metadata") else None  # gymnasium.Env has metadata, and must be registered


def _is_world(made: Any) -> bool:
    """Whether an object has what every world has."""
    return all(hasattr(made, name) for name in (*World.__annotations__, *(name for name in vars(World) if not name.startswith("_"))))


def _check_options(environment_id: str, kind: Any, options: dict[str, Any], given: tuple[str, ...]) -> None:
    known = [name for name in inspect.signature(kind).parameters if name not in given] if options else []
    for name in options:
        if name not in known:
            hint = f"options of {environment_id}: {', '.join(known) or 'none'}"
            raise UsageError(f"unknown option '{name}' of {environment_id}{suggest(name, known)}", hint=hint)


def _find_specification(environment_id: str) -> Any:
    """Return Gymnasium's specification of the id, importing what registers it."""
    import gymnasium

    for prefix, (package, extra) in EXTRAS.items():
        if environment_id.startswith(prefix):
            try:
                registering = importlib.import_module(package)  # importing it registers its environments
            except ImportError:
                message = f"{environment_id} needs the package {package}"
                raise MissingExtraError(message, hint=install(extra)) from None
            if package == "ale_py":
                registering.ALEInterface.setLoggerMode(registering.LoggerMode.Error)  # it greets on stderr for every copy
    module, _, name = environment_id.rpartition(":")
    if module:
        registry.import_own(module, f"environment '{environment_id}'")
    try:
        return gymnasium.spec(name)
    except gymnasium.error.Error:
        if module and hasattr(sys.modules[module], name):
            message = f"environment '{environment_id}' is a gymnasium.Env, which has to be registered"
            raise UsageError(
                message, hint=f"gymnasium.register('{name}-v0', entry_point={name}) in {module}, then {module}:{name}-v0"
            ) from None
        if module:
            near = suggest(name, [one for one in vars(sys.modules[module]) if not one.startswith("_")] + [*gymnasium.registry])
            message = f"environment '{environment_id}': module '{module}' has no '{name}' and registers no environment of this name{near}"
            raise UsageError(message, hint=f"{module} is {sys.modules[module].__file__}") from None
        known = [*registry.names("world"), *gymnasium.registry]
        families = ", ".join(f"{family}/TASK" for family in registry.names("simulator"))
        raise UsageError(
            f"unknown environment '{environment_id}'{suggest(name, known)}",
            hint=f"ours: {', '.join(registry.names('world'))}; simulators: {families}; others: any Gymnasium id, or module:id when a module "
            "registers it",
        ) from None
