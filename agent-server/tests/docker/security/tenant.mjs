// What a tenant tries from within its container: `node -e <this> NAME ARGUMENTS…`. Each attempt
// prints one JSON list with what got through; it is empty when nothing did.
// No attempt of it harms the host, should it succeed.
import { execFileSync, spawn } from "node:child_process";
import dgram from "node:dgram";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";

const [name, ...given] = process.argv.slice(1);
const through = [];

function attempt(what, act) {
  try {
    const got = act();
    if (got !== false) through.push(`${what}: ${got ?? "done"}`);
  } catch {
    // Refused, which is as it should be.
  }
}

// Whether a connection is made, within two seconds.
function connects(host, port) {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port, timeout: 2000 });
    const end = (made) => {
      socket.destroy();
      resolve(made);
    };
    socket.on("connect", () => end(true));
    socket.on("error", () => end(false));
    socket.on("timeout", () => end(false));
  });
}

// A request's status, or why there was none.
function asked(host, port, text) {
  return new Promise((resolve) => {
    let said = "";
    const socket = net.connect({ host, port, timeout: 10000 }, () => socket.write(text));
    socket.on("data", (data) => (said += data));
    for (const end of ["close", "error", "timeout"]) {
      socket.on(end, () => {
        socket.destroy();
        resolve(Number(said.split(" ")[1]) || end);
      });
    }
  });
}

function run(program, ...words) {
  return execFileSync(program, words, { stdio: ["ignore", "pipe", "ignore"], timeout: 5000 });
}

