// The page: what the user does in, requests to this server out, and their results on the screen.
// Tokens are in variables of this module, or in cookies that scripts cannot read. They are never in
// localStorage, and never in a URL.

import { createClient } from "/kippu.js";

const $ = (id) => document.getElementById(id);

/** Makes an element. Strings become text nodes: nothing from outside is parsed as HTML. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A message as a sentence. */
function sentence(words) {
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}

// --- base64url ------------------------------------------------------------------------------

function encode(text) {
  const bytes = new TextEncoder().encode(text);
  const symbols = btoa(String.fromCharCode(...bytes));
  return symbols.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function decode(symbols) {
  const bytes = atob(symbols.replaceAll("-", "+").replaceAll("_", "/"));
  return new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
}

// --- Requests -------------------------------------------------------------------------------

/** An action of the user in the list of requests, with the requests that it took. */
class Action {
  static #all = [];

  constructor(title) {
    this.requests = element("ol");
    const time = new Date().toLocaleTimeString();
    const head = element("p", { className: "action" }, title, element("time", {}, time));
    $("log").prepend(element("li", {}, head, this.requests));
    this.number = Action.#all.push(this) - 1;
  }

  /** Returns the action that began a request of kippu.js, by the fragment of its URL. */
  static of(request) {
    const { hash } = new URL(request.url);
    return hash ? Action.#all[Number(hash.slice(1))] : null;
  }

  note(method, path, { ok, status, steps, words }) {
    this.requests.append(element("li", {},
      element("span", { className: `status ${ok ? "good" : "bad"}` }, String(status || "–")),
      element("code", {}, `${method} ${path}`),
      element("span", { className: "store" }, steps),
      element("span", { className: "words" }, words)));
  }
}

const UNANSWERED = { ok: false, status: 0, steps: "", answer: {}, words: "the server does not answer" };

/** Reads a response. `steps` says how often the server has asked its session store. */
async function read(response) {
  const { ok, status } = response;
  const count = response.headers.get("store-steps");
  const steps = count === "1" ? "1 store step" : `${count === "0" ? "no" : count} store steps`;
  const answer = await response.json().catch(() => ({}));
  const words = answer.error_description ?? (status === 401 ? "no access token" : "");
  return { ok, status, steps: count ? steps : "", answer, words };
}

/** A response that is not a success, as a person reads it. */
function inWords({ status, words }) {
  return status ? `${[status, words].filter(Boolean).join(": ")}.` : sentence(words);
}

/** Sends a request, and adds it to `action` if there is one. */
async function send(action, method, path, { bearer, form, json, cookies = false } = {}) {
  const headers = {};
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (json) headers["Content-Type"] = "application/json";
  // The server rejects a request with two credentials, a cookie and a bearer token.
  const credentials = cookies ? "same-origin" : "omit";
  const body = json ? JSON.stringify(json) : form && new URLSearchParams(form);
  const sent = fetch(path, { method, headers, body, credentials, cache: "no-store" });
  const received = await sent.then(read, () => UNANSWERED);
  action?.note(method, path, received);
  return received;
}

// --- The login ------------------------------------------------------------------------------

const SESSION_ENDED = "the session has ended";
const NOT_RECENT = "insufficient_user_authentication";

/** The lifetimes that the server uses, in seconds. */
let lifetimes = { access: 60, grace: 10 };

/** The login of this page: null before a login and after a logout. */
let login = null;

class Login {
  constructor(email) {
    this.email = email;
    this.calls = null;
    this.expiresAt = 0;
    this.ended = null;
  }

  get secondsLeft() {
    return Math.max(0, (this.expiresAt - Date.now()) / 1000);
  }

  /** Takes the response to a login or a refresh. */
  take(tokens) {
    this.expiresAt = Date.now() + tokens.expires_in * 1000;
  }

  end(reason) {
    this.ended ??= reason;
    show();
  }
}

/** The tokens are in variables of this page. */
class MemoryLogin extends Login {
  cookies = false;
  access = null;
  /** Refresh tokens by generation, each with the time at which it was used. */
  generations = [];
  refreshing = null;

  get credentials() {
    return { bearer: this.access };
  }

  get current() {
    return this.generations.at(-1);
  }

  take(tokens) {
    super.take(tokens);
    this.access = tokens.access_token;
    if (tokens.refresh_token === this.current?.token) return;
    if (this.current) this.current.usedAt = Date.now();
    this.generations.push({ token: tokens.refresh_token, usedAt: null });
  }

  /** Refreshes once for all calls that need it at the same time. */
  refresh(action) {
    this.refreshing ??= this.present(action, this.current.token).finally(() => {
      this.refreshing = null;
    });
    return this.refreshing;
  }

  async present(action, token) {
    const form = { grant_type: "refresh_token", refresh_token: token };
    const refreshed = await send(action, "POST", "/auth/refresh", { form });
    if (refreshed.ok) this.take(refreshed.answer);
    else if (refreshed.answer.error === "invalid_grant") {
      this.end("It was logged out, or one of its refresh tokens was used twice.");
    }
    show();
    return refreshed;
  }

  /** Sends a request. After a 401 it refreshes, and sends the request once more. */
  async call(action, method, path, { retries = true, json } = {}) {
    const first = await send(action, method, path, { ...this.credentials, json });
    if (first.words === SESSION_ENDED) this.end("It was logged out on another device.");
    // When the password is asked for, another token of the same login does not help.
    const isStale = first.answer.error === NOT_RECENT;
    if (first.status !== 401 || !retries || this.ended || isStale) return first;
    const refreshed = await this.refresh(action);
    return refreshed.ok ? send(action, method, path, { ...this.credentials, json }) : first;
  }

  logout(action) {
    return send(action, "POST", "/auth/logout", { form: { refresh_token: this.current.token } });
  }
}

/** The tokens are in cookies, which all tabs of this browser share. */
class CookieLogin extends Login {
  cookies = true;
  credentials = { cookies: true };

  async refresh(action) {
    refreshAction = action;
    try {
      await client.refresh();
      return { ok: true };
    } catch (error) {
      if (error.isRefusal) this.end("It was logged out, or its cookies are gone.");
      return error.status ? { ok: false, status: error.status, words: error.message } : UNANSWERED;
    }
  }

  async call(action, method, path, { retries = true, json } = {}) {
    if (!retries) return send(action, method, path, { cookies: true, json });
    const headers = json && { "Content-Type": "application/json" };
    const body = json && JSON.stringify(json);
    const sent = client.fetch(`${path}#${action.number}`, { method, headers, body, cache: "no-store" });
    // The server answers a refresh with an error that says so.
    return sent.then(read, ({ status, message }) => (
      status ? { ...UNANSWERED, status, words: message } : UNANSWERED
    ));
  }

  async logout(action) {
    refreshAction = action;
    try {
      await client.logout();
      return { ok: true };
    } catch (error) {
      return error.status ? { ok: false, status: error.status, words: error.message } : UNANSWERED;
    }
  }
}

// --- The client of the cookies --------------------------------------------------------------

/** The action that a refresh belongs to: the last one whose request got a 401. */
let refreshAction = null;

const client = createClient({
  refreshUrl: "/auth/refresh",
  logoutUrl: "/auth/logout",
  name: "auth-server",
  async fetch(request) {
    const { pathname } = new URL(request.url);
    const action = Action.of(request) ?? (pathname.startsWith("/auth/") ? refreshAction : null);
    const response = await fetch(request).catch((error) => {
      action?.note(request.method, pathname, UNANSWERED);
      throw error;
    });
    const received = await read(response.clone());
    action?.note(request.method, pathname, received);
    if (response.status === 401) refreshAction = action;
    if (response.ok && pathname === "/auth/refresh" && login?.cookies) login.take(received.answer);
    show();
    return response;
  },
});

client.onLogout((reason) => {
  if (!login?.cookies) return;
  login.end(reason === "logout"
    ? "Another tab has logged out."
    : "It was logged out, or its cookies are gone.");
});

// Perhaps as another user.
client.onLogin(() => {
  if (login?.cookies && !login.ended) location.reload();
});

// --- What is on the screen ------------------------------------------------------------------

function show() {
  $("welcome").hidden = login !== null;
  $("desk").hidden = login === null;
  $("who").hidden = login === null;
  if (!login) return;
  $("user").textContent = login.email;
  for (const id of ["username", "confirm-username"]) $(id).value = login.email;
  document.body.dataset.keep = login.cookies ? "cookies" : "memory";
  $("second").href = `/#${new URLSearchParams({ email: login.email, device: "Second device" })}`;
  $("ended").hidden = !login.ended;
  $("ended-why").textContent = login.ended ?? "";
  $("refresh-now").disabled = Boolean(login.ended);
  if (!login.cookies) {
    showToken();
    showGenerations();
  }
  tick();
}

/** Shows a token in three colours, one for each segment. */
function colour(token) {
  const inks = ["ink-header", "ink-payload", "ink-signature"];
  return token.split(".").flatMap((segment, index) => {
    const part = element("span", { className: inks[index] }, segment);
    return index === 0 ? [part] : [element("span", { className: "dot" }, "."), part];
  });
}

function pretty(symbols) {
  return JSON.stringify(JSON.parse(decode(symbols)), null, 2);
}

let shown = null;

function showToken() {
  if (login.access === shown) return;
  shown = login.access;
  const [header, payload, signature] = login.access.split(".");
  $("token").replaceChildren(...colour(login.access));
  $("part-header").textContent = pretty(header);
  const claims = JSON.parse(decode(payload));
  const times = new Set(["exp", "iat", "auth_time"]);
  $("part-payload").replaceChildren(...Object.entries(claims).flatMap(([name, value]) => {
    const line = `${name}: ${JSON.stringify(value)}`;
    if (!times.has(name)) return [`${line}\n`];
    const time = new Date(value * 1000).toLocaleTimeString();
    return [line, element("span", { className: "time" }, `  ${time}`), "\n"];
  }));
  $("bars").replaceChildren(...Array.from(signature.slice(0, 33), (symbol) => {
    const bar = element("i");
    bar.style.flexGrow = String(1 + symbol.charCodeAt(0) % 4);
    return bar;
  }));
  // A forgery that is being edited stays.
  if (!forgery.changed) forgery.reset();
}

function showGenerations() {
  const used = (generation) => (Date.now() - generation.usedAt) / 1000;
  const items = login.generations.map((generation, index) => {
    const isCurrent = generation === login.current;
    const isPrevious = index === login.generations.length - 2;
    const left = Math.ceil(lifetimes.grace - used(generation));
    let mark = ["used", "used: a second use ends the session"];
    if (login.ended) mark = ["over", "session ended"];
    else if (isCurrent) mark = ["fresh", "for the next refresh"];
    else if (isPrevious && left > 0) mark = ["grace", `used: a retry is accepted for ${left} s`];
    const again = element("button", { type: "button", disabled: Boolean(login.ended) }, "Use it again");
    again.setAttribute("aria-label", `Use it again: the refresh token of generation ${index}`);
    again.addEventListener("click", () => replay(index));
    const { token } = generation;
    return element("li", { className: mark[0] },
      element("span", { className: "generation" }, String(index)),
      element("code", {}, `${token.slice(0, 14)}…${token.slice(-6)}`),
      element("span", { className: "mark" }, mark[1]),
      ...(isCurrent ? [] : [again]));
  });
  // The newest first, and at most five.
  reconcile($("generations"), items.reverse().slice(0, 5));
}

/** Changes the item of a token in place, so that its button keeps the focus while seconds are counted. */
function reconcile(list, items) {
  const tokenOf = (item) => item.querySelector("code").textContent;
  items.forEach((item, index) => {
    const there = list.children[index];
    if (!there) {
      list.append(item);
    } else if (tokenOf(there) !== tokenOf(item) || there.childElementCount !== item.childElementCount) {
      there.replaceWith(item);
    } else {
      there.className = item.className;
      there.querySelector(".mark").textContent = item.querySelector(".mark").textContent;
      const button = there.querySelector("button");
      if (button) button.disabled = item.querySelector("button").disabled;
    }
  });
  while (list.childElementCount > items.length) list.lastElementChild.remove();
}

/** Runs four times a second: shows how long the access token is valid. */
function tick() {
  if (!login) return;
  const left = login.secondsLeft;
  const isOver = left === 0;
  $("ring").style.setProperty("--left", String(Math.min(1, left / lifetimes.access)));
  $("timer").textContent = String(Math.ceil(left));
  $("timer-note").textContent = isOver ? "expired: the next call gets a 401" : "seconds left";
  $("access").classList.toggle("expired", isOver);
  if (login.ended) {
    const seconds = Math.ceil(left);
    $("ended-left").textContent = isOver
      ? "has expired."
      : `is rejected here within a second. A server that does not follow ended sessions accepts it for ${seconds} s more.`;
  }
  if (!login.cookies) showGenerations();
}
setInterval(tick, 250);

/** Shows the result of an action. */
function tell(id, isGood, ...words) {
  const mark = element("strong", { className: isGood ? "good" : "bad" }, isGood ? "✓ " : "✗ ");
  $(id).replaceChildren(mark, ...words);
}

function clear(...ids) {
  for (const id of ids) $(id).replaceChildren();
}

// --- Log in, log out ------------------------------------------------------------------------

function enter(newLogin) {
  login = newLogin;
  shown = null;
  forgery.changed = false;
  clear("log", "sessions", "checks", "call-result", "keep-result", "forge-result", "refresh-result", "devices-result", "change-result");
  $("keep-calling").checked = false;
  $("confirm").hidden = true;
}

/** Goes back to the login form, and forgets the tokens. */
function leave() {
  login = null;
  shown = null;
  clear("token", "part-header", "part-payload", "forged", "generations");
  forgery.clear();
  show();
  for (const id of ["password", "current", "new", "confirm-password"]) $(id).value = "";
  $("email").focus();
}

/** Sends the login. With cookies, no tab refreshes meanwhile. */
async function logIn(json) {
  if (!json.cookies) return send(null, "POST", "/login", { json });
  const headers = { "Content-Type": "application/json" };
  const sent = client.login("/login", { method: "POST", headers, body: JSON.stringify(json) });
  return sent.then(read, () => UNANSWERED);
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wanted = event.submitter?.value ?? "login";
  const email = $("email").value.trim();
  const password = $("password").value;
  const cookies = new FormData($("login")).get("keep") === "cookies";
  const remember = $("remember").checked;
  clear("login-error");
  const buttons = [$("submit-login"), $("submit-register")];
  for (const button of buttons) button.disabled = true;
  try {
    if (wanted === "register") {
      const registered = await send(null, "POST", "/register", { json: { email, password } });
      if (!registered.ok) return refuse(registered);
    }
    const granted = await logIn({ email, password, device: $("device").value, cookies, remember });
    if (!granted.ok) return refuse(granted);
    enter(cookies ? new CookieLogin(email) : new MemoryLogin(email));
    const words = cookies ? "three cookies" : "two tokens";
    new Action("Log in").note("POST", "/login", { ...granted, words });
    login.take(granted.answer);
    $("password").value = "";
    show();
    $("desk-title").focus();
    await listSessions();
  } finally {
    for (const button of buttons) button.disabled = false;
  }
});

