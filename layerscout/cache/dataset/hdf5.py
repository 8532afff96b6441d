"""The path of an HDF5 file in, the open file out; a group and a name in, what lies there out: in this very file, all numbers written.

A torn file can make the HDF5 library loop without end or crash, so none is opened before it was proved whole or looked through by
another process. HDF5 can lead a reader to other files (links, external storage, virtual arrays) and reads what was never written as zeros, of
any size that the file claims. So nothing of a file that somebody else made is read before it was looked at here.
"""

from __future__ import annotations

import errno
import functools
import math
import os
import subprocess
import sys
from pathlib import Path

import h5py

from layerscout.cache.dataset import hdf5_child
from layerscout.cache.dataset.hdf5_seal import check_seal, is_sealed
from layerscout.cache.file_state import FileState
from layerscout.errors import BudgetError, DataError, raise_shortage
from layerscout.memory import available_memory

FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
LEAST_SECONDS, SECONDS_A_GIGABYTE = 3.0, 3.0  # CPU time that one step of looking through a file may take
LARGEST_SUMMED = 2**32  # bytes: a larger sealed file is looked through, which costs by its episodes and not by its bytes
LITTLE = 2**26  # bytes that are read without asking for memory
STRANGE = "the file was not made by layerscout collect or layerscout import; do not trust it"


def guarded_open(path: Path, hint: str) -> h5py.File:
    """Open an HDF5 file for reading that may be torn or a stranger's.

    A file that begins with our own checksum is compared with it; any other is first looked through by a child process with a limit on
    its CPU time. Both are done once a process, until the file changes.

    Parameters
    ----------
    hint
        What to do about a damaged file.

    Raises
    ------
    DataError
        The file is no HDF5 file, or damaged: it states another checksum, or the HDF5 library loops or crashes on it.
    FileNotFoundError
        There is no such file.
    OSError
        The file cannot be read, or no process can be started.
    """
    state = FileState.of(path)
    if not path.is_file():
        files = ", ".join(sorted(one.name for one in path.glob("*.h5"))[:4]) if path.is_dir() else ""
        kind = "a folder" if path.is_dir() else "no plain file"
        raise DataError(f"{path} is {kind}, expected a file", hint=f"give one of the files in it: {files}" if files else hint)
    _prove(path, state, hint)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if error.errno != errno.EAGAIN:  # which says here that the file is locked
            raise_shortage(error, path)
        why = "another program is writing it" if error.errno == errno.EAGAIN else plain_cause(error)
        raise DataError(f"{path} is truncated or not an HDF5 file: {why}", hint=hint) from None
    if FileState.of(path) != state:
        file.close()
        raise DataError(f"{path} changed while it was opened", hint="run the same command again when nobody writes it")
    return file


def plain_cause(error: Exception) -> str:
    """Return why the HDF5 library could not read something, without the name of its own function that failed."""
    text = " ".join(str(error).split()).strip("'\"")
    inner = text[text.find("(") + 1 : text.rfind(")")] if "(" in text and text.endswith(")") else text
    return inner or "it does not say why"


@functools.lru_cache(maxsize=4096)
def _prove(path: Path, state: FileState, hint: str) -> None:
    """Raise DataError unless the HDF5 library can be trusted with a file in this state."""
    if is_sealed(path) and state.size <= LARGEST_SUMMED:
        check_seal(path, hint)
    else:
        _look_through(path, LEAST_SECONDS + SECONDS_A_GIGABYTE * state.size / 1e9, hint)


def _look_through(path: Path, seconds: float, hint: str) -> None:
    if not sys.executable or os.name != "posix":
        return  # inside another program there is no interpreter to start; elsewhere nothing can limit its time
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-S", "-P", hdf5_child.__file__, str(path), f"{seconds:.3f}"]
    child = subprocess.run(command, env=os.environ | paths, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if child.returncode < 0:
        raise DataError(f"{path} is damaged: the HDF5 library loops or crashes on its structure", hint=hint)


def require_memory(needed: int, what: str) -> None:
    """Refuse to read more bytes than memory is free; asked before the first of them is read.

    Raises
    ------
    BudgetError
        ``what`` needs more.
    """
    if needed <= LITTLE:
        return
    free = available_memory()
    if free is not None and needed > free:
        message = f"{what} needs {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free"
        raise BudgetError(message, hint="read it on a machine with more memory, or cut it into shorter episodes")


def own_member(group: h5py.Group, name: str, where: str) -> h5py.Group | h5py.Dataset | None:
    """Return what lies in a group under a name, or None when there is nothing.

    Raises
    ------
    DataError
        It is a link, or an array whose numbers lie elsewhere or were not all written; ``where`` names the file.
    """
    link = group.get(name, getlink=True)  # asked first: following a link may open another file
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise DataError(f"{where}: '{name}' is a link", hint=STRANGE)
    found = group[name]
    if isinstance(found, h5py.Dataset):
        require_numbers(found, name, where, STRANGE)
        plan = found.id.get_create_plist()
        strange = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())} - FILTERS
        if strange:  # some of them make gigabytes out of a few bytes
            raise DataError(f"{where}: '{name}' is packed with the filter {min(strange)}", hint=STRANGE)
    return found


def require_numbers(dataset: h5py.Dataset, name: str, where: str, hint: str) -> None:
    """Refuse an array whose numbers lie in another file, or of which less was written than its shape claims; nothing is read.

    Raises
    ------
    DataError
        It is such an array.
    """
    if dataset.external or dataset.is_virtual:
        raise DataError(f"{where}: the numbers of '{name}' lie in another file", hint=hint)
    if dataset.chunks:
        expected = math.prod(-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        held = dataset.id.get_num_chunks()
        if held != expected:
            raise DataError(f"{where}: '{name}' claims the shape {dataset.shape} and holds {held} of {expected} chunks", hint=hint)
    elif dataset.size and dataset.dtype.kind != "O" and dataset.id.get_storage_size() < dataset.nbytes:
        raise DataError(f"{where}: '{name}' claims the shape {dataset.shape} and holds less", hint=hint)
