"""Imports every domain's tables, for migrations and foreign keys. A new domain adds its models."""

from ocmt_management.agents import identity as agent_identities
from ocmt_management.agents import models as agents
from ocmt_management.audit import models as audit
from ocmt_management.auth import models as auth
from ocmt_management.db import Base
from ocmt_management.integrations import models as integrations
from ocmt_management.llm import models as llm
from ocmt_management.notifications import models as notifications
from ocmt_management.tools import approval_models as tool_approvals
from ocmt_management.tools import models as tools
from ocmt_management.vault import models as vault

__all__ = [
    "Base", "agent_identities", "agents", "audit", "auth", "integrations", "llm", "notifications",
    "tool_approvals", "tools", "vault",
]  # fmt: skip
