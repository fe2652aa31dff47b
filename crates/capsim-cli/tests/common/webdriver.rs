//! A browser, driven as W3C WebDriver says: chromedriver behind the HTTP client that is there anyway. By hand, because fantoccini cannot end a
//! session from `drop` when a test fails, and what these tests ask most (DevTools calls, the logs of console and network) would be commands
//! by hand there, too.
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything takes here, on any machine: only a hang gets there.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A driver and the browser that it started. Dropped, both are gone.
pub struct Browser {
    driver: Child,
    http: reqwest::Client,
    session: String,
    _profile: tempfile::TempDir,
}

fn found(names: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|dir| names.iter().map(move |n| dir.join(n)))
        .find(|p| p.is_file())
        .map(|p| p.display().to_string())
}

impl Browser {
    /// A headless browser; `None`, with the reason printed, where there is none and `CAPSIM_REQUIRE_BROWSER` does not ask for one.
    pub async fn start() -> Option<Self> {
        let driver = found(&["chromedriver"]);
        let browser = found(&["chromium", "chromium-browser", "google-chrome"]);
        let (Some(driver), Some(browser)) = (driver, browser) else {
            let reason = "chromium or chromedriver is not installed";
            assert!(
                std::env::var_os("CAPSIM_REQUIRE_BROWSER").is_none(),
                "{reason}, and CAPSIM_REQUIRE_BROWSER is set"
            );
            eprintln!("SKIP: {reason}");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port: u16 = lines
            .find_map(|l| {
                let l = l.ok()?;
                let port = l.split_once("successfully on port ")?.1;
                port.trim_end_matches('.').parse().ok()
            })
            .expect("chromedriver says its port");
        // Whatever else it prints must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let mut b = Self {
            driver,
            http,
            session: format!("http://127.0.0.1:{port}/session"),
            _profile: profile,
        };
        let data = format!("--user-data-dir={}", b._profile.path().display());
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
            data.as_str(),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": browser, "args": flags },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        }}});
        let made = b.post("", wanted).await;
        b.session += &format!("/{}", made["sessionId"].as_str().expect("a session"));
        Some(b)
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let sent = self
            .http
            .post(format!("{}{path}", self.session))
            .header("content-type", "application/json")
            .body(body.to_string());
        Self::value(path, sent).await
    }

    async fn value(path: &str, sent: reqwest::RequestBuilder) -> Value {
        let text = sent.send().await.unwrap().text().await.unwrap();
        let all: Value = serde_json::from_str(&text).unwrap();
        let value = all["value"].clone();
        assert!(value["error"].is_null(), "{path}: {value}");
        value
    }

    /// Goes to an address.
    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// Loads the page again.
    pub async fn reload(&self) {
        self.post("/refresh", json!({})).await;
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    /// What a script returns, as text.
    pub async fn text(&self, script: &str) -> String {
        let v = self.run(script).await;
        v.as_str().map_or(v.to_string(), String::from)
    }

    /// Until a script returns true.
    pub async fn until(&self, script: &str) {
        let start = Instant::now();
        while self.run(script).await != true {
            assert!(start.elapsed() < PATIENCE, "never: {script}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Presses keys, as a user at the keyboard would.
    pub async fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|c| {
                ["keyDown", "keyUp"].map(|t| json!({ "type": t, "value": c.to_string() }))
            })
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("/actions", json!({ "actions": [keyboard] }))
            .await;
    }

    /// A screen of that size, in CSS pixels.
    pub async fn screen(&self, width: u32, height: u32) {
        let params = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        let call = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": params });
        self.post("/goog/cdp/execute", call).await;
    }

    /// Light or dark, as the system would say.
    pub async fn scheme(&self, name: &str) {
        let feature = json!([{ "name": "prefers-color-scheme", "value": name }]);
        let call =
            json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": feature } });
        self.post("/goog/cdp/execute", call).await;
    }

    /// The whole page as a picture, kept for people in the folder that `CAPSIM_SCREENSHOTS` names, if it names one.
    pub async fn keep(&self, name: &str) {
        let Some(dir) = std::env::var_os("CAPSIM_SCREENSHOTS") else {
            return;
        };
        use base64::Engine as _;
        let call =
            json!({ "cmd": "Page.captureScreenshot", "params": { "captureBeyondViewport": true } });
        let shot = self.post("/goog/cdp/execute", call).await;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(shot["data"].as_str().unwrap())
            .unwrap();
        std::fs::write(std::path::Path::new(&dir).join(name), bytes).unwrap();
    }

    /// What axe-core (npm) finds wrong with the page; nothing, with a word, where it is not installed. CI names it in `CAPSIM_AXE`.
    pub async fn axe(&self) -> Vec<String> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let usual = root.join("target/npm/node_modules/axe-core/axe.min.js");
        let path = std::env::var_os("CAPSIM_AXE").map_or(usual, Into::into);
        let Ok(source) = std::fs::read_to_string(&path) else {
            assert!(
                std::env::var_os("CAPSIM_AXE").is_none(),
                "{} cannot be read",
                path.display()
            );
            eprintln!(
                "SKIP: axe-core is not installed: npm install --prefix target/npm axe-core@4"
            );
            return vec![];
        };
        if self.run("return typeof axe").await == "undefined" {
            // A page's policy forbids scripts that are not its own, but not those of the driver.
            self.run(&format!(
                "window.module = undefined; {source}; window.axe = axe"
            ))
            .await;
        }
        let found = self
            .run("return axe.run(document, { resultTypes: ['violations'] }).then(r => r.violations.map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.target + ' ' + n.failureSummary).join(' | ')))")
            .await;
        let texts = found.as_array().expect("a list").iter();
        texts.map(|v| v.as_str().unwrap_or("?").into()).collect()
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let all = self.post("/se/log", json!({ "type": kind })).await;
        all.as_array().cloned().unwrap_or_default()
    }

    /// Errors and warnings that the console got since the last look.
    pub async fn complaints(&self) -> Vec<String> {
        let all = self.log("browser").await;
        all.iter()
            .filter(|e| e["level"] == "SEVERE" || e["level"] == "WARNING")
            .map(|e| e["message"].to_string())
            .collect()
    }

    /// Addresses that pages asked for since the last look; the browser's own page, which it begins with, is none of ours.
    pub async fn requests(&self) -> Vec<String> {
        let mut urls = vec![];
        for entry in self.log("performance").await {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            let m = &message["message"];
            let page = m["params"]["documentURL"].as_str().unwrap_or("");
            if m["method"] == "Network.requestWillBeSent" && !page.starts_with("chrome://") {
                urls.push(m["params"]["request"]["url"].as_str().unwrap().to_string());
            }
        }
        urls
    }
}

impl Drop for Browser {
    /// The session is ended in order, also when a test fails: a driver that is killed leaves its browser behind.
    fn drop(&mut self) {
        let address = self.session.trim_start_matches("http://");
        if let Some((host, path)) = address.split_once('/')
            && let Ok(mut socket) = std::net::TcpStream::connect(host)
        {
            let _ = socket.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = write!(
                socket,
                "DELETE /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            );
            let _ = socket.read_to_end(&mut vec![]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
