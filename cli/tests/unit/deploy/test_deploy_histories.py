"""Hundreds of histories of deploys, rollbacks, restores and cuts, on stub hosts.

The real servers are in `integration/deploy/test_real_histories.py`.
"""

from collections.abc import Mapping
from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from ocmt_cli.checkout import ROOT
from ocmt_cli.deploy.inventory import Role
from ocmt_testing.deploy.history import History
from ocmt_testing.deploy.real_installation import MAIN, SERVES
from ocmt_testing.deploy.stub_installation import stub_installation

FUSES = st.one_of(st.none(), st.integers(0, 60))


class Histories(RuleBasedStateMachine):
    """Management, and a page on two hosts."""

    hosts: Mapping[str, tuple[Role, ...]] = {"m": ("mgmt",), "u1": ("ui",), "u2": ("ui",)}

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()

    def teardown(self) -> None:
        self.stack.close()

    @initialize()
    def deploy_first(self) -> None:
        self.history = History(self.stack.enter_context(stub_installation(self.hosts)))

    @rule(data=st.data(), fuse=FUSES)
    def deploy_a_new_commit(self, data: st.DataObject, fuse: int | None) -> None:
        roles = data.draw(st.sets(st.sampled_from(self.history.roles), min_size=1))
        self.history.deploy_a_new_commit(roles, fuse)

    @rule(fuse=FUSES)
    def deploy_again(self, fuse: int | None) -> None:
        self.history.deploy_again(fuse)

    @rule(data=st.data(), fuse=FUSES)
    def deploy_changed_settings(self, data: st.DataObject, fuse: int | None) -> None:
        server = data.draw(st.sampled_from(self.history.servers))
        self.history.deploy_changed_settings(server, fuse)

    @rule(fuse=FUSES)
    def deploy_what_does_not_start(self, fuse: int | None) -> None:
        self.history.deploy_what_does_not_start(fuse)

    @rule(fuse=FUSES)
    def restore(self, fuse: int | None) -> None:
        self.history.restore(fuse)

    @rule(fuse=FUSES)
    def roll_back(self, fuse: int | None) -> None:
        self.history.roll_back(fuse)

    @rule()
    def the_machines_restart(self) -> None:
        self.history.restart_the_machines()

    @rule(data=st.data())
    def a_host_is_lost_for_a_while(self, data: st.DataObject) -> None:
        self.history.lose_a_host_for_a_while(data.draw(st.sampled_from(sorted(self.hosts))))


class LongHistories(Histories):
    """All components, and a page on three hosts."""

    hosts: Mapping[str, tuple[Role, ...]] = {
        "m": ("mgmt",), "a": ("agent",), "u1": ("ui",), "u2": ("ui",), "u3": ("ui",),
    }  # fmt: skip


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=100, stateful_step_count=8)
# If the time limit ends an example, hypothesis repeats it, and reports a flaky strategy instead.
TestLongHistories = pytest.mark.nightly(pytest.mark.timeout(1700)(LongHistories.TestCase))
TestLongHistories.settings = settings(max_examples=600, stateful_step_count=20)


def test_the_line_that_real_histories_break_is_in_the_server() -> None:
    assert (ROOT / MAIN).read_text().count(SERVES) == 1
