"""Histories of deploys, rollbacks, restores and cuts of the real servers, over real ssh.

The same model in hundreds of histories is in `unit/deploy/test_deploy_histories.py`.
"""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from ocmt_cli.deploy.inventory import Role
from ocmt_testing.deploy.farm import farm
from ocmt_testing.deploy.farm_installation import farm_installation
from ocmt_testing.deploy.history import History

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

    choices: list[list[Role]] = [["mgmt"], ["agent"], ["mgmt", "agent"]]
    roles = random.choice(choices)
    server = random.choice(history.servers)
    host = random.choice(["mgmt", "agent", "ui"])
    events = [
        cut(commit), cut(commit), cut(settings), cut(history.deploy_again),
        cut(history.deploy_what_does_not_start), cut(history.restore),
        cut(history.roll_back), cut(history.roll_back),
        ("restart", history.restart_the_machines),
        (f"lose {host}", lambda: history.lose_a_host_for_a_while(host)),
    ]  # fmt: skip
    random.shuffle(events)
    return events


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(3))
def test_real_servers_end_where_the_model_says(checkout: Path, seed: int) -> None:
    with farm() as made, farm_installation(made, checkout) as installation:
        history = History(installation)
        for name, event in _events(history, Random(seed)):
            print(name, flush=True)  # shown if it fails
            event()
        history.deploy_again(None)
        for role in ("mgmt", "agent", "ui"):
            (release,) = installation.serving(role, role)
            assert release == installation.component(role, role).current
