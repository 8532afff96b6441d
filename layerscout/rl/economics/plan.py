"""TrainConfig with a table ``work`` in, a WorkPlan out: arms, their hours, and what closed forms say of their prices; works no hour."""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import layerscout
from layerscout.cache import records
from layerscout.cache.opening import open_store
from layerscout.cache.records import Selection
from layerscout.cache.records.work import WageHour, WorkArm
from layerscout.errors import BudgetError, DataError, UsageError, suggest
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.passes.noise_gap import check_denoiser
from layerscout.memory import available_memory
from layerscout.rl.config import KEY_NAME, TrainConfig
from layerscout.rl.differences import differing, elsewhere, kept_settings, told_differences
from layerscout.rl.economics import closed_forms
from layerscout.rl.economics.config import LabourConfig, WorkConfig
from layerscout.rl.economics.encoding import encoding_of
from layerscout.rl.economics.lagrangian import Curriculum
from layerscout.rl.economics.working import Workplace
from layerscout.rl.kinds import require_same_kind
from layerscout.settings import build, merge
from layerscout.showing import ShownPlan
from layerscout.worlds.labour.bricklaying import Bricklaying
from layerscout.worlds.labour.dishwashing import Dishwashing
from layerscout.worlds.labour.trade import STEPS_PER_HOUR, Prices, Trade

TRADES: dict[str, Trade] = {"layerscout/Dishwashing-v0": Dishwashing.trade, "layerscout/Bricklaying-v0": Bricklaying.trade}
ARM_NAME = "arm.json"
DECIDES = ("environment", "seeds", "work")  # settings of a comparison that an arm's numbers depend on
STEP_BYTES = 65  # of one step in the replay of a state: two states of 4 numbers, an action of 2, 6 figures, whether it ended


@dataclass(frozen=True)
class LabourArm:
    """One set of settings under a name, and what closed forms say of it."""

    name: str
    config: WorkConfig
    settings: dict[str, Any]
    prices: Prices
    limit: float | None
    best: WageHour
    swept: str | None = None

    @property
    def folder(self) -> str:
        """The arm's name as a file system takes it."""
        return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in self.name).lstrip(".") or "-"


