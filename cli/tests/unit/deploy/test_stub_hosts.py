"""Stub hosts behave the same however slow the machine is, so that a history can be replayed."""

import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from ocmt_cli.deploy.hostside import health, steps
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.orchestration import deploy
from ocmt_testing.deploy.history import Cut
from ocmt_testing.deploy.stub_hosts import StubSource, World, stub_world

HOSTS: Mapping[str, tuple[Role, ...]] = {
    "m": ("mgmt",), "u1": ("ui",), "u2": ("ui",), "u3": ("ui",),
}  # fmt: skip
LONGER_THAN_A_HEALTH_CHECK_S = 0.3


def _slow_answer(patch: pytest.MonkeyPatch) -> None:
    """The server answers its health check late."""
    for module in (health, steps):
        real = module.ask
        patch.setattr(module, "ask", _after_a_while(real, lambda *_: True))


def _slow_copy(patch: pytest.MonkeyPatch) -> None:
    """A copy to the second host with the page takes long."""
    real = shutil.copytree
    to_u2 = _after_a_while(real, lambda _, target, **__: "/u2/" in str(target))
    patch.setattr(shutil, "copytree", to_u2)


def _after_a_while(real: Callable[..., Any], slow: Callable[..., bool]) -> Callable[..., Any]:
    def wrapped(*words: Any, **more: Any) -> Any:
        if slow(*words, **more):
            time.sleep(LONGER_THAN_A_HEALTH_CHECK_S)
        return real(*words, **more)

    return wrapped


def _bring(world: World, number: int) -> None:
    source = StubSource(
        world.folder, f"{number:012d}", (("mgmt", f"mgmt-{number}"), ("ui", f"ui-{number}"))
    )
    deploy(world.deployer("mgmt", "ui"), source, builds=world.folder)


def _deploy_on_a(
    machine: Callable[[pytest.MonkeyPatch], None] | None, *, cut: int | None
) -> tuple[list[str], list[str | None]]:
    """What a second deploy prints, without times and names of releases, and what then serves."""
    with stub_world(HOSTS) as world, pytest.MonkeyPatch.context() as patch:
        _bring(world, 1)
        world.reported.clear()
        if machine is not None:
            machine(patch)
        world.fuse = cut
        try:
            _bring(world, 2)
        except Cut:
            pass
        finally:
            world.fuse = None
        told = [":".join(line.split(":")[:2]) for line in world.reported]
        return told, [world.content(role, host) for host, (role,) in HOSTS.items()]


@pytest.mark.parametrize(
    ("machine", "cut"),
    [(_slow_answer, None), (_slow_answer, 24), (_slow_copy, None), (_slow_copy, 57)],
)
def test_a_slow_machine_changes_neither_the_order_of_effects_nor_where_a_cut_falls(
    machine: Callable[[pytest.MonkeyPatch], None], cut: int | None
) -> None:
    assert _deploy_on_a(machine, cut=cut) == _deploy_on_a(None, cut=cut)
