//! What the host does with plugins that behave and with plugins that do not.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use broca_core::{DeliveryError, Incoming, Instance, MessageId, Profile, Receipt, Response, delivery::Settlement};
use broca_plugin::{
    Context, HistoryEntry, HostError, Ingest, IngestError, Ingested, Manifest, MessageStatus, Parts, Plugin,
    PluginError, PluginState, StateSink, host,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Copy, Debug)]
enum Behaviour {
    /// Connects, waits for the shutdown, returns.
    Good,
    ReturnsAtOnce,
    Panics,
    LosesItsPlatform,
    HasNoToken,
    HasAnOldToken,
    NeverStops,
    FailsToStop,
}

#[derive(Debug)]
struct Scripted {
    behaviour: Behaviour,
    started: Notify,
    /// Its one other holder is whatever still runs.
    alive: Arc<()>,
}

#[async_trait]
impl Plugin for Scripted {
    fn manifest(&self) -> Manifest {
        Manifest::new("scripted", "1")
    }

    async fn run(&self, ctx: Context) -> Result<(), PluginError> {
        let _alive = Arc::clone(&self.alive);
        self.started.notify_one();
        match self.behaviour {
            Behaviour::ReturnsAtOnce => return Ok(()),
            Behaviour::Panics => panic!("on purpose"),
            Behaviour::LosesItsPlatform => return Err(PluginError::Platform("gone".into())),
            Behaviour::HasNoToken => return Err(PluginError::Settings("token is missing".into())),
            Behaviour::HasAnOldToken => return Err(PluginError::Credentials("the token was revoked".into())),
            Behaviour::NeverStops => std::future::pending().await,
            Behaviour::Good | Behaviour::FailsToStop => {}
        }
        ctx.report(PluginState::Connected);
        ctx.shutdown.cancelled().await;
        match self.behaviour {
            Behaviour::FailsToStop => Err(PluginError::Platform("goodbye was refused".into())),
            _ => Ok(()),
        }
    }

    async fn deliver(&self, _: &Response, _: &Profile, _: MessageId, _: &Parts) -> Result<Receipt, DeliveryError> {
        Ok(Receipt::default())
    }
}

#[derive(Debug)]
struct NoPipeline;

#[async_trait]
impl Ingest for NoPipeline {
    async fn ingest(&self, _: &Instance, _: &str, _: Incoming) -> Result<Ingested, IngestError> {
        Err(IngestError::Unavailable("no pipeline here".into()))
    }

    async fn status(&self, _: &Instance, _: MessageId) -> Result<Option<MessageStatus>, IngestError> {
        Ok(None)
    }

    async fn history(&self, _: &str, _: &str, _: u32) -> Result<Vec<HistoryEntry>, IngestError> {
        Ok(Vec::new())
    }
}

#[derive(Debug, Default)]
struct Seen(Mutex<Vec<PluginState>>);

impl StateSink for Seen {
    fn report(&self, instance: &Instance, state: PluginState) {
        assert_eq!(instance.as_str(), "scripted");
        self.0.lock().unwrap().push(state);
    }
}

const GRACE: Duration = Duration::from_millis(200);

/// Hosts a plugin that is told to stop once it has started. Returns how it ended and the states reported.
async fn hosted(behaviour: Behaviour, stop: bool) -> (Result<(), HostError>, Vec<PluginState>) {
    let plugin = Arc::new(Scripted { behaviour, started: Notify::new(), alive: Arc::new(()) });
    let seen = Arc::new(Seen::default());
    let shutdown = CancellationToken::new();
    let instance = "scripted".parse().unwrap();
    let ctx = Context::new(instance, "scripted".into(), shutdown.clone(), Arc::new(NoPipeline), seen.clone());
    let hosting = tokio::spawn(host(plugin.clone(), ctx, GRACE));
    plugin.started.notified().await;
    if stop {
        shutdown.cancel();
    }
    let ended = tokio::time::timeout(Duration::from_secs(10), hosting).await.unwrap().unwrap();
    let states = seen.0.lock().unwrap().clone();
    // An aborted task is dropped by the runtime a moment later.
    let gone = async {
        while Arc::strong_count(&plugin.alive) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the plugin still runs");
    (ended, states)
}

fn degraded(detail: &str) -> PluginState {
    PluginState::Degraded { detail: detail.into() }
}

#[tokio::test]
async fn a_shutdown_is_not_a_failure() {
    let (ended, states) = hosted(Behaviour::Good, true).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(states, [PluginState::Connecting, PluginState::Connected, PluginState::Stopped]);
}

#[tokio::test]
async fn returning_unasked_is() {
    let (ended, states) = hosted(Behaviour::ReturnsAtOnce, false).await;
    assert!(matches!(ended, Err(HostError::EndedEarly)), "{ended:?}");
    let last = degraded("the plugin returned although nobody asked it to stop");
    assert_eq!(states, [PluginState::Connecting, last]);
}

#[tokio::test]
async fn a_panic_ends_the_plugin_and_is_reported() {
    let (ended, states) = hosted(Behaviour::Panics, false).await;
    assert!(matches!(ended, Err(HostError::Panicked)), "{ended:?}");
    assert!(matches!(&states[..], [PluginState::Connecting, PluginState::Degraded { .. }]), "{states:?}");
}

#[tokio::test]
async fn an_error_keeps_its_words() {
    let (ended, states) = hosted(Behaviour::LosesItsPlatform, false).await;
    assert!(matches!(ended, Err(HostError::Plugin(PluginError::Platform(_)))), "{ended:?}");
    assert_eq!(states.last(), Some(&degraded("gone")));

    let (ended, states) = hosted(Behaviour::FailsToStop, true).await;
    assert_eq!(ended.unwrap_err().to_string(), "goodbye was refused");
    assert_eq!(states.last(), Some(&degraded("goodbye was refused")));
}

#[tokio::test]
async fn wrong_settings_and_refused_credentials_call_for_a_person() {
    let (_, states) = hosted(Behaviour::HasNoToken, false).await;
    let detail = "settings: token is missing".into();
    assert_eq!(states.last(), Some(&PluginState::Misconfigured { detail }));

    let (_, states) = hosted(Behaviour::HasAnOldToken, false).await;
    let detail = "credentials: the token was revoked".into();
    assert_eq!(states.last(), Some(&PluginState::BadCredentials { detail }));
}

#[tokio::test]
async fn a_plugin_that_does_not_stop_is_stopped() {
    let (ended, states) = hosted(Behaviour::NeverStops, true).await;
    assert!(matches!(ended, Err(HostError::StopTimeout(GRACE))), "{ended:?}");
    assert_eq!(states.last(), Some(&degraded("the plugin did not stop within 200ms")));
}

#[tokio::test]
async fn a_plugin_that_cannot_settle_says_so_by_default() {
    let plugin = Scripted { behaviour: Behaviour::Good, started: Notify::new(), alive: Arc::new(()) };
    let response = serde_json::from_value(serde_json::json!({
        "id": MessageId::new(), "text": "hi", "chat_id": null, "attributes": {}, "attempt": 2, "trace": null,
    }));
    let profile = serde_json::from_value(serde_json::json!({
        "id": MessageId::new(), "user_id": MessageId::new(), "platform": "scripted", "platform_user_id": "alice",
        "username": null, "display_name": null, "metadata": {},
    }));
    let settled = plugin.settle(&response.unwrap(), &profile.unwrap(), MessageId::new()).await;
    assert_eq!(settled, Settlement::CannotTell);
}
