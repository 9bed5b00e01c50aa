"""Creates the services of approvals and connects them to the tools."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ocmt_management.agents.service import Agents
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.mail.service import MailQueue
from ocmt_management.notifications.service import Notifications
from ocmt_management.settings import ManagementSettings
from ocmt_management.tools.approval_loop import ApprovalLoop
from ocmt_management.tools.approval_mail import ApprovalMail
from ocmt_management.tools.approval_outcomes import ApprovalOutcomes
from ocmt_management.tools.approval_runner import ApprovalRunner
from ocmt_management.tools.approval_store import ApprovalStore
from ocmt_management.tools.approvals import Approvals
from ocmt_management.tools.built_in import BuiltInTools
from ocmt_management.tools.connection_links import ConnectionLinks
from ocmt_management.tools.connection_requests import ConnectionRequests
from ocmt_management.tools.message_delivery import MessageDelivery
from ocmt_management.tools.rule_policy import RulePolicy
from ocmt_management.tools.service import Tools
from ocmt_management.vault.service import KeyRing


@asynccontextmanager
async def running_approvals(
    *,
    settings: ManagementSettings,
    database: Database,
    keys: KeyRing,
    clock: Clock,
    agents: Agents,
    mail_queue: MailQueue,
    tools: Tools,
    notifications: Notifications,
) -> AsyncIterator[Approvals]:
    """Yield the approvals while their loop runs, for the server's lifetime."""
    policy = RulePolicy(changed=lambda user_id: tools.changed([user_id]))
    store = ApprovalStore(database, keys, clock, policy)
    runner = ApprovalRunner(store, tools.calls)
    page = f"{settings.page_origin}/tools"
    approvals = Approvals(
        store,
        runner,
        link=lambda number: f"{page}?decision={number}",
        mail=bool(settings.smtp_host),
        on_waiting=notifications.waits,
    )
    requests = ConnectionRequests(database, clock, tools_sent=tools.versions_sent)
    loop = ApprovalLoop(
        store,
        approvals,
        runner=runner,
        delivery=MessageDelivery(agents, ApprovalOutcomes(store), requests),
        mail=ApprovalMail(store, mail_queue, link=page),
        connection_requests=requests,
    )
    tools.approvals = approvals
    tools.built_in = BuiltInTools(
        approvals,
        database=database,
        keys=keys,
        clock=clock,
        page=page,
        integrations=tools.integrations,
        links=ConnectionLinks(
            database=database,
            integrations=tools.integrations,
            requests=requests,
            tools_page=page,
        ),
    )
    async with loop.running():
        yield approvals
