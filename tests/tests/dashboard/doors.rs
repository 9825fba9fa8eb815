//! Who comes in, and who may act, by plain HTTP: the server decides, whatever a page shows.

use broca_core::MessageState;
use broca_tests::{Database, RigOptions, eventually};
use reqwest::{Client, RequestBuilder, StatusCode, header};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, serve};

/// A page of the dashboard, as its scripts ask.
struct Caller {
    http: Client,
    address: String,
    cookie: String,
    csrf: String,
}

impl Caller {
    async fn at(address: &str) -> Self {
        // No server of this test speaks TLS, and the machine may have no certificates.
        let http = Client::builder().tls_certs_only([]).build().expect("a client");
        let mut caller = Self { http, address: address.to_owned(), cookie: String::new(), csrf: String::new() };
        let (_, session) = caller.session().await;
        caller.csrf = session["csrf"].as_str().expect("what the page is told").to_owned();
        caller
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn session(&self) -> (StatusCode, Value) {
        answer(self.http.get(self.url("/api/session")).header(header::COOKIE, &self.cookie)).await
    }

    /// A request of the dashboard's own page.
    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let origin = format!("http://{}", self.address);
        self.foreign(path, body).header(header::ORIGIN, origin).header("x-broca-csrf", &self.csrf)
    }

    /// The same with nothing that only that page can send.
    fn foreign(&self, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(self.url(path)).header(header::COOKIE, &self.cookie).json(body)
    }

    async fn log_in(&mut self, token: &str) -> StatusCode {
        let response = self.post("/api/login", &json!({"token": token})).send().await.expect("the server answers");
        let status = response.status();
        if status == StatusCode::OK {
            let cookie = response.headers()[header::SET_COOKIE].to_str().expect("plain").to_owned();
            for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
                assert!(cookie.contains(part), "{cookie}");
            }
            self.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
            let body: Value = response.json().await.expect("JSON");
            self.csrf = body["csrf"].as_str().expect("a new one").to_owned();
        }
        status
    }

    async fn operation(&self, name: &str, request: Value) -> (StatusCode, Value) {
        answer(self.post(&format!("/api/operations/{name}"), &json!({"request": request}))).await
    }
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("the server answers");
    let status = response.status();
    (status, response.json().await.unwrap_or(Value::Null))
}

const HOLD: &str = r#"{"on": {"instance": "demo"}, "reason": "to try"}"#;

