"""What an agent has to know of its user's model, by the provider and the model's name. Pure.

Anthropic's models are asked in Anthropic's own shape, so that prompt caching and thinking work, and
OpenAI's in that of Responses, which keeps what they thought between two calls of tools. Every other
provider is asked by chat completions. Thinking is switched on for models that are known to think:
others refuse the request.
"""

import re

from ocmt_common.agent_api import AgentModel, ModelApi

from ocmt_management.llm.choice import ChosenModel
from ocmt_management.llm.providers import ProviderId
from ocmt_management.settings import ManagementSettings

_THINKS = {
    ModelApi.MESSAGES: re.compile(
        r"(?:claude-(?:(?:opus|sonnet|fable|mythos)-[45]|haiku-4)|claude-3-7-sonnet)(?:-[a-z0-9-]+)?"
    ),
    ModelApi.RESPONSES: re.compile(r"(?:gpt-[56]|o3|o4-mini)(?![a-z\d]|.*-chat)[a-z0-9.-]*"),
}
# By any provider: OpenRouter's names begin with that of the vendor.
_SEES = re.compile(
    r"(?:[\w-]+/)?(?:claude-|gemini-|gpt-4o|gpt-4\.1|gpt-[56]|o3(?!-mini)|o4-mini|grok-4|pixtral-)"
)


def agent_model(chosen: ChosenModel, settings: ManagementSettings) -> AgentModel:
    api = _api(chosen.provider.id, settings)
    pattern = _THINKS.get(api)
    thinks = pattern is not None and pattern.fullmatch(chosen.model) is not None
    return AgentModel(
        api=api,
        name=chosen.model if thinks else "",
        reasoning=thinks,
        images=_SEES.match(chosen.model) is not None,
    )


def _api(provider: ProviderId, settings: ManagementSettings) -> ModelApi:
    if provider is ProviderId.ANTHROPIC:
        return ModelApi.MESSAGES
    usual: str = ManagementSettings.model_fields["openai_base_url"].default
    # Servers of OpenAI's shape often have nothing but chat completions.
    if provider is ProviderId.OPENAI and settings.openai_base_url == usual:
        return ModelApi.RESPONSES
    return ModelApi.CHAT_COMPLETIONS
