"""Requests about the signed-in user's own account."""

from ocmt_common.agent_api import Command

from ocmt_management.email_addresses import EmailAddress


class AccountDeletion(Command):
    email: EmailAddress
    """The user's own address, as a confirmation."""
