//! A real Chromium, and what a person does with it: look, press, type, wait.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use thirtyfour::LoggingPrefsLogLevel;
use thirtyfour::error::WebDriverErrorInner;
use thirtyfour::prelude::*;

/// How long anything may take to show before a test gives up.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--lang=en-US",
];

/// A chromedriver on a port of its own choice; killed when dropped.
struct Chromedriver {
    child: Child,
    url: String,
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)));
    all.into_iter().find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("{names:?} not found: 'apt-get install chromium chromium-driver', or run ./test, which does")
    })
}

/// Fonts without rules. Several threads of a browser apply the rules of a machine's configuration, for which its library is
/// not made: now and then one of them crashed with the browser (a signal 11 in `libfontconfig`, below
/// `FcConfigSubstituteWithPat`). Without rules there is nothing to apply.
const FONTS: &str = "<?xml version='1.0'?><!DOCTYPE fontconfig SYSTEM 'urn:fontconfig:fonts.dtd'>
<fontconfig><dir>/usr/share/fonts</dir><cachedir prefix='relative'>fonts</cachedir>
<config><rescan><int>0</int></rescan></config></fontconfig>";

impl Chromedriver {
    /// Starts one whose browser keeps its fonts beside its profile.
    fn start(profile: &Path) -> Self {
        let fonts = profile.join("fonts.conf");
        fs::write(&fonts, FONTS).unwrap();
        let mut command = Command::new(program(&["chromedriver"]));
        command.env("FONTCONFIG_FILE", fonts);
        let mut child = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = said.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // What it says later must not fill a pipe that nobody reads.
        std::thread::spawn(move || said.for_each(drop));
        Self { child, url: format!("http://127.0.0.1:{}", port.expect("chromedriver did not start")) }
    }
}

/// One browser with one page. Dropping it closes the browser first, then its driver.
pub(crate) struct Browser {
    driver: WebDriver,
    _chromedriver: Chromedriver,
    _profile: TempDir,
}

