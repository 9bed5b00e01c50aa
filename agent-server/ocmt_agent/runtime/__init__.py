"""Runtimes: drivers that hold one OpenClaw container (or process) a user."""
