//! Reading the definitions: from the program itself, or from a folder that holds them in the same layout.

use std::{
    fs,
    path::{Path, PathBuf},
};

use broca_core::Instance;
use serde_json::Value;

use super::{Config, ConsumerFile, Topology};
use crate::BusError;

/// Stands for the instance's name in consumer templates. Upper case, so that no instance is called so.
const PLACEHOLDER: &str = "INSTANCE";

macro_rules! embedded {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../../../../nats/", $path)))),*] };
}

const EMBEDDED: &[(&str, &str)] = embedded![
    "streams/BROCA_IN.json",
    "streams/BROCA_OUT.json",
    "streams/BROCA_DLQ.json",
    "streams/BROCA_EVENTS.json",
    "kv/broca_settings.json",
    "objects/BROCA_FILES_INSTANCE.json",
    "consumers/BROCA_IN.workers.json",
    "consumers/BROCA_OUT.out-INSTANCE.json",
];

impl Topology {
    /// The definitions that this build was made with.
    pub fn embedded() -> Result<Self, BusError> {
        let files = EMBEDDED.iter().map(|(path, text)| (PathBuf::from("nats").join(path), (*text).to_owned()));
        Self::read(files.collect())
    }

    /// The definitions under `dir`: `streams/*.json`, `kv/*.json`, `objects/*.json` and `consumers/*.json`.
    pub fn load(dir: &Path) -> Result<Self, BusError> {
        let mut files = Vec::new();
        for folder in ["streams", "kv", "objects", "consumers"] {
            for path in json_files(&dir.join(folder))? {
                let text = fs::read_to_string(&path).map_err(|error| wrong(&path, error))?;
                files.push((path, text));
            }
        }
        if files.is_empty() {
            return Err(wrong(dir, "holds no streams/*.json, kv/*.json, objects/*.json or consumers/*.json"));
        }
        Self::read(files)
    }

    /// Only what each instance has of its own.
    pub fn of_instances(self) -> Self {
        let consumers = self.consumers.into_iter().filter(ConsumerFile::is_template).collect();
        Self { streams: Vec::new(), objects: self.objects, consumers }
    }

    fn read(files: Vec<(PathBuf, String)>) -> Result<Self, BusError> {
        let mut topology = Self { streams: Vec::new(), objects: Vec::new(), consumers: Vec::new() };
        for (path, text) in files {
            let config: Config = serde_json::from_str(&text).map_err(|error| wrong(&path, error))?;
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
            match folder {
                "streams" => topology.streams.push(named(&path, config, "name", &stem)?),
                "kv" => topology.streams.push(named(&path, config, "name", &format!("KV_{stem}"))?),
                "objects" => topology.objects.push(named(&path, config, "name", &format!("OBJ_{stem}"))?),
                _ => {
                    let (stream, name) = stem
                        .split_once('.')
                        .ok_or_else(|| wrong(&path, "a consumer's file is called <STREAM>.<consumer>.json"))?;
                    let config = named(&path, config, "durable_name", name)?;
                    topology.consumers.push(ConsumerFile { stream: stream.to_owned(), config });
                }
            }
        }
        Ok(topology)
    }
}

impl ConsumerFile {
    pub(super) fn is_template(&self) -> bool {
        mentions_placeholder(&self.config)
    }

