"""Requests and answers of the model choice."""

from typing import Annotated

from ocmt_common.agent_api import Command, Wire
from pydantic import Field, SecretStr, StringConstraints, field_validator

from ocmt_management.llm.catalogue import KeyCheck
from ocmt_management.llm.models import MODEL_CHARACTERS, MODEL_PATTERN
from ocmt_management.llm.providers import ProviderId

MAX_KEY_CHARACTERS = 512


class ModelRequest(Command):
    provider: ProviderId
    model: Annotated[
        str, StringConstraints(pattern=rf"^{MODEL_PATTERN}\z", max_length=MODEL_CHARACTERS)
    ]
    key: SecretStr | None = Field(None, min_length=1, max_length=MAX_KEY_CHARACTERS)

    @field_validator("key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not all("!" <= letter <= "~" for letter in key.get_secret_value()):
            raise ValueError("has a space or another character that keys never have; copy it again")
        return key


class ProviderView(Wire):
    id: ProviderId
    name: str
    key_set: bool
    key_hint: str | None
    """The key's last four characters after an ellipsis."""
    models: list[str]
    """Suggestions; the user may type any other name."""


class ModelAnswer(Wire):
    provider: ProviderId
    model: str
    demo: bool
    providers: list[ProviderView]
    key_check: KeyCheck | None = None
    """Of a key that was just saved: whether its provider took it."""


class ModelsAnswer(Wire):
    models: list[str]
    more: bool
    """Whether more models match; name more of the words."""
    problem: str | None
    """Why these are suggestions only, and not the provider's own list."""
