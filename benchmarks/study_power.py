"""How often a study of layers finds something that is not there, and something that is: simulated studies, the tests of the report.

Scores and returns are Gaussian profiles over the depth of each group (a backbone with its weights and pooling), with a correlation of
phi^|i-j| between its layers i and j. The true correlation of score and return is ``seen``; the standard error of a mean return is half of
the spread of the layers. Printed are the shares of studies with p < .05: by the t test over tasks, by sign flips over tasks, by both, which
is what the report asks for, and by permuting single layers, which the report does not do.

    python benchmarks/study_power.py [--quick] [--json]
"""

from __future__ import annotations

from dataclasses import dataclass

import harness
import numpy as np
from jaxtyping import Float

from layerscout.report.numbers.association import spearman
from layerscout.report.numbers.blocks import block_test
from layerscout.report.numbers.over_tasks import over_tasks

LEVEL = 0.05
PERMUTATIONS = 199  # of single layers


@dataclass(frozen=True)
class Design:
    """Of one kind of study: tasks, groups of layers in each, layers of a group, their correlation with neighbours, what there is to see."""

    tasks: int
    groups: int
    layers: int
    phi: float
    seen: float = 0.0
    noise: float = 0.5

    @property
    def name(self) -> str:
        return f"{self.tasks}x{self.groups}x{self.layers} phi {self.phi:g}" + (f" rho {self.seen:g}" if self.seen else "")


NULL = (Design(6, 1, 8, 0.9), Design(6, 2, 8, 0.9), Design(8, 4, 4, 0.9), Design(12, 4, 4, 0.9))
TRUE = (Design(6, 2, 8, 0.8, 0.6), Design(8, 4, 4, 0.8, 0.6), Design(8, 4, 4, 0.5, 0.6), Design(12, 4, 4, 0.5, 0.4, 0.25))
SERIES = (Design(1, 4, 4, 0.9), Design(1, 4, 8, 0.9))  # within one task


def smooth_studies(
    design: Design, studies: int, generator: np.random.Generator
) -> tuple[Float[np.ndarray, "study task cell"], Float[np.ndarray, "study task cell"]]:
    """Return the scores and the returns of all cells of simulated studies."""
    place = np.arange(design.layers)
    root = np.linalg.cholesky(design.phi ** np.abs(place[:, None] - place) + 1e-9 * np.eye(design.layers))
    shape = (studies, design.tasks, design.groups, design.layers)
    quality, other = (generator.standard_normal(shape) @ root.T for _ in range(2))
    scores = design.seen * quality + np.sqrt(1 - design.seen**2) * other
    returns = quality + design.noise * generator.standard_normal(shape)
    return scores.reshape(studies, design.tasks, -1), returns.reshape(studies, design.tasks, -1)


def rates(design: Design, studies: int, generator: np.random.Generator) -> dict[str, float]:
    """Return the share of simulated studies called significant by the t test, by sign flips, and by both."""
    found = [over_tasks(row) for row in spearman(*smooth_studies(design, studies, generator))]
    table = np.array([(one.p, one.p_flip) for one in found if one is not None], dtype=np.float64) < LEVEL
    return {"t": float(table[:, 0].mean()), "flips": float(table[:, 1].mean()), "both": float(table.all(axis=1).mean())}


def rate_of_layers(design: Design, studies: int, generator: np.random.Generator) -> float:
    """Return the same share when single layers change places within tasks, as if they were independent of each other."""
    scores, returns = smooth_studies(design, studies, generator)
    observed = np.abs(spearman(scores, returns).sum(axis=1))
    reached = np.ones(studies)
    for _ in range(PERMUTATIONS):
        reached += np.abs(spearman(scores, generator.permuted(returns, axis=2)).sum(axis=1)) >= observed - 1e-12
    return float((reached / (PERMUTATIONS + 1) < LEVEL).mean())


def rate_of_series(design: Design, tasks: int, generator: np.random.Generator) -> float:
    """Return the share of single tasks called significant when whole series change places."""
    scores, returns = (values[:, 0] for values in smooth_studies(design, tasks, generator))
    series = np.repeat(np.arange(design.groups), design.layers)
    tests = [block_test(score, value, series) for score, value in zip(scores, returns, strict=True)]
    return float(np.mean([test is not None and test.p < LEVEL for test in tests]))


def main() -> None:
    chosen = harness.options(__doc__)
    studies, few, generator = (2_000, 100, np.random.default_rng(0)) if chosen.quick else (20_000, 1_000, np.random.default_rng(0))
    figures: dict[str, float] = {}
    for design in (*NULL, *TRUE):
        what = "power" if design.seen else "false alarms"
        figures |= {f"{what}, {test}, {design.name}": round(share, 4) for test, share in rates(design, studies, generator).items()}
        if not design.seen:
            figures[f"{what}, single layers, {design.name}"] = round(rate_of_layers(design, few, generator), 3)
    for design in SERIES:
        figures[f"false alarms, whole series, {design.name}"] = round(rate_of_series(design, studies // 2, generator), 4)
    at_most = {name: 0.06 for name in figures if name.startswith(("false alarms, both", "false alarms, whole"))}
    at_least = {f"power, both, {design.name}": 0.9 for design in TRUE[1:3]}
    harness.finish("study_power", ("numpy", "scipy"), figures, chosen.json, at_least=at_least, at_most=at_most)


if __name__ == "__main__":
    main()
