"""One running system per runtime for each worker's session, and a browser to use it.

Most tests do not depend on the runtime and run once, with plain processes. A test that depends on
it asks for both: `parametrize("stack", [...], indirect=True)`.
"""

from collections.abc import Iterator

import pytest
from ocmt_testing.needs import require
from ocmt_testing.system.model import obeying_provider
from ocmt_testing.system.stack import Stack
from playwright.sync_api import Browser, expect, sync_playwright

expect.set_options(timeout=30_000)


@pytest.fixture(scope="session", params=["process"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    runtime: str = request.param
    if runtime == "docker":
        require("docker")
    folder = tmp_path_factory.mktemp(runtime)
    # A container's user must be able to pass through to its own state.
    for above in (folder, *list(folder.parents)[:2]):
        above.chmod(0o711)
    running = Stack(runtime=runtime, data=folder / "data")
    with obeying_provider() as provider:
        running.data.mkdir(mode=0o700)
        # The tests' tool servers are on this machine.
        (running.data / "management.env").write_text(
            f"OPENAI_BASE_URL={provider}\nPRIVATE_HOSTS=127.0.0.1\n", encoding="utf-8"
        )
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
