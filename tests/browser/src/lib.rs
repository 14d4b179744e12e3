//! A browser for tests: headless Chromium behind its driver, and the auth server whose page it
//! shows. Both end when their value is dropped. All errors panic.
#![allow(clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use fantoccini::{
    Client, ClientBuilder, Locator, elements::Element, wd::WebDriverCompatibleCommand,
};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use kippu_test_support::servers;
use serde_json::{Value, json};
use url::{ParseError, Url};

use self::servers::{Scratch, program, wait_until};

/// How long a test waits for what should take a moment.
const PATIENCE: Duration = Duration::from_secs(20);

/// An auth server with its sessions in memory, on a free port.
pub struct AuthServer {
    child: Child,
    url: String,
    folder: Scratch,
}

impl AuthServer {
    /// Builds it if need be, and starts it with these options.
    #[must_use]
    pub fn start(options: &[&str]) -> Self {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        let folder = Scratch::new("browser");
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut child = Command::new(PROGRAM.get_or_init(build))
            .args(["--listen", "127.0.0.1:0", "--store", "memory"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the auth server");
        let url = first_line(&mut child, |line| line.starts_with("http://"));
        Self { child, url, folder }
    }

    /// Returns the port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        Url::parse(&self.url).expect("a URL").port().expect("a port")
    }

    /// Returns how many lines of the log so far contain a text.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Returns the log so far. The server writes a line after the answer: this sends a request, and
    /// waits for its line, which comes after all earlier ones.
    #[must_use]
    pub fn log(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = format!("/end-of-log/{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let address = self.url.trim_end_matches('/').trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("a connection");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        stream.read_to_end(&mut Vec::new()).expect("an answer");
        let mut log = String::new();
        wait_until("the end of the log", PATIENCE, || {
            log = fs::read_to_string(self.folder.path().join("log")).expect("the log");
            log.contains(&path)
        });
        log
    }
}

impl Drop for AuthServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the folder of the npm packages that `scripts/test` installs.
#[must_use]
pub fn installed() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/oauth-clients");
    let folder = env::var_os("KIPPU_OAUTH_CLIENTS").map_or_else(usual, PathBuf::from);
    folder.join("node_modules")
}

/// Returns the path of the auth server: `KIPPU_AUTH_SERVER`, or the path of a new build.
fn build() -> PathBuf {
    if let Some(built) = env::var_os("KIPPU_AUTH_SERVER") {
        return built.into();
    }
    let manifest =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/auth_server/Cargo.toml");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--message-format=json", "--manifest-path"])
        .arg(manifest)
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo");
    assert!(built.status.success(), "the auth server is not built");
    let messages = String::from_utf8(built.stdout).expect("JSON");
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = messages.find_map(|message| Some(message["executable"].as_str()?.into()));
    program.expect("an executable")
}

/// Returns the first line of a program's output that matches. A thread discards the rest, so that
/// the program never waits for a reader.
fn first_line(child: &mut Child, is_it: impl Fn(&str) -> bool) -> String {
    let mut output = BufReader::new(child.stdout.take().expect("its output"));
    let line = output.by_ref().lines().map_while(Result::ok).find(|line| is_it(line));
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    line.expect("a program that runs")
}

/// `chromedriver`, on a free port.
struct Driver {
    child: Child,
    port: u16,
}

impl Driver {
    fn start(program: &Path) -> Self {
        let mut child = Command::new(program)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver");
        let line = first_line(&mut child, |line| line.contains("successfully on port"));
        let port = line.trim_end_matches('.').rsplit(' ').next().and_then(|port| port.parse().ok());
        Self { child, port: port.expect("a port") }
    }
}

impl Drop for Driver {
    /// Asks it to stop, upon which it ends its browsers; killed, it would leave them.
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let request = "GET /shutdown HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let _ = self.child.wait();
    }
}

/// A browser with the page of a server in it.
pub struct Browser {
    client: Client,
    url: String,
    // Last, because it ends everything before it.
    _driver: Driver,
}

/// Chromium's sandbox is not for root.
fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    id.stdout.trim_ascii() == b"0"
}

/// A command of Chromium's own protocol.
#[derive(Debug)]
struct DevTools(&'static str, Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "cmd": self.0, "params": self.1 }).to_string()))
    }
}

