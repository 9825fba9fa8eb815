//! `broca plugin set`, `unset`, `show`, `history`: an instance's settings while it runs.

use broca_admin::{
    live::{self, Edit, InForce},
    operations::{ListPluginChanges, ListedChanges, WhichPluginChanges},
};
use broca_core::{Instance, live::overlaid, subject};
use broca_plugin::{SettingsError, SettingsSchema};
use broca_store::{Applied, LiveChange, Outcome};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::{
    letters::{actor, short},
    moment::relative,
};
use crate::{
    app::App,
    failure::{Code, Failure},
    output::{pairs, table},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  broca plugin set telegram groups=all link_previews=false\n  \
    broca plugin set telegram token=env:TELEGRAM_TOKEN_2\n\n\
    What is set goes before broca.toml and the environment, on all processes of the instance, within a second, and stays\n\
    until `broca plugin unset`. Secrets are set by reference alone: env:NAME or file:/path, as the instance's process\n\
    finds it. Exit code 7: it is set, but a process does not have it in force.")]
pub(crate) struct SetArgs {
    /// The instance, as in [plugins.<instance>]
    instance: Instance,
    /// Dotted keys with their values
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = assignment)]
    values: Vec<Assignment>,
    /// Only the schema is checked here: what the check of the whole would read is where the plugin runs
    #[arg(long)]
    schema_only: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UnsetArgs {
    /// The instance, as in [plugins.<instance>]
    instance: Instance,
    /// Dotted keys that are to be as broca.toml and the environment have them
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// Only the schema is checked here
    #[arg(long)]
    schema_only: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The instance, as in [plugins.<instance>]
    instance: Instance,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// The instance, as in [plugins.<instance>]
    instance: Instance,
    /// The latest so many changes
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl SetArgs {
    pub(crate) fn one(instance: Instance, assignment: Assignment) -> Self {
        Self { instance, values: vec![assignment], schema_only: false }
    }
}

pub(crate) fn assignment(text: &str) -> Result<Assignment, String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, e.g. groups=all")?;
    if key.is_empty() || key.split('.').any(str::is_empty) {
        return Err("the key before '=' is empty, or a part of it is".to_owned());
    }
    Ok(Assignment { key: key.to_owned(), value: value.to_owned() })
}

pub(crate) async fn set(app: &App, args: &SetArgs) -> Result<(), Failure> {
    let keys: Vec<&str> = args.values.iter().map(|set| set.key.as_str()).collect();
    change(app, &args.instance, args.schema_only, &keys, |over, schema| {
        // Texts become what their places want before they are laid over the others.
        let new = args.values.iter().fold(json!({}), |new, set| put(new, &set.key, set.value.clone().into()));
        overlaid(over, &schema.fit(new))
    })
    .await
}

pub(crate) async fn unset(app: &App, args: &UnsetArgs) -> Result<(), Failure> {
    let keys: Vec<&str> = args.keys.iter().map(String::as_str).collect();
    change(app, &args.instance, args.schema_only, &keys, |over, _| {
        args.keys.iter().fold(over, |over, key| take(over, key))
    })
    .await
}

/// Checks what the settings become, and writes it.
async fn change(
    app: &App,
    instance: &Instance,
    schema_only: bool,
    keys: &[&str],
    edit: impl Fn(Value, &SettingsSchema) -> Value,
) -> Result<(), Failure> {
    let (blueprint, base) = (app.blueprint(instance)?, app.configured_settings(instance)?);
    let schema = blueprint.settings_schema();
    let (store, bus) = app.both("plugins").await?;
    let key = subject::settings_key(instance);
    let unfit = |error: SettingsError| unfit(instance, &error);
    let revision = live::change((&store, &bus), &key, &actor(), |current: Option<&Value>| {
        let old = current.cloned().unwrap_or_else(|| json!({}));
        let new = edit(old.clone(), schema);
        schema.check_references(&new).map_err(unfit)?;
        let whole = schema.fit(overlaid(base.clone(), &new));
        schema.check(&whole).map_err(unfit)?;
        if !schema_only {
            blueprint.build(whole).map_err(unfit)?;
        }
        let changes = changes(keys, &schema.masked(&old), &schema.masked(&new));
        Ok::<_, Failure>((old != new).then_some(Edit { value: new, changes }))
    })
    .await?;
    let Some(revision) = revision else {
        return app.output.result(&json!({"revision": null}), || "nothing to change: it is so already".to_owned());
    };
    let reached = live::in_force(&store, &key, revision).await?;
    said(app, &reached)
}

/// Who has a change in force, and who has not.
pub(crate) fn said(app: &App, reached: &InForce) -> Result<(), Failure> {
    app.output.result(reached, || {
        let all = reached.processes.len() + reached.others.len();
        let mut lines = vec![match all {
            0 => format!("revision {}: no process runs; the next one begins with it", reached.revision),
            _ => format!("revision {}: in force in {} of {all} processes", reached.revision, reached.processes.len()),
        }];
        lines.extend(reached.others.iter().map(|other| format!("  {}", not_in_force(other))));
        lines.join("\n")
    })?;
    // The result says it all.
    if reached.others.is_empty() { Ok(()) } else { Err(Failure::said(Code::Partial as u8)) }
}

fn not_in_force(other: &Applied) -> String {
    let why = other.problem.as_deref().unwrap_or("it did not say so in time; `show` tells whether it does by now");
    format!("{}: {why}", other.process)
}

fn unfit(instance: &Instance, error: &SettingsError) -> Failure {
    let problems: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
    Failure::new(Code::Usage, problems.join("\nerror: "))
        .hint(format!("nothing was changed; `broca plugin show {instance}` has the keys and what they mean"))
}

