//! The way in.

use std::sync::Arc;

use broca_plugin::{Plugin, PluginError, PluginState};
use broca_plugin_demo::{DemoPlugin, DemoSettings};
use broca_rehearsal::{
    pipeline::{Hosted, MemoryPipeline},
    platform::{Fault, PlatformScript, ScriptedPlatform},
};

use crate::{DEADLINE, plugin};

async fn scene(script: PlatformScript) -> (ScriptedPlatform, Arc<MemoryPipeline>) {
    (ScriptedPlatform::start(script).await.unwrap(), MemoryPipeline::new())
}

#[tokio::test]
async fn what_people_write_is_reported_once_and_then_confirmed() {
    let (platform, pipeline) = scene(PlatformScript::default()).await;
    let first = platform.say("alice", "one");
    let running = Hosted::start(plugin(platform.url()), &pipeline);
    platform.say_in("garden", "bob", "two");
    assert!(platform.wait_for_confirmation(DEADLINE).await);

    let accepted = pipeline.seen().accepted;
    assert_eq!(accepted[0].incoming.event_id, first.to_string());
    let facts: Vec<_> = accepted
        .iter()
        .map(|m| &m.incoming)
        .map(|m| (m.sender.platform_user_id.as_str(), m.chat_id.as_deref(), m.text.as_str()))
        .collect();
    assert_eq!(facts, [("alice", None, "one"), ("bob", Some("garden"), "two")]);
    assert_eq!(pipeline.seen().duplicates, 0);
    running.stop().await.unwrap();
    let states = [PluginState::Connecting, PluginState::Connected, PluginState::Stopped];
    assert_eq!(pipeline.seen().states, states);
}

#[tokio::test]
async fn nothing_is_confirmed_before_it_is_accepted() {
    let (platform, pipeline) = scene(PlatformScript::default()).await;
    for text in ["one", "two", "three"] {
        platform.say("alice", text);
    }
    pipeline.be_unavailable(1);
    let running = Hosted::start(plugin(platform.url()), &pipeline);
    let degraded = PluginState::Degraded { detail: "the database is away".into() };
    pipeline.until(|state| state.states.contains(&degraded)).await;
    assert_eq!(platform.unconfirmed().len(), 3);

    assert!(platform.wait_for_confirmation(DEADLINE).await);
    assert_eq!(pipeline.seen().texts(), ["one", "two", "three"]);
    pipeline.until(|state| state.states.last() == Some(&PluginState::Connected)).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_killed_plugin_accepted_but_did_not_confirm_is_a_duplicate() {
    let (platform, pipeline) = scene(PlatformScript::default()).await;
    let running = Hosted::start(plugin(platform.url()), &pipeline);
    platform.say("alice", "one");
    // The poll that confirmed the first message stays open for the second; no later poll gets through.
    assert!(platform.wait_for_confirmation(DEADLINE).await);
    platform.script(|script| script.update_faults = [Fault::ServerError].repeat(1_000).into());
    platform.say("alice", "two");
    pipeline.until(|state| state.accepted.len() == 2).await;
    running.kill().await;
    assert_eq!(platform.unconfirmed().len(), 1);

    platform.script(|script| script.update_faults.clear());
    let running = Hosted::start(plugin(platform.url()), &pipeline);
    assert!(platform.wait_for_confirmation(DEADLINE).await);
    assert_eq!(pipeline.seen().texts(), ["one", "two"]);
    assert_eq!(pipeline.seen().duplicates, 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_quiet_platform_is_connected_at_once() {
    let (platform, pipeline) = scene(PlatformScript::default()).await;
    let running = Hosted::start(plugin(platform.url()), &pipeline);
    let quick = pipeline.until(|state| state.states.last() == Some(&PluginState::Connected));
    tokio::time::timeout(std::time::Duration::from_secs(10), quick).await.expect("it waits for somebody to write");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn repeated_and_reversed_updates_are_one_message_each_in_order() {
    let script = PlatformScript { repeat_updates: true, reverse_updates: true, ..PlatformScript::default() };
    let (platform, pipeline) = scene(script).await;
    let texts: Vec<String> = (0..20).map(|n| format!("message {n}")).collect();
    for text in &texts {
        platform.say("alice", text);
    }
    let running = Hosted::start(plugin(platform.url()), &pipeline);
    assert!(platform.wait_for_confirmation(DEADLINE).await);
    assert_eq!(pipeline.seen().texts(), texts);
    assert_eq!(pipeline.seen().duplicates, 20);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_refused_message_does_not_block_those_behind_it() {
    let (platform, pipeline) = scene(PlatformScript::default()).await;
    platform.say("alice", " \n ");
    platform.say("", "nobody");
    platform.say("alice", "hello");
    let running = Hosted::start(plugin(platform.url()), &pipeline);
    assert!(platform.wait_for_confirmation(DEADLINE).await);
    assert_eq!(pipeline.seen().texts(), ["hello"]);
    assert_eq!(pipeline.seen().refused, 2);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_platform_that_fails_is_polled_again() {
    let faults = [Fault::ServerError, Fault::CutBefore, Fault::CutAfter];
    let (platform, pipeline) =
        scene(PlatformScript { update_faults: faults.into(), ..PlatformScript::default() }).await;
    platform.say("alice", "hello");
    let running = Hosted::start(plugin(platform.url()), &pipeline);
    assert!(platform.wait_for_confirmation(DEADLINE).await);
    assert_eq!(pipeline.seen().texts(), ["hello"]);
    let degraded = pipeline.seen().states.iter().any(|state| matches!(state, PluginState::Degraded { .. }));
    assert!(degraded);

    // The platform goes away and comes back on its old address.
    let address = platform.address();
    platform.stop().await;
    pipeline.until(|state| matches!(state.states.last(), Some(PluginState::Degraded { .. }))).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let platform = ScriptedPlatform::on(listener, PlatformScript::default()).unwrap();
    platform.say("alice", "hello again");
    assert!(platform.wait_for_confirmation(DEADLINE).await);
    assert_eq!(pipeline.seen().texts(), ["hello", "hello again"]);
    running.stop().await.unwrap();
}

#[test]
fn an_address_that_cannot_be_one_is_refused_at_once() {
    for url in ["", "127.0.0.1:80", "ftp://127.0.0.1/"] {
        let error = DemoPlugin::new(DemoSettings { url: url.into(), max_text_chars: None }).unwrap_err();
        assert!(matches!(error, PluginError::Settings(_)), "{url}");
    }
}

#[tokio::test]
async fn the_manifest_promises_what_the_plugin_does() {
    let manifest = plugin("http://127.0.0.1:9".into()).manifest();
    assert_eq!((manifest.platform.as_str(), manifest.capabilities.settles), ("demo", true));
}
