"""Name → "module:object", loaded on first use, so that listing names imports nothing heavy."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from layerscout.errors import LayerscoutError, UsageError, suggest

REGISTRY: dict[str, dict[str, str]] = {
    "backbone": {
        "tiny": "layerscout.extract.backbones.tiny:pretrained",
        "tiny-untrained": "layerscout.extract.backbones.tiny:untrained",
        "tiny-2": "layerscout.extract.backbones.tiny:second_pretrained",
        "tiny-2-untrained": "layerscout.extract.backbones.tiny:second_untrained",
        "synthetic": "layerscout.extract.backbones.synthetic:build",
        "cogvideox": "layerscout.extract.backbones.denoisers.cogvideox:build",
        "wan": "layerscout.extract.backbones.denoisers.wan:build",
        "ltx": "layerscout.extract.backbones.denoisers.ltx:build",
        "hunyuan": "layerscout.extract.backbones.denoisers.hunyuan:build",
        "hunyuan15": "layerscout.extract.backbones.denoisers.hunyuan15:build",
        "mochi": "layerscout.extract.backbones.denoisers.mochi:build",
        "svd": "layerscout.extract.backbones.denoisers.svd:build",
        "cosmos": "layerscout.extract.backbones.denoisers.cosmos:build",
        "vjepa2": "layerscout.extract.backbones.encoders.vjepa2:build",
        "videomae": "layerscout.extract.backbones.encoders.videomae:build",
        "timesformer": "layerscout.extract.backbones.encoders.timesformer:build",
        "vivit": "layerscout.extract.backbones.encoders.vivit:build",
        "r3d18": "layerscout.extract.backbones.r3d:build",
        "apv": "layerscout.rl.transfer.apv.backbone:build",
        "pvdr": "layerscout.extract.backbones.pvdr:build",
        "transnet": "layerscout.extract.backbones.transnet:pretrained",
        "transnet-untrained": "layerscout.extract.backbones.transnet:untrained",
    },
    "importer": {
        "minari": "layerscout.cache.importers.formats.minari:Minari",
        "robomimic": "layerscout.cache.importers.formats.robomimic:Robomimic",
        "maniskill": "layerscout.cache.importers.formats.maniskill:ManiSkill",
        "aloha": "layerscout.cache.importers.formats.aloha:Aloha",
        "d4rl": "layerscout.cache.importers.formats.d4rl:D4rl",
        "npz": "layerscout.cache.importers.formats.npz:Npz",
        "lerobot": "layerscout.cache.importers.formats.lerobot:LeRobot",
        "video": "layerscout.cache.importers.formats.video:Video",
        "images": "layerscout.cache.importers.formats.images:Images",
    },
    "world": {
        "layerscout/Grid-v0": "layerscout.worlds.grid:Grid",
        "layerscout/Intercept-v0": "layerscout.worlds.intercept:Intercept",
        "layerscout/Catch-v0": "layerscout.worlds.arcade.catch:Catch",
        "layerscout/Lob-v0": "layerscout.worlds.arcade.lob:Lob",
        "layerscout/TwoBalls-v0": "layerscout.worlds.arcade.two_balls:TwoBalls",
        "layerscout/Rally-v0": "layerscout.worlds.arcade.rally:Rally",
        "layerscout/Hunt-v0": "layerscout.worlds.arcade.hunt:Hunt",
        "layerscout/Maze-v0": "layerscout.worlds.arcade.maze:Maze",
        "layerscout/Keys-v0": "layerscout.worlds.arcade.keys:Keys",
        "layerscout/Dot-v0": "layerscout.worlds.dot:Dot",
        "layerscout/Dishwashing-v0": "layerscout.worlds.labour.dishwashing:Dishwashing",
        "layerscout/Bricklaying-v0": "layerscout.worlds.labour.bricklaying:Bricklaying",
    },
    "simulator": {
        "metaworld": "layerscout.worlds.simulators.meta_world:MetaWorld",
        "dm_control": "layerscout.worlds.simulators.control_suite:ControlSuite",
    },
}


def names(kind: str) -> dict[str, str]:
    """Return every known name of a kind with its target; entry points ``layerscout.<kind>s`` add to the built-in ones."""
    return REGISTRY[kind] | _plugins(kind)


@functools.cache
def _plugins(kind: str) -> dict[str, str]:
    """What other packages add; they are searched once, because that reads a file of every installed package."""
    return {plugin.name: plugin.value for plugin in importlib.metadata.entry_points(group=f"layerscout.{kind}s")}


def load_entry(kind: str, name: str) -> Any:
    """Import and return the object registered under ``name``, or somebody's own as ``module:function``.

    Raises
    ------
    UsageError
        The name is unknown; the message names the nearest known one. Or the module cannot be imported, or has no such function.
    """
    known = names(kind)
    if name not in known and ":" in name:
        return load_code(kind, name)
    if name not in known:
        hint = f"known {kind}s: {', '.join(sorted(known))}"
        if os.path.exists(name):  # not Path.exists, which raises where a word is too long to be a path
            raise UsageError(f"{name} is a {'folder' if os.path.isdir(name) else 'file'}, and no {kind}", hint=hint)
        raise UsageError(f"unknown {kind} '{name}'{suggest(name, known)}", hint=hint)
    module, _, attribute = known[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def is_ours(kind: str, name: str) -> bool:
    """Whether a name stands for this package's own code, and not for a plugin's or somebody's module."""
    return names(kind).get(name, "").startswith("layerscout.")


