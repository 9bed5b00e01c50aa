"""Administration: users, invitations, agents and the audit trail."""
