import { defineConfig } from "vitest/config";

/** The management server that `./ocmt up` starts. */
const management = "http://127.0.0.1:3000";

export default defineConfig({
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
