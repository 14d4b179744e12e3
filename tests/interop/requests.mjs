// Shared by the peers from npm: reads requests, and prints the same lines with the answers of
// `sign` and `verify`.
import { readFileSync } from "node:fs";

// `sign` returns a token and `verify` claims, or they throw one of `refusals`.
export async function answer(sign, verify, refusals) {
  // Without readline, because some versions of it end a line at U+2028.
  for (const line of readFileSync(0, "utf8").trimEnd().split("\n")) {
    const request = JSON.parse(line);
    Object.assign(request, { peer: process.env.PEER, version: process.env.VERSION });
    const key = Buffer.from(request.key, "base64url");
    try {
      if (request.direction === "theirs") {
        request.token = await sign(request, key);
      } else {
        request.read = await verify(request, key);
        request.verdict = "accepted";
      }
    } catch (error) {
      if (!(error instanceof refusals)) throw error;
      request.verdict = "refused";
    }
    console.log(JSON.stringify(request));
  }
}
