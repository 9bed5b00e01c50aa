"""The audit trail: what happened to accounts and secrets, by whom and why."""
