//! Settings, hello and ready.

use broca_plugin_exec::protocol::{FromChild, ToChild};
use serde_json::{Map, json};

use super::{Bench, order::Order};
use crate::conformance::{
    life::GRACE,
    scene::Scene,
    verdict::{Checked, holds, not_checked, wrong},
};

/// Whether it is worth going on.
pub(super) async fn all(bench: &mut Bench<'_>) -> bool {
    let ended = misspelt_settings_are_refused(bench);
    bench.is("a setting that is misspelt is refused", ended);
    let ended = missing_settings_are_named(bench);
    bench.is("settings that are missing are named", ended);
    let ended = ready(bench).await;
    let goes_on = ended.is_ok();
    bench.is("it answers hello with ready", ended);
    if goes_on {
        let ended = a_later_host(bench).await;
        bench.is("it ignores fields that it does not know", ended);
        let ended = courtesies(bench).await;
        bench.is("typing, events and late answers harm nothing", ended);
        let ended = new_settings(bench).await;
        bench.is("it takes new settings while it runs", ended);
    }
    goes_on
}

fn misspelt_settings_are_refused(bench: &Bench<'_>) -> Checked {
    let Some(schema) = &bench.subject.schema else {
        return Err(not_checked("a bare command has no schema", "give it a folder with a plugin.toml"));
    };
    let misspelt = Map::from_iter([("no-such-setting-at-all".to_owned(), json!(true))]);
    let settings = bench.subject.settings("http://127.0.0.1:1", misspelt);
    let what = || "a setting that there is not is taken without a word".to_owned();
    holds(schema.check(&settings).is_err(), what, "write \"additionalProperties\": false into its settings schema")
}

fn missing_settings_are_named(bench: &Bench<'_>) -> Checked {
    let required = bench.subject.schema.as_ref().and_then(|schema| {
        let required = schema.json().get("required")?.as_array()?;
        Some((schema.clone(), required.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect::<Vec<_>>()))
    });
    let Some((schema, required)) = required.filter(|(_, required)| !required.is_empty()) else {
        return Err(not_checked("its schema requires none", ""));
    };
    let said = schema.check(&json!({})).err().map(|error| error.to_string()).unwrap_or_default();
    let missing = required.iter().find(|key| !said.contains(key.as_str()));
    holds(missing.is_none(), || format!("nothing is said of {missing:?}"), "list it in \"required\" of the schema")
}

async fn ready(bench: &Bench<'_>) -> Checked {
    let scene = Scene::open(bench.subject, &bench.garbage).await?;
    let life = scene.begin().await?;
    let named = !life.ready.name.is_empty() && !life.ready.version.is_empty();
    let advice = "say name and version in `ready`: `broca plugin list` and the log show them";
    holds(named, || "it does not say who it is".to_owned(), advice)
}

async fn a_later_host(bench: &Bench<'_>) -> Checked {
    let scene = Scene::open(bench.subject, &bench.garbage).await?;
    let mut life = scene.begin_strangely().await?;
    if scene.platform.is_there().is_ok() {
        scene.platform.say("alice", "good morning").await?;
        let (id, message) = life.report().await?;
        life.accept(id, &message).await?;
        Order::to("alice", "good morning to you").deliver(&mut life).await?.is_delivered()?;
    }
    life.stop(GRACE).await
}

async fn courtesies(bench: &Bench<'_>) -> Checked {
    let scene = Scene::open(bench.subject, &bench.garbage).await?;
    let mut life = scene.begin().await?;
    let message_id = broca_core::MessageId::new();
    let event = json!({"v": 1, "type": "status", "instance": "trial", "at": 0, "data": {"state": "connected"}});
    let nobodys = 9_999;
    for line in [
        ToChild::Typing { message_id, chat_id: None, platform_user_id: "alice".into() },
        ToChild::Event { event },
        ToChild::PartRecorded { id: nobodys },
        ToChild::PartLost { id: nobodys, reason: "nobody waits for it".into() },
    ] {
        life.tell(&line).await?;
    }
    if scene.platform.is_there().is_ok() {
        Order::to("alice", "still here").deliver(&mut life).await?.is_delivered()?;
    }
    life.stop(GRACE).await
}

async fn new_settings(bench: &Bench<'_>) -> Checked {
    let scene = Scene::open(bench.subject, &bench.garbage).await?;
    let mut life = scene.begin().await?;
    if !life.ready.applies_settings {
        return Err(not_checked("it does not say `applies_settings`: it is started anew for them", ""));
    }
    let id = life.number();
    life.tell(&ToChild::Settings { id, settings: scene.settings() }).await?;
    let meant = |line: &FromChild| matches!(line, FromChild::Applied { .. } | FromChild::SettingsRefused { .. });
    match life.hear("`applied` or `settings_refused`", meant).await? {
        FromChild::SettingsRefused { reason, .. } => {
            Err(wrong(format!("it refuses the settings that it runs with: {reason}"), "answer `applied`"))
        }
        _ => Ok(()),
    }
}
