// npm's jsonwebtoken. See README.md.
import jwt from "jsonwebtoken";
import { answer } from "./requests.mjs";

await answer(
  // By default it adds an iat if there is none. With noTimestamp it removes an existing one.
  ({ alg, claims }, key) => jwt.sign(claims, key, { algorithm: alg, noTimestamp: !("iat" in claims) }),
  ({ alg, token, audience }, key) => jwt.verify(token, key, { algorithms: [alg], audience }),
  jwt.JsonWebTokenError,
);
