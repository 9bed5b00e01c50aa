"""The background supervisor, which `ocmt up --detach` starts and passes its lock to.

It reports the outcome of the start as one JSON object on `--report-fd`, then runs without its
parent.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from ocmt_common.console import complain

from ocmt_cli.failure import CommandFailed
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.up.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ocmt_cli.up.background")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--report-fd", type=int, required=True)
    chosen = parser.parse_args()
    os.set_inheritable(chosen.report_fd, False)
    reported = False

    def report(outcome: dict[str, object]) -> None:
        nonlocal reported
        if not reported:
            reported = True
            with os.fdopen(chosen.report_fd, "w", encoding="utf-8") as parent:
                json.dump(outcome, parent)

    try:
        run(
            DataFolder(chosen.data),
            port=chosen.port,
            runtime=chosen.runtime,
            notice=complain,
            ready=lambda: report({"ready": True}),
        )
    except CommandFailed as failure:
        report({"failed": str(failure), "exitCode": failure.exit_code})
        complain(str(failure))
        return failure.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
