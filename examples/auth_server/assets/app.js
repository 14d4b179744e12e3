// The page: what a person does in, requests to its own server out, and what came back on the screen.
// Tokens are in variables of this module, or in cookies that it cannot read; never in localStorage, and never in a URL.

const $ = (id) => document.getElementById(id);

/** An element. Texts go in as texts: nothing that came from outside is read as HTML. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
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

// --- The wire -------------------------------------------------------------------------------

function stepsInWords(steps) {
  if (steps === null) return "";
  return ["no store", "store ×1"][steps] ?? `store ×${steps}`;
}

/** A thing that somebody did, with the requests that it took, on the list of them. */
class Deed {
  constructor(title) {
    this.requests = element("ol");
    const time = new Date().toLocaleTimeString();
    const head = element("p", { className: "deed" }, title, element("time", {}, time));
    $("log").prepend(element("li", {}, head, this.requests));
  }

  /** `steps` is how often the server asked its session store; null where it has not answered. */
  note(method, path, status, words, steps) {
    const kind = status >= 200 && status < 300 ? "good" : "bad";
    this.requests.append(element("li", {},
      element("span", { className: `status ${kind}` }, String(status || "–")),
      element("code", {}, `${method} ${path}`),
      element("span", { className: "steps" }, stepsInWords(steps)),
      element("span", { className: "words" }, words)));
  }
}

/** Sends a request, and tells it in `deed` if there is one. What is not answered has the status 0. */
async function send(deed, method, path, { bearer, form, json, cookies = false } = {}) {
  const headers = {};
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (json) headers["Content-Type"] = "application/json";
  // A request with a cookie and a bearer token has one credential too many.
  const credentials = cookies ? "same-origin" : "omit";
  const body = json ? JSON.stringify(json) : form && new URLSearchParams(form);
  let status = 0;
  let steps = null;
  let answer = {};
  try {
    const response = await fetch(path, { method, headers, body, credentials, cache: "no-store" });
    status = response.status;
    steps = Number(response.headers.get("store-steps"));
    answer = await response.json().catch(() => ({}));
  } catch {
    answer = { error: "unreachable", error_description: "the server does not answer" };
  }
  const words = answer.error_description ?? (status === 401 ? "no access token" : "");
  deed?.note(method, path, status, words, steps);
  return { ok: status >= 200 && status < 300, status, steps, answer, words };
}

// --- The login ------------------------------------------------------------------------------

const SESSION_ENDED = "the session has ended";
const NOT_RECENT = "insufficient_user_authentication";

/** What the server says of its lifetimes, in seconds. */
let lifetimes = { access: 60, grace: 10 };

/** A login of this page; none before it, and after its logout. */
let login = null;

class Login {
  constructor(email, cookies) {
    this.email = email;
    this.cookies = cookies;
    this.calls = null;
    this.access = null;
    /** Refresh tokens by generation, each with when it was used up. */
    this.generations = [];
    this.expiresAt = 0;
    this.ended = null;
    this.refreshing = null;
  }

  get credentials() {
    return this.cookies ? { cookies: true } : { bearer: this.access };
  }

  get current() {
    return this.generations.at(-1);
  }

  get secondsLeft() {
    return Math.max(0, (this.expiresAt - Date.now()) / 1000);
  }

  /** Takes the tokens of a login or a refresh; whether the refresh token is another than before. */
  take(tokens) {
    this.expiresAt = Date.now() + tokens.expires_in * 1000;
    if (this.cookies) return true;
    this.access = tokens.access_token;
    if (tokens.refresh_token === this.current?.token) return false;
    if (this.current) this.current.usedAt = Date.now();
    this.generations.push({ token: tokens.refresh_token, usedAt: null });
    return true;
  }

  /** Refreshes, once for all that want it at the same time; whether there is a token to go on with. */
  refresh(deed) {
    this.refreshing ??= this.present(deed, this.current?.token).finally(() => {
      this.refreshing = null;
    });
    return this.refreshing;
  }

  /** Presents a refresh token, or the cookie. */
  async present(deed, token) {
    const form = token && { grant_type: "refresh_token", refresh_token: token };
    const result = await send(deed, "POST", "/auth/refresh", { form, cookies: this.cookies });
    if (result.ok) {
      result.isNew = this.take(result.answer);
    } else if (result.answer.error === "invalid_grant") {
      this.ended ??= "It was logged out, here or elsewhere, or one of its refresh tokens was presented twice.";
    } else if (this.cookies && result.answer.error === "invalid_request") {
      this.ended ??= "Another tab has logged out: the cookies are gone.";
    }
    show();
    return result;
  }

