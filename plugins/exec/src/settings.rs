//! The settings of an instance that runs a program, and the plugin as the binary finds it.

use std::{collections::BTreeMap, fmt, num::NonZeroU64, path::PathBuf, sync::Arc, time::Duration};

use broca_core::EventType;
use broca_plugin::{
    Blueprint, Capabilities, Listen, Manifest, Plugin, PluginError, Secret, SettingsError, SettingsSchema, typed,
};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{ExecPlugin, Launch, Program};

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecSettings {
    /// The program and its arguments, e.g. `["python3", "chat.py"]`.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// The folder that it runs in; without it, that of the plugin's process.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// The platform's name; without it, the instance's.
    #[serde(default)]
    pub platform: Option<String>,
    /// The account at the platform: two processes never run on one. Without it, each instance has one of its own.
    #[serde(default)]
    pub account: Option<String>,
    /// Variables for its environment, which is otherwise empty but for PATH, HOME and the like.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// The program's own settings, as its `hello` has them.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// Secrets, which are read and put among the options.
    #[serde(default)]
    pub secrets: BTreeMap<String, Secret>,
    /// Types of events about this instance that the program hears, e.g. `["message"]`.
    #[serde(default)]
    pub listens: Vec<String>,
    /// How long it may take to say that it is ready.
    #[serde(default = "start_timeout_ms")]
    pub start_timeout_ms: NonZeroU64,
}

pub(crate) fn start_timeout_ms() -> NonZeroU64 {
    // Unwrap safety: a constant, which is not 0.
    const DEFAULT: NonZeroU64 = NonZeroU64::new(15_000).expect("more than 0");
    DEFAULT
}

/// The program's own settings, whose secrets are read when it is told them.
#[derive(Clone)]
pub struct Options(Arc<dyn Fn() -> Result<Value, SettingsError> + Send + Sync>);

impl Options {
    pub fn new(read: impl Fn() -> Result<Value, SettingsError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// With the secrets themselves.
    pub(crate) fn read(&self) -> Result<Value, SettingsError> {
        self.0()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Options")
    }
}

/// The plugin as the binary finds it, for an instance of that platform.
pub fn blueprint(platform: &str, launch: Launch) -> Blueprint {
    let manifest = manifest(platform);
    let own = manifest.clone();
    let build = move |settings: Value| -> Result<Arc<dyn Plugin>, SettingsError> {
        let ExecSettings { platform, account, listens: kinds, .. } = typed(settings.clone())?;
        let named = platform.is_none_or(|platform| platform == own.platform);
        if !named || !is_name(&own.platform) {
            let what = "is no name for it: use lower-case letters, digits and '-', in broca.toml alone";
            return Err(SettingsError::one("platform", what));
        }
        let plugin = ExecPlugin::new(own.clone(), launch, Arc::new(read), settings)?;
        Ok(Arc::new(plugin.listening(listens("listens", &kinds)?).of_account(account)))
    };
    Blueprint::with_schema(manifest, SettingsSchema::of::<ExecSettings>(), build)
}

fn manifest(platform: &str) -> Manifest {
    // Whether it really shows typing, the program says when it is there; whether it carries files, its messages.
    let capabilities = Capabilities { typing: true, attachments: true, ..Capabilities::default() };
    Manifest { name: "exec".into(), capabilities, ..Manifest::new(platform, env!("CARGO_PKG_VERSION")) }
}

pub(crate) fn is_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(legal)
}

/// Events about the plugin's own instance, by their names.
///
/// # Errors
/// Names what is no type of event.
pub(crate) fn listens(key: &str, kinds: &[String]) -> Result<Vec<Listen>, SettingsError> {
    let listen = |kind: &String| {
        kind.parse::<EventType>().map(Listen::own).map_err(|error| SettingsError::one(key, error.to_string()))
    };
    kinds.iter().map(listen).collect()
}

fn read(settings: Value) -> Result<(Program, Options), SettingsError> {
    let settings: ExecSettings = typed(settings)?;
    let (command, args) =
        settings.command.split_first().filter(|(command, _)| !command.is_empty()).ok_or_else(|| {
            SettingsError::one("command", "is empty: name a program, e.g. [\"python3\", \"chat.py\"]")
        })?;
    let program = Program {
        command: command.into(),
        args: args.to_vec(),
        folder: settings.folder,
        env: settings.env,
        start_timeout: Duration::from_millis(settings.start_timeout_ms.get()),
    };
    if let Some(twice) = settings.secrets.keys().find(|key| settings.options.contains_key(*key)) {
        return Err(SettingsError::one(format!("secrets.{twice}"), "is among the options, too: keep one of them"));
    }
    let (options, secrets) = (settings.options, settings.secrets);
    let options = Options::new(move || {
        let mut options = options.clone();
        for (key, secret) in &secrets {
            let text =
                secret.read().map_err(|error| SettingsError::one(format!("secrets.{key}"), error.to_string()))?;
            options.insert(key.clone(), text.expose_secret().into());
        }
        Ok(Value::Object(options))
    });
    Ok((program, options))
}

/// What is wrong with settings, as the plugin's own end.
pub(crate) fn misconfigured(error: &SettingsError) -> PluginError {
    PluginError::Settings(error.to_string())
}