/// The messages of the browser's console.
#[derive(Debug)]
struct Console;

impl WebDriverCompatibleCommand for Console {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}

/// How the page is looked at.
#[derive(Clone, Copy)]
pub struct Look {
    /// `light` or `dark`.
    pub scheme: &'static str,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Pixels of the screen to each.
    pub scale: u32,
}

/// The content of a picture.
#[derive(Clone, Copy)]
pub enum Frame {
    /// The upper end of the page, as much as is in the window.
    Window,
    /// All of the page.
    Whole,
    /// As much as is in the window from the element of this id on.
    From(&'static str),
}

impl Look {
    /// A window on a desk by day.
    pub const DESKTOP: Self = Self { scheme: "light", width: 1280, height: 900, scale: 1 };
    /// A phone by night.
    pub const PHONE: Self = Self { scheme: "dark", width: 390, height: 844, scale: 2 };
}

impl Browser {
    /// Opens the page of the auth server.
    pub async fn open(server: &AuthServer) -> Self {
        Self::open_at(&server.url).await
    }

    /// Opens the page of the server at this URL, which has no path.
    pub async fn open_at(url: &str) -> Self {
        let chromium = program(["chromium", "chromium-browser", "google-chrome"]);
        let driver = Driver::start(&program(["chromedriver"]));
        let mut arguments = vec![
            "--headless=new",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
        ];
        if is_root() {
            arguments.push("--no-sandbox");
        }
        let capabilities = json!({
            "goog:chromeOptions": { "binary": chromium, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{}", driver.port))
            .await
            .expect("a browser");
        let browser = Self { client, url: url.to_owned(), _driver: driver };
        browser.look(Look::DESKTOP).await;
        browser.go("/").await;
        browser
    }

    /// Opens a page of the server, and waits until its script has started.
    pub async fn go(&self, path: &str) {
        self.visit(&format!("{}{path}", self.url)).await;
    }

    /// Opens a page of any server, and waits until its script has started.
    pub async fn visit(&self, url: &str) {
        self.client.goto(url).await.expect("a page");
        self.ready().await;
    }

    /// Opens a file of the server that has no script.
    pub async fn go_to_file(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.url)).await.expect("a page");
    }

    async fn ready(&self) {
        self.until("a page that is ready", "document.body.dataset.ready === 'true'").await;
    }

    /// The window, the scheme of colours and the width of a device.
    pub async fn look(&self, look: Look) {
        let metrics = json!({
            "width": look.width, "height": look.height, "deviceScaleFactor": look.scale, "mobile": look.width < 600,
        });
        self.tell("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = json!([{ "name": "prefers-color-scheme", "value": look.scheme }]);
        self.tell("Emulation.setEmulatedMedia", json!({ "features": scheme })).await;
    }

    /// A picture, kept for people in `target/screenshots`.
    pub async fn picture(&self, name: &str, frame: Frame) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/screenshots");
        fs::create_dir_all(&folder).expect("a folder");
        match frame {
            Frame::Window | Frame::Whole => self.run("scrollTo(0, 0)").await,
            Frame::From(id) => {
                let top = format!("document.getElementById('{id}').getBoundingClientRect().top");
                self.run(&format!("scrollBy(0, {top} - 16)")).await
            }
        };
        let is_whole = matches!(frame, Frame::Whole);
        let parameters = json!({ "format": "png", "captureBeyondViewport": is_whole });
        let answer = self.tell("Page.captureScreenshot", parameters).await;
        let data = answer["data"].as_str().expect("a picture");
        let bytes = BASE64_STANDARD.decode(data).expect("base64");
        fs::write(folder.join(format!("{name}.png")), bytes).expect("a file");
    }

    async fn tell(&self, command: &'static str, parameters: Value) -> Value {
        self.client.issue_cmd(DevTools(command, parameters)).await.expect(command)
    }

    /// Runs a script in the page, and gives what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.expect(script)
    }

    /// Runs the body of an `async` function in the page, and returns its result.
    pub async fn run_async(&self, body: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; \
             (async () => {{ {body} }})().then((value) => done({{ value }}), (error) => done({{ error: String(error) }}))"
        );
        let outcome = self.client.execute_async(&script, Vec::new()).await.expect(body);
        assert_eq!(outcome.get("error"), None, "{body}");
        outcome.get("value").cloned().unwrap_or_default()
    }

