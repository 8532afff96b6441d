"""Every field comes over under a name and a type that keep it, or is refused with the command that goes on without it."""

from __future__ import annotations

import functools
import itertools
import json
import shlex
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from foreign_files import (
    CAMERA,
    LENGTHS,
    SHAPE,
    WRITERS,
    aloha,
    d4rl,
    ends,
    frames,
    h5,
    lerobot,
    maniskill,
    minari,
    npz,
    numbers_of,
    robomimic,
)
from identity_by_hand import make_identity
from typer.testing import CliRunner

from layerscout import registry
from layerscout.cache.dataset.trajectories import Episode, Trajectories
from layerscout.cache.importers import run as importing
from layerscout.cache.importers.config import ImportConfig
from layerscout.cli import app
from layerscout.errors import DataError, UsageError
from layerscout.progress import Reporter

pytest.importorskip("av", reason="videos are decoded by PyAV; installed with layerscout[import]")
pytest.importorskip("pyarrow", reason="tables are read by pyarrow; installed with layerscout[import]")
pytestmark = pytest.mark.usefixtures("trusted_hdf5")
FIRST, SECOND = LENGTHS


def take(source: Path, **options) -> list[Episode]:
    """Every episode as it would be written."""
    planned = importing.plan(ImportConfig(source=source, out=source.parent / "never.h5", **options))
    return [planned.importer.episode(item) for item in planned.episodes]


def account(source: Path, **options) -> str:
    return importing.plan(ImportConfig(source=source, out=source.parent / "never.h5", **options)).describe()["came_over"]


