"""A MuJoCo model and its data in, a square picture out: our own renderer, in full quality or about twenty times faster.

Shadows, reflections and multisampling take most of the time of a small picture and none of them moves anything in it.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscout.errors import UsageError, suggest
from layerscout.worlds.simulators import opengl

QUALITIES = ("fast", "full")
FREE = "free"  # the model's own bird's-eye view, which follows nothing
MOST_GEOMS = 10_000


def check_quality(environment_id: str, quality: str) -> None:
    """Refuse a quality that there is not.

    Raises
    ------
    UsageError
        ``quality`` is neither "fast" nor "full".
    """
    if quality not in QUALITIES:
        raise UsageError(
            f"{environment_id}: unknown quality '{quality}'{suggest(str(quality), QUALITIES)}",
            hint=f"quality is one of: {', '.join(QUALITIES)} (fast: no shadows, no reflections, no multisampling)",
        )


def check_camera(environment_id: str, model: Any, camera: str) -> str:
    """Return ``camera`` when the model has it: a camera's name, its number where it has no name, or "free".

    Raises
    ------
    UsageError
        The model has no such camera; the message names those that it has.
    """
    known = [*cameras(model), FREE]
    if camera not in known:
        raise UsageError(
            f"{environment_id}: unknown camera '{camera}'{suggest(str(camera), known)}", hint=f"camera is one of: {', '.join(known)}"
        )
    return camera


def cameras(model: Any) -> list[str]:
    """Return the names of a model's cameras in order, their numbers where they have none."""
    return [model.camera(number).name or str(number) for number in range(model.ncam)]


class Painter:
    """Draws any instance of one model; its OpenGL context is made for the first picture and released by ``close``.

    Parameters
    ----------
    model
        An ``mjModel`` with the meshes and textures of everything that will be drawn.
    size
        Side of the picture, pixels.
    quality
        "full" draws as the model says. "fast" draws without shadows, reflections and multisampling.
    camera
        See ``check_camera``.
    free
        For the camera "free": what to change of MuJoCo's default view (``distance``, ``azimuth``, ``elevation``, ``lookat``).
    upside_down
        Turn the picture by 180 degrees: the camera hangs upside down.
    """

    def __init__(
        self, model: Any, size: int, quality: str, camera: str, free: Mapping[str, Any] | None = None, upside_down: bool = False
    ) -> None:
        import mujoco

        self._model, self._size, self._fast, self._upside_down = model, size, quality == "fast", upside_down
        self._camera = mujoco.MjvCamera()
        if camera == FREE:
            mujoco.mjv_defaultFreeCamera(model, self._camera)
            for name in {"distance", "azimuth", "elevation", "lookat"} & set(free or {}):
                setattr(self._camera, name, (free or {})[name])
        else:
            self._camera.type, self._camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, cameras(model).index(camera)
        self._options = mujoco.MjvOption()
        self._context: Any = None

    def draw(self, model: Any, data: Any) -> NDArray[np.uint8]:
        """Return the picture of ``data``, uint8 ``[size, size, 3]``; nothing in ``model`` or ``data`` changes."""
        import mujoco

        if self._context is None:
            self._open()
        self._window.make_current()
        for number in range(model.nhfield):  # terrain may differ between episodes, and only the context holds what is drawn
            mujoco.mjr_uploadHField(model, self._context, number)
        mujoco.mjv_updateScene(model, data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        picture = np.empty((self._size, self._size, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(picture, None, self._rectangle, self._context)
        return np.ascontiguousarray(picture[:, ::-1] if self._upside_down else picture[::-1])  # OpenGL's first row is the lowest

    def close(self) -> None:
        """Release the context; a later picture would make a new one."""
        if self._context is not None:
            self._context = None
            self._release()

    def _open(self) -> None:
        import mujoco

        look, size = self._model.vis, self._size
        if self._fast:
            look.quality.offsamples = 0
            look.global_.offwidth = look.global_.offheight = size
        else:
            look.global_.offwidth, look.global_.offheight = max(size, look.global_.offwidth), max(size, look.global_.offheight)
        self._window = opengl.drawing_context(size, size)
        self._scene = mujoco.MjvScene(self._model, MOST_GEOMS)
        if self._fast:
            self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._rectangle = mujoco.MjrRect(0, 0, size, size)
        # also when nobody closes: at the interpreter's end, MuJoCo's own clean-up comes after OpenGL has gone
        self._release = weakref.finalize(self, _free, self._window, self._context)


def _free(window: Any, context: Any) -> None:
    window.make_current()
    context.free()
    window.free()