    /// The consumer's name; with the placeholder, when it is a template.
    pub(super) fn name(&self) -> &str {
        self.config.get("durable_name").and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn for_instance(&self, instance: &Instance) -> Self {
        Self { stream: self.stream.clone(), config: filled(&self.config, instance) }
    }

    /// The instance that a consumer called `name` would have come from.
    pub(super) fn instance_in(&self, name: &str) -> Option<Instance> {
        let (before, after) = self.name().split_once(PLACEHOLDER)?;
        name.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
    }
}

/// A template with an instance's name in it.
pub(super) fn filled(template: &Config, instance: &Instance) -> Config {
    fn fill(value: &Value, name: &str) -> Value {
        match value {
            Value::String(text) => Value::String(text.replace(PLACEHOLDER, name)),
            Value::Array(values) => values.iter().map(|value| fill(value, name)).collect(),
            other => other.clone(),
        }
    }
    template.iter().map(|(key, value)| (key.clone(), fill(value, instance.as_str()))).collect()
}

fn mentions_placeholder(config: &Config) -> bool {
    config.get("durable_name").and_then(Value::as_str).is_some_and(|name| name.contains(PLACEHOLDER))
}

fn json_files(folder: &Path) -> Result<Vec<PathBuf>, BusError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(folder, error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| wrong(folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The file's name and what it defines must agree, or the wrong thing would be changed.
fn named(path: &Path, config: Config, key: &str, expected: &str) -> Result<Config, BusError> {
    match config.get(key).and_then(Value::as_str) {
        Some(name) if name == expected => Ok(config),
        found => {
            Err(wrong(path, format!("its \"{key}\" must be \"{expected}\", it is {}", found.unwrap_or("missing"))))
        }
    }
}

fn wrong(path: &Path, reason: impl ToString) -> BusError {
    BusError::TopologyFile { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broca_core::subject;

    #[test]
    fn the_embedded_files_define_the_fixed_names() {
        let topology = Topology::embedded().unwrap();
        let text = |config: &Config, key: &str| config.get(key).and_then(Value::as_str).map(str::to_owned);
        let streams: Vec<_> = topology.streams.iter().filter_map(|stream| text(stream, "name")).collect();
        let bucket = format!("KV_{}", subject::KV_SETTINGS);
        let expected = [subject::STREAM_IN, subject::STREAM_OUT, subject::STREAM_DLQ, subject::STREAM_EVENTS, &bucket];
        assert_eq!(streams, expected);

        let bucket = filled(&topology.objects[0], &"web-chat".parse().unwrap());
        assert_eq!(text(&bucket, "name"), Some(subject::files_stream(&"web-chat".parse().unwrap())));
        assert_eq!(bucket["subjects"][0], "$O.BROCA_FILES_web-chat.C.>");

        let [workers, template] = &topology.consumers[..] else { panic!("two consumer files") };
        assert_eq!((workers.stream.as_str(), workers.name()), (subject::STREAM_IN, subject::CONSUMER_WORKERS));
        assert!(!workers.is_template());
        let instance: Instance = "support-bot".parse().unwrap();
        let filled = template.for_instance(&instance);
        assert_eq!((filled.stream.as_str(), filled.name()), (subject::STREAM_OUT, "out-support-bot"));
        assert_eq!(text(&filled.config, "filter_subject"), Some(subject::outgoing(&instance)));
        assert_eq!(template.instance_in("out-support-bot"), Some(instance));
        assert_eq!(template.instance_in("workers"), None);
        for consumer in [workers, template] {
            assert_eq!(consumer.config.get("max_deliver"), Some(&Value::from(-1)), "a message must not go missing");
            assert_eq!(consumer.config.get("backoff"), None, "it would override ack_wait");
        }
    }

    #[test]
    fn a_folder_overrides_and_its_mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let empty = Topology::load(dir.path()).unwrap_err().to_string();
        assert!(empty.contains("holds no streams"), "{empty}");

        for (path, text) in EMBEDDED {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let loaded = Topology::load(dir.path()).unwrap();
        assert_eq!((loaded.streams.len(), loaded.objects.len()), (5, 1));
        assert_eq!(loaded.consumers, Topology::embedded().unwrap().consumers);

        let stray = dir.path().join("streams/OTHER.json");
        fs::write(&stray, EMBEDDED[0].1).unwrap();
        let error = Topology::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("OTHER.json") && error.contains("BROCA_IN"), "{error}");
        fs::write(&stray, "{").unwrap();
        assert!(Topology::load(dir.path()).unwrap_err().to_string().contains("OTHER.json"));
    }
}
