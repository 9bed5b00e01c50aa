"""A status and a commit as lines of text."""

from datetime import UTC, datetime
from typing import Any

from ocmt_sync.console import styled


def status_lines(report: dict[str, Any]) -> list[str]:
    security = report["security"]
    lines = [f"{report['behind']} behind, {report['ahead']} ahead; {report['open']} undecided"]
    if security["open"]:
        head = f"{security['open']} about security, the oldest {security['oldestAgeDays']} days old"
        lines.append(styled(head, fg="red", bold=True))
        lines += [f"  {commit_line(commit)}" for commit in security["commits"]]
        if more := security["open"] - len(security["commits"]):
            lines.append(f"  and {more} more: ocmt sync list --security")
    lines += [f"  {cls:9} {count:6}" for cls, count in report["byClass"].items() if count]
    lines.append(f"divergence surface: {report['divergence']['files']} of upstream's files")
    last = report["lastSync"]
    when = f"{datetime.fromisoformat(last):%Y-%m-%d %H:%M} UTC" if last else "never"
    lines.append(f"last sync: {when}")
    if report["unfinishedApply"]:
        lines.append(styled("an apply is unfinished: ocmt sync apply --continue", fg="yellow"))
    if report["branchesDiverged"]:
        lines.append(styled("the sync branch and origin's have diverged", fg="yellow"))
    return lines


def commit_line(commit: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(commit["at"], UTC)
    mark = "!" if commit["security"] else " "
    colour = {"always": "green", "careful": "yellow", "unknown": "red"}.get(commit["class"])
    cls = styled(f"{commit['class']:8}", fg=colour)
    return f"{commit['commit'][:12]} {at:%Y-%m-%d} {cls} {mark} {commit['subject']}"
