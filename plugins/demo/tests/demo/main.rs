//! The demo plugin at a scripted platform: what it reports, and what it makes of every way in which a send fails.

mod deliveries;
mod platform;
mod updates;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Once},
    time::Duration,
};

use broca_core::{MessageId, Profile, ProfileId, Response, ResponseId, UserId};
use broca_plugin_demo::{DemoPlugin, DemoSettings};

/// Long enough for a busy machine; nothing waits so long when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

/// A plugin for the platform at `url`.
fn plugin(url: String) -> Arc<DemoPlugin> {
    plugin_that_cuts(url, None)
}

/// The same, on a platform that takes so many characters in one message.
fn plugin_that_cuts(url: String, max_text_chars: Option<usize>) -> Arc<DemoPlugin> {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().expect("the first provider of this process");
    });
    Arc::new(DemoPlugin::new(DemoSettings { url, max_text_chars: max_text_chars.and_then(NonZeroUsize::new) }).unwrap())
}

fn response(text: &str) -> Response {
    Response {
        kind: broca_core::ResponseKind::Answer,
        id: ResponseId::new(),
        text: text.to_owned(),
        chat_id: None,
        attributes: serde_json::Value::Null,
        attempt: 1,
        parts: Vec::new(),
        trace: None,
    }
}

fn alice() -> Profile {
    Profile {
        id: ProfileId::new(),
        user_id: UserId::new(),
        platform: "demo".into(),
        platform_user_id: "alice".into(),
        username: None,
        display_name: None,
        metadata: serde_json::Value::Null,
    }
}

fn message() -> MessageId {
    MessageId::new()
}
