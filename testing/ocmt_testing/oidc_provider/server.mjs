// An authorization server for tests: oidc-provider with rotation, PKCE, registration, revocation,
// `iss` and resource indicators; an API that takes its tokens; and a switch for misbehaviour.
//
// `node server.mjs ROOT REDIRECT_URI PORT`, where ROOT has node_modules. Prints its port.

import http from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const [root, redirectUri, port] = process.argv.slice(2);
const require = createRequire(path.join(root, "package.json"));
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")).href);

const state = { ttl: 3600, mode: "well", tokens: 0, api: [], refuse: false, forgotten: "" };
const server = http.createServer();
await new Promise((done) => server.listen(Number(port), "127.0.0.1", done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "ocmt",
      client_secret: "ocmt-client-secret-0123456789",
      redirect_uris: [redirectUri],
      grant_types: ["authorization_code", "refresh_token"],
    },
  ],
  clientDefaults: { grant_types: ["authorization_code", "refresh_token"] },
  cookies: { keys: ["a key of the tests"] },
  pkce: { required: () => true },
  scopes: ["openid", "offline_access", "notes", "secret-notes"],
  claims: { openid: ["sub", "email"] },
  rotateRefreshToken: true,
  issueRefreshToken: async () => true,
  ttl: {
    AccessToken: () => state.ttl,
    RefreshToken: 86400,
    Grant: 86400,
    Interaction: 600,
    Session: 86400,
    IdToken: 600,
    AuthorizationCode: 60,
  },
  findAccount: async (_, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, email: `${id}@as.example` }),
  }),
  features: {
    devInteractions: { enabled: true },
    registration: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({
        scope: "notes secret-notes",
        audience: resource,
        accessTokenTTL: state.ttl,
        accessTokenFormat: "opaque",
      }),
    },
  },
});
const answer = provider.callback();

server.on("request", async (request, response) => {
  const send = (status, body, headers = {}) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  };
  if (request.url === "/control") {
    const text = Buffer.concat(await request.toArray()).toString();
    if (text) Object.assign(state, JSON.parse(text));
    send(200, state);
    return;
  }
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
  if (token !== undefined && token === state.forgotten) {
    return send(401, { error: "invalid_token" });
  }
  if (request.url.startsWith("/api/")) {
    const found = token && !state.refuse ? await provider.AccessToken.find(token) : undefined;
    const body = Buffer.concat(await request.toArray()).toString();
    if (!found) return send(401, { error: "invalid_token" });
    state.api.push(`${request.method} ${request.url}`);
    return send(200, { who: found.accountId, method: request.method, body, echo: token });
  }
  if (request.url === "/token") {
    state.tokens += 1;
    if (state.mode === "html") return send(200, "<html>Sign in</html>", { "content-type": "text/html" });
    if (state.mode === "broken") return send(500, { error: "server_error" });
    if (state.mode === "client") return send(401, { error: "invalid_client" });
    if (state.mode === "hangs") return;
    if (state.mode === "lost") {
      // The provider has rotated the token, but its answer does not arrive.
      response.end = () => response.destroy();
      response.write = () => true;
    }
  }
  if (request.url === "/me" && state.mode === "nobody") return send(200, "<html>");
  answer(request, response);
});
console.log(server.address().port);
