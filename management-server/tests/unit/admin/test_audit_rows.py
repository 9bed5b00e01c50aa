"""The audit trail's bounds and its text form."""

from datetime import UTC, datetime, timedelta

import pytest
from ocmt_management.admin.audit_rows import as_text
from ocmt_management.admin.schemas import AuditRow
from ocmt_management.audit.throttle import AuditThrottle


def row(**changes: str | None) -> AuditRow:
    values = {
        "id": 1,
        "at": datetime(2026, 11, 23, 12, 0, tzinfo=UTC),
        "action": "sign-in.failed",
        "actor": "stranger",
        "actor_email": None,
        "user_id": "",
        "user_email": None,
        "subject": "",
        "detail": "POST /api/auth/session",
        "client": "192.0.2.7",
    }
    return AuditRow.model_validate(values | changes)


def test_a_row_is_a_line() -> None:
    assert as_text(row()).split() == [
        "2026-11-23", "12:00:00Z", "sign-in.failed", "by", "stranger",
        "POST", "/api/auth/session", "from", "192.0.2.7",
    ]  # fmt: skip


def test_people_are_named_by_their_address_and_once() -> None:
    own = as_text(row(actor="id-1", actor_email="ada@a.io", user_id="id-1", user_email="ada@a.io"))
    other = as_text(row(actor_email="ada@a.io", user_id="id-2", user_email="bob@a.io"))
    gone = as_text(row(user_id="id-3"))

    assert "by ada@a.io" in own
    assert "for " not in own
    assert "by ada@a.io  for bob@a.io" in other
    assert "for id-3" in gone


@pytest.mark.parametrize(
    "sent", ["\x1b[2J", "\x1b]52;c;ZXZpbA==\x07", "a\nb", "\u202egnp.exe", "\x9b31m", "\r"]
)
@pytest.mark.parametrize("field", ["subject", "detail", "client", "actor"])
def test_what_strangers_sent_does_not_act_on_the_terminal(field: str, sent: str) -> None:
    assert as_text(row(**{field: f"before{sent}after"})).isprintable()


class TestThrottle:
    def at(self, *seconds: float) -> list[int | None]:
        """The throttle's answer to one client's refusals at these seconds."""
        now = {"at": datetime(2026, 11, 23, 12, 0, tzinfo=UTC)}
        throttle = AuditThrottle(lambda: now["at"])
        took = []
        for second in seconds:
            now["at"] = datetime(2026, 11, 23, 12, 0, tzinfo=UTC) + timedelta(seconds=second)
            took.append(throttle.take("sign-in.failed", "192.0.2.7"))
        return took

    def test_one_a_minute_is_noted_with_how_many_were_not(self) -> None:
        assert self.at(0, 1, 59, 60, 61, 130) == [0, None, None, 2, None, 1]

    def test_clients_and_actions_are_counted_separately(self) -> None:
        throttle = AuditThrottle(lambda: datetime(2026, 11, 23, tzinfo=UTC))
        for action, who in (("a", "one"), ("a", "two"), ("b", "one")):
            assert throttle.take(action, who) == 0
        assert throttle.take("a", "one") is None

    def test_all_together_are_bounded_each_hour(self) -> None:
        now = {"at": datetime(2026, 11, 23, tzinfo=UTC)}
        throttle = AuditThrottle(lambda: now["at"])
        took = [throttle.take("a", f"{number}") for number in range(1000)]
        assert took.count(0) == 300
        now["at"] += timedelta(hours=1)
        assert throttle.take("a", "another") == 0
