"""The program that `ocmt backup` and `ocmt restore` run on a host; its arguments name the step."""

import os
import shutil
import sys
from pathlib import Path

from ocmt_cli.backup.hostside.dump import dump_agents
from ocmt_cli.backup.hostside.frames import BadFrame
from ocmt_cli.backup.hostside.no_follow import Refused
from ocmt_cli.backup.hostside.own_database import dump_database, stage_database, stage_file
from ocmt_cli.backup.hostside.restore import stage_agents


def main() -> None:
    step, place, *rest = sys.argv[1:]
    folder = Path(place)
    os.umask(0o022)
    data, out = sys.stdin.buffer, sys.stdout.buffer
    try:
        if step == "exists":
            print(folder.is_file() or (folder.is_dir() and any(folder.iterdir())))
        elif step == "free":
            while not folder.exists():
                folder = folder.parent
            print(shutil.disk_usage(folder).free)
        elif step == "dump-database":
            dump_database(folder, out)
        elif step == "stage-database":
            stage_database(folder, data, sys.stdout)
        elif step == "dump-agents":
            dump_agents(folder, int(rest[0]), out)
        elif step == "stage-agents":
            stage_agents(folder, data, sys.stdout)
        elif step == "stage-file":
            stage_file(folder, data, sys.stdout)
    except BadFrame as error:
        sys.exit(f"the input is not a complete backup: {error}")
    except Refused as refused:
        sys.exit(str(refused))
    except OSError as error:
        sys.exit(f"{error.strerror or error}: {error.filename or place}")
