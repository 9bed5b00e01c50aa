"""Requests and answers of the model choice and the shared keys."""

from typing import Annotated, Self

from ocmt_common.agent_api import Command, Wire
from ocmt_common.user_ids import UserId
from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from ocmt_management.llm.catalogue import KeyCheck
from ocmt_management.llm.models import MODEL_CHARACTERS, MODEL_PATTERN, URL_CHARACTERS
from ocmt_management.llm.providers import ProviderId
from ocmt_management.llm.usage_schemas import Dollars

MAX_KEY_CHARACTERS = 512
MOST_CHOSEN = 1000


ServerUrl = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=8, max_length=URL_CHARACTERS)
]


def _fits_a_header(key: SecretStr | None) -> SecretStr | None:
    if key is not None and not all("!" <= letter <= "~" for letter in key.get_secret_value()):
        raise ValueError("has a space or another character that keys never have; copy it again")
    return key


class ModelRequest(Command):
    provider: ProviderId
    model: Annotated[
        str, StringConstraints(pattern=rf"^{MODEL_PATTERN}\z", max_length=MODEL_CHARACTERS)
    ]
    key: SecretStr | None = Field(None, min_length=1, max_length=MAX_KEY_CHARACTERS)
    url: ServerUrl | None = None
    """The address of an own server, up to `/v1`; left out, the stored one stays."""

    _key = field_validator("key")(_fits_a_header)

    @model_validator(mode="after")
    def _url_of_own_server(self) -> Self:
        if self.url is not None and self.provider is not ProviderId.OWN:
            raise ValueError("url is only for the provider `own`")
        return self


class ProviderView(Wire):
    id: ProviderId
    name: str
    key_set: bool
    key_hint: str | None
    """The key's last four characters after an ellipsis."""
    shared: bool
    """Whether an admin provides it to this user."""
    url: str | None
    """The address of the user's own server."""
    models: list[str]
    """Suggestions; the user may type any other name."""


class ModelAnswer(Wire):
    provider: ProviderId
    model: str
    demo: bool
    usable: bool
    """Whether the user has a key for the chosen provider, or an admin provides it."""
    providers: list[ProviderView]
    key_check: KeyCheck | None = None
    """The provider's check of a key that was just saved."""


class ModelsAnswer(Wire):
    models: list[str]
    more: bool
    """Whether more models match than are listed; a longer search finds fewer."""
    problem: str | None
    """Why these are suggestions only, and not the provider's own list."""


class SharedKeyRequest(Command):
    """Who may use a provider's key that an admin gives; without a `key` the stored one stays."""

    key: SecretStr | None = Field(None, min_length=1, max_length=MAX_KEY_CHARACTERS)
    url: ServerUrl | None = None
    """The address of an own server, up to `/v1`."""
    everyone: bool = False
    user_ids: list[UserId] = Field(default_factory=list, max_length=MOST_CHOSEN)
    suspended: bool = False
    day_usd: Dollars | None = None
    """Most of each user, in a day."""
    month_usd: Dollars | None = None

    _key = field_validator("key")(_fits_a_header)


class ProviderName(Wire):
    id: ProviderId
    name: str


class SharedKeyUserRow(Wire):
    user_id: str
    email: str


class SharedKeyRow(Wire):
    provider: ProviderId
    name: str
    key_hint: str | None
    url: str | None
    everyone: bool
    suspended: bool
    users: list[SharedKeyUserRow]
    """The users who were chosen."""
    day_usd: float | None
    month_usd: float | None
    month_spent_usd: float
    """By all users this month, with the reservations of requests under way."""


class SharedKeysAnswer(Wire):
    keys: list[SharedKeyRow]
    providers: list[ProviderName]
    """Those that can be shared."""
    key_check: KeyCheck | None = None
    """The provider's check of a key that was just saved."""