function refuse({ status, words }) {
  $("login-error").textContent = words ? sentence(words) : `The server answered with status ${status}.`;
}

$("logout").addEventListener("click", async () => {
  const { ok, status, words } = await login.logout(new Action("Log out"));
  // 400: the server has no session to end.
  if (ok || status === 400) leave();
  else tell("devices-result", false, inWords({ status, words }));
});

$("again").addEventListener("click", leave);

// --- The access token -----------------------------------------------------------------------

async function callApi(title, path, id) {
  const called = await login.call(new Action(title), "GET", path, { retries: $("retry").checked });
  if (called.ok) {
    const { email, role } = called.answer;
    tell(id, true, `200: the API knows you as ${email}, ${role}.`);
  } else {
    tell(id, false, inWords(called));
  }
  await listSessions();
}

$("call").addEventListener("click", () => callApi("Call the API", "/api/me", "call-result"));
$("call-live").addEventListener("click", () => callApi("Call the API and check the session", "/api/live", "call-result"));

/** Calls the API again and again without a refresh, to show when it begins to reject the token. */
async function keepCalling() {
  const mine = login;
  const action = new Action("Keep calling the API");
  let calls = 0;
  while (login === mine && $("keep-calling").checked) {
    const called = await send(null, "GET", "/api/me", mine.credentials);
    if (called.ok) {
      calls += 1;
      tell("keep-result", true, `${calls} calls accepted, without a step of the session store.`);
    } else {
      action.note("GET", "/api/me", { ...called, words: `${called.words}, after ${calls} accepted calls` });
      tell("keep-result", false, `${inWords(called)} ${calls} calls were accepted before.`);
      if (called.words === SESSION_ENDED) mine.end("It was logged out on another device.");
      $("keep-calling").checked = false;
    }
    await new Promise((done) => setTimeout(done, 200));
  }
}

