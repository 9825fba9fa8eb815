//! The settings of this process's plugin as they change: from the bucket, checked, and applied to the running plugin or
//! by running another one in its place. What cannot be applied is said, and the last that could holds.

use std::{sync::Arc, time::Duration};

use broca_bus::{Bus, Entry, Known, SettingsFeed};
use broca_core::{
    Instance, WorkerId,
    live::{Written, overlaid},
    subject,
};
use broca_plugin::{Applied, Blueprint, Plugin, PluginState, SettingsError};
use broca_store::Store;
use serde_json::{Map, Value};
use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior},
};

use crate::states::States;

/// How long a process waits for the bucket before it begins with what it knows.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a plugin may take to apply settings.
const APPLYING: Duration = Duration::from_secs(10);
/// How often the process says which settings it has in force.
const SIGN: Duration = Duration::from_secs(30);

/// Settings, and where in the bucket they are from. They may hold secrets of the files: nothing here shows them.
#[derive(Clone)]
struct InForce {
    /// 0: those of the files alone.
    revision: u64,
    /// What was set at run time.
    over: Value,
    /// All of them.
    settings: Value,
}

pub(crate) struct LiveSettings {
    key: String,
    process: WorkerId,
    store: Store,
    blueprint: Blueprint,
    /// Of files, environment and defaults.
    base: Value,
    feed: SettingsFeed,
    states: Arc<States>,
    reported: watch::Receiver<PluginState>,
    sign: Interval,
    in_force: InForce,
    /// They run, and it is not known yet whether they do.
    on_trial: Option<InForce>,
    /// The newest that will not do.
    refused: u64,
    problem: Option<String>,
}

impl LiveSettings {
    /// Chooses the settings to begin with: the newest of the bucket, else the last that worked, else those of the
    /// files.
    ///
    /// # Errors
    /// None of them will do.
    pub(crate) async fn begin(
        (bus, store): (&Bus, &Store),
        instance: &Instance,
        process: WorkerId,
        (blueprint, base): (Blueprint, Value),
        states: Arc<States>,
    ) -> Result<(Self, Arc<dyn Plugin>), SettingsError> {
        let key = subject::settings_key(instance);
        let feed = bus.follow_setting(&key);
        let mut sign = tokio::time::interval(SIGN);
        sign.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let base_alone = InForce { revision: 0, over: nothing(), settings: base.clone() };
        let (store, reported) = (store.clone(), states.watch());
        let mut live = Self {
            key,
            process,
            store,
            blueprint,
            base,
            feed,
            states,
            reported,
            sign,
            in_force: base_alone,
            on_trial: None,
            refused: 0,
            problem: None,
        };
        let plugin = live.choose().await?;
        Ok((live, plugin))
    }

    async fn choose(&mut self) -> Result<Arc<dyn Plugin>, SettingsError> {
        let known = tokio::time::timeout(PATIENCE, self.feed.first()).await.unwrap_or_default();
        let good = match self.store.last_good(&self.key).await {
            Ok(good) => good.map(|(revision, over)| self.laid_over(revision, over)),
            Err(error) => {
                tracing::warn!(%error, "the last settings that worked cannot be read");
                None
            }
        };
        let newest = known.entry.as_ref().filter(|entry| entry.revision > 0);
        if known.entry.is_none() {
            self.problem = Some(known.trouble.unwrap_or_else(|| "the bucket did not answer in time".to_owned()));
        }
        if let Some(entry) = newest {
            match self.read(entry).and_then(|new| Ok((self.build(&new)?, new))) {
                Ok((plugin, new)) => {
                    let proven = good.as_ref().is_some_and(|good| good.revision == new.revision);
                    self.in_force = if proven { new } else { self.fallback(good, new) };
                    return Ok(plugin);
                }
                Err(error) => self.refuse(entry.revision, &error.to_string()).await,
            }
        }
        // Without the bucket, nobody knows whether they are still the newest; nobody knows of newer ones either.
        if let Some(good) = good.filter(|_| newest.is_some() || known.entry.is_none())
            && let Ok(plugin) = self.build(&good)
        {
            self.in_force = good;
            return Ok(plugin);
        }
        let base_alone = self.in_force.clone();
        self.build(&base_alone)
    }

    /// What holds should settings on trial not do.
    fn fallback(&mut self, good: Option<InForce>, new: InForce) -> InForce {
        let holds = good.unwrap_or_else(|| self.in_force.clone());
        if self.build(&holds).is_err() {
            return new;
        }
        self.on_trial = Some(new);
        holds
    }

    fn laid_over(&self, revision: u64, over: Value) -> InForce {
        let settings = self.blueprint.settings_schema().fit(overlaid(self.base.clone(), &over));
        InForce { revision, over, settings }
    }

    fn read(&self, entry: &Entry) -> Result<InForce, SettingsError> {
        let over = match &entry.value {
            Some(bytes) => Written::<Value>::decode(bytes).map_err(|why| SettingsError::one("", why))?.value,
            None => nothing(),
        };
        // A secret that somebody put there by other means is not to spread from there.
        self.blueprint.settings_schema().check_references(&over)?;
        Ok(self.laid_over(entry.revision, over))
    }

