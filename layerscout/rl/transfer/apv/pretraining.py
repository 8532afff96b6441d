"""PretrainAPVConfig in, a pretrained action-free model in a folder out; the same command continues bit by bit after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

import layerscout
from layerscout.cache.durable import write_atomic
from layerscout.cache.records.making import save_command
from layerscout.errors import DataError
from layerscout.extract.device import check_device, cores, torch_threads
from layerscout.extract.passes.compiling import compiling
from layerscout.progress import SILENT, Reporter
from layerscout.rl.loops.checkpoint import load_checkpoint, save_checkpoint
from layerscout.rl.transfer.apv import folder as kept
from layerscout.rl.transfer.apv.action_free import ActionFree, VideoLosses, new_action_free
from layerscout.rl.transfer.apv.config import PretrainAPVConfig
from layerscout.rl.transfer.apv.keeping import adam, save_weights
from layerscout.rl.transfer.clips import FrameStream, FrameWindows
from layerscout.rl.transfer.folders import CHECKPOINT, require_same, settings_of
from layerscout.rl.transfer.states import module_state, optimiser_state, put_module_state, put_optimiser_state
from layerscout.rl.transfer.videos import begun, count_parameters, parted, read_videos
from layerscout.showing import ShownPlan

MEASURED, FIRST_READ = 8, 3  # batches of a measurement; frames of a window from which on its state is read
# where, how far and how fast; never what an update does
EXEMPT = {"data", "out", "updates", "look_every", "device", "threads", "fps", "stride", "scale"}
# (features, state, which episode) → R² of every number of the state, or None where it does not vary
ReadOut = Callable[[Float[np.ndarray, "row feature"], Float[np.ndarray, "row target"], Int64[np.ndarray, " row"]], list[float | None]]


@dataclass(frozen=True)
class PretrainAPVPlan(ShownPlan):
    """What a pretraining will do."""

    config: PretrainAPVConfig
    parameters: int
    done: int

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Sizes, updates, and how many of them are done already, for ``--dry-run``."""
        config = self.config
        return {
            "stage": "pretrain apv",
            "data": str(config.data),
            "scale": config.scale,
            "frame_shape": [config.model.size, config.model.size, config.model.channels],
            "parameters": self.parameters,
            "memory_bytes": 16 * self.parameters,  # weights, gradients, two moments
            "updates": config.updates,
            "updates_done": self.done,
            "frames_an_update": config.batch * config.length,
            "out": str(config.out),
            "exists": self.done >= config.updates,
        }


def plan(config: PretrainAPVConfig) -> PretrainAPVPlan:
    """Say what would be done; reads no frame.

    Raises
    ------
    UsageError
        The device is not there, or the precision is not supported on it.
    DataError
        There is no such dataset, or the folder belongs to other settings.
    """
    check_device(config.device)
    state = begun(config, kept.FORMAT)
    return PretrainAPVPlan(config, count_parameters(lambda: ActionFree(config.model)), 0 if state is None else int(state["updates"]))


def run(planned: PretrainAPVPlan, reporter: Reporter = SILENT, read_out: ReadOut | None = None) -> dict[str, Any]:
    """Pretrain until the updates are done, measure now and then, and write the model.

    Parameters
    ----------
    read_out
        Judges features by what of the true state can be read from them linearly, where the dataset has a state.

    Returns
    -------
    dict
        The last measurement, and where the model is.

    Raises
    ------
    DataError
        The dataset is damaged or has no episode as long as a window; a loss is not finite; or the folder belongs to other settings.
    BudgetError
        The frames do not fit into memory, or the checkpoint not on the disk.
    MissingExtraError
        The model was to be compiled, and no compiler is there.
    """
    config = planned.config
    with torch_threads(cores(config.threads)):
        stream = read_videos(config, config.model.size, config.model.channels, "--set model.channels={}", reporter)
        stream.require_length(config.length)
        with compiling() if config.compile else nullcontext():
            return _Pretraining(config, stream, reporter, read_out).run()


