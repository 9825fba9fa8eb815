//! A deployment with a dashboard, and a browser before it.

use std::time::Duration;

use broca_core::MessageState;
use broca_servers::{Browser, browser::Page};
use broca_tests::{Process, Rig, RigOptions, eventually, message_in};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `one` and `all` look on the page; `named` finds what can be pressed by what it says; `put` fills a field in.
const PAGE: Page = Page {
    prelude: "const one = (where) => document.querySelector(where);
        const all = (where) => [...document.querySelectorAll(where)];
        const says = (text) => document.body.innerText.includes(text);
        const named = (text) => all('button, a').find((at) => at.innerText.trim() === text && at.offsetParent);
        const put = (where, value) => { const at = one(where); at.value = value; at.dispatchEvent(new Event('change', {bubbles: true})); };",
    seen: "document.body.innerText",
};

/// One browser at a time is enough for a machine.
static ONE: Mutex<()> = Mutex::const_new(());

pub(crate) struct Scene {
    pub(crate) rig: Rig,
    pub(crate) address: String,
    pub(crate) dashboard: Process,
    _crew: [Process; 2],
}

/// What a command prints with `--json`.
pub(crate) fn json(rig: &Rig, args: &[&str]) -> Value {
    let output = rig.run(&[args, &["--json"]].concat());
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("broca {args:?}: {error}\n{}", String::from_utf8_lossy(&output.stderr)))
}

impl Scene {
    pub(crate) async fn start(options: RigOptions) -> Self {
        let rig = Rig::start(options).await;
        let crew = [rig.worker("worker"), rig.plugin("plugin")];
        let (dashboard, address) = serve(&rig, "dashboard", &[]).await;
        Self { rig, address, dashboard, _crew: crew }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A token of that name, with these options.
    pub(crate) fn token(&self, name: &str, options: &[&str]) -> String {
        let made = json(&self.rig, &[&["token", "add", name], options].concat());
        made["secret"].as_str().unwrap_or_else(|| panic!("no token: {made}")).to_owned()
    }

    /// Somebody says something on the platform; the id of the message once it is in that state.
    pub(crate) async fn said(&self, user: &str, text: &str, state: MessageState) -> String {
        self.rig.platform.say(user, text);
        message_in(&self.rig.store().await, user, text, state).await.id.to_string()
    }
}

/// A dashboard, and where it is.
pub(crate) async fn serve(rig: &Rig, name: &str, options: &[&str]) -> (Process, String) {
    let args = [&["dashboard", "--listen", "127.0.0.1:0"], options].concat();
    let mut process = rig.spawn(name, &args, &[]);
    let address = |log: &str| {
        let (_, rest) = log.split_once("served at http://")?;
        rest.split('/').next().map(str::to_owned)
    };
    eventually("the dashboard is served", PATIENCE, || {
        assert!(process.has_ended().is_none(), "it ended: {}", process.output());
        let there = address(&process.output()).is_some();
        async move { there }
    })
    .await;
    let address = address(&process.output()).expect("it said where");
    (process, address)
}

/// A browser, while no other test has one.
pub(crate) struct Screen {
    pub(crate) browser: Browser,
    _one: MutexGuard<'static, ()>,
}

impl Screen {
    /// To be called before anything else is started: what waits for its turn then takes nothing from the others.
    pub(crate) async fn start() -> Self {
        let one = ONE.lock().await;
        drop(rustls::crypto::ring::default_provider().install_default());
        Self { browser: Browser::start(PAGE).await, _one: one }
    }

    /// Opens the page anew there.
    pub(crate) async fn open(&self, url: &str) {
        self.browser.open("about:blank").await;
        self.browser.open(url).await;
    }

    /// Shows a token at the door.
    pub(crate) async fn log_in(&self, scene: &Scene, token: &str) {
        self.open(&scene.url("/")).await;
        self.browser.until("one('#token')").await;
        self.browser.run(&format!("put('#token', {}); named('Log in').click();", Value::from(token))).await;
        self.browser.until("one('.frame')").await;
    }

    /// Goes to a page, and waits until it shows what it is about.
    pub(crate) async fn go(&self, path: &str, title: &str) {
        // Two pages may have one title.
        let leave = format!("if (location.hash !== '#/{path}') {{ one('h1')?.remove(); location.hash = '#/{path}'; }}");
        self.browser.run(&leave).await;
        self.browser.until(&format!("one('h1')?.innerText === {} && !one('.loading')", Value::from(title))).await;
    }

    /// Presses what says this, once it is there and can be pressed.
    pub(crate) async fn press(&self, text: &str) {
        let name = Value::from(text);
        self.browser.until(&format!("named({name}) && !named({name}).disabled")).await;
        self.browser.run(&format!("named({name}).click();")).await;
    }

    pub(crate) async fn shows(&self, text: &str) {
        self.browser.until(&format!("says({})", Value::from(text))).await;
    }

    /// Nothing was broken, and nothing that the page's policy forbids was tried. `expected` are parts of complaints about what
    /// a test does on purpose.
    pub(crate) async fn is_quiet(&self, expected: &[&str]) {
        let complaints = self.browser.complaints().await;
        let others: Vec<_> = complaints.iter().filter(|one| !expected.iter().any(|part| one.contains(part))).collect();
        assert!(others.is_empty(), "{others:#?}");
    }
}
