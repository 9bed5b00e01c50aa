"""What runs on a host during a deploy. Standard library only: it is sent there.

`ocmt_cli.deploy.session` packs this folder, starts it there and talks to it in lines of JSON.
"""
