//! How the plugin of this process stands, for everybody who wants to know: the log, the metrics, the events.

use std::sync::{Mutex, MutexGuard, PoisonError};

use broca_core::{EventType, Instance};
use broca_plugin::{PluginState, StateSink};
use tokio::sync::watch;

use crate::{events::Events, meter};

#[derive(Debug)]
pub(crate) struct States {
    platform: String,
    instance: Instance,
    events: Events,
    now: Mutex<Now>,
    /// What the plugin itself reported last.
    reported: watch::Sender<PluginState>,
}

#[derive(Debug, Default)]
struct Now {
    /// Settings that cannot be applied, and what holds instead.
    unfit: Option<String>,
    shown: Option<PluginState>,
}

impl States {
    pub(crate) fn new(instance: Instance, platform: String, events: Events) -> Self {
        let reported = watch::Sender::new(PluginState::Connecting);
        Self { platform, instance, events, now: Mutex::default(), reported }
    }

    /// What the plugin reports from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<PluginState> {
        self.reported.subscribe()
    }

    /// Newer settings than those in force cannot be applied; `None` when all is well again. A plugin that is connected
    /// all the same counts as misconfigured meanwhile, because somebody has to do something.
    pub(crate) fn settings_are_unfit(&self, detail: Option<String>) {
        self.now().unfit = detail;
        self.show();
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) {
        let reported = self.reported.borrow().clone();
        let state = {
            let mut now = self.now();
            let state = match (reported, &now.unfit) {
                (PluginState::Connected, Some(detail)) => PluginState::Misconfigured { detail: detail.clone() },
                (state, _) => state,
            };
            if now.shown.as_ref() == Some(&state) {
                return;
            }
            now.shown = Some(state.clone());
            state
        };
        let instance = &self.instance;
        meter::plugin_is(instance, &self.platform, &state);
        match &state {
            PluginState::Degraded { detail } => tracing::warn!(%instance, detail, "plugin degraded"),
            PluginState::BadCredentials { detail } => tracing::error!(%instance, detail, "plugin has bad credentials"),
            PluginState::Misconfigured { detail } => tracing::error!(%instance, detail, "plugin misconfigured"),
            state => tracing::info!(%instance, ?state, "plugin"),
        }
        // A state is a word and a text: it always has a JSON form.
        self.events.tell(EventType::Status, instance, serde_json::to_value(&state).unwrap_or_default());
    }
}

impl StateSink for States {
    fn report(&self, _instance: &Instance, state: PluginState) {
        self.reported.send_replace(state);
        self.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfit_settings_show_while_the_plugin_is_connected() {
        let instance: Instance = "bot".parse().unwrap();
        let states = States::new(instance.clone(), "telegram".into(), Events::none());
        let shown = || states.now().shown.clone().unwrap();
        states.report(&instance, PluginState::Connected);
        assert_eq!(shown(), PluginState::Connected);
        states.settings_are_unfit(Some("poll_s is 0".into()));
        assert_eq!(shown(), PluginState::Misconfigured { detail: "poll_s is 0".into() });
        states.report(&instance, PluginState::Degraded { detail: "away".into() });
        assert_eq!(shown(), PluginState::Degraded { detail: "away".into() }, "what is worse is not hidden");
        states.report(&instance, PluginState::Connected);
        assert_eq!(shown().name(), "misconfigured");
        states.settings_are_unfit(None);
        assert_eq!(shown(), PluginState::Connected);
        assert_eq!(*states.watch().borrow(), PluginState::Connected, "what it said itself");
    }
}
