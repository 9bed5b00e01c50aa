"""Runs on a host during a deploy. Standard library only, since it is sent there.

`ocmt_cli.deploy.session` packs this folder, starts it there and exchanges lines of JSON with it.
"""
