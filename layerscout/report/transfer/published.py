"""What the paper on REPAINT reports of its own experiments: facts with their source, to stand beside ours."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = (
    "Tao, Genc, Chung, Sun & Mallya 2021, REPAINT, ICML, PMLR 139, pp. 10141-10152: table of all experiments. K is in iterations, and the steps that a teacher "
    "plays are not counted. Its simulator, networks, budget and teachers are not ours: order and shares may be compared, scores only loosely."
)


@dataclass(frozen=True)
class PaperRow:
    """One row: iterations to the target score, and best scores; None: not achieved."""

    environment: str
    teacher: str
    target: float
    baseline: int
    ks: int | None
    it: int | None
    repaint: int
    best: tuple[float, float, float]  # ks, it, repaint

    def reduced(self, arm: str) -> float | None:
        """Return 1 − K / K of the baseline."""
        k: int | None = getattr(self, arm)
        return None if k is None else 1.0 - k / self.baseline


TABLE = (
    PaperRow("Reacher", "similar", -7.4, 173, 51, 97, 42, (-5.3, -5.9, -5.4)),
    PaperRow("Reacher", "different", -7.4, 173, 73, 127, 51, (-6.9, -6.4, -5.2)),
    PaperRow("Ant", "similar", 3685, 997, 363, 623, 334, (5464, 5172, 5540)),
    PaperRow("Single-car", "different", 394, 18, None, None, 13, (331, 388, 396)),
    PaperRow("Single-car", "different", 345, 22, None, None, 15, (300, 319, 354)),
    PaperRow("Multi-car", "sub-task", 1481, 100, 34, 75, 29, (1542, 1610, 1623)),
    PaperRow("Multi-car", "different sub-task", 2.7, 77, 66, 53, 25, (4.9, 4.2, 6.1)),
    PaperRow("StarCraft II", "sub-task", 112, 95, 92, 24, 6, (125, 312, 276)),
)


def published_for(environment: str, teacher_kind: str) -> PaperRow | None:
    """Return the paper's row for an environment of ours with a teacher of this kind; None where it has none."""
    return next((row for row in TABLE if row.environment in environment and row.teacher == teacher_kind), None)
