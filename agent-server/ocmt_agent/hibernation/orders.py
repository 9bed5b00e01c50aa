"""The operator's orders: pause, stop, restart, disable and enable one agent."""

import math

from ocmt_common.agent_api import HibernationState
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.hibernation.problems import refuse_disabled, runtime_problems
from ocmt_agent.hibernation.reconcile import Reconciler
from ocmt_agent.hibernation.sleep import Mode, SleepTransitions
from ocmt_agent.hibernation.suspend import Suspender
from ocmt_agent.hibernation.transitions import TransitionRunner
from ocmt_agent.hibernation.wake import WakeTransitions
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry

_CANNOT = {"pause": "cannot be paused", "stop": "cannot be stopped"}


class OperatorOrders:
    def __init__(
        self,
        *,
        clock: Clock,
        registry: AgentRegistry,
        transitions: TransitionRunner,
        wakes: WakeTransitions,
        sleeps: SleepTransitions,
        suspender: Suspender,
        reconciler: Reconciler,
    ) -> None:
        self._clock = clock
        self._registry = registry
        self._transitions = transitions
        self._wakes = wakes
        self._sleeps = sleeps
        self._suspender = suspender
        self._reconciler = reconciler

    async def hibernate(self, user_id: str, mode: Mode, *, force: bool = False) -> Agent:
        """Pause or stop the agent. Raises `Problem`: 409 if its state or its work forbids it.

        With `force` no work holds it up, and the agent's event says what was cut short.
        """
        agent = self._registry.get(user_id)
        wrong = (HibernationState.FAILED, HibernationState.PROVISIONING)
        if agent.state in wrong or (mode == "pause" and agent.state is HibernationState.STOPPED):
            raise Problem(
                409,
                "wrong-state",
                f"An agent that is {agent.state} {_CANNOT[mode]}. Wake it first.",
                extra={"hibernationState": str(agent.state)},
            )
        mark = agent.activities
        if force:
            slept = await self._sleeps.sleep_by_force(agent, mode)
        else:
            why = reasons.ORDERED
            slept = await self._sleeps.sleep(agent, mode, why=why, mark=mark, ordered=True)
        if not slept:
            advice = "Try again later" if force else "Try again later, or order it by force"
            raise Problem(
                409,
                "agent-busy",
                f"The agent is awake because: {'; '.join(agent.blockers)}. {advice}.",
                extra={"blockers": list(agent.blockers)},
                retry_after_s=max(1, math.ceil(agent.ask_again_at - self._clock.monotonic())),
            )
        return agent

    async def restart(self, user_id: str) -> Agent:
        """Stop the gateway without its consent, and start it again. Raises `Problem`."""
        agent = self._registry.get(user_id)
        refuse_disabled(agent)
        self._registry.touch(agent, ActivityKind.WAKE)

        async def restart() -> None:
            await self._suspender.force_stop(agent, why=reasons.RESTART)
            await self._wakes.bring_up(agent, why=reasons.RESTART)

        await self._transitions.run_locked(agent, restart)
        return agent

    async def disable(self, user_id: str) -> Agent:
        """Stop the agent without its gateway's consent, and keep it stopped until `enable`.

        The order is stored first: if stopping the agent fails, or this server is killed, the next
        sweep stops it.
        """
        agent = self._registry.get(user_id)
        await self._registry.set_disabled(agent, True)

        async def stop() -> None:
            if agent.disabled and not agent.removed:
                with runtime_problems():
                    await self._reconciler.correct(agent)
                await self._reconciler.stop_disabled(agent)

        await self._transitions.run_locked(agent, stop)
        return agent

    async def enable(self, user_id: str) -> Agent:
        """Let requests and jobs wake the agent again; it stays stopped until one does."""
        agent = self._registry.get(user_id)
        await self._registry.set_disabled(agent, False)
        return agent
