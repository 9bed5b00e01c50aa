"""Integrations: people connect accounts of other services, and management holds the tokens."""
