"""Texts for providers' errors: their cause for the user, nothing harmful for the agent."""

import json

import pytest
from ocmt_management.llm import errors, provider_errors
from ocmt_management.llm.errors import explain
from ocmt_management.llm.openclaw_lockouts import disables_provider
from ocmt_management.llm.provider_errors import from_answer, from_body
from ocmt_management.llm.providers import Shape
from ocmt_testing.management.provider_refusals import REFUSALS, Refusal

KEY = "sk-adas-own-key-0123456789"
BODIES = [refusal for refusal in REFUSALS if refusal.status is not None]
EVENTS = [refusal for refusal in REFUSALS if refusal.status is None]


def error_of(refusal: Refusal) -> provider_errors.ProviderError:
    if refusal.status is not None:
        return from_body(refusal.status, refusal.body)
    error = from_answer(json.loads(refusal.body))
    assert error is not None
    return error


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: f"{one.status} {one.body[:60]}")
def test_each_error_is_explained_by_its_cause(refusal: Refusal) -> None:
    explained = explain("OpenAI", "gpt-x", error_of(refusal), mask={})

    assert explained.user.code == refusal.code
    if explained.in_place is not None:
        assert not disables_provider(json.dumps(explained.in_place.body()))
        assert explained.in_place.status in (400, 404, 424, 429, 503)
    else:
        assert not disables_provider(refusal.body)


@pytest.mark.parametrize("refusal", EVENTS, ids=lambda one: one.body[:60])
@pytest.mark.parametrize("wrap", ["plain", "response", "choice", "typed"])
def test_an_error_within_an_answer_is_found_in_every_shape(refusal: Refusal, wrap: str) -> None:
    error = json.loads(refusal.body)["error"]
    event = {
        "plain": {"id": "1", "error": error, "choices": [{"finish_reason": "error"}]},
        "response": {"type": "response.failed", "response": {"error": error}},
        "choice": {"choices": [{"error": error, "finish_reason": "error"}]},
        "typed": {**error, "type": "error", "code": error.get("code", error.get("type"))},
    }[wrap]
    found = from_answer(event)

    assert found is not None
    assert found.message == error["message"]
    assert found.cause == refusal.code


@pytest.mark.parametrize(
    "answer",
    [{}, {"error": None}, {"error": {}}, {"choices": [{"delta": {"content": "error"}}]},
     {"response": {"error": None}}, {"choices": "x"}, {"choices": [5]}],
)  # fmt: skip
def test_an_answer_without_an_error_has_none(answer: dict[str, object]) -> None:
    assert from_answer(answer) is None


def test_the_providers_own_reason_is_for_the_user_shortened_and_without_the_key() -> None:
    body = json.dumps({"error": {"message": f"Wrong {KEY}\n (sk-other-1234567890) key.  " * 40}})
    explained = explain("OpenAI", "gpt-x", from_body(401, body), mask={KEY: "•••"})

    assert "OpenAI says: “Wrong ••• (•••) key." in explained.user.detail
    assert KEY not in explained.reason + explained.user.detail
    assert len(explained.user.detail) < 600
    assert explained.in_place is not None
    assert "Wrong" not in json.dumps(explained.in_place.body())


@pytest.mark.parametrize("model", ["gpt-403", "insufficient_quota-7b", "expired/401"])
def test_a_models_name_does_not_get_into_what_the_agent_reads(model: str) -> None:
    body = json.dumps({"error": {"message": f"The model {model} does not exist"}})
    explained = explain("OpenAI", model, from_body(404, body), mask={})

    assert explained.in_place is not None
    assert model not in json.dumps(explained.in_place.body())
    assert model in explained.user.detail


@pytest.mark.parametrize("shape", Shape)
def test_an_error_has_the_shape_of_the_request(shape: Shape) -> None:
    body = errors.bad_request("not-json", "Send JSON.").in_shape(shape).body()

    assert body["error"]["message"] == body["detail"] == "Send JSON."
    assert body["error"]["code"] == body["code"] == "not-json"
    assert (body["type"] == "error") == (shape is Shape.ANTHROPIC)
