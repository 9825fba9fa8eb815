//! The page: files in this binary, and the headers that keep whatever else out of it.

use axum::{
    extract::{Path, Request},
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::api::nothing_here;

const INDEX: &str = include_str!("assets/index.html");
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($name:literal: $kind:ident),* $(,)?) => {
        &[$(($name, $kind, include_str!(concat!("assets/", $name)))),*]
    };
}

const ASSETS: &[(&str, &str, &str)] = assets! {
    "icon.svg": SVG,
    "base.css": CSS,
    "parts.css": CSS,
    "app.js": JS,
    "api.js": JS,
    "dom.js": JS,
    "words.js": JS,
    "charts.js": JS,
    "parts.js": JS,
    "dialogs.js": JS,
    "keys.js": JS,
    "overview.js": JS,
    "queues.js": JS,
    "workers.js": JS,
    "plugins.js": JS,
    "messages.js": JS,
    "message.js": JS,
    "conversation.js": JS,
    "letters.js": JS,
    "replay.js": JS,
    "holds.js": JS,
    "audit.js": JS,
    "login.js": JS,
};

fn file(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

pub(super) async fn index() -> Response {
    file(HTML, INDEX)
}

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => file(kind, text),
        None => nothing_here().await,
    }
}

/// Only our own files run, nobody frames the page, and it tells nobody where it came from.
const HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

pub(super) async fn safe(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the policy forbids would not run, and be missed by nobody but who looks.
    #[test]
    fn the_page_asks_for_files_that_are_there_and_has_nothing_inline() {
        let named = INDEX.split(['"', '\'']).filter_map(|part| part.strip_prefix("/assets/"));
        for name in named {
            assert!(ASSETS.iter().any(|(known, ..)| *known == name), "{name}");
        }
        for mark in ["<style", " style=", " onclick", "javascript:", "http://", "https://"] {
            assert!(!INDEX.contains(mark), "{mark}");
        }
        for (name, kind, text) in ASSETS.iter().filter(|(_, kind, _)| *kind == JS) {
            for (at, _) in text.match_indices("from \"./") {
                let imported = text[at + 8..].split('"').next().unwrap();
                assert!(ASSETS.iter().any(|(known, ..)| *known == imported), "{name} imports {imported}");
            }
            // What people wrote is text, and never becomes a part of the page.
            for mark in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
                assert!(!text.contains(mark), "{name} has {mark}");
            }
            assert_eq!(*kind, JS);
        }
    }
}
