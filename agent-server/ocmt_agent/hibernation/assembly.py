"""Creates the parts of hibernation in order: each depends only on earlier ones."""

from dataclasses import dataclass

from ocmt_agent.clock import Clock
from ocmt_agent.decisions.sleep_policy import Times
from ocmt_agent.gateway.control import GatewayControl
from ocmt_agent.hibernation.cpu_use import CpuUse
from ocmt_agent.hibernation.eviction import Evictions
from ocmt_agent.hibernation.orders import OperatorOrders
from ocmt_agent.hibernation.reconcile import Reconciler
from ocmt_agent.hibernation.reconcile_loop import ReconcileLoop
from ocmt_agent.hibernation.resume import Resumer
from ocmt_agent.hibernation.sleep import SleepTransitions
from ocmt_agent.hibernation.spare_pool import SparePool
from ocmt_agent.hibernation.suspend import Suspender
from ocmt_agent.hibernation.takeover import HomesRuntime, Takeover
from ocmt_agent.hibernation.transitions import TransitionRunner
from ocmt_agent.hibernation.wake import WakeTransitions
from ocmt_agent.hibernation.wake_admission import HostReader, WakeAdmission
from ocmt_agent.hibernation.wake_schedule import WakeSchedule
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.upgrades.manager import StateCopyManager


@dataclass(frozen=True, slots=True)
class Hibernation:
    cores: int
    """The host's CPU cores; at most that many agents boot at once."""
    transitions: TransitionRunner
    takeover: Takeover
    resumer: Resumer
    suspender: Suspender
    reconciler: Reconciler
    sleeps: SleepTransitions
    admission: WakeAdmission
    wakes: WakeTransitions
    orders: OperatorOrders
    schedule: WakeSchedule
    loop: ReconcileLoop

    async def close(self) -> None:
        """Cancel transitions in flight; the next start reconciles them with the runtime."""
        await self.transitions.close()
        await self.resumer.close()


def assemble(
    runtime: HomesRuntime,
    gateway: GatewayControl,
    registry: AgentRegistry,
    memory: MemoryManager,
    states: StateCopyManager,
    *,
    pool: SparePool,
    clock: Clock,
    times: Times,
    wake_timeout_s: float,
    read_host: HostReader,
    cores: int,
) -> Hibernation:
    transitions = TransitionRunner()
    cpu = CpuUse(runtime, clock=clock)
    takeover = Takeover(runtime, registry, memory, gateway, pool)
    resumer = Resumer(runtime, gateway, memory)
    suspender = Suspender(
        runtime=runtime,
        gateway=gateway,
        resumer=resumer,
        registry=registry,
        memory=memory,
        clock=clock,
        times=times,
    )
    reconciler = Reconciler(
        runtime=runtime,
        gateway=gateway,
        registry=registry,
        memory=memory,
        resumer=resumer,
        suspender=suspender,
        takeover=takeover,
        wake_timeout_s=wake_timeout_s,
    )
    sleeps = SleepTransitions(transitions, reconciler, suspender, memory)
    admission = WakeAdmission(
        registry,
        Evictions(registry, sleeps, cpu, clock=clock),
        read_host=read_host,
        cores=cores,
        # Shorter than a wake's time limit, so that a refusal reaches the caller in time.
        wait_s=wake_timeout_s / 2,
    )
    wakes = WakeTransitions(
        runtime=runtime,
        registry=registry,
        memory=memory,
        states=states,
        transitions=transitions,
        admission=admission,
        resumer=resumer,
        reconciler=reconciler,
        takeover=takeover,
        clock=clock,
        wake_timeout_s=wake_timeout_s,
    )
    orders = OperatorOrders(
        clock=clock,
        registry=registry,
        transitions=transitions,
        wakes=wakes,
        sleeps=sleeps,
        suspender=suspender,
        reconciler=reconciler,
    )
    schedule = WakeSchedule(registry, clock=clock, cores=cores)
    loop = ReconcileLoop(
        runtime=runtime,
        registry=registry,
        wakes=wakes,
        sleeps=sleeps,
        reconciler=reconciler,
        schedule=schedule,
        memory=memory,
        cpu=cpu,
        read_host=read_host,
        clock=clock,
        times=times,
    )
    return Hibernation(
        cores=cores,
        transitions=transitions,
        takeover=takeover,
        resumer=resumer,
        suspender=suspender,
        reconciler=reconciler,
        sleeps=sleeps,
        admission=admission,
        wakes=wakes,
        orders=orders,
        schedule=schedule,
        loop=loop,
    )
