"""Videos that keep every bit of every picture, and LeRobot datasets made of them as that project lays them out."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np

FPS = 10
SHAPE = (16, 24, 3)
CAMERAS = ("observation.images.top", "observation.images.wrist")


def pictures(count: int, *seed: int, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_video(path: Path, frames: np.ndarray, fps: float = FPS, codec: str = "libx264rgb", sound: float = 0, **options: str) -> Path:
    """Encode without loss; ``sound`` seconds of silence go beside the pictures."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    chosen = {"libx264rgb": {"qp": "0", "preset": "ultrafast", "g": "4"}, "ffv1": {"level": "3", "slicecrc": "1"}}[codec] | options
    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream(codec, rate=rate, options=chosen)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24" if codec == "libx264rgb" else "bgr0"
        if sound:
            track = container.add_stream("aac", rate=8000)
            quiet = av.AudioFrame.from_ndarray(np.zeros((1, round(8000 * sound)), np.float32), format="fltp", layout="mono")
            quiet.sample_rate = 8000
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if sound:
            container.mux(track.encode(quiet))
            container.mux(track.encode(None))
    return path


def lerobot_episodes(lengths=(5, 2, 7)) -> list[dict[str, np.ndarray]]:
    episodes = []
    for number, length in enumerate(lengths):
        random = np.random.default_rng([5, number])
        episode = {camera: pictures(length, 9, number, place) for place, camera in enumerate(CAMERAS)}
        episode["action"] = random.normal(size=(length, 6)).astype(np.float32)
        episode["observation.state"] = random.normal(size=(length, 6)).astype(np.float32)
        episode["observation.environment_state"] = random.normal(size=(length, 2)).astype(np.float32)
        episode["observation.effort"] = random.normal(size=length).astype(np.float32)
        episodes.append(episode)
    return episodes


def write_lerobot(root: Path, version: str, episodes: list[dict[str, np.ndarray]], rewards: bool = False, image: bool = False) -> Path:
    """Write v2.1 (a file an episode) or v3.0 (two data files, one video a camera for all episodes).

    ``image``: the top camera's pictures are PNGs inside the parquet files instead of a video.
    """
    features = {camera: {"dtype": "video", "shape": list(SHAPE), "names": ["height", "width", "channels"]} for camera in CAMERAS}
    if image:
        features[CAMERAS[0]] = features[CAMERAS[0]] | {"dtype": "image"}
    for name, values in episodes[0].items():
        if name not in CAMERAS:
            features[name] = {"dtype": "float32", "shape": list(values.shape[1:]) or [1], "names": None}
    if rewards:
        features["next.reward"] = {"dtype": "float32", "shape": [1], "names": None}
        features["next.done"] = {"dtype": "bool", "shape": [1], "names": None}
    kinds = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64"}
    features |= {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in kinds.items()}
    lengths = [len(episode["action"]) for episode in episodes]
    info = {"codebase_version": version, "robot_type": "so100", "fps": FPS, "total_episodes": len(episodes), "chunks_size": 2}
    info |= {"total_frames": sum(lengths), "total_tasks": 1, "splits": {"train": f"0:{len(episodes)}"}, "features": features}
    write = _write_v3 if version == "v3.0" else _write_v2
    info |= write(
        root, episodes, [_rows(episode, number, sum(lengths[:number]), rewards, image) for number, episode in enumerate(episodes)], image
    )
    (root / "meta" / "info.json").write_text(json.dumps(info, indent=4))
    return root


def _rows(episode: dict[str, np.ndarray], number: int, before: int, rewards: bool, image: bool) -> dict:
    import pyarrow as pa

    length = len(episode["action"])
    rows = {
        name: pa.array(values.tolist(), pa.list_(pa.float32(), values.shape[1]) if values.ndim == 2 else pa.float32())
        for name, values in episode.items()
        if name not in CAMERAS
    }
    if rewards:
        rows |= {"next.reward": pa.array(np.arange(length, dtype=np.float32)), "next.done": pa.array(np.arange(length) == length - 1)}
    if image:
        rows[CAMERAS[0]] = pa.array(
            [{"bytes": png(frame), "path": f"frame-{place:06d}.png"} for place, frame in enumerate(episode[CAMERAS[0]])]
        )
    index = np.arange(length)
    rows |= {"timestamp": (index / FPS).astype(np.float32), "frame_index": index, "episode_index": np.full(length, number)}
    return rows | {"index": before + index, "task_index": np.zeros(length, np.int64)}


def png(frame: np.ndarray) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="PNG")
    return buffer.getvalue()


def _write_v2(root: Path, episodes: list, rows: list, image: bool) -> dict:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (root / "meta").mkdir(parents=True)
    lines = [json.dumps({"episode_index": number, "tasks": ["walk"], "length": len(one["action"])}) for number, one in enumerate(episodes)]
    (root / "meta" / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    for number, (episode, columns) in enumerate(zip(episodes, rows, strict=True)):
        path = root / f"data/chunk-{number // 2:03d}/episode_{number:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
        for camera in CAMERAS[image:]:
            write_video(root / f"videos/chunk-{number // 2:03d}/{camera}/episode_{number:06d}.mp4", episode[camera])
    return {
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }


def _write_v3(root: Path, episodes: list, rows: list, image: bool) -> dict:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = [0] * (len(rows) - 1) + [1]  # the last episode lies in a data file of its own
    for file in (0, 1):
        path = root / f"data/chunk-000/file-{file:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables([pa.table(columns) for columns, place in zip(rows, files, strict=True) if place == file]), path)
    lengths = [len(episode["action"]) for episode in episodes]
    begins = np.concatenate([[0], np.cumsum(lengths)])
    table = {"episode_index": list(range(len(episodes))), "tasks": [["walk"]] * len(episodes), "length": lengths}
    table |= {"data/chunk_index": [0] * len(episodes), "data/file_index": files}
    table |= {"dataset_from_index": begins[:-1].tolist(), "dataset_to_index": begins[1:].tolist()}
    for camera in CAMERAS[image:]:
        write_video(root / f"videos/{camera}/chunk-000/file-000.mp4", np.concatenate([episode[camera] for episode in episodes]))
        table |= {f"videos/{camera}/{name}": [0] * len(episodes) for name in ("chunk_index", "file_index")}
        table |= {
            f"videos/{camera}/from_timestamp": (begins[:-1] / FPS).tolist(),
            f"videos/{camera}/to_timestamp": (begins[1:] / FPS).tolist(),
        }
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(table), path)
    return {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
