// oauth4webapi as a public client: the discovery, a refresh, a scope that was not granted, a revocation, and the refresh after it.
import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { pathToFileURL } from "node:url";

// Node.js 18, which Debian 12 has, does not give it to every module.
globalThis.crypto ??= webcrypto;

const [modules, base, refreshToken, client_id, scope] = process.argv.slice(2);
const oauth = await import(pathToFileURL(`${modules}/oauth4webapi/build/index.js`));

// RFC 8414.
const issuer = new URL(base).origin;
const insecure = { [oauth.allowInsecureRequests]: true };
const discovered = await oauth.discoveryRequest(new URL(issuer), { algorithm: "oauth2", ...insecure });
const server = await oauth.processDiscoveryResponse(new URL(issuer), discovered);
assert.equal(server.token_endpoint, `${base}/refresh`);
const client = { client_id };
const options = (additionalParameters) => ({ ...insecure, additionalParameters });

async function refresh(token, scope) {
  const response = await oauth.refreshTokenGrantRequest(server, client, oauth.None(), token, options({ scope }));
  return oauth.processRefreshTokenResponse(server, client, response);
}

const tokens = await refresh(refreshToken, scope);
assert.equal(tokens.token_type, "bearer");
assert.equal(tokens.scope, scope);
assert.notEqual(tokens.refresh_token, refreshToken);
await assert.rejects(refresh(tokens.refresh_token, "admin"), { error: "invalid_scope" });
const hint = options({ token_type_hint: "refresh_token" });
const revoked = await oauth.revocationRequest(server, client, oauth.None(), tokens.refresh_token, hint);
await oauth.processRevocationResponse(revoked);
await assert.rejects(refresh(tokens.refresh_token, scope), { error: "invalid_grant" });
