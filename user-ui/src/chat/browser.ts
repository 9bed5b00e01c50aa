/** `SessionWorld` on the browser's own APIs. */

import type { Api } from "../api/client";
import { Problem } from "../api/problem";
import type { SessionWorld } from "./session";

export function browserWorld(api: Api): SessionWorld {
  return {
    open: (url) => new WebSocket(url),
    later: (run, delayMs) => {
      const timer = setTimeout(run, delayMs);
      return () => clearTimeout(timer);
    },
    random: Math.random,
    online: () => navigator.onLine,
    signedIn: async () => {
      try {
        await api.me();
        return true;
      } catch (error) {
        return !(error instanceof Problem && error.status === 401);
      }
    },
    now: Date.now,
    visible: () => document.visibilityState === "visible",
    // A hidden page gets no frames, so it renders when it is shown again.
    nextFrame: (draw) => void requestAnimationFrame(draw),
  };
}