def words_after(hint: str, *flags: str) -> dict:
    """The options that a hint's command adds, as settings; what comes after the command is talk."""
    words = shlex.split(hint.partition(", or ")[0])
    assert words[:2] == ["layerscout", "import"]
    found: dict = {}
    for flag, value in itertools.pairwise(words):
        if flag in flags:
            name = flag[2:].replace("-", "_")
            found[name] = (*found.get(name, ()), value) if name in ("leave_out", "action") else value
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset of every format, written once: what only reads may share it."""
    return functools.cache(lambda kind: WRITERS[kind](tmp_path_factory.mktemp(kind)))


# what every format does alike


@pytest.mark.parametrize("kind", WRITERS)
def test_frames_actions_rewards_and_ends_come_back_at_their_rows(made, kind):
    source = made(kind)
    assert importing.detect_format(source) == {"v-d4rl": "d4rl"}.get(kind, kind)
    episodes = take(source, camera=CAMERA.get(kind))
    acts, rewards = kind not in ("video", "images"), kind not in ("video", "images", "lerobot", "aloha")
    for steps, episode in zip(LENGTHS, episodes, strict=True):
        recorded = steps - (episode.steps < steps)
        assert episode.steps == recorded
        expected = [min(frame, steps - 1) if kind in ("robomimic", "d4rl") else frame for frame in range(recorded + 1)]
        assert numbers_of(episode.frames) == expected
        assert (episode.actions is not None) == acts
        assert (episode.rewards is not None) == rewards
        if acts:
            np.testing.assert_array_equal(episode.actions[:, 0], np.arange(recorded))
        if rewards:
            np.testing.assert_array_equal(episode.rewards, np.arange(recorded))
        assert episode.terminated[-1] | episode.truncated[-1]
        assert not (episode.terminated | episode.truncated)[:-1].any()


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind not in ("video", "images")])
@pytest.mark.parametrize("role", ["actions", "rewards", "ends", "state"])
def test_every_role_can_be_left_out_of_every_format(made, kind, role):
    source = made(kind)
    whole, fewer = (take(source, camera=CAMERA.get(kind), **options)[0] for options in ({}, {"leave_out": (role,)}))
    present = {"actions": whole.actions is not None, "rewards": whole.rewards is not None, "state": whole.state is not None}
    assert {"actions": fewer.actions, "rewards": fewer.rewards, "state": fewer.state}.get(role) is None
    for other in set(present) - {role}:
        assert (getattr(fewer, other) is not None) == present[other]
    assert not (role == "ends" and fewer.terminated.any())
    assert f"Left out: {role}" in account(source, camera=CAMERA.get(kind), leave_out=(role,))


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind not in ("video", "images")])
def test_every_field_can_be_left_out_by_its_own_name(made, kind):
    source = made(kind)
    config = ImportConfig(source=source, out=source.with_name("never.h5"), camera=CAMERA.get(kind))
    importer = importing.plan(config).importer
    own = [name for names in importer.roles.values() for name in names]
    for name in [*own, *importer.fields]:
        fewer = take(source, camera=CAMERA.get(kind), leave_out=(name,))[0]
        assert name.replace("/", ".") not in fewer.extra
        if name in importer.roles.get("actions", ()):
            assert fewer.actions is None
        if name in importer.roles.get("rewards", ()):
            assert fewer.rewards is None
    with pytest.raises(UsageError, match="no field 'rewrds' to leave out; did you mean 'rewards'"):
        take(source, camera=CAMERA.get(kind), leave_out=("rewrds",))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("video", "frames. Not in the source: actions, rewards, ends, state."),
        ("lerobot", "frames, actions (2 numbers: action). Not in the source: rewards, ends, state."),
        (
            "robomimic",
            "frames, actions (2 numbers: actions), rewards (rewards), ends (dones), state (states), 1 other field (pos).",
        ),
        ("d4rl", "ends (terminals, timeouts), 1 other field (infos.qpos). Not in the source: state."),
        ("npz", "rewards (reward), ends (is_terminal, discount), 1 other field (height). Not in the source: state."),
        (
            "maniskill",
            "state (env_states), 2 other fields (agent.qpos, success). Not taken: 'sensor_data/base_camera/depth' (int16 (16, 24, 1)).",
        ),
        (
            "aloha",
            "2 other fields (base_action, qpos). Not in the source: rewards, ends, state. Not taken: 'observations/images/cam_low' (another camera).",
        ),
    ],
)
def test_an_import_ends_with_what_came_over_and_what_did_not(made, tmp_path, kind, expected):
    source = made(kind)
    config = ImportConfig(source=source, out=tmp_path / "x.h5", camera=CAMERA.get(kind))
    assert importing.plan(config).describe()["came_over"].endswith(expected)
    words = ["import", str(source), "--out", str(config.out), *(["--camera", config.camera] if config.camera else [])]
    for _ in range(2):  # also when it is complete
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0
        assert done.stdout.splitlines()[-1].startswith("came_over: frames")
        assert done.stdout.splitlines()[-1].endswith(expected)


# names


@pytest.mark.parametrize(
    ("first", "second"),
    [("state", "observation.state"), ("arm pos", "arm/pos"), ("_x", "x"), ("a.b", "a b"), ("reward", "observation.reward")],
)
def test_fields_that_would_become_one_column_are_refused(tmp_path, first, second):
    number = ("float32", [1], lambda episode, frame: frame)
    source = lerobot(tmp_path / "in", {"action": number, first: number, second: number})
    with pytest.raises(DataError, match="would both become the column") as caught:
        take(source)
    (episode, _) = take(source, **words_after(caught.value.hint, "--leave-out"))
    assert len(episode.extra) == 1


def test_names_that_become_one_are_refused_in_every_format(tmp_path):
    pair = {f"data/demo_{number}/obs/{name}": np.zeros(steps) for number, steps in enumerate(LENGTHS) for name in ("a b", "a.b")}
    with pytest.raises(DataError, match=r"'a b' and 'a\.b' would both become the column 'a\.b'"):
        take(robomimic(tmp_path / "robomimic", **pair))
    with pytest.raises(DataError, match=r"would both become the column 'infos\.a\.b'"):
        take(d4rl(tmp_path / "d4rl", **{"infos/a b": np.zeros(sum(LENGTHS)), "infos/a.b": np.zeros(sum(LENGTHS))}))
    with pytest.raises(DataError, match=r"would both become the column 'a\.b'"):
        take(npz(tmp_path / "npz", **{"a b": np.zeros(FIRST + 1), "a.b": np.zeros(FIRST + 1)}))
    box = {"type": "Box", "dtype": "float32", "shape": [1], "low": 0, "high": 1}
    picture = {"type": "Box", "dtype": "uint8", "shape": list(SHAPE), "low": 0, "high": 255}
    space = {"type": "Dict", "subspaces": {"pixels": picture, "a": {"type": "Dict", "subspaces": {"b": box}}, "a.b": box}}
    one = {f"observations/{name}": lambda steps: np.zeros((steps + 1, 1), np.float32) for name in ("a/b", "a.b")}
    pixels = {"observations": None, "observations/pixels": lambda steps: frames(steps + 1)}
    with pytest.raises(DataError, match=r"'a/b' and 'a\.b' would both become the column 'a\.b'"):
        take(minari(tmp_path / "minari", space, **one, **pixels))
    twice = {"type": "Dict", "subspaces": {"pixels": picture, "a": {"type": "Dict", "subspaces": {"b": box}}, "a/b": box}}
    with pytest.raises(DataError, match="two parts of the observation space have the path 'a/b'"):
        take(minari(tmp_path / "twice", twice))


def test_a_state_of_every_step_and_a_field_called_state_are_two(tmp_path):
    """A state with a row less than frames becomes a column of its own, which must not swallow another."""
    more = {f"data/demo_{number}/next_obs/cam": frames(steps) for number, steps in enumerate(LENGTHS)}
    more |= {f"data/demo_{number}/obs/state": np.zeros(steps) for number, steps in enumerate(LENGTHS)}
    with pytest.raises(DataError, match=r"'state' and 'state' would both become the column 'observation\.state'"):
        take(robomimic(tmp_path / "in", **more))


# actions and rewards


@pytest.mark.parametrize(
    ("features", "options", "expected"),
    [
        ({"actions": ([2], [1, 2])}, {}, [1, 2]),
        ({"action": ([2, 2], [[1, 2], [3, 4]])}, {}, [1, 2, 3, 4]),
        ({"actions": ([2, 2], [[1, 2], [3, 4]])}, {}, [1, 2, 3, 4]),
        ({"action.arm": ([2], [1, 2])}, {}, [1, 2]),
        ({"actions.joint.position": ([2], [1, 2])}, {}, [1, 2]),
        ({"action": ([2], [1, 2]), "action.arm": ([1], 5)}, {}, [1, 2]),
        ({"action": ([2], [1, 2]), "action.arm": ([1], 5)}, {"action": ("action.arm", "action")}, [5, 1, 2]),
        ({"action.arm": ([2], [1, 2]), "action.hand": ([1], 5)}, {"action": ("action.hand", "action.arm")}, [5, 1, 2]),
        ({"control": ([2], [1, 2])}, {"action": ("control",)}, [1, 2]),
    ],
)
def test_actions_of_lerobot_are_found_under_other_names(tmp_path, features, options, expected):
    made = {name: ("float32", shape, lambda episode, frame, value=value: value) for name, (shape, value) in features.items()}
    episode = take(lerobot(tmp_path / "in", made), **options)[0]
    np.testing.assert_array_equal(episode.actions, np.tile(np.float32(expected), (FIRST - 1, 1)))
    assert not set(options.get("action", ())) & set(episode.extra)


def test_several_fields_that_look_like_actions_are_told_with_the_way_to_take_them(tmp_path):
    made = {name: ("float32", [1], lambda episode, frame: frame) for name in ("action.arm", "action.hand")}
    source = lerobot(tmp_path / "in", made)
    assert take(source)[0].actions is None
    told = account(source)
    assert "Not in the source: actions" in told
    assert take(source, **words_after(told[told.index("layerscout import") :], "--action"))[0].actions.shape == (FIRST - 1, 2)


def test_actions_and_rewards_can_be_chosen_in_every_format_of_arrays(tmp_path):
    chosen = {"action": ("action", "base_action"), "camera": "cam_low"}
    assert take(aloha(tmp_path / "aloha"), **chosen)[0].actions.shape == (FIRST - 1, 4)
    extra = {f"data/demo_{number}/actions_abs": np.full((steps, 3), 7.0) for number, steps in enumerate(LENGTHS)}
    extra |= {f"data/demo_{number}/action_dict/gripper": np.full((steps, 1), 8.0) for number, steps in enumerate(LENGTHS)}
    source = robomimic(tmp_path / "robomimic", **extra)
    assert take(source, action=("actions_abs", "action_dict/gripper"))[0].actions[0].tolist() == [7, 7, 7, 8]
    assert "'actions_abs' (float64 (3,))" in account(source)
    parts = {"actions": None, "actions/arm": np.full((FIRST, 2), 3.0), "actions/hand": np.full((FIRST, 1), 4.0)}
    source = maniskill(tmp_path / "maniskill", **dict(parts.items()))
    with h5py.File(source, "r+") as file:
        del file["traj_1"]
    assert take(source)[0].actions is None
    assert "--action actions/arm --action actions/hand" in account(source)
    assert take(source, action=("actions/hand", "actions/arm"))[0].actions[0].tolist() == [4, 3, 3]
    space = {"type": "Dict", "subspaces": {"arm": {"type": "Box", "dtype": "float32", "shape": [2], "low": -1, "high": 1}}}
    acted = {"actions": None, "actions/arm": lambda steps: np.ones((steps, 2), np.float32)}
    assert take(minari(tmp_path / "minari", action=space, **acted))[0].actions.shape == (FIRST, 2)
    with pytest.raises(UsageError, match="no field 'actoin'; did you mean 'action'"):
        take(aloha(tmp_path / "again"), action=("actoin",), camera="cam_low")
    with pytest.raises(UsageError, match="--action action is left out"):
        take(aloha(tmp_path / "both"), action=("action",), leave_out=("actions",), camera="cam_low")


def test_rewards_of_several_columns_need_a_choice(tmp_path):
    table = np.arange(3 * sum(LENGTHS)).reshape(-1, 3)
    reward = ("float32", [3], lambda episode, frame: [frame, 10 * frame, 5.0])
    action = ("float32", [1], lambda episode, frame: frame)
    for source in (d4rl(tmp_path / "d4rl", rewards=table), lerobot(tmp_path / "set", {"action": action, "next.reward": reward})):
        with pytest.raises(DataError, match=r"have 3 columns, a step has one reward: choose one of them") as caught:
            take(source)
        assert take(source, **words_after(caught.value.hint, "--reward"))[0].rewards is not None
        assert take(source, leave_out=("rewards",))[0].rewards is None
    assert take(source, reward="next.reward:1")[0].rewards.tolist() == [0, 10, 20]
    with pytest.raises(DataError, match="have 3 columns"):
        take(source, reward="next.reward:3")
    with pytest.raises(UsageError, match=r"no field 'next\.rewrd'; did you mean 'next\.reward'"):
        take(source, reward="next.rewrd")


def test_rewards_under_another_name_are_taken_when_named(tmp_path):
    number = ("float32", [1], lambda episode, frame: frame)
    source = lerobot(tmp_path / "in", {"action": number, "reward": number})
    assert (take(source)[0].rewards, list(take(source)[0].extra)) == (None, ["observation.reward"])
    assert "rewards" in account(source).partition("Not in the source")[2]
    assert take(source, reward="reward")[0].rewards.tolist() == [0, 1, 2]


# types


def test_whole_numbers_beyond_float32_keep_their_values(tmp_path):
    """Time stamps in nanoseconds a tenth of a second apart: as float32 they would all be the same number."""
    begin = 1_764_331_200_000_000_000
    number = ("float32", [1], lambda episode, frame: frame)
    features = {
        "action": number,
        "stamp": ("int64", [1], lambda episode, frame: begin + frame * 10**8),
        "small": ("int64", [1], lambda e, f: f),
    }
    episode = take(lerobot(tmp_path / "in", features))[0]
    assert episode.extra["stamp"].dtype == np.int64
    np.testing.assert_array_equal(episode.extra["stamp"][:, 0], begin + np.arange(FIRST) * 10**8)
    assert episode.extra["small"].dtype == np.float32  # as ever


@pytest.mark.parametrize("kind", ["robomimic", "d4rl", "npz", "maniskill", "aloha", "minari"])
def test_whole_numbers_keep_their_values_in_every_format(tmp_path, kind):
    """Also when only a later episode goes beyond: the type is the dataset's, not the first episode's."""
    whole = [np.arange(steps + 1) + (2**40 if number else 0) for number, steps in enumerate(LENGTHS)]
    box = {"type": "Box", "dtype": "uint8", "shape": list(SHAPE), "low": 0, "high": 255}
    clock = {"type": "Box", "dtype": "int64", "shape": [1], "low": -(2**63), "high": 2**63 - 1}
    space = {"type": "Dict", "subspaces": {"pixels": box, "tick": clock}}
    by_steps = dict(zip(LENGTHS, whole, strict=True))
    source = {
        "robomimic": lambda path: robomimic(path, **{f"data/demo_{n}/obs/tick": whole[n][:-1] for n in (0, 1)}),
        "d4rl": lambda path: d4rl(path, **{"infos/tick": np.concatenate([one[:-1] for one in whole])}),
        "npz": lambda path: npz_with(path, whole),
        "maniskill": lambda path: h5_with(maniskill(path), {f"traj_{n}/obs/tick": whole[n] for n in (0, 1)}),
        "aloha": lambda path: folder_with(aloha(path), "observations/tick", [one[:-1] for one in whole]),
        "minari": lambda path: minari(
            path,
            space,
            observations=None,
            **{"observations/pixels": lambda s: frames(s + 1), "observations/tick": lambda s: by_steps[s][:, None]},
        ),
    }[kind](tmp_path / "in")
    for number, episode in enumerate(take(source, camera=CAMERA.get(kind))):
        ticks = next(values for name, values in episode.extra.items() if name.endswith("tick"))
        assert ticks.dtype == np.int64
        expected = whole[number][: len(ticks)] if len(ticks) <= len(whole[number]) else whole[number]
        np.testing.assert_array_equal(ticks[: LENGTHS[number], 0], expected[: LENGTHS[number]])


def npz_with(path: Path, whole: list[np.ndarray]) -> Path:
    from foreign_files import dreamer

    (path / "npz").mkdir(parents=True)
    for number, steps in enumerate(LENGTHS):
        np.savez(path / f"npz/{number}.npz", **dreamer(steps, tick=whole[number]))
    return path / "npz"


def h5_with(path: Path, more: dict) -> Path:
    with h5py.File(path, "r+") as file:
        for name, values in more.items():
            file[name] = values
    return path


def folder_with(path: Path, name: str, values: list[np.ndarray]) -> Path:
    for file, one in zip(sorted(path.iterdir()), values, strict=True):
        h5_with(file, {name: one})
    return path


def test_whole_numbers_go_on_into_the_store(tmp_path):
    from layerscout.cache.layout import LayerSpec
    from layerscout.cache.writing.writer import StoreWriter
    from layerscout.extract.index import RowIndex

    begin = 2**60 + 1
    rows = {f"infos/{name}": values + np.arange(sum(LENGTHS)) for name, values in (("stamp", begin), ("clock", 2.0**60))}
    config = ImportConfig(
        source=d4rl(tmp_path / "in", **rows, next_observations=np.zeros((sum(LENGTHS), *SHAPE), np.uint8)), out=tmp_path / "x.h5"
    )
    importing.run(importing.plan(config))
    with Trajectories(config.out) as data:
        index = RowIndex(data)
        count = sum(LENGTHS) + 2
        columns = index.columns(0, count, (0,))
        spec = LayerSpec("z", 1, "float16", "layer", 0, "z")
        writer = StoreWriter.open(tmp_path / "root", make_identity((spec,)), (spec,), count, count, index.specs())
    writer.write_unit(0, {"z": np.zeros((count, 1), np.float16)}, columns)
    store = writer.commit({})
    stamps, clocks = store.index("infos.stamp"), store.index("infos.clock")
    np.testing.assert_array_equal(stamps[:FIRST, 0], begin + np.arange(FIRST))
    assert (stamps.dtype, stamps[FIRST, 0]) == (np.int64, np.iinfo(np.int64).min)  # the last frame's row has no step, so no stamp
    assert (clocks.dtype, np.isnan(clocks[FIRST, 0])) == (np.float64, True)


def test_real_numbers_beyond_float32_keep_their_values_too(tmp_path):
    """Seconds since 1970, a tenth apart: float32 knows them to two minutes."""
    begin = 1_764_331_200.0
    features = {"action": ("float32", [1], lambda e, f: f), "clock": ("float64", [1], lambda episode, frame: begin + frame / 10)}
    episode = take(lerobot(tmp_path / "in", features))[0]
    np.testing.assert_array_equal(episode.extra["clock"][:, 0], begin + np.arange(FIRST) / 10)
    states = {f"data/demo_{number}/states": np.full((steps, 2), 2**40 + 1) for number, steps in enumerate(LENGTHS)}
    path = robomimic(tmp_path / "robomimic")
    with h5py.File(path, "r+") as file:
        for name, values in states.items():
            del file[name]
            file[name] = values
    assert (take(path)[0].state == 2**40 + 1).all()


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("actions", np.full((7, 2), 1e300), "'actions' reaches 1e[+]300, more than float32 holds"),
        ("rewards", np.full(7, 1e300), "'rewards' reaches 1e[+]300"),
        ("rewards", np.full(7, np.nan), "'rewards' is nan at row 0"),
        ("actions", np.full((7, 2), 2**40), "'actions' reaches 1.09951e[+]12, and float32 holds whole numbers exactly up to 16,777,216"),
        ("actions", np.array([0, 1, -1, 0, 1, 0, 0]), "'actions' has -1 at row 2; a whole number a step is a discrete action"),
        ("infos/qpos", np.full(7, np.inf), "'infos/qpos' is inf at row 0"),
        ("infos/qpos", np.full(7, 1e300), None),  # kept as it is
        ("rewards", np.full(7, "text", dtype="S4"), "'rewards' is |has no 'rewards'"),
    ],
)
def test_numbers_that_cannot_be_kept_are_refused_with_the_way_out(tmp_path, name, values, message):
    source = d4rl(tmp_path / "in", **{name: values})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if message is None:
            assert take(source)[0].extra["infos.qpos"].dtype == np.float64
            return
        if values.dtype.kind == "S":
            assert take(source)[0].rewards is None  # no numbers, so no rewards: the last sentence says so
            return
        with pytest.raises(DataError, match=message) as caught:
            take(source)
        assert len(take(source, **words_after(caught.value.hint, "--leave-out"))) == 2


# lengths


def demo(path: Path, steps: int = 5, **arrays: object) -> Path:
    """One robomimic demonstration: five actions, and arrays of other lengths."""
    parts = {"actions": np.zeros((steps, 2)), "obs/cam": frames(steps)} | arrays
    return h5(path / "one.hdf5", {f"data/demo_0/{name}": values for name, values in parts.items()})


@pytest.mark.parametrize(
    ("arrays", "steps", "check"),
    [
        ({"obs/cam": frames(6)}, 5, lambda e: numbers_of(e.frames) == [0, 1, 2, 3, 4, 5]),
        ({"obs/cam": frames(6), "states": np.arange(6)}, 5, lambda e: e.state[:, 0].tolist() == [0, 1, 2, 3, 4, 5]),
        ({"states": np.arange(6)}, 4, lambda e: e.state[:, 0].tolist() == [0, 1, 2, 3, 4]),
        ({"obs/pos": np.arange(6)}, 4, lambda e: e.extra["pos"][:, 0].tolist() == [0, 1, 2, 3, 4]),
        ({"obs/pos": np.arange(5), "next_obs/pos": np.arange(1, 6)}, 4, lambda e: e.extra["pos"][:, 0].tolist() == [0, 1, 2, 3, 4]),
        ({"obs/pos": np.arange(5), "next_obs/cam": frames(5)}, 5, lambda e: e.extra["pos"][:, 0].tolist() == [0, 1, 2, 3, 4]),
        ({"obs/cam": frames(6), "obs/pos": np.arange(7)}, 5, lambda e: e.extra["pos"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]),
        ({"dones": ends(5), "states": np.arange(6)}, 5, lambda e: e.state[:, 0].tolist() == [0, 1, 2, 3, 4, 4]),
    ],
)
def test_one_row_more_than_steps_is_what_the_format_means_or_is_cut(tmp_path, arrays, steps, check):
    (episode,) = take(demo(tmp_path / "in", **arrays))
    assert episode.steps == steps
    assert check(episode)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"states": np.zeros((8, 3))}, "'states' has 8 rows, expected 4 or 5"),
        ({"states": np.zeros((3, 3))}, "'states' has 3 rows, expected 4 or 5"),
        ({"rewards": np.zeros(6)}, "'rewards' has 6 rows, expected 5"),
        ({"dones": np.zeros(3)}, "'ends' has 3 rows, expected 5"),
        ({"obs/pos": np.zeros((9, 2))}, "'pos' has 9 rows, expected 4 or 5"),
    ],
)
def test_other_lengths_are_refused_with_the_way_out(tmp_path, arrays, message):
    source = demo(tmp_path / "in", **arrays)
    with pytest.raises(DataError, match=message) as caught:
        take(source)
    assert len(take(source, **words_after(caught.value.hint, "--leave-out"))) == 1


def test_episodes_without_a_step_are_left_out_and_counted(tmp_path):
    short = {
        f"data/demo_2/{name}": values for name, values in {"actions": np.zeros((1, 2)), "obs/cam": frames(1), "obs/pos": [0.0]}.items()
    }
    short |= {"data/demo_2/rewards": [0.0], "data/demo_2/dones": [0], "data/demo_2/states": np.ones((1, 3))}
    planned = importing.plan(ImportConfig(source=robomimic(tmp_path / "robomimic", **short)))
    assert (len(planned.episodes), planned.describe()["episodes_too_short"]) == (2, 1)
    planned = importing.plan(ImportConfig(source=lerobot(tmp_path / "set", lengths=(3, 1, 4))))
    assert (len(planned.episodes), planned.describe()["episodes_too_short"]) == (2, 1)
    single = demo(tmp_path / "one", 1, dones=np.ones(1))
    assert take(single)[0].steps == 1  # it ended the task: kept, with its frame twice
    with pytest.raises(DataError, match="no episode that can be read: none has a step"):
        take(demo(tmp_path / "none", 1))


def test_what_the_dropped_last_rows_take_with_them_is_said(tmp_path, capsys):
    """A sparse task's only reward is in its last row. Where that row ends the task it is kept; where it does not, it is told of."""
    rows = sum(LENGTHS)
    sparse = np.zeros(rows, np.float32)
    sparse[[FIRST - 1, rows - 1]] = 1
    source = d4rl(tmp_path / "in", rewards=sparse)
    episodes = take(source)
    assert [episode.rewards.sum() for episode in episodes] == [1, 0]
    assert [bool(episode.terminated.any()) for episode in episodes] == [True, False]
    done = importing.run(importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5")), Reporter())
    assert (done["dropped_last_actions"], done["dropped_rewards_other_than_0"], done["repeated_last_frames"]) == (1, 1, 1)
    told = capsys.readouterr().err
    assert "because nobody recorded what they led to: 1; rewards other than 0 that went with them: 1" in told
    assert "kept, because the task ended with them; their last frame stands there twice: 1" in told


# ends


def test_rows_that_no_flag_divides_are_told_of_and_can_be_divided(tmp_path, capsys):
    none = np.zeros(sum(LENGTHS), bool)
    source = d4rl(tmp_path / "in", terminals=none, timeouts=none)
    planned = importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5"))
    (note,) = planned.describe()["notes"]
    assert "no row ends an episode, so all rows are one episode" in note
    importing.run(planned, Reporter())
    assert f"warning: {note}" in capsys.readouterr().err
    assert [episode.steps for episode in take(source)] == [6]
    divided = importing.plan(ImportConfig(source=source, out=tmp_path / "y.h5", episode_length=3))
    assert (divided.describe()["notes"], [item.steps for item in divided.episodes], divided.describe()["episodes_too_short"]) == (
        [],
        [2, 2],
        1,
    )
    assert [numbers_of(episode.frames) for episode in take(source, episode_length=3)] == [[0, 1, 2], [3, 0, 1]]


@pytest.mark.parametrize("flags", [{"timeouts": None}, {"timeouts": None, "terminals": np.zeros(sum(LENGTHS), bool)}])
def test_missing_timeouts_are_told_of(tmp_path, flags):
    source = d4rl(tmp_path / "in", **flags)
    assert importing.plan(ImportConfig(source=source)).describe()["notes"]
    assert importing.plan(ImportConfig(source=d4rl(tmp_path / "whole"))).describe()["notes"] == []


def test_a_length_divides_episodes_that_flags_divide_too_rarely(tmp_path):
    assert [episode.steps for episode in take(d4rl(tmp_path / "in"), episode_length=2)] == [1, 2, 1]
    from foreign_files import v_d4rl

    assert [episode.steps for episode in take(v_d4rl(tmp_path / "v"), episode_length=2)] == [2, 1, 2]


# messages


def test_an_episode_that_differs_is_named_with_its_fields(tmp_path):
    source = robomimic(tmp_path / "in")
    with h5py.File(source, "r+") as file:
        del file["data/demo_1/states"], file["data/demo_1/rewards"]
        file["data/demo_1/states"] = np.ones((SECOND, 5))
    with pytest.raises(DataError, match=rf"{source}, demo_1 has .*state\[5\].*; the first episode has .*state\[3\]") as caught:
        importing.run(importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5")))
    given = words_after(caught.value.hint, "--leave-out")
    assert set(given["leave_out"]) == {"rewards", "state"}
    importing.run(importing.plan(ImportConfig(source=source, out=tmp_path / "y.h5", **given)))


def test_frames_of_another_shape_are_named_with_the_size_that_brings_them_together(tmp_path):
    source = robomimic(tmp_path / "in")
    with h5py.File(source, "r+") as file:
        del file["data/demo_1/obs/cam"]
        file["data/demo_1/obs/cam"] = frames(SECOND, (8, 8, 3))
    with pytest.raises(DataError, match=r"demo_1 has frames of \(8, 8, 3\), the first episode of \(16, 24, 3\)") as caught:
        importing.run(importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5")))
    assert caught.value.hint.endswith("--size 16x24")


def test_a_camera_is_known_by_the_end_of_its_name(tmp_path):
    from foreign_videos import lerobot_episodes, write_lerobot

    source = write_lerobot(tmp_path / "set", "v2.1", lerobot_episodes((3, 3)))
    assert importing.plan(ImportConfig(source=source, camera="wrist")).attributes["camera"] == "observation.images.wrist"
    with pytest.raises(UsageError, match="no camera 'rist'"):
        importing.plan(ImportConfig(source=source, camera="rist"))


@pytest.mark.parametrize("kind", registry.names("importer"))
def test_settings_that_mean_nothing_for_a_format_are_refused(kind):
    """Before the dataset is looked at: this one is not there."""
    importer = registry.load_entry("importer", kind)
    for name, value in {"end": "done", "fps": 5.0, "stride": 2, "stack": "last", "filter_key": "train", "episode_length": 5}.items():
        error, message = (
            (UsageError, f"--{name.replace('_', '-')} means nothing for") if name not in importer.takes else (Exception, "absent")
        )
        with pytest.raises(error, match=message):
            importer(ImportConfig(source="absent", **{name: value}))


def test_a_hint_is_a_command_that_a_shell_takes(tmp_path):
    source = d4rl(tmp_path / "a folder; rm", rewards=np.full(sum(LENGTHS), np.nan))
    done = CliRunner().invoke(app, ["import", str(source), "--out", str(tmp_path / "x.h5"), "--size", "8"])
    hint = next(line for line in done.stderr.splitlines() if "layerscout import" in line)
    words = shlex.split(hint[hint.index("layerscout import") :])
    assert words[2] == str(source)
    assert CliRunner().invoke(app, [*words[1:], "--json"]).exit_code == 0
    with Trajectories(tmp_path / "x.h5") as data:
        assert (data.has_rewards, data.frame_shape, json.dumps(data.attributes["options"])) == (
            False,
            (8, 8, 3),
            '{"leave_out": ["rewards"], "size": "8x8"}',
        )
