//! A real browser without a window, driven by the WebDriver protocol.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// What scripts of a test begin with, and what is shown of the page when it does not become as it should.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub prelude: &'static str,
    pub seen: &'static str,
}

/// For scripts: `contrast` of two colours, as the Web Content Accessibility Guidelines reckon it.
pub const CONTRAST: &str = "const light = (colour) => {
       const parts = colour.match(/[\\d.]+/g).map(Number);
       const share = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
       return 0.2126 * share(parts[0]) + 0.7152 * share(parts[1]) + 0.0722 * share(parts[2]);
     };
     const contrast = (one, other) => {
       const [a, b] = [light(one), light(other)];
       return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
     };
     ";

#[derive(Debug)]
pub struct Browser {
    page: Page,
    http: Client,
    session: String,
    driver: Child,
    _profile: TempDir,
}

fn program(variable: &str, name: &str) -> PathBuf {
    let set = std::env::var_os(variable).map(PathBuf::from);
    let found = set.or_else(|| {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.exists())
    });
    found.unwrap_or_else(|| panic!("there is no {name}: tests/run installs it, or set {variable} to one"))
}

impl Browser {
    pub async fn start(page: Page) -> Self {
        let mut driver = Command::new(program("BROCA_CHROMEDRIVER", "chromedriver"))
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port: u16 = loop {
            let line = lines.next_line().await.unwrap().expect("chromedriver says its port");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').parse().unwrap();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let profile = tempfile::tempdir().unwrap();
        let flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
            "--no-proxy-server",
            "--hide-scrollbars",
            "--lang=en-GB",
            "--window-size=1280,800",
        ];
        let mut args: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        args.push(format!("--user-data-dir={}", profile.path().display()));
        let mut chrome = json!({"args": args});
        if let Some(binary) = std::env::var_os("BROCA_CHROMIUM") {
            chrome["binary"] = binary.into_string().unwrap().into();
        }
        let ask = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL"}, "timeouts": {"script": 30000},
        }}});
        let http = Client::builder().timeout(Duration::from_secs(120)).no_proxy().build().unwrap();
        let url = format!("http://127.0.0.1:{port}/session");
        let reply: Value = http.post(&url).json(&ask).send().await.unwrap().json().await.unwrap();
        let id = reply["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no browser: {reply}"));
        Self { page, session: format!("{url}/{id}"), http, driver, _profile: profile }
    }

    async fn ask(&self, command: &str, body: &Value) -> Value {
        let reply = self.http.post(format!("{}/{command}", self.session)).json(body).send().await.unwrap();
        let reply: Value = reply.json().await.unwrap();
        assert!(reply["value"]["error"].is_null(), "{command}: {}", reply["value"]["message"]);
        reply["value"].clone()
    }

    pub async fn open(&self, url: &str) {
        self.ask("url", &json!({"url": url})).await;
    }

    pub async fn reload(&self) {
        self.ask("refresh", &json!({})).await;
    }

    /// Runs a script; it gives what it returns.
    pub async fn run(&self, script: &str) -> Value {
        let script = format!("{}\n{script}", self.page.prelude);
        self.ask("execute/sync", &json!({"script": script, "args": []})).await
    }

    /// Waits until the expression is true.
    pub async fn until(&self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(&format!("return Boolean({what});")).await != json!(true) {
            if Instant::now() > deadline {
                panic!("not so: {what}\nthe page: {}", self.run(&format!("return {}", self.page.seen)).await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: &str) {
        let both = |key: char| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})];
        let actions: Vec<Value> = keys.chars().flat_map(both).collect();
        self.ask("actions", &json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]})).await;
    }

    /// Presses a key while another is held.
    pub async fn chord(&self, held: char, key: char) {
        let step = |kind: &str, key: char| json!({"type": kind, "value": key});
        let actions = [step("keyDown", held), step("keyDown", key), step("keyUp", key), step("keyUp", held)];
        self.ask("actions", &json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]})).await;
    }

    pub async fn devtools(&self, command: &str, params: Value) {
        self.ask("goog/cdp/execute", &json!({"cmd": command, "params": params})).await;
    }

    pub async fn size(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    pub async fn prefers(&self, feature: &str, value: &str) {
        let features = json!({"features": [{"name": feature, "value": value}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// What the browser complained of since the last time: errors of scripts, refused files, breaches of the page's policy.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.ask("se/log", &json!({"type": "browser"})).await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        let loud = entries.iter().filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG");
        loud.map(|entry| entry["message"].to_string()).collect()
    }

    /// Keeps what is seen, where somebody wants to.
    pub async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("BROCA_SCREENSHOTS").map(PathBuf::from) else { return };
        let reply: Value =
            self.http.get(format!("{}/screenshot", self.session)).send().await.unwrap().json().await.unwrap();
        let bytes = BASE64_STANDARD.decode(reply["value"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }

    /// Ends it in good order.
    pub async fn close(mut self) {
        drop(self.http.delete(&self.session).send().await);
        drop(self.driver.kill().await);
    }
}

impl Drop for Browser {
    /// A test that failed leaves no browser behind: the driver leads its group.
    fn drop(&mut self) {
        if let Some(pid) = self.driver.id() {
            let group = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
            nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).ok();
        }
    }
}

pub const ENTER: &str = "\u{e007}";
pub const TAB: &str = "\u{e004}";
pub const ESCAPE: &str = "\u{e00c}";
pub const SHIFT: char = '\u{e008}';
