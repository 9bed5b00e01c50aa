import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";

import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** The management server that `./ocmt up` starts. */
const management = "http://127.0.0.1:3000";

/** Compresses once, at build time, what the management server and the web servers then only send. */
const precompressed: Plugin = {
  name: "precompressed",
  apply: "build",
  writeBundle({ dir = "" }, bundle) {
    for (const name of Object.keys(bundle).filter((name) => /\.(?:js|css|html)$/.test(name))) {
      const content = readFileSync(join(dir, name));
      writeFileSync(join(dir, `${name}.br`), brotliCompressSync(content));
      writeFileSync(join(dir, `${name}.gz`), gzipSync(content, { level: 9 }));
    }
  },
};

export default defineConfig({
  plugins: [precompressed],
  server: {
    // The session's cookie is bound to this host, whatever the port.
    host: "127.0.0.1",
    proxy: {
      "/api": {
        target: management,
        ws: true,
        changeOrigin: true,
        // Management's origin check expects its own address, not the dev server's.
        headers: { Origin: management },
      },
    },
  },
  build: {
    target: "es2022",
    // Inlined assets and scripts would need a weaker content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.md" },
  },
  test: { include: ["tests/**/*.test.ts"] },
});
