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


def test_a_message_that_a_stop_kept_from_being_accepted_is_told_in_words() -> None:
    said = "Error: Chat admission ended or was cancelled; submit a new turn."

    assert for_page("agent-refused", said)[0] == "agent-stopped"


def test_other_texts_of_the_agent_are_forwarded() -> None:
    assert for_page("run-failed", "The tool broke.") == ("run-failed", "The tool broke.")
