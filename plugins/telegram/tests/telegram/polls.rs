//! The way in by long polling.

use std::{sync::Arc, time::Duration};

use broca_plugin::{HostError, PluginError, PluginState};
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline};
use broca_rehearsal::telegram::{Fault, ScriptedTelegram, TelegramScript, in_private};
use serde_json::json;

use crate::{ALICE, BOB, DEADLINE, plugin};

async fn scene(script: TelegramScript) -> (ScriptedTelegram, Arc<MemoryPipeline>) {
    (ScriptedTelegram::start(script).await.unwrap(), MemoryPipeline::new())
}

fn start(telegram: &ScriptedTelegram, pipeline: &Arc<MemoryPipeline>) -> Hosted {
    Hosted::start(plugin(&telegram.url(), json!({})), pipeline)
}

fn is_degraded(state: &PluginState) -> bool {
    matches!(state, PluginState::Degraded { .. })
}

#[tokio::test]
async fn everything_is_reported_once_and_then_confirmed() {
    let (telegram, pipeline) = scene(TelegramScript::default()).await;
    telegram.say(in_private(ALICE, "one"));
    let running = start(&telegram, &pipeline);
    pipeline.until(|state| state.accepted.len() == 1).await;
    telegram.say(in_private(ALICE, "two"));
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    assert_eq!(pipeline.seen().texts(), ["one", "two"]);
    assert_eq!(pipeline.seen().duplicates, 0);
    running.stop().await.unwrap();
    let states = [PluginState::Connecting, PluginState::Connected, PluginState::Stopped];
    assert_eq!(pipeline.seen().states, states);
}

#[tokio::test]
async fn nothing_is_confirmed_before_it_is_accepted() {
    let (telegram, pipeline) = scene(TelegramScript::default()).await;
    for text in ["one", "two", "/whoami", "three"] {
        telegram.say(in_private(ALICE, text));
    }
    telegram.say(in_private(BOB, "/whoami"));
    pipeline.be_unavailable(1);
    let running = start(&telegram, &pipeline);
    pipeline.until(|state| state.states.iter().any(is_degraded)).await;
    assert_eq!(telegram.unconfirmed(), 5, "the first was not accepted");
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    assert_eq!(pipeline.seen().texts(), ["one", "two", "three"]);
    running.stop().await.unwrap();
    let told: Vec<i64> = telegram.log().iter().map(|sent| sent.chat_id).collect();
    assert_eq!(told, [BOB, ALICE], "Bob did not wait for her, and was answered once");
}

#[tokio::test]
async fn what_a_killed_plugin_accepted_but_did_not_confirm_is_a_duplicate() {
    let (telegram, pipeline) = scene(TelegramScript::default()).await;
    let running = start(&telegram, &pipeline);
    telegram.say(in_private(ALICE, "one"));
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    // The poll that waits brings the second message; none that confirms it gets through.
    telegram.script(|script| script.poll_faults = [Fault::CutBefore].repeat(1_000).into());
    telegram.say(in_private(ALICE, "two"));
    pipeline.until(|state| state.accepted.len() == 2).await;
    running.kill().await;
    assert_eq!(telegram.unconfirmed(), 1);

    telegram.script(|script| script.poll_faults.clear());
    let running = start(&telegram, &pipeline);
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    assert_eq!(pipeline.seen().texts(), ["one", "two"]);
    assert_eq!(pipeline.seen().duplicates, 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn numbers_that_begin_anew_are_no_duplicates() {
    let (telegram, pipeline) = scene(TelegramScript { first_update: Some(5_000), ..TelegramScript::default() }).await;
    let running = start(&telegram, &pipeline);
    telegram.say(in_private(ALICE, "one"));
    telegram.say(in_private(ALICE, "two"));
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    for first in [4_000, 5_000, 1] {
        telegram.jump(first);
        telegram.say(in_private(ALICE, &format!("at {first}")));
        assert!(telegram.wait_for_confirmation(DEADLINE).await);
    }
    assert_eq!(pipeline.seen().texts(), ["one", "two", "at 4000", "at 5000", "at 1"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_telegram_that_fails_is_polled_again() {
    let faults = [Fault::Gateway(502), Fault::CutBefore, Fault::CutAfter];
    let (mut telegram, pipeline) =
        scene(TelegramScript { poll_faults: faults.into(), ..TelegramScript::default() }).await;
    telegram.say(in_private(ALICE, "hello"));
    let running = start(&telegram, &pipeline);
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    telegram.goes_away().await;
    pipeline.until(|state| state.states.last().is_some_and(is_degraded)).await;
    telegram.comes_back().await.unwrap();
    telegram.say(in_private(ALICE, "hello again"));
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    assert_eq!(pipeline.seen().texts(), ["hello", "hello again"]);
    pipeline.until(|state| state.states.last() == Some(&PluginState::Connected)).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_limit_is_kept_to() {
    let script =
        TelegramScript { poll_faults: [Fault::RateLimited { retry_after_s: 2 }].into(), ..TelegramScript::default() };
    let (telegram, pipeline) = scene(script).await;
    let begun = std::time::Instant::now();
    let running = start(&telegram, &pipeline);
    pipeline.until(|state| state.states.last() == Some(&PluginState::Connected)).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "Telegram said 2 s");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn another_poller_is_named_and_waited_for() {
    let script = TelegramScript { poll_faults: [Fault::Conflict].into(), ..TelegramScript::default() };
    let (telegram, pipeline) = scene(script).await;
    telegram.say(in_private(ALICE, "hello"));
    let running = start(&telegram, &pipeline);
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    let detail = "another program polls with this bot's token: stop it, or give each a bot of its own".to_owned();
    assert!(pipeline.seen().states.contains(&PluginState::Degraded { detail }));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn two_pollers_lose_and_double_nothing() {
    let (telegram, pipeline) = scene(TelegramScript::default()).await;
    let first = start(&telegram, &pipeline);
    pipeline.until(|state| state.states.last() == Some(&PluginState::Connected)).await;
    let second = start(&telegram, &pipeline);
    pipeline.until(|state| state.states.iter().any(is_degraded)).await;
    for n in 0..20 {
        telegram.say(in_private(ALICE, &n.to_string()));
    }
    first.stop().await.unwrap();
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    second.stop().await.unwrap();
    let seen = pipeline.seen();
    let mut texts = seen.texts();
    texts.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(texts, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_revoked_token_ends_the_plugin_and_tells_what_to_do() {
    let (telegram, pipeline) = scene(TelegramScript::default()).await;
    let running = start(&telegram, &pipeline);
    pipeline.until(|state| state.states.last() == Some(&PluginState::Connected)).await;
    telegram.script(|script| script.revoked = true);
    telegram.say(in_private(ALICE, "hello"));
    let HostError::Plugin(PluginError::Credentials(why)) = running.ends().await.unwrap_err() else {
        panic!("{:?}", pipeline.seen().states)
    };
    assert!(why.contains("401") && why.contains("@BotFather"), "{why}");
    let credentials = format!("credentials: {why}");
    assert_eq!(pipeline.seen().states.last(), Some(&PluginState::BadCredentials { detail: credentials }));
}

#[tokio::test]
async fn an_address_without_a_bot_api_is_named() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(|| async { "hello" });
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let pipeline = MemoryPipeline::new();
    let running = Hosted::start(plugin(&url, json!({})), &pipeline);
    pipeline.until(|state| state.states.iter().any(is_degraded)).await;
    let states = format!("{:?}", pipeline.seen().states);
    assert!(states.contains("is api_url the address of a bot API server?"), "{states}");
    running.stop().await.unwrap();
    serving.abort();
}
