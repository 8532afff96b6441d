"""Small datasets of every format that can be imported, written without the projects they come from.

Every picture of an episode is of one grey level, so that the level tells which frame it is: ``LEVEL`` times its number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
from foreign_videos import png, write_video

LENGTHS = (4, 3)  # steps of the two episodes
SHAPE = (16, 24, 3)
LEVEL = 20


def frames(count: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.broadcast_to((LEVEL * np.arange(count, dtype=np.uint8)).reshape(-1, *[1] * len(shape)), (count, *shape)).copy()


def numbers_of(pictures: np.ndarray) -> list[int]:
    """Which frames pictures are, by their levels."""
    return [round(float(picture.mean()) / LEVEL) for picture in pictures]


def h5(path: Path, arrays: Mapping[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


def actions(steps: int) -> np.ndarray:
    return np.stack([np.arange(steps), -np.arange(steps)], axis=1).astype(np.float32)


def ends(steps: int) -> np.ndarray:
    return np.arange(steps) == steps - 1


def robomimic(path: Path, **more: object) -> Path:
    arrays: dict[str, object] = {}
    for number, steps in enumerate(LENGTHS):
        demo = f"data/demo_{number}"
        arrays |= {f"{demo}/actions": actions(steps), f"{demo}/rewards": np.arange(steps), f"{demo}/dones": ends(steps).astype(int)}
        arrays |= {f"{demo}/obs/cam": frames(steps), f"{demo}/obs/pos": np.arange(steps) / 2, f"{demo}/states": np.ones((steps, 3))}
    return h5(path / "demos.hdf5", arrays | more)


def d4rl(path: Path, **changes: object) -> Path:
    """Rows one after the other; the first episode ends in a terminal, the second in a timeout."""
    rows = {
        "observations": np.concatenate([frames(steps) for steps in LENGTHS]),
        "actions": np.concatenate([actions(steps) for steps in LENGTHS]),
        "rewards": np.concatenate([np.arange(steps) for steps in LENGTHS]).astype(np.float32),
        "terminals": np.concatenate([ends(LENGTHS[0]), np.zeros(LENGTHS[1], bool)]),
        "timeouts": np.concatenate([np.zeros(LENGTHS[0], bool), ends(LENGTHS[1])]),
        "infos/qpos": np.arange(sum(LENGTHS)) / 4,
    }
    return h5(path / "flat.hdf5", {name: values for name, values in (rows | changes).items() if values is not None})


def v_d4rl(path: Path) -> Path:
    rows = {
        "observation": np.concatenate([frames(steps + 1).transpose(0, 3, 1, 2) for steps in LENGTHS]),
        "action": np.concatenate([np.concatenate([np.zeros((1, 2), np.float32), actions(steps)]) for steps in LENGTHS]),
        "reward": np.concatenate([np.concatenate([[0], np.arange(steps)]) for steps in LENGTHS]).astype(np.float32),
        "step_type": np.concatenate([[0, *[1] * (steps - 1), 2] for steps in LENGTHS]),
        "discount": np.concatenate([1.0 - np.concatenate([[False], ends(steps)]) for steps in LENGTHS]),
    }
    return h5(path / "shard.hdf5", rows)


def dreamer(steps: int, **changes: object) -> dict[str, object]:
    """One episode as Dreamer and V-D4RL keep it in an NPZ file: row t is frame t and the action and reward that led to it."""
    first = {"is_first": np.arange(steps + 1) == 0, "is_last": ends(steps + 1), "is_terminal": ends(steps + 1)}
    rows = {"image": frames(steps + 1), "action": np.concatenate([np.zeros((1, 2), np.float32), actions(steps)])}
    rows |= {"reward": np.concatenate([[0], np.arange(steps)]).astype(np.float32), "discount": 1 - ends(steps + 1).astype(np.float32)}
    rows |= {"height": np.arange(steps + 1) / 8}
    return {name: values for name, values in (rows | first | changes).items() if values is not None}


def npz(path: Path, **changes: object) -> Path:
    (path / "npz").mkdir(parents=True)
    for number, steps in enumerate(LENGTHS):
        np.savez_compressed(path / f"npz/20260101T000000-{number}-{steps + 1}.npz", **dreamer(steps, **changes))
    return path / "npz"


def maniskill(path: Path, **changes: object) -> Path:
    arrays: dict[str, object] = {}
    for number, steps in enumerate(LENGTHS):
        parts = {
            "actions": actions(steps),
            "terminated": ends(steps),
            "truncated": np.zeros(steps, bool),
            "success": ends(steps),
            "rewards": np.arange(steps, dtype=np.float32),
            "obs/sensor_data/base_camera/rgb": frames(steps + 1),
            "obs/sensor_data/base_camera/depth": np.zeros((steps + 1, *SHAPE[:2], 1), np.int16),
            "obs/agent/qpos": np.ones((steps + 1, 9), np.float32),
            "env_states/actors/cube": np.ones((steps + 1, 13), np.float32),
            "env_states/articulations/panda": np.full((steps + 1, 4), 2, np.float32),
        }
        arrays |= {f"traj_{number}/{name}": values for name, values in (parts | changes).items() if values is not None}
    found = h5(path / "trajectory.rgb.pd_joint_pos.cpu.h5", arrays)
    found.with_suffix(".json").write_text(json.dumps({"env_info": {"env_id": "PickCube-v1"}, "episodes": []}))
    return found


def aloha(path: Path, packed: bool = False, **changes: object) -> Path:
    """``packed``: pictures are JPEGs, filled with zeros to one length, as Mobile ALOHA keeps them."""
    for number, steps in enumerate(LENGTHS):
        pictures = frames(steps)
        if packed:
            bytes_ = [jpeg(picture) for picture in pictures]
            longest = max(map(len, bytes_)) + 7
            pictures = np.stack([np.frombuffer(one.ljust(longest, b"\0"), np.uint8) for one in bytes_])
        parts = {
            "action": actions(steps),
            "base_action": np.full((steps, 2), 0.5, np.float32),
            "observations/qpos": np.ones((steps, 14)),
            "observations/images/cam_high": pictures,
            "observations/images/cam_low": pictures,
        }
        h5(path / f"aloha/episode_{number}.hdf5", parts | changes)
    return path / "aloha"


def jpeg(picture: np.ndarray, orientation: int | None = None) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(picture).save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


def minari(path: Path, space: dict[str, object] | None = None, action: dict[str, object] | None = None, **changes: object) -> Path:
    box = {"type": "Box", "dtype": "uint8", "shape": list(SHAPE), "low": 0, "high": 255}
    vector = {"type": "Box", "dtype": "float32", "shape": [2], "low": [-9.0, -9.0], "high": [9.0, 9.0]}
    spaces = {"observation_space": json.dumps(space or box), "action_space": json.dumps(action or vector)}
    arrays: dict[str, object] = {}
    for number, steps in enumerate(LENGTHS):
        parts = {
            "observations": frames(steps + 1),
            "actions": actions(steps),
            "rewards": np.arange(steps, dtype=np.float64),
            "terminations": ends(steps),
            "truncations": np.zeros(steps, bool),
        }
        made = {name: values(steps) if callable(values) else values for name, values in (parts | changes).items()}
        arrays |= {f"episode_{number}/{name}": values for name, values in made.items() if values is not None}
    h5(path / "minari/data/main_data.hdf5", arrays)
    metadata = {"data_format": "hdf5", "total_episodes": len(LENGTHS), "dataset_id": "walks/test-v0", **spaces}
    (path / "minari/data/metadata.json").write_text(json.dumps(metadata))
    return path / "minari"


def lerobot(
    path: Path,
    features: Mapping[str, tuple[str, list[int], Callable[[int, int], object]]] | None = None,
    lengths: tuple[int, ...] = LENGTHS,
    version: str = "v3.0",
    group_rows: int | None = None,
) -> Path:
    """A v3 dataset with pictures in its one Parquet file; a feature is its type, its shape and a function of episode and frame."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = path / "lerobot"
    (root / "meta/episodes/c").mkdir(parents=True)
    (root / "data").mkdir()
    given = {"action": ("float32", [2], lambda episode, frame: [frame, -frame])} if features is None else features
    described = {name: {"dtype": kind, "shape": shape} for name, (kind, shape, _) in given.items()}
    described["observation.image"] = {"dtype": "image", "shape": list(SHAPE)}
    info = {"codebase_version": version, "total_episodes": len(lengths), "fps": 10, "features": described}
    (root / "meta/info.json").write_text(json.dumps(info | {"data_path": "data/{file_index}.parquet"}))
    rows = [(episode, frame) for episode, length in enumerate(lengths) for frame in range(length)]
    pictures = [png(picture) for picture in frames(max(lengths))]
    table = {"episode_index": [episode for episode, _ in rows]}
    table["observation.image"] = [{"bytes": pictures[frame], "path": None} for _, frame in rows]
    table |= {name: [make(episode, frame) for episode, frame in rows] for name, (_, _, make) in given.items()}
    pq.write_table(pa.table(table), root / "data/0.parquet", row_group_size=group_rows or len(rows))
    zeros = [0] * len(lengths)
    where = {"episode_index": range(len(lengths)), "length": lengths, "data/chunk_index": zeros, "data/file_index": zeros}
    pq.write_table(pa.table(where), root / "meta/episodes/c/0.parquet")
    return root


def images(path: Path, suffix: str = "png") -> Path:
    for number, steps in enumerate(LENGTHS):
        for frame, picture in enumerate(frames(steps + 1)):
            file = path / f"images/walk_{number}/frame_{frame}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(picture) if suffix == "png" else jpeg(picture))
    return path / "images"


def video(path: Path) -> Path:
    for number, steps in enumerate(LENGTHS):
        write_video(path / f"video/{number}.mp4", frames(steps + 1))
    return path / "video"


WRITERS: dict[str, Callable[[Path], Path]] = {
    "robomimic": robomimic,
    "d4rl": d4rl,
    "v-d4rl": v_d4rl,
    "npz": npz,
    "maniskill": maniskill,
    "aloha": aloha,
    "minari": minari,
    "lerobot": lerobot,
    "images": images,
    "video": video,
}
CAMERA = {"aloha": "cam_high"}  # where several have pictures
