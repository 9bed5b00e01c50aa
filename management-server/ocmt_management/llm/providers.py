"""The providers that a user can choose: names, suggested models and request URLs."""

from dataclasses import dataclass
from enum import StrEnum

from ocmt_management.settings import ManagementSettings
from ocmt_management.vault.service import SecretValue


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
    OWN = "own"


class Shape(StrEnum):
    """The request shapes of `/llm`, by path."""

    OPENAI = "chat/completions"
    RESPONSES = "responses"
    ANTHROPIC = "messages"

    @property
    def conversation(self) -> str:
        """The member of a request that holds the conversation."""
        return "input" if self is Shape.RESPONSES else "messages"


DEMO_MODEL = "demo"
ANTHROPIC_VERSION = "2023-06-01"
NAMESPACE = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    id: ProviderId
    name: str
    suggestions: tuple[str, ...] = ()
    """Models to offer before the provider's own list; the user may type any other name."""
    native_shape: Shape = Shape.OPENAI
    shapes: frozenset[Shape] = frozenset({Shape.OPENAI})
    models_path: str = "models"
    check_path: str = "models"
    """A path that requires a valid key."""

    @property
    def secret_name(self) -> str:
        """The name of the user's key in the vault."""
        return f"{NAMESPACE}:{self.id}"

    @property
    def shared_secret_name(self) -> str:
        """The name of the shared key among the vault's server secrets."""
        return f"{NAMESPACE}:shared:{self.id}"

    @property
    def own(self) -> bool:
        """Whether this is a server whose address its user, or an admin, gave; the key is optional.

        It is dialled through `outbound`.
        """
        return self.id is ProviderId.OWN

    @property
    def setting(self) -> str:
        """Where the address is set, for the operator."""
        return "the server's address" if self.own else f"{self.id.upper()}_BASE_URL"

    def base_url(self, settings: ManagementSettings, server: str | None = None) -> str:
        """The address before the paths; `server` is that of an own server."""
        base: str = (server or "") if self.own else getattr(settings, f"{self.id}_base_url")
        return base

    def url(
        self, shape: Shape, settings: ManagementSettings, server: str | None = None
    ) -> str | None:
        """The URL for a request of this shape; `None` if the provider does not support it."""
        if shape not in self.shapes:
            return None
        base = self.base_url(settings, server)
        return f"{base}/v1/{shape}" if self.id is ProviderId.ANTHROPIC else f"{base}/{shape}"


PROVIDERS: dict[ProviderId, Provider] = {
    provider.id: provider
    for provider in (
        Provider(id=ProviderId.DEMO, name="Demo (built in)", suggestions=(DEMO_MODEL,)),
        Provider(
            id=ProviderId.OPENAI,
            name="OpenAI",
            suggestions=("gpt-5.6-luna", "gpt-6-astra", "gpt-5.5", "gpt-5.4-mini"),
            shapes=frozenset({Shape.OPENAI, Shape.RESPONSES}),
        ),
        Provider(
            id=ProviderId.ANTHROPIC,
            name="Anthropic",
            suggestions=("claude-opus-5", "claude-sonnet-5", "claude-sonnet-4-6"),
            native_shape=Shape.ANTHROPIC,
            shapes=frozenset({Shape.OPENAI, Shape.ANTHROPIC}),
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
        Provider(id=ProviderId.OWN, name="Own server"),
    )
}


def credentials(shape: Shape, key: SecretValue | None) -> dict[str, str]:
    """The headers that carry a key in a request of this shape."""
    if key is None:
        return {}
    if shape is Shape.ANTHROPIC:
        return {"x-api-key": key.reveal(), "anthropic-version": ANTHROPIC_VERSION}
    return {"authorization": f"Bearer {key.reveal()}"}