$("keep-calling").addEventListener("change", () => {
  if ($("keep-calling").checked) keepCalling();
});

// --- The forgery ----------------------------------------------------------------------------

/** Removes the white space from JSON. A text that is not JSON is sent as it is. */
function compact(text) {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text;
  }
}

/** Marks where a segment differs from the original. */
function underline(part, was) {
  const text = part.textContent;
  if (text === was) return;
  let from = 0;
  while (from < text.length && text[from] === was[from]) from += 1;
  let until = text.length;
  while (until > from && text[until - 1] === was[was.length - text.length + until - 1]) until -= 1;
  part.classList.add("changed");
  part.replaceChildren(text.slice(0, from), element("mark", {}, text.slice(from, until)), text.slice(until));
}

const forgery = {
  changed: false,

  reset() {
    const [header, payload] = login.access.split(".");
    this.original = login.access;
    this.texts = [decode(header), pretty(payload)];
    [$("forge-header").value, $("forge-payload").value] = this.texts;
    this.keepsSignature = true;
    this.changed = false;
    clear("checks", "forge-result");
    this.show();
  },

  /** A segment that was not edited stays as the server sent it. */
  token() {
    const [header, payload, signature] = this.original.split(".");
    const segment = (id, text, was) => ($(id).value === text ? was : encode(compact($(id).value)));
    return [
      segment("forge-header", this.texts[0], header),
      segment("forge-payload", this.texts[1], payload),
      this.keepsSignature ? signature : "",
    ].join(".");
  },

  show() {
    const was = this.original.split(".");
    const parts = colour(this.token());
    parts.filter((part) => part.className !== "dot").forEach((part, index) => underline(part, was[index]));
    $("forged").replaceChildren(...parts);
    this.changed = this.token() !== this.original;
  },

  edit(id, change) {
    try {
      const members = JSON.parse($(id).value);
      change(members);
      $(id).value = JSON.stringify(members, null, 2);
    } catch {
      tell("forge-result", false, "The text is not JSON any more: undo your changes first.");
    }
    this.show();
  },

  clear() {
    $("forge-header").value = "";
    $("forge-payload").value = "";
    this.changed = false;
  },
};

