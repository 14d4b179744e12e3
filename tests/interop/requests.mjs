// What the peers from npm share: requests in, the same lines with the answers of `sign` and `verify` out.
import { readFileSync } from "node:fs";

// `sign` gives a token and `verify` claims, or they throw one of `refusals`.
export async function answer(sign, verify, refusals) {
  // Not by readline, some versions of which end a line at U+2028.
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
