"""An experiment in, a paper with every table, figure and claim filled from it out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import Ranking, RunRecord, as_table_value
from layerscout.pages.flags import explain_flag
from layerscout.pages.page import versions_table
from layerscout.pages.ranking import best_twin, has_state, labelled_name, ordering, short_kind, twin_of
from layerscout.pages.template import fill_template
from layerscout.report import exhibits
from layerscout.report.by_hand import BY_HAND, stage_commands
from layerscout.report.captions import final_words, metric_sentence, shared_episodes
from layerscout.report.chapters import Chapter
from layerscout.report.experiment import Experiment
from layerscout.report.page import gate_sentence
from layerscout.report.tables import seed_caution
from layerscout.report.verdict import judge_record
from layerscout.showing import counted
from layerscout.text import markdown_code, markdown_text, visible

DECIDED_BY = {
    "S": "how well a layer's activations foretell reward and the next activations, and from how many directions they use",
    "S-ctrl": "how plainly a layer's activations show what the agent's own actions change",
}
CONTROL = (
    "Layers are ordered by control: the bits that the next activations tell of the action beyond the present ones,\n\n"
    "$$\n\\tfrac12 \\log_2 \\frac{\\det \\mathrm{Cov}(z_{t+1} \\mid z_t)}{\\det \\mathrm{Cov}(z_{t+1} \\mid z_t, a_t)} ,\n$$\n\n"
    "in a linear-Gaussian model, less what chance gives. A layer's place is its rank by these bits"
)
COMPOSITE = (
    "Each layer's activations on an exploratory dataset are judged by three figures, each on episodes that the fit has not seen:\n\n"
    "1. *Reward*: $R^2$ of a ridge regression $z_t \\to r_t$.\n"
    "2. *Transition*: $R^2$ of a ridge regression $[z_t, a_t] \\to z_{t+1}$.\n"
    "3. *Rank*: $\\exp(-\\sum_i p_i \\ln p_i)$ over the shares $p_i$ of the covariance eigenvalues, divided by the width."
)
LEARNER = "Agents learned from replay."
LEARNERS = {
    "dqn": "Double Q-learning with replay.",
    "iql": "Implicit Q-learning on the recorded steps.",
    "sac": "Soft actor-critic with replay.",
    "ppo": "Clipped policy gradients (PPO) on the steps just played.",
    "dreamer": "Actor and critic learned in what a world model (DreamerV2) imagines.",
    "ridge": "Agents in closed form: ridge regressions of returns, or of the action taken, on the activations.",
}
MODES = {
    "offline": "Here the activations were computed once and kept; agents learned from them without acting, and only $h_\\phi$ was trained.",
    "online": "Here the frozen layer ran once for each new frame, and only $h_\\phi$ was trained.",
    "in-loop": "Here the frozen layer stood between both networks, gradients passed through it, and $\\theta$ and $\\phi$ were trained.",
}


def write_paper(experiment: Experiment, parts: Sequence[Chapter], path: Path, association: str = "") -> Path:
    """Write the paper; figures are expected in ``figures/`` beside it."""
    write_atomic(path, paper(experiment, parts, association).encode())
    return path


def paper(experiment: Experiment, parts: Sequence[Chapter], association: str = "") -> str:
    """Return the paper as Markdown; every figure in it comes from the records. ``association``: its section on score against return."""
    ranking = experiment.ranking
    sentences = [part.verdict.sentence for part in parts] or [judge_record(None).sentence]
    modes = [MODES[mode] for mode in dict.fromkeys(record.mode for _, record in experiment.records)]
    return fill_template(
        "layerscout.report",
        "paper.md",
        backbone=markdown_text(ranking.backbone),
        candidates=str(len(ranking.candidates)),
        rows=f"{ranking.rows:,}",
        episodes=f"{ranking.episodes:,}",
        best_layer=markdown_code(labelled_name(ranking, ranking.candidates[0])) if ranking.candidates else "no layer",
        abstract_result=markdown_text(" ".join(sentences)),
        mode_sentence=" ".join(modes) or "No agent has been trained yet.",
        decided_by=DECIDED_BY["S-ctrl" if short_kind(ranking) == "S-ctrl" else "S"],
        scoring=describe_score(ranking),
        learning=" ".join(dict.fromkeys(LEARNERS.get(record.algorithm or "", LEARNER) for _, record in experiment.records))
        or "No agent yet.",
        setup=describe_setup(experiment),
        result=" or ".join(dict.fromkeys(final_words(record) for _, record in experiment.records)) or "its final return",
        analysis_table=exhibits.analysis_table(ranking).markdown(),
        ranking_sentences=ranking_sentences(ranking),
        agents="".join(agents(part) for part in parts) or "Not run yet.\n",
        association=association or "n/a: no agents on at least three layers of the ranking.\n",
        interpretation=interpretation(parts),
        limitations=limitations(experiment, parts),
        conclusion=conclusion(ranking, parts),
        reproducibility=reproducibility(experiment),
    )


def describe_score(ranking: Ranking) -> str:
    """Markdown of how the layers were scored: S and its parts, and before it what orders where that is S-ctrl."""
    reward, transition, rank = (f"{weight:.2f}" for weight in ranking.weights)
    third = "\\text{rank}" if short_kind(ranking) in ("S", "S-ctrl") else "\\text{log rank}"
    second = "\\text{transition skill}" if short_kind(ranking) == "S-skill" else "\\tilde R^2_{\\text{transition}}"
    how = f"\\tilde R^2 \\in [0, 1] \\text{{ by }} \\texttt{{{markdown_text(ranking.normalisation)}}}"
    name = "S" if short_kind(ranking) == "S-ctrl" else short_kind(ranking)
    composite = f"$$\n\\text{{{name}}}(\\ell) = {reward}\\,\\tilde R^2_{{\\text{{reward}}}} + {transition}\\,{second} + {rank}\\,{third}, \\qquad {how}\n$$"
    if short_kind(ranking) != "S-ctrl":
        return f"{COMPOSITE}\n\n{composite}"
    state = " and its rank by the $R^2$ of the dataset's state, half and half" if has_state(ranking) else ""
    return f"{CONTROL}{state}.\n\n{COMPOSITE}\n\n{composite}\n\nThis second score stands beside the first, and orders nothing here."


def describe_setup(experiment: Experiment) -> str:
    """Markdown list of the video model, the candidate layers, the probing data and every environment."""
    ranking = experiment.ranking
    lines = [
        f"- Video model: {markdown_text(ranking.backbone)}",
        f"- Candidate layers: {', '.join(markdown_code(labelled_name(ranking, layer)) for layer in sorted(ranking.candidates, key=lambda layer: layer.depth))}",
        f"- Probing data: {counted(ranking.rows, 'clip')} of {counted(ranking.episodes, 'episode')}, {ranking.folds} folds by episode",
    ]
    lines += [f"- Environment: {markdown_text(describe_record(record))}" for _, record in experiment.records] or [
        "- Environment: not run yet"
    ]
    return "\n".join(lines)


def describe_record(record: RunRecord) -> str:
    """Environment, mode, arms × seeds, steps and updates a run, and the longest group's wall time in seconds."""
    seeds = len({run.seed for run in record.runs})
    steps = sorted({arm.budget.environment_steps for arm in record.arms})
    updates = sorted({arm.budget.updates for arm in record.arms})
    ranges = [f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}" for values in (steps, updates) if values]
    budget = f"{ranges[0]} environment steps and {ranges[1]} updates a run" if len(ranges) == 2 else "no arms"
    wall = max((arm.budget.wall_seconds for arm in record.arms), default=0.0)
    return f"{record.environment}, {record.mode}, {counted(len(record.arms), 'arm')} × {counted(seeds, 'seed')}, {budget}, {wall:,.0f} s of wall time for the longest group of runs"