for (const id of ["forge-header", "forge-payload"]) $(id).addEventListener("input", () => forgery.show());
$("forge-admin").addEventListener("click", () => forgery.edit("forge-payload", (claims) => { claims.role = "admin"; }));
$("forge-years").addEventListener("click", () => forgery.edit("forge-payload", (claims) => { claims.exp += 315_360_000; }));
$("forge-none").addEventListener("click", () => {
  forgery.keepsSignature = false;
  forgery.edit("forge-header", (header) => { header.alg = "none"; });
});
$("forge-undo").addEventListener("click", () => forgery.reset());

$("forge-send").addEventListener("click", async () => {
  const token = forgery.token();
  const action = new Action(forgery.changed ? "Send the forged token" : "Send the token unchanged");
  const called = await send(action, "GET", "/api/me", { bearer: token });
  const { answer: explained } = await send(action, "POST", "/explain", { json: { token } });
  const findings = explained.findings ?? [];
  if (called.ok) {
    tell("forge-result", true, "200: the token is valid.");
  } else {
    const failed = findings.filter(({ outcome }) => outcome === "failed").map(({ check }) => check);
    tell("forge-result", false, `${called.status}: rejected. Failed: ${failed.join(", ")}.`);
  }
  $("checks").replaceChildren(...findings.map(({ check, outcome, reason }) => {
    const [kind, mark] = { passed: ["passed", "✓"], failed: ["failed", "✗"] }[outcome] ?? ["idle", "–"];
    const sign = element("span", { className: "sign" }, mark);
    sign.setAttribute("aria-hidden", "true");
    const words = element("span", { className: "words" }, outcome === "failed" ? `failed: ${reason}` : outcome);
    return element("li", { className: kind }, sign, element("span", { className: "check" }, check), " ", words);
  }));
});

