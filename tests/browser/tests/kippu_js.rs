//! `clients/browser/kippu.js` in a browser: several tabs, lost responses, no network, a laptop that
//! sleeps. The server's log shows how many refreshes have rotated a token.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kippu_browser_tests::{AuthServer, Browser};
use kippu_test_support::proxy::Proxy;
use serde_json::{Value, json};

/// A file of the server that runs no script.
const FILE: &str = "/kippu.js";

/// Makes a client in the page, and notes why the login has ended.
const CLIENT: &str = "
    const { createClient } = await import('/kippu.js');
    window.client = createClient({ refreshUrl: '/auth/refresh', logoutUrl: '/auth/logout' });
    window.reasons = [];
    client.onLogout((reason) => reasons.push(reason));
    window.logins = 0;
    client.onLogin(() => { logins += 1; });
    window.post = (body) => ({
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
    });
    window.account = (name) => (
      { email: `${name}@example.com`, password: 'correct horse battery staple' }
    );
    window.logIn = async (name) => {
      await fetch('/register', post(account(name)));
      return (await client.login('/login', post({ ...account(name), cookies: true }))).status;
    };
    window.statusOf = async (path) => (await client.fetch(path)).status;
    // Sends three requests at once when another tab says so.
    window.statuses = null;
    window.three = async () => {
      window.statuses = null;
      window.statuses = await Promise.all(['/api/me', '/api/me', '/api/me'].map(statusOf));
    };
    window.channel = new BroadcastChannel('test');
    channel.onmessage = three;";

const NO_LOCKS: &str = "Object.defineProperty(navigator, 'locks', { value: undefined });";

/// Longer than an access token of these tests is valid.
const PAST_THE_EXPIRY: Duration = Duration::from_millis(2_100);

fn server() -> AuthServer {
    AuthServer::start(&["--access-lifetime", "2", "--grace", "1"])
}

/// Two tabs with a client each, after `prepare`; the first one has logged in, and is shown.
async fn two_tabs(server: &AuthServer, prepare: &str) -> Browser {
    let browser = Browser::open(server).await;
    for tab in 0..2 {
        if tab > 0 {
            browser.new_empty_tab().await;
        }
        browser.go_to_file(FILE).await;
        browser.run_async(&format!("{prepare} {CLIENT}")).await;
    }
    browser.file_tab(0).await;
    assert_eq!(browser.run_async("return logIn('ada')").await, 200);
    browser
}

async fn one_tab(port: u16) -> Browser {
    let browser = Browser::open_at(&format!("http://127.0.0.1:{port}")).await;
    browser.go_to_file(FILE).await;
    browser.run_async(CLIENT).await;
    assert_eq!(browser.run_async("return logIn('ada')").await, 200);
    browser
}

