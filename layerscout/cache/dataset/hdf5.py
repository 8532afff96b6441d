"""A group of an HDF5 file and a name in, what lies there out: in this very file, and with all its numbers written.

HDF5 can lead a reader to other files (links, external storage, virtual arrays) and reads what was never written as zeros, of
any size that the file claims. So nothing of a file that somebody else made is read before it was looked at here.
"""

from __future__ import annotations

import math

import h5py

from layerscout.errors import DataError

FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
STRANGE = "the file was not made by layerscout collect or layerscout import; do not trust it"


def own(group: h5py.Group, name: str, where: str) -> h5py.Group | h5py.Dataset | None:
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
