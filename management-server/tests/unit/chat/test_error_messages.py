import pytest
from ocmt_management.chat.error_messages import DISK_FULL, for_page


@pytest.mark.parametrize(
    "said",
    [
        "SqliteWorkerError: database or disk is full",
        "ENOSPC: no space left on device, write",
        "OSError: [Errno 28] No space left on device",
    ],
)
def test_a_full_disk_is_reported_with_the_remedy(said: str) -> None:
    assert for_page("run-failed", said) == ("disk-full", DISK_FULL)


def test_other_texts_of_the_agent_are_forwarded() -> None:
    assert for_page("run-failed", "The tool broke.") == ("run-failed", "The tool broke.")
