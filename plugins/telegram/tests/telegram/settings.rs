//! What an operator may set, and what may change while the plugin runs.

use broca_plugin::{Applied, Plugin, PluginState};
use broca_plugin_telegram::{TelegramPlugin, blueprint};
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline};
use broca_rehearsal::telegram::{ScriptedTelegram, TOKEN, TelegramScript, in_private};
use serde_json::{Value, json};

use crate::{BOB, DEADLINE, plugin, settings};

fn wrong(more: Value) -> String {
    let mut settings = json!({"token": TOKEN, "owner_id": 7});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    blueprint().build(settings).unwrap_err().to_string()
}

#[test]
fn what_does_not_fit_says_what_would() {
    assert!(wrong(json!({"owner_id": null})).contains("owner_id is missing"));
    assert!(wrong(json!({"owner_username": "alice"})).contains("keep one of them"));
    assert!(wrong(json!({"api_url": "telegram"})).contains("api_url is not an http address"));
    assert!(wrong(json!({"webhook_url": "http://b.example/"})).contains("webhook_url is not an https address"));
    assert!(wrong(json!({"webhook_connections": 101})).contains("greater than the maximum of 100"));
    assert!(wrong(json!({"groups": "some"})).contains("groups"));
    assert!(wrong(json!({"owner": 7})).contains("there is no such key; there are api_url, edits, groups"));
    let minimal = [json!({"token": TOKEN, "owner_id": "7"}), json!({"token": TOKEN, "require_owner": "false"})];
    for settings in minimal {
        blueprint().build(settings).unwrap();
    }
}

#[test]
fn the_token_is_never_shown() {
    let schema = blueprint().settings_schema().clone();
    assert_eq!(schema.masked(&json!({"token": TOKEN}))["token"], "***");
    let plugin = TelegramPlugin::new(settings("http://127.0.0.1:9", json!({}))).unwrap();
    let shown = format!("{plugin:?}");
    assert!(!shown.contains("AAFD39"), "{shown}");
}

#[tokio::test]
async fn no_error_has_the_token_in_it() {
    // Nobody listens there, and what is said of it names neither the address nor the token.
    let pipeline = MemoryPipeline::new();
    let running = Hosted::start(plugin("http://127.0.0.1:9", json!({})), &pipeline);
    pipeline.until(|state| state.states.iter().any(|state| matches!(state, PluginState::Degraded { .. }))).await;
    running.stop().await.unwrap();
    let states = format!("{:?}", pipeline.seen().states);
    assert!(states.contains("Telegram cannot be reached") && !states.contains("AAFD39"), "{states}");
}

#[tokio::test]
async fn rules_change_while_the_plugin_runs_and_the_account_does_not() {
    let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
    let pipeline = MemoryPipeline::new();
    let closed = json!({"require_owner": true, "owner_id": 7});
    let bot = plugin(&telegram.url(), closed);
    let running = Hosted::start(bot.clone(), &pipeline);
    telegram.say(in_private(BOB, "let me in"));
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    let open = json!({"token": TOKEN, "api_url": telegram.url(), "require_owner": false});
    assert_eq!(bot.apply_settings(open.clone()).await.unwrap(), Applied::Live);
    telegram.say(in_private(BOB, "hello"));
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    assert_eq!(pipeline.seen().texts(), ["hello"]);
    let mut other = open;
    other["token"] = "1:other".into();
    assert_eq!(bot.apply_settings(other).await.unwrap(), Applied::Restart);
    let error = bot.apply_settings(json!({"token": TOKEN})).await.unwrap_err().to_string();
    assert!(error.contains("owner_id is missing"), "{error}");
    running.stop().await.unwrap();
}
