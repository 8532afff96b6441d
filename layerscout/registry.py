"""Name → "module:object", loaded on first use, so that listing names imports nothing heavy."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from typing import Any

from layerscout.errors import UsageError, suggest

REGISTRY: dict[str, dict[str, str]] = {
    "backbone": {
        "tiny": "layerscout.extract.backbones.tiny:pretrained",
        "tiny-untrained": "layerscout.extract.backbones.tiny:untrained",
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


def load(kind: str, name: str) -> Any:
    """Import and return the object registered under ``name``.

    Raises
    ------
    UsageError
        The name is unknown; the message names the nearest known one.
    """
    known = names(kind)
    if name not in known:
        raise UsageError(f"unknown {kind} '{name}'{suggest(name, known)}", hint=f"known {kind}s: {', '.join(sorted(known))}")
    module, _, attribute = known[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
