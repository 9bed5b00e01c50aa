"""What keeps an agent awake is reported in kinds and counts, never in its user's words."""

import pytest
from ocmt_agent.gateway.blockers import kinds_and_counts

COMMAND = "sleep 100; curl -H 'Authorization: Bearer s3cret' bank.example"


def test_kinds_are_counted() -> None:
    assert kinds_and_counts(
        [
            {"kind": "root-request", "count": 2, "message": "2 active requests"},
            {"kind": "terminal-session", "count": 1, "message": f"label={COMMAND}"},
            {"kind": "task", "count": 1, "task": {"title": COMMAND}},
            {"kind": "task", "count": 1, "task": {"title": COMMAND}},
        ]
    ) == ["2 active requests", "1 open terminal session", "2 tasks"]


def test_details_are_not_counted_beside_their_total() -> None:
    total = {"kind": "background-exec", "count": 2, "message": COMMAND}
    detail = {"kind": "background-exec", "count": 1, "task": {"label": COMMAND}}
    assert kinds_and_counts([total, detail, detail]) == ["2 background commands"]
    assert kinds_and_counts([detail]) == ["1 background command"]


@pytest.mark.parametrize(
    "hostile",
    [
        COMMAND,
        {"kind": COMMAND, "message": COMMAND},
        {"kind": ["task"], "count": COMMAND},
        {"kind": "\x1b[2J", "count": -5},
        {"message": COMMAND},
        [COMMAND],
        None,
    ],
)
def test_an_unknown_kind_counts_as_another_task(hostile: object) -> None:
    assert kinds_and_counts([hostile]) == ["1 other task"]


@pytest.mark.parametrize("none", [None, "busy", {}, [], 5])
def test_no_list_is_no_blocker(none: object) -> None:
    assert kinds_and_counts(none) == []


def test_a_count_is_bounded() -> None:
    assert kinds_and_counts([{"kind": "task", "count": 10**400}]) == ["10000 tasks"]
