"""Settings as keywords in; what a stage would do out, and nothing is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from layerscout.api.running import plan_report, plan_stage, pretraining, selected, stores

if TYPE_CHECKING:
    from layerscout.cache.importers.plan import ImportPlan
    from layerscout.cache.store import Store
    from layerscout.extract.plan import ExtractPlan
    from layerscout.probe.plan import ProbePlan
    from layerscout.report.plan import AnyReport
    from layerscout.rl.economics.plan import WorkPlan
    from layerscout.rl.plan import TrainPlan
    from layerscout.rl.transfer.apv.pretraining import PretrainAPVPlan
    from layerscout.rl.transfer.plan import TransferPlan
    from layerscout.rl.transfer.pvdr.pretrain import PretrainPvdrPlan
    from layerscout.rl.transfer.pvdr.stage import GoalTrainPlan
    from layerscout.worlds.collect import CollectPlan


class Plans:
    """The stages' plans: the same arguments as the functions beside it, and nothing is done. A notebook shows a plan as a table."""

    def collect(self, environment: str, **keys: Any) -> CollectPlan:
        """Say what `collect` would do: steps, bytes, seconds, and whether the file is complete."""
        return plan_stage("collect", {"environment": environment} | keys)

    def import_data(self, source: Path | str, **keys: Any) -> ImportPlan:
        """Say what `import_data` would do: format, episodes, steps, bytes, and what comes over."""
        return plan_stage("import", {"source": Path(source)} | keys)

    def extract(self, backbone: str, data: Path | str, **keys: Any) -> ExtractPlan:
        """Say what `extract` would do: rows, layers, bytes, files, memory, and the store that is there already."""
        return plan_stage("extract", {"backbone": backbone, "data": Path(data)} | keys)

    def probe(self, store: Store | str, *others: Store | str, **keys: Any) -> ProbePlan:
        """Say what `probe` would do: layers to measure, bytes to read, memory, and what is measured already."""
        return plan_stage("probe", stores(store, others, keys))

    def pretrain(self, method: Literal["apv", "pvdr"], data: Path | str, **keys: Any) -> PretrainAPVPlan | PretrainPvdrPlan:
        """Say what `pretrain` would do: sizes, updates, and how many of them are done already."""
        return plan_stage(pretraining(method), {"data": Path(data)} | keys)

    def train(self, environment: str, selection: Path | str | None = None, **keys: Any) -> TrainPlan | WorkPlan | GoalTrainPlan:
        """Say what `train` would do: arms, runs, budget, memory; of work, what the best hours earn."""
        return plan_stage("train", {"environment": environment} | selected(selection) | keys)

    def transfer(self, environment: str, **keys: Any) -> TransferPlan:
        """Say what `transfer` would do: arms, steps, what students see, and what exists."""
        return plan_stage("transfer", {"environment": environment} | keys)

    def report(self, *folders: Path | str, out: Path | str | None = None, registration: Path | str | None = None) -> AnyReport:
        """Say what `report` would write, and from which records."""
        return plan_report(folders, out, registration)


plan = Plans()
