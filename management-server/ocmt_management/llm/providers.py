"""The providers a user can choose: names, suggested models and request URLs."""

from dataclasses import dataclass
from enum import StrEnum

from ocmt_management.settings import ManagementSettings


class ProviderId(StrEnum):
    DEMO = "demo"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OPENROUTER = "openrouter"


class Shape(StrEnum):
    """The two request shapes of `/llm`, by path."""

    OPENAI = "chat/completions"
    ANTHROPIC = "messages"


DEMO_MODEL = "demo"
NAMESPACE = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    id: ProviderId
    name: str
    suggestions: tuple[str, ...]
    """Models to offer; the user may type any other name."""

    @property
    def secret_name(self) -> str:
        """The name of the user's key in the vault."""
        return f"{NAMESPACE}:{self.id}"

    def url(self, shape: Shape, settings: ManagementSettings) -> str | None:
        """The URL for a request of this shape; `None` if the provider does not support it."""
        base: str = getattr(settings, f"{self.id}_base_url")
        if self.id is ProviderId.ANTHROPIC:
            return f"{base}/v1/{shape}"
        return f"{base}/{shape}" if shape is Shape.OPENAI else None


PROVIDERS: dict[ProviderId, Provider] = {
    provider.id: provider
    for provider in (
        Provider(id=ProviderId.DEMO, name="Demo (built in)", suggestions=(DEMO_MODEL,)),
        Provider(
            id=ProviderId.OPENAI,
            name="OpenAI",
            suggestions=("gpt-5.6-luna", "gpt-6-astra", "gpt-5.5", "gpt-5.4-mini"),
        ),
        Provider(
            id=ProviderId.ANTHROPIC,
            name="Anthropic",
            suggestions=("claude-opus-5", "claude-sonnet-5", "claude-sonnet-4-6"),
        ),
        Provider(
            id=ProviderId.OPENROUTER,
            name="OpenRouter",
            suggestions=("openrouter/auto", "anthropic/claude-sonnet-5", "openai/gpt-5.5"),
        ),
    )
}


def credentials(shape: Shape, key: str) -> dict[str, str]:
    """The headers that carry a key in a request of this shape."""
    if shape is Shape.ANTHROPIC:
        return {"x-api-key": key}
    return {"authorization": f"Bearer {key}"}
