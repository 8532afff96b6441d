"""A checkpoint's folder or hub id in; its configurations, its weight files and their digest out. Nothing here imports torch."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layerscout.errors import DataError

WEIGHTS = "diffusion_pytorch_model.safetensors"  # as diffusers names it
NAMES = (WEIGHTS, "model.safetensors")  # as transformers names it
UNSAFE = ["*.bin", "*.pt", "*.ckpt"]  # pickled: opening one could run code
AGAIN = "download the checkpoint again"


def fetch(source: str, parts: Sequence[str], *, weights: bool) -> Path:
    """Return the local folder of a checkpoint; a hub id is downloaded, without its weights if they are not asked for.

    Parameters
    ----------
    parts
        Folders of the checkpoint, or files (a name with a dot) beside them.

    Raises
    ------
    DataError
        There is no such folder, and it is no hub id or the hub does not give it.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise DataError(
            f"no checkpoint folder {source}", hint=f"give a folder with {', '.join(parts)}, or a hub id such as zai-org/CogVideoX-2b"
        )
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [part if "." in part else f"{part}/*" if weights else f"{part}/*.json" for part in parts]
    try:
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=wanted, ignore_patterns=UNSAFE))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise DataError(
            f"could not get {source} from the hub: {type(error).__name__}", hint="check the id and the network, or give a local folder"
        ) from None


def read_config(folder: Path, *, name: str = "config.json", kind: str | None = None, needed: Sequence[str] = ()) -> dict[str, Any]:
    """Read the configuration of one part of a checkpoint; ``kind`` is the class that it must be of, ``needed`` fields it must have.

    Raises
    ------
    DataError
        The file is missing or not JSON, the part is of another class, or a field is missing.
    """
    try:
        config = json.loads((folder / name).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{folder.parent} has no {folder.name}/{name}", hint="give the folder that save_pretrained wrote") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{folder / name} is not valid JSON: {error}", hint=AGAIN) from None
    if not isinstance(config, dict) or (kind is not None and config.get("_class_name") != kind):
        seen = config.get("_class_name") if isinstance(config, dict) else config
        raise DataError(f"{folder / name} describes {seen!r}, expected {kind or 'a table'}", hint="choose the backbone of that family")
    for field in needed:
        if field not in config:
            raise DataError(f"{folder.parent}: {folder.name}/{name} misses '{field}'", hint=AGAIN)
    return config


def config_digest(*configs: dict[str, Any]) -> str:
    """Return "sha256:..." over configurations, without the fields that say where and by which version they were written."""
    lasting = [{key: value for key, value in config.items() if not key.startswith("_") or key == "_class_name"} for config in configs]
    return f"sha256:{hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()}"


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of one part that will be loaded: one file, or all shards of the index.

    Raises
    ------
    DataError
        There are none, only pickled ones, or a shard is missing.
    """
    index = next((folder / f"{name}.index.json" for name in NAMES if (folder / f"{name}.index.json").is_file()), None)
    if index is None:
        whole = next((folder / name for name in NAMES if (folder / name).is_file()), None)
        if whole is None:
            pickled = next((path.name for pattern in UNSAFE for path in sorted(folder.glob(pattern))), None)
            why = f"holds no {WEIGHTS}" + (f", only the pickled {pickled}" if pickled else "")
            raise DataError(
                f"{folder} {why}", hint="pickled weights are refused; save them again with save_pretrained(safe_serialization=True)"
            )
        return [whole]
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{index} is damaged: {error!r}", hint=AGAIN) from None
    for name in names:
        if not name.endswith(".safetensors"):
            raise DataError(f"{index} lists {name}, which is not safetensors", hint="pickled weights are refused; convert them first")
        if not (folder / name).is_file():
            raise DataError(f"{folder} misses {name}, one of {len(names)} shards", hint=AGAIN)
    return [folder / name for name in names]


def weights_digest(folders: Sequence[Path]) -> str:
    """Return "sha256:..." over the names, sizes and bytes of the weight files that will be loaded."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in weight_files(folder):
            state = file.stat()
            digest.update(f"{folder.name}/{file.name}|{state.st_size}|".encode())
            digest.update(_file_digest(file, state.st_size, state.st_mtime_ns))
    return f"sha256:{digest.hexdigest()}"


@functools.lru_cache(maxsize=1024)  # a plan, its run and an agent ask for the same tens of gigabytes
def _file_digest(file: Path, size: int, modified: int) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
