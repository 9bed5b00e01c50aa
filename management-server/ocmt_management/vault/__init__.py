"""Secrets of users, encrypted so that the database alone is worth nothing."""
