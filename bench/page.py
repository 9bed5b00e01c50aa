"""How fast the page is in Chromium: its start on a phone, a long conversation, a fast answer.

The built page, served by the real management server, whose agents are the checked double of the
agent server. Beside it, in the same run, a page with nothing but a text box and a line of text: the
least that this machine, Chromium and the network's profile take. A start is measured in an empty
browser with a phone's network (1.6 Mbit/s, 150 ms) and a quarter of the CPU. Run:
`python bench/page.py --json`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
from collections.abc import AsyncIterator
from typing import Any

from peers.plain_page import paced, plain_page
from playwright.async_api import Browser, Page, StorageState
from shared.agents import machine, until
from shared.chromium import (
    LONG_TASKS,
    TRACED,
    as_on_a_phone,
    chromium,
    cpu_seconds,
    longest_task_cpu_ms,
)
from shared.page_system import PageSystem, conversation, page_system

MESSAGES = 10_000
SHORT = 100
TOKENS_PER_S = 200
_PHONE = {"width": 360, "height": 740}
_LAPTOP = {"width": 1280, "height": 800}
_WHEEL_PX = 3_000
_WHEEL_EVERY_S = 0.03
_SCROLL_WITHIN_S = 300
_USABLE_WITHIN_S = 120

# Notes when the text box can be written in, and when the first message shows. Looked for at each
# frame on the direct way, since a search of the whole page would slow it down.
_MARKS = """
window.marks = {};
window.marked = async (...names) => {
  while (!names.every((name) => name in marks)) await new Promise(requestAnimationFrame);
};
const within = (one, name) => (one?.shadowRoot ?? one)?.querySelector(name);
const look = () => {
  const chat = within(within(document, "ocmt-app"), "chat-view");
  const box = within(within(chat, "message-composer"), "textarea")
    ?? document.querySelector("body > textarea");
  if (box && !box.disabled) marks.usable ??= performance.now();
  if (within(within(chat, "message-list"), "chat-message")) marks.shown ??= performance.now();
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
_LOADED = """() => {
  const files = performance.getEntriesByType("resource")
    .filter(({ responseEnd }) => responseEnd <= marks.usable);
  const bytes = (those) => those.reduce((sum, one) => sum + one.encodedBodySize, 0);
  const scripts = files.filter(({ name }) => new URL(name).pathname.endsWith(".js"));
  return {
    "first paint ms": performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0,
    "usable ms": marks.usable,
    "conversation ms": marks.shown ?? 0,
    "script kB": bytes(scripts) / 1000,
    "script files": scripts.length,
    "all kB": bytes([...performance.getEntriesByType("navigation"), ...files]) / 1000,
  };
}"""


def tokens(seconds: float) -> list[str]:
    """An answer in markdown for so many seconds, in tokens of about four characters."""
    part = (
        "Here is a **plan** with some `code` in it:\n\n- the first step, and why\n- the second\n\n"
        "```python\nfor one in range(10):\n    print(one)\n```\n\nAnd a paragraph that goes on. "
    )
    wanted = int(seconds * TOKENS_PER_S)
    text = part * (wanted * 4 // len(part) + 1)
    return [text[at : at + 4] for at in range(0, len(text), 4)][:wanted]


@contextlib.asynccontextmanager
async def opened(
    browser: Browser, size: dict[str, int], signed_in: StorageState | None, *, phone: bool = False
) -> AsyncIterator[Page]:
    """A page in an empty browser, with the marks and the long tasks noted."""
    context = await browser.new_context(
        viewport={"width": size["width"], "height": size["height"]},
        storage_state=signed_in,
        has_touch=phone,
        is_mobile=phone,
    )
    page = await context.new_page()
    await page.add_init_script(_MARKS + LONG_TASKS)
    if phone:
        await as_on_a_phone(page)
    try:
        yield page
    finally:
        await context.close()


async def marked(page: Page, *names: str) -> None:
    async with asyncio.timeout(_USABLE_WITHIN_S):
        await page.evaluate("(names) => marked(...names)", list(names))


async def start(browser: Browser, url: str, signed_in: StorageState | None) -> dict[str, float]:
    """A first visit on a phone."""
    async with opened(browser, _PHONE, signed_in, phone=True) as page:
        await page.goto(url, wait_until="commit")
        await marked(page, "usable", *([] if signed_in is None else ["shown"]))
        found: dict[str, float] = await page.evaluate(_LOADED)
    return found


async def scroll(browser: Browser, system: PageSystem, signed_in: StorageState) -> dict[str, float]:
    """From the newest of 10,000 messages to the oldest and back, all of them loaded on the way."""
    async with opened(browser, _LAPTOP, signed_in) as page:
        await page.goto(system.url)
        await marked(page, "shown")
        await page.mouse.move(_LAPTOP["width"] / 2, _LAPTOP["height"] / 2)
        await asyncio.sleep(2)
        begun = await page.evaluate("performance.now()")
        oldest = page.get_by_text("Message 0: what about")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SCROLL_WITHIN_S
        while not await oldest.count():
            if loop.time() > deadline:
                raise TimeoutError("the oldest message did not come")
            await wheel(page, -_WHEEL_PX, times=30)
        up = await page.evaluate("performance.now()")
        await browser.start_tracing(page=page, categories=TRACED)
        for _ in range(10):
            await wheel(page, 10 * _WHEEL_PX, times=15)
            await wheel(page, -_WHEEL_PX, times=15)
        trace = await browser.stop_tracing()
        ended = await page.evaluate("performance.now()")
        tasks = await page.evaluate("longTasks")
    while_scrolling = [duration for at, duration in tasks if begun <= at <= ended]
    return {
        "scrolled s": (ended - begun) / 1000,
        "of it loading s": (up - begun) / 1000,
        "longest task ms": max(while_scrolling, default=0.0),
        "tasks over 50 ms": len(while_scrolling),
        "longest task, CPU ms (all loaded)": longest_task_cpu_ms(trace),
        "longest task at the start ms": max((d for at, d in tasks if at < begun), default=0.0),
    }


async def wheel(page: Page, pixels: int, *, times: int) -> None:
    for _ in range(times):
        await page.mouse.wheel(0, pixels)
        await asyncio.sleep(_WHEEL_EVERY_S)


async def answer(
    browser: Browser, system: PageSystem, signed_in: StorageState, said: list[str]
) -> dict[str, float]:
    """An answer that streams in a conversation of 100 messages."""
    gateway = system.gateway
    async with opened(browser, _LAPTOP, signed_in) as page:
        await page.goto(system.url)
        await marked(page, "shown")
        await page.get_by_role("textbox", name="Message").fill("Go on.")
        await page.keyboard.press("Enter")
        async with asyncio.timeout(60):
            while await gateway.requests.get() != "chat.send":
                pass
        [run_id] = gateway.runs
        await asyncio.sleep(2)
        before, begun = await cpu_seconds(browser), await page.evaluate("performance.now()")

        async def say(token: str) -> None:
            await gateway.say(run_id, token)

        await paced(said, TOKENS_PER_S, say)
        await gateway.finish(run_id)
        ended = await page.evaluate("performance.now()")
        after, tasks = await cpu_seconds(browser), await page.evaluate("longTasks")
    return _streamed(before, after, (begun, ended), tasks)


async def plain_answer(browser: Browser, url: str) -> dict[str, float]:
    async with opened(browser, _LAPTOP, None) as page:
        await page.goto(url)
        before, begun = await cpu_seconds(browser), await page.evaluate("performance.now()")
        done = "new Promise((resolve) => { listen().onclose = () => resolve(); })"
        await page.evaluate(done)
        ended = await page.evaluate("performance.now()")
        after, tasks = await cpu_seconds(browser), await page.evaluate("longTasks")
    return _streamed(before, after, (begun, ended), tasks)


def _streamed(
    before: dict[str, float],
    after: dict[str, float],
    span: tuple[float, float],
    tasks: list[list[float]],
) -> dict[str, float]:
    begun, ended = span
    seconds = (ended - begun) / 1000
    while_streaming = [duration for at, duration in tasks if begun <= at <= ended]
    return {
        "streamed s": seconds,
        "renderer, % of a core": 100 * (after["renderer"] - before["renderer"]) / seconds,
        "Chromium, % of a core": 100 * (after["all"] - before["all"]) / seconds,
        "longest task ms": max(while_streaming, default=0.0),
    }


async def bench(rounds: int, seconds: float) -> dict[str, Any]:
    said = tokens(seconds)
    load_before = os.getloadavg()[0]
    found: dict[str, list[dict[str, float]]] = {
        name: [] for name in ("start", "plain start", "answer", "plain answer", "scroll")
    }
    async with page_system() as system, plain_page(said, TOKENS_PER_S) as plain, chromium() as it:
        signed_in = await sign_in(it, system)
        for _ in range(rounds):
            # Alternating, so that a busy machine affects both alike.
            system.gateway.rows = conversation(SHORT)
            found["start"].append(await start(it, system.url, signed_in))
            found["plain start"].append(await start(it, plain, None))
            found["answer"].append(await answer(it, system, signed_in, said))
            found["plain answer"].append(await plain_answer(it, plain))
            system.gateway.rows = conversation(MESSAGES)
            found["scroll"].append(await scroll(it, system, signed_in))
    return {
        "machine": machine(),
        "load": [round(load_before, 1), round(os.getloadavg()[0], 1)],
        "rounds": rounds,
        "figures": {name: medians(those) for name, those in found.items()},
        "each": found,
    }


async def sign_in(browser: Browser, system: PageSystem) -> StorageState:
    async with opened(browser, _LAPTOP, None) as page:
        await page.goto(await system.sign_in_link())
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await marked(page, "usable")
        await until(lambda: _provisioned(system))
        return await page.context.storage_state()


async def _provisioned(system: PageSystem) -> bool:
    return bool(system.agents.containers)


def medians(those: list[dict[str, float]]) -> dict[str, float]:
    return {what: round(statistics.median(one[what] for one in those), 1) for what in those[0]}


def table(result: dict[str, Any]) -> str:
    figures = result["figures"]
    lines = [f"{result['machine']}, load {result['load'][0]} to {result['load'][1]}"]
    for name, plain in (("start", "plain start"), ("answer", "plain answer"), ("scroll", None)):
        lines.append(f"\n{name:36}{'page':>10}{'plain':>10}{'ratio':>8}")
        for what, value in figures[name].items():
            least = figures[plain].get(what) if plain else None
            ratio = f"{value / least:.1f}" if least else ""
            lines.append(f"  {what:34}{value:>10}{'' if least is None else least:>10}{ratio:>8}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print raw figures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of an answer")
    chosen = parser.parse_args()
    result = asyncio.run(bench(chosen.rounds, chosen.seconds))
    print(json.dumps(result, indent=2) if chosen.json else table(result))


if __name__ == "__main__":
    main()
