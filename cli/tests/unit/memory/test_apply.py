import pytest
from ocmt_cli.failure import CommandFailed
from ocmt_cli.memory import apply as module
from ocmt_cli.memory.apply import apply
from ocmt_cli.memory.plan import Plan, Run


def test_a_program_that_never_ends_is_told_as_any_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SLOWEST_S", 0.05)
    with pytest.raises(CommandFailed, match=r"(?s)sleep 60.*did not end.*ocmt memory disable"):
        apply(Plan("", (Run(("sleep", "60")),)), say=lambda _: None)
