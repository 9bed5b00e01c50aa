"""The page as an installed app: icons, a page without network, releases, and notifications.

Chromium cannot subscribe without its vendor's push service, so its `subscribe` is replaced
by keys of a device of the test. All else is real: the worker gets its messages from Chromium.
"""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from ocmt_cli.checkout import ROOT
from ocmt_common.settings import load
from ocmt_management.settings import ManagementSettings
from ocmt_management.static_page import endpoints as static_page
from ocmt_testing.management.push_service import Device
from ocmt_testing.management.serving import serving
from ocmt_testing.system.chat import ChatPage, client_of, go_to
from ocmt_testing.system.looks import barriers
from ocmt_testing.system.stack import Stack
from playwright.sync_api import Browser, Page, Worker, expect
from playwright.sync_api import Error as PlaywrightError

# Chromium starts a worker within limits of its own, which a busy machine exceeds.
pytestmark = pytest.mark.nightly

WORKER_RUNS = """async () => {
  const registration = await navigator.serviceWorker.getRegistration();
  return registration?.active?.state === "activated";
}"""
NO_PERMISSION_ASKED = """keys => {
  Notification.requestPermission = () => Promise.resolve("granted");
  let current = null;
  PushManager.prototype.getSubscription = () => Promise.resolve(current);
  PushManager.prototype.subscribe = (options) => {
    window.subscribedWith = options;
    current = {
      toJSON: () => keys,
      unsubscribe: () => { current = null; return Promise.resolve(true); },
    };
    return Promise.resolve(current);
  };
}"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Management's page in `folder`, without the rest of it."""
    app = FastAPI()
    app.include_router(static_page.router)
    app.state.settings = load(
        ManagementSettings,
        environ={
            "UI_DIR": str(folder),
            "DATA_DIR": str(folder),
            "JWT_SECRET": "abcdefghij-0123456789-ABCDEFGHIJ",
            "VAULT_KEY": "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "AGENT_AUTH_TOKEN": "abcdefghij-0123456789-ABCDEFGHIJ",
        },
    )
    ready, done = threading.Event(), threading.Event()
    address: list[str] = []

    async def serve() -> None:
        async with serving(app) as server:
            address.append(server.url)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    try:
        assert ready.wait(60)
        yield address[0]
    finally:
        done.set()
        thread.join(60)


def worker_of(page: Page) -> Worker:
    """The service worker of the page, once it controls it."""
    page.wait_for_function(WORKER_RUNS, timeout=60_000)
    workers = page.context.service_workers
    return workers[0] if workers else page.context.wait_for_event("serviceworker", timeout=60_000)


def until(page: Page, done: Callable[[], bool]) -> None:
    """Wait until `done` says so, while the page goes on."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


def test_a_deploy_shows_at_the_next_load_and_nothing_is_kept(
    stack: Stack, page: Page, tmp_path: Path
) -> None:
    release = tmp_path / "page"
    shutil.copytree(ROOT / "user-ui" / "dist", release)
    for copy in release.glob("index.html.*"):
        copy.unlink()
    with served(release) as url:
        page.goto(url)
        page.wait_for_function(WORKER_RUNS, timeout=60_000)
        until(page, lambda: _is_controlled(page))
        for number in (2, 3):
            index = release / "index.html"
            fresh = index.read_text(encoding="utf-8").replace(
                "</head>", f'<meta name="release" content="{number}" /></head>'
            )
            index.write_text(fresh, encoding="utf-8")
            page.reload()
            assert page.locator("meta[name=release]").last.get_attribute("content") == str(number)
        assert page.evaluate("caches.keys()") == []

        # A new worker takes over with the next load, without a tab that has to be closed.
        script = release / "sw.js"
        script.write_text(script.read_text(encoding="utf-8") + "\nself.release = 4;\n")
        page.evaluate("navigator.serviceWorker.ready.then(one => one.update())")
        until(page, lambda: _runs_release(page, 4))

        page.context.set_offline(True)
        page.goto(f"{url}/settings")
        expect(page.get_by_role("heading", name="You are offline")).to_be_visible()
        assert barriers(page) == []
        page.context.set_offline(False)
        expect(page.locator("ocmt-app")).to_be_attached()  # by itself


def _is_controlled(page: Page) -> bool:
    """Whether a reload is led through the worker: not if it started too slowly for this one."""
    page.reload()
    return bool(page.evaluate("navigator.serviceWorker.controller !== null"))


def _runs_release(page: Page, number: int) -> bool:
    """Whether no other worker waits for its turn, and this release's runs."""
    taken_over = page.evaluate(
        "navigator.serviceWorker.ready.then((one) => !one.installing && !one.waiting)"
    )
    if not taken_over:
        return False
    for worker in page.context.service_workers:
        with suppress(PlaywrightError):  # one that ended meanwhile
            if worker.evaluate("self.release") == number:
                return True
    return False