    fn build(&self, settings: &InForce) -> Result<Arc<dyn Plugin>, SettingsError> {
        self.blueprint.build(settings.settings.clone())
    }

    /// Applies to `running` whatever changes; ends with a plugin that is to run in its place.
    pub(crate) async fn next(&mut self, running: &Arc<dyn Plugin>) -> Arc<dyn Plugin> {
        loop {
            tokio::select! {
                known = self.feed.changed() => {
                    if let Some(next) = self.consider(known, running).await {
                        return next;
                    }
                }
                _ = self.reported.changed() => self.judge().await,
                _ = self.sign.tick() => self.give_sign().await,
            }
        }
    }

    async fn consider(&mut self, known: Known, running: &Arc<dyn Plugin>) -> Option<Arc<dyn Plugin>> {
        let Some(entry) = known.entry.filter(|_| known.trouble.is_none()) else {
            self.problem = known.trouble;
            self.give_sign().await;
            return None;
        };
        let running_revision = self.on_trial.as_ref().map_or(self.in_force.revision, |trial| trial.revision);
        if entry.revision == running_revision || entry.revision == self.refused {
            return None;
        }
        let new = match self.read(&entry) {
            Ok(new) => new,
            Err(error) => {
                self.refuse(entry.revision, &error.to_string()).await;
                return None;
            }
        };
        if new.settings == self.in_force.settings && self.on_trial.is_none() {
            self.accept(new).await;
            return None;
        }
        match self.apply(&new, running).await {
            Ok(None) => self.accept(new).await,
            Ok(Some(next)) => {
                tracing::info!(revision = new.revision, "live settings need a new start of the plugin");
                self.on_trial = Some(new);
                return Some(next);
            }
            Err(error) => self.refuse(entry.revision, &error.to_string()).await,
        }
        None
    }

    /// Hands checked settings to the running plugin; gives the plugin to run in its place when it wants that.
    async fn apply(&self, new: &InForce, running: &Arc<dyn Plugin>) -> Result<Option<Arc<dyn Plugin>>, SettingsError> {
        let built = self.build(new)?;
        let (plugin, settings) = (running.clone(), new.settings.clone());
        // A task of its own: a panic costs these settings, not the process.
        let applying = tokio::spawn(async move { plugin.apply_settings(settings).await });
        match tokio::time::timeout(APPLYING, applying).await {
            Ok(Ok(Ok(Applied::Live))) => Ok(None),
            Ok(Ok(Ok(Applied::Restart))) => Ok(Some(built)),
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(SettingsError::one("", "the plugin panicked over them")),
            Err(_) => Err(SettingsError::one("", format!("the plugin did not apply them within {APPLYING:?}"))),
        }
    }

    /// Settings that made a plugin connect will do.
    async fn judge(&mut self) {
        let connected = *self.reported.borrow_and_update() == PluginState::Connected;
        if let Some(new) = self.on_trial.take_if(|_| connected) {
            self.accept(new).await;
        }
    }

    /// The plugin could not run. If that was on trial: the one to run instead.
    pub(crate) async fn did_not_run(&mut self, why: &str) -> Option<Arc<dyn Plugin>> {
        let trial = self.on_trial.take()?;
        self.refuse(trial.revision, why).await;
        self.build(&self.in_force).ok()
    }

    async fn accept(&mut self, new: InForce) {
        tracing::info!(revision = new.revision, "live settings are in force");
        if let Err(error) = self.store.keep_good(&self.key, new.revision, new.over.clone()).await {
            tracing::warn!(%error, "live settings not kept for a process that finds newer ones unfit");
        }
        self.in_force = new;
        self.on_trial = None;
        self.problem = None;
        self.states.settings_are_unfit(None);
        self.give_sign().await;
    }

    async fn refuse(&mut self, revision: u64, why: &str) {
        let holds = match self.in_force.revision {
            0 => "those of the settings file hold".to_owned(),
            good => format!("revision {good} holds"),
        };
        let problem = format!("live settings of revision {revision} cannot be applied ({why}); {holds}");
        tracing::error!(problem, "live settings refused");
        self.refused = revision;
        self.problem = Some(problem.clone());
        self.states.settings_are_unfit(Some(problem));
        self.give_sign().await;
    }

    async fn give_sign(&self) {
        // Of what is on trial it is not known yet.
        let (holds, newest) = (self.in_force.revision, self.in_force.revision.max(self.refused));
        let said = self.store.live_applied(&self.key, &self.process, (holds, newest), self.problem.as_deref()).await;
        if let Err(error) = said {
            tracing::debug!(%error, "not said which live settings are in force");
        }
    }

    pub(crate) async fn take_leave(&self) {
        if let Err(error) = self.store.live_gone(&self.key, &self.process).await {
            tracing::debug!(%error, "leave not taken; the sign runs out");
        }
    }
}

fn nothing() -> Value {
    Value::Object(Map::new())
}
