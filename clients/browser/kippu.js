// A login that is in cookies of the browser: sends requests, refreshes the access token when it has
// expired, and logs out. All tabs of one origin share the login, so they take turns: only one of
// them refreshes, and a logout or a login in one reaches the others.
//
// Scripts see no token. localStorage has the kind, the login and the time of the last change, and no
// secret.

/** How often one refresh is tried, and how long each try waits for its answer. All tries begin
 * within the server's grace (10 s), in which the used refresh token gets the same successor. */
const TRIES = 3;
const TRY_MS = 3_000;
const PAUSE_MS = 300;

/** Without Web Locks: longer than all tries of a refresh, so that a closed tab blocks no other one
 * for long. */
const LEASE_MS = 12_000;
const POLL_MS = 50;

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The server has answered a refresh or a logout with an error, or has not answered. */
export class KippuError extends Error {
  constructor(message, { status, code }) {
    super(message);
    this.name = "KippuError";
    this.status = status;
    this.code = code;
  }

  static async of(response) {
    const { error, error_description } = await response.json().catch(() => ({}));
    const message = error_description ?? `the server answered with status ${response.status}`;
    return new KippuError(message, { status: response.status, code: error });
  }

  /** Whether the refresh token was refused (RFC 6749 §5.2), so that another try is no use. */
  get isRefusal() {
    return this.status === 400 || this.status === 401;
  }
}

/** A 401 that another access token may change (RFC 6750 §3.1), unlike one that asks for the
 * password again (RFC 9470). A response to a request without a token has no error code. */
function isExpired(response) {
  if (response.status !== 401) return false;
  const challenge = response.headers.get("WWW-Authenticate") ?? "";
  const [, code] = /\berror="?([\w-]+)/.exec(challenge) ?? [];
  return code === undefined || code === "invalid_token";
}

/** The login of a change, by a number that a refresh keeps. */
function loginOf(change) {
  return change.split(" ")[1] ?? "";
}

/** A text that all tabs share; only this tab has it where the browser stores nothing. */
class Shared {
  #key;
  #own;

  constructor(key) {
    this.#key = key;
  }

  get() {
    try {
      return this.#own ?? localStorage.getItem(this.#key) ?? "";
    } catch {
      return "";
    }
  }

