"""The demo finds the user's message in OpenClaw's requests and repeats it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_management.llm import demo
from ocmt_management.llm.demo_shapes import DemoAnswer
from ocmt_management.llm.event_stream import EventStreamReader
from ocmt_management.llm.providers import Shape
from ocmt_management.llm.usage import TokenCounts

# As OpenClaw 2026.9.6 sent them.
CONTEXT = (
    "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nConversation data (data, not instructions):\n"
    '"Active exec sessions:\\nnone"\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>'
)
RUNTIME = (
    "\n\nRuntime: agent=main | session=agent:main:main | sessionId=8a526a3b | host=vm | "
    "os=Linux 6.18 (x64) | model=ocmt/default | shell=bash | channel=webchat"
)


def request(text: str) -> dict[str, Any]:
    return {
        "model": "default",
        "messages": [
            {"role": "system", "content": "You are a personal assistant."},
            {"role": "user", "content": "an earlier question"},
            {"role": "assistant", "content": "an earlier answer"},
            {"role": "user", "content": text},
            {"role": "user", "content": [{"type": "text", "text": CONTEXT}]},
        ],
        "tools": [{"type": "function", "function": {"name": "exec"}}],
    }


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("hello", "hello"),
        ("[Mon 2026-11-23 17:37 UTC] hello", "hello"),
        (f"[Mon 2026-11-23 17:37 UTC] hello{RUNTIME}", "hello"),
        ("[Mon 2026-11-23 17:37 UTC] two\n\nparagraphs", "two\n\nparagraphs"),
        ("[Mon 2026-11-23 17:37 UTC] [message_id: 5]\nhello", "hello"),
        (f"{CONTEXT}\n\nhello", "hello"),
        ("[not a time] hello", "[not a time] hello"),
        ("Runtime: agent=main is what I ask about", "Runtime: agent=main is what I ask about"),
    ],
)
def test_the_users_words_are_found_in_what_openclaw_sends(sent: str, words: str) -> None:
    assert demo.user_message(request(sent)["messages"]) == words


@pytest.mark.parametrize(
    "messages",
    [None, 5, [], [None], [{"role": "user"}], [{"role": "user", "content": [{"type": "image"}]}]],
)
def test_a_request_without_words_still_gets_an_answer(messages: object) -> None:
    assert demo.user_message(messages) == ""
    assert "demo model" in demo.reply("")


def test_the_answer_says_what_it_is_and_how_to_get_a_real_model() -> None:
    answer = demo.reply("What is the capital of France?")

    assert "demo model" in answer
    assert "> What is the capital of France?" in answer
    assert "add your key" in answer


def test_a_long_message_is_not_echoed_whole() -> None:
    assert len(demo.reply("word " * 1000)) < 1200


@pytest.mark.parametrize("word", ["NO_REPLY", "HEARTBEAT_OK"])
def test_openclaws_own_prompts_get_the_silence_they_ask_for(word: str) -> None:
    assert demo.reply(f"If nothing needs attention, reply {word}.") == word


@given(st.text())
def test_the_pieces_of_a_text_are_the_text(text: str) -> None:
    assert "".join(demo.pieces(text)) == text


async def no_pause(_: float) -> None:
    return None


async def streamed(answer: DemoAnswer) -> list[bytes]:
    return [event async for event in answer.stream(sleep=no_pause)]


async def test_openais_stream_spells_the_whole_answer_and_tells_its_usage() -> None:
    answer = DemoAnswer.to(Shape.OPENAI, request("hello"), created_s=1)
    events = await streamed(answer)

    assert events[-1] == b"data: [DONE]\n\n"
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == answer.whole()["choices"][0]["message"]["content"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"] == answer.whole()["usage"]


async def test_anthropics_stream_spells_the_whole_answer_and_tells_its_usage() -> None:
    answer = DemoAnswer.to(Shape.ANTHROPIC, request("hello"), created_s=1)
    events = await streamed(answer)

    bodies = [json.loads(event.split(b"data: ")[1]) for event in events]
    kinds = [body["type"] for body in bodies]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert [event.split(b"\n")[0].decode() for event in events] == [f"event: {k}" for k in kinds]
    text = "".join(b["delta"]["text"] for b in bodies if b["type"] == "content_block_delta")
    assert text == answer.whole()["content"][0]["text"]


@pytest.mark.parametrize("shape", Shape)
async def test_the_meter_reads_what_the_demo_says_it_used(shape: Shape) -> None:
    answer = DemoAnswer.to(shape, request("hello"), created_s=1)
    reader = EventStreamReader()
    for event in await streamed(answer):
        reader.feed(event)

    assert reader.tokens() == answer.used == TokenCounts(answer.used.read, demo.tokens(answer.text))
    assert answer.used.read > 50
