// Says how OpenClaw takes each error that is written to stdin as a line of JSON,
// {shape, status, body}: the reason that OpenClaw's own classifier finds.
// `status` is null for an error within a stream. OpenClaw's code is split over files with changing
// names, so functions are found by theirs. Run: node openclaw_classifier.mjs FOLDER, the one with
// OpenClaw's `node_modules`.
import { text } from "node:stream/consumers";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const modules = resolve(process.argv[2], "node_modules");
const require = createRequire(join(modules, "openclaw", "package.json"));

async function find(folder, name) {
  const declares = new RegExp(`^(async )?function ${name}\\(`, "m");
  for (const file of readdirSync(folder).filter((file) => file.endsWith(".mjs"))) {
    const path = join(folder, file);
    const code = readFileSync(path, "utf8");
    if (!code.includes(`function ${name}(`) || !declares.test(code)) continue;
    const alias = new RegExp(`\\b${name} as (\\w+)`).exec(code.slice(code.lastIndexOf("export {")));
    return (await import(pathToFileURL(path)))[alias ? alias[1] : name];
  }
  throw new Error(`OpenClaw has no function ${name}; has it been renamed?`);
}

const project = await find(join(modules, "@openclaw", "ai", "dist"), "projectProviderError");
const dist = join(modules, "openclaw", "dist");
const classify = await find(dist, "classifyAssistantFailoverReason");
const sdks = {
  openai: (await import(pathToFileURL(require.resolve("openai")))).APIError,
  anthropic: (await import(pathToFileURL(require.resolve("@anthropic-ai/sdk")))).APIError,
};

function json(body) {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

// As the two libraries make an error of an answer (`makeStatusError`), and of an event.
function errorOf({ shape, status, body }) {
  const SdkError = sdks[shape];
  const parsed = json(body);
  if (status !== null) {
    const headers = new Headers();
    return SdkError.generate(status, parsed, parsed === undefined ? body : undefined, headers);
  }
  const inner = shape === "openai" ? parsed.error : parsed;
  return new SdkError(undefined, inner, undefined, new Headers());
}

const answers = (await text(process.stdin))
  .split("\n")
  .filter((line) => line)
  .map((line) => {
    const failed = project(errorOf(JSON.parse(line)));
    return classify({ role: "assistant", content: [], provider: "ocmt", ...failed });
  });
process.stdout.write(JSON.stringify(answers), () => process.exit(0));
