"""The chat says that a soft limit is passed, while it is open and when it is opened."""

from collections.abc import Awaitable, Callable

import httpx2
from fastapi import FastAPI
from ocmt_management.llm.request_source import Source
from ocmt_management.llm.usage import UsageKey, UsageSum
from ocmt_testing.management.page import Tab
from ocmt_testing.management.people import id_of


async def test_it_is_told_once_it_is_reached(
    app: FastAPI,
    ada: httpx2.AsyncClient,
    tab: Tab,
    open_tab: Callable[[httpx2.AsyncClient], Awaitable[Tab]],
) -> None:
    user_id = await id_of(ada)
    assert (await tab.gets("status"))["warning"] is None
    limits = {"monthSoftUsd": 1.5, "monthHardUsd": 20}
    assert (await ada.put(f"/api/admin/budgets/users/{user_id}", json=limits)).is_success
    usage = app.state.llm.usage
    key = UsageKey(user_id, app.state.clock().date(), "demo", "demo", Source.CHAT)
    for cost in (10**9, 10**9):
        usage.record(key, UsageSum(requests=1, cost=cost))
        await usage.write()

    told = "Your agent has used $2.00 of $20.00 for models this month."
    assert (await tab.gets("status"))["warning"] == told
    assert (await (await open_tab(ada)).gets("status"))["warning"] == told
    await ada.put(f"/api/admin/budgets/users/{user_id}", json={})
    assert (await tab.gets("status"))["warning"] is None
