"""Run the command on its own: `python -m ocmt_sync`."""

from ocmt_sync.commands import sync_app

if __name__ == "__main__":
    sync_app(prog_name="ocmt sync")
