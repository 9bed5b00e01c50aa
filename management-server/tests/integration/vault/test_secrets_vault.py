"""The vault over HTTP and as a service, on both databases."""

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_common.problems import Problem
from ocmt_management.audit.models import AuditEvent
from ocmt_management.vault.keys import KeyRing
from ocmt_management.vault.models import StoredDataKey, StoredSecret
from ocmt_management.vault.rotation import rotate
from ocmt_management.vault.secret_value import SecretValue
from ocmt_management.vault.service import Vault
from ocmt_testing.management.approvals import KillableDatabase, Killed, Killing
from sqlalchemy import select, update

ADA, BOB = "ada@example.com", "bob@example.com"
LONG = "sk-proj-0123456789abcdef-WXYZ"

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]


async def user_id(app: FastAPI, email: str) -> str:
    from ocmt_management.auth.models import User

    async with app.state.database.read() as session:
        found: str | None = await session.scalar(select(User.id).where(User.email == email))
    assert found is not None
    return found


async def reveal(app: FastAPI, user: str, name: str, keys: KeyRing | None = None) -> str | None:
    state = app.state
    async with state.database.write() as session:
        vault = Vault(session, keys or state.vault_keys, state.clock)
        value = await vault.get(user, name, actor="agent", reason="a test")
    return None if value is None else value.reveal()


@pytest.mark.both_databases
async def test_a_secret_is_stored_listed_by_hint_replaced_and_deleted(
    app: FastAPI, sign_in: SignIn
) -> None:
    browser = await sign_in(ADA)
    ada = await user_id(app, ADA)

    put = await browser.put("/api/secrets/GITHUB_TOKEN", json={"value": LONG})

    assert put.status_code == 200
    assert put.json() | {"updatedAt": ""} == {
        "name": "GITHUB_TOKEN",
        "hint": "WXYZ",
        "updatedAt": "",
    }
    assert (await browser.get("/api/secrets")).json()["secrets"] == [put.json()]
    assert await reveal(app, ada, "GITHUB_TOKEN") == LONG

    await browser.put("/api/secrets/GITHUB_TOKEN", json={"value": "short, and ünïcode"})
    assert (await browser.get("/api/secrets")).json()["secrets"][0]["hint"] is None
    assert await reveal(app, ada, "GITHUB_TOKEN") == "short, and ünïcode"

    assert (await browser.delete("/api/secrets/GITHUB_TOKEN")).status_code == 204
    assert (await browser.delete("/api/secrets/GITHUB_TOKEN")).status_code == 404
    assert await reveal(app, ada, "GITHUB_TOKEN") is None


async def test_no_answer_ever_holds_a_secret(sign_in: SignIn) -> None:
    browser = await sign_in(ADA)
    answers = [
        await browser.put("/api/secrets/FOO", json={"value": LONG}),
        await browser.get("/api/secrets"),
        await browser.put("/api/secrets/FOO", json={"value": LONG, "more": 1}),
        await browser.put("/api/secrets/FOO", json={"value": [LONG]}),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 422, 422]
    assert not [answer.text for answer in answers if LONG[:8] in answer.text]


async def test_one_users_secrets_are_invisible_to_others(app: FastAPI, sign_in: SignIn) -> None:
    ada, bob = await sign_in(ADA), await sign_in(BOB)
    await ada.put("/api/secrets/FOO", json={"value": LONG})

    assert (await bob.get("/api/secrets")).json() == {"secrets": []}
    assert (await bob.delete("/api/secrets/FOO")).status_code == 404
    await bob.put("/api/secrets/FOO", json={"value": "bob's own"})

    assert await reveal(app, await user_id(app, ADA), "FOO") == LONG
    assert await reveal(app, await user_id(app, BOB), "FOO") == "bob's own"


