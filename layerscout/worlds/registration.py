"""Our worlds in, Gymnasium ids out: ``gymnasium.make`` and ``gymnasium.make_vec`` know them after ``register()``.

Gymnasium looks at no package metadata (its entry-point group ``gymnasium.envs`` went with 1.0), so a program says
``register()`` once, or names the module that does: ``gymnasium.make("layerscout.worlds.registered:layerscout/Grid-v0")``.
"""

from __future__ import annotations

from layerscout import registry


def register() -> None:
    """Make our worlds known to Gymnasium as single and as vector environments; saying it again changes nothing.

    No time limit is registered: the worlds truncate themselves, so that single and vector environments agree.
    """
    import gymnasium

    for world in registry.names("world"):
        if world not in gymnasium.registry:
            gymnasium.register(
                world,
                entry_point="layerscout.worlds.gymnasium_api:WorldEnv",
                vector_entry_point="layerscout.worlds.gymnasium_api:WorldVectorEnv",
                kwargs={"world": world},
            )
