"""Runs on a host during a deploy, with the standard library only.

`ocmt_cli.deploy.host_connection` packs this folder, runs it on the host and exchanges lines of JSON
with it.
"""
