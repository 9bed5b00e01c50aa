"""Marks each test with its tier, and skips what this machine cannot show.

A test's tier is the folder it lies in; a test marked `nightly` is in that tier alone.
"""

import functools
import signal

import httpcore2
import pytest
from hypothesis import HealthCheck, settings
from ocmt_testing.needs import require

# How long an example takes is the machine's matter. The rest is as hypothesis would choose itself.
settings.register_profile(
    "any-machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")

TIERS = ("unit", "integration", "docker", "e2e")
NEEDED_IN_TIER = {"docker": "docker", "e2e": "chromium"}


# Reading the machine's certificates takes a client longer than many a test.
httpcore2.default_ssl_context = functools.cache(httpcore2.default_ssl_context)


def pytest_configure() -> None:
    """Give the tests the signals they send: nohup and a script's `&` let them be ignored.

    What is ignored is inherited by all that a test starts.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler),
                            (signal.SIGHUP, signal.SIG_DFL)):  # fmt: skip
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = next((tier for tier in TIERS if tier in item.path.parts), "unit")
        if tier in NEEDED_IN_TIER:
            item.add_marker(pytest.mark.needs(NEEDED_IN_TIER[tier]))
        if item.get_closest_marker("nightly") is None:
            item.add_marker(getattr(pytest.mark, tier))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Runs before any fixture is made, since some need what the machine lacks."""
    for mark in item.iter_markers("needs"):
        require(*mark.args)
