// npm's jsonwebtoken. See README.md.
import jwt from "jsonwebtoken";
import { answer } from "./requests.mjs";

await answer(
  // It adds an iat where there is none, and without timestamps takes away the one that is there.
  ({ alg, claims }, key) => jwt.sign(claims, key, { algorithm: alg, noTimestamp: !("iat" in claims) }),
  ({ alg, token, audience }, key) => jwt.verify(token, key, { algorithms: [alg], audience }),
  jwt.JsonWebTokenError,
);
