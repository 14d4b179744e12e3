// npm's jose. See README.md.
import { SignJWT, errors, jwtVerify } from "jose";
import { answer } from "./requests.mjs";

await answer(
  ({ alg, claims }, key) => new SignJWT(claims).setProtectedHeader({ alg }).sign(key),
  async ({ alg, token, audience }, key) =>
    (await jwtVerify(token, key, { algorithms: [alg], audience })).payload,
  errors.JOSEError,
);
