//! From settings to the parts that a process works with.

use std::{path::PathBuf, sync::Arc, time::Duration};

use broca_admin::{
    janitor::JanitorOptions,
    modes::{self, ModesNow},
};
use broca_bus::{Auth, Bus, BusOptions};
use broca_core::{AttachmentPolicy, Instance, route::Routes};
use broca_pipeline::{
    PipelineError, admission::AccessOptions, deliver::DeliveryOptions, events::EventOptions, sweep::SweepOptions,
    worker::WorkerOptions,
};
use broca_plugin::Blueprint;
use broca_plugin_cli::CliSettings;
use broca_store::{AuditLimits, PairingTerms, Store, StoreOptions};
use secrecy::SecretString;

use crate::{
    app::App,
    config::Settings,
    failure::{Code, Failure},
    run_file::{NatsAddress, RunFile},
};

/// How long a process waits for NATS when it starts: a broker and its clients often start together.
const BROKER_PATIENCE: Duration = Duration::from_secs(30);

/// How long a command that shows settings waits for those that are set at run time.
const GLANCE: Duration = Duration::from_secs(2);

impl App {
    fn settings(&self) -> &Settings {
        &self.config.settings
    }

    /// The database, as configured, as the running `broca up` has it, or in the data folder.
    pub(crate) async fn store(&self) -> Result<Store, Failure> {
        let url = match &self.settings().database.url {
            Some(url) => url.expose().to_owned(),
            None => match RunFile::read(&self.settings().data_dir)? {
                Some(running) => running.database_url,
                None => sqlite_url(&self.settings().data_dir)?,
            },
        };
        self.store_at(&url).await
    }

    pub(crate) async fn store_at(&self, url: &str) -> Result<Store, Failure> {
        let options = StoreOptions { max_connections: self.settings().database.max_connections };
        Ok(Store::connect(url, options).await?)
    }

    /// The broker, as configured or as the running `broca up` has it.
    pub(crate) async fn bus(&self, role: &str) -> Result<Bus, Failure> {
        self.bus_at(&self.nats_address()?, role).await
    }

    pub(crate) async fn bus_at(&self, address: &NatsAddress, role: &str) -> Result<Bus, Failure> {
        Ok(Bus::connect_within(self.bus_options(address, role), BROKER_PATIENCE).await?)
    }

    /// The same, for a look at what is there now.
    pub(crate) async fn bus_now(&self, role: &str) -> Result<Bus, Failure> {
        Ok(Bus::connect(self.bus_options(&self.nats_address()?, role)).await?)
    }

    /// Both, for a command that changes something while everything runs.
    pub(crate) async fn both(&self, role: &str) -> Result<(Store, Bus), Failure> {
        let store = self.store().await?;
        store.check_migrated().await?;
        Ok((store, self.bus(role).await?))
    }

    /// What was set at run time, as far as it can be known at once; `None` when nothing runs or nobody answers.
    pub(crate) async fn modes_now(&self) -> Option<ModesNow> {
        let address = self.nats_address().ok()?;
        let look = async {
            let bus = Bus::connect(self.bus_options(&address, "config")).await.ok()?;
            let store = self.store().await.ok()?;
            modes::now(&store, &bus).await.ok()
        };
        tokio::time::timeout(GLANCE, look).await.ok().flatten()
    }

    pub(crate) fn nats_address(&self) -> Result<NatsAddress, Failure> {
        if let Some(url) = &self.settings().nats.url {
            return Ok(NatsAddress { url: url.expose().to_owned(), login: None });
        }
        RunFile::read(&self.settings().data_dir)?.map(|running| running.nats).ok_or_else(|| self.nothing_runs())
    }

    /// Nothing is configured and nothing runs here.
    pub(crate) fn nothing_runs(&self) -> Failure {
        let folder = self.settings().data_dir.display();
        Failure::new(Code::Unavailable, format!("no Broca runs in {folder}, and nats.url is not set"))
            .hint("start `broca up` in another terminal, or say where it is with --data-dir or --nats-url")
    }

    /// How this process reaches the broker; `role` is what the broker's connection list calls it.
    pub(crate) fn bus_options(&self, address: &NatsAddress, role: &str) -> BusOptions {
        let nats = &self.settings().nats;
        let auth = match (&address.login, &nats.user, &nats.password, &nats.nkey, &nats.creds_file) {
            (Some(login), ..) => {
                Auth::UserPassword { user: login.user.clone(), password: SecretString::from(login.password.clone()) }
            }
            (None, Some(user), Some(password), ..) => {
                Auth::UserPassword { user: user.clone(), password: password.clone().into_inner() }
            }
            (None, _, _, Some(seed), _) => Auth::Nkey { seed: seed.clone().into_inner() },
            (None, _, _, _, Some(path)) => Auth::CredentialsFile(path.clone()),
            _ => Auth::None,
        };
        BusOptions {
            url: address.url.clone(),
            name: format!("broca {role}"),
            auth,
            inbox_prefix: nats.inbox_prefix.clone(),
            api_prefix: nats.api_prefix.clone(),
            tls_ca: nats.tls_ca.clone(),
            require_tls: nats.require_tls,
            ..BusOptions::default()
        }
    }

    /// Every instance that is to have a consumer for its answers.
    pub(crate) fn enabled_instances(&self) -> Vec<Instance> {
        let enabled = self.settings().plugins.iter().filter(|(_, plugin)| plugin.enabled);
        enabled.map(|(instance, _)| instance.clone()).collect()
    }

