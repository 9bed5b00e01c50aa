"""Frames from the page, and the bound of frames queued for it."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_management.chat import frames
from ocmt_management.chat.frame_queue import FrameQueue, TooSlow

ID = "5b9f5e2c-1026-4551-ac50-57f7698bfa78"


def test_the_three_frames_are_understood() -> None:
    assert frames.read('{"type":"history"}') == frames.HistoryFrame(type="history", limit=100)
    assert frames.read('{"type":"stop"}') == frames.StopFrame(type="stop")
    sent = frames.read(json.dumps({"type": "send", "id": ID, "text": " two\nlines "}))
    assert isinstance(sent, frames.SendFrame)
    assert (str(sent.id), sent.text) == (ID, " two\nlines ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"type":"unknown"}',
        '{"type":"send","id":"x","text":"hi"}',
        f'{{"type":"send","id":"{ID}"}}',
        f'{{"type":"send","id":"{ID}","text":" \\n "}}',
        f'{{"type":"send","id":"{ID}","text":"hi","userId":"somebody"}}',
        '{"type":"history","limit":0}',
        '{"type":"history","limit":100000}',
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        frames.read(text)


@given(st.text())
def test_no_text_is_more_than_misunderstood(text: str) -> None:
    with pytest.raises(ValueError):
        frames.read(text)


def test_a_refusal_does_not_repeat_the_text() -> None:
    with pytest.raises(ValueError) as refused:
        frames.read('{"type":"send","id":"my secret","text":5}')

    assert "my secret" not in str(refused.value)


async def test_frames_leave_in_order() -> None:
    queue = FrameQueue()
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    first, second = frames.delta("run", "one"), frames.delta("run", "two")
    queue.put(first)
    queue.put(second)

    assert [json.loads(await taking), json.loads(await queue.take())] == [first, second]


async def test_a_browser_too_far_behind_is_disconnected() -> None:
    queue = FrameQueue(max_bytes=150)
    queue.put(frames.delta("run", "x" * 60))
    with pytest.raises(TooSlow):
        queue.put(frames.delta("run", "x" * 60))


async def test_what_left_makes_room() -> None:
    queue = FrameQueue(max_bytes=150)
    for _ in range(10):
        queue.put(frames.delta("run", "x" * 60))
        await queue.take()