// --- The refresh token ----------------------------------------------------------------------

$("refresh-now").addEventListener("click", async () => {
  const refreshed = await login.refresh(new Action("Refresh"));
  if (!refreshed.ok) tell("refresh-result", false, inWords(refreshed));
  else if (login.cookies) tell("refresh-result", true, "200: the cookies have new tokens.");
  else tell("refresh-result", true, `200: two new tokens. Generation ${login.generations.length - 1}.`);
  await listSessions();
});

/** Presents a used refresh token, as a thief does, or a client that has lost the response. */
async function replay(index) {
  const action = new Action(`Use generation ${index} again`);
  const refreshed = await login.present(action, login.generations[index].token);
  if (refreshed.ok) {
    tell("refresh-result", true, "200: accepted as a retry. The next refresh token is the same as before.");
    return;
  }
  tell("refresh-result", false, `${refreshed.status}: ${refreshed.answer.error}. A second client may have this token, so the server has ended the session.`);
  if (refreshed.answer.error === "invalid_grant") {
    login.ended = `The refresh token of generation ${index} was used a second time.`;
    // This request checks the session, so it shows the end at once.
    await send(action, "GET", "/api/live", login.credentials);
    show();
    await listSessions();
  }
}

// --- Devices --------------------------------------------------------------------------------

