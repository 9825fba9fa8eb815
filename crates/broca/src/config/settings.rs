//! The settings and their defaults. `deploy/broca.toml` explains each of them; a test holds the two together.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use broca_core::{
    AttachmentPolicy, Instance, Limits,
    access::AccessSettings,
    chat_command::ChatCommands,
    format::FormatOptions,
    notice::NoticePolicy,
    retry::RetryPolicy,
    route::{Mode, OnUnknown, Route},
};
use broca_pipeline::{deliver::DeliveryOptions, events::EventOptions, worker::WorkerOptions};
use broca_store::PairingTerms;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AgentSettings, RetentionSettings, Secret, Url, attachments::OwnAttachments};

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where an embedded Broca keeps everything.
    pub(crate) data_dir: PathBuf,
    /// What is done with messages whose route has no mode of its own; without one, live when an agent is
    /// configured and echo when none is.
    pub(crate) mode: Option<Mode>,
    pub(crate) nats: NatsSettings,
    pub(crate) database: DatabaseSettings,
    /// By name; a route without an agent means `default`.
    pub(crate) agents: BTreeMap<String, AgentSettings>,
    /// The first that holds wins.
    pub(crate) routes: Vec<Route>,
    /// How a message reads for the agent, unless its route says otherwise.
    pub(crate) format: FormatOptions,
    /// Of agent turns, unless the route says otherwise.
    pub(crate) retry: RetryPolicy,
    /// What is done about a turn of which nobody can tell whether the agent did it, unless the route says otherwise.
    pub(crate) on_unknown: OnUnknown,
    /// What a person is told when their message failed, unless the route says otherwise.
    pub(crate) notice: NoticePolicy,
    /// So many failures in a row put a conversation on hold, unless the route says otherwise; 0: never.
    pub(crate) quarantine_after: u32,
    /// Of handing an answer to its platform.
    pub(crate) delivery_retry: RetryPolicy,
    pub(crate) limits: Limits,
    /// What of a message's files is kept; an instance (`[plugins.<instance>.attachments]`) may do otherwise.
    pub(crate) attachments: AttachmentPolicy,
    /// Who may talk; an instance (`[plugins.<instance>.access]`) and a route (`[routes.access]`) may say otherwise.
    pub(crate) access: AccessSettings,
    pub(crate) pairing: PairingSettings,
    pub(crate) worker: WorkerSettings,
    pub(crate) delivery: DeliverySettings,
    /// Folders with a `plugin.toml`, or with such folders in them.
    #[serde(deserialize_with = "paths")]
    #[schemars(with = "Vec<PathBuf>")]
    pub(crate) plugin_folders: Vec<PathBuf>,
    /// By instance.
    pub(crate) plugins: BTreeMap<Instance, PluginEntry>,
    pub(crate) up: UpSettings,
    pub(crate) audit: AuditSettings,
    pub(crate) events: EventSettings,
    pub(crate) retention: RetentionSettings,
    pub(crate) metrics: MetricsSettings,
    pub(crate) traces: TraceSettings,
    pub(crate) log: LogSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("broca-data"),
            mode: None,
            nats: NatsSettings::default(),
            database: DatabaseSettings::default(),
            agents: BTreeMap::new(),
            routes: Vec::new(),
            format: FormatOptions::default(),
            retry: RetryPolicy::default(),
            on_unknown: OnUnknown::default(),
            notice: NoticePolicy::default(),
            quarantine_after: 5,
            delivery_retry: DeliveryOptions::default().retry,
            limits: Limits::default(),
            attachments: AttachmentPolicy::default(),
            access: AccessSettings::default(),
            pairing: PairingSettings::default(),
            worker: WorkerSettings::default(),
            delivery: DeliverySettings::default(),
            plugin_folders: Vec::new(),
            plugins: BTreeMap::new(),
            up: UpSettings::default(),
            audit: AuditSettings::default(),
            events: EventSettings::default(),
            retention: RetentionSettings::default(),
            metrics: MetricsSettings::default(),
            traces: TraceSettings::default(),
            log: LogSettings::default(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NatsSettings {
    /// Without one, `broca up` starts a server of its own.
    pub(crate) url: Option<Url>,
    /// The nats-server binary that `broca up` starts.
    pub(crate) server: Option<PathBuf>,
    /// With `password`; or one of `nkey` and `creds_file`.
    pub(crate) user: Option<String>,
    /// With `user`.
    pub(crate) password: Option<Secret>,
    /// The file that has it.
    pub(crate) password_file: Option<PathBuf>,
    /// The seed of an nkey.
    pub(crate) nkey: Option<Secret>,
    /// The file that has it.
    pub(crate) nkey_file: Option<PathBuf>,
    /// A `.creds` file (JWT and seed).
    pub(crate) creds_file: Option<PathBuf>,
    /// Replies come under this prefix; the server's permissions must allow it.
    pub(crate) inbox_prefix: Option<String>,
    /// The JetStream API's subject prefix, where this account imports it under another name than `$JS.API`.
    pub(crate) api_prefix: Option<String>,
    /// PEM of the authorities to trust instead of the system's.
    pub(crate) tls_ca: Option<PathBuf>,
    /// Only by TLS.
    pub(crate) require_tls: bool,
    /// Copies of each stream in a cluster: 1, 3 or 5; without one, streams stay as they are.
    pub(crate) replicas: Option<usize>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DatabaseSettings {
    /// `postgres://…` or `sqlite:<path>`; without one, SQLite in the data folder.
    pub(crate) url: Option<Url>,
    /// The file that has it.
    pub(crate) url_file: Option<PathBuf>,
    /// Connections, of each process.
    pub(crate) max_connections: u32,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self { url: None, url_file: None, max_connections: 8 }
    }
}

/// The codes that strangers get where `policy` is `pairing`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PairingSettings {
    /// How long a code is good.
    pub(crate) code_life_s: u64,
    /// Codes of one instance that wait for an operator: more strangers get none.
    pub(crate) max_open: u32,
    /// Codes that one person gets in a day.
    pub(crate) per_day: u32,
}

