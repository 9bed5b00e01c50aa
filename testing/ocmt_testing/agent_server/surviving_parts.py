"""What is left of a host when a test kills its agent server, for the next server."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from ocmt_testing.agent_server.fake_clock import FakeClock
from ocmt_testing.agent_server.fake_control import FakeControl
from ocmt_testing.agent_server.fake_runtime import FakeRuntime
from ocmt_testing.agent_server.host import Host, open_host
from ocmt_testing.agent_server.interception import Interception


class SurvivingParts:
    """The runtime, the gateways and the clock, which outlive a server."""

    def __init__(self, interception: Interception) -> None:
        self.runtime, self.clock = FakeRuntime(), FakeClock()
        self.gateway = FakeControl(self.runtime)
        self.interception = interception

    def server(self, folder: Path, *, cut: bool) -> AbstractAsyncContextManager[Host]:
        """An agent server on the data in `folder`; with `cut`, its calls are intercepted."""
        folder.mkdir(exist_ok=True)
        runtime, gateway = self.runtime, self.gateway
        if cut:
            runtime = self.interception.around("runtime", runtime)
            gateway = self.interception.around("gateway", gateway)
        return open_host(
            folder, runtime=runtime, gateway=gateway, clock=self.clock, WAKE_TIMEOUT_MS="2000"
        )
