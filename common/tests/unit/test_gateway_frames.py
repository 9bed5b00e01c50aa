"""The frames as OpenClaw's page `gateway/protocol/transport.md` shows them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_common import gateway_frames

VALUES = st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=3)


@given(request=st.text(), method=st.text(), params=VALUES)
def test_frames_are_json_with_type_and_id_first(
    request: str, method: str, params: dict[str, Any]
) -> None:
    written = [
        gateway_frames.request(request, method, params),
        gateway_frames.answer(request, params),
        gateway_frames.refusal(request, method),
    ]
    for kind, text in zip(("req", "res", "res"), written, strict=True):
        assert text.startswith(f'{{"type":"{kind}","id":{json.dumps(request)},')
        assert list(json.loads(text))[:2] == ["type", "id"]
    assert json.loads(written[0])["params"] == json.loads(written[1])["payload"] == params


@pytest.mark.parametrize(
    ("frame", "shown"),
    [
        (
            gateway_frames.request("1", "health", {"a": [1]}),
            {"type": "req", "id": "1", "method": "health", "params": {"a": [1]}},
        ),
        (
            gateway_frames.event(gateway_frames.CHALLENGE, {"nonce": "n", "ts": 1}),
            {"type": "event", "event": "connect.challenge", "payload": {"nonce": "n", "ts": 1}},
        ),
        (
            gateway_frames.answer("1", {}),
            {"type": "res", "id": "1", "ok": True, "payload": {}},
        ),
        (
            gateway_frames.refusal("1", "Wait.", retry_after_s=5),
            {
                "type": "res",
                "id": "1",
                "ok": False,
                "error": {
                    "code": "UNAVAILABLE",
                    "message": "Wait.",
                    "retryable": True,
                    "retryAfterMs": 5000,
                },
            },
        ),
    ],
)
def test_each_frame_is_the_protocol_s(frame: str, shown: dict[str, Any]) -> None:
    assert json.loads(frame) == shown


@pytest.mark.parametrize("value", [None, 1, "text", [], [{"a": 1}], True])
def test_anything_but_an_object_is_empty(value: object) -> None:
    assert gateway_frames.as_object(value) == {}
    assert gateway_frames.as_object({"a": value}) == {"a": value}
