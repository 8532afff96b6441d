"""Visual dynamics on Dot, gate by gate: bounds of the world, tokenizer, dynamics, plans, alignment, planning, pretraining, arms, horizon.

    python benchmarks/pvdr.py --quick [--json]        bounds, tokenizer, cost of an update; fails outside its bars (under 60 CPU s)
    python benchmarks/pvdr.py --out FOLDER [--json] [--ground flat] [--updates 4000] [--until planner] [--future 4] [--share 1] [--seeds 3] [--recorded 19200]

Every gate is printed with its bar, or all as one JSON object. What was learned is kept in FOLDER, and the same command goes on. One torch thread, or as many as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import get_args

import harness
import torch
from pvdr_gates import SAMPLES, bounds, films, judge_arms, judge_dynamics, judge_planner, judge_scratch, judge_tokenizer

from layerscout.extract.backbones.pvdr import PvdrShape
from layerscout.rl.loops.checkpoint import load_checkpoint, save_checkpoint
from layerscout.rl.transfer.pvdr.config import ArmName, PretrainPvdrConfig, PvdrConfig
from layerscout.rl.transfer.pvdr.judging import held_out_nats
from layerscout.rl.transfer.pvdr.pretraining import Films, PvdrPretraining
from layerscout.rl.transfer.pvdr.tokens import TokenStream, coded

GATES = ("bounds", "tokenizer", "dynamics", "plans", "planner", "scratch", "arms")


def pretrained(
    said: harness.Said, out: Path, config: PretrainPvdrConfig, learned: PvdrPretraining, held: Films, seconds: float | None
) -> None:
    """Learn until it is finished or the time is over; tells the curve."""
    file, key = out / "checkpoint.npz", config.model_dump_json(exclude={"out", "checkpoint_every", "data"})
    if (state := load_checkpoint(file, key)) is not None:
        learned.restore(state)
    began = time.process_time()
    while not learned.finished and (seconds is None or time.process_time() - began < seconds):
        before, at = list(learned.done), time.process_time()
        learned.advance(config.checkpoint_every)
        save_checkpoint(file, key, learned.state())
        if learned.done[1] > before[1]:
            clips = TokenStream(coded(learned.tokenizer, held.frames), held.lengths, config.shape.window).spread(256)
            nats = held_out_nats(learned.dynamics.eval(), clips)
            cost = (time.process_time() - at) / (learned.done[1] - before[1])
            said.tell(f"  {learned.done[1]:5} updates: held-out {nats[0]:6.1f} nats, z {nats[1]:5.1f} nats, {cost:.3f} CPU s an update")


def quick(said: harness.Said) -> bool:
    """Hold the bounds, the tokenizer and the cost of an update against their bars; return whether all hold."""
    good = bounds(said, "textured", 4, 2) & bounds(said, "flat", 4, 2)
    config = PretrainPvdrConfig(data=Path("-"), tokenizer_updates=500, updates=24)
    learned = PvdrPretraining(config, films("flat", 4_800, 1))
    while learned.done[0] < config.tokenizer_updates:
        learned.advance(100)
    good &= judge_tokenizer(said, learned, films("flat", 1_600, 2))[0]
    learned.advance(4)
    began = time.process_time()
    learned.advance(20)
    cost = (time.process_time() - began) / 20
    count = sum(parameter.numel() for parameter in learned.dynamics.parameters())
    return good & said.figure(f"update of {count:,} parameters, CPU s", cost, at_most=0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="print one JSON object, and talk on stderr")
    parser.add_argument("--out", type=Path, default=Path("outputs/pvdr-gates"))
    parser.add_argument("--ground", choices=("textured", "flat"), default="flat")
    parser.add_argument("--updates", type=int, default=4_000)
    parser.add_argument("--recorded", type=int, default=19_200, help="steps of random:8 that are pretrained on")
    parser.add_argument("--codes", type=int, default=32)
    parser.add_argument("--future", type=int, default=4)
    parser.add_argument("--share", type=float, default=1.0, help="of the recordings that is pretrained on")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=get_args(ArmName), default=list(get_args(ArmName)), help="that are compared last")
    parser.add_argument("--first-seed", type=int, default=0, help="of these")
    parser.add_argument("--steps", type=int, default=4_000, help="environment steps of each of them")
    parser.add_argument("--adapt-updates", type=int, default=50, help="of the dynamics after every round of play")
    parser.add_argument("--until", choices=GATES, default=GATES[-1])
    parser.add_argument("--only", action="store_true", help="judge that gate alone")
    parser.add_argument("--pretrain-seconds", type=float, help="of the processor, in this call")
    chosen = parser.parse_args()
    torch.set_num_threads(harness.threads_told())
    said, packages = harness.Said(chosen.json), ("torch", "numpy")
    if chosen.quick:
        good = quick(said)
        said.finish("pvdr", packages)
        raise SystemExit(0 if good else 1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    last = GATES.index(chosen.until)

    def asked(gate: int) -> bool:
        return last == gate if chosen.only else last >= gate

    shape = PvdrShape(codes=chosen.codes, future=chosen.future)
    config = PretrainPvdrConfig(data=Path("-"), shape=shape, updates=chosen.updates, share=chosen.share)
    trained, held = films(chosen.ground, int(chosen.recorded * chosen.share), 1), films(chosen.ground, 1_600, 2)
    if asked(0):
        bounds(said, chosen.ground, chosen.future, chosen.seeds)
    learned = PvdrPretraining(config, trained)
    if last >= 1:
        pretrained(said, chosen.out, config, learned, held, chosen.pretrain_seconds)
        stream = judge_tokenizer(said, learned, held)[1]
    if asked(2):
        judge_dynamics(said, learned, stream, chosen.ground)
    agent = PvdrConfig(samples=SAMPLES, adapt_updates=chosen.adapt_updates)
    if asked(4):
        judge_planner(said, learned, chosen.ground, chosen.seeds, agent)
    if asked(5):
        judge_scratch(said, learned, stream, chosen.ground, chosen.seeds, agent)
    if asked(6):
        judge_arms(
            said, learned, chosen.ground, range(chosen.first_seed, chosen.first_seed + chosen.seeds), agent, chosen.steps, chosen.arms
        )
    said.tell(json.dumps({"out": str(chosen.out), "updates": learned.done[1]}))
    said.finish("pvdr", packages)


if __name__ == "__main__":
    main()
