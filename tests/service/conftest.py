"""A small world with a server over it, made once."""

from __future__ import annotations

import pytest
from team import Browser, World, make_world, served

from layerscout.service.jobs.queue import Queue


@pytest.fixture(scope="session")
def world(tmp_path_factory, _no_waiting_for_the_disk) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def queue(tmp_path):
    """A queue that knows no results yet."""
    made = Queue(tmp_path, lambda asked: False)
    yield made
    made.database.close()


@pytest.fixture(scope="module")
def browser(world: World):
    """A browser at a server that several tests share; none of them may leave a job behind."""
    with served(world.config(submissions=10_000)) as found:
        yield found


__all__ = ["Browser"]
