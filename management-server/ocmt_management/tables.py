"""Every table, so that migrations and foreign keys see them all. A new domain adds its line."""

from ocmt_management.agents import models as agents
from ocmt_management.audit import models as audit
from ocmt_management.auth import models as auth
from ocmt_management.db import Base
from ocmt_management.llm import models
from ocmt_management.vault import models as vault

__all__ = ["Base", "agents", "audit", "auth", "models", "vault"]