  /** Sends a request with the access token; after a 401, a refresh, and once more. */
  async call(deed, method, path, { retries = true, json } = {}) {
    const first = await send(deed, method, path, { ...this.credentials, json });
    if (first.words === SESSION_ENDED) {
      this.ended ??= "It was logged out on another device, and the server refuses its access token.";
      show();
    }
    // A user who has to authenticate again gets no further with another token of the same login.
    const isStale = first.answer.error === NOT_RECENT;
    if (first.status !== 401 || !retries || this.ended || isStale) return first;
    const refreshed = await this.refresh(deed);
    return refreshed.ok ? send(deed, method, path, { ...this.credentials, json }) : first;
  }
}

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

/** A token in its three colours. */
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
    let mark = ["used", "used up: again is too late"];
    if (login.ended) mark = ["over", "over"];
    else if (isCurrent) mark = ["fresh", "to be used next"];
    else if (isPrevious && left > 0) mark = ["grace", `used up: a retry is let in for ${left} s`];
    const again = element("button", { type: "button", disabled: Boolean(login.ended) }, "Present it again");
    again.setAttribute("aria-label", `Present the refresh token of generation ${index} again`);
    again.addEventListener("click", () => replay(index));
    const { token } = generation;
    return element("li", { className: mark[0] },
      element("span", { className: "generation" }, String(index)),
      element("code", {}, `${token.slice(0, 14)}…${token.slice(-6)}`),
      element("span", { className: "mark" }, mark[1]),
      ...(isCurrent ? [] : [again]));
  });
  // The newest first, and not all that there ever were.
  reconcile($("generations"), items.reverse().slice(0, 5));
}

/** Changes what is there where it is of the same token, so that the focus stays while seconds are counted. */
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

/** Each moment: how long the access token has. */
function tick() {
  if (!login) return;
  const left = login.secondsLeft;
  const isOver = left === 0;
  $("ring").style.setProperty("--left", String(Math.min(1, left / lifetimes.access)));
  $("timer").textContent = String(Math.ceil(left));
  $("timer-note").textContent = isOver ? "expired: the next call is a 401" : "seconds left";
  $("access").classList.toggle("expired", isOver);
  if (login.ended) {
    const seconds = Math.ceil(left);
    $("ended-left").textContent = isOver
      ? "has expired."
      : `is refused here within a second. A server that does not follow the ended sessions would let it in for another ${seconds} s.`;
  }
  if (!login.cookies) showGenerations();
}
setInterval(tick, 250);

/** The outcome of a deed, in words. */
function tell(id, isGood, ...words) {
  const mark = element("strong", { className: isGood ? "good" : "bad" }, isGood ? "✓ " : "✗ ");
  $(id).replaceChildren(mark, ...words);
}

function clear(...ids) {
  for (const id of ids) $(id).replaceChildren();
}

// --- Log in, log out ------------------------------------------------------------------------

function enter(email, cookies) {
  login = new Login(email, cookies);
  shown = null;
  forgery.changed = false;
  clear("log", "sessions", "checks", "call-result", "keep-result", "forge-result", "refresh-result", "devices-result", "change-result");
  $("keep-calling").checked = false;
  $("confirm").hidden = true;
}

/** Back to the login, with the tokens forgotten. */
function leave() {
  login = null;
  shown = null;
  clear("token", "part-header", "part-payload", "forged", "generations");
  forgery.clear();
  show();
  for (const id of ["password", "current", "new", "confirm-password"]) $(id).value = "";
  $("email").focus();
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wanted = event.submitter?.value ?? "login";
  const email = $("email").value.trim();
  const password = $("password").value;
  const cookies = new FormData($("login")).get("keep") === "cookies";
  const remember = $("remember").checked;
  const json = { email, password, device: $("device").value, cookies, remember };
  clear("login-error");
  const buttons = [$("submit-login"), $("submit-register")];
  for (const button of buttons) button.disabled = true;
  try {
    if (wanted === "register") {
      const registered = await send(null, "POST", "/register", { json: { email, password } });
      if (!registered.ok) return refuse(registered);
    }
    const answer = await send(null, "POST", "/login", { json, cookies });
    if (!answer.ok) return refuse(answer);
    enter(email, cookies);
    const words = cookies ? "three cookies" : "two tokens";
    new Deed("Log in").note("POST", "/login", answer.status, words, answer.steps);
    login.take(answer.answer);
    $("password").value = "";
    show();
    $("desk-title").focus();
    await listSessions();
  } finally {
    for (const button of buttons) button.disabled = false;
  }
});

