"""Chromium for benchmarks: a phone's profile, long tasks, and CPU time of its processes."""

import contextlib
import json
from collections.abc import AsyncIterator

from playwright.async_api import Browser, Page, async_playwright

PHONE_BITS_PER_S = 1_600_000
PHONE_LATENCY_MS = 150
PHONE_SLOWDOWN = 4
_UPLOAD_BITS_PER_S = 750_000

# Long tasks are those of more than 50 ms.
LONG_TASKS = """
window.longTasks = [];
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) longTasks.push([startTime, duration]);
}).observe({ type: "longtask" });
"""


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        try:
            yield browser
        finally:
            await browser.close()


async def as_on_a_phone(page: Page) -> None:
    """Slow the page's network and CPU down to those of a phone."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Network.enable")
    await devtools.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": PHONE_LATENCY_MS,
            "downloadThroughput": PHONE_BITS_PER_S / 8,
            "uploadThroughput": _UPLOAD_BITS_PER_S / 8,
        },
    )
    await devtools.send("Emulation.setCPUThrottlingRate", {"rate": PHONE_SLOWDOWN})


TRACED = ["toplevel"]
"""The categories of a trace for `longest_task_cpu_ms`."""


def longest_task_cpu_ms(trace: bytes) -> float:
    """CPU time of the longest task of a page's main thread: other processes do not slow it down."""
    events = json.loads(trace)["traceEvents"]
    main = {
        (one["pid"], one["tid"])
        for one in events
        if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"
    }
    tasks = (
        one["tdur"] / 1000
        for one in events
        if one["name"] == "ThreadControllerImpl::RunTask"
        and (one["pid"], one["tid"]) in main
        and "tdur" in one
    )
    return max(tasks, default=0.0)


async def cpu_seconds(browser: Browser) -> dict[str, float]:
    """CPU time so far of Chromium's renderers, and of all its processes."""
    devtools = await browser.new_browser_cdp_session()
    found = (await devtools.send("SystemInfo.getProcessInfo"))["processInfo"]
    await devtools.detach()
    return {
        "renderer": sum(one["cpuTime"] for one in found if one["type"] == "renderer"),
        "all": sum(one["cpuTime"] for one in found),
    }
