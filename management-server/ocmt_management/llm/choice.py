"""A user's choice of a model, and their key for it."""

from dataclasses import dataclass

from ocmt_common.problems import Problem
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.clock import Clock
from ocmt_management.llm.catalogue import KeyCheck
from ocmt_management.llm.providers import (
    DEMO_MODEL,
    NAMESPACE,
    PROVIDERS,
    Provider,
    ProviderId,
)
from ocmt_management.llm.repository import ModelRepository
from ocmt_management.llm.schemas import ModelAnswer, ModelRequest, ProviderView
from ocmt_management.vault.service import KeyRing, SecretValue, Vault


@dataclass(frozen=True, slots=True)
class ChosenModel:
    provider: Provider
    model: str

    @property
    def demo(self) -> bool:
        return self.provider.id is ProviderId.DEMO


DEMO = ChosenModel(PROVIDERS[ProviderId.DEMO], DEMO_MODEL)


class UserModelChoice:
    """Reads and changes one user's choice within one transaction."""

    def __init__(self, session: AsyncSession, keys: KeyRing, clock: Clock, user_id: str) -> None:
        self._rows = ModelRepository(session)
        self._vault = Vault(session, keys, clock)
        self._clock = clock
        self._user_id = user_id

    async def chosen(self) -> ChosenModel:
        row = await self._rows.choice(self._user_id)
        return DEMO if row is None else ChosenModel(PROVIDERS[ProviderId(row.provider)], row.model)

    async def answer(self, *, key_check: KeyCheck | None = None) -> ModelAnswer:
        chosen = await self.chosen()
        secrets = await self._vault.list(self._user_id, namespace=NAMESPACE)
        hints = {info.name: info.hint for info in secrets}
        return ModelAnswer(
            provider=chosen.provider.id,
            model=chosen.model,
            demo=chosen.demo,
            key_check=key_check,
            providers=[
                ProviderView(
                    id=provider.id,
                    name=provider.name,
                    key_set=provider.secret_name in hints,
                    key_hint=_masked(hints.get(provider.secret_name)),
                    models=list(provider.suggestions),
                )
                for provider in PROVIDERS.values()
            ],
        )

    async def choose(self, request: ModelRequest) -> None:
        """Choose a model, for the agent's next request on; a `key` replaces the stored one.

        Raises a 422 `Problem` for an unknown model or a missing or needless key.
        """
        provider = PROVIDERS[request.provider]
        if provider.id is ProviderId.DEMO:
            if request.key is not None:
                raise Problem(422, "key-not-needed", "The demo model takes no key. Leave it out.")
            if request.model != DEMO_MODEL:
                raise Problem(422, "model-unknown", f"The demo has one model, {DEMO_MODEL}.")
        elif request.key is not None:
            await self._store_key(provider, request.key)
        elif await self._vault.hint(self._user_id, provider.secret_name) is None:
            raise Problem(
                422, "key-missing", f"Add your {provider.name} key to use {provider.name}'s models."
            )
        await self._rows.choose(
            self._user_id, provider=provider.id, model=request.model, now=self._clock()
        )

    async def delete_key(self, provider: Provider) -> None:
        """Delete a provider's key; if that provider was chosen, choose the demo model.

        Raises a 404 `Problem` if there is no such key.
        """
        if not await self._vault.delete(self._user_id, provider.secret_name, actor=self._user_id):
            raise Problem(404, "key-unknown", f"You have no {provider.name} key.")
        if (await self.chosen()).provider is provider:
            await self._rows.choose(
                self._user_id, provider=DEMO.provider.id, model=DEMO.model, now=self._clock()
            )

    async def key(self, chosen: ChosenModel) -> SecretValue | None:
        """The key for the chosen model, or `None`. The usage recorder audits its uses."""
        return await self._vault.use(self._user_id, chosen.provider.secret_name)

    async def key_for_list(self, provider: Provider) -> SecretValue | None:
        """The user's key for listing the models that it may use, or `None`. Audited."""
        key = await self._vault.use(self._user_id, provider.secret_name)
        if key is not None:
            self._vault.record_use(
                self._user_id, provider.secret_name, actor=self._user_id, reason="list of models"
            )
        return key

    async def _store_key(self, provider: Provider, key: SecretStr) -> None:
        value = SecretValue(key.get_secret_value())
        await self._vault.put(self._user_id, provider.secret_name, value, actor=self._user_id)


def _masked(hint: str | None) -> str | None:
    return None if hint is None else f"…{hint}"