fn hold() -> Value {
    serde_json::from_str(HOLD).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_decides_who_may_what() {
    let scene = Scene::start(RigOptions::new(Database::Sqlite)).await;
    let secret = "sesame opens nothing";
    let id = scene.said("ann", secret, MessageState::Completed).await;

    // On this machine, before anybody made a token: everybody may look, at no text, and do nothing.
    let anybody = Caller::at(&scene.address).await;
    let (_, session) = anybody.session().await;
    assert_eq!(session["who"], json!({"name": "anybody", "access": "read", "contents": false, "logged_in": false}));
    let (status, shown) = anybody.operation("message.show", json!({"id": id})).await;
    assert_eq!((status, &shown["answer"]["state"]), (StatusCode::OK, &json!("completed")), "{shown}");
    assert!(!shown.to_string().contains(secret), "{shown}");
    let (status, refused) = anybody.operation("message.list", json!({"filter": {"contains": "sesame"}})).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{refused}");
    assert_eq!(anybody.operation("hold.add", hold()).await.0, StatusCode::FORBIDDEN);

    // Once there is one, nobody without.
    let token = scene.token("operator", &["--access", "operate", "--contents"]);
    let reading = scene.token("reader", &["--access", "read"]);
    assert_eq!(anybody.operation("flow.show", json!({})).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(anybody.session().await.1["who"], Value::Null);

    let mut reader = Caller::at(&scene.address).await;
    assert_eq!(reader.log_in("broca_0").await, StatusCode::UNAUTHORIZED);
    assert_eq!(reader.log_in(&reading).await, StatusCode::OK);
    assert_eq!(reader.operation("flow.show", json!({})).await.0, StatusCode::OK);
    for (name, request) in [("hold.add", hold()), ("message.cancel", json!({"id": id})), ("token.list", json!({}))] {
        let (status, refused) = reader.operation(name, request).await;
        assert_eq!((status, &refused["error"]["code"]), (StatusCode::FORBIDDEN, &json!("unauthorised")), "{name}");
    }
    let (_, acts) = reader.operation("audit.list", json!({"outcome": "refused", "operation": "hold.add"})).await;
    let actors: Vec<_> = acts["answer"]["items"].as_array().expect("a list").iter().map(|act| &act["actor"]).collect();
    assert_eq!(actors, [&json!("dashboard:reader"), &json!("dashboard:anybody")]);

    // Another page in the same browser, which has the cookie and nothing else.
    let mut operator = Caller::at(&scene.address).await;
    assert_eq!(operator.log_in(&token).await, StatusCode::OK);
    let (path, body) = ("/api/operations/hold.add", json!({"request": hold()}));
    let own = format!("http://{}", scene.address);
    for (what, request) in [
        ("nothing", operator.foreign(path, &body)),
        ("no token of the page", operator.foreign(path, &body).header(header::ORIGIN, &own)),
        ("another token", operator.foreign(path, &body).header(header::ORIGIN, &own).header("x-broca-csrf", "csrf_0")),
        (
            "the page's, before the login",
            operator.foreign(path, &body).header(header::ORIGIN, &own).header("x-broca-csrf", &anybody.csrf),
        ),
        (
            "another origin",
            operator
                .foreign(path, &body)
                .header(header::ORIGIN, "https://evil.example")
                .header("x-broca-csrf", &operator.csrf),
        ),
        ("another site", operator.post(path, &body).header("sec-fetch-site", "cross-site")),
        ("another name", operator.post(path, &body).header(header::HOST, "evil.example")),
    ] {
        let (status, refused) = answer(request).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{what}: {refused}");
    }
    let rebound = operator.http.get(operator.url("/")).header(header::HOST, "evil.example");
    assert_eq!(answer(rebound).await.0, StatusCode::FORBIDDEN);
    let (_, holds) = operator.operation("hold.list", json!({})).await;
    assert_eq!(holds["answer"]["items"], json!([]));

    // What destroys something takes two steps, with a word for exactly that.
    let again = json!({"ids": [id], "stage": "turn"});
    let (status, proposed) = operator.operation("replay.now", again.clone()).await;
    assert_eq!((status, &proposed["proposal"]["count"]), (StatusCode::OK, &json!(1)), "{proposed}");
    let confirm = proposed["proposal"]["confirm"].clone();
    let other = json!({"request": {"ids": [id], "stage": "turn", "reason": "another"}, "confirm": confirm});
    assert_eq!(answer(operator.post("/api/operations/replay.now", &other)).await.0, StatusCode::CONFLICT);
    let (status, done) =
        answer(operator.post("/api/operations/replay.now", &json!({"request": again, "confirm": confirm}))).await;
    assert_eq!((status, &done["answer"]["report"]["replayed"]), (StatusCode::OK, &json!(1)), "{done}");

    // Who logs out is out, and so is whoever's token is revoked.
    assert_eq!(answer(reader.post("/api/logout", &json!({}))).await.0, StatusCode::OK);
    assert_eq!(reader.operation("flow.show", json!({})).await.0, StatusCode::UNAUTHORIZED);
    scene.rig.succeeds(&["token", "revoke", "operator"]);
    assert_eq!(operator.operation("flow.show", json!({})).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_ends_and_cannot_be_guessed() {
    let scene = Scene::start(RigOptions::new(Database::Sqlite)).await;
    let token = scene.token("reader", &["--access", "read"]);
    let (_short, address) = serve(&scene.rig, "short", &["--session", "2s"]).await;
    let mut caller = Caller::at(&address).await;
    assert_eq!(caller.log_in(&token).await, StatusCode::OK);
    eventually("the session is over", PATIENCE, || async { caller.session().await.1["who"].is_null() }).await;

    // Whoever is reached by another name, or by TLS, shows nothing without a login, and has a cookie for TLS alone.
    let (_named, address) = serve(&scene.rig, "named", &["--allow-host", "ops.example", "--behind-tls"]).await;
    scene.rig.succeeds(&["token", "revoke", "reader"]);
    let stranger = Caller::at(&address).await;
    assert_eq!(stranger.session().await.1["who"], Value::Null);
    let token = scene.token("reader", &["--access", "read"]);
    let proxied = stranger.foreign("/api/login", &json!({"token": token})).header("x-broca-csrf", &stranger.csrf);
    let proxied = proxied.header(header::HOST, "ops.example").header(header::ORIGIN, "https://ops.example");
    let response = proxied.send().await.expect("the server answers");
    let cookie = response.headers()[header::SET_COOKIE].to_str().expect("plain").to_owned();
    assert!(cookie.starts_with("__Host-broca=") && cookie.ends_with("; Secure"), "{cookie}");

    let mut guesser = Caller::at(&address).await;
    let mut statuses = Vec::new();
    for n in 0..11 {
        statuses.push(guesser.log_in(&format!("broca_{n}")).await);
    }
    assert_eq!((statuses[0], statuses[10]), (StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
    assert_eq!(guesser.log_in(&token).await, StatusCode::TOO_MANY_REQUESTS, "not even the right one");

    for (options, what) in [(&["--listen", "0.0.0.0:0"][..], "by which name"), (&["--session", "30d"], "at most")] {
        let refused = scene.rig.run(&[&["dashboard"], options].concat());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && said.contains(what), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_what_may_be_done_with_it() {
    let scene = Scene::start(RigOptions::new(Database::Sqlite)).await;
    let http = Client::builder().tls_certs_only([]).build().expect("a client");
    for path in [
        "/",
        "/assets/app.js",
        "/assets/base.css",
        "/assets/icon.svg",
        "/api/session",
        "/healthz",
        "/nowhere",
        "/assets/../Cargo.toml",
    ] {
        let response = http.get(scene.url(path)).send().await.expect("the server answers");
        let policy = response.headers()["content-security-policy"].to_str().expect("plain").to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(response.status().is_success(), !path.contains("nowhere") && !path.contains(".."), "{path}");
    }
    let mut dashboard = scene.dashboard;
    let ended = dashboard.stop(PATIENCE);
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{}", dashboard.output());
}
