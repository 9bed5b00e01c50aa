"""Installs the pinned OpenClaw from npm, and builds or pulls its container image."""