    /// Ignores the policy of the server for scripts from now on.
    pub async fn bypass_policy(&self) {
        self.tell("Page.setBypassCSP", json!({ "enabled": true })).await;
    }

    /// Cuts this tab off from the network, or ends that.
    pub async fn set_offline(&self, is_offline: bool) {
        self.tell("Network.enable", json!({})).await;
        let conditions = json!({
            "offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1,
        });
        self.tell("Network.emulateNetworkConditions", conditions).await;
    }

    /// Stops the scripts and the timers of this tab, as for a laptop that sleeps, or ends that.
    pub async fn set_frozen(&self, is_frozen: bool) {
        let state = if is_frozen { "frozen" } else { "active" };
        self.tell("Page.setWebLifecycleState", json!({ "state": state })).await;
    }

    /// Waits until an expression is true.
    pub async fn until(&self, what: &str, expression: &str) {
        let begin = Instant::now();
        while self.run(&format!("return Boolean({expression})")).await != Value::Bool(true) {
            if begin.elapsed() > PATIENCE {
                let seen = self.run("return document.body.innerText").await;
                panic!("waited for {what}: {expression}\n{seen}\n{:?}", self.console().await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the element of this id is there to be seen, and says so.
    pub async fn until_says(&self, id: &str, text: &str) {
        let element = format!("document.getElementById('{id}')");
        // A hidden element has a text, too.
        let expression =
            format!("{element}.checkVisibility() && {element}.innerText.includes({})", json!(text));
        self.until(text, &expression).await;
    }

    /// The element of this id.
    pub async fn element(&self, id: &str) -> Element {
        self.client.find(Locator::Id(id)).await.expect(id)
    }

    /// The text of the element of this id.
    pub async fn text(&self, id: &str) -> String {
        self.element(id).await.text().await.expect(id)
    }

    /// Clicks on the element of this id, as a person can: it has to be in sight.
    pub async fn click(&self, id: &str) {
        self.element(id).await.click().await.expect(id);
    }

    /// Clicks on the first element that a selector finds.
    pub async fn click_first(&self, selector: &str) {
        let element = self.client.find(Locator::Css(selector)).await.expect(selector);
        element.click().await.expect(selector);
    }

    /// Replaces what is in a field by what is typed.
    pub async fn fill(&self, id: &str, text: &str) {
        let element = self.element(id).await;
        element.clear().await.expect(id);
        element.send_keys(text).await.expect(id);
    }

    /// Types, wherever the focus is.
    pub async fn keys(&self, keys: &str) {
        let focused = self.client.active_element().await.expect("a focus");
        focused.send_keys(keys).await.expect(keys);
    }

    /// Opens a tab with the page, and switches to it.
    pub async fn new_tab(&self) {
        self.new_empty_tab().await;
        self.go("/").await;
    }

    /// Opens an empty tab, and switches to it.
    pub async fn new_empty_tab(&self) {
        let tab = self.client.new_window(true).await.expect("a tab");
        self.client.switch_to_window(tab.handle).await.expect("a tab");
    }

    /// Switches to the tab that was opened as the first, second, …, when its script has started.
    pub async fn tab(&self, index: usize) {
        self.file_tab(index).await;
        self.ready().await;
    }

    /// Switches to a tab that may show a file without a script.
    pub async fn file_tab(&self, index: usize) {
        let begin = Instant::now();
        let handle = loop {
            let tabs = self.client.windows().await.expect("tabs");
            if let Some(handle) = tabs.into_iter().nth(index) {
                break handle;
            }
            assert!(begin.elapsed() < PATIENCE, "tab {index} is not opened");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        self.client.switch_to_window(handle).await.expect("a tab");
    }

    async fn console(&self) -> Vec<String> {
        let entries = self.client.issue_cmd(Console).await.expect("a console");
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Closes the browser. Fails if the page's script has made an error, or something that its
    /// policy forbids. Responses that are errors are what the page shows.
    pub async fn close(self) {
        let said = self.console().await;
        let is_refusal = |line: &&String| {
            ["Failed to load resource", "Unexpected response code: 403"]
                .iter()
                .any(|words| line.contains(words))
        };
        let wrong: Vec<_> = said.iter().filter(|line| !is_refusal(line)).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        self.client.close().await.expect("an end");
    }
}
