"""Runs on a host during backup and restore, as root, with only the host's Python.

An agent may change any name in its folder at any time. So every name is opened relative to a
descriptor, one path component at a time and never through a link, and its type is read from the new
descriptor (`no_follow`). Files of agents are not parsed here, not even databases.
"""
