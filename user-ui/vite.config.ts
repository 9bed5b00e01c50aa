import { defineConfig } from "vitest/config";

/** The management server that `./ocmt up` starts. */
const management = "http://127.0.0.1:3000";

export default defineConfig({
  server: {
    // The session's cookie is of the host that `./ocmt up` names, whatever the port.
    host: "127.0.0.1",
    proxy: {
      "/api": {
        target: management,
        ws: true,
        changeOrigin: true,
        // Its origin check must see its own address, not this development server's.
        headers: { Origin: management },
      },
    },
  },
  build: {
    target: "es2022",
    // Data addresses and inline scripts would need a weaker content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.md" },
  },
  test: { include: ["tests/**/*.test.ts"] },
});