  set(text) {
    try {
      localStorage.setItem(this.#key, text);
      this.#own = undefined;
    } catch {
      // Denied, or full. The server answers the refreshes of two tabs with the same tokens.
      this.#own = text;
    }
  }
}

/** Runs `task` when no other tab runs one, and tells it whether it had to wait. */
async function alone(name, task) {
  const { locks } = navigator;
  if (!locks) return withLease(new Shared(`${name}.lease`), task);
  let isFree = true;
  const result = await locks.request(name, { ifAvailable: true }, (lock) => {
    isFree = lock !== null;
    return isFree ? task(false) : undefined;
  });
  return isFree ? result : locks.request(name, () => task(true));
}

/** For browsers without Web Locks. Two tabs may still run at once, for example when one was
 * suspended while it ran: the server answers their refreshes with the same tokens. */
async function withLease(lease, task) {
  const id = String(Math.random());
  for (let hasWaited = false; ; hasWaited = true) {
    const left = Number(lease.get().split(" ")[1]) - Date.now();
    // Not a number if there is no lease; too much if the clock was set back.
    if (!(left > 0 && left <= LEASE_MS)) {
      lease.set(`${id} ${Date.now() + LEASE_MS}`);
      // Of several tabs that have written meanwhile, the last one gets the lease.
      await sleep(POLL_MS);
      if (lease.get().startsWith(id)) {
        try {
          return await task(hasWaited);
        } finally {
          if (lease.get().startsWith(id)) lease.set("");
        }
      }
    }
    await sleep(POLL_MS);
  }
}

/** @type {typeof import("./kippu.d.ts").createClient} */
export function createClient({
  refreshUrl,
  logoutUrl,
  name = "kippu",
  credentials = "same-origin",
  fetch = (request) => globalThis.fetch(request),
}) {
  const lastChange = new Shared(name);
  const callbacks = new Set();
  const loginCallbacks = new Set();
  let seen = lastChange.get();
  /** The refresh in flight, which all requests of this tab wait for. */
  let renewing;

  function notify(reason) {
    for (const callback of callbacks) callback(reason);
  }

  /** Each change is another text than all before it. */
  function change(kind) {
    const login = kind === "refresh" ? loginOf(lastChange.get()) : Math.random();
    seen = `${kind} ${login} ${Date.now()} ${Math.random()}`;
    lastChange.set(seen);
  }

  // The storage's text counts, not that of the event: another tab may have logged in meanwhile.
  function look() {
    const [before, now] = [seen, lastChange.get()];
    if (now === before) return;
    seen = now;
    if (now.startsWith("logout")) notify("logout");
    else if (loginOf(now) !== loginOf(before)) for (const callback of loginCallbacks) callback();
  }

  // A page in the back/forward cache gets no events of the storage.
  for (const event of ["storage", "pageshow"]) globalThis.addEventListener?.(event, look);

  async function post(url) {
    // AbortSignal.timeout is younger than Web Locks.
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), TRY_MS);
    const { signal } = limit;
    try {
      const response = await fetch(new Request(url, { method: "POST", credentials, cache: "no-store", signal }));
      // Within the limit, because the tabs wait until the reason of an error has arrived.
      return response.ok ? response : new Response(await response.arrayBuffer(), response);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Presents the refresh cookie. A lost answer is asked for again, with the same cookie. */
  async function refresh() {
    for (let tries = 1; ; tries += 1) {
      let error;
      try {
        const response = await post(refreshUrl);
        if (response.ok) return change("refresh");
        error = await KippuError.of(response);
      } catch (unanswered) {
        error = unanswered;
      }
      const isLasting = error.status < 500 && error.status !== 429;
      if (isLasting || tries === TRIES || navigator.onLine === false) throw error;
      await sleep(PAUSE_MS * tries);
    }
  }

  /**
   * Refreshes once for all requests and tabs that want it, unless the login has changed since
   * `known`. Returns `"elsewhere"` if this tab has not refreshed, because another one has had its
   * turn. If `isAgain`, that does not count.
   */
  function renew(known, isAgain = false) {
    renewing ??= alone(name, async (hasWaited) => {
      // The lock may arrive before the text that the other tab has stored.
      if (lastChange.get() !== known || (hasWaited && !isAgain)) return "elsewhere";
      await refresh();
      return "here";
    }).finally(() => {
      renewing = undefined;
    });
    return renewing;
  }

  /** As `renew`, but returns `"refused"` where there is no session to refresh. */
  async function tryToRenew(known, isAgain) {
    try {
      return await renew(known, isAgain);
    } catch (error) {
      if (error instanceof KippuError && error.isRefusal) return "refused";
      throw error;
    }
  }

  return {
    async fetch(input, init) {
      const request = new Request(input, init);
      let known = lastChange.get();
      let response = await fetch(request.clone());
      if (!isExpired(response)) return response;
      let outcome = await tryToRenew(known);
      known = lastChange.get();
      // After a refusal too: another tab may have logged in meanwhile.
      response = await fetch(request.clone());
      // The other tab's turn may have been in vain.
      if (outcome === "elsewhere" && isExpired(response)) {
        outcome = await tryToRenew(known, true);
        response = await fetch(request.clone());
      }
      if (outcome === "refused" && isExpired(response)) notify("ended");
      return response;
    },

    async refresh() {
      const known = lastChange.get();
      // The other tab's turn may have been in vain.
      if (await renew(known) === "elsewhere" && lastChange.get() === known) await renew(known, true);
    },

    login(input, init) {
      return alone(name, async () => {
        const response = await fetch(new Request(input, init));
        if (response.ok) change("login");
        return response;
      });
    },

    async logout() {
      await alone(name, async () => {
        const response = await post(logoutUrl);
        // 400: the cookies have no session that could end.
        if (!response.ok && response.status !== 400) throw await KippuError.of(response);
        change("logout");
      });
      notify("logout");
    },

    onLogout(callback) {
      callbacks.add(callback);
      return () => callbacks.delete(callback);
    },

    onLogin(callback) {
      loginCallbacks.add(callback);
      return () => loginCallbacks.delete(callback);
    },
  };
}
