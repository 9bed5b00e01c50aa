import { beforeEach, describe, expect, it } from "vitest";

import { ChatSocket, retryDelayMs } from "../src/chat/socket";
import type { Connection } from "../src/chat/state";
import { FakeWorld } from "./world";

let world: FakeWorld;
let socket: ChatSocket;
let heard: Connection[];

/** Resolves once all settled promises have run their callbacks. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 0));

beforeEach(() => {
  world = new FakeWorld();
  heard = [];
  socket = new ChatSocket("ws://server/api/chat", world, {
    connection: (connection) => heard.push(connection),
    frame: () => undefined,
  });
  socket.start();
});

describe("the chat socket", () => {
  it("comes back by itself after a loss", () => {
    world.wire.open();
    world.wire.break();
    world.pass(500);
    expect(world.wires).toHaveLength(2);
    world.wire.open();
    expect(heard.at(-1)).toBe("open");
  });

  it("waits longer after each refusal, up to half a minute, and speaks of it from the second on", async () => {
    for (const delay of [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      const before = world.wires.length;
      world.wire.break();
      await settled();
      world.pass(delay - 1);
      expect(world.wires).toHaveLength(before);
      world.pass(1);
      expect(world.wires).toHaveLength(before + 1);
    }
    expect(heard).toContain("waiting");
    expect(heard.indexOf("waiting")).toBeGreaterThan(heard.indexOf("connecting"));
  });

  it("spreads the attempts of many pages over half of the delay", () => {
    expect([retryDelayMs(3, 0), retryDelayMs(3, 1)]).toEqual([2_000, 4_000]);
  });

  it("starts from the shortest delay again once a frame came through", async () => {
    world.wire.break();
    await settled();
    world.pass(500);
    world.wire.open();
    world.wire.say({ type: "status", state: "running", detail: null, since: null, warning: null });
    world.wire.break();
    world.pass(500);
    expect(world.wires).toHaveLength(3);
  });

  it("stops trying when the session is over", async () => {
    world.isSignedIn = false;
    world.wire.break();
    await settled();
    world.pass(120_000);
    expect(world.wires).toHaveLength(1);
  });

  it("tries nothing without a network, and at once when it is back", () => {
    world.isOnline = false;
    socket.reset();
    world.pass(120_000);
    expect(world.wires).toHaveLength(1);
    expect(heard.at(-1)).toBe("offline");
    world.isOnline = true;
    socket.hurry();
    expect(world.wires).toHaveLength(2);
  });

  it("gives up an attempt that is neither open nor refused", () => {
    const stuck = world.wire;
    world.pass(15_000);
    expect(stuck.closed).toBe(true);
    world.pass(500);
    expect(world.wires).toHaveLength(2);
  });

  it("says so when there is nobody to send to", () => {
    expect(socket.send({ type: "stop" })).toBe(false);
    world.wire.open();
    expect(socket.send({ type: "stop" })).toBe(true);
  });

  it("stays closed once ended", () => {
    world.wire.open();
    socket.end();
    world.pass(120_000);
    expect(world.wires).toHaveLength(1);
    expect(world.wire.closed).toBe(true);
  });
});
