/** Notifications of this device, and whether its page is on a screen, as the server knows it. */

import type { Api } from "../api/client";
import type { NotificationsView } from "../api/generated";
import { Problem } from "../api/problem";

/** Why this browser cannot be notified, or "yes" if it can. */
export type Support = "yes" | "insecure" | "install" | "none" | "blocked";

const WORKER = "/sw.js";
/** The server takes a page for visible for 90 seconds after it said so. */
const REPEAT_MS = 60_000;

export function support(): Support {
  if (!isSecureContext) return "insecure";
  const needed = [
    "serviceWorker" in navigator,
    "PushManager" in window,
    "Notification" in window, // some apps show pages without
  ];
  // Safari on iPhone and iPad has them only in an installed page.
  if (needed.includes(false)) return isTouchedApple() ? "install" : "none";
  return Notification.permission === "denied" ? "blocked" : "yes";
}

/** Whether this is an iPhone or an iPad, which calls itself a Macintosh but has a touchscreen. */
function isTouchedApple(): boolean {
  const { userAgent, maxTouchPoints } = navigator;
  return /iPhone|iPad/.test(userAgent) || (userAgent.includes("Macintosh") && maxTouchPoints > 1);
}

/** Start the service worker. Throws where the browser refuses it; the page works without. */
export async function startWorker(): Promise<void> {
  if (!("serviceWorker" in navigator)) return; // Absent without https.
  await navigator.serviceWorker.register(WORKER);
}

/** Ask for permission and subscribe; false if the person refuses. */
export async function turnOn(api: Api, { key }: NotificationsView): Promise<boolean> {
  if ((await Notification.requestPermission()) !== "granted") return false;
  // An earlier one may belong to another session, or to another key of the server.
  await unsubscribe();
  await subscribe(api, key);
  return true;
}

export async function turnOff(api: Api): Promise<void> {
  await api.call("DELETE /api/notifications/subscription", {});
  await unsubscribe();
}

/**
 * Match the browser's subscription to the session: one of an earlier session ends, and one that the
 * browser lost is made anew.
 */
export async function keepUp(api: Api, view: NotificationsView): Promise<void> {
  if (support() !== "yes") return;
  const subscription = await (await worker()).pushManager.getSubscription();
  if (!view.on) await subscription?.unsubscribe();
  else if (subscription === null && Notification.permission === "granted") {
    await subscribe(api, view.key);
  }
}

async function subscribe(api: Api, key: string): Promise<void> {
  const subscription = await (
    await worker()
  ).pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  const { endpoint = "", keys = {} } = subscription.toJSON();
  const { p256dh: publicKey = "", auth = "" } = keys;
  await api.call("PUT /api/notifications/subscription", { body: { endpoint, publicKey, auth } });
}

async function unsubscribe(): Promise<void> {
  await (await (await worker()).pushManager.getSubscription())?.unsubscribe();
}

async function worker(): Promise<ServiceWorkerRegistration> {
  try {
    await startWorker();
  } catch {
    // Without one, `ready` never resolves.
    const detail = "This browser refuses notifications here, as where a certificate is not valid.";
    throw new Problem(0, "no-worker", detail);
  }
  return navigator.serviceWorker.ready;
}

/** Tells the server whether the page is on a screen: then no device is notified. */
export class Attention {
  private timer = 0;

  constructor(private readonly api: Api) {}

  begin(): void {
    document.addEventListener("visibilitychange", this.tell);
    this.timer = window.setInterval(() => {
      if (document.visibilityState === "visible") this.tell();
    }, REPEAT_MS);
    this.tell();
  }

  end(): void {
    document.removeEventListener("visibilitychange", this.tell);
    clearInterval(this.timer);
  }

  private readonly tell = () => {
    const visible = document.visibilityState === "visible";
    this.api.call("PUT /api/notifications/attention", { body: { visible } }).catch(() => undefined);
  };
}

/** Call `onPath` with the path of a notification that was opened. The function ends it. */
export function followOpened(onPath: (path: string) => void): () => void {
  if (!("serviceWorker" in navigator)) return () => undefined;
  const { serviceWorker } = navigator;
  const listen = ({ data }: MessageEvent<unknown>) => {
    const wanted = data as { type?: unknown; path?: unknown } | null;
    if (wanted?.type === "go-to" && typeof wanted.path === "string") onPath(wanted.path);
  };
  serviceWorker.addEventListener("message", listen);
  return () => serviceWorker.removeEventListener("message", listen);
}

/** Begin what a signed-in page does about notifications. The function ends it. */
export async function begin(api: Api, onPath: (path: string) => void): Promise<() => void> {
  const view = await api.call("GET /api/notifications", {});
  await keepUp(api, view).catch(() => undefined);
  const unfollow = followOpened(onPath);
  // Also without any device to notify: another one may turn them on later.
  const attention = new Attention(api);
  attention.begin();
  return () => {
    attention.end();
    unfollow();
  };
}