@dataclass(frozen=True)
class WorkPlan(ShownPlan):
    """Which arms will work, for how long, and what the best policy could earn."""

    config: TrainConfig
    arms: tuple[LabourArm, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """One number a run, from 0 on; every arm works with the same ones."""
        return tuple(range(self.config.seeds))

    @property
    def memory_bytes(self) -> int:
        """Bytes of the largest arm's replay; arms work one after the other."""
        return max(_replay_bytes(arm.config, self.config) for arm in self.arms)

    def key(self, arm: LabourArm) -> str:
        """Return the digest of all that decides an arm's numbers."""
        document = {"work": json.loads(arm.config.model_dump_json()), "seeds": self.seeds, "version": layerscout.__version__}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Return what a dry run shows: arms, hours, updates, memory, and the best hour of every arm's prices in closed form."""
        first = self.arms[0].config
        steps, sac = first.episodes * STEPS_PER_HOUR, first.sac
        facts = {
            "stage": "train",
            "kind": "labour",
            "environment": self.config.environment,
            "arms": [arm.name for arm in self.arms],
            "seeds": len(self.seeds),
            "hours": first.episodes,
            "updates": max(0, steps // sac.train_interval - sac.warm_up // sac.train_interval),
            "memory_bytes": self.memory_bytes,
            "best_hours": [f"{arm.name}: {_best_hour_in_words(arm)}" for arm in self.arms],
            "exists": all(self.finished(arm) is not None for arm in self.arms),
            "out": str(self.config.out),
        }
        return facts | ({"seconds_of_updates": round(self._seconds(), 1)} if measure else {})

    def finished(self, arm: LabourArm) -> WorkArm | None:
        """Return an arm's result, or None where its hours are not all worked.

        Raises
        ------
        UsageError
            Its folder holds results of other settings.
        DataError
            The result is damaged.
        """
        folder = self.config.out / arm.folder
        if not (folder / ARM_NAME).is_file() or not (folder / KEY_NAME).is_file():
            return None
        if (folder / KEY_NAME).read_text(encoding="utf-8").strip() != self.key(arm):
            before = kept_settings(self.config.out, TrainConfig)
            names = [] if before is None else [name for name in differing(before, self.config) if name in DECIDES]
            told = told_differences(before, self.config, names) if before is not None and names else "another version of layerscout"
            hint = f"keep them, and work these hours elsewhere: {elsewhere('train', self.config)}"
            raise UsageError(f"{folder} holds results of other settings: {told}", hint=hint)
        try:
            return records.load(WorkArm, folder / ARM_NAME)
        except DataError as error:
            raise DataError(str(error), hint=f"delete {folder}: the same command works its hours anew") from None

    def _seconds(self) -> float:
        """Try out one hour of the first arm behind its warm-up, and count on."""
        arm = self.arms[0].config
        quick = arm.model_copy(update={"sac": arm.sac.model_copy(update={"warm_up": 1, "batch": min(arm.sac.batch, 60)})})
        place = Workplace(quick, self.seeds, root=self.config.root, trust=self.config.trust)
        place.hour(0)
        began = time.process_time()
        place.hour(1)
        return (time.process_time() - began) * arm.episodes * len(self.arms)


def plan(config: TrainConfig) -> WorkPlan:
    """Work out the arms and what their prices allow; works no hour.

    Raises
    ------
    UsageError
        The environment is no trade, an arm's settings are wrong, a price is out of range, error targets do not tighten, a novelty's model is no denoiser, or ``out`` holds another kind of
        training.
    DataError
        There is no such store.
    BudgetError
        A replay of pictures does not fit into memory.
    """
    assert config.work is not None, "the command has seen to it that there is work"
    if config.environment not in TRADES:
        raise UsageError(
            f"{config.environment} is no hour of labour{suggest(config.environment, TRADES)}", hint=f"one of: {', '.join(TRADES)}"
        )
    require_same_kind(config)
    base = config.work.model_copy(update={"environment": config.environment})
    arms = [_planned(name, base, said, None, config.root) for name, said in _named_arms(config, base).items()]
    for setting, values in base.sweep.items():
        arms += [_planned(f"{setting} {dollars:g} $", base, {setting: dollars}, setting, config.root) for dollars in values]
    names = [arm.folder for arm in arms]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two arms would lie in one folder, {twice}", hint="give them other names")
    planned = WorkPlan(config, tuple(arms))
    for arm in arms:
        if arm.config.novelty == "denoising":
            check_denoiser(find_backbone(arm.config.denoiser))
        if arm.config.encoder.store is not None:
            encoding_of(arm.config.encoder, arm.config.sac, config.environment, config.root, config.trust)
    available = available_memory()
    if available is not None and planned.memory_bytes > available:
        raise BudgetError(
            f"the replay needs about {planned.memory_bytes / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are free",
            hint="a smaller --set train.work.sac.capacity, or fewer seeds",
        )
    return planned


def _named_arms(config: TrainConfig, base: LabourConfig) -> dict[str, dict[str, Any]]:
    if base.arms:
        return base.arms
    return _arms_of_selection(config.selection) if "selection" in config.model_fields_set else {"work": {}}


def _arms_of_selection(path: Path) -> dict[str, dict[str, Any]]:
    """The state; the layer that was ranked first; its untrained twin; the picture itself, coarsely; and a network from scratch on that."""
    selection = records.load(Selection, path)
    arms: dict[str, dict[str, Any]] = {"state": {"encoder": {"kind": "mlp"}}}
    for choice in selection.choices:
        known = [said["encoder"].get("layer") for said in arms.values() if said["encoder"].get("store") == choice.store_id]
        wanted = (choice.kind == "ranked" and choice.rank in (1, None)) or choice.kind in ("twin", "pixels")
        if wanted and choice.layer not in known:
            name = f"{choice.layer} (untrained)" if choice.kind == "twin" else choice.layer
            if name in arms:  # a layer of another store by the same name
                name = f"{name} of {choice.store_id}"
            arms[name] = {"encoder": {"kind": "store", "store": choice.store_id, "layer": choice.layer}}
    scratch = {"kind": "store", "store": selection.store_id, "layer": "pixels", "hidden": [256, 64]}
    return arms | {"scratch": {"encoder": scratch}}


def _planned(name: str, base: LabourConfig, said: dict[str, Any], swept: str | None, root: Path | None) -> LabourArm:
    plain = base.model_dump(exclude={"arms", "sweep"})
    config = build(WorkConfig, merge(plain, said), f"train.work.arms.{name}" if swept is None else "train.work.sweep")
    if config.encoder.store is not None:  # a name may be given to another store later; an id stays
        encoder = config.encoder.model_copy(update={"store": open_store(root, config.encoder.store).id})
        config = config.model_copy(update={"encoder": encoder})
    Curriculum(config.first_target, config.last_target, config.target_episodes)  # one that does not tighten is refused here
    trade = TRADES[config.environment]
    own = {price: getattr(config, price) for price in ("price", "damage", "energy", "human_wage")}
    prices = Prices(**{price: getattr(trade.prices, price) if dollars is None else dollars for price, dollars in own.items()})
    limit = config.last_target if config.step_size else None
    return LabourArm(name, config, said, prices, limit, closed_forms.best_hour(trade, prices, limit), swept)


def _best_hour_in_words(arm: LabourArm) -> str:
    best = arm.best
    price = "" if best.multiplier is None else f"; one unit of error rate more is worth {best.multiplier:.1f} $/h"
    return (
        f"{best.profit:.2f} $/h at speed {best.speed:.3f}, care {best.care:.3f}: {best.product:.1f} good units/h, "
        f"error {100 * best.error:.2f} %, {best.parity:.2f} of a person's wage{price}"
    )


def _replay_bytes(work: WorkConfig, config: TrainConfig) -> int:
    if work.encoder.kind in ("state", "mlp"):
        return min(work.sac.capacity, work.episodes * STEPS_PER_HOUR) * config.seeds * STEP_BYTES
    encoding = encoding_of(work.encoder, work.sac, work.environment, config.root, config.trust)
    steps = min(work.sac.capacity, work.episodes * STEPS_PER_HOUR + encoding.recorded_steps) * config.seeds
    return int(steps * 2 * (math.prod(encoding.shape) * np.dtype(encoding.dtype).itemsize + 4 * encoding.features))
