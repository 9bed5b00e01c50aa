#!/usr/bin/env node
// The tool server of tool_program.py for containers, whose image has no Python.
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import readline from "node:readline";

const send = (members) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...members })}\n`);
const result = (id, text) => send({ id, result: { content: [{ type: "text", text: String(text) }] } });

function flood() {
  const line = `${"x".repeat(1000)}\n`;
  for (;;) {
    try {
      fs.writeSync(1, line);
    } catch {
      // The pipe is full.
    }
  }
}

function write({ path, megabytes = 0 }) {
  try {
    fs.writeFileSync(path, Buffer.alloc(megabytes << 20));
    return "ok";
  } catch (error) {
    return error.code;
  }
}

async function fork() {
  let children = 0;
  for (; children < 200; children += 1) {
    const child = spawn("sleep", ["60"], { stdio: "ignore" });
    const started = await new Promise((done) => {
      child.once("spawn", () => done(true));
      child.once("error", () => done(false));
    });
    if (!started) break;
  }
  return children;
}

const tools = {
  environment: ({ variable }) => process.env[variable] ?? "-",
  uid: () => `${process.getuid()} ${os.userInfo().username}`,
  write,
  capabilities: () => /CapEff:\s*(\w+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1],
  fork,
  "flood-stdout": flood,
  big: ({ bytes }) => "x".repeat(bytes),
  memory: () => {
    const held = [];
    for (;;) held.push(Buffer.alloc(8 << 20, 1));
  },
  exit: ({ code, text }) => {
    fs.writeSync(2, text);
    process.exit(code);
  },
  "close-stdout": () => {
    fs.closeSync(1);
    fs.closeSync(2);
    process.exit(0);
  },
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, method, params } = JSON.parse(line);
  if (method === "initialize") send({ id, result: { protocolVersion: "2025-11-25" } });
  if (method === "tools/call") result(id, await tools[params.name](params.arguments ?? {}));
});