def ranking_sentences(ranking: Ranking) -> str:
    """Return which layer came first, by how much, and what the controls reached."""
    if not ranking.candidates:
        return "No candidate layer was ranked."
    best = ranking.candidates[0]
    sentences = [
        f"{markdown_code(labelled_name(ranking, best))} is ranked first with a score of {as_table_value(ordering(ranking, best))}."
    ]
    if (twin := twin_of(ranking, best)) is not None:
        sentences.append(f"The same block with random weights scores {as_table_value(ordering(ranking, twin))}.")
    if (rival := best_twin(ranking)) is not None:
        behind = "" if rival.behind_best is None else f", {as_table_value(rival.behind_best)} behind, paired by group of episodes"
        sentences.append(
            f"The best untrained block is {markdown_text(labelled_name(ranking, rival))} with {as_table_value(ordering(ranking, rival))}{behind}."
        )
    sentences += [
        f"The control {markdown_text(labelled_name(ranking, layer))} scores {as_table_value(ordering(ranking, layer))}."
        for layer in ranking.layers
        if layer.role == "control"
    ]
    if best.reward_r2 is None:
        sentences.append("Reward R² is undefined on these data, so the order rests on less than the method asks for.")
    if best.flags:
        sentences.append(
            "The probe flags this layer: " + "; ".join(f"{markdown_text(flag)}, {explain_flag(flag)}" for flag in best.flags) + "."
        )
    return " ".join(sentences)


