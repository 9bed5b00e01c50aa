"""A user's choice of a model, and their key for it."""

from dataclasses import dataclass
from typing import Self

from ocmt_common.problems import Problem
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.clock import Clock
from ocmt_management.llm.catalogue import KeyCheck
from ocmt_management.llm.models import ModelChoice
from ocmt_management.llm.provider_access import Access, ProviderAccess
from ocmt_management.llm.providers import (
    DEMO_MODEL,
    NAMESPACE,
    PROVIDERS,
    Provider,
    ProviderId,
)
from ocmt_management.llm.repository import ModelRepository
from ocmt_management.llm.schemas import ModelAnswer, ModelRequest, ProviderView
from ocmt_management.llm.shared_keys_repository import SharedKeyRepository
from ocmt_management.vault.service import KeyRing, SecretValue, Vault


@dataclass(frozen=True, slots=True)
class ChosenModel:
    provider: Provider
    model: str

    @property
    def demo(self) -> bool:
        return self.provider.id is ProviderId.DEMO

    @classmethod
    def of(cls, row: ModelChoice) -> Self:
        return cls(PROVIDERS[ProviderId(row.provider)], row.model)


DEMO = ChosenModel(PROVIDERS[ProviderId.DEMO], DEMO_MODEL)


class UserModelChoice:
    """Reads and changes one user's choice within one transaction."""

    def __init__(self, session: AsyncSession, keys: KeyRing, clock: Clock, user_id: str) -> None:
        self._rows = ModelRepository(session)
        self._shared = SharedKeyRepository(session)
        self._vault = Vault(session, keys, clock)
        self._clock = clock
        self._user_id = user_id
        self.access = ProviderAccess(session, keys, clock, user_id)

    async def chosen(self) -> ChosenModel:
        row = await self._rows.choice(self._user_id)
        return DEMO if row is None else ChosenModel.of(row)

    async def answer(self, *, key_check: KeyCheck | None = None) -> ModelAnswer:
        chosen = await self.chosen()
        secrets = await self._vault.list(self._user_id, namespace=NAMESPACE)
        hints = {info.name: info.hint for info in secrets}
        shared = await self._shared.all_granted(self._user_id)
        server = await self._rows.own_server(self._user_id)
        views = [
            ProviderView(
                id=provider.id,
                name=provider.name,
                key_set=provider.secret_name in hints,
                key_hint=_masked(hints.get(provider.secret_name)),
                shared=provider.id in shared,
                url=server if provider.own else None,
                models=list(provider.suggestions),
            )
            for provider in PROVIDERS.values()
        ]
        return ModelAnswer(
            provider=chosen.provider.id,
            model=chosen.model,
            demo=chosen.demo,
            usable=any(_usable(view) for view in views if view.id is chosen.provider.id),
            key_check=key_check,
            providers=views,
        )

    async def choose(self, request: ModelRequest, *, server: str | None = None) -> None:
        """Use this model from the agent's next request on; a `key` replaces the stored one.

        `server` is the checked address of an own server.
        """
        provider = PROVIDERS[request.provider]
        if provider.id is ProviderId.DEMO:
            if request.key is not None:
                raise Problem(422, "key-not-needed", "The demo model takes no key. Leave it out.")
            if request.model != DEMO_MODEL:
                raise Problem(422, "model-unknown", f"The demo has one model, {DEMO_MODEL}.")
        if server is not None:
            if request.key is None and server != await self._rows.own_server(self._user_id):
                # A key is for the server that it was given for.
                await self._vault.delete(self._user_id, provider.secret_name, actor=self._user_id)
            await self._rows.set_own_server(self._user_id, server)
        if provider.id is not ProviderId.DEMO:
            await self._store_key(provider, request.key)
        await self._rows.choose(
            self._user_id, provider=provider.id, model=request.model, now=self._clock()
        )

    async def delete_key(self, provider: Provider) -> None:
        """Delete a key, or an own server with its key.

        If its provider was chosen and no admin shares it, the demo model answers from now on.
        """
        deleted = await self._vault.delete(self._user_id, provider.secret_name, actor=self._user_id)
        if provider.own:
            deleted = await self._rows.delete_own_server(self._user_id) or deleted
        if not deleted:
            raise Problem(404, "key-unknown", f"You have no {provider.name} key.")
        if (await self.chosen()).provider is provider and await self.access.to(provider) is None:
            await self._rows.choose(
                self._user_id, provider=DEMO.provider.id, model=DEMO.model, now=self._clock()
            )

    async def access_for_list(self, provider: Provider) -> Access | None:
        """The access to a provider, used to list its models."""
        access = await self.access.to(provider)
        if access is not None:
            self.access.record_use(provider, access, actor=self._user_id, reason="list of models")
        return access

    async def _store_key(self, provider: Provider, key: SecretStr | None) -> None:
        if key is not None:
            value = SecretValue(key.get_secret_value())
            await self._vault.put(self._user_id, provider.secret_name, value, actor=self._user_id)
        elif await self.access.to(provider) is None:
            if provider.own:
                raise Problem(422, "url-missing", "Give the address of your server.")
            raise Problem(
                422, "key-missing", f"Add your {provider.name} key to use {provider.name}'s models."
            )


def _usable(view: ProviderView) -> bool:
    return view.id is ProviderId.DEMO or view.key_set or view.shared or view.url is not None


def _masked(hint: str | None) -> str | None:
    return None if hint is None else f"…{hint}"
