//! WebSockets and an `EventSource` of a page, as Chromium opens them: by cookie and by subprotocol.
//! They close when the session ends elsewhere and when the token expires, and a page of another
//! origin opens none with the cookie.

use std::time::Duration;

use kippu_browser_tests::Browser;
use kippu_framework_tests::feeds::Feeds;
use serde_json::{Value, json};

const QUARTER_HOUR: Duration = Duration::from_secs(900);

/// Keeps a log of what a socket or a stream reports.
const WATCH: &str = "
    window.log = [];
    window.watch = (name, source) => {
      source.onmessage = (event) => log.push(`${name} ${event.data}`);
      source.onclose = (event) => log.push(`${name} closed ${event.code} ${event.reason}`);
      source.onerror = () => log.push(`${name} error ${source.readyState}`);
      return source;
    }";

fn url(feeds: &Feeds) -> String {
    format!("http://{}", feeds.address)
}

/// Opens the page of a server.
async fn visit(browser: &Browser, feeds: &Feeds) {
    browser.visit(&url(feeds)).await;
    browser.run(WATCH).await;
}

async fn post(browser: &Browser, path: &str) -> Value {
    browser
        .run(&format!("return fetch('{path}', {{ method: 'POST' }}).then((r) => r.status)"))
        .await
}

/// Logs in twice: with cookies, and with a token that the page keeps in `window.token`.
async fn log_in(browser: &Browser) {
    assert_eq!(post(browser, "/login").await, 204);
    let token = "return fetch('/token', { method: 'POST' }).then((r) => r.json()) \
                 .then((tokens) => { window.token = tokens.access_token; })";
    browser.run(token).await;
    assert_eq!(browser.run("return document.cookie.includes('access')").await, false);
}

/// Opens a socket by cookie and one by token at this server, and a stream at the page's own.
async fn open_all(browser: &Browser, feeds: &Feeds) {
    let open = "
        watch('cookie', new WebSocket('ws://ADDRESS/feed', ['feed.v1']));
        window.byToken = watch('token', new WebSocket('ws://ADDRESS/feed', ['feed.v1', `kippu.bearer.${token}`]));
        watch('events', new EventSource('/events'));";
    browser.run(&open.replace("ADDRESS", &feeds.address.to_string())).await;
}

async fn until_logged(browser: &Browser, line: &str) {
    browser.until(line, &format!("log.includes({})", json!(line))).await;
}

/// Opens the page of the feeds, and logs in.
async fn logged_in(feeds: &Feeds) -> Browser {
    let browser = Browser::open_at(&url(feeds)).await;
    visit(&browser, feeds).await;
    log_in(&browser).await;
    browser
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_logout_elsewhere_closes_the_sockets_and_the_stream_of_a_page() {
    let feeds = Feeds::start(QUARTER_HOUR).await;
    let browser = logged_in(&feeds).await;
    open_all(&browser, &feeds).await;
    for name in ["cookie", "token", "events"] {
        until_logged(&browser, &format!("{name} hello alice")).await;
    }
    assert_eq!(browser.run("return byToken.protocol").await, "feed.v1");
    until_logged(&browser, "events tick").await;
    assert_eq!(
        browser.run("return log.filter((line) => /closed|error/.test(line))").await,
        json!([])
    );

    browser.new_tab().await;
    assert_eq!(post(&browser, "/auth/logout_all").await, 200);
    browser.tab(0).await;
    for name in ["cookie", "token"] {
        until_logged(&browser, &format!("{name} closed 4401 the session has ended")).await;
    }
    // It connects again, is answered with a 401, and gives up.
    until_logged(&browser, "events error 0").await;
    until_logged(&browser, "events error 2").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn sockets_close_when_their_token_expires_and_open_again_after_a_refresh() {
    let feeds = Feeds::start(Duration::from_secs(4)).await;
    let browser = logged_in(&feeds).await;
    open_all(&browser, &feeds).await;
    for name in ["cookie", "token", "events"] {
        until_logged(&browser, &format!("{name} hello alice")).await;
    }
    for name in ["cookie", "token"] {
        until_logged(&browser, &format!("{name} closed 4401 the access token has expired")).await;
    }
    until_logged(&browser, "events error 0").await;
    assert_eq!(post(&browser, "/auth/refresh").await, 200);
    let again = "watch('again', new WebSocket(`ws://${location.host}/feed`))";
    browser.run(again).await;
    until_logged(&browser, "again hello alice").await;
    browser.close().await;
}

/// The two origins differ in their port. Browsers send the cookies of a host to all of its ports,
/// and count them as the same site, so that `SameSite` does not help.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_page_of_another_origin_opens_a_websocket_only_with_a_token() {
    let [feeds, other] = [Feeds::start(QUARTER_HOUR).await, Feeds::start(QUARTER_HOUR).await];
    let browser = logged_in(&feeds).await;
    let token = browser.run("return token").await;
    open_all(&browser, &feeds).await;
    until_logged(&browser, "cookie hello alice").await;

    visit(&browser, &other).await;
    browser.run(&format!("window.token = {token}")).await;
    open_all(&browser, &feeds).await;
    until_logged(&browser, "token hello alice").await;
    until_logged(&browser, "cookie closed 1006 ").await;
    assert_eq!(browser.run("return log.includes('cookie hello alice')").await, false);
    browser.close().await;
}
