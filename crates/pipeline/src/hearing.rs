//! What a plugin hears beside answers: the events that it listens to, and that somebody waits.

use std::sync::Arc;

use broca_bus::{Announcements, Bus, BusError};
use broca_core::{Event, Instance, subject};
use broca_plugin::{Plugin, Typing, hear};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

/// Events that may wait for a plugin which is busy with one; what is more is missed.
const WAITING: usize = 256;
/// Calls of [`Plugin::typing`] at a time; what is more is missed.
const TYPING: usize = 16;

/// Hands to `plugin` what it wants to hear, until the set is dropped.
pub(crate) async fn start(bus: &Bus, plugin: &Arc<dyn Plugin>, instance: &Instance) -> Result<JoinSet<()>, BusError> {
    let mut tasks = JoinSet::new();
    if plugin.manifest().capabilities.typing {
        let waits = bus.listen(subject::typing(instance)).await?;
        tasks.spawn(show_typing(plugin.clone(), waits));
    }
    let wanted = plugin.listens();
    if wanted.is_empty() {
        return Ok(tasks);
    }
    let (sender, events) = mpsc::channel(WAITING);
    for listen in wanted {
        let of = (!listen.everybody).then_some(instance);
        let heard = bus.listen(subject::events(&listen.kind, of)).await?;
        tasks.spawn(pass_on(heard, sender.clone()));
    }
    tasks.spawn(hear(plugin.clone(), events));
    Ok(tasks)
}

async fn pass_on(mut heard: Announcements, events: mpsc::Sender<Event>) {
    while let Some((at, payload)) = heard.next().await {
        // Who may publish under a subject is what the broker checks; what an event says of itself must fit it.
        let Some(event) = Event::decode(&payload).filter(|event| subject::event(&event.kind, &event.instance) == at)
        else {
            tracing::debug!(subject = at, "no event of a version that is understood, passed over");
            continue;
        };
        if events.try_send(event).is_err() {
            tracing::warn!(subject = at, "the plugin is busy with earlier events, this one is missed");
        }
    }
}

async fn show_typing(plugin: Arc<dyn Plugin>, mut waits: Announcements) {
    let room = Arc::new(Semaphore::new(TYPING));
    let mut calls = JoinSet::new();
    while let Some((_, payload)) = waits.next().await {
        while calls.try_join_next().is_some() {}
        let Ok(typing) = serde_json::from_slice::<Typing>(&payload) else { continue };
        let Ok(place) = room.clone().try_acquire_owned() else { continue };
        let plugin = plugin.clone();
        // A panic costs that one call.
        calls.spawn(async move {
            plugin.typing(&typing).await;
            drop(place);
        });
    }
}