impl Default for PairingSettings {
    fn default() -> Self {
        let terms = PairingTerms::default();
        Self { code_life_s: terms.code_life.as_secs(), max_open: terms.max_open, per_day: terms.per_day }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WorkerSettings {
    /// Conversations that one worker process works on at a time.
    pub(crate) slots: usize,
    /// How long a dead worker's conversations stay its own.
    pub(crate) lease_ttl_ms: u64,
    /// How long a stopping worker waits for turns under way; what is left goes to its successor.
    pub(crate) drain_ms: u64,
    /// After this many messages of one conversation, or this long, the others get their turn.
    pub(crate) yield_after_messages: u32,
    /// See `yield_after_messages`.
    pub(crate) yield_after_ms: u64,
    /// How often conversations that nobody works on are searched for.
    pub(crate) sweep_interval_ms: u64,
    /// How long the search leaves a fresh wake or outbox row to whoever made it.
    pub(crate) sweep_grace_ms: u64,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        let options = WorkerOptions::default();
        Self {
            slots: options.slots,
            lease_ttl_ms: millis(options.lease_ttl),
            drain_ms: millis(options.drain),
            yield_after_messages: options.yield_after_messages,
            yield_after_ms: millis(options.yield_after),
            sweep_interval_ms: millis(options.sweep.interval),
            sweep_grace_ms: millis(options.sweep.grace),
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DeliverySettings {
    /// Answers that one plugin process delivers at a time.
    pub(crate) slots: usize,
    /// A delivery that takes longer is unknown.
    pub(crate) timeout_ms: u64,
    /// How long a dead process's answer stays its own before a successor settles it.
    pub(crate) lease_ttl_ms: u64,
    /// After this long, an answer to a chat that takes nothing is tried again.
    pub(crate) probe_after_s: u64,
    /// How often answers that are due are searched for.
    pub(crate) sweep_interval_ms: u64,
    /// How long a stopping plugin waits for deliveries under way.
    pub(crate) drain_ms: u64,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        let options = DeliveryOptions::default();
        Self {
            slots: options.slots,
            timeout_ms: millis(options.timeout),
            lease_ttl_ms: millis(options.lease_ttl),
            probe_after_s: options.probe_after.as_secs(),
            sweep_interval_ms: millis(options.sweep_interval),
            drain_ms: millis(options.drain),
        }
    }
}

/// A list, or, from a flag or a variable, a text with commas.
fn paths<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a list of folders, or their paths with commas between")]
    enum Paths {
        One(String),
        Many(Vec<PathBuf>),
    }
    Ok(match Paths::deserialize(deserializer)? {
        Paths::Many(paths) => paths,
        Paths::One(text) => text.split(',').map(str::trim).filter(|path| !path.is_empty()).map(PathBuf::from).collect(),
    })
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PluginEntry {
    /// Whether `broca up` starts it.
    pub(crate) enabled: bool,
    /// Which plugin it runs; its own name when it is not set.
    pub(crate) plugin: Option<String>,
    /// Who may talk through it, where that is not what `access` says.
    pub(crate) access: Option<AccessSettings>,
    /// What of its messages' files is kept, where that is not what `attachments` says.
    pub(crate) attachments: Option<OwnAttachments>,
    /// Which of Broca's own commands its chats take.
    pub(crate) chat_commands: ChatCommands,
    /// The plugin's own settings.
    pub(crate) settings: serde_json::Map<String, serde_json::Value>,
}

impl Default for PluginEntry {
    fn default() -> Self {
        Self {
            enabled: true,
            plugin: None,
            access: None,
            attachments: None,
            chat_commands: ChatCommands::default(),
            settings: serde_json::Map::new(),
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpSettings {
    /// Worker processes.
    pub(crate) workers: usize,
    /// How long a process may take to stop before it is killed, beyond its own drain time.
    pub(crate) stop_grace_ms: u64,
}

impl Default for UpSettings {
    fn default() -> Self {
        Self { workers: 2, stop_grace_ms: 10_000 }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuditSettings {
    /// How often one of the workers asks what `broca check` asks; 0 is never.
    pub(crate) interval_s: u64,
    /// What should have happened by itself is overdue after this long.
    pub(crate) overdue_s: u64,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self { interval_s: 60, overdue_s: 60 }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EventSettings {
    /// Whether it is told what happens.
    pub(crate) enabled: bool,
    /// Events about messages that one process tells in a second at most; as many again of all other kinds.
    pub(crate) max_per_s: u32,
    /// Plugins are told while an agent works on an answer.
    pub(crate) typing: bool,
}

impl Default for EventSettings {
    fn default() -> Self {
        let options = EventOptions::default();
        Self { enabled: options.enabled, max_per_s: options.max_per_s, typing: true }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MetricsSettings {
    /// Where a process shows its metrics, health and readiness.
    #[schemars(with = "Option<String>")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TraceSettings {
    /// An OpenTelemetry collector that takes OTLP over HTTP; without one, no spans are made.
    pub(crate) endpoint: Option<String>,
    /// Of the traces, between 0 and 1. A trace is sent whole or not at all.
    pub(crate) sample_ratio: f64,
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self { endpoint: None, sample_ratio: 1.0 }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogSettings {
    /// error, warn, info, debug, trace, or a filter like `info,broca_pipeline=debug`.
    pub(crate) level: String,
    /// On standard error.
    pub(crate) format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::default() }
    }
}

impl Settings {
    /// The mode of routes that have none.
    pub(crate) fn effective_mode(&self) -> Mode {
        let agent_configured = self.agents.contains_key(broca_core::route::DEFAULT_AGENT);
        self.mode.unwrap_or(if agent_configured { Mode::Live } else { Mode::Echo })
    }

    /// The turns that all agents at an agent's endpoint may have under way at a time, whichever of them says so.
    pub(crate) fn endpoint_limit(&self, agent: &AgentSettings) -> Option<u32> {
        let server = |agent: &AgentSettings| agent.endpoint.as_deref().and_then(broca_letta::server_of);
        let here = server(agent)?;
        let there = self.agents.values().filter(|other| server(other).as_deref() == Some(here.as_str()));
        there.filter_map(|other| other.endpoint_max_concurrent_turns).min()
    }

    /// Whether some message can reach an agent.
    pub(crate) fn calls_agents(&self) -> bool {
        self.effective_mode() == Mode::Live || self.routes.iter().any(|route| route.mode == Some(Mode::Live))
    }
}
