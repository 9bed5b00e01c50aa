"""Real repositories with known histories: an upstream, a fork, and the command run on the fork."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from ocmt_testing.sync.world import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A fork one commit ahead of upstream's first, with its policy committed."""
    return make_world(tmp_path)


@pytest.fixture
def new_world(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], World]:
    """Makes worlds, for tests that need many."""
    return lambda: make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def make_world_of(tmp_path: Path) -> Callable[[Mapping[str, str]], World]:
    """A fork of an upstream with these files, without a policy yet."""

    def make(base: Mapping[str, str]) -> World:
        made = make_world(tmp_path, base=base, policy=None)
        made.git("remote", "remove", "upstream")
        return made

    return make
