"""Agents made beforehand for users who are still to come."""