def split_source(kind: str, words: str) -> tuple[str, str | None]:
    """Cut ``NAME:SOURCE`` or ``module:function:SOURCE`` into what ``load`` takes and the source; None without a source.

    A name that is registered goes before a module of the same name.
    """
    name, _, rest = words.partition(":")
    function, _, source = rest.partition(":")
    if name not in names(kind) and function.isidentifier() and all(part.isidentifier() for part in name.split(".")):
        return f"{name}:{function}", source or None
    return name, rest or None


def load_code(kind: str, place: str) -> Any:
    """Import and return ``module:function``; a module in the current folder is found too.

    Raises
    ------
    UsageError
        There is no such module, it cannot be imported, or it has no such function.
    """
    module, _, attribute = place.partition(":")
    found = import_own(module, f"{kind} '{place}'", known=names(kind))
    if not hasattr(found, attribute):
        near = suggest(attribute, [name for name in vars(found) if not name.startswith("_")])
        raise UsageError(f"{kind} '{place}': module '{module}' has no '{attribute}'{near}", hint=f"{module} is {found.__file__}")
    return getattr(found, attribute)


def made_by_own(what: str, make: Any, *given: Any, expected: str, fits: Callable[[Any], bool], **named: Any) -> Any:
    """Call somebody's function and return what it makes; whatever goes wrong is one error that begins with ``what``.

    Parameters
    ----------
    expected
        How it is called and what it returns, in a few words.
    fits
        Whether what it returned is that.

    Raises
    ------
    UsageError
        It cannot be called, it fails, or it returns something else.
    """
    if not callable(make):
        raise UsageError(f"{what} is of type {type(make).__name__}, which cannot be called", hint=f"expected is {expected}")
    try:
        made = make(*given, **named)
    except LayerscoutError:
        raise
    except Exception as error:  # whatever a stranger's function does
        hint = f"expected is {expected}; --debug shows where it fails"
        raise UsageError(f"{what} fails: {type(error).__name__}: {error}", hint=hint) from error
    if not fits(made):
        raise UsageError(f"{what} returned an object of type {type(made).__name__}", hint=f"expected is {expected}")
    return made


def import_own(module: str, what: str, known: Iterable[str] = ()) -> Any:
    """Import somebody's module, from the current folder too; whatever goes wrong in it is one error that names it.

    Raises
    ------
    UsageError
        There is no such module, or it fails.
    """
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # at the end, so that nothing installed is hidden; and for good, because modules import when they are used
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise UsageError(f"{what}: module '{module}' cannot be imported: {error}", hint="install what it needs") from None
        message = f"{what}: there is no module '{module}'{suggest(module, known)}"
        raise UsageError(message, hint="the word before the colon is a Python module, in the current folder or on PYTHONPATH") from None
    except Exception as error:  # whatever a stranger's module does when it is imported
        message = f"{what}: module '{module}' cannot be imported: {type(error).__name__}: {error}"
        raise UsageError(message, hint=f"try it alone: python -c 'import {module}'") from error