function refuse({ status, words }) {
  $("login-error").textContent = words ? `${words[0].toUpperCase()}${words.slice(1)}.` : `The server says ${status}.`;
}

$("logout").addEventListener("click", async () => {
  const form = login.cookies ? undefined : { refresh_token: login.current.token };
  const answer = await send(new Deed("Log out"), "POST", "/auth/logout", { form, cookies: login.cookies });
  // 400: the server knows of no session that it could end.
  if (answer.ok || answer.status === 400) leave();
});

$("again").addEventListener("click", leave);

// --- The access token -----------------------------------------------------------------------

async function callApi(title, path, id) {
  const result = await login.call(new Deed(title), "GET", path, { retries: $("retry").checked });
  if (result.ok) {
    const { email, role } = result.answer;
    tell(id, true, `200: it knows you as ${email}, ${role}.`);
  } else {
    tell(id, false, `${result.status}: ${result.words}.`);
  }
  await listSessions();
}

$("call").addEventListener("click", () => callApi("Call the API", "/api/me", "call-result"));
$("call-live").addEventListener("click", () => callApi("Call the API, with a look at the session", "/api/live", "call-result"));

/** Calls the API again and again, without a refresh, to see when it stops to let the token in. */
async function keepCalling() {
  const mine = login;
  const deed = new Deed("Keep calling the API");
  let calls = 0;
  while (login === mine && $("keep-calling").checked) {
    const result = await send(null, "GET", "/api/me", mine.credentials);
    if (result.ok) {
      calls += 1;
      tell("keep-result", true, `${calls} calls let in, and no step of the store.`);
    } else {
      deed.note("GET", "/api/me", result.status, `${result.words}, after ${calls} that were let in`, result.steps);
      tell("keep-result", false, `${result.status}: ${result.words}. ${calls} calls were let in before.`);
      if (result.words === SESSION_ENDED) {
        mine.ended ??= "It was logged out on another device.";
        show();
      }
      $("keep-calling").checked = false;
    }
    await new Promise((done) => setTimeout(done, 200));
  }
}

$("keep-calling").addEventListener("change", () => {
  if ($("keep-calling").checked) keepCalling();
});

// --- The forgery ----------------------------------------------------------------------------

/** JSON without the white space that it is shown with; what is none is sent as it is. */
function compact(text) {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text;
  }
}

/** Marks where a segment differs from what it was. */
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

  /** What is not touched stays as it was sent, to the letter. */
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
      tell("forge-result", false, "This is no JSON any more: undo first.");
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
  const deed = new Deed(forgery.changed ? "Send the forged token" : "Send the token as it is");
  const answer = await send(deed, "GET", "/api/me", { bearer: token });
  const { answer: explained } = await send(deed, "POST", "/explain", { json: { token } });
  const findings = explained.findings ?? [];
  if (answer.ok) {
    tell("forge-result", true, "200: nothing is wrong with it.");
  } else {
    const found = findings.filter(({ outcome }) => outcome === "failed").map(({ check }) => check);
    tell("forge-result", false, `${answer.status}: refused. Found out by: ${found.join(", ")}.`);
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
  const result = await login.refresh(new Deed("Refresh"));
  if (!result.ok) tell("refresh-result", false, `${result.status}: ${result.words}.`);
  else if (login.cookies) tell("refresh-result", true, "200: both cookies are new.");
  else tell("refresh-result", true, `200: two new tokens. Generation ${login.generations.length - 1}.`);
  await listSessions();
});

