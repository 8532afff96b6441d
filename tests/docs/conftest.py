"""The programs that the documentation's blocks find on their PATH."""

from __future__ import annotations

import forking
import pytest


@pytest.fixture(scope="session")
def quick_command():
    """A folder with a ``layerscout`` and a ``page`` that fork from a process which has imported everything; see ``tools.forking``."""
    with forking.programs() as folder:
        yield folder
