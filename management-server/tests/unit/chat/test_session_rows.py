"""The list of conversations, made of OpenClaw's rows; and the keys of their sessions."""

from typing import Any

import pytest
from ocmt_management.agents.service import conversation_of, key_of
from ocmt_management.chat import session_rows

TRIP = "11111111-1111-4111-8111-111111111111"
TRIP_KEY = f"agent:main:ocmt-{TRIP}"


def row(key: str = TRIP_KEY, **more: Any) -> dict[str, Any]:
    return {"key": key, "sessionId": "s", "lastInteractionAt": 1795455435245, **more}


@pytest.mark.parametrize(
    "key",
    [
        "agent:main:cron:daily",
        "agent:main:subagent:11111111-1111-4111-8111-111111111111",
        "agent:main:main:heartbeat",
        "agent:main:telegram:direct:42",
        "agent:other:main",
        f"agent:other:dashboard:{TRIP}",
        f"agent:main:dashboard:incognito-{TRIP}",
        "agent:main:dashboard:main",
        f"agent:main:ocmt-d-{TRIP}",
        "agent:main:dashboard:../main",
        f"{TRIP_KEY}\n",
        "global",
        "",
        None,
        7,
    ],
)
def test_sessions_of_jobs_channels_and_others_are_no_conversations(key: Any) -> None:
    assert conversation_of(key) is None
    assert session_rows.entries({"sessions": [{"key": key}]}) == []


@pytest.mark.parametrize(
    "conversation",
    ["", "MAIN", "main ", TRIP.upper().replace("1", "A"), f"{TRIP}/x", f"cron:{TRIP}", TRIP_KEY],
)
def test_only_ids_of_conversations_become_keys(conversation: str) -> None:
    with pytest.raises(ValueError, match="conversation"):
        key_of(conversation)


def test_ids_and_keys_correspond() -> None:
    fork = f"agent:main:dashboard:{TRIP}"
    assert [key_of(one) for one in ("main", TRIP, f"d-{TRIP}")] == ["main", TRIP_KEY, fork]
    keys = ("main", "agent:main:main", TRIP_KEY, fork)
    assert [conversation_of(key) for key in keys] == ["main", "main", TRIP, f"d-{TRIP}"]


def test_a_row_becomes_an_entry() -> None:
    made = session_rows.entry(row(label="Trip", pinned=True, unread=True, hasActiveRun=True))

    assert made == {
        "id": TRIP,
        "title": "Trip",
        "pinned": True,
        "unread": True,
        "working": True,
        "at": "2026-11-23T17:37:15.245000+00:00",
    }


@pytest.mark.parametrize(
    ("names", "title"),
    [
        ({"label": "", "autoLabel": "Ours", "displayName": "Its"}, "Ours"),
        ({"label": "Mine", "displayName": "Its", "derivedTitle": "First"}, "Mine"),
        ({"label": " ", "displayName": "Its", "derivedTitle": "First"}, "Its"),
        ({"derivedTitle": "First"}, "First"),
        ({"label": 7, "displayName": None}, ""),
        ({"label": "x" * 500}, "x" * 120),
    ],
)
def test_the_users_name_comes_before_others(names: dict[str, Any], title: str) -> None:
    made = session_rows.entry(row(**names))
    assert made is not None
    assert made["title"] == title


def test_the_main_conversation_has_only_the_name_that_its_user_gave_it() -> None:
    made = session_rows.entry(row("agent:main:main", displayName="webchat", derivedTitle="Hi"))
    assert made is not None
    assert (made["id"], made["title"]) == ("main", "")


@pytest.mark.parametrize("broken", [{}, {"sessions": None}, {"sessions": ["x", 7, {}]}])
def test_a_broken_list_is_an_empty_one(broken: dict[str, Any]) -> None:
    assert session_rows.entries(broken) == []
    assert session_rows.hits({"results": broken.get("sessions")}) == []


def test_hits_name_their_conversation() -> None:
    found = session_rows.hits(
        {
            "sessions": [row(label="Trip")],
            "results": [
                {"sessionKey": TRIP_KEY, "role": "user", "snippet": "to Rome", "timestamp": 0},
                {"sessionKey": "agent:main:cron:x", "role": "user", "snippet": "no"},
            ],
        }
    )
    assert [(hit["conversation"], hit["title"], hit["snippet"]) for hit in found] == [
        (TRIP, "Trip", "to Rome")
    ]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Plan my trip", "Plan my trip"),
        ("\n\n  # Plan\tmy   trip\nwith trains", "Plan my trip"),
        ("word " * 40, "word word word word word word word word word word word…"),
        ("x" * 100, "x" * 59 + "…"),
        (" \n ", ""),
    ],
)
def test_a_new_conversation_is_named_after_its_first_line(text: str, title: str) -> None:
    assert session_rows.title_from(text) == title