const attempts = {
  async connect(...places) {
    for (const place of places) {
      const at = place.lastIndexOf(":");
      if (await connects(place.slice(0, at), Number(place.slice(at + 1)))) through.push(place);
    }
  },

  // Datagrams to another agent: its own address, everybody's, and a group's.
  async datagrams(port, ...addresses) {
    const socket = dgram.createSocket("udp4");
    await new Promise((resolve) => socket.bind(0, resolve));
    socket.setBroadcast(true);
    for (const address of addresses) {
      await new Promise((resolve) => socket.send(`from a tenant to ${address}`, Number(port), address, resolve));
    }
    socket.close();
  },

  forge() {
    const perl = (program) => run("perl", "-e", `${program} or exit 1`);
    attempt("raw IP socket", () => perl("socket(S, 2, 3, 1)"));
    attempt("raw Ethernet socket", () => perl("socket(S, 17, 3, 0x0300)"));
    attempt("another IP address", () =>
      perl('socket(S, 2, 2, 0) and ioctl(S, 0x8916, pack("a16 S n a4 x8", "eth0", 2, 0, chr(10) x 4))'));
    attempt("another MAC address", () =>
      perl('socket(S, 2, 2, 0) and ioctl(S, 0x8924, pack("a16 S a6 x8", "eth0", 1, "ocmtmc"))'));
    attempt("sysctl", () => fs.writeFileSync("/proc/sys/net/ipv4/ip_forward", "1"));
    for (const [device, addresses] of Object.entries(os.networkInterfaces())) {
      for (const { family, address } of addresses) {
        if (device !== "lo" && family === "IPv6") through.push(`IPv6 ${address} on ${device}`);
      }
    }
  },

  write() {
    for (const path of [
      "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf", "/etc/openclaw/openclaw.json",
      "/app/package.json", "/usr/local/bin/node", "/opt/openclaw/x", "/home/node/x",
      "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/proc/self/oom_score_adj",
      "/sys/kernel/uevent_helper", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
      "/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/release_agent", "/dev/shm/../x",
    ]) {
      const worse = path.endsWith("oom_score_adj") ? "-1000" : "x";
      attempt(path, () => fs.appendFileSync(path, worse));
    }
    // What it may write among all that is mounted: its own folder, memory, and the kernel's stand-ins.
    const own = ["/home/node/.openclaw", "/tmp", "/dev/shm", "/dev/mqueue"];
    for (const line of fs.readFileSync("/proc/self/mountinfo", "utf8").trim().split("\n")) {
      const place = line.split(" ")[4];
      if (own.includes(place) || fs.statSync(place).isCharacterDevice()) continue;
      attempt(`${place} is writable`, () => fs.accessSync(place, fs.constants.W_OK));
    }
  },

  read(...paths) {
    for (const path of [...paths, "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/etc/shadow"]) {
      attempt(path, () => fs.statSync(path).isDirectory() ? fs.readdirSync(path).length : fs.readFileSync(path).length);
    }
    for (const line of fs.readFileSync("/proc/net/unix", "utf8").split("\n")) {
      if (/docker|containerd|systemd|dbus/.test(line)) through.push(line);
    }
  },

  // Words that only another agent's environment or files have, given backwards.
  others(...backwards) {
    const secrets = backwards.map((word) => [...word].reverse().join(""));
    for (const pid of fs.readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
      for (const file of ["environ", "cmdline", "maps"]) {
        attempt(`/proc/${pid}/${file}`, () => {
          const text = fs.readFileSync(`/proc/${pid}/${file}`, "latin1");
          return secrets.some((secret) => text.includes(secret)) ? "another's" : false;
        });
      }
      attempt(`/proc/${pid} is another's`, () => fs.statSync(`/proc/${pid}`).uid === process.getuid() ? false : `uid ${fs.statSync(`/proc/${pid}`).uid}`);
      attempt(`/proc/${pid}/root`, () => fs.readdirSync(`/proc/${pid}/root`).includes("app") ? false : "another root");
    }
    attempt("grep", () => {
      const found = secrets.flatMap((secret) => ["-e", secret]);
      return String(run("grep", "-rlIs", ...found, "/home", "/etc", "/tmp", "/run")) || false;
    });
  },

  devices() {
    for (const [kind, major, minor] of [["c", 1, 1], ["b", 8, 0], ["b", 254, 0], ["c", 10, 229], ["c", 10, 200]]) {
      for (const folder of ["/tmp", "/home/node/.openclaw", "/dev/shm"]) {
        attempt(`mknod ${kind} ${major}:${minor} in ${folder}`, () => run("mknod", `${folder}/node-${major}-${minor}`, kind, `${major}`, `${minor}`));
      }
    }
    const harmless = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero console".split(" ");
    for (const device of fs.readdirSync("/dev")) {
      if (!harmless.includes(device)) through.push(`/dev/${device}`);
    }
  },

  rights() {
    const status = Object.fromEntries(fs.readFileSync("/proc/self/status", "utf8").split("\n").map((line) => line.split(":\t")));
    for (const [key, value] of Object.entries({ CapInh: 0, CapPrm: 0, CapEff: 0, CapBnd: 0, CapAmb: 0 })) {
      if (Number(`0x${status[key]}`) !== value) through.push(`${key} ${status[key]}`);
    }
    if (status.NoNewPrivs !== "1") through.push("it may gain privileges");
    if (status.Seccomp !== "2") through.push("no system call is filtered");
    if (process.getuid() < 1001) through.push(`uid ${process.getuid()}`);
    if (process.getgroups().some((group) => group !== process.getgid())) through.push(`groups ${process.getgroups()}`);
    attempt("user namespace", () => run("unshare", "--user", "--map-root-user", "true"));
    attempt("mount namespace", () => run("unshare", "--mount", "true"));
    attempt("mount", () => run("mount", "-t", "tmpfs", "none", "/tmp"));
    attempt("namespaces of another process", () => run("nsenter", "--target", "1", "--net", "true"));
    attempt("chroot", () => run("chroot", "/", "true"));
    attempt("setuid", () => process.setuid(0));
    attempt("setgid", () => process.setgid(0));
    attempt("su", () => run("su", "-c", "true"));
    attempt("dmesg", () => run("dmesg"));
    attempt("priority", () => os.setPriority(process.pid, -5));
  },

  // More processes than it may have; the others go on meanwhile, says the test.
  async fork(most) {
    const children = [];
    let refused = false;
    while (!refused && children.length < 2 * Number(most)) {
      try {
        const child = spawn("sleep", ["600"], { stdio: "ignore" });
        child.on("error", () => (refused = true));
        if (child.pid === undefined) refused = true;
        else children.push(child);
      } catch {
        refused = true;
      }
      await new Promise(setImmediate);
    }
    if (children.length >= Number(most)) through.push(`${children.length} processes`);
    await held();
    for (const child of children) child.kill("SIGKILL");
  },

  // Every inotify instance that the kernel grants to this uid.
  async inotify() {
    const number = { x64: 294, arm64: 26 }[process.arch];
    const program = `$| = 1; $n = 0; $n++ while syscall(${number}, 0) >= 0; print "$n\\n"; <STDIN>`;
    const child = spawn("perl", ["-e", program]);
    const taken = await new Promise((resolve) => child.stdout.once("data", resolve));
    if (Number(taken) < 1) through.push("it took none, so this proves nothing");
    await held();
    child.kill("SIGKILL");
  },

  watch() {
    const watcher = fs.watch("/tmp");
    watcher.close();
  },

  // Memory and swap: a child that takes all it gets.
  async memory(mb) {
    const program = `
      const held = [];
      for (let taken = 0; taken < ${Number(mb)}; taken += 16) held.push(Buffer.alloc(16 << 20, 1));
      process.exit(77);`;
    const child = spawn("node", ["-e", program], { stdio: "ignore" });
    const [code] = await new Promise((resolve) => child.on("exit", (...how) => resolve(how)));
    if (code === 77) through.push(`${mb} MB`);
  },

  // Memory that is no process's: files in /tmp and /dev/shm.
  async files_in_memory(mb) {
    for (const folder of ["/tmp", "/dev/shm"]) {
      const child = spawn("dd", ["if=/dev/zero", `of=${folder}/large`, "bs=1M", `count=${mb}`], { stdio: "ignore" });
      await new Promise((resolve) => child.on("exit", resolve));
      const size = fs.statSync(`${folder}/large`, { throwIfNoEntry: false })?.size ?? 0;
      fs.rmSync(`${folder}/large`, { force: true });
      if (size >= Number(mb) << 20) through.push(`${size} bytes in ${folder}`);
    }
  },

  // Disk: a file, one that is deleted and stays open, and many that are empty.
  async disk(mb, files) {
    const home = "/home/node/.openclaw";
    const open = fs.openSync(`${home}/deleted`, "w");
    fs.writeSync(open, Buffer.alloc(Number(mb) << 20, 1));
    fs.unlinkSync(`${home}/deleted`);
    fs.writeFileSync(`${home}/file`, Buffer.alloc(Number(mb) << 20, 1));
    fs.mkdirSync(`${home}/many`, { recursive: true });
    for (let number = 0; number < Number(files); number++) fs.writeFileSync(`${home}/many/${number}`, "");
    await held();
    fs.closeSync(open);
  },

  async relay(host, port, ours, ...guesses) {
    const head = (path, token) => `GET ${path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n${token ? `Authorization: Bearer ${token}\r\n` : ""}\r\n`;
    for (const token of ["", "x", ours.slice(0, -1), `${ours}x`, ours.toUpperCase(), ...guesses]) {
      const status = await asked(host, port, head("/llm/v1/models", token));
      // 424 for any unknown token: after a 401 OpenClaw disables its models.
      if (status !== (token ? 424 : 401)) through.push(`token ${token}: ${status}`);
    }
    for (const path of ["/", "/health", "/metrics", "/api/containers", "/api/me", "/llm/../api/me", "/llm/%2e%2e/api", "//llm/v1", "/llm//v1", "/mcp/../api", "/LLM/v1/models", "http://127.0.0.1/api/me", "/llm\\..\\api"]) {
      const status = await asked(host, port, head(path, ours));
      if (status !== 404 && status !== 400) through.push(`${path}: ${status}`);
    }
    const mine = await asked(host, port, head("/llm/v1/models", ours));
    if (mine !== 200) through.push(`its own token does not work, so this proves nothing: ${mine}`);
  },

  // A request's head that does not end: how much of it the relay takes.
  async headers(host, port, mostMb) {
    const socket = net.connect({ host, port: Number(port) });
    let open = true;
    for (const end of ["close", "error"]) socket.on(end, () => (open = false));
    // Once it has refused, it throws away what still comes.
    socket.on("data", (data) => (open &&= !String(data).startsWith("HTTP/1.1 431")));
    socket.write("GET /llm/v1/models HTTP/1.1\r\nHost: relay\r\n");
    const line = Buffer.from(`x-a: ${"b".repeat(1000)}\r\n`.repeat(64));
    let sent = 0;
    while (open && sent < Number(mostMb) << 20) {
      if (!socket.write(line)) await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), new Promise((resolve) => socket.once("close", resolve))]);
      sent += line.length;
      await new Promise(setImmediate);
    }
    if (open) through.push(`${sent} bytes of headers`);
    socket.destroy();
  },

  // Connections that say nothing, held until the test has looked.
  async hog(host, port, many) {
    const sockets = Array.from({ length: Number(many) }, () => net.connect({ host, port: Number(port) }).on("error", () => {}));
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("connect", resolve).once("close", resolve))));
    await held();
    for (const socket of sockets) socket.destroy();
  },
};

// Says that it holds what it took, and does until the test has looked.
async function held() {
  console.log("held");
  await new Promise((resolve) => process.stdin.once("data", resolve));
}

await attempts[name](...given);
console.log(JSON.stringify(through));
process.exit(0);
