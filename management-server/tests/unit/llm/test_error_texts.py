"""A provider's refusal in words to act on; and none that makes OpenClaw shut the provider out."""

import json
import re

import pytest
from ocmt_management.llm import errors
from ocmt_management.llm.errors import explain, in_place_of_answer
from ocmt_management.llm.providers import Shape


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (401, "Incorrect API key provided: sk-abc", "provider-refused-key"),
        (403, "Country not supported", "provider-refused-key"),
        (402, "Payment required", "provider-unpaid"),
        (429, "You exceeded your current quota insufficient_quota", "provider-unpaid"),
        (403, "Key limit exceeded: no credits", "provider-unpaid"),
        (429, "Rate limit reached", "provider-limits"),
        (404, "The model does not exist", "model-unknown"),
        (500, "", "provider-trouble"),
        (529, "Overloaded", "provider-trouble"),
        (400, "max_tokens is too large", "provider-refused"),
    ],
)
def test_each_refusal_is_told_by_its_cause(status: int, said: str, code: str) -> None:
    trouble = explain("OpenAI", "gpt-x", status, said)

    assert trouble.code == code
    assert "OpenAI" in trouble.detail


def test_what_a_provider_says_of_a_request_is_quoted_in_short() -> None:
    detail = explain("OpenAI", "gpt-x", 400, "max_tokens is\n too   large. " * 50).detail

    assert "max_tokens is too large." in detail
    assert len(detail) < 400


# Texts after which OpenClaw 2026.9.6 shuts a provider out for minutes.
SHUT_OUT = re.compile(
    r"api.?key|\b40[123]\b|unauthori[sz]ed|authenticat|invalid.key|billing|insufficient|quota", re.I
)


@pytest.mark.parametrize(("status", "said"), [(401, "bad key"), (402, "pay"), (403, "no")])
def test_troubles_with_the_key_reach_the_agent_without_scaring_it_off(
    status: int, said: str
) -> None:
    trouble = explain("OpenAI", "gpt-x", status, said)
    refusal = in_place_of_answer(trouble)

    assert trouble.replaces
    assert refusal.status == 424
    assert not SHUT_OUT.search(json.dumps(refusal.body()))
    assert not SHUT_OUT.search(json.dumps(errors.no_key("OpenAI").body()))


@pytest.mark.parametrize("shape", Shape)
def test_a_refusal_reads_like_the_shape_it_answers(shape: Shape) -> None:
    body = errors.bad_request("not-json", "Send JSON.").in_shape(shape).body()

    assert body["error"]["message"] == body["detail"] == "Send JSON."
    assert body["error"]["code"] == body["code"] == "not-json"
    assert (body["type"] == "error") == (shape is Shape.ANTHROPIC)
