"""The providers that a user can choose: names, suggested models and request URLs."""

from dataclasses import dataclass
from enum import StrEnum

from ocmt_management.settings import ManagementSettings


class ProviderId(StrEnum):
    DEMO = "demo"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OPENROUTER = "openrouter"
    GOOGLE = "google"
    MISTRAL = "mistral"
    DEEPSEEK = "deepseek"
    XAI = "xai"
    GROQ = "groq"


class Shape(StrEnum):
    """The two request shapes of `/llm`, by path."""

    OPENAI = "chat/completions"
    ANTHROPIC = "messages"


DEMO_MODEL = "demo"
ANTHROPIC_VERSION = "2023-06-01"
NAMESPACE = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    id: ProviderId
    name: str
    suggestions: tuple[str, ...]
    """Models to offer before the provider's own list; the user may type any other name."""
    native_shape: Shape = Shape.OPENAI
    models_path: str = "models"
    check_path: str = "models"
    """A path that requires a valid key."""

    @property
    def secret_name(self) -> str:
        """The name of the user's key in the vault."""
        return f"{NAMESPACE}:{self.id}"

    def base_url(self, settings: ManagementSettings) -> str:
        base: str = getattr(settings, f"{self.id}_base_url")
        return base

    def url(self, shape: Shape, settings: ManagementSettings) -> str | None:
        """The URL for a request of this shape; `None` if the provider does not support it."""
        base = self.base_url(settings)
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
            native_shape=Shape.ANTHROPIC,
            models_path="v1/models?limit=1000",
            check_path="v1/models",
        ),
        Provider(
            id=ProviderId.OPENROUTER,
            name="OpenRouter",
            suggestions=("openrouter/auto", "anthropic/claude-sonnet-5", "openai/gpt-5.5"),
            check_path="key",  # anybody may read its list of models
        ),
        Provider(
            id=ProviderId.GOOGLE,
            name="Google",
            suggestions=("gemini-3.7-flash", "gemini-3.1-pro-preview", "gemini-2.5-pro"),
        ),
        Provider(
            id=ProviderId.MISTRAL,
            name="Mistral",
            suggestions=("mistral-large-latest", "mistral-small-latest"),
        ),
        Provider(
            id=ProviderId.DEEPSEEK,
            name="DeepSeek",
            suggestions=("deepseek-chat", "deepseek-reasoner"),
        ),
        Provider(id=ProviderId.XAI, name="xAI", suggestions=("grok-4.7", "grok-4.5")),
        Provider(id=ProviderId.GROQ, name="Groq", suggestions=("openai/gpt-oss-120b",)),
    )
}


def credentials(shape: Shape, key: str) -> dict[str, str]:
    """The headers that carry a key in a request of this shape."""
    if shape is Shape.ANTHROPIC:
        return {"x-api-key": key, "anthropic-version": ANTHROPIC_VERSION}
    return {"authorization": f"Bearer {key}"}
