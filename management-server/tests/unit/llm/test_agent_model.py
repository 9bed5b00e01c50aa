"""What an agent's configuration says of its user's model."""

from collections.abc import Callable

import pytest
from ocmt_common.agent_api import AgentModel, ModelApi
from ocmt_management.llm.agent_model import agent_model
from ocmt_management.llm.choice import DEMO, ChosenModel
from ocmt_management.llm.providers import PROVIDERS, ProviderId
from ocmt_management.settings import ManagementSettings

MakeSettings = Callable[..., ManagementSettings]


def model_of(settings: ManagementSettings, provider: str, name: str) -> AgentModel:
    return agent_model(ChosenModel(PROVIDERS[ProviderId(provider)], name), settings)


@pytest.mark.parametrize(
    ("provider", "api"),
    [
        ("anthropic", ModelApi.MESSAGES),
        ("openai", ModelApi.RESPONSES),
        ("openrouter", ModelApi.CHAT_COMPLETIONS),
        ("google", ModelApi.CHAT_COMPLETIONS),
        ("groq", ModelApi.CHAT_COMPLETIONS),
        ("xai", ModelApi.CHAT_COMPLETIONS),
    ],
)
def test_each_provider_is_asked_in_its_best_shape(
    make_settings: MakeSettings, provider: str, api: ModelApi
) -> None:
    assert model_of(make_settings(), provider, "some-model") == AgentModel(api=api)


def test_a_server_in_openais_place_is_asked_by_chat_completions(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(openai_base_url="http://127.0.0.1:11434/v1")
    assert model_of(settings, "openai", "gpt-5.5") == AgentModel(images=True)


def test_the_demo_is_asked_as_before(make_settings: MakeSettings) -> None:
    assert agent_model(DEMO, make_settings()) == AgentModel()


@pytest.mark.parametrize(
    ("provider", "name", "thinks", "sees"),
    [
        ("anthropic", "claude-opus-5", True, True),
        ("anthropic", "claude-opus-5-5", True, True),
        ("anthropic", "claude-sonnet-4-6", True, True),
        ("anthropic", "claude-sonnet-4-20250514", True, True),
        ("anthropic", "claude-3-7-sonnet-latest", True, True),
        ("anthropic", "claude-haiku-4-5", True, True),
        ("anthropic", "claude-3-5-haiku-20241022", False, True),
        ("anthropic", "claude-opus-6", False, True),  # OpenClaw does not know how it thinks
        ("anthropic", "claude-opus-42", False, True),
        ("openai", "gpt-5.5", True, True),
        ("openai", "gpt-6-astra", True, True),
        ("openai", "gpt-5-chat-latest", False, True),
        ("openai", "gpt-4.1-mini", False, True),
        ("openai", "gpt-4o", False, True),
        ("openai", "gpt-4", False, False),
        ("openai", "o3-mini", True, False),
        ("openai", "o4-mini", True, True),
        ("openai", "gpt-50", False, True),
        ("google", "gemini-3.7-flash", False, True),
        ("openrouter", "anthropic/claude-sonnet-5", False, True),
        ("openrouter", "meta/llama-4", False, False),
        ("mistral", "mistral-large-latest", False, False),
        ("groq", "openai/gpt-oss-120b", False, False),
        # The name gets into the agent's configuration.
        ("anthropic", "claude-opus-5${PATH}", False, True),
        ("openai", "gpt-5.5-${OCMT_AGENT_TOKEN}", False, True),
        ("openai", "gpt-5.5\\n", False, True),
    ],
)
def test_only_models_that_are_known_to_think_do(
    make_settings: MakeSettings, provider: str, name: str, thinks: bool, sees: bool
) -> None:
    model = model_of(make_settings(), provider, name)

    assert (model.reasoning, model.images) == (thinks, sees)
    assert model.name == (name if thinks else "")