impl Browser {
    /// Opens a page, 1280 pixels wide.
    pub(crate) async fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let chromedriver = Chromedriver::start(profile.path());
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary(program(&["chromium", "chromium-browser", "google-chrome"]).to_str().unwrap()).unwrap();
        wanted.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        for flag in FLAGS {
            wanted.add_arg(flag).unwrap();
        }
        wanted.add_arg(&format!("--user-data-dir={}", profile.path().display())).unwrap();
        let driver = WebDriver::new(&chromedriver.url, wanted).await.unwrap();
        let browser = Self { driver, _chromedriver: chromedriver, _profile: profile };
        browser.look(1280, 900, false).await;
        browser.goto(url).await;
        browser
    }

    /// As [`Browser::open`], with the developer tools' rows on the page.
    pub(crate) async fn open_tools(url: &str) -> Self {
        let browser = Self::open(url).await;
        browser.until("the rows are shown", "return document.querySelectorAll('.row').length === 14").await;
        browser
    }

    pub(crate) async fn goto(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// The size of the window in pixels, and whether its user likes it dark.
    pub(crate) async fn look(&self, width: u32, height: u32, dark: bool) {
        self.driver.cdp().emulation().set_device_metrics_override(width, height, 1.0, width < 600).await.unwrap();
        let scheme = if dark { "dark" } else { "light" };
        let media = serde_json::json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.driver.cdp().send_raw("Emulation.setEmulatedMedia", media).await.unwrap();
    }

    /// Runs the body of a function in the page.
    #[track_caller]
    pub(crate) fn js(&self, body: &str) -> impl Future<Output = Value> + use<'_> {
        let (place, body) = (std::panic::Location::caller(), body.to_owned());
        async move {
            let answer = self.driver.execute(body.as_str(), Vec::new()).await;
            answer.unwrap_or_else(|e| panic!("{place}: {e}\n{body}")).json().clone()
        }
    }

    /// Runs the body of an async function in the page and waits for its end.
    pub(crate) async fn js_async(&self, body: &str) -> Value {
        let all =
            format!("const done = arguments[0]; (async () => {{ {body} }})().then(done, (e) => done(String(e)));");
        self.driver.execute_async(all, Vec::new()).await.unwrap().json().clone()
    }

    /// Waits until the body of a function answers something true.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, body: &str) -> impl Future<Output = Value> + use<'_> {
        let (place, what, body) = (std::panic::Location::caller(), what.to_owned(), body.to_owned());
        async move {
            let begun = Instant::now();
            loop {
                let found = self.js(&body).await;
                if !matches!(found, Value::Null | Value::Bool(false)) {
                    return found;
                }
                if begun.elapsed() > PATIENCE {
                    let page = self.js("return document.body.innerText").await;
                    panic!("{place}: waited in vain: {what}\n{}", page.as_str().unwrap_or_default());
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Presses what has this id, as a mouse does: it must be in sight and in reach.
    pub(crate) async fn press(&self, id: &str) {
        let enabled = format!("return document.getElementById({id:?})?.disabled === false");
        self.until(&format!("{id} can be pressed"), &enabled).await;
        // The page may draw the button anew between finding and pressing it.
        for last in [false, false, true] {
            let found = self.driver.find(By::Id(id)).await.unwrap();
            let pressed = match found.scroll_into_view().await {
                Ok(()) => found.click().await,
                Err(error) => Err(error),
            };
            match pressed {
                Ok(()) => return,
                Err(error) if !last && matches!(*error, WebDriverErrorInner::StaleElementReference(_)) => {}
                Err(error) => panic!("{id}: {error}"),
            }
        }
    }

    /// Takes the mouse away from whatever was pressed last.
    pub(crate) async fn rest(&self) {
        self.driver.action_chain().move_to(0, 0).perform().await.unwrap();
    }

    /// The text of the first element of a selector, as it is shown.
    pub(crate) async fn text(&self, css: &str) -> String {
        // In one step: the page may draw the element anew at any time.
        let text = self.js(&format!("return document.querySelector({css:?})?.innerText.trim()")).await;
        text.as_str().unwrap_or_else(|| panic!("{css} is not there")).to_owned()
    }

    /// Waits until an element's text is exactly this.
    #[track_caller]
    pub(crate) fn says(&self, id: &str, text: &str) -> impl Future<Output = Value> + use<'_> {
        let body = format!("return document.getElementById({id:?})?.textContent === {text:?}");
        self.until(&format!("{id} says {text:?}"), &body)
    }

    /// Types keys, wherever the focus is.
    pub(crate) async fn keys(&self, keys: impl Into<TypingData>) {
        let keys: TypingData = keys.into();
        let mut chain = self.driver.action_chain();
        for key in keys.as_vec() {
            chain = chain.key_down(key).key_up(key);
        }
        chain.perform().await.unwrap();
    }

    /// Sets a form field as a user would, events and all.
    pub(crate) async fn fill(&self, id: &str, text: &str) {
        let field = self.driver.find(By::Id(id)).await.unwrap();
        self.js(&format!("document.getElementById({id:?}).focus(); document.getElementById({id:?}).select()")).await;
        field.send_keys(if text.is_empty() { Key::Delete.into() } else { TypingData::from(text) }).await.unwrap();
    }

    pub(crate) async fn choose(&self, id: &str, value: &str) {
        let option = format!("#{id} option[value='{value}']");
        self.until(&format!("{id} offers {value}"), &format!("return document.querySelector({option:?})")).await;
        self.driver.find(By::Css(option)).await.unwrap().click().await.unwrap();
    }

    /// Nothing went wrong in the page: no exception, nothing that the page's own policy forbids, nothing missing.
    #[track_caller]
    pub(crate) fn is_quiet(&self) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let bad: Vec<String> = self.errors().await;
            assert!(bad.is_empty(), "{place}: {bad:#?}");
        }
    }

    /// What the console has said loudly since the last look.
    pub(crate) async fn errors(&self) -> Vec<String> {
        let log = self.driver.browser_log().await.unwrap();
        log.into_iter().filter(|entry| entry.level == "SEVERE").map(|entry| entry.message).collect()
    }

    pub(crate) async fn screenshot(&self, file: &Path) {
        self.driver.screenshot(file).await.unwrap();
    }
}