fn assert_refreshes(server: &AuthServer, rotated: usize) {
    assert_eq!((server.count("\"rotated\""), server.count("\"replayed\"")), (rotated, 0));
    assert_eq!(server.count("reuse detected"), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn all_requests_of_two_tabs_share_one_refresh() {
    for prepare in ["", NO_LOCKS] {
        let server = server();
        let browser = two_tabs(&server, prepare).await;
        for round in 1..=3 {
            tokio::time::sleep(PAST_THE_EXPIRY).await;
            browser.file_tab(0).await;
            browser.run("channel.postMessage('now'); three()").await;
            for tab in [0, 1] {
                browser.file_tab(tab).await;
                browser.until("three responses", "statuses").await;
                assert_eq!(browser.run("return statuses").await, json!([200, 200, 200]));
                browser.run("statuses = null").await;
            }
            assert_refreshes(&server, round);
        }
        browser.close().await;
    }
}

/// Holds back the responses to `/api/me` until `open` is called.
const HELD: &str = "
    const { createClient } = await import('/kippu.js');
    const opened = new Promise((resolve) => { window.open = resolve; });
    window.seen = [];
    window.held = createClient({
      refreshUrl: '/auth/refresh',
      logoutUrl: '/auth/logout',
      async fetch(request) {
        const response = await fetch(request);
        seen.push(`${new URL(request.url).pathname} ${response.status}`);
        if (request.url.endsWith(PATH)) await opened;
        return response;
      },
    });";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_tab_retries_without_a_refresh_if_another_tab_has_refreshed_meanwhile() {
    let server = server();
    let browser = two_tabs(&server, "").await;
    browser.run_async(&HELD.replace("PATH", "'/api/me'")).await;
    tokio::time::sleep(PAST_THE_EXPIRY).await;
    browser.run("window.answer = held.fetch('/api/me').then(({ status }) => status)").await;
    browser.until("the 401", "seen.length === 1").await;
    browser.file_tab(1).await;
    browser.run_async("await client.refresh()").await;
    browser.file_tab(0).await;
    assert_eq!(browser.run_async("open(); return answer").await, 200);
    assert_eq!(browser.run("return seen").await, json!(["/api/me 401", "/api/me 200"]));
    assert_refreshes(&server, 1);
    browser.close().await;
}

/// Otherwise the cookies of the refresh would replace those of the login.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_login_waits_for_the_refresh_of_another_tab() {
    for prepare in ["", NO_LOCKS] {
        let server = server();
        let browser = two_tabs(&server, prepare).await;
        browser.run_async(&HELD.replace("PATH", "'/auth/refresh'")).await;
        browser.run("window.answer = held.refresh()").await;
        browser.until("the refresh", "seen.length === 1").await;
        browser.file_tab(1).await;
        browser
            .run("window.login = logIn('grace').then((status) => { window.done = status })")
            .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(browser.run("return window.done ?? null").await, Value::Null);
        browser.file_tab(0).await;
        browser.run_async("open(); await answer").await;
        browser.file_tab(1).await;
        browser.until("the login", "window.done === 200").await;
        browser.file_tab(0).await;
        let email = "return (await (await client.fetch('/api/me')).json()).email";
        assert_eq!(browser.run_async(email).await, "grace@example.com");
        // Nothing tells this tab that its login has ended: it has the new one.
        assert_eq!(browser.run("return reasons").await, json!([]));
        browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_refresh_whose_response_is_lost_is_sent_again() {
    // A grace for three tries on a busy machine.
    let server = AuthServer::start(&["--access-lifetime", "30", "--grace", "10"]);
    let proxy = Proxy::to(server.port()).await;
    let browser = one_tab(proxy.port()).await;
    // The browser itself sends a request again while it has open connections. All of them fail.
    proxy.lose_answers(u32::MAX);
    let counted = "
        const { createClient } = await import('/kippu.js');
        window.failed = 0;
        window.counted = createClient({
          refreshUrl: '/auth/refresh',
          logoutUrl: '/auth/logout',
          fetch: (request) => fetch(request).catch((error) => { failed += 1; throw error; }),
        });
        window.answer = counted.refresh().then(() => 'refreshed')";
    browser.run_async(counted).await;
    browser.until("a failed try", "failed > 0").await;
    proxy.lose_answers(0);
    assert_eq!(browser.run_async("return answer").await, "refreshed");
    assert_eq!(browser.run_async("return statusOf('/api/live')").await, 200);
    assert_eq!(server.count("\"rotated\""), 1);
    assert!(server.count("\"replayed\"") > 0);
    assert_eq!(server.count("reuse detected"), 0);
    // The cookies have the successor: it can be used.
    browser.run_async("await client.refresh()").await;
    assert_eq!(server.count("\"rotated\""), 2);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn without_a_network_requests_fail_and_the_login_stays() {
    let server = server();
    let browser = one_tab(server.port()).await;
    tokio::time::sleep(PAST_THE_EXPIRY).await;
    browser.set_offline(true).await;
    for call in ["client.fetch('/api/me')", "client.refresh()", "client.logout()"] {
        let error = format!("return {call}.then(() => 'no error', (error) => error.name)");
        assert_eq!(browser.run_async(&error).await, "TypeError", "{call}");
    }
    assert_eq!(browser.run("return reasons").await, json!([]));
    browser.set_offline(false).await;
    assert_eq!(browser.run_async("return statusOf('/api/me')").await, 200);
    assert_refreshes(&server, 1);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn after_a_sleep_past_the_expiry_requests_share_one_refresh() {
    let server = server();
    let browser = one_tab(server.port()).await;
    browser.run("window.ticks = 0; setInterval(() => { ticks += 1 }, 50)").await;
    browser.set_frozen(true).await;
    let before = browser.run("return ticks").await;
    tokio::time::sleep(PAST_THE_EXPIRY).await;
    assert_eq!(browser.run("return ticks").await, before, "the page is not frozen");
    browser.set_frozen(false).await;
    browser.run("three()").await;
    browser.until("three responses", "statuses").await;
    assert_eq!(browser.run("return statuses").await, json!([200, 200, 200]));
    assert_refreshes(&server, 1);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_logout_reaches_the_other_tab_and_a_later_login_stays() {
    for prepare in ["", "delete window.BroadcastChannel; window.BroadcastChannel = class {};"] {
        let server = server();
        let browser = two_tabs(&server, prepare).await;
        browser.run_async("await client.logout()").await;
        assert_eq!(browser.run("return reasons").await, json!(["logout"]));
        assert_eq!(browser.run("return document.cookie").await, "");
        browser.file_tab(1).await;
        browser.until("the reason", "reasons.length > 0").await;
        assert_eq!(browser.run("return reasons").await, json!(["logout"]));
        // A frozen tab hears of a logout only when there is a login again.
        browser.set_frozen(true).await;
        browser.file_tab(0).await;
        assert_eq!(browser.run_async("return logIn('ada')").await, 200);
        browser.run_async("await client.logout()").await;
        assert_eq!(browser.run_async("return logIn('ada')").await, 200);
        browser.file_tab(1).await;
        browser.set_frozen(false).await;
        assert_eq!(browser.run_async("return statusOf('/api/live')").await, 200);
        assert_eq!(browser.run("return reasons").await, json!(["logout"]));
        browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_login_as_another_user_reaches_the_other_tab_and_a_refresh_does_not() {
    let server = server();
    let browser = two_tabs(&server, "").await;
    browser.file_tab(1).await;
    browser.until("the login", "logins === 1").await;
    browser.file_tab(0).await;
    browser.run_async("await client.refresh()").await;
    // Both changes are there before the other tab looks.
    let switch = "await client.logout(); return logIn('grace')";
    browser.run_async("await client.refresh()").await;
    assert_eq!(browser.run_async(switch).await, 200);
    assert_eq!(browser.run("return logins").await, 0, "its own login");
    browser.file_tab(1).await;
    browser.until("the other login", "logins === 2").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn an_ended_session_is_a_401_and_no_cookie_is_removed() {
    let server = server();
    let browser = one_tab(server.port()).await;
    let cookies = browser.run("return document.cookie").await;
    // As on another device, without the cookies.
    let end = "
        const other = await fetch('/login', { ...post(account('ada')), credentials: 'omit' });
        const headers = { Authorization: `Bearer ${(await other.json()).access_token}` };
        const options = { method: 'POST', credentials: 'omit', headers };
        return (await (await fetch('/auth/logout_others', options)).json()).ended";
    assert_eq!(browser.run_async(end).await, 1);
    assert_eq!(browser.run_async("return statusOf('/api/live')").await, 401);
    assert_eq!(browser.run("return reasons").await, json!(["ended"]));
    assert_eq!(browser.run("return document.cookie").await, cookies);
    let error = "return client.refresh().catch(({ name, status, code, isRefusal }) => [name, status, code, isRefusal])";
    let expected = json!(["KippuError", 400, "invalid_grant", true]);
    assert_eq!(browser.run_async(error).await, expected);
    assert_eq!(browser.run_async("return logIn('ada')").await, 200);
    assert_eq!(browser.run_async("return statusOf('/api/live')").await, 200);
    browser.close().await;
}

/// A client whose requests get the responses of `answers`, in this order. Each is noted in `seen`
/// with its body.
const SCRIPTED: &str = "
    const { createClient } = await import('/kippu.js');
    const seen = [];
    const reasons = [];
    const challenge = (code) => new Response(null, {
      status: 401, headers: { 'WWW-Authenticate': `Bearer${code && ` error=\"${code}\"`}` },
    });
    const expired = () => challenge('invalid_token');
    const ok = () => new Response('{}');
    const failed = (status, error) => new Response(JSON.stringify({ error }), { status });
    let answers = [];
    const client = createClient({
      refreshUrl: '/auth/refresh',
      logoutUrl: '/auth/logout',
      name: String(Math.random()),
      async fetch(request) {
        seen.push(`${request.method} ${new URL(request.url).pathname} ${await request.text()}`.trim());
        return answers.shift()();
      },
    });
    client.onLogout((reason) => reasons.push(reason));
    const outcome = async (promise) => {
      const result = await promise.then(({ status }) => status, ({ name, status }) => `${name} ${status}`);
      return { result, seen, reasons, left: answers.length };
    };";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_request_is_sent_again_at_most_once_and_with_its_body() {
    let server = server();
    let browser = Browser::open(&server).await;
    let get = "GET /api/me";
    let refresh = "POST /auth/refresh";
    let unavailable = [get, refresh, refresh, refresh];
    for (answers, result, seen, reasons) in [
        ("[expired, ok, ok]", json!(200), &[get, refresh, get][..], json!([])),
        ("[() => challenge(''), ok, ok]", json!(200), &[get, refresh, get], json!([])),
        ("[expired, ok, expired]", json!(401), &[get, refresh, get], json!([])),
        ("[() => challenge('insufficient_user_authentication')]", json!(401), &[get], json!([])),
        ("[() => failed(403, 'access_denied')]", json!(403), &[get], json!([])),
        (
            "[expired, () => failed(400, 'invalid_grant'), expired]",
            json!(401),
            &[get, refresh, get],
            json!(["ended"]),
        ),
        // Another tab has logged in meanwhile.
        (
            "[expired, () => failed(400, 'invalid_grant'), ok]",
            json!(200),
            &[get, refresh, get],
            json!([]),
        ),
        (
            "[expired, ...Array(3).fill(() => failed(503, 'temporarily_unavailable'))]",
            json!("KippuError 503"),
            &unavailable,
            json!([]),
        ),
        (
            "[expired, () => failed(503), ok, ok]",
            json!(200),
            &[get, refresh, refresh, get],
            json!([]),
        ),
        ("[expired, () => failed(404)]", json!("KippuError 404"), &[get, refresh], json!([])),
    ] {
        let script =
            format!("{SCRIPTED} answers = {answers}; return outcome(client.fetch('/api/me'))");
        let expected = json!({ "result": result, "seen": seen, "reasons": reasons, "left": 0 });
        assert_eq!(browser.run_async(&script).await, expected, "{answers}");
    }
    for body in [
        "'text'",
        "new Blob(['text'])",
        "new URLSearchParams('text')",
        "new Blob(['text']).stream()",
        "new Request('/', { method: 'POST', body: 'text' }).body",
    ] {
        let init = format!("{{ method: 'POST', duplex: 'half', body: {body} }}");
        for input in [format!("'/note', {init}"), format!("new Request('/note', {init})")] {
            let script = format!(
                "{SCRIPTED} answers = [expired, ok, ok]; return outcome(client.fetch({input}))"
            );
            let outcome = browser.run_async(&script).await;
            let note = outcome["seen"][0].as_str().expect("a request");
            assert!(note.starts_with("POST /note text"), "{note}");
            assert_eq!(outcome["seen"], json!([note, refresh, note]), "{input}");
        }
    }
    browser.close().await;
}

/// The program part of the README, as it is printed there.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn the_page_of_the_readme_runs() {
    let readme = std::fs::read_to_string(folder().join("README.md")).expect("the README");
    let page = readme.split("```html\n").nth(1).and_then(|rest| rest.split("```").next());
    let page = page.expect("a page");
    let server = server();
    let browser = Browser::open(&server).await;
    // The policy of the auth server allows no script within a page.
    browser.bypass_policy().await;
    browser.go_to_file(FILE).await;
    browser.run_async(&format!("{CLIENT} await logIn('ada'); await client.logout()")).await;
    let write = format!("document.open(); document.write({}); document.close()", json!(page));
    browser.run(&write).await;
    browser.until("the script", "document.getElementById('logout')?.onclick").await;
    browser.click("who").await;
    browser.until_says("result", "Log in first.").await;
    browser.click_first("input[name=email]").await;
    browser.keys("ada@example.com\u{e004}correct horse battery staple\u{e007}").await;
    browser.until_says("result", "Logged in.").await;
    tokio::time::sleep(PAST_THE_EXPIRY).await;
    browser.click("who").await;
    browser.until_says("result", "ada@example.com").await;
    browser.click("logout").await;
    browser.until_says("result", "Logged out.").await;
    browser.close().await;
}

/// The folder of `kippu.js`.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/browser")
}

/// A program with the types, and the script against them.
#[test]
#[ignore = "needs node, and TypeScript in target/tools/oauth-clients/node_modules"]
fn the_types_are_those_of_the_script() {
    let modules = kippu_browser_tests::installed();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/types.mts");
    let output = Command::new(modules.join(".bin/tsc"))
        .args(["--noEmit", "--strict", "--noImplicitAny", "false", "--allowJs", "--checkJs"])
        .args(["--target", "es2022", "--module", "nodenext", "--allowImportingTsExtensions"])
        .args(["--lib", "es2024,dom,dom.iterable"])
        .args([&folder().join("kippu.js"), &folder().join("kippu.d.ts"), &program])
        .output()
        .expect("tsc");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
