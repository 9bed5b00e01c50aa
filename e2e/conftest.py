"""One running system a runtime for the whole session, and a browser to use it with."""

from collections.abc import Iterator

import pytest
from ocmt_testing.system.stack import Stack, docker_answers
from playwright.sync_api import Browser, expect, sync_playwright

# Without an engine only the process runtime can run; `./ocmt test` says so in its last lines.
RUNTIMES = ["process", "docker"] if docker_answers() else ["process"]
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session", params=RUNTIMES)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp(request.param)
    # A container's user must be able to pass through to its own state.
    for above in (folder, *list(folder.parents)[:2]):
        above.chmod(0o711)
    running = Stack(runtime=request.param, data=folder / "data")
    running.first_link = running.up()
    try:
        yield running
    finally:
        running.down()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()
