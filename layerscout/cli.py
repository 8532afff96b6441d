"""Words in, one call, words out: the ``layerscout`` command. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from layerscout import __version__
from layerscout.commands import importing as cli_import
from layerscout.commands import passport as cli_passport
from layerscout.commands import store as cli_store
from layerscout.commands.console import AsJson, Debug, DryRun, Quiet, Root, emit, guarded, table
from layerscout.processor import name_core_type
from layerscout.progress import Reporter

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find the one layer of a frozen video model that is worth handing to a reinforcement-learning agent, and prove it.",
)
app.add_typer(cli_store.app, name="store")

ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file with a table for each stage.")]
Preset = Annotated[str | None, typer.Option("--preset", help="Name of a [presets.NAME] table in the file.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="Override one setting: key=value or stage.key=value.")]
Out = Annotated[Path | None, typer.Option("--out", help="Where the results go.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or cuda:0.")]
Threads = Annotated[int | None, typer.Option("--threads", help="CPU threads.")]


@app.command()
@guarded
def demo(
    out: Annotated[Path, typer.Option("--out", help="Where everything goes.")] = Path("outputs"),
    config: ConfigFile = None,
    preset: Preset = None,
    set_: Assignments = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The whole job on real pixels in minutes: collect, extract, probe, train, report."""
    from layerscout.commands import demo as whole

    settings = whole.settings_for(out, file=config, preset=preset, assignments=set_ or ())
    if dry_run:
        emit(whole.describe(settings), as_json)
        return
    result = whole.run(settings, Reporter(quiet, events=out / "events.jsonl"))
    emit(result.data, as_json, result.text)


