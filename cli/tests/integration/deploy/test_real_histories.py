"""Histories of deploys, rollbacks, restores and cuts of the real servers, over real ssh.

The same model in hundreds of histories is in `unit/deploy/test_deploy_histories.py`.
"""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from ocmt_cli.deploy.inventory import Role
from ocmt_testing.deploy.farm import farm
from ocmt_testing.deploy.history import History
from ocmt_testing.deploy.real_installation import Machines, real_installation
from ocmt_testing.deploy.systemd_host import systemd_host

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1500)]

LAST_FUSE = 30
"""More effects than a restore or a deploy of one server has."""


def _events(history: History, random: Random) -> list[tuple[str, Callable[[], None]]]:
    """Each kind of event once or twice, in any order, some of them cut."""

    def fuse() -> int | None:
        return random.choice([None, random.randrange(LAST_FUSE), random.randrange(LAST_FUSE)])

    def cut(event: Callable[[int | None], None]) -> tuple[str, Callable[[], None]]:
        at = fuse()
        return f"{event.__name__}, cut at {at}", lambda: event(at)

    def commit(at: int | None) -> None:
        history.deploy_a_new_commit(roles, at)

    def settings(at: int | None) -> None:
        history.deploy_changed_settings(server, at)

    server_roles: list[Role] = [role for role, _ in history.servers]
    roles = random.choice([*([role] for role in server_roles), server_roles])
    server = random.choice(history.servers)
    host = random.choice([host for _, host in history.targets])
    events = [
        cut(commit), cut(commit), cut(settings), cut(history.deploy_again),
        cut(history.deploy_what_does_not_start), cut(history.restore),
        cut(history.roll_back), cut(history.roll_back),
        ("restart", history.restart_the_machines),
        (f"lose {host}", lambda: history.lose_a_host_for_a_while(host)),
    ]  # fmt: skip
    random.shuffle(events)
    return events


def _run(machines: Machines, checkout: Path, folder: Path, seed: int) -> None:
    with real_installation(machines, checkout, folder) as installation:
        history = History(installation)
        for name, event in _events(history, Random(seed)):
            print(name, flush=True)  # shown if it fails
            event()
        history.deploy_again(None)
        for role, host in installation.targets:
            (release,) = installation.serving(role, host)
            assert release == installation.component(role, host).current


@pytest.mark.parametrize("seed", range(2))
def test_real_servers_end_where_the_model_says(checkout: Path, tmp_path: Path, seed: int) -> None:
    with farm() as made:
        _run(made, checkout, tmp_path, seed)


def test_servers_of_systemd_end_where_the_model_says(checkout: Path, tmp_path: Path) -> None:
    with systemd_host(tmp_path) as made:
        _run(made, checkout, tmp_path, seed=1)
