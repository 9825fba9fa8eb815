//! `deploy/monitoring`: the commands of the runbooks run, alerts and dashboard speak of metrics that there are, and every
//! alert fires on what it is about.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use broca_core::metric;
use broca_tests::{Crew, Database, Rig, RigOptions, all_over, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// What `broca check` and `broca doctor` end with when they have something to say is no failure of a runbook.
const ENDS_WELL: [i32; 3] = [0, 1, 2];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The commands of the page, in its order, without what they are said to be for.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let lines = blocks.flat_map(str::lines).map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The words of a command, with a quoted one as one of them.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    parts
        .flat_map(|(at, part)| match at % 2 {
            1 => vec![part.to_owned()],
            _ => part.split_whitespace().map(str::to_owned).collect(),
        })
        .collect()
}

/// Runs a command that is a step of a runbook; what it printed as JSON.
fn step(rig: &Rig, command: &str, known: &[(&str, String)]) -> Value {
    let mut args = words(command);
    assert_eq!(args.remove(0), "broca", "{command}");
    for (name, value) in known {
        args.iter_mut().filter(|arg| arg == name).for_each(|arg| arg.clone_from(value));
    }
    args.push("--json".to_owned());
    let output = rig.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let code = output.status.code().unwrap_or(-1);
    let value: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{command}: {error}: {said}"));
    assert!(ENDS_WELL.contains(&code) && value.get("error").is_none(), "{command} ends with {code}: {said}");
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_runbooks_run() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let (_workers, _plugin) = (Crew::workers(&rig, 1, &[]), Crew::plugin(&rig, &[]));
    let store = rig.store().await;
    rig.platform.say("ann", "well");
    rig.platform.say("ben", "badly #letta(http=400)");
    eventually("one is answered and one fails", PATIENCE, || async {
        let counts = store.counts().await.expect("the store answers");
        rig.platform.log().len() == 1 && counts.messages.get("failed") == Some(&1) && all_over(&store).await
    })
    .await;

    let page = read("runbooks.md");
    let letters = step(&rig, "broca dlq list", &[]);
    let mut known = vec![("ID", letters["items"][0]["message_id"].as_str().expect("a message").to_owned())];
    let commands = commands(&page);
    assert!(commands.len() > 20, "{commands:?}");
    for command in &commands {
        let said = step(&rig, command, &known);
        known.extend(said["plan"].as_str().map(|plan| ("PLAN", plan.to_owned())));
        if command.starts_with("broca hold add") {
            known.push(("HOLD", said["hold"]["id"].as_str().or(said["id"].as_str()).expect("a hold").to_owned()));
        }
    }
    eventually("what was replayed is over", PATIENCE, || all_over(&store)).await;
    assert_eq!(rig.is_sound(), Ok(()));
}

#[test]
fn every_alert_has_its_runbook() {
    let page = read("runbooks.md");
    let sections: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| title.to_lowercase().replace(' ', "-"))
        .collect();
    let alerts = read("alerts.yml");
    let named: Vec<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook: runbooks.md#")).collect();
    assert_eq!(named.len(), alerts.matches("- alert: ").count());
    let missing: Vec<_> = named.iter().filter(|name| !sections.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not among {sections:?}");
}

/// Every `broca_…` in it, without what Prometheus adds to a histogram's name.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| word.starts_with("broca_"));
    words
        .map(|word| {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn alerts_and_dashboard_speak_of_metrics_that_there_are() {
    let known: BTreeSet<&str> = metric::ALL.iter().map(|metric| metric.name).collect();
    for name in ["alerts.yml", "alerts.test.yml", "dashboard.json"] {
        let found = metrics_in(&read(name));
        let unknown: Vec<_> = found.iter().filter(|metric| !known.contains(metric.as_str())).collect();
        assert!(unknown.is_empty() && found.len() > 10, "{name}: {unknown:?}");
    }
}

/// The queries of the dashboard, with what Grafana fills in.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.filter_map(|target| target["expr"].as_str()).map(|expr| expr.replace("$__rate_interval", "5m")).collect()
}

fn promtool(args: &[&str]) {
    let promtool =
        std::env::var("BROCA_PROMTOOL").expect("BROCA_PROMTOOL names promtool: run tests/run, which gets it");
    let output = Command::new(&promtool).args(args).output().unwrap_or_else(|error| panic!("{promtool}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "promtool {args:?}: {}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn prometheus_takes_the_rules_and_they_fire_as_they_should() {
    let path = |name: &str| file(name).display().to_string();
    promtool(&["check", "rules", &path("alerts.yml")]);
    promtool(&["test", "rules", &path("alerts.test.yml")]);
    // A panel's query is checked as a rule of its own.
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("it is JSON");
    let queries = queries(&dashboard);
    assert!(queries.len() > 20, "{queries:?}");
    let rules: Vec<Value> = queries
        .iter()
        .enumerate()
        .map(|(at, expr)| serde_json::json!({"record": format!("dashboard:query:{at}"), "expr": expr}))
        .collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rules_file = folder.path().join("dashboard.yml");
    // JSON is YAML.
    let text = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    fs::write(&rules_file, text).expect("a file is written");
    promtool(&["check", "rules", &rules_file.display().to_string()]);
}