class _Pretraining:
    """The model, its optimiser and its random streams, between two updates."""

    def __init__(self, config: PretrainAPVConfig, stream: FrameStream, reporter: Reporter, read_out: ReadOut | None) -> None:
        self.config, self.reporter, self.read_out = config, reporter, read_out
        self.digest = stream.digest
        self.trained_on, self.apart = parted(stream, config, lambda apart: len(apart.frames) >= config.length, reporter)
        self.device = torch.device(config.device)
        self.model = new_action_free(config.model, config.seed).to(self.device)
        self.optimiser = adam(self.model.parameters(), config.lr)
        self.generator = np.random.default_rng([config.seed, 0])
        self.losses = torch.compile(self.model) if config.compile else self.model
        self.updates, self.history = 0, []  # type: ignore[var-annotated]

    def run(self) -> dict[str, Any]:
        """Continue where a checkpoint stands, and end with the model on disk."""
        config = self.config
        self._resume()
        save_command("pretrain apv", config, config.out)
        with self.reporter.task("pretrain apv", config.updates, "updates") as task:
            task.resume(self.updates)
            while self.updates < config.updates:
                losses = self._update()
                task.advance(1)
                if self.updates % config.look_every == 0 or self.updates == config.updates:
                    measured = self._measure(losses)
                    self._save()
                    task.advance(0, **{"video loss": measured["video_loss"], "mean picture": measured["mean_picture"]})
                    self.reporter.say(_line(measured))
        if not self.history:
            raise DataError(f"{config.out} is further than {config.updates} updates", hint="ask for as many updates as were done, or more")
        return self._finish()

    def _update(self) -> dict[str, Tensor]:
        config, drawn = self.config, self.trained_on.draw(self.config.batch, self.config.length, self.generator)
        found = self._losses_of(drawn, self._chances(self.generator))
        self.optimiser.zero_grad(set_to_none=True)
        found.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        parts = {"picture": found.picture.detach(), "divergence": found.divergence.detach(), "gradient": norm}
        self._require_finite(parts)
        self.optimiser.step()
        self.updates += 1
        return parts

    def _losses_of(self, windows: FrameWindows, chances: Float[np.ndarray, "window time latent"]) -> VideoLosses:
        config = self.config
        given = (torch.from_numpy(array).to(self.device) for array in (windows.frames, windows.first, chances))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            return self.losses(*given, config.kl_weight, config.kl_balance, config.free_nats)

    def _chances(self, generator: np.random.Generator) -> Float[np.ndarray, "window time latent"]:
        return generator.random((self.config.batch, self.config.length, self.config.model.latents), dtype=np.float32)

    def _require_finite(self, parts: dict[str, Tensor]) -> None:
        for name, value in parts.items():
            if not torch.isfinite(value):
                there = (self.config.out / CHECKPOINT).exists()
                last = self.history[-1]["updates"] if there and self.history else 0
                message = f"update {self.updates + 1}: the {name} {'norm' if name == 'gradient' else 'loss'} is {float(value)}"
                kept_until = f"the checkpoint of update {last} is kept" if last else "no checkpoint was written yet"
                raise DataError(f"{message}; {kept_until}", hint="a smaller --lr, into another --out")

    @torch.no_grad()
    def _measure(self, last: dict[str, Tensor]) -> dict[str, Any]:
        """Losses on episodes apart beside that of the mean picture, and what of the state can be read from the features."""
        config, windows = self.config, self.apart.spread(MEASURED * self.config.batch, self.config.length)
        fixed, picture, kl, features = np.random.default_rng(0), [], [], []
        for begin in range(0, len(windows.frames), config.batch):
            part = FrameWindows(*(array[begin : begin + config.batch] for array in windows))
            found = self._losses_of(part, self._chances(fixed))
            picture.append(float(found.picture))
            kl.append(float(found.divergence))
            features.append(found.seen.features[:, FIRST_READ:].float().cpu().numpy())
        measured = {
            "updates": self.updates,
            "video_loss": float(np.mean(picture)),
            "mean_picture": self._mean_picture(windows),
            "kl": float(np.mean(kl)),
            "trained_video_loss": float(last["picture"]),
            "read_out": self._read(np.concatenate(features), windows),
        }
        self.history.append(measured)
        return measured

    def _mean_picture(self, windows: FrameWindows) -> float:
        apart = windows.frames / 255.0 - self.trained_on.mean_picture / 255.0
        return float(0.5 * np.square(apart).sum((-1, -2, -3)).mean())

    def _read(self, features: np.ndarray, windows: FrameWindows) -> list[float | None] | None:
        if self.read_out is None or self.apart.state is None:
            return None
        rows = windows.rows[:, FIRST_READ:].reshape(-1)
        return self.read_out(features.reshape(len(rows), -1), self.apart.state[rows], self.apart.episode_of(rows))

    def _resume(self) -> None:
        state = load_checkpoint(self.config.out / CHECKPOINT, kept.FORMAT)
        if state is None:
            return
        require_same(state["settings"], self._settings(), f"the checkpoint in {self.config.out}")
        put_module_state(self.model, state["model"])
        put_optimiser_state(self.optimiser, state["optimiser"])
        self.generator.bit_generator.state = state["generator"]
        self.updates, self.history = int(state["updates"]), state["history"]

    def _save(self) -> None:
        state = {
            "settings": self._settings(),
            "model": module_state(self.model),
            "optimiser": optimiser_state(self.optimiser),
            "generator": self.generator.bit_generator.state,
            "updates": self.updates,
            "history": self.history,
        }
        save_checkpoint(self.config.out / CHECKPOINT, kept.FORMAT, state)

    def _settings(self) -> dict[str, Any]:
        return settings_of(self.config, EXEMPT, self.digest)

    def _finish(self) -> dict[str, Any]:
        last, config = self.history[-1], self.config
        facts = {
            "dataset": self.digest,
            "updates": last["updates"],
            "frames_seen": last["updates"] * config.batch * config.length,
            **{name: last[name] for name in ("video_loss", "mean_picture", "kl")},
            "read_out_of_the_state": last["read_out"],
            "layerscout": layerscout.__version__,
        }
        model = kept.PretrainedModel(config.out, config.model, config.length, facts)
        save_weights(model, self.model)
        write_atomic(config.out / kept.LOSSES, json.dumps(self.history, indent=1).encode())
        kept.write_description(model)
        return {"model": str(config.out), **{name: value for name, value in last.items() if name != "trained_video_loss"}}


def _line(measured: dict[str, Any]) -> str:
    """Say a measurement in one line; the share of the mean picture's loss is what to look at."""
    share = measured["video_loss"] / measured["mean_picture"] if measured["mean_picture"] else None
    told = (
        f"{measured['updates']} updates: video loss {measured['video_loss']:.2f} nats a frame, mean picture {measured['mean_picture']:.2f}"
    )
    told += "" if share is None else f" ({share:.2f} of it)"
    read = measured["read_out"]
    return told + ("" if read is None else "; state R² " + " ".join("n/a" if one is None else f"{one:.2f}" for one in read))