/** Loads the list after each action that may change it. It is not in the list of requests, and does not refresh. */
async function listSessions() {
  if (!login) return;
  const { ok, answer } = await send(null, "GET", "/auth/sessions", login.credentials);
  if (!ok) {
    // With an expired access token the old list stays.
    if (login?.ended) clear("sessions");
    return;
  }
  const time = (seconds) => new Date(seconds * 1000).toLocaleTimeString();
  $("sessions").replaceChildren(...answer.sessions.map((session) => {
    const label = session.label ?? "Unnamed device";
    const words = `logged in at ${time(session.created_at)}, last refreshed at ${time(session.last_used_at)}`;
    const item = element("li", {},
      element("span", { className: "label" }, label),
      element("span", { className: "words" }, words));
    const remembered = session.remembered ? "" : "not remembered, ";
    item.append(element("span", { className: "words" },
      `${remembered}ends ${new Date(session.expires_at * 1000).toLocaleString()} unless refreshed`));
    if (session.current) {
      item.append(element("span", { className: "badge" }, "this device"));
    } else {
      const end = element("button", { type: "button" }, "End session");
      end.setAttribute("aria-label", `End session: ${label}`);
      end.addEventListener("click", () => endSession(session.id, label));
      item.append(end);
    }
    return item;
  }));
}

