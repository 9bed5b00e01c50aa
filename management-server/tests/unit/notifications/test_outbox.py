"""Messages of many users at once: each user has a part, and the latest of a kind is kept."""

import asyncio
from datetime import timedelta

import pytest
from ocmt_management.notifications import outbox
from ocmt_management.notifications.outbox import Outbox
from ocmt_management.notifications.push_message import Message


def message(number: int, kind: str = "decision") -> Message:
    content: dict[str, str | int] = {"kind": kind, "number": number}
    return Message(content=content, topic="", urgent=False, life=timedelta(hours=1))


class Sends:
    """Each takes until it is ended."""

    def __init__(self) -> None:
        self.under_way: list[tuple[str, int]] = []
        self.begun: list[tuple[str, int]] = []
        self._ends: dict[tuple[str, int], asyncio.Event] = {}

    async def send(self, user_id: str, message: Message, requests: asyncio.Semaphore) -> None:
        one = user_id, int(message.content["number"])
        self._ends[one] = asyncio.Event()
        self.under_way.append(one)
        self.begun.append(one)
        try:
            await self._ends[one].wait()
        finally:
            self.under_way.remove(one)

    async def end(self, user_id: str, number: int) -> None:
        self._ends[user_id, number].set()
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_newer_message_replaces_one_of_its_kind_that_waits() -> None:
    sends = Sends()
    box = Outbox(sends.send)
    for number in range(10):
        box.put("ada", message(number))
    box.put("ada", message(20, "answer"))
    await settled()
    assert sends.begun == [("ada", number) for number in range(4)]
    await sends.end("ada", 0)
    await sends.end("ada", 1)
    assert sends.begun[4:] == [("ada", 9), ("ada", 20)]
    await box.close()
    assert sends.under_way == []


async def test_a_place_that_becomes_free_goes_to_the_user_with_the_fewest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "_MOST", 4)
    sends = Sends()
    box = Outbox(sends.send)
    for number in range(10):
        box.put("ada", message(number))
    box.put("ben", message(0))
    box.put("eve", message(0))
    await settled()
    assert len(sends.under_way) == 4
    await sends.end("ada", 0)
    await sends.end("ada", 1)
    await sends.end("ada", 2)
    assert sends.begun[4:] == [("ben", 0), ("eve", 0), ("ada", 9)]
    await box.close()


async def test_nothing_is_kept_of_a_user_whose_messages_are_sent() -> None:
    sends = Sends()
    box = Outbox(sends.send)
    box.put("ada", message(0))
    await settled()
    await sends.end("ada", 0)
    await box.sent()
    assert box._users == {}