/// A table with `value` at the dotted key.
fn put(table: Value, key: &str, value: Value) -> Value {
    let nested = key.rsplit('.').fold(value, |below, part| Value::Object(Map::from_iter([(part.to_owned(), below)])));
    overlaid(table, &nested)
}

/// The table without the dotted key, and without tables that are empty by that.
fn take(mut table: Value, key: &str) -> Value {
    if let Value::Object(map) = &mut table {
        match key.split_once('.') {
            None => drop(map.remove(key)),
            Some((first, rest)) => {
                if let Some(below) =
                    map.remove(first).map(|below| take(below, rest)).filter(|below| *below != json!({}))
                {
                    map.insert(first.to_owned(), below);
                }
            }
        }
    }
    table
}

fn at<'a>(table: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(table, |table, part| table.get(part))
}

fn changes(keys: &[&str], old: &Value, new: &Value) -> Value {
    let change = |key: &&str| {
        (at(old, key) != at(new, key)).then(|| json!({"key": key, "old": at(old, key), "new": at(new, key)}))
    };
    keys.iter().filter_map(change).collect()
}

/// One key as it stands.
#[derive(Serialize)]
struct Row {
    key: String,
    /// Secrets as `***`, references to them as they are.
    value: Option<Value>,
    source: String,
    description: Option<String>,
}

pub(crate) async fn show(app: &App, args: &ShowArgs) -> Result<(), Failure> {
    let instance = &args.instance;
    let (blueprint, base) = (app.blueprint(instance)?, app.configured_settings(instance)?);
    let schema = blueprint.settings_schema();
    let (store, bus) = app.both("plugins").await?;
    let key = subject::settings_key(instance);
    let current = live::read::<Value>(&bus, &key).await?;
    let over = current.written.as_ref().map_or_else(|| json!({}), |written| written.value.clone());
    let whole = schema.masked(&schema.fit(overlaid(base, &over)));
    let rows: Vec<Row> = schema
        .keys()
        .into_iter()
        .map(|known| {
            let set = at(&whole, &known.key);
            let source = match (at(&over, &known.key), set) {
                (Some(_), _) => "run time".to_owned(),
                (None, Some(_)) => app.config.source_of(&format!("plugins.{instance}.settings.{}", known.key)),
                (None, None) => "default".to_owned(),
            };
            Row { value: set.cloned().or(known.default), key: known.key, source, description: known.description }
        })
        .collect();
    let processes = store.live_in_force(&key).await?;
    let by = current.written.as_ref().map(|written| json!({"by": written.by, "at": written.at}));
    let all = json!({"instance": instance, "revision": current.revision, "changed": by, "items": rows,
                     "processes": processes});
    app.output.result(&all, || {
        let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), plain);
        let line = |row: &Row| {
            let what = row.description.as_deref().map_or_else(String::new, |text| short(text, 80));
            [row.key.clone(), short(&text(&row.value), 40), row.source.clone(), what]
        };
        let settings = table(["key", "value", "from", "what it is"], rows.iter().map(line));
        let in_force = processes.iter().map(|process| [process.process.clone(), has(process, current.revision)]);
        let in_force: Vec<[String; 2]> = in_force.collect();
        let none = "no process of it runs".to_owned();
        let running = if in_force.is_empty() { none } else { pairs(&in_force) };
        format!("{settings}\n\n{running}")
    })
}

fn has(process: &Applied, newest: u64) -> String {
    match &process.problem {
        Some(problem) => format!("goes by revision {}: {problem}", process.revision),
        None if process.revision == newest => format!("goes by revision {newest}, the newest"),
        None => format!("goes by revision {}, the newest is {newest}", process.revision),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

pub(crate) async fn history(app: &App, args: &HistoryArgs) -> Result<(), Failure> {
    let request = WhichPluginChanges { instance: args.instance.clone(), limit: args.limit };
    told(app, &app.operate::<ListPluginChanges>(&app.deps().await?, &request).await?)
}

/// Changes, newest first.
pub(crate) fn told(app: &App, changes: &ListedChanges) -> Result<(), Failure> {
    app.output.result(changes, || {
        if changes.items.is_empty() {
            return "nothing was ever set at run time".to_owned();
        }
        table(["when", "who", "what", "revision"], changes.items.iter().map(line))
    })
}

fn line(change: &LiveChange) -> [String; 4] {
    let one = |change: &Value| {
        let text = |key: &str| change.get(key).map_or_else(|| "-".to_owned(), plain);
        format!("{}: {} -> {}", text("key"), text("old"), text("new"))
    };
    let what: Vec<String> = change.changes.as_array().into_iter().flatten().map(one).collect();
    let revision = match (change.outcome, change.revision) {
        (Outcome::Written, Some(revision)) => revision.to_string(),
        (Outcome::Proposed, _) => "cut off; see what is in force".to_owned(),
        (Outcome::Written | Outcome::Refused, _) => "not written".to_owned(),
    };
    [relative(change.at), change.actor.clone(), what.join(", "), revision]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_put_and_taken_by_their_dots() {
        let table = put(put(json!({"a": 1}), "b.c", json!("x")), "b.d", json!(2));
        assert_eq!(table, json!({"a": 1, "b": {"c": "x", "d": 2}}));
        assert_eq!(changes(&["b.c", "a"], &json!({"a": 1}), &table), json!([{"key": "b.c", "old": null, "new": "x"}]));
        assert_eq!(take(take(table.clone(), "b.c"), "b.d"), json!({"a": 1}), "no empty table is left");
        assert_eq!(take(table.clone(), "x.y"), table);
        for bad in ["groups", "=x", "a..b=1", ".a=1"] {
            assert!(assignment(bad).is_err(), "{bad}");
        }
        assert_eq!(assignment("a.b=c=d").unwrap().value, "c=d");
    }
}
