"""Connections to addresses that users choose: checked before they are dialled."""
