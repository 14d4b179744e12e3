// Uses all types of kippu.js. The compiler checks it; it is not run.
import { createClient, KippuError, type Client, type LogoutReason } from "../../../clients/browser/kippu.js";

const client: Client = createClient({
  refreshUrl: "/auth/refresh",
  logoutUrl: new URL("https://auth.example/auth/logout"),
  name: "shop",
  credentials: "include",
  fetch: async (request: Request) => fetch(request),
});
const reasons: LogoutReason[] = ["logout", "ended"];
const stop: () => void = client.onLogout((reason) => reasons.push(reason));
const stopToo: () => void = client.onLogin(() => location.reload());
const loggedIn: Response = await client.login("/login", { method: "POST", body: "{}" });
const answers: Response[] = [loggedIn, await client.fetch(new Request("/api/me"))];
try {
  await client.refresh();
} catch (error) {
  if (error instanceof KippuError && error.isRefusal) {
    const { status, code }: { status: number; code?: string } = error;
    console.log(status, code, answers);
  }
}
await client.logout();
stop();
stopToo();
// @ts-expect-error: both URLs are needed.
createClient({ refreshUrl: "/auth/refresh" });
// @ts-expect-error: there is no such reason.
client.onLogout((reason) => reason === "expired");