def agents(part: Chapter) -> str:
    """Return one comparison's tables and figures."""
    pictures = "\n\n".join(f"![{name.replace('-', ' ')}](figures/{name}.svg)" for name in part.figures)
    compared = exhibits.comparison_table(part.verdict, part.record)
    failed = exhibits.failed_runs_table(part.record)
    blocks = [f"#### {markdown_text(part.title)}", metric_sentence(part.record), seed_caution(part.record) or ""]
    blocks += [shared_episodes(part.record), markdown_text(gate_sentence(part.gate))]
    blocks += [exhibits.returns_table(part.record).markdown(), exhibits.speed_table(part.record).markdown()]
    blocks += [compared.markdown() if compared.rows else ""]
    blocks += [f"Failed runs:\n\n{failed.markdown()}" if failed.rows else "", pictures, exhibits.budget_table(part.record).markdown()]
    return "\n\n".join(block.strip() for block in blocks if block) + "\n\n"


def interpretation(parts: Sequence[Chapter]) -> str:
    """Return every claim with its evidence and whether it stands."""
    if not parts:
        return "Not run yet: none of the claims about agents has been tested."
    lines = []
    for part in parts:
        lines += [f"*{markdown_text(part.title)}*", ""] if len(parts) > 1 else []
        lines += [
            f"- **{markdown_text(claim.statement)}** {claim.word.capitalize()}. {markdown_text(claim.sentence)}"
            for claim in (*part.questions, *part.claims)
        ]
        lines.append("")
    return "\n".join(lines).strip()


def limitations(experiment: Experiment, parts: Sequence[Chapter]) -> str:
    """Return what these data cannot show, as a list."""
    lines = ["- Linear probes show what can be read out, not what an agent will use or why."]
    environments = sorted({part.record.environment for part in parts})
    if environments:
        lines.append(f"- Only {markdown_text(', '.join(environments))}: nothing here says how the ranking carries over to other tasks.")
    if parts:
        lines.append(
            "- Arms were chosen by score, so a correlation between score and return holds for the chosen layers only and flatters the score."
        )
    if len({part.verdict.outcome for part in parts} & {"too few seeds"}):
        lines.append("- There are too few seeds for the main test to come out significant, whatever the effect.")
    broken = sum(run.status == "failed" for _, record in experiment.records for run in record.runs)
    if broken:
        lines.append(f"- Failed runs: {broken}. They are missing from the means; comparisons use the seeds that both sides finished.")
    if experiment.ranking.twin_store_id is None:
        lines.append("- No store of the untrained twin was probed, so it is open what pretraining adds to the score.")
    lines += [f"- {markdown_text(note[:1].upper() + note[1:].rstrip('.'))}." for note in experiment.ranking.notes]
    return "\n".join(lines)


def conclusion(ranking: Ranking, parts: Sequence[Chapter]) -> str:
    """Return the conclusion that the tests allow, and no more."""
    best = markdown_code(labelled_name(ranking, ranking.candidates[0])) if ranking.candidates else "the first layer"
    outcomes = [part.verdict.outcome for part in parts]
    if not outcomes:
        return f"The probes put {best} first. Whether that serves an agent has not been tested."
    if all(outcome == "supported" for outcome in outcomes):
        return f"On this task the layer that the probes put first, {best}, served the agent better than every control."
    if "supported" in outcomes or "partly supported" in outcomes:
        return f"The choice of {best} is supported against some controls or in some settings and not in others; section 5.4 says which."
    if all(outcome in ("too few seeds", "not run") for outcome in outcomes):
        return f"The probes put {best} first. Whether that serves an agent better than the controls is open: this experiment cannot tell."
    return f"The data do not support that {best} serves an agent better than the controls. Until they do, the ranking is a suggestion."


def reproducibility(experiment: Experiment) -> str:
    """Return identities, seeds, settings, versions and files."""
    seeds = sorted({run.seed for _, record in experiment.records for run in record.runs})
    blocks = [exhibits.provenance_table(experiment).markdown(), f"Seeds: {', '.join(map(str, seeds)) or 'n/a'}"]
    blocks += [
        f"Settings in {markdown_code(path)}:\n\n{exhibits.settings_table(values).markdown()}" for path, values in experiment.settings
    ]
    blocks += [versions_table().markdown(), BY_HAND, "```sh\n" + "\n".join(map(visible, stage_commands(experiment))) + "\n```"]
    return "\n\n".join(block.strip() for block in blocks)
