// Installs one package of npm's registry into /package, in a container of its own.
//
// Run as: node --input-type=module -e "<this>" NAME VERSION INTEGRITY. No script of any package runs.
// /install is the only other place that can be written; it limits the size. The exit code says what
// failed (installation.py).
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";

const [name, version, integrity] = process.argv.slice(1);
const SAFE = ["--ignore-scripts", "--allow-git=none", "--no-audit", "--no-fund", "--loglevel=error"];

function fail(code, message) {
  console.error(message);
  process.exit(code);
}

function npm(code, ...words) {
  const done = spawnSync("npm", [...words, ...SAFE], { stdio: ["ignore", "ignore", "inherit"] });
  if (done.status !== 0) fail(code, done.error ? String(done.error) : "");
}

fs.mkdirSync("/install/archive");
npm(10, "pack", `${name}@${version}`, "--pack-destination", "/install/archive");
const [archive] = fs.readdirSync("/install/archive").map((file) => path.join("/install/archive", file));
const found = `sha512-${createHash("sha512").update(fs.readFileSync(archive)).digest("base64")}`;
if (found !== integrity) fail(11, found);

fs.mkdirSync("/install/package");
npm(12, "install", archive, "--prefix", "/install/package", "--omit=dev");

const manifest = path.join("node_modules", name, "package.json");
const { bin } = JSON.parse(fs.readFileSync(path.join("/install/package", manifest), "utf8"));
const programs = typeof bin === "string" ? { "": bin } : { ...bin };
const own = name.replace(/^@[^/]*\//, "");
const [only, ...others] = Object.values(programs);
const program = programs[own] ?? (others.length === 0 ? only : undefined);
if (typeof program !== "string") fail(13, Object.keys(programs).join(", "));
fs.symlinkSync(path.join("node_modules", name, program), "/install/package/start");

try {
  fs.cpSync("/install/package", "/package", { recursive: true, verbatimSymlinks: true });
} catch (error) {
  fail(14, String(error));
}
spawnSync("sync", ["-f", "/package"]);
