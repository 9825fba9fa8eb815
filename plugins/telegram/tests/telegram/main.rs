//! The plugin at a scripted Telegram: what it reports, what it answers by itself, and what it makes of every way in which
//! a send fails.

mod commands;
mod deliveries;
mod files;
mod hostile;
mod messages;
mod polls;
mod settings;
mod webhook;

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use broca_core::{Profile, ProfileId, Response, ResponseId, UserId};
use broca_plugin_telegram::{TelegramPlugin, TelegramSettings};
use broca_rehearsal::telegram::TOKEN;
use serde_json::{Value, json};

/// Long enough for a busy machine; nothing waits so long when all is well.
const DEADLINE: Duration = Duration::from_secs(30);
const ALICE: i64 = 7;
const BOB: i64 = 8;
const GROUP: i64 = -1_001;

/// Settings for the Telegram at `url`: everybody may write, unless `more` says otherwise.
fn settings(url: &str, more: Value) -> TelegramSettings {
    let mut settings = json!({"token": TOKEN, "api_url": url, "require_owner": false});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

fn plugin(url: &str, more: Value) -> Arc<TelegramPlugin> {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().expect("the first provider of this process");
    });
    Arc::new(TelegramPlugin::new(settings(url, more)).unwrap())
}

fn response(text: &str, chat_id: Option<&str>) -> Response {
    Response {
        kind: broca_core::ResponseKind::Answer,
        id: ResponseId::new(),
        text: text.to_owned(),
        chat_id: chat_id.map(str::to_owned),
        attributes: json!({"message_id": 42}),
        attempt: 1,
        parts: Vec::new(),
        trace: None,
    }
}

fn alice() -> Profile {
    Profile {
        id: ProfileId::new(),
        user_id: UserId::new(),
        platform: "telegram".into(),
        platform_user_id: ALICE.to_string(),
        username: None,
        display_name: None,
        metadata: Value::Null,
    }
}
