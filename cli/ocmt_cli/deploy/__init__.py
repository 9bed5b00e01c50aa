"""Deploys to servers over ssh: parallel releases, health checks, rollback, one inventory file."""