    /// What of an instance's messages' files is kept.
    pub(crate) fn attachments(&self, instance: &Instance) -> AttachmentPolicy {
        let general = &self.settings().attachments;
        let own = self.settings().plugins.get(instance).and_then(|plugin| plugin.attachments.as_ref());
        own.map_or_else(|| general.clone(), |own| own.over(general))
    }

    /// Whether an instance is to have a bucket for files: its plugin carries them, and its settings keep them.
    pub(crate) fn keeps_files(&self, instance: &Instance) -> bool {
        let carries = |blueprint: Blueprint| blueprint.manifest().capabilities.attachments;
        self.attachments(instance).enabled && self.blueprint(instance).is_ok_and(carries)
    }

    pub(crate) fn routes(&self) -> Arc<Routes> {
        let settings = self.settings();
        Arc::new(Routes {
            routes: settings.routes.clone(),
            mode: settings.effective_mode(),
            retry: settings.retry,
            on_unknown: settings.on_unknown,
            notice: settings.notice.clone(),
            quarantine_after: settings.quarantine_after,
            format: settings.format,
        })
    }

    pub(crate) fn worker_options(&self) -> WorkerOptions {
        let worker = &self.settings().worker;
        WorkerOptions {
            slots: worker.slots,
            lease_ttl: Duration::from_millis(worker.lease_ttl_ms),
            drain: Duration::from_millis(worker.drain_ms),
            yield_after_messages: worker.yield_after_messages,
            yield_after: Duration::from_millis(worker.yield_after_ms),
            sweep: SweepOptions {
                interval: Duration::from_millis(worker.sweep_interval_ms),
                grace: Duration::from_millis(worker.sweep_grace_ms),
            },
        }
    }

    pub(crate) fn event_options(&self) -> EventOptions {
        let events = &self.settings().events;
        EventOptions { enabled: events.enabled, max_per_s: events.max_per_s }
    }

    pub(crate) fn janitor_options(&self) -> JanitorOptions {
        let (audit, retention) = (&self.settings().audit, &self.settings().retention);
        let overdue = Duration::from_secs(audit.overdue_s);
        JanitorOptions {
            audit_every: (audit.interval_s > 0).then(|| Duration::from_secs(audit.interval_s)),
            limits: AuditLimits { overdue, max_age: self.longest_life(overdue) },
            retain_every: (retention.interval_s > 0).then(|| Duration::from_secs(retention.interval_s)),
            retention: retention.policy(),
        }
    }

    /// How long a message may be under way. Its last attempt may begin just before its age is over.
    pub(crate) fn longest_life(&self, overdue: Duration) -> Option<Duration> {
        let policy = Duration::from_secs(self.settings().retry.max_age_s);
        (!policy.is_zero()).then(|| policy + overdue)
    }

    pub(crate) fn delivery_options(&self) -> DeliveryOptions {
        let delivery = &self.settings().delivery;
        DeliveryOptions {
            slots: delivery.slots,
            timeout: Duration::from_millis(delivery.timeout_ms),
            lease_ttl: Duration::from_millis(delivery.lease_ttl_ms),
            retry: self.settings().delivery_retry,
            probe_after: Duration::from_secs(delivery.probe_after_s),
            sweep_interval: Duration::from_millis(delivery.sweep_interval_ms),
            drain: Duration::from_millis(delivery.drain_ms),
        }
    }

    /// Who may talk through an instance.
    pub(crate) fn access_options(&self, instance: &Instance) -> AccessOptions {
        let (settings, pairing) = (self.settings(), &self.settings().pairing);
        AccessOptions {
            general: settings.access.clone(),
            instance: settings.plugins.get(instance).and_then(|plugin| plugin.access.clone()).unwrap_or_default(),
            pairing: PairingTerms {
                code_life: Duration::from_secs(pairing.code_life_s),
                max_open: pairing.max_open,
                per_day: pairing.per_day,
            },
        }
    }

    /// Where terminals find the `cli` plugin.
    pub(crate) fn cli_settings(&self, instance: &Instance) -> Result<CliSettings, Failure> {
        self.config.plugin_settings(instance, &self.cli_defaults(instance)?)
    }

    pub(crate) fn cli_defaults(&self, instance: &Instance) -> Result<Vec<(&'static str, String)>, Failure> {
        let socket = std::path::absolute(&self.settings().data_dir)?.join(format!("{instance}.sock"));
        Ok(vec![("socket", socket.display().to_string())])
    }

    pub(crate) fn webchat_defaults(&self, instance: &Instance) -> Result<Vec<(&'static str, String)>, Failure> {
        let file = std::path::absolute(&self.settings().data_dir)?.join(format!("{instance}.chats.jsonl"));
        Ok(vec![("server.file", file.display().to_string())])
    }
}

/// The database of a data folder.
pub(crate) fn sqlite_url(data_dir: &std::path::Path) -> Result<String, Failure> {
    let path: PathBuf = std::path::absolute(data_dir)?.join("broca.db");
    Ok(format!("sqlite:{}", path.display()))
}

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Bus(error) => error.into(),
            PipelineError::Store(error) => error.into(),
            PipelineError::Host(error) => Self::new(Code::Failure, error.to_string()),
            PipelineError::Account(error) => Self::new(Code::Conflict, error.to_string()),
            PipelineError::Settings(error) => Self::new(Code::Usage, error.to_string()),
        }
    }
}