@app.command()
@guarded
def collect(
    environment: Annotated[str | None, typer.Argument(help="layerscout/Intercept-v0, layerscout/Grid-v0 or any Gymnasium id.")] = None,
    steps: Annotated[int | None, typer.Option(help="Environment steps, at least.")] = None,
    policy: Annotated[str | None, typer.Option(help="random, random:K, epsilon:E, epsilon:E:K or noise:S.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    copies: Annotated[int | None, typer.Option(help="Games side by side; changes speed, not data.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the square frame in pixels.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The HDF5 file (default: outputs/data.h5).")] = None,
    config: ConfigFile = None,
    preset: Preset = None,
    set_: Assignments = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Play with an exploratory policy and keep the episodes."""
    from layerscout.worlds import collect as stage
    from layerscout.worlds.config import CollectConfig

    flags: dict[str, Any] = {"environment": environment, "steps": steps, "policy": policy, "seed": seed, "copies": copies}
    flags |= {"size": size, "out": out}
    planned = stage.plan(_settings(CollectConfig, "collect", config, preset, set_, flags))
    if dry_run:
        emit(planned.describe(), as_json)
        return
    path = stage.run(planned, Reporter(quiet))
    from layerscout.cache.dataset.trajectories import Trajectories

    with Trajectories(path) as data:
        facts = {"data": str(path), "episodes": len(data.lengths), "steps": int(data.lengths.sum()), "bytes": path.stat().st_size}
    emit(facts | {"next": f"layerscout extract tiny {path}"}, as_json)


app.command("import")(cli_import.import_dataset)
app.command()(cli_passport.passport)


@app.command()
@guarded
def layers(
    backbone: Annotated[str, typer.Argument(help="NAME or NAME:SOURCE.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List a backbone's layers, widths and parameters without loading weights."""
    from layerscout.extract.backbones.finding import find_backbone

    found = find_backbone(backbone)
    facts = {
        "backbone": backbone,
        "clip_steps": list(found.clip.offsets),
        "frame_shape": list(found.clip.frame_shape),
        "default_pooling": found.default_pooling,
        "layers": [{"name": layer.name, "width": layer.width, "parameters": layer.parameters} for layer in found.layers],
    }
    rows = [(layer.depth, layer.name, layer.width, f"{layer.parameters:,}") for layer in found.layers]
    clip = f"clip of {len(found.clip.offsets)} frames {'x'.join(map(str, found.clip.frame_shape))}, default pooling {found.default_pooling}"
    emit(facts, as_json, f"{clip}\n{table(('depth', 'layer', 'width', 'parameters'), rows)}")


@app.command()
@guarded
def extract(
    backbone: Annotated[str | None, typer.Argument(help="NAME or NAME:SOURCE; see: layerscout layers.")] = None,
    data: Annotated[Path | None, typer.Argument(help="Trajectories from layerscout collect.")] = None,
    root: Root = None,
    layer: Annotated[list[str] | None, typer.Option("--layer", help="Only these layers (repeat).")] = None,
    pooling: Annotated[list[str] | None, typer.Option(help="WHERE/HOW, e.g. last/grid4 or all/mean (repeat for several).")] = None,
    compute: Annotated[str | None, typer.Option(help="Numbers inside the model: float32, bfloat16 or float16.")] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="Run the blocks through torch.compile.")] = False,
    latents: Annotated[bool, typer.Option("--latents", help="Keep a denoiser's VAE latents in a store of their own.")] = False,
    batch: Annotated[str | None, typer.Option(help="Clips a forward pass, or auto: as many as memory takes.")] = None,
    name: Annotated[str | None, typer.Option(help="What people will call the store.")] = None,
    device: Device = None,
    threads: Threads = None,
    scheduler: Annotated[str | None, typer.Option(help="A dask scheduler (tcp://…), or local:N for N processes here.")] = None,
    config: ConfigFile = None,
    preset: Preset = None,
    set_: Assignments = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a frozen video model once over a dataset and store every layer."""
    from layerscout.extract import run as stage
    from layerscout.extract.config import ExtractConfig

    flags: dict[str, Any] = {"backbone": backbone, "data": data, "root": root, "layers": layer or None, "pooling": pooling or None}
    flags |= {"compute": compute, "compile": compile_ or None, "latents": latents or None, "batch": batch, "name": name}
    flags |= {"device": device, "threads": threads, "scheduler": scheduler}
    planned = stage.plan(_settings(ExtractConfig, "extract", config, preset, set_, flags))
    if dry_run:
        emit(planned.describe(), as_json)
        return
    store = stage.run(planned, Reporter(quiet))
    facts = {
        "store": store.id,
        "name": planned.config.name,
        "path": str(store.path),
        "rows": store.rows,
        "layers": list(store.specs),
        "bytes": planned.bytes,
    }
    emit(facts | {"next": f"layerscout probe {planned.config.name or store.id}"}, as_json)


@app.command()
@guarded
def probe(
    store: Annotated[list[str] | None, typer.Argument(help="A store's id, name, folder or URL; several are ranked together.")] = None,
    twin: Annotated[str | None, typer.Option(help="Store of the untrained backbone on the same data.")] = None,
    root: Root = None,
    out: Out = None,
    layer: Annotated[list[str] | None, typer.Option("--layer", help="Only these layers (repeat).")] = None,
    top_k: Annotated[int | None, typer.Option(help="Layers to hand to RL.")] = None,
    threads: Threads = None,
    scheduler: Annotated[str | None, typer.Option(help="A dask scheduler (tcp://…), or local for processes here.")] = None,
    shard: Annotated[str | None, typer.Option(help="i/n: only every n-th piece of the pass from the i-th, counted from 0.")] = None,
    config: ConfigFile = None,
    preset: Preset = None,
    set_: Assignments = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Rank stores' layers by what a linear map can read from them; no GPU, no torch."""
    from layerscout.probe import run as stage
    from layerscout.probe.config import ProbeConfig
    from layerscout.probe.page import report

    first, others = (store[0], store[1:]) if store else (None, [])
    flags: dict[str, Any] = {"store": first, "others": others or None, "twin": twin, "root": root, "out": out}
    flags |= {"layers": layer or None, "top_k": top_k, "threads": threads, "scheduler": scheduler, "shard": shard}
    planned = stage.plan(_settings(ProbeConfig, "probe", config, preset, set_, flags))
    if dry_run:
        emit(planned.describe(), as_json)
        return
    if planned.config.shard is not None:
        emit(stage.run_shard(planned, Reporter(quiet)), as_json)
        return
    ranking = stage.run(planned, Reporter(quiet))
    emit(ranking.model_dump(), as_json, report.as_text(ranking))


@app.command()
@guarded
def train(
    environment: Annotated[str | None, typer.Argument(help="The environment that the dataset came from.")] = None,
    selection: Annotated[Path | None, typer.Option(help="selection.json of layerscout probe.")] = None,
    mode: Annotated[str | None, typer.Option(help="offline, online or in-loop.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs an arm.")] = None,
    head: Annotated[list[str] | None, typer.Option("--head", help="linear or mlp (repeat to compare).")] = None,
    algorithm: Annotated[str | None, typer.Option(help="auto, dqn, sac or iql.")] = None,
    all_layers: Annotated[bool | None, typer.Option("--all-layers", help="Every layer takes part: for score against return.")] = None,
    updates: Annotated[int | None, typer.Option(help="Updates (offline).")] = None,
    steps: Annotated[int | None, typer.Option(help="Environment steps a run (online, in-loop).")] = None,
    root: Root = None,
    out: Out = None,
    device: Device = None,
    threads: Threads = None,
    config: ConfigFile = None,
    preset: Preset = None,
    set_: Assignments = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train agents on the selected layers and on the controls, under one budget."""
    from layerscout.report import tables
    from layerscout.rl import run as stage
    from layerscout.rl.config import TrainConfig

    flags: dict[str, Any] = {"environment": environment, "selection": selection, "mode": mode, "seeds": seeds, "heads": head or None}
    flags |= {
        "algorithm": algorithm,
        "all_layers": all_layers,
        "updates": updates,
        "steps": steps,
        "root": root,
        "out": out,
        "device": device,
        "threads": threads,
    }
    settings = _settings(TrainConfig, "train", config, preset, set_, flags)
    planned = stage.plan(settings)
    if dry_run:
        emit(planned.describe(), as_json)
        return
    record = stage.run(planned, Reporter(quiet, events=settings.out / "events.jsonl"))
    emit(record.model_dump(), as_json, table(tables.PAPER_COLUMNS, tables.summary_cells(record)))


@app.command()
@guarded
def report(
    folder: Annotated[
        list[Path] | None, typer.Argument(help="Results of probe and train (default: outputs); several are tasks of a study.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where a study goes (several folders: outputs/study).")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write one self-contained HTML page and paper.md from the run's own files; from several folders, a study of score against return."""
    folders = folder or [Path("outputs")]
    if out is not None or len(folders) > 1:
        from layerscout.report.study.page import write_study

        page = write_study(folders, out or Path("outputs/study"))
        emit({"page": str(page), **{name: str(page.with_name(f"study.{name}")) for name in ("json", "csv", "md")}}, as_json)
        return
    from layerscout.report.report import write_report

    page = write_report(folders[0])
    emit({"page": str(page), "paper": str(page.with_name("paper.md"))}, as_json)


@app.command()
@guarded
def doctor(as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Print what a bug report needs: versions, devices, GL, free disk."""
    from layerscout.commands.doctor import examine, readable

    facts = examine()
    emit(facts, as_json, readable(facts))


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"layerscout {__version__}")
        raise typer.Exit()


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    pass


def _settings(model: Any, section: str, file: Path | None, preset: str | None, assignments: list[str] | None, flags: dict[str, Any]) -> Any:
    from layerscout import settings

    return settings.resolve(model, section, file=file, preset=preset, assignments=assignments or (), flags=flags)


def main() -> None:
    """Entry point of the ``layerscout`` command."""
    name_core_type()  # before numpy is loaded
    app()
