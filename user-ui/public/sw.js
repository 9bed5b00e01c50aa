/* global self, clients, fetch, location, Response, URL */

// The page's service worker: a page without network, and notifications.
//
// It caches nothing, so that no answer of the server outlives its user's session and no release its
// deploy: each load of the page comes from the network, and the page for a load without network is
// in this file. Every load also checks whether this file has changed.

const OFFLINE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="color-scheme" content="light dark" />
    <title>Offline · OCMT</title>
    <style>
      body {
        display: grid;
        min-height: 100dvh;
        margin: 0;
        place-content: center;
        padding: 1rem;
        background: light-dark(#faf9f7, #171614);
        color: light-dark(#22201d, #ece8e1);
        font: 16px/1.55 system-ui, sans-serif;
        text-align: center;
      }
      a {
        color: light-dark(#1b6b58, #7fd1b9);
      }
    </style>
  </head>
  <body>
    <main>
      <h1>You are offline</h1>
      <p>Your agent keeps your conversations. This page comes back by itself.</p>
      <p><a href="">Try again</a></p>
    </main>
    <script>
      const look = () =>
        fetch("/version.txt", { cache: "no-store" }).then(
          () => location.reload(),
          () => undefined,
        );
      addEventListener("online", look);
      setInterval(look, 5000);
    </script>
  </body>
</html>`;

const CONVERSATION = /^(?:d-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      // The request for the page does not wait for this worker to start.
      await self.registration.navigationPreload?.enable();
      await clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  if (event.request.mode === "navigate") event.respondWith(loaded(event));
});

async function loaded(event) {
  try {
    return (await event.preloadResponse) ?? (await fetch(event.request));
  } catch {
    return new Response(OFFLINE, {
      status: 503,
      headers: {
        "Content-Type": "text/html; charset=utf-8",
        // All of it is above, and none of it comes from elsewhere.
        "Content-Security-Policy":
          "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
      },
    });
  }
}

// Browsers require that every message shows something.
self.addEventListener("push", (event) => {
  const { title, path } = shown(read(event.data));
  event.waitUntil(
    self.registration.showNotification(title, {
      data: path,
      tag: path,
      renotify: true,
      icon: "/icon-192.png",
    }),
  );
});

function read(data) {
  try {
    return data?.json() ?? {};
  } catch {
    return {};
  }
}

function shown({ kind, conversation, number }) {
  if (kind === "decision" && Number.isSafeInteger(number)) {
    return { title: "Your agent needs a decision", path: `/tools?decision=${number}` };
  }
  const known = typeof conversation === "string" && CONVERSATION.test(conversation);
  const title = kind === "answer" ? "Your agent has answered" : "Your agent has news";
  return { title, path: known ? `/c/${conversation}` : "/" };
}

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(goTo(event.notification.data));
});

async function goTo(path) {
  const windows = await clients.matchAll({ type: "window", includeUncontrolled: true });
  const open = windows.find(({ url }) => isPage(new URL(url)));
  if (open === undefined) {
    await clients.openWindow(path);
    return;
  }
  open.postMessage({ type: "go-to", path });
  await open.focus();
}

/** Whether the page is at this address, not a file that the server sent by itself. */
function isPage({ origin, pathname }) {
  return origin === location.origin && !pathname.startsWith("/api/");
}
