"""PretrainPvdrConfig in, a pretrained model of visual dynamics in a folder out; the same command continues bit for bit after a kill."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.records.making import save_command
from layerscout.errors import DataError
from layerscout.extract.backbones.networks.pvdr.dynamics import VisualDynamics
from layerscout.extract.backbones.networks.pvdr.tokenizer import FrameTokenizer
from layerscout.extract.backbones.pvdr import DESCRIPTION, WEIGHTS
from layerscout.extract.device import cores, torch_threads
from layerscout.progress import SILENT, Reporter
from layerscout.rl.loops.checkpoint import load_checkpoint, save_checkpoint
from layerscout.rl.transfer.clips import FrameStream, is_ours
from layerscout.rl.transfer.folders import CHECKPOINT, require_same, settings_of
from layerscout.rl.transfer.pvdr.config import PretrainPvdrConfig
from layerscout.rl.transfer.pvdr.folder import save_model
from layerscout.rl.transfer.pvdr.judging import dynamics_figures, tokenizer_figures
from layerscout.rl.transfer.pvdr.pretraining import Films, PvdrPretraining
from layerscout.rl.transfer.pvdr.tokens import TokenStream, coded
from layerscout.rl.transfer.videos import begun, count_parameters, parted, read_videos
from layerscout.showing import ShownPlan

JUDGED = 256  # clips
# where and how often, never what comes out; the dataset is named by its digest
EXEMPT = {"data", "out", "checkpoint_every", "threads", "fps", "stride"}


@dataclass(frozen=True)
class PretrainPvdrPlan(ShownPlan):
    """What a pretraining will do."""

    config: PretrainPvdrConfig
    parameters: int
    done: tuple[int, int]

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Sizes, updates, and how many of them are done already, for ``--dry-run``."""
        config = self.config
        return {
            "stage": "pretrain pvdr",
            "data": str(config.data),
            "frames_of_a_clip": config.shape.window,
            "tokens_of_a_frame": config.shape.tokens,
            "parameters": self.parameters,
            "memory_bytes": 16 * self.parameters,  # weights, gradients, two moments
            "updates": {"tokenizer": config.tokenizer_updates, "dynamics": config.updates},
            "updates_done": {"tokenizer": self.done[0], "dynamics": self.done[1]},
            "out": str(config.out),
            "exists": (config.out / DESCRIPTION).exists(),
        }


def plan(config: PretrainPvdrConfig) -> PretrainPvdrPlan:
    """Say what would be done; reads no frame.

    Raises
    ------
    DataError
        There is no such dataset, or a checkpoint in the folder is damaged.
    """
    state = begun(config, CHECKPOINT)
    done = (0, 0) if state is None else (int(state["pretraining"]["done"][0]), int(state["pretraining"]["done"][1]))
    parameters = count_parameters(lambda: FrameTokenizer(config.shape), lambda: VisualDynamics(config.shape))
    return PretrainPvdrPlan(config, parameters, done)


def run(planned: PretrainPvdrPlan, reporter: Reporter = SILENT) -> dict[str, Any]:
    """Learn the tokenizer, then the dynamics, judge both on episodes that were kept apart, and write the model.

    Returns
    -------
    dict
        The figures, and where the model is.

    Raises
    ------
    DataError
        No video is as long as a clip, a loss is not finite, or the folder holds what belongs to other settings or data.
    UsageError
        Frames are not coloured.
    BudgetError
        The frames do not fit into memory, or the checkpoint not on the disk.
    """
    config = planned.config
    config.out.mkdir(parents=True, exist_ok=True)
    with torch_threads(cores(config.threads)):
        stream = read_videos(config, config.shape.size, 3, "import them as RGB", reporter)
        played = _played(config, stream.digest)
        trained, apart = parted(stream, config, lambda apart: apart.lengths.max() >= config.shape.window, reporter)
        if config.share < 1.0:
            trained = trained.episodes(np.arange(max(1, round(config.share * len(trained.lengths)))))
        learned = PvdrPretraining(config, Films(trained.frames, trained.lengths))
        key = json.dumps(settings_of(config, EXEMPT, stream.digest), sort_keys=True)
        _restore(config, learned, key)
        save_command("pretrain pvdr", config, config.out)
        _learn(config, learned, key, reporter)
        return _finish(config, learned, apart, {"dataset": stream.digest, **played}, reporter)


def _restore(config: PretrainPvdrConfig, learned: PvdrPretraining, key: str) -> None:
    state = load_checkpoint(config.out / CHECKPOINT, CHECKPOINT)
    if state is not None:
        require_same(json.loads(state["key"]), json.loads(key), f"the checkpoint in {config.out}")
        learned.restore(state["pretraining"])


def _learn(config: PretrainPvdrConfig, learned: PvdrPretraining, key: str, reporter: Reporter) -> None:
    total = config.tokenizer_updates + config.updates
    with reporter.task("pretrain pvdr", total, "updates") as task:
        task.resume(sum(learned.done))
        while not learned.finished:
            before = sum(learned.done)
            learned.advance(config.checkpoint_every)
            save_checkpoint(config.out / CHECKPOINT, CHECKPOINT, {"key": key, "pretraining": learned.state()})
            latest = {"error": learned.errors[-1]}
            if learned.nats:
                crossed, diverged = np.mean(learned.nats[-config.checkpoint_every :], axis=0)
                latest = {"cross-entropy": float(crossed), "divergence": float(diverged)}
            task.advance(sum(learned.done) - before, **latest)


def _played(config: PretrainPvdrConfig, digest: str) -> dict[str, Any]:
    """Return which environment the frames show and with which options, so that agents play in the same; nothing for videos of others."""
    if not is_ours(config.data):
        return {}
    with Trajectories(config.data) as recorded:
        if recorded.stated_digest() != digest:
            raise DataError(
                f"{config.data} is not the dataset that was read any more", hint="run the same command again when nobody writes it"
            )
        return {name: recorded.attributes[name] for name in ("environment", "options") if recorded.attributes.get(name)}


def _finish(
    config: PretrainPvdrConfig, learned: PvdrPretraining, apart: FrameStream, source: dict[str, Any], reporter: Reporter
) -> dict[str, Any]:
    tokenizer, dynamics = learned.tokenizer.eval(), learned.dynamics.eval()
    held = TokenStream(coded(tokenizer, apart.frames), apart.lengths, config.shape.window)
    tokens = tokenizer_figures(tokenizer, apart.frames, held.tokens)
    nats = dynamics_figures(dynamics, held.spread(JUDGED), learned.stream.tokens)
    if tokens.warning is not None:
        reporter.say(f"warning: {tokens.warning}")
    facts = {
        **source,
        "episodes": len(learned.films.lengths),
        "frames": len(learned.films.frames),
        "updates": config.updates,
        "tokenizer_updates": config.tokenizer_updates,
        "beta": config.beta,
        "seed": config.seed,
    }
    save_model(config.out, tokenizer, dynamics, (tokens, nats), facts)
    return {"model": str(config.out), "weights": str(config.out / WEIGHTS), "tokenizer": asdict(tokens), "dynamics": asdict(nats)}
