"""The journal of a component, as events that say who did what and why."""

import json
from pathlib import Path
from typing import Any

import pytest
from ocmt_cli.deploy.hostside.component import Component
from ocmt_cli.deploy.hostside.journal import events, journal
from ocmt_cli.deploy.hostside.steps import _migration_failed


def line(step: str, **more: Any) -> str:
    return json.dumps({"at": "T", "step": step, **more})


LOCK = line("lock", who="ada@laptop: deploy of 0123456789ab, since now")


@pytest.mark.parametrize(
    ("entry", "what", "why"),
    [
        (line("switch", words=["R2"], phase="done"), "deploy: R2 serves", ""),
        (
            line("intend_rollback", words=["R1", "it leaks", "ada"], phase="begin"),
            "rollback to R1 begins",
            "it leaks",
        ),
        (
            line("finish_rollback", words=[], phase="done"),
            "rollback: the earlier release serves",
            "",
        ),
        (
            line("migrate", words=["R2"], phase="failed", why="no such table"),
            "migrate R2 failed",
            "no such table",
        ),
        (line("finish_restore", words=[], phase="done"), "restore is complete", ""),
    ],
)
def test_an_event_says_who_did_what_and_why(entry: str, what: str, why: str) -> None:
    assert list(events([LOCK, entry])) == [
        {"at": "T", "who": "ada@laptop", "what": what, "why": why}
    ]


@pytest.mark.parametrize(
    "damaged", ["", "{", "null", "[]", '{"at": "T"}', '{"step": "switch"}', "\x00\x00"]
)
def test_a_damaged_line_is_left_out(damaged: str) -> None:
    good = line("switch", words=["R2"], phase="done")
    assert len(list(events([LOCK, damaged, good]))) == 1


def test_steps_of_no_interest_are_left_out_and_the_newest_are_shown(tmp_path: Path) -> None:
    component = Component("mgmt", tmp_path, "pidfile", {}, 1, 1, 1, 2)
    assert journal(component, 5) == []
    component.note("lock", who="ada@laptop: deploy of x")
    for number in range(9):
        for step in ("prepare", "install", "switch", "settle"):
            component.note(step, words=[f"R{number}"], phase="begin")
            component.note(step, words=[f"R{number}"], phase="done")
    assert [event["what"] for event in journal(component, 2)] == [
        "deploy: R7 serves",
        "deploy: R8 serves",
    ]


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (
            "Traceback (most recent call last):\n" + "  File x\n" * 40 + "OSError: no disk\n",
            "OSError: no disk",
        ),
        ("The database could not be migrated and is unchanged.", "The database could not"),
        ("", "no output"),
    ],
)
def test_a_failed_migration_shows_its_cause_first(output: str, cause: str) -> None:
    told = _migration_failed(output, "R1").splitlines()
    assert told[0].startswith(
        f"the migration failed; nothing was switched, and R1 still serves: {cause}"
    )
    assert len(told) < 12
    assert told[-1] == "Correct the migration or the database, then deploy again."
