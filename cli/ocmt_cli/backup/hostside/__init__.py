"""Runs on a host during backup and restore, as root, with only the host's Python.

An agent may change any name in its folder at any moment. So every name is opened by descriptor, one
path component at a time and never through a link, and its type is read from the descriptor
(`no_follow`). No file of an agent is parsed here, not even a database.
"""
