// npm's fast-jwt. See README.md.
import { TokenError, createSigner, createVerifier } from "fast-jwt";
import { answer } from "./requests.mjs";

await answer(
  ({ alg, claims }, key) => createSigner({ key, algorithm: alg, noTimestamp: true })(claims),
  ({ alg, token, audience }, key) =>
    createVerifier({ key, algorithms: [alg], allowedAud: audience })(token),
  TokenError,
);
