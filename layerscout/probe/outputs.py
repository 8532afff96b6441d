"""A plan and the evidence of every layer in; the ranking, the selection, and the files that show them, out."""

from __future__ import annotations

import json
from collections.abc import Sequence

from layerscout.cache import records
from layerscout.cache.durable import write_atomic
from layerscout.cache.records import RankedStore, Ranking, Selection
from layerscout.cache.records.making import save_command
from layerscout.cache.records.sealing import seal
from layerscout.cache.writing.card import played_in
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.keys import KEY_NAME, RANKING_NAME, SELECTION_NAME, ranking_key
from layerscout.probe.page.figure import write_ranking_figures
from layerscout.probe.page.page import write_page
from layerscout.probe.page.tables import FIGURE_NAMES, write_ranking_tables
from layerscout.probe.plan import ProbePlan
from layerscout.probe.questions.sources import Job, backbone_name, dataset_digest, store_labels
from layerscout.probe.questions.targets import REWARD
from layerscout.probe.ranking.choose import choose
from layerscout.probe.ranking.compare import rank_layers
from layerscout.probe.ranking.score import VERSIONS, kind_of
from layerscout.showing import counted


def rank(plan: ProbePlan, evidence: Sequence[LayerEvidence]) -> tuple[Ranking, Selection]:
    """Put the layers in order and choose what goes to agents; ``evidence`` has one part a job of the plan."""
    config, store = plan.config, plan.store
    held = plan.split.confirmation_episodes
    episodes = len(plan.transitions.lengths) - held
    kind = kind_of(config.score, evidence, len(plan.stores))
    layers = rank_layers(evidence, config, episodes, [(job.store.id, job.label) for job in plan.jobs])
    choices, choice_notes = choose(layers, config.top_k, store.id, plan.twin.id if plan.twin else None, kind)
    digest, name = dataset_digest(store), backbone_name(store)
    ranking = Ranking(
        store_id=store.id,
        twin_store_id=plan.twin.id if plan.twin else None,
        dataset_digest=digest,
        backbone=name,
        stores=tuple(
            RankedStore(store_id=each.id, backbone=backbone_name(each), label=word)
            for each, word in zip(plan.stores, store_labels(config, plan.stores), strict=True)
        ),
        score_version=VERSIONS[kind],
        score_kind=VERSIONS[kind],
        top_k=config.top_k,
        weights=config.weights,
        normalisation=config.normalisation,
        rows=evidence[0].rows,
        episodes=episodes,
        confirmation_episodes=held,
        folds=plan.split.folds,
        notes=(
            *plan.transitions.notes,
            *plan.split.notes,
            *_order_notes(plan, evidence, kind),
            *_exceptions(plan, evidence),
            *choice_notes,
        ),
        layers=layers,
    )
    selection = Selection(
        ranking=RANKING_NAME,
        store_id=store.id,
        dataset_digest=digest,
        backbone=name,
        score_kind=ranking.score_kind,
        weights=config.weights,
        normalisation=config.normalisation,
        choices=choices,
    )
    return ranking, selection


def write_outputs(plan: ProbePlan, evidence: Sequence[LayerEvidence], ranking: Ranking, selection: Selection) -> None:
    """Write every file of a ranking: its numbers before anything is drawn of them, and the key that answers for them last."""
    config, out = plan.config, plan.config.out
    out.mkdir(parents=True, exist_ok=True)
    save_command("probe", config, out)
    (out / KEY_NAME).unlink(missing_ok=True)  # until the last file is there, nothing answers for these settings
    records.save(ranking, out / RANKING_NAME)
    records.save(selection, out / SELECTION_NAME)
    write_ranking_tables(ranking, selection, out)
    by_layer: dict[tuple[str, str, str], LayerEvidence] = {
        (job.store.id, job.role, job.spec.name): item for job, item in zip(plan.jobs, evidence, strict=True)
    }
    write_page(
        ranking,
        by_layer,
        selection,
        config,
        {job.store.id: job.store.identity for job in plan.jobs},
        out,
        played_in(plan.store.manifest.provenance),
    )
    write_ranking_figures(ranking, [out / name for name in FIGURE_NAMES])
    answers = {"key": ranking_key(config, plan.stores, plan.twin), "settings": config.model_dump(mode="json")}
    write_atomic(out / KEY_NAME, seal(json.dumps(answers, indent=1).encode() + b"\n"))


def _order_notes(plan: ProbePlan, evidence: Sequence[LayerEvidence], kind: str) -> tuple[str, ...]:
    """Say which score orders where the data left no choice, and where the one that does says nothing."""
    candidates = [(job, item) for job, item in zip(plan.jobs, evidence, strict=True) if item.role == "layer"]
    notes = []
    chance = [item.bits_action is not None and item.bits_action <= (item.bits_action_by_chance or 0.0) for _, item in candidates]
    if kind == "S-ctrl" and all(chance):
        notes.append("no layer shows the action beyond chance, so S-ctrl orders by noise; --set probe.score=S orders by S")
    if kind != "S-ctrl" and plan.config.score == "auto":
        without = [_name(job) for job, item in candidates if item.bits_action is None]
        why = "of any layer" if len(without) == len(candidates) else f"of {', '.join(without)}"
        notes.append(f"S orders: S-ctrl needs bits of action, and these rows give none {why}")
    if REWARD not in plan.transitions.target_names:
        notes.append(f"without reward R², {plan.config.weights[0]:.0%} of S says nothing: that part counts as 0 for every layer")
    return tuple(notes)


def _exceptions(plan: ProbePlan, evidence: Sequence[LayerEvidence]) -> tuple[str, ...]:
    """Name the layers that were not measured like the others."""
    notes = []
    if again := [(job, item.float32_error) for job, item in zip(plan.jobs, evidence, strict=True) if item.float32_error is not None]:
        worst = max(error for _, error in again if error is not None)
        named = ", ".join(_name(job) for job, _ in again)
        notes.append(f"float32 products would have moved R² by up to {worst:.0e}: measured with float64 products: {named}")
    without_fit = [
        _name(job)
        for job, item in zip(plan.jobs, evidence, strict=True)
        if item.precision != plan.config.precision and item.float32_error is None and not plan.work.is_wide(job)
    ]
    if without_fit:
        why = "so dependent are the features, or so large or small their squares"
        notes.append(f"float32 products gave no fit, {why}: measured with float64 products: {', '.join(without_fit)}")
    for job, item in zip(plan.jobs, evidence, strict=True):
        if item.nonfinite_rows:
            notes.append(f"{_name(job)}: {counted(item.nonfinite_rows, 'row')} with a NaN or an infinity, left out with their transitions")
    return tuple(notes)


def _name(job: Job) -> str:
    return " ".join(part for part in (job.label, job.spec.name, "of the twin" if job.role == "twin" else "") if part)
