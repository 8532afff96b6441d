"""Students with teachers, reported: when a target counts as reached, what a teacher is, and a page with a sentence a claim."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerscout.cache import records
from layerscout.cache.records.transfer import TransferArm, TransferRecord, TransferTeacher
from layerscout.errors import DataError
from layerscout.report import plan as stage
from layerscout.report.numbers.savings import iterations_to, kind_of_teacher, kinds_of_teachers, saving, savings_at, share_range, targets_of
from layerscout.report.transfer.claims import transfer_claims
from layerscout.report.transfer.page import render_transfer
from layerscout.report.transfer.published import TABLE
from layerscout.report.transfer.tables import published_table, summary_rows, sweep_table

LENGTH, SEEDS = 40, 3


def arm(end: float, length: int, kind: str = "baseline", teacher: str | None = None, **changes: Any) -> TransferArm:
    """Students that rise evenly to ``end`` within so many iterations and stay there."""
    rise = np.interp(np.arange(LENGTH), [0, length], [-20.0, end])
    scores = rise[:, None] + 0.1 * np.arange(SEEDS)
    plays = kind in ("it", "repaint")
    kept = [(0.1,) * SEEDS if plays and at < 10 else None for at in range(LENGTH)]
    values: dict[str, Any] = {
        "name": kind,
        "kind": kind,
        "teacher": teacher,
        "settings": {"beta": 1.0, "zeta": 1.0},
        "untrained": (-11.0,) * SEEDS,
        "scores": scores.tolist(),
        "sampled": (scores - 1.0).tolist(),
        "kept": kept,
        "effective": kept,
        "student_steps": [100] * LENGTH,
        "teacher_steps": [100 if row else 0 for row in kept],
    }
    return TransferArm.model_validate(values | changes)


def teacher(name: str, score: float) -> TransferTeacher:
    return TransferTeacher(name=name, source=f"{name}.npz", score=score, sampled=score - 1.0, training_steps=None)


def record(*arms: TransferArm, **changes: Any) -> TransferRecord:
    values: dict[str, Any] = {"environment": "layerscout.worlds.reacher:ReacherTwin", "eyes": "the state", "width": 10}
    names = dict.fromkeys(one.teacher for one in arms if one.teacher)
    counts = {"seeds": SEEDS, "iterations": LENGTH, "unverified": ("the denominator is unverified in the source",)}
    return TransferRecord.model_validate(values | counts | {"arms": arms, "teachers": [teacher(name, -5.0) for name in names]} | changes)


WHOLE = (
    arm(-7.0, 40),
    arm(-5.5, 10, "ks", "good"),
    arm(-6.0, 25, "it", "good"),
    arm(-5.2, 8, "repaint", "good"),
    arm(-6.5, 8, "repaint", "good", name="repaint, beta 0.3", swept="beta", settings={"beta": 0.3, "zeta": 1.0}),
)


def test_one_lucky_evaluation_does_not_count_and_a_target_never_reached_is_none() -> None:
    assert iterations_to(np.array([0.0, -9.0, -9.0, -9.0]), -5.0) is None
    assert iterations_to(np.array([-9.0, -5.0, -5.0, -5.0]), -5.0) == 4
    fast = arm(-5.0, 20, student_steps=[200] * LENGTH)
    found = saving(fast, arm(-5.0, 40), -8.0)
    assert found.reduced == pytest.approx(0.5, abs=0.05)
    assert found.reduced_steps == pytest.approx(0.0, abs=0.1), "half the iterations, each of twice the steps"
    assert found.low is not None
    assert found.low <= found.reduced
    never = saving(arm(-9.0, 40), arm(-5.0, 40), -8.0)
    assert (never.iterations, never.steps, never.reduced, never.low, never.high) == (None,) * 5


def test_the_baselines_best_is_found_anew_in_every_resample_so_that_an_interval_exists() -> None:
    slow = arm(-7.0, 40)
    assert saving(arm(-5.0, 10), slow, None).low is not None
    fixed = saving(arm(-5.0, 10), slow, float(np.array(slow.scores)[-3:].mean()) - 1e-9)
    assert fixed.low is None, "the same score held fast is beyond the baseline in half of the resamples"


def test_a_target_that_standing_still_earns_is_no_target() -> None:
    assert saving(arm(-5.0, 10), arm(-7.0, 40), -11.0).iterations is None
    assert saving(arm(-5.0, 10), arm(-7.0, 40), -10.9).iterations is not None


def test_a_teacher_is_what_it_earns_here() -> None:
    kinds = [kind_of_teacher(teacher("one", score), -7.0, -11.0) for score in (-7.0, -7.1, -11.0, -11.1)]
    assert kinds == ["similar", "different", "different", "harmful"]
    assert kinds_of_teachers(record(*WHOLE)) == {"good": "similar"}


def test_shares_are_those_of_the_iterations_in_which_the_teacher_played() -> None:
    assert share_range(WHOLE[3], "kept") == pytest.approx((0.1, 0.1))
    assert share_range(WHOLE[1], "kept") is None


def test_every_claim_has_its_sentence_and_is_judged_by_the_figures() -> None:
    claims = transfer_claims(record(*WHOLE))
    assert [claim.supported for claim in claims] == [True] * 4
    assert "K: repaint 9, ks 11, it 25, baseline 40." in claims[2].sentence
    worse = transfer_claims(record(WHOLE[0], *WHOLE[1:3], arm(-9.0, 40, "repaint", "good", kept=[(0.9,) * SEEDS] * LENGTH)))
    assert [claim.supported for claim in worse] == [False] * 4
    harmful = record(WHOLE[0], arm(-9.0, 40, "repaint", "bad"), teachers=[teacher("bad", -30.0)])
    (held, _) = transfer_claims(harmful)
    assert not held.supported
    assert "At the end -9.45, the baseline -7.55" in held.sentence
    assert "a loss of at most 1.5 was allowed" in held.sentence
    assert transfer_claims(record(WHOLE[3])) == transfer_claims(record(*WHOLE))[3:], "without a baseline only the filter is judged"


@pytest.mark.parametrize(("end", "supported"), [(0.75, True), (0.5, False)])
def test_what_a_harmful_teacher_may_cost_is_in_the_tasks_own_unit(end: float, supported: bool) -> None:
    """On a task of returns about 1 a loss of 1.5 would be no test: here a third of the baseline's gain, (1 − 0.1) / 3, is allowed."""

    def flat(score: float, **said: Any) -> TransferArm:
        return arm(-7.0, 40, **said, scores=[[score] * SEEDS] * LENGTH, untrained=(0.1,) * SEEDS)

    both = flat(end, kind="repaint", teacher="bad")
    grid = record(flat(1.0), both, environment="layerscout/Grid-v0", teachers=[teacher("bad", -1.0)])
    claim = transfer_claims(grid)[0]
    assert claim.supported == supported
    assert "a loss of at most 0.3 was allowed" in claim.sentence
    nothing = record(
        flat(0.1), flat(0.1, kind="repaint", teacher="bad"), environment="layerscout/Grid-v0", teachers=[teacher("bad", -1.0)], target=0.2
    )
    assert not transfer_claims(nothing)[0].supported, "a baseline that learned nothing cannot be held back"