@pytest.mark.both_databases
async def test_a_row_moved_to_another_user_does_not_open(app: FastAPI, sign_in: SignIn) -> None:
    for email in (ADA, BOB):
        await (await sign_in(email)).put("/api/secrets/FOO", json={"value": LONG})
    ada, bob = await user_id(app, ADA), await user_id(app, BOB)
    async with app.state.database.write() as session:
        stolen = await session.get(StoredSecret, (ada, "FOO"))
        await session.execute(
            update(StoredSecret).where(StoredSecret.user_id == bob).values(sealed=stolen.sealed)
        )

    with pytest.raises(Problem, match="does not decrypt"):
        await reveal(app, bob, "FOO")


@pytest.mark.parametrize("name", ["1x", "a b", "model:openai", "x" * 65, "a/b", "ä", "FOO%0A"])
async def test_a_name_of_another_kind_is_refused(sign_in: SignIn, name: str) -> None:
    browser = await sign_in(ADA)

    answer = await browser.put(f"/api/secrets/{name}", json={"value": "x"})

    assert answer.status_code in (404, 422)
    assert (await browser.get("/api/secrets")).json() == {"secrets": []}


@pytest.mark.parametrize("value", ["", "x" * 16_385, None, 5, "\ud800"])
async def test_a_value_of_another_kind_is_refused(sign_in: SignIn, value: object) -> None:
    import json

    browser = await sign_in(ADA)

    answer = await browser.put(
        "/api/secrets/FOO",
        content=json.dumps({"value": value}).encode(),
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 422


async def test_other_domains_secrets_are_kept_apart_by_their_namespace(
    app: FastAPI, sign_in: SignIn
) -> None:
    browser = await sign_in(ADA)
    ada = await user_id(app, ADA)
    state = app.state
    async with state.database.write() as session:
        vault = Vault(session, state.vault_keys, state.clock)
        await vault.put(ada, "model:openai", SecretValue(LONG), actor=ada)

        assert [info.name for info in await vault.list(ada, namespace="model")] == ["model:openai"]
        assert await vault.list(ada) == []

    assert (await browser.get("/api/secrets")).json() == {"secrets": []}


@pytest.mark.both_databases
async def test_ten_first_secrets_at_once_are_all_kept(app: FastAPI, sign_in: SignIn) -> None:
    browser = await sign_in(ADA)

    answers = await asyncio.gather(
        *(browser.put(f"/api/secrets/S{n}", json={"value": f"value {n}"}) for n in range(10))
    )

    assert {answer.status_code for answer in answers} == {200}
    ada = await user_id(app, ADA)
    assert [await reveal(app, ada, f"S{n}") for n in range(10)] == [f"value {n}" for n in range(10)]


@pytest.mark.both_databases
async def test_the_same_secret_put_ten_times_at_once_stays_readable(
    app: FastAPI, sign_in: SignIn
) -> None:
    browser = await sign_in(ADA)

    await asyncio.gather(
        *(browser.put("/api/secrets/FOO", json={"value": f"value {n}"}) for n in range(10))
    )

    value = await reveal(app, await user_id(app, ADA), "FOO")
    assert value in {f"value {n}" for n in range(10)}


async def test_a_user_has_a_bounded_number_of_secrets(
    sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocmt_management.vault.service.MAX_SECRETS_PER_USER", 2)
    browser = await sign_in(ADA)

    statuses = [
        (await browser.put(f"/api/secrets/S{n}", json={"value": "x"})).status_code
        for n in (0, 1, 2, 0)
    ]

    assert statuses == [200, 200, 409, 200]


@pytest.mark.both_databases
async def test_each_reading_is_audited_with_its_reason_and_without_the_value(
    app: FastAPI, sign_in: SignIn
) -> None:
    browser = await sign_in(ADA)
    ada = await user_id(app, ADA)
    await browser.put("/api/secrets/FOO", json={"value": LONG})
    await reveal(app, ada, "FOO")
    await browser.delete("/api/secrets/FOO")

    async with app.state.database.read() as session:
        recorded = await session.scalars(select(AuditEvent).order_by(AuditEvent.id))
        events = [event for event in recorded if event.action.startswith("secret.")]

    assert [(e.action, e.actor, e.subject, e.detail) for e in events] == [
        ("secret.put", ada, "FOO", ""),
        ("secret.read", "agent", "FOO", "a test"),
        ("secret.delete", ada, "FOO", ""),
    ]
    assert {e.user_id for e in events} == {ada}


@pytest.mark.both_databases
async def test_shredding_the_data_key_takes_every_secret_of_that_user_only(
    app: FastAPI, sign_in: SignIn
) -> None:
    for email in (ADA, BOB):
        await (await sign_in(email)).put("/api/secrets/FOO", json={"value": LONG})
    ada, bob = await user_id(app, ADA), await user_id(app, BOB)
    state = app.state

    async with state.database.write() as session:
        await Vault(session, state.vault_keys, state.clock).shred(ada, actor="operator")

    assert await reveal(app, ada, "FOO") is None
    assert await reveal(app, bob, "FOO") == LONG
    async with state.database.read() as session:
        assert await session.get(StoredDataKey, ada) is None
        assert await session.get(StoredSecret, (ada, "FOO")) is None


@pytest.mark.both_databases
async def test_rotation_moves_every_user_to_the_new_key_and_the_old_one_can_go(
    app: FastAPI, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocmt_management.vault.rotation._BATCH", 2)
    emails = [f"user{n}@example.com" for n in range(5)]
    for email in emails:
        await (await sign_in(email)).put("/api/secrets/FOO", json={"value": LONG})
    state = app.state
    new = secrets.token_bytes(32)
    both = KeyRing({"k2": new, **state.settings.vault_keys})

    assert await rotate(state.database, both) == 5
    assert await rotate(state.database, both) == 0

    only_new = KeyRing({"k2": new})
    for email in emails:
        assert await reveal(app, await user_id(app, email), "FOO", only_new) == LONG


@pytest.mark.both_databases
async def test_a_rotation_killed_at_any_step_or_run_twice_loses_no_secret(
    app: FastAPI, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocmt_management.vault.rotation._BATCH", 1)
    emails = [f"user{n}@example.com" for n in range(3)]
    for email in emails:
        await (await sign_in(email)).put("/api/secrets/FOO", json={"value": LONG})
    ids = [await user_id(app, email) for email in emails]
    state = app.state
    keys = dict(state.settings.vault_keys)
    for at in range(1, 40):
        keys = {f"n{at}": secrets.token_bytes(32), **keys}
        database = KillableDatabase(state.settings.database)
        database.killing = Killing(at)
        with suppress(Killed):
            await rotate(database, KeyRing(keys))
        await database.close()
        for one in ids:
            assert await reveal(app, one, "FOO", KeyRing(keys)) == LONG
        moved = await asyncio.gather(*(rotate(state.database, KeyRing(keys)) for _ in range(2)))
        assert sum(moved) <= len(ids)
        keys = {f"n{at}": keys[f"n{at}"]}
        for one in ids:
            assert await reveal(app, one, "FOO", KeyRing(keys)) == LONG
        if not database.killing.dead:
            break
    assert 5 < at < 39


async def test_rotation_skips_and_reports_secrets_without_a_key(
    app: FastAPI, sign_in: SignIn, quiet_logs: list[dict[str, str]]
) -> None:
    await (await sign_in(ADA)).put("/api/secrets/FOO", json={"value": LONG})

    moved = await rotate(app.state.database, KeyRing({"k2": secrets.token_bytes(32)}))

    assert moved == 0
    assert [e["event"] for e in quiet_logs if e["log_level"] == "error"] == ["data key not rotated"]
    assert await reveal(app, await user_id(app, ADA), "FOO") == LONG


async def test_the_database_alone_reveals_no_secret(app: FastAPI, sign_in: SignIn) -> None:
    await (await sign_in(ADA)).put("/api/secrets/FOO", json={"value": LONG})
    ada = await user_id(app, ADA)

    async with app.state.database.read() as session:
        row = await session.get(StoredSecret, (ada, "FOO"))

    assert LONG.encode() not in row.sealed
    assert base64.b64encode(LONG.encode()) not in row.sealed
    assert len(row.sealed) == len(LONG) + 12 + 16
