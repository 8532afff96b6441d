"""Settings: later sources win table by table, the result is frozen, and every misspelling is told with the nearest right word."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from layerscout.cache.records import load_object, save_settings
from layerscout.cache.root import checked_root, default_root
from layerscout.cli import COMMANDS, GROUPS
from layerscout.errors import DataError, LayerscoutError, UsageError
from layerscout.settings import STAGES, Config, as_words, build, resolve

FILE = """
[train]
seeds = 5
out = "from-file"
[train.learner]
lr = 0.01
batch = 16

[extract]
threads = 2

[presets.fast.train]
seeds = 1
[presets.fast.train.learner]
lr = 0.5
[presets.slow.extract]
threads = 1
"""


class Learner(Config):
    lr: float = Field(default=0.1, gt=0)
    batch: int = 32
    hidden: tuple[int, ...] = (64,)


class Train(Config):
    environment: str
    seeds: int = Field(default=10, ge=1)
    out: Path = Path("outputs")
    double: bool = True
    learner: Learner = Field(default_factory=Learner)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(FILE)
    return path


def train(**sources) -> Train:
    sources.setdefault("flags", {"environment": "Grid"})
    return resolve(Train, "train", **sources)


def test_each_source_wins_over_the_ones_before(file):
    defaults = {"seeds": 7, "double": False, "learner": {"hidden": [8]}}
    assert train() == Train(environment="Grid")
    assert (train(defaults=defaults).seeds, train(defaults=defaults, file=file).seeds) == (7, 5)
    assert train(defaults=defaults, file=file, preset="fast").seeds == 1
    assert train(defaults=defaults, file=file, preset="fast", assignments=["seeds=3"]).seeds == 3
    flags = {"environment": "Grid", "seeds": 4}
    assert train(defaults=defaults, file=file, preset="fast", assignments=["seeds=3"], flags=flags).seeds == 4


def test_tables_are_merged_key_by_key(file):
    chosen = train(defaults={"double": False, "learner": {"hidden": [8]}}, file=file, preset="fast", assignments=["learner.batch=2"])
    assert chosen == Train(environment="Grid", seeds=1, out=Path("from-file"), double=False, learner=Learner(lr=0.5, batch=2, hidden=(8,)))


class Elsewhere(Config):
    learner: Learner = Learner(lr=0.7, hidden=(8, 8))


class Around(Config):
    inner: Elsewhere | None = None


def test_a_table_is_laid_over_its_defaults_where_it_stands():
    said = resolve(Elsewhere, "train", assignments=["learner.batch=4"])
    assert said.learner == Learner(lr=0.7, hidden=(8, 8), batch=4)
    assert build(Around, {"inner": {"learner": {"hidden": [2]}}}, "x").inner == Elsewhere(learner=Learner(lr=0.7, hidden=(2,)))
    assert resolve(Elsewhere, "train", assignments=[word for word in as_words(said) if word != "--set"]) == said
    with pytest.raises(UsageError, match="did you mean 'batch'"):
        build(Elsewhere, {"learner": {"bach": 4}}, "train")


def test_flags_that_were_not_given_do_not_count(file):
    assert train(file=file, flags={"environment": "Grid", "seeds": None}).seeds == 5


def test_merging_leaves_the_defaults_alone(file):
    defaults = {"learner": {"lr": 0.3}}
    train(defaults=defaults, file=file, preset="fast", assignments=["learner.lr=0.7", "learner.batch=9"])
    assert defaults == {"learner": {"lr": 0.3}}


def test_a_preset_may_be_built_in_and_the_file_wins(file):
    built_in = {"fast": {"train": {"seeds": 99}}, "tiny": {"train": {"seeds": 2}}}
    assert train(preset="tiny", presets=built_in).seeds == 2
    assert train(preset="fast", presets=built_in).seeds == 99
    assert train(preset="fast", presets=built_in, file=file).seeds == 1
    assert train(preset="slow", file=file).seeds == 5, "a preset that says nothing about this stage changes nothing"


@pytest.mark.parametrize("spelling", ["train.learner.lr=0.25", "learner.lr=0.25"])
def test_an_assignment_may_name_its_stage_or_not(spelling):
    assert train(assignments=[spelling]).learner.lr == 0.25


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("seeds=3", "seeds", 3),
        ("double=false", "double", False),
        ("out=some/folder", "out", Path("some/folder")),
        ("environment=a=b", "environment", "a=b"),
        ("environment=layerscout/Grid-v0", "environment", "layerscout/Grid-v0"),
        ('learner={"hidden": [1, 2]}', "learner", Learner(hidden=(1, 2))),
        ("learner.hidden=[]", "learner", Learner(hidden=())),
    ],
)
def test_values_are_read_as_json_and_else_as_words(text, field, value):
    assert (
        getattr(train(assignments=[text], flags={"environment": None} | ({} if field == "environment" else {"environment": "x"})), field)
        == value
    )


def test_what_is_meant_for_another_stage_is_left_to_it():
    assert train(assignments=["extract.threads=3", "collect.steps=5"]) == Train(environment="Grid")


def test_stages_are_the_commands_that_take_settings():
    assert set(STAGES) < COMMANDS.keys() | GROUPS.keys()


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        train().seeds = 3


def test_saved_settings_are_the_same_settings(file, tmp_path):
    chosen = train(file=file)
    path = tmp_path / "new" / "settings.json"
    save_settings(chosen, path)
    save_settings(chosen, path)
    assert Train.model_validate(load_object(path)) == chosen
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("sources", "message", "hint"),
    [
        ({"assignments": ["seed=3"]}, "unknown setting 'train.seed'; did you mean 'seeds'", "settings of [train]: environment, seeds"),
        (
            {"assignments": ["train.learner.lrr=3"]},
            "unknown setting 'train.learner.lrr'; did you mean 'lr'",
            "settings of [train.learner]: lr, batch",
        ),
        (
            {"assignments": ["trian.seeds=3"]},
            "unknown stage 'trian'; did you mean 'train'",
            "collect, import, pretrain, extract, probe, train",
        ),
        ({"assignments": ["lerner.lr=3"]}, "unknown stage 'lerner'; did you mean 'learner'", "stages"),
        ({"assignments": ["learner.lr=Infinity"]}, "setting 'train.learner.lr' is inf, expected a finite number", "--help"),
        ({"assignments": ["seeds"]}, "--set 'seeds' is not of the form", "example"),
        ({"assignments": ["=3"]}, "is not of the form", "example"),
        ({"assignments": ["seeds=0"]}, "setting 'train.seeds' is 0, expected at least 1", "layerscout train --help"),
        ({"assignments": ["seeds.low=1"]}, "train.seeds", "layerscout train --help"),
        ({"assignments": ["seeds=2", "seeds.low=1"]}, "'seeds' is 2, not a table", "without a dot"),
        ({"assignments": ["learner.lr=fast"]}, "'train.learner.lr'", "layerscout train --help"),
        ({"flags": {}}, "setting 'train.environment' is missing", "layerscout train --help"),
        ({"flags": {}, "assignments": ["enviroment=Grid"]}, "unknown setting 'train.enviroment'; did you mean 'environment'", "settings"),
        ({"preset": "fast"}, "unknown preset 'fast'", "--config"),
    ],
)
def test_mistakes_are_told(sources, message, hint):
    with pytest.raises(UsageError) as error:
        train(**sources)
    assert message in str(error.value)
    assert hint in error.value.hint
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[train\n", "is not valid TOML"),
        ("[trian]\nseeds = 1\n", "unknown table 'trian'; did you mean 'train'"),
        ("train = 3\n", "'train' is 3, expected a table"),
        ("seeds = 3\n", "unknown table 'seeds'"),
        ("[presets.fast.tran]\nseeds = 1\n", "unknown table 'tran'; did you mean 'train'"),
        ("[presets]\nfast = 1\n", "'fast' is 1, expected a table"),
        ("[train]\nlearner = 3\n", "'train.learner'"),
        (b"\xff\xfe\x00", "is no file of settings"),
    ],
)
def test_files_that_nobody_would_read_right_are_refused(tmp_path, content, message):
    path = tmp_path / "settings.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=r"settings\.toml|train") as error:
        train(file=path)
    assert message in str(error.value)


def test_an_unknown_preset_is_told_with_the_known_ones(file):
    with pytest.raises(UsageError, match="unknown preset 'fats'; did you mean 'fast'") as error:
        train(file=file, preset="fats")
    assert error.value.hint == "known presets: fast, slow"


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="no configuration file") as error:
        train(file=tmp_path / "none.toml")
    assert error.value.exit_code == 4


def test_a_nested_section_asks_for_help_on_its_command():
    with pytest.raises(LayerscoutError) as error:
        build(Learner, {"lr": -1}, "extract.backbone_options")
    assert error.value.hint == "layerscout extract --help"


# --- paths and the words of mistakes


@pytest.mark.parametrize("source", ["file", "assignment", "flag", "default"])
def test_home_is_one_folder_wherever_a_path_comes_from(tmp_path, monkeypatch, source):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = tmp_path / "settings.toml"
    file.write_text('[train]\nout = "~/results"\n' if source == "file" else "")
    chosen = train(
        file=file,
        assignments=["out=~/results"] if source == "assignment" else (),
        flags={"environment": "Grid"} | ({"out": "~/results"} if source == "flag" else {}),
        defaults={"out": Path("~/results")} if source == "default" else {},
    )
    assert chosen.out == tmp_path / "home" / "results"


def test_the_folder_of_stores_may_be_below_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LAYERSCOUT_ROOT", "~/stores")
    assert default_root() == tmp_path / "stores"


@pytest.mark.parametrize("address", ["s3://KEY:SECRET@bucket/x", "file:///x", "HTTPS://SECRET@host"])
def test_an_address_is_no_folder_of_this_machine(address, monkeypatch):
    """It would become a folder called ``s3:`` here, whose name holds the key."""
    monkeypatch.setenv("LAYERSCOUT_ROOT", address)
    for call in (lambda: train(flags={"environment": "Grid", "out": Path(address)}), lambda: checked_root(address), default_root):
        with pytest.raises(UsageError, match="is an address") as raised:
            call()
        assert "SECRET" not in str(raised.value) + raised.value.hint


def test_a_user_without_a_home_is_told_what_to_give(monkeypatch):
    def nowhere(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LAYERSCOUT_ROOT", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(UsageError, match="no home folder") as error:
        default_root()
    assert "--root FOLDER or LAYERSCOUT_ROOT" in error.value.hint
    monkeypatch.setattr(Path, "expanduser", nowhere)
    with pytest.raises(UsageError, match="~/x: there is no such home folder"):
        train(flags={"environment": "Grid", "out": "~/x"})


class Kinds(Config):
    """A setting of every kind."""

    whole: int = 1
    real: float = 1.0
    flag: bool = False
    word: str = ""
    choice: Literal["one", "two", "three"] = "one"
    either: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    several: tuple[int, ...] = Field(default=(1,), min_length=1)
    form: str = Field(default="1/2", pattern=r"^\d/\d$", description="i/n, counted from 0.")
    between: int = Field(default=3, gt=0, lt=10)
    table: dict[str, int] = Field(default_factory=dict)
    inner: Learner = Field(default_factory=Learner)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"whole": "many"}, "'train.whole' is 'many', expected a whole number"),
        ({"whole": 1.5}, "'train.whole' is 1.5, expected a whole number"),
        ({"real": "fast"}, "'train.real' is 'fast', expected a number"),
        ({"flag": "perhaps"}, "'train.flag' is 'perhaps', expected true or false"),
        ({"word": 3}, "'train.word' is 3, expected text"),
        ({"choice": "tow"}, "'train.choice' is 'tow', expected one, two or three; did you mean 'two'?"),
        ({"either": "atuo"}, "'train.either' is 'atuo', expected a whole number or auto; did you mean 'auto'?"),
        ({"either": 0}, "'train.either' is 0, expected at least 1 or auto"),
        ({"several": []}, "'train.several' has 0 values, expected at least 1"),
        ({"several": [1, "x"]}, "'train.several.1' is 'x', expected a whole number"),
        ({"several": 3}, "'train.several' is 3, expected a list"),
        ({"form": "12"}, "'train.form' is '12', which has the wrong form: i/n, counted from 0."),
        ({"between": 0}, "'train.between' is 0, expected more than 0"),
        ({"between": 10}, "'train.between' is 10, expected less than 10"),
        ({"table": 1}, "'train.table' is 1, expected a table"),
        ({"inner": {"batch": "big"}}, "'train.inner.batch' is 'big', expected a whole number"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_wrong_value_is_told_in_the_words_of_the_settings(values, told):
    with pytest.raises(UsageError) as error:
        build(Kinds, values, "train")
    assert str(error.value) == f"setting {told}"