async function endSession(id, label) {
  const action = new Action(`End the session of ${label}`);
  const ended = await login.call(action, "DELETE", `/auth/sessions/${id}`);
  tell("devices-result", ended.ok, ended.ok
    ? `${label} is logged out. Its access token is rejected within a second.`
    : inWords(ended));
  confirmFor(ended, () => endSession(id, label));
  await listSessions();
}

/** The action that continues when the user has authenticated again. */
let wanted = null;

function confirmFor(refused, again) {
  if (refused.answer.error !== NOT_RECENT) return;
  wanted = again;
  $("confirm").hidden = false;
  $("confirm-password").focus();
}

async function logOutOthers() {
  const ended = await login.call(new Action("Log out the others"), "POST", "/auth/logout_others");
  tell("devices-result", ended.ok, ended.ok ? `Sessions ended: ${ended.answer.ended}.` : inWords(ended));
  confirmFor(ended, logOutOthers);
  await listSessions();
}

$("logout-others").addEventListener("click", logOutOthers);

async function logOutEverywhere() {
  const action = new Action("Log out everywhere");
  const ended = await login.call(action, "POST", "/auth/logout_all");
  if (ended.ok) {
    // The session has ended. This tells the other tabs.
    if (login.cookies) await login.logout(action);
    return leave();
  }
  tell("devices-result", false, inWords(ended));
  confirmFor(ended, logOutEverywhere);
}

$("logout-all").addEventListener("click", logOutEverywhere);

$("confirm").addEventListener("submit", async (event) => {
  event.preventDefault();
  const json = { password: $("confirm-password").value, cookies: login.cookies };
  const confirmed = await login.call(new Action("Authenticate again"), "POST", "/reauthenticate", { json });
  if (!confirmed.ok) {
    tell("devices-result", false, inWords(confirmed));
    return;
  }
  login.take(confirmed.answer);
  $("confirm-password").value = "";
  $("confirm").hidden = true;
  show();
  await wanted();
});

// --- The password ---------------------------------------------------------------------------

$("change").addEventListener("submit", async (event) => {
  event.preventDefault();
  const json = { password: $("current").value, new_password: $("new").value };
  clear("change-result");
  $("change-now").disabled = true;
  try {
    const changed = await login.call(new Action("Change the password"), "POST", "/password", { json });
    if (changed.ok) {
      for (const id of ["current", "new"]) $(id).value = "";
      tell("change-result", true, "Your password is changed. Your other sessions have ended.");
    } else {
      tell("change-result", false, inWords(changed));
    }
    await listSessions();
  } finally {
    $("change-now").disabled = false;
  }
});

// When the user comes back to this tab, another tab may have changed the list.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) listSessions();
});

// --- The start ------------------------------------------------------------------------------

function deviceName() {
  const agent = navigator.userAgent;
  const browser = ["Edg", "Firefox", "Chrome", "Safari"].find((name) => agent.includes(name)) ?? "Browser";
  const system = ["Android", "iPhone", "iPad", "Windows", "Mac", "Linux"].find((name) => agent.includes(name));
  const named = browser === "Edg" ? "Edge" : browser;
  return system ? `${named} on ${system}` : named;
}

const given = new URLSearchParams(location.hash.slice(1));
$("email").value = given.get("email") ?? "";
$("device").value = given.get("device") ?? deviceName();
const limits = await send(null, "GET", "/lifetimes");
if (limits.ok) lifetimes = limits.answer;

// A login in cookies outlives the page. Scripts can read one of the cookies, the CSRF token.
if (document.cookie.includes("__Host-auth-server-csrf=")) {
  enter(new CookieLogin(""));
  const me = await login.call(new Action("Continue with the cookies"), "GET", "/api/me");
  if (me.ok) {
    login.email = me.answer.email;
    login.expiresAt = me.answer.expires_at * 1000;
    show();
    await listSessions();
  } else {
    login = null;
  }
}
show();
$(given.has("email") ? "password" : "email").focus();
document.body.dataset.ready = "true";
