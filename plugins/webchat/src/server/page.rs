//! The page and the widget: one script, which draws either.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{Html, IntoResponse, Response},
};

use super::shared::Shared;

const PAGE: &str = include_str!("../../assets/page.html");
const STYLE: &str = include_str!("../../assets/chat.css");
/// In this order; each part uses what is above it.
const SCRIPT: &[&str] = &[
    include_str!("../../assets/markdown.js"),
    include_str!("../../assets/session.js"),
    include_str!("../../assets/link.js"),
    include_str!("../../assets/view.js"),
    include_str!("../../assets/chat.js"),
];

/// Nothing from anywhere else, and no script or style within the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn page(State(shared): State<Arc<Shared>>) -> Response {
    let settings = &shared.settings;
    let page = PAGE.replace("{title}", &escaped(&settings.title)).replace("{greeting}", &escaped(&settings.greeting));
    let mut response = Html(page).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn escaped(text: &str) -> String {
    [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;"), ("{", "&#123;")]
        .iter()
        .fold(text.to_owned(), |text, (mark, safe)| text.replace(mark, safe))
}

/// For pages of other sites, too. It has its style in it: the widget asks for nothing else.
pub(super) async fn script() -> Response {
    let style = serde_json::Value::from(STYLE);
    let script = format!("\"use strict\";\n(() => {{\nconst STYLE = {style};\n{}\n}})();\n", SCRIPT.join("\n"));
    asset(script, "text/javascript; charset=utf-8")
}

pub(super) async fn style() -> Response {
    asset(STYLE.to_owned(), "text/css; charset=utf-8")
}

fn asset(text: String, kind: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    response
}
