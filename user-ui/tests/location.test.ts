// @vitest-environment jsdom
import { afterEach, expect, it } from "vitest";

import { conversationAt, isInPage, pathNow } from "../src/views/location";

const TRIP = "11111111-1111-4111-8111-111111111111";

afterEach(() => {
  history.replaceState(null, "", "/");
});

it.each(["/", "/sign-in", "/settings", "/tools?decision=2", `/c/${TRIP}`, `/c/d-${TRIP}`])(
  "has something at %s",
  (path) => {
    history.replaceState(null, "", path);
    expect(pathNow()).toBe(path.split("?")[0]);
  },
);

it.each([
  "/nowhere",
  "/settings/",
  "/Settings",
  "/c",
  "/c/",
  "/c/main",
  "/c/trip",
  `/c/${TRIP}/more`,
  `/c/x-${TRIP}`,
])("has nothing at %s", (path) => {
  history.replaceState(null, "", path);
  expect(pathNow()).toBeNull();
  expect(isInPage(path)).toBe(false);
  expect(conversationAt(path)).toBeNull();
});