def test_the_page_can_be_installed(stack: Stack, page: Page) -> None:
    page.goto(f"{stack.url}/sign-in")
    page.wait_for_function(WORKER_RUNS, timeout=60_000)
    devtools = page.context.new_cdp_session(page)
    errors = devtools.send("Page.getInstallabilityErrors")["installabilityErrors"]
    # Contexts of the test are private windows, in which nothing can be installed.
    assert [one["errorId"] for one in errors] == ["in-incognito"]
    shown: dict[str, Any] = devtools.send("Page.getAppManifest")
    assert shown["errors"] == []
    sizes = page.evaluate(
        """async () => {
          const icons = [...(await (await fetch("/app.webmanifest")).json()).icons,
            { src: "/apple-touch-icon.png", sizes: "180x180" }];
          return Promise.all(icons.map(async ({ src, sizes }) => {
            const picture = new Image();
            picture.src = src;
            await picture.decode();
            return [sizes, `${picture.naturalWidth}x${picture.naturalHeight}`];
          }));
        }"""
    )
    assert [real for wanted, real in sizes if wanted != "any"] == [
        wanted for wanted, _ in sizes if wanted != "any"
    ]


def test_a_device_is_notified_and_leads_to_what_waits(stack: Stack, browser: Browser) -> None:
    device = Device("https://push.example.com")
    keys = device.subscription()
    with ChatPage(browser) as chat:
        chat.context.grant_permissions(["notifications"], origin=stack.url)
        chat.page.add_init_script(
            f"({NO_PERMISSION_ASKED})({{endpoint: '{keys['endpoint']}',"
            f" keys: {{p256dh: '{keys['publicKey']}', auth: '{keys['auth']}'}}}})"
        )
        chat.sign_in(stack.link("notified@example.com"))
        page = chat.page
        go_to(page, "Settings")
        switch = page.get_by_role("switch", name="On this device")
        expect(switch).not_to_be_checked()
        switch.check()
        expect(switch).to_be_enabled()
        expect(switch).to_be_checked()
        with client_of(stack, chat) as api:
            known = api.get("/api/notifications").json()
        assert known["on"]
        assert page.evaluate("subscribedWith") == {
            "userVisibleOnly": True, "applicationServerKey": known["key"],
        }  # fmt: skip
        assert barriers(page) == []

        worker = worker_of(page)
        push(page, '{"kind":"decision","number":7}')
        [title, path] = notification(worker)
        assert (title, path) == ("Your agent needs a decision", "/tools?decision=7")
        press(page, worker)
        expect(page.get_by_role("heading", name="Tools", exact=True)).to_be_visible()
        assert page.url == f"{stack.url}/tools?decision=7"

        for odd in ("", "no json", "null", '{"kind":"answer","conversation":"../../evil"}'):
            push(page, odd)
            title, path = notification(worker)
            assert path == "/"
            press(page, worker)

        go_to(page, "Settings")
        expect(switch).to_be_checked()  # before that it is not known yet
        switch.uncheck()
        expect(page.get_by_text("This device gets no notifications any more.")).to_be_visible()
        with client_of(stack, chat) as api:
            assert not api.get("/api/notifications").json()["on"]


def push(page: Page, data: str) -> None:
    """Have Chromium deliver a message to the page's worker."""
    devtools = page.context.new_cdp_session(page)
    registrations: list[str] = []
    devtools.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: registrations.extend(
            one["registrationId"] for one in event["registrations"] if not one["isDeleted"]
        ),
    )
    devtools.send("ServiceWorker.enable")
    until(page, lambda: bool(registrations))
    origin = page.evaluate("location.origin")
    devtools.send(
        "ServiceWorker.deliverPushMessage",
        {"origin": origin, "registrationId": registrations[-1], "data": data},
    )
    devtools.detach()


def notification(worker: Worker) -> list[str]:
    """The title and the data of the notification on the screen."""
    found: list[str] = worker.evaluate(
        """async () => {
          for (let left = 3000; left > 0; left -= 1) {
            const [one] = await self.registration.getNotifications();
            if (one) return [one.title, one.data];
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
          throw new Error("no notification");
        }"""
    )
    return found


def press(page: Page, worker: Worker) -> None:
    """Press the notification, and wait until the page has gone to what it is about.

    Chromium lets only a real press bring the window to the front.
    """
    page.evaluate(
        """() => {
          window.told = false;
          const listen = () => { window.told = true; };
          navigator.serviceWorker.addEventListener("message", listen, { once: true });
        }"""
    )
    worker.evaluate(
        """async () => {
          const [notification] = await self.registration.getNotifications();
          self.dispatchEvent(new NotificationEvent("notificationclick", { notification }));
          for (let left = 3000; left > 0; left -= 1) {
            if ((await self.registration.getNotifications()).length === 0) return;
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
          throw new Error("the notification stays");
        }"""
    )
    until(page, lambda: bool(page.evaluate("told")))
