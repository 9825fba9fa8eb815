//! Folders with a `plugin.toml`, whole and broken.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use broca_plugin_exec::{folder, untied};
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline};
use serde_json::json;
use tempfile::{TempDir, tempdir};

const TOML: &str = "name = 'line-chat'\nversion = '1.2.0'\nprotocol = 1\ncommand = ['./run']\nsettings_schema = 'settings.json'\n[capabilities]\nsettles = true\n";
const SCHEMA: &str = r#"{"type": "object", "additionalProperties": false, "required": ["token"], "properties": {
    "token": {"type": "string", "format": "secret-reference"}, "room": {"type": "string"}}}"#;
/// Reports its settings as a message.
const RUN: &str = "#!/usr/bin/env python3
import json, sys
hello = json.loads(sys.stdin.readline())
print(json.dumps({'v': 1, 'type': 'ready'}), flush=True)
message = {'event_id': '1', 'sender': {'platform_user_id': 'a'}, 'text': json.dumps(hello['settings'])}
print(json.dumps({'v': 1, 'type': 'ingest', 'id': 1, 'message': message}), flush=True)
for line in sys.stdin:
    if json.loads(line)['type'] == 'shutdown': break
";

fn write(folder: &Path, toml: &str) {
    fs::create_dir_all(folder).unwrap();
    for (name, text) in [("plugin.toml", toml), ("settings.json", SCHEMA), ("run", RUN)] {
        fs::write(folder.join(name), text).unwrap();
    }
    fs::set_permissions(folder.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
}

fn folder_of(toml: &str) -> TempDir {
    let folder = tempdir().unwrap();
    write(folder.path(), toml);
    folder
}

#[tokio::test]
async fn a_folder_is_a_plugin_with_settings_of_its_own() {
    let folder = folder_of(TOML);
    let blueprint = folder::read(folder.path(), untied).unwrap();
    let manifest = blueprint.manifest();
    assert_eq!((manifest.name.as_str(), manifest.platform.as_str()), ("line-chat", "line-chat"));
    assert!(manifest.capabilities.settles);
    let error = blueprint.build(json!({"rom": "lobby"})).unwrap_err().to_string();
    assert!(error.contains("token: is missing") && error.contains("rom: there is no such key"), "{error}");

    let token = folder.path().join("token");
    fs::write(&token, "hunter2").unwrap();
    let reference = format!("file:{}", token.display());
    let plugin = blueprint.build(json!({"token": reference, "room": reference})).unwrap();
    let pipeline = MemoryPipeline::new();
    let hosted = Hosted::start(plugin, &pipeline);
    let seen = pipeline.until(|seen| !seen.accepted.is_empty()).await;
    let told: serde_json::Value = serde_json::from_str(seen.texts()[0]).unwrap();
    assert_eq!(told, json!({"token": "hunter2", "room": reference}), "only what the schema calls a secret is read");
    hosted.stop().await.unwrap();
}

#[test]
fn what_is_broken_says_where_and_what() {
    for (toml, what) in [
        ("name = 'x'", "missing field `version`"),
        (&TOML.replace("protocol = 1", "protocol = 7"), "protocol is 7, and this Broca speaks 1"),
        (&TOML.replace("line-chat", "Line Chat"), "name is no name"),
        (&TOML.replace("./run", "./gone"), "gone"),
        (&TOML.replace("./run", "./settings.json"), "is no executable file"),
        (&TOML.replace("['./run']", "[]"), "command is empty"),
        (&TOML.replace("settings.json", "none.json"), "none.json"),
        (&TOML.replace("settings.json", "run"), "settings_schema"),
        (&TOML.replace("settles", "settels"), "settels"),
    ] {
        let folder = folder_of(toml);
        let error = folder::read(folder.path(), untied).unwrap_err();
        assert!(error.contains(what) && error.contains(&*folder.path().to_string_lossy()), "{what}: {error}");
    }
}

#[test]
fn a_folder_of_plugins_is_searched_one_level_down() {
    let folder = tempdir().unwrap();
    for name in ["b", "a", "c/d"] {
        write(&folder.path().join(name), TOML);
    }
    fs::write(folder.path().join("notes.txt"), "").unwrap();
    let found = folder::below(folder.path()).unwrap();
    assert_eq!(found, [folder.path().join("a"), folder.path().join("b")]);
    assert_eq!(folder::below(&folder.path().join("a")).unwrap(), [folder.path().join("a")]);
    assert!(folder::below(&folder.path().join("none")).is_err());
}
