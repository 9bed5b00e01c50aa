"""Notifications by Web Push, to devices that turned them on."""
