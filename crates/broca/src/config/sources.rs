//! Where settings come from, and what is said when one of them does not fit.

use std::path::{Path, PathBuf};

use broca_core::Instance;
use broca_plugin::{Problem, SettingsError};
use figment::{
    Figment, Metadata, Profile, Provider,
    error::{Actual, Kind},
    providers::{Format, Toml},
    util::nest,
    value::{Dict, Map, Value},
};
use serde::de::DeserializeOwned;

use super::{Secret, Settings, Url, check, original};
use crate::failure::{Code, Failure};

/// One value from outside the file: a flag or an environment variable.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    /// As it is named to people, e.g. `flag --nats-url`.
    pub(crate) source: String,
    /// The dotted key that it sets.
    pub(crate) key: String,
    pub(crate) value: Value,
}

impl Flag {
    /// A command-line flag's value, if it was given.
    pub(crate) fn given(flag: &str, key: &str, value: Option<String>) -> Option<Self> {
        Some(Self { source: format!("flag {flag}"), key: key.to_owned(), value: value?.into() })
    }
}

impl Provider for Flag {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(nest(&self.key, self.value.clone()).into_dict().unwrap_or_default()))
    }
}

/// A deployment that is not the one of this folder.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    /// Its settings file.
    pub(crate) file: Option<PathBuf>,
    /// Where its servers are.
    pub(crate) flags: Vec<Flag>,
}

impl Place {
    /// Whether this place alone says it.
    fn alone_says(key: &str) -> bool {
        key == "data_dir" || key.starts_with("nats.") || key.starts_with("database.")
    }
}

/// Settings with the memory of where each value came from.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// Things that an operator should know but that stop nothing.
    pub(crate) notices: Vec<String>,
    /// The file that was read, if there was one.
    pub(crate) file: Option<PathBuf>,
    figment: Figment,
    flags: Vec<Flag>,
}

impl Loaded {
    /// The flags of this process as variables for a process that it starts.
    pub(crate) fn flags_as_env(&self) -> Vec<(String, String)> {
        let name = |key: &str| format!("BROCA_{}", key.to_ascii_uppercase().replace('.', "__"));
        self.flags.iter().filter_map(|flag| Some((name(&flag.key), flag.value.as_str()?.to_owned()))).collect()
    }

    /// The same sources, as they are now.
    ///
    /// # Errors
    /// As [`load`].
    pub(crate) fn again(&self) -> Result<Self, Failure> {
        let env = std::env::vars_os();
        let env = env.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        load(self.file.as_deref(), env, None, self.flags.clone())
    }

    /// Where the value of a key came from; `default` when nobody set it.
    pub(crate) fn source_of(&self, key: &str) -> String {
        self.figment.find_metadata(key).map_or_else(|| DEFAULT.to_owned(), source_name)
    }

    /// The settings of a plugin in the plugin's own type, or as JSON; `defaults` stand where nobody set anything.
    pub(crate) fn plugin_settings<T: DeserializeOwned>(
        &self,
        instance: &Instance,
        defaults: &[(&str, String)],
    ) -> Result<T, Failure> {
        let prefix = plugin_prefix(instance);
        let table = Flag { source: DEFAULT.to_owned(), key: prefix.clone(), value: Dict::new().into() };
        let mut figment = self.figment.clone().join(table);
        for (key, value) in defaults {
            let key = format!("{prefix}.{key}");
            figment = figment.join(Flag { source: DEFAULT.to_owned(), key, value: value.clone().into() });
        }
        figment.extract_inner_lossy(&prefix).map_err(|error| unfit(error, &prefix))
    }

    /// What is wrong with a plugin's settings, each key with where its value came from.
    pub(crate) fn unfit_plugin(&self, instance: &Instance, error: &SettingsError) -> Failure {
        let prefix = plugin_prefix(instance);
        let named = |problem: &Problem| {
            let key = if problem.key.is_empty() { prefix.clone() } else { format!("{prefix}.{}", problem.key) };
            format!("{key} (from {}): {}", self.source_of(&key), problem.what)
        };
        let problems: Vec<String> = error.problems.iter().map(named).collect();
        Failure::new(Code::Usage, problems.join("\nerror: ")).hint(format!(
            "`broca plugin schema {instance}` prints what it may have; `broca config show` what is set where"
        ))
    }
}

