"""Runtimes: drivers that run one OpenClaw container or process per user."""
