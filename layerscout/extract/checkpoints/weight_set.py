"""A folder of a checkpoint in, the one complete set of weight files in it out: describing, hashing and loading all take this set.

A folder may hold several: one file, shards with an index, the same in another precision (a variant), pickled copies. The rule:

1. The library's own names come first: ``diffusion_pytorch_model`` of diffusers, then ``model`` of transformers.
2. One file, or an index all of whose shards are there, is a complete set. Both at once is an error that names both.
3. An index that names a missing shard does not count beside a complete file: it is left over from an older save.
4. Only without any of these, a single variant (``.fp16.``) is taken; several are an error.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from layerscout.errors import DataError
from layerscout.extract.checkpoints.places.byte_ranges import ByteSource, FolderSource, document

AGAIN = "download the checkpoint again"
STEMS = ("diffusion_pytorch_model", "model")  # as diffusers and as transformers name their files
ADAPTERS = ("adapter_model.safetensors", "adapter_config.json", "pytorch_lora_weights.safetensors", "adapter_model.bin")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".bin.index.json")
FOREIGN = {".gguf": "GGUF", ".h5": "TensorFlow", ".msgpack": "Flax", ".onnx": "ONNX", ".onnx_data": "ONNX", ".tflite": "TensorFlow Lite"}
MERGE = (
    "merge the adapter with its own library and save the whole: pipe.fuse_lora(), pipe.unload_lora_weights(), pipe.save_pretrained(FOLDER)"
)
RESAVE = "pickled weights are refused; save them again with save_pretrained(safe_serialization=True)"


@dataclass(frozen=True)
class WeightSet:
    """The weight files of one part, as names in its folder, in the order in which they are hashed.

    ``listed`` says which file holds which weight, where an index does; ``total`` is what it states as the bytes of all weights.
    """

    files: tuple[str, ...]
    index: str | None = None
    listed: dict[str, str] | None = None
    total: int = 0
    variant: str | None = None


def find_weights(source: ByteSource, folder: str) -> WeightSet:
    """Return the set of files that holds a part's weights.

    Parameters
    ----------
    folder
        The part, relative to the source; "" for its top.

    Raises
    ------
    DataError
        There is none, there are two, a shard is missing, or the index is damaged. Each cause has its own message.
    """
    torn: DataError | None = None
    for stem in STEMS:
        try:
            if found := _one(source, folder, f"{stem}.safetensors", f"{stem}.safetensors.index.json"):
                return found
        except _Torn as error:
            torn = torn or error
    if torn:
        raise getattr(source, "unreachable", None) or torn
    names = source.names(folder) or []
    for stem in STEMS:
        kinds = _variants(stem, names)
        if len(kinds) > 1:
            raise DataError(
                f"{_where(source, folder)} holds several variants of its weights ({', '.join(kinds)})",
                hint="keep the files of one of them in the folder",
            )
        for kind in kinds:
            if found := _one(source, folder, f"{stem}.{kind}.safetensors", f"{stem}.safetensors.index.{kind}.json", kind):
                return found
    raise _nothing(source, folder, names)


class _Torn(DataError):
    """An index that cannot be followed, and no whole file beside it."""


def _one(source: ByteSource, folder: str, whole: str, index: str, variant: str | None = None) -> WeightSet | None:
    """Return the complete set of one name, a file or shards; None where there is neither."""
    single = WeightSet((whole,), variant=variant) if source.size(_path(folder, whole)) is not None else None
    if source.size(_path(folder, index)) is None:
        return single
    try:
        sharded = _sharded(source, folder, index, variant)
    except _Torn:
        if single:
            return single
        raise
    if single and sharded.files != single.files:
        raise DataError(
            f"{_where(source, folder)} holds two sets of weights, {whole} and the {len(sharded.files)} shards of {index}",
            hint="one of them is of an older save: delete it, the index included",
        )
    return sharded


def _sharded(source: ByteSource, folder: str, index: str, variant: str | None) -> WeightSet:
    """Read an index; every shard that it names must be there."""
    where = _where(source, folder)
    try:
        fields = json.loads(document(source, _path(folder, index)) or b"")
        listed = {str(name): _inside(file) for name, file in fields["weight_map"].items()}
        total = int((fields.get("metadata") or {}).get("total_size", 0))
        if not listed:
            raise ValueError("it lists no weight")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _Torn(f"{where}/{index} is damaged: {error!r}", hint=AGAIN) from None
    files = tuple(sorted(set(listed.values())))
    here = source.names(folder)  # None of a server that cannot tell: what is missing there is told when it is read
    if missing := [file for file in files if here is not None and file not in here]:
        gone = ", a link to a file that is gone" if missing[0] in _broken(source, folder) else ""
        raise _Torn(f"{where} misses {missing[0]}{gone}, one of {len(files)} shards", hint=AGAIN)
    return WeightSet(files, index, listed, total, variant)


def _variants(stem: str, names: list[str]) -> list[str]:
    """Return the variants of which there is a whole file or an index."""
    found = set()
    for name in names:
        if match := re.fullmatch(rf"{stem}\.([\w-]+)\.safetensors", name):
            if not re.search(r"-\d{5}-of-\d{5}$", match[1]):
                found.add(match[1])
        elif match := re.fullmatch(rf"{stem}\.safetensors\.index\.([\w-]+)\.json", name):
            found.add(match[1])
    return sorted(found)


def _nothing(source: ByteSource, folder: str, names: list[str]) -> DataError:
    """Say what a folder without a set of weights holds."""
    where = _where(source, folder)
    unreachable: DataError | None = getattr(source, "unreachable", None)  # a hub that could not be asked for more
    if unreachable:
        return unreachable
    if broken := _broken(source, folder):
        return DataError(f"{where}/{broken[0]} is a link to a file that is gone", hint=AGAIN)
    if adapter := next((name for name in names if name in ADAPTERS), None):
        return DataError(f"{where} holds an adapter only ({adapter}), no model", hint=MERGE)
    if shard := next((name for name in names if re.search(r"-\d{5}-of-\d{5}.*\.safetensors$", name)), None):
        return DataError(f"{where} holds shards such as {shard} and no index that lists them", hint=AGAIN)
    pickled = [name for name in names if name.endswith(PICKLED)]
    if not names:  # a place that cannot list its files
        pickled = [name for stem in (*STEMS, "pytorch_model") for name in (f"{stem}.bin",) if source.size(_path(folder, name)) is not None]
    if pickled:
        return DataError(f"{where} holds only the pickled {pickled[0]}", hint=RESAVE)
    if foreign := next(((name, kind) for name in names for end, kind in FOREIGN.items() if name.endswith(end)), None):
        return DataError(f"{where} holds weights in the format of {foreign[1]} only ({foreign[0]})", hint="save the model as safetensors")
    if other := next((name for name in names if name.endswith(".safetensors")), None):
        expected = " or ".join(f"{stem}.safetensors" for stem in STEMS)
        return DataError(f"{where} holds {other}, which is not named {expected}", hint="give a folder that save_pretrained wrote")
    return DataError(f"{where} holds no weights", hint="give the folder that save_pretrained wrote, or download the checkpoint again")


def _broken(source: ByteSource, folder: str) -> list[str]:
    """Names of links that lead nowhere, as a cleaned cache of the hub leaves them."""
    return source.broken_links(folder) if isinstance(source, FolderSource) else []


def _inside(file: Any) -> str:
    """Refuse a shard that is no safetensors file, or not in its checkpoint's folder."""
    name = str(file)
    if PurePosixPath(name).name != name or "\\" in name or not name.endswith(".safetensors"):
        raise ValueError(f"{name!r} is not the name of a safetensors file beside it")
    return name


def _path(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _where(source: ByteSource, folder: str) -> str:
    return f"{source.address}/{folder}" if folder else source.address