/** As a thief would, or a client whose answer was lost. */
async function replay(index) {
  const deed = new Deed(`Present generation ${index} again`);
  const result = await login.present(deed, login.generations[index].token);
  if (result.ok) {
    tell("refresh-result", true, "200: within the grace, so it is taken for a retry. The refresh token is the same as before.");
    return;
  }
  tell("refresh-result", false, `${result.status}: ${result.answer.error}. Somebody else may have that token: the session is dead.`);
  if (result.answer.error === "invalid_grant") {
    login.ended = `The refresh token of generation ${index} was presented after it had been used up.`;
    // A server that asks for the session notices at once.
    await send(deed, "GET", "/api/live", login.credentials);
    show();
    await listSessions();
  }
}

// --- Devices --------------------------------------------------------------------------------

/** The list, without a word on the wire and without a refresh: it is asked after everything that may change it. */
async function listSessions() {
  if (!login) return;
  const { ok, answer } = await send(null, "GET", "/auth/sessions", login.credentials);
  if (!ok) {
    // With an access token that has only expired, the list is as old as that.
    if (login?.ended) clear("sessions");
    return;
  }
  const time = (seconds) => new Date(seconds * 1000).toLocaleTimeString();
  $("sessions").replaceChildren(...answer.sessions.map((session) => {
    const label = session.label ?? "A device";
    const words = `logged in ${time(session.created_at)}, last refreshed ${time(session.last_used_at)}`;
    const item = element("li", {},
      element("span", { className: "label" }, label),
      element("span", { className: "words" }, words));
    const until = session.remembered ? "" : "not remembered, ";
    item.append(element("span", { className: "words" },
      `${until}ends ${new Date(session.expires_at * 1000).toLocaleString()} unless it is refreshed`));
    if (session.current) {
      item.append(element("span", { className: "badge" }, "this one"));
    } else {
      const end = element("button", { type: "button" }, "End it");
      end.setAttribute("aria-label", `End the session of ${label}`);
      end.addEventListener("click", () => endSession(session.id, label));
      item.append(end);
    }
    return item;
  }));
}

async function endSession(id, label) {
  const deed = new Deed(`End the session of ${label}`);
  const result = await login.call(deed, "DELETE", `/auth/sessions/${id}`);
  tell("devices-result", result.ok, result.ok
    ? `${label} gets no token any more, and the one that it has is refused within a second.`
    : `${result.status}: ${result.words}.`);
  confirmFor(result, () => endSession(id, label));
  await listSessions();
}

/** What is tried again once the user has authenticated again. */
let wanted = null;

function confirmFor(result, again) {
  if (result.answer.error !== NOT_RECENT) return;
  wanted = again;
  $("confirm").hidden = false;
  $("confirm-password").focus();
}

async function logOutOthers() {
  const result = await login.call(new Deed("Log out the others"), "POST", "/auth/logout_others");
  tell("devices-result", result.ok, result.ok ? `Ended: ${result.answer.ended}.` : `${result.status}: ${result.words}.`);
  confirmFor(result, logOutOthers);
  await listSessions();
}

$("logout-others").addEventListener("click", logOutOthers);

async function logOutEverywhere() {
  const result = await login.call(new Deed("Log out everywhere"), "POST", "/auth/logout_all");
  if (result.ok) return leave();
  tell("devices-result", false, `${result.status}: ${result.words}.`);
  confirmFor(result, logOutEverywhere);
}

$("logout-all").addEventListener("click", logOutEverywhere);

$("confirm").addEventListener("submit", async (event) => {
  event.preventDefault();
  const json = { password: $("confirm-password").value, cookies: login.cookies };
  const result = await login.call(new Deed("Authenticate again"), "POST", "/reauthenticate", { json });
  if (!result.ok) {
    tell("devices-result", false, `${result.status}: ${result.words}.`);
    return;
  }
  login.take(result.answer);
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
    const result = await login.call(new Deed("Change the password"), "POST", "/password", { json });
    if (result.ok) {
      for (const id of ["current", "new"]) $(id).value = "";
      tell("change-result", true, "It is changed. Your other sessions have ended.");
    } else {
      tell("change-result", false, `${result.status}: ${result.words}.`);
    }
    await listSessions();
  } finally {
    $("change-now").disabled = false;
  }
});

// The list is loaded again when the person comes back to this tab: another tab may have changed it.
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

// A login in cookies outlives the page. That there is one is seen by the one cookie that scripts may read.
if (document.cookie.includes("__Host-auth-server-csrf=")) {
  enter("", true);
  const me = await login.call(new Deed("Go on with the cookies"), "GET", "/api/me");
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
