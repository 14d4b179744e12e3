//! The page of the auth server, as a person meets it: each thing that it is there to show is done
//! in a browser.
//!
//! Pictures go to `target/screenshots`.

use std::time::Duration;

use kippu_browser_tests::{AuthServer, Browser, Frame, Look};
use serde_json::json;

const PASSWORD: &str = "correct horse battery staple";

const AT_ITS_END: &str = "document.getElementById('timer').textContent === '0'";

/// The address of a user.
fn email(name: &str) -> String {
    format!("{name}@example.com")
}

/// Makes an account and logs in.
async fn log_in(browser: &Browser, name: &str) {
    browser.fill("email", &email(name)).await;
    browser.fill("password", PASSWORD).await;
    browser.click("submit-register").await;
    logged_in(browser).await;
}

async fn logged_in(browser: &Browser) {
    browser
        .until(
            "a login",
            "!document.getElementById('desk').hidden && document.querySelector('#sessions li')",
        )
        .await;
}

/// Waits until these are the requests of the last action, in their order: `GET /api/me 401`. They
/// are shown after what came of them.
async fn until_requests_are(browser: &Browser, expected: &[&str]) {
    let shown = "JSON.stringify([...document.querySelectorAll('#log > li:first-child ol li')].map((line) => \
                 `${line.querySelector('code').textContent} ${line.querySelector('.status').textContent}`))";
    let expected = serde_json::to_string(expected).expect("texts");
    browser.until("the requests", &format!("{shown} === {expected:?}")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn an_access_token_is_taken_apart_and_a_401_becomes_a_refresh_and_a_retry() {
    let server = AuthServer::start(&["--access-lifetime", "4", "--grace", "1"]);
    let browser = Browser::open(&server).await;
    log_in(&browser, "ada").await;

    let inks = "return [...document.querySelectorAll('#token span:not(.dot)')].map((part) => getComputedStyle(part).color)";
    let inks: Vec<String> = serde_json::from_value(browser.run(inks).await).expect("colours");
    assert_eq!(inks.len(), 3);
    assert!(inks[0] != inks[1] && inks[1] != inks[2] && inks[0] != inks[2], "{inks:?}");
    assert_eq!(browser.text("token").await.split('.').count(), 3);
    assert!(browser.text("part-header").await.contains("HS256"));
    assert!(browser.text("part-payload").await.contains("role: \"member\""));

    browser.click("call").await;
    browser.until_says("call-result", "200: the API knows you as ada@example.com, member").await;
    until_requests_are(&browser, &["GET /api/me 200"]).await;

    browser.until("the countdown at its end", AT_ITS_END).await;
    browser.click("retry").await;
    browser.click("call").await;
    browser.until_says("call-result", "401: the access token has expired").await;
    browser.click("retry").await;
    browser.click("call").await;
    browser.until_says("call-result", "200: the API knows you").await;
    until_requests_are(&browser, &["GET /api/me 401", "POST /auth/refresh 200", "GET /api/me 200"])
        .await;
    browser
        .until(
            "a countdown that begins again",
            "Number(document.getElementById('timer').textContent) > 0",
        )
        .await;

    // Two calls that find it expired together share one refresh.
    browser.until("the countdown at its end", AT_ITS_END).await;
    browser
        .run(
            "document.getElementById('call').click(); document.getElementById('call-live').click()",
        )
        .await;
    browser
        .until(
            "two answers",
            "[...document.querySelectorAll('#log > li')].slice(0, 2).every((action) => \
             action.querySelector('ol li:last-child .status')?.textContent === '200')",
        )
        .await;
    let refreshes =
        "return document.getElementById('log').innerText.split('/auth/refresh').length - 1";
    assert_eq!(browser.run(refreshes).await, 2, "of which the first is that of before");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_payload_that_is_edited_by_hand_is_found_out_and_every_check_is_listed() {
    let server = AuthServer::start(&[]);
    let browser = Browser::open(&server).await;
    log_in(&browser, "eve").await;
    let checks = "return document.querySelectorAll('#checks li').length";
    let failed = "return document.querySelector('#checks .failed')?.innerText";

    browser.click("forge-send").await;
    browser.until_says("forge-result", "200: the token is valid").await;
    assert!(browser.run(checks).await.as_u64() >= Some(19));

    let claims = browser.run("return document.getElementById('forge-payload').value").await;
    let claims = claims.as_str().expect("a text").replace("\"member\"", "\"admin\"");
    // Typed, as a person would.
    browser.fill("forge-payload", &claims).await;
    browser
        .until("a changed segment", "document.querySelector('#forged .ink-payload.changed')")
        .await;
    browser.click("forge-send").await;
    browser.until_says("forge-result", "401: rejected. Failed: signature").await;
    assert!(browser.run(checks).await.as_u64() >= Some(19));
    assert!(browser.run(failed).await.as_str().expect("a check").contains("signature"));
    browser.picture("forged-desktop-light", Frame::Whole).await;

    browser.click("forge-undo").await;
    browser.click("forge-none").await;
    browser.click("forge-send").await;
    browser.until_says("forge-result", "401: rejected. Failed: alg").await;
    browser.click("forge-undo").await;
    browser.click("forge-years").await;
    browser.click("forge-send").await;
    browser.until_says("forge-result", "401: rejected. Failed: signature").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn an_old_refresh_token_that_is_presented_again_kills_the_session() {
    let server = AuthServer::start(&["--access-lifetime", "30", "--grace", "2"]);
    let browser = Browser::open(&server).await;
    log_in(&browser, "mallory").await;
    let generations = "return [...document.querySelectorAll('#generations .generation')].map((each) => each.textContent)";

    browser.click("refresh-now").await;
    browser.until_says("refresh-result", "Generation 1").await;
    browser.click_first("#generations button").await;
    browser.until_says("refresh-result", "accepted as a retry").await;
    assert_eq!(browser.run(generations).await, json!(["1", "0"]), "the same successor");

    browser.until_says("generations", "a second use ends the session").await;
    browser.click_first("#generations button").await;
    browser.until_says("refresh-result", "the server has ended the session").await;
    until_requests_are(&browser, &["POST /auth/refresh 400", "GET /api/live 401"]).await;
    browser.until_says("ended", "generation 0 was used a second time").await;
    browser.picture("stolen-desktop-light", Frame::Whole).await;

    // The access token has not expired, and no request reads the store.
    browser.click("call").await;
    browser.until_says("call-result", "401: the session has ended").await;
    assert!(server.log().contains("reuse detected"));
    browser.click("again").await;
    browser.until("the login", "!document.getElementById('welcome').hidden").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_second_device_is_listed_and_is_logged_out_from_the_first() {
    let server = AuthServer::start(&[]);
    let browser = Browser::open(&server).await;
    log_in(&browser, "grace").await;
    browser.click("second").await;
    browser.tab(1).await;
    assert_eq!(browser.run("return document.getElementById('email').value").await, email("grace"));
    browser.fill("password", PASSWORD).await;
    browser.click("submit-login").await;
    logged_in(&browser).await;
    browser.until_says("sessions", "Second device").await;

    browser.tab(0).await;
    browser.until_says("sessions", "Second device").await;
    browser.click_first("#sessions button").await;
    browser.until_says("devices-result", "Second device is logged out").await;
    browser.until("one session", "document.querySelectorAll('#sessions li').length === 1").await;

    browser.tab(1).await;
    browser.click("call-live").await;
    browser.until_says("ended", "This session has ended").await;
    // Its token is refused: a refresh would be no use.
    until_requests_are(&browser, &["GET /api/live 401"]).await;

    browser.tab(0).await;
    browser.click("logout").await;
    browser.until("the login", "!document.getElementById('welcome').hidden").await;
    assert_eq!(browser.run("return document.getElementById('token').textContent").await, "");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn everywhere_is_logged_out_at_once() {
    let server = AuthServer::start(&[]);
    let browser = Browser::open(&server).await;
    log_in(&browser, "joan").await;
    browser.new_tab().await;
    browser.fill("email", &email("joan")).await;
    browser.fill("password", PASSWORD).await;
    browser.click("submit-login").await;
    logged_in(&browser).await;
    browser.click("logout-all").await;
    browser.until("the login", "!document.getElementById('welcome').hidden").await;
    browser.tab(0).await;
    browser.click("refresh-now").await;
    browser.until_says("ended", "This session has ended").await;
    browser.close().await;
}

/// Its access token is valid for a minute, and no request reads the store.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_device_that_is_logged_out_is_refused_within_a_second() {
    let server = AuthServer::start(&[]);
    let browser = Browser::open(&server).await;
    log_in(&browser, "hedy").await;
    browser.click("second").await;
    browser.tab(1).await;
    browser.fill("password", PASSWORD).await;
    browser.click("submit-login").await;
    logged_in(&browser).await;
    browser.click("keep-calling").await;
    browser.until_says("keep-result", "calls accepted").await;

    browser.tab(0).await;
    browser.until_says("sessions", "Second device").await;
    browser.click_first("#sessions button").await;
    browser.until_says("devices-result", "is rejected within a second").await;
    browser.tab(1).await;
    browser.until_says("keep-result", "401: the session has ended").await;
    browser.until_says("ended", "This session has ended").await;
    // The refused call has read no store.
    browser.until_says("log", "no store step").await;
    browser.close().await;
}

/// RFC 9470.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_logout_everywhere_wants_the_password_again() {
    let server = AuthServer::start(&["--recent", "1"]);
    let browser = Browser::open(&server).await;
    for choice in ["memory", "cookies"] {
        browser.click_first(&format!("input[value={choice}]")).await;
        if choice == "memory" {
            log_in(&browser, "emmy").await;
        } else {
            browser.fill("email", &email("emmy")).await;
            browser.fill("password", PASSWORD).await;
            browser.click("submit-login").await;
            logged_in(&browser).await;
        }
        tokio::time::sleep(Duration::from_millis(2100)).await;
        browser.click("logout-all").await;
        browser.until_says("devices-result", "the user has to authenticate again").await;
        // Once: there are not many tries.
        if choice == "memory" {
            browser.fill("confirm-password", "not the password").await;
            browser.click_first("#confirm button").await;
            browser.until_says("devices-result", "403: the current password is wrong").await;
        }
        browser.fill("confirm-password", PASSWORD).await;
        browser.click_first("#confirm button").await;
        browser.until("the login", "!document.getElementById('welcome').hidden").await;
    }
    browser.close().await;
}

/// The cookie of both tabs is presented at the same moment, without kippu.js, which would let one
/// of them wait.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn two_tabs_that_refresh_at_once_never_log_each_other_out() {
    let server = AuthServer::start(&[]);
    let browser = Browser::open(&server).await;
    browser.click_first("input[value=cookies]").await;
    log_in(&browser, "alan").await;
    assert_eq!(browser.run("return document.cookie.includes('access')").await, false);
    browser.new_tab().await;
    // Without a password.
    logged_in(&browser).await;
    assert_eq!(browser.text("user").await, email("alan"));

    let listen =
        "new BroadcastChannel('test').onmessage = () => fetch('/auth/refresh', { method: 'POST' })";
    browser.run(listen).await;
    browser.tab(0).await;
    let both = "new BroadcastChannel('test').postMessage('now'); \
                return (await fetch('/auth/refresh', { method: 'POST' })).status";
    // A round in which one request follows the other shows nothing.
    for _ in 0..100 {
        assert_eq!(browser.run_async(both).await, 200);
        if server.count("\"replayed\"") > 0 {
            break;
        }
    }
    assert!(server.count("\"replayed\"") > 0, "the two requests were never concurrent");
    assert_eq!(server.count("reuse detected"), 0);
    for tab in [0, 1] {
        browser.tab(tab).await;
        browser.click("call-live").await;
        browser.until_says("call-result", "200: the API knows you as alan@example.com").await;
        browser.click("refresh-now").await;
        browser.until_says("refresh-result", "200: the cookies have new tokens").await;
    }
    browser.look(Look::DESKTOP).await;
    browser.picture("cookies-desktop-light", Frame::Whole).await;
    browser.click("logout").await;
    browser.until("the login", "!document.getElementById('welcome').hidden").await;
    browser.tab(0).await;
    browser.until_says("ended", "Another tab has logged out").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_changed_password_ends_the_other_device() {
    let server = AuthServer::start(&[]);
    let browser = Browser::open(&server).await;
    log_in(&browser, "hedy").await;
    browser.click("second").await;
    browser.tab(1).await;
    browser.fill("password", PASSWORD).await;
    browser.click_first("input[value=cookies]").await;
    browser.click("submit-login").await;
    logged_in(&browser).await;
    browser.fill("current", "incorrect").await;
    browser.fill("new", "a new password of mine").await;
    browser.click("change-now").await;
    browser.until_says("change-result", "403: the current password is wrong").await;
    browser.fill("current", PASSWORD).await;
    browser.fill("new", "password123").await;
    browser.keys(ENTER).await;
    browser.until_says("change-result", "400: the password is among the first").await;
    browser.picture("password-desktop-light", Frame::From("secret")).await;
    browser.fill("new", "a new password of mine").await;
    browser.click("change-now").await;
    browser
        .until_says("change-result", "Your password is changed. Your other sessions have ended")
        .await;
    until_requests_are(&browser, &["POST /password 204"]).await;
    browser.until("one session", "document.querySelectorAll('#sessions li').length === 1").await;
    assert_eq!(browser.run("return document.getElementById('new').value").await, "");
    browser.click("call-live").await;
    browser.until_says("call-result", "200: the API knows you as hedy@example.com").await;

    browser.tab(0).await;
    browser.click("call-live").await;
    browser.until_says("ended", "This session has ended").await;
    browser.click("again").await;
    browser.fill("password", "a new password of mine").await;
    browser.click("submit-login").await;
    logged_in(&browser).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn what_the_server_refuses_is_shown_in_its_words() {
    let server = AuthServer::start(&[]);
    let browser = Browser::open(&server).await;
    for (address, password, words) in [
        ("", "", "This is not an email address"),
        ("ada", PASSWORD, "This is not an email address"),
        ("ada@example.com", "short", "The password is too short: it needs at least 8 characters"),
        ("ada@example.com", "qwertyuiop", "The password is among the first that an attacker tries"),
    ] {
        browser.fill("email", address).await;
        browser.fill("password", password).await;
        browser.click("submit-register").await;
        browser.until_says("login-error", words).await;
    }
    log_in(&browser, "ada").await;
    browser.click("logout").await;
    browser.fill("email", " ADA@Example.com").await;
    browser.fill("password", PASSWORD).await;
    browser.click("submit-register").await;
    browser.until_says("login-error", "There is an account with this email address").await;
    for (name, look) in [("desktop-light", Look::DESKTOP), ("phone-dark", Look::PHONE)] {
        browser.look(look).await;
        browser.picture(&format!("refused-{name}"), Frame::Whole).await;
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_wrong_password_is_told_and_tried_only_so_often() {
    let server = AuthServer::start(&[]);
    let browser = Browser::open(&server).await;
    browser.fill("email", &email("trudy")).await;
    browser.fill("password", "incorrect").await;
    for _ in 0..5 {
        browser.click("submit-login").await;
        browser.until_says("login-error", "The email address or the password is wrong").await;
    }
    browser.click("submit-login").await;
    browser.until_says("login-error", "Too many tries: wait").await;
    browser.close().await;
}

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const SPACE: &str = "\u{e00d}";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn all_of_it_works_with_a_keyboard() {
    let server = AuthServer::start(&["--grace", "2"]);
    let browser = Browser::open(&server).await;
    // The focus is on the address.
    browser.keys(&email("barbara")).await;
    browser.keys(TAB).await;
    browser.keys(PASSWORD).await;
    let focus = async |id: &str| {
        for _ in 0..40 {
            if browser.run("return document.activeElement.id").await == id {
                return;
            }
            browser.keys(TAB).await;
        }
        panic!("the focus does not come to {id}");
    };
    focus("submit-register").await;
    browser.keys(ENTER).await;
    logged_in(&browser).await;
    assert_eq!(browser.run("return document.activeElement.id").await, "desk-title");
    // In the order of the page.
    for id in
        ["call", "call-live", "retry", "forge-payload", "forge-admin", "forge-send", "refresh-now"]
    {
        focus(id).await;
    }
    browser.keys(ENTER).await;
    browser.until_says("refresh-result", "Generation 1").await;
    // An element keeps the focus while the page counts seconds in it.
    browser.run("document.querySelector('#generations button').focus()").await;
    browser.until_says("generations", "a second use ends the session").await;
    browser.keys(SPACE).await;
    browser.until_says("refresh-result", "the server has ended the session").await;
    browser.close().await;
}

/// A request with both would be refused for having one credential too many.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn a_login_in_memory_and_one_in_cookies_do_not_meet() {
    let server = AuthServer::start(&[]);
    let browser = Browser::open(&server).await;
    log_in(&browser, "radia").await;
    browser.new_tab().await;
    browser.click_first("input[value=cookies]").await;
    log_in(&browser, "vint").await;
    for (tab, name) in [(0, "radia"), (1, "vint")] {
        browser.tab(tab).await;
        browser.click("call-live").await;
        browser
            .until_says("call-result", &format!("200: the API knows you as {}", email(name)))
            .await;
        browser.click("refresh-now").await;
        browser.until_says("refresh-result", "200").await;
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium"]
async fn the_page_fits_into_each_window() {
    let server = AuthServer::start(&[]);
    let browser = Browser::open(&server).await;
    let looks = [
        ("desktop-light", Look::DESKTOP),
        ("desktop-dark", Look { scheme: "dark", ..Look::DESKTOP }),
        ("phone-light", Look { scheme: "light", ..Look::PHONE }),
        ("phone-dark", Look::PHONE),
        ("narrow-light", Look { scheme: "light", width: 320, height: 640, scale: 1 }),
    ];
    let check = async |view: &str| {
        for (name, look) in looks {
            browser.look(look).await;
            browser.picture(&format!("{view}-{name}"), Frame::Window).await;
            browser.picture(&format!("{view}-{name}-whole"), Frame::Whole).await;
            let width = browser.run("return document.documentElement.scrollWidth").await.as_u64();
            assert!(width <= Some(look.width.into()), "{view}, {name}: it is {width:?} wide");
        }
        browser.look(Look::DESKTOP).await;
    };
    check("welcome").await;
    log_in(&browser, "ada").await;
    browser.click("call").await;
    browser.until_says("call-result", "200").await;
    browser.click("refresh-now").await;
    browser.until_says("refresh-result", "200").await;
    browser.click("forge-admin").await;
    browser.click("forge-send").await;
    browser.until_says("forge-result", "401").await;
    check("desk").await;
    // The pictures of the README.
    browser.look(Look { height: 846, ..Look::DESKTOP }).await;
    browser.picture("readme-desktop", Frame::Window).await;
    browser.look(Look::PHONE).await;
    browser.picture("readme-phone", Frame::From("forged")).await;
    browser.close().await;
}