fn plugin_prefix(instance: &Instance) -> String {
    format!("plugins.{instance}.settings")
}

const DEFAULT: &str = "default";

/// Reads and checks everything.
///
/// # Errors
/// Names the key, its source and what is allowed.
pub(crate) fn load(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    place: Option<Place>,
    flags: Vec<Flag>,
) -> Result<Loaded, Failure> {
    let env: std::collections::BTreeMap<String, String> = env.into_iter().collect();
    let file = match (file, &place) {
        (None, Some(place)) => {
            place.file.clone().map(|file| there(file, &format!("context {}", place.name))).transpose()?
        }
        _ => find_file(file, env.get("BROCA_CONFIG").map(String::as_str))?,
    };
    let cli = Flag { source: DEFAULT.to_owned(), key: "plugins.cli.enabled".to_owned(), value: true.into() };
    let mut figment = Figment::from(cli);
    if let Some(path) = &file {
        figment = figment.merge(Toml::file_exact(path));
    }
    let originals = original::layer(&|name| env.get(name).cloned());
    let of_this_folder = |flag: &Flag| place.is_none() || !Place::alone_says(&flag.key);
    let of_env = originals.into_iter().chain(ours(&env)?).filter(of_this_folder).collect::<Vec<_>>();
    let of_place = place.map(|place| place.flags).unwrap_or_default();
    for flag in of_env.into_iter().chain(of_place).chain(flags.clone()) {
        figment = figment.merge(flag);
    }
    let mut settings: Settings = figment.extract_lossy().map_err(|error| unfit(error, ""))?;
    let mut loaded = Loaded { settings: settings.clone(), notices: notices(&env), file, figment, flags };
    read_secret_files(&mut settings, &loaded)?;
    loaded.settings = settings;
    check::check(&loaded)?;
    Ok(loaded)
}

fn find_file(flag: Option<&Path>, env: Option<&str>) -> Result<Option<PathBuf>, Failure> {
    let (path, source) = match (flag, env.filter(|path| !path.is_empty())) {
        (Some(path), _) => (path.to_owned(), "flag --config"),
        (None, Some(path)) => (PathBuf::from(path), "environment variable BROCA_CONFIG"),
        (None, None) => {
            let here = PathBuf::from("broca.toml");
            return Ok(here.is_file().then_some(here));
        }
    };
    there(path, source).map(Some)
}

fn there(path: PathBuf, source: &str) -> Result<PathBuf, Failure> {
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::new(Code::Usage, format!("there is no settings file {} ({source})", path.display()))
        .hint("give the path of a broca.toml, or leave it out to use ./broca.toml or the defaults"))
}

/// `BROCA_NATS__URL` is `nats.url`. Values stay texts here and become numbers where the key's type wants one, so
/// that a numeric password stays the password that it is.
fn ours(env: &std::collections::BTreeMap<String, String>) -> Result<Vec<Flag>, Failure> {
    let mut flags = Vec::new();
    for (name, text) in env {
        let Some(rest) = own_name(name) else { continue };
        let source = format!("environment variable {name}");
        let key = if rest == "NATS_SERVER" { "nats.server".to_owned() } else { key_of(rest) };
        let value = if key == "routes" { routes_literal(text, &source)? } else { text.clone().into() };
        flags.push(Flag { source, key, value });
    }
    Ok(flags)
}

/// What variables begin with, after our prefix, that steer the program or its tests and are no settings.
const NOT_SETTINGS: &[&str] = &["ACTOR", "ANNOUNCE", "CONFIG", "CONTEXT", "CRASH_", "MUTATE", "PG_BIN", "TEST_"];

/// The part of a variable's name that is a key.
fn own_name(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("BROCA_")?;
    (!NOT_SETTINGS.iter().any(|prefix| rest.starts_with(prefix))).then_some(rest)
}

/// Whether a variable of that name is read as a setting.
pub(crate) fn is_setting(name: &str) -> bool {
    own_name(name).is_some() || original::is_read(name)
}

fn key_of(rest: &str) -> String {
    let mut parts: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
    // An instance's name may have `-`, which a variable's name may not, and never has `_`.
    if parts[0] == "plugins" && parts.len() > 1 {
        parts[1] = parts[1].replace('_', "-");
    }
    parts.join(".")
}

