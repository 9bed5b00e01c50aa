"""Serves the built page and sets its security headers."""
