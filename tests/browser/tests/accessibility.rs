//! axe-core finds no violation on the page of the auth server: in each state, in light and dark, on
//! a phone and on a desktop.

use std::{fs, time::Duration};

use kippu_browser_tests::{AuthServer, Browser, Look, installed};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery staple";

const LOOKS: [Look; 4] = [
    Look::DESKTOP,
    Look { scheme: "dark", ..Look::DESKTOP },
    Look { scheme: "light", ..Look::PHONE },
    Look::PHONE,
];

/// The page, with axe-core.
struct Page {
    browser: Browser,
    axe: String,
}

impl Page {
    async fn open(server: &AuthServer) -> Self {
        let axe = fs::read_to_string(installed().join("axe-core/axe.min.js"));
        let axe = axe.expect("axe-core, which scripts/test installs");
        Self { browser: Browser::open(server).await, axe }
    }

    /// Runs all rules of axe-core, those of best practice too.
    async fn violations(&self) -> Value {
        self.browser.run(&self.axe).await;
        let script = "
            const { violations, passes } = await axe.run(document);
            if (passes.length < 20) throw new Error(`only ${passes.length} rules were applied`);
            return violations.map(({ id, nodes }) => [id, ...nodes.map((node) => node.failureSummary + node.html)])";
        self.browser.run_async(script).await
    }

    async fn check(&self, state: &str) {
        for look in LOOKS {
            self.browser.look(look).await;
            let name = format!("{state}, {}, {} pixels", look.scheme, look.width);
            assert_eq!(self.violations().await, json!([]), "{name}");
        }
        self.browser.look(Look::DESKTOP).await;
    }

    async fn log_in(&self, name: &str, button: &str) {
        self.browser.fill("email", &format!("{name}@example.com")).await;
        self.browser.fill("password", PASSWORD).await;
        self.browser.click(button).await;
        self.browser.until("the sessions", "document.querySelector('#sessions li')").await;
    }

    async fn click_and_read(&self, button: &str, output: &str, text: &str) {
        self.browser.click(button).await;
        self.browser.until_says(output, text).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, and axe-core in target/tools/oauth-clients/node_modules"]
async fn no_state_of_a_login_in_memory_has_a_violation() {
    let server = AuthServer::start(&["--access-lifetime", "5", "--grace", "1", "--recent", "1"]);
    let page = Page::open(&server).await;
    let browser = &page.browser;
    page.check("logged out").await;
    page.click_and_read("submit-login", "login-error", "wrong").await;
    page.check("a login is refused").await;
    page.log_in("ada", "submit-register").await;
    page.check("logged in").await;

    page.click_and_read("call", "call-result", "200").await;
    page.click_and_read("refresh-now", "refresh-result", "200").await;
    browser.click("forge-admin").await;
    page.click_and_read("forge-send", "forge-result", "401").await;
    page.check("a forged token is rejected").await;

    let expired = "document.getElementById('timer').textContent === '0'";
    browser.until("the expiry", expired).await;
    browser.click("retry").await;
    page.click_and_read("call", "call-result", "401").await;
    page.check("the access token has expired").await;
    browser.click("retry").await;

    page.click_and_read("call", "call-result", "200").await;
    browser.new_tab().await;
    page.log_in("ada", "submit-login").await;
    browser.tab(0).await;
    browser.until("two sessions", "document.querySelectorAll('#sessions li').length === 2").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    page.click_and_read("logout-all", "devices-result", "authenticate again").await;
    page.check("two sessions, and the password is asked for").await;
    browser.fill("current", "incorrect").await;
    browser.fill("new", "a new password of mine").await;
    page.click_and_read("change-now", "change-result", "the current password is wrong").await;
    page.check("the password is refused").await;

    browser.until_says("generations", "a second use ends the session").await;
    browser.click_first("#generations li:last-child button").await;
    browser.until_says("ended", "This session has ended").await;
    page.check("the session has ended").await;
    browser.click("keep-calling").await;
    browser.until_says("keep-result", "401").await;
    page.check("calls of an ended session").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, and axe-core in target/tools/oauth-clients/node_modules"]
async fn no_state_of_a_login_in_cookies_has_a_violation() {
    let server = AuthServer::start(&[]);
    let page = Page::open(&server).await;
    let browser = &page.browser;
    browser.click_first("input[value=cookies]").await;
    page.log_in("ada", "submit-register").await;
    page.click_and_read("refresh-now", "refresh-result", "200").await;
    page.check("logged in").await;
    browser.set_offline(true).await;
    page.click_and_read("call", "call-result", "The server does not answer").await;
    page.check("offline").await;
    browser.set_offline(false).await;
    browser.new_tab().await;
    browser.until("the sessions", "document.querySelector('#sessions li')").await;
    browser.click("logout").await;
    browser.tab(0).await;
    browser.until_says("ended", "Another tab has logged out").await;
    page.check("logged out in another tab").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, and axe-core in target/tools/oauth-clients/node_modules"]
async fn a_violation_would_be_found() {
    let server = AuthServer::start(&[]);
    let page = Page::open(&server).await;
    let add = "document.querySelector('h1').setAttribute('role', 'list'); \
               document.getElementById('email').labels[0].remove(); \
               document.querySelector('.pitch p').style.color = '#999'";
    page.browser.run(add).await;
    let found = page.violations().await;
    let found: Vec<_> =
        found.as_array().into_iter().flatten().map(|each| each[0].clone()).collect();
    for rule in ["color-contrast", "label"] {
        assert!(found.contains(&json!(rule)), "{found:?}");
    }
}
