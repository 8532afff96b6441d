"""A part's set of weight files in, its tensors by name out: where each lies, and how its numbers are meant. No value is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from layerscout.errors import DataError
from layerscout.extract.checkpoints.places.byte_ranges import ByteSource, FolderSource
from layerscout.extract.checkpoints.tensors.formats import NumberLayout, check_configuration, check_note, notes_of, read_layout
from layerscout.extract.checkpoints.tensors.header import TensorHeader, TensorRange, read_header
from layerscout.extract.checkpoints.weight_set import AGAIN, WeightSet


@dataclass(frozen=True)
class StoredTensors:
    """The tensors of one part of a checkpoint.

    ``files`` says in which file each lies (all that are known by name), ``headers`` are those that were read; paths of files are
    relative to the source.
    """

    source: ByteSource
    folder: str
    weights: WeightSet
    layout: NumberLayout
    files: dict[str, str]
    headers: dict[str, TensorHeader] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The place of this part of the checkpoint as errors name it."""
        return f"{self.source.address}/{self.folder}" if self.folder else self.source.address

    @property
    def values(self) -> list[str]:
        """Names of the tensors that belong to the model, without the scales beside them."""
        return self.layout.values(self.files)

    def range(self, name: str) -> TensorRange:
        """Return where a tensor lies in its file; its header is read if need be."""
        return self.header(self.files[name]).tensors[name]

    def header(self, path: str) -> TensorHeader:
        """Return the header of a file, held against what the index says of it.

        Raises
        ------
        DataError
            It is missing or damaged, or holds other tensors than the index lists there.
        """
        if path not in self.headers:
            self.headers[path] = header = read_header(self.source, path)
            for name in (name for name, file in self.files.items() if file == path and name not in header.tensors):
                raise DataError(f"{self.source.address}/{path} lacks {name}, which the index lists there", hint=AGAIN)
            for name in (name for name in header.tensors if self.files.get(name) != path):
                other_place = f"and {self.files[name]} too" if name in self.files else "which the index does not list"
                raise DataError(f"{self.source.address}/{path} holds {name}, {other_place}", hint=f"the index is of another save: {AGAIN}")
        return self.headers[path]

    def knowing(self, names: Iterable[str]) -> StoredTensors:
        """Return the same with the headers of some tensors' files, and of their scales' files, read and understood.

        Raises
        ------
        DataError
            A file is damaged, the index is not of these files, or the numbers are in a format that is not read.
        """
        wanted = list(names)
        for name in [*wanted, *(self.layout.scales[name] for name in wanted if name in self.layout.scales)]:
            self.header(self.files[name])
        known = {name: item for header in self.headers.values() for name, item in header.tensors.items()}
        metadata = {key: value for header in self.headers.values() for key, value in header.metadata.items()}
        layout = read_layout(self.files, known, self.where, metadata)
        for name in notes_of(layout) if names is self.files else ():
            item = self.range(name)
            check_note(self.source.read(self.files[name], item.start, item.stop), name, self.where)
        return replace(self, layout=layout)


def stored_file(file: Path) -> StoredTensors:
    """Open one safetensors file that belongs to no checkpoint.

    Raises
    ------
    DataError
        There is no such file, it is damaged, or its numbers are in a format that is not read.
    """
    if not file.is_file():
        raise DataError(f"there is no file {file}", hint="give a safetensors file")
    return open_stored(FolderSource(file.parent), "", WeightSet((file.name,)), {})


def open_stored(source: ByteSource, folder: str, weights: WeightSet, config: Mapping[str, Any], *, headers: bool = True) -> StoredTensors:
    """Say where the tensors of a part lie and how their numbers are meant.

    Parameters
    ----------
    config
        The part's configuration, which may say that it is quantised.
    headers
        Whether to read every file's header; where an index names the tensors, single ones can be looked at later (``knowing``).

    Raises
    ------
    DataError
        A file is damaged, the index is not of these files, or the numbers are in a format that is not read.
    """
    inside = f"{folder}/" if folder else ""
    check_configuration(config, f"{source.address}/{folder}" if folder else source.address)
    read: dict[str, TensorHeader] = {}
    if weights.listed is None:
        path = inside + weights.files[0]
        read[path] = read_header(source, path)
        files = dict.fromkeys(read[path].tensors, path)
    else:
        files = {name: inside + file for name, file in weights.listed.items()}
    stored = StoredTensors(source, folder, weights, NumberLayout(), files, read)
    return stored.knowing(files if headers else ())
