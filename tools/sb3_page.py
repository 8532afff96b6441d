"""Records of learners' returns in, the page that compares them with Stable-Baselines3's out; neither side is trained, nor its library needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "agents-against-sb3"
EPISODES = 20  # greedy ones that every seed plays after training
RECORDS = Path(__file__).parents[1] / "docs" / "experiments"


def page(document: dict[str, Any]) -> str:
    """The results as Markdown, with what is on record of other settings."""
    lines = [
        "# Do our learners learn like Stable-Baselines3's?",
        "",
        f"The same settings, {document['seeds']} seeds, the same {EPISODES} greedy evaluation episodes for every seed, on state vectors. Figures are interquartile means over",
        "seeds of a seed's mean return, with 95 % stratified bootstrap intervals.",
        "",
        f"    python -m tools.{NAME.replace('-', '_')}",
        "",
        "One run on one machine; on another processor take the figures as of other seeds ([which results can move](../explanation/same-store.md#which-results-can-move)). Both sides were run on one thread, on two, and with",
        "other instructions (`--ours`, `--theirs`): what came out stands [below](#over-three-settings), by how much it moved [with that of other agents](../benchmarks.md#agents-over-three-settings).",
        "",
        "| task | learner | steps | layerscout | Stable-Baselines3 | inside their interval | CPU seconds a seed |",
        "|---|---|---:|---|---|---|---|",
    ]
    for task in document["tasks"]:
        mine, other = task["sides"]["layerscout"], task["sides"]["stable_baselines3"]
        cells = [interval(side) for side in (mine, other)]
        seconds = f"{mine['cpu_seconds_a_seed']:.1f} / {other['cpu_seconds_a_seed']:.1f}"
        verdict = "yes" if task["inside"] else "no"
        lines.append(
            f"| {task['environment']} | {task['algorithm']} | {task['steps']:,} | {cells[0]} | {cells[1]} | {verdict} | {seconds} |"
        )
    lines += ["", "| task | side | mean return of every seed |", "|---|---|---|"]
    for task in document["tasks"]:
        for name, side in task["sides"].items():
            lines.append(f"| {task['environment']} | {name} | {', '.join(f'{value:.0f}' for value in side['returns'])} |")
    used = ", ".join(f"{package} {number}" for package, number in document["versions"].items())
    lines += ["", "Settings of both sides:", ""]
    for task in document["tasks"]:
        said = ", ".join(f"`{key}` {value}" for key, value in task["settings"].items())
        rhythm = "one environment" if task["algorithm"] == "PPO" else "20,000 transitions kept, an update after every step"
        lines.append(f"- {task['environment']}, {task['algorithm']}: {said}, {rhythm}.")
    lines += ["", f"{used}. One torch thread; seconds are processor time.", "", *over_settings(document["tasks"])]
    return "\n".join(lines)


def over_settings(tasks: list[dict[str, Any]]) -> list[str]:
    """Both sides in every setting that both were run in, from the records of `benchmarks/across_settings.py`; and DQN with more seeds, as they were kept."""
    sides = [json.loads((RECORDS / "settings" / f"{name}.json").read_text()) for name in (NAME, "stable-baselines3")]
    shared = [setting for setting in sides[0]["settings"] if setting in sides[1]["settings"]]
    lines = [
        "## Over three settings",
        "",
        "| task | learner | setting | layerscout | Stable-Baselines3 | ours beside their interval |",
        "|---|---|---|---|---|---|",
    ]
    for task in tasks:
        environment, algorithm = task["environment"], task["algorithm"]
        for setting in shared:
            mine, other = (
                {
                    part: side["figures"][f"{environment} {algorithm}.{part}"]["seen"][list(side["settings"]).index(setting)]
                    for part in ("iqm", "low", "high")
                }
                for side in sides
            )
            lines.append(f"| {environment} | {algorithm} | {setting} | {interval(mine)} | {interval(other)} | {beside(mine, other)} |")
    more = json.loads((RECORDS / "dqn-24-seeds.json").read_text())
    mine, other = (more[side]["CartPole-v1 DQN"] for side in ("layerscout", "stable_baselines3"))
    lines.append(
        f"| CartPole-v1 | DQN | one thread, {len(mine['returns'])} seeds | {interval(mine)} | {interval(other)} | {beside(mine, other)} |"
    )
    return [
        *lines,
        "",
        "Eight seeds of agents that are still learning say little of who lies inside whose interval: both sides move by instructions alone. The last row is [kept](dqn-24-seeds.json) of `--only DQN --seeds 24`.",
        "",
    ]


def interval(side: dict[str, Any]) -> str:
    """An estimate with its interval."""
    return f"{side['iqm']:.1f} [{side['low']:.1f}, {side['high']:.1f}]"


def beside(mine: dict[str, Any], other: dict[str, Any]) -> str:
    """Where our estimate lies beside the other side's interval."""
    return "below" if mine["iqm"] < other["low"] else "above" if mine["iqm"] > other["high"] else "inside"