def test_tables_have_the_papers_figures_beside_ours_and_the_swept_values() -> None:
    whole = record(*WHOLE, stricter=[-5.3])
    rows = published_table(whole).rows
    assert rows[2][:4] == ("Reacher, similar, repaint", "42", "76 %", "-5.4")
    assert rows[2][4] == "9"
    assert sum(one.ks is None for one in TABLE) == 2
    assert [row[2] for row in summary_rows(whole, 1)] == ["n/a", "n/a", "n/a", "11", "n/a"]
    assert savings_at(whole, 1)["repaint"].reduced is None
    swept = sweep_table(whole, "good", "beta")
    assert swept is not None
    assert [row[0] for row in swept.rows] == ["0.3", "1"]


def test_the_page_stands_beside_its_record_and_says_what_is_unverified(tmp_path: Path) -> None:
    records.save(record(*WHOLE, notes=["a <note>"]), tmp_path / "transfer.json")
    planned = stage.plan([tmp_path])
    assert planned.describe()["kind"] == "transfer"
    page = stage.run(planned).read_text()
    assert [path.exists() for path in planned.files] == [True, True, True]
    text = (tmp_path / "transfer.md").read_text()
    assert "<note>" not in text
    for heading in ("What was compared", "The teachers", "beta, good", "The paper's figures beside ours", "Notes", "Not in the source"):
        assert f"\n## {heading}\n" in text
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith(("| repaint", "| ks"))] == [
        "| ks",
        "| repaint",
        "| repaint, beta 0.3",
    ]
    assert f"## To {targets_of(record(*WHOLE))[0]:.2f}\n" in text
    for words in ("unverified in the source", "a &lt;note&gt;", "4 of 4 claims hold here", "What the paper reports", "beta, good"):
        assert words in page
    assert page.count("<figure>") == 5
    assert (tmp_path / "transfer.csv").read_text().count("\n") == 1 + len(WHOLE) * LENGTH * SEEDS
    assert sorted(path.stem for path in (tmp_path / "figures").iterdir()) == ["kept", "sampled", "scores", "steps", "sweep-beta"]
    (tmp_path / "transfer.json").write_text("{}")
    with pytest.raises(DataError):
        stage.plan([tmp_path])


def test_a_record_without_teachers_or_target_still_has_a_page() -> None:
    short = arm(
        -7.0, 40, scores=[[-9.0] * SEEDS], sampled=[[None] * SEEDS], kept=[None], effective=[None], student_steps=[100], teacher_steps=[0]
    )
    page = render_transfer(record(short, iterations=1), {}, "layerscout report outputs/transfer")
    assert "No arm learned from a teacher" in page


@pytest.mark.slow
def test_what_arms_saved_is_printed_to_each_target_of_a_finished_folder(tmp_path: Path) -> None:
    made = record(arm(1.0, 40), arm(1.0, 20, "ks", "mild"), stricter=(-5.0,))
    records.save(made, tmp_path / "transfer.json")
    program = Path(__file__).parents[2] / "benchmarks" / "repaint.py"
    answer = subprocess.run([sys.executable, str(program), "--savings", str(tmp_path)], capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)
    assert list(found) == ["to the baseline's best", "to -5"]
    for place, (name, arms) in enumerate(found.items()):
        expected = savings_at(made, place)
        assert {arm: figures["k"] for arm, figures in arms.items()} == {arm: one.iterations for arm, one in expected.items()}, name
    assert found["to -5"]["ks"]["k"] < found["to the baseline's best"]["ks"]["k"]