fn routes_literal(text: &str, source: &str) -> Result<Value, Failure> {
    let routes = serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .filter(serde_json::Value::is_array)
        .and_then(|json| Value::serialize(json).ok());
    routes.ok_or_else(|| {
        Failure::new(Code::Usage, format!("routes, from {source}, is not a JSON list"))
            .hint(r#"write it like [{"name":"vip","user":"7","agent":"vip"}], or as [[routes]] in broca.toml"#)
    })
}

fn notices(env: &std::collections::BTreeMap<String, String>) -> Vec<String> {
    original::WITHOUT_COUNTERPART
        .iter()
        .filter(|(name, _)| env.contains_key(*name))
        .map(|(name, why)| format!("{name} is not used: {why}"))
        .collect()
}

fn read_secret_files(settings: &mut Settings, loaded: &Loaded) -> Result<(), Failure> {
    let nats = &mut settings.nats;
    secret_file(loaded, "nats.password", &mut nats.password, nats.password_file.as_deref())?;
    secret_file(loaded, "nats.nkey", &mut nats.nkey, nats.nkey_file.as_deref())?;
    let database = &mut settings.database;
    secret_file::<Url>(loaded, "database.url", &mut database.url, database.url_file.as_deref())?;
    for (name, agent) in &mut settings.agents {
        let key = format!("agents.{name}.api_key");
        secret_file::<Secret>(loaded, &key, &mut agent.api_key, agent.api_key_file.as_deref())?;
    }
    Ok(())
}

fn secret_file<T: From<String>>(
    loaded: &Loaded,
    key: &str,
    value: &mut Option<T>,
    path: Option<&Path>,
) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let (from, file_from) = (loaded.source_of(key), loaded.source_of(&format!("{key}_file")));
    if value.is_some() {
        return Err(Failure::new(
            Code::Usage,
            format!("both {key} (from {from}) and {key}_file (from {file_from}) are set"),
        )
        .hint("keep one of them"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Code::Usage, format!("{key}_file (from {file_from}): cannot read {}: {error}", path.display()))
            .hint("give the path of a readable file that holds the value alone")
    })?;
    *value = Some(T::from(text.trim_end_matches(['\r', '\n']).to_owned()));
    Ok(())
}

fn source_name(metadata: &Metadata) -> String {
    match metadata.source.as_ref().and_then(|source| source.file_path()) {
        Some(path) => path.display().to_string(),
        None => metadata.name.to_string(),
    }
}

/// A value that does not fit its key, as a sentence. The value itself is not repeated: it may be a secret.
fn unfit(error: figment::Error, prefix: &str) -> Failure {
    let mut path: Vec<&str> = error.path.iter().map(String::as_str).collect();
    if !prefix.is_empty() && !error.path.join(".").starts_with(prefix) {
        path.insert(0, prefix);
    }
    let key = path.join(".");
    let source = error.metadata.as_ref().map_or_else(|| DEFAULT.to_owned(), source_name);
    let hint = "see deploy/broca.toml for every key; `broca config show` prints what is set where";
    let message = match &error.kind {
        Kind::UnknownField(name, allowed) => {
            let parent = key.strip_suffix(name.as_str()).unwrap_or(&key).trim_end_matches('.');
            let place = if parent.is_empty() { "the settings".to_owned() } else { parent.to_owned() };
            let full = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
            format!("{full}, from {source}: there is no such key; {place} may have {}", allowed.join(", "))
        }
        Kind::UnknownVariant(_, allowed) => {
            format!("{key}, from {source}: use one of {}", allowed.join(", "))
        }
        Kind::InvalidType(found, expected) => {
            format!("{key}, from {source}: expected {}, found {}", plain(expected), found_kind(found))
        }
        Kind::InvalidValue(_, expected) => format!("{key}, from {source}: expected {}", plain(expected)),
        Kind::Message(text) if key.is_empty() => format!("{source}: {text}"),
        Kind::Message(text) => format!("{key}, from {source}: {text}"),
        other => format!("{key}, from {source}: {other}"),
    };
    Failure::new(Code::Usage, message).hint(hint)
}

/// Rust's type names in words.
fn plain(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" => "a text (in quotes)".to_owned(),
        other => match other.strip_prefix("struct ") {
            Some(_) => "a table".to_owned(),
            None => other.to_owned(),
        },
    }
}

fn found_kind(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) => "a text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}
