//! What the processes show of themselves: the names are those of the table and of `deploy/metrics.md`, the numbers are
//! those of what happened, and readiness follows the servers.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use broca_core::metric::{self, Role};
use broca_tests::{Database, Home, Process, Rig, RigOptions, Scrape, eventually, page};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const ANYWHERE: (&str, &str) = ("BROCA_METRICS__LISTEN", "127.0.0.1:0");

/// The rows of the table for people: name, type, labels, shown by, meaning.
fn documented() -> Vec<[String; 5]> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/metrics.md");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let rows = text.lines().filter(|line| line.starts_with("| `broca_"));
    rows.map(|row| {
        let cells: Vec<String> = row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        cells.try_into().unwrap_or_else(|cells| panic!("five cells, not {cells:?}"))
    })
    .collect()
}

#[test]
fn the_table_for_people_is_the_table() {
    let code = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let rows: Vec<[String; 5]> = metric::ALL
        .iter()
        .map(|metric| {
            let by: Vec<&str> = metric.by.iter().map(|role| role.as_str()).collect();
            let (name, kind) = (code(&[metric.name]), metric.kind.as_str().to_owned());
            [name, kind, code(metric.labels), by.join(", "), metric.help.trim().to_owned()]
        })
        .collect();
    assert_eq!(documented(), rows, "deploy/metrics.md and broca_core::metric differ");
}

/// Everything that the table gives a process is there, and nothing else, each with the labels that the table names.
fn fits_the_table(address: &str, role: Role) {
    let scrape = Scrape::of(address);
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    for metric in metric::ALL.iter().filter(|metric| metric.by.contains(&role)) {
        wanted.insert(metric.name.to_owned(), metric.kind.as_str().to_owned());
        let mut labels: Vec<String> = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        labels.sort();
        assert_eq!(scrape.labels(metric.name).into_iter().collect::<Vec<_>>(), [labels], "{}", metric.name);
        assert!(scrape.helped.contains(metric.name), "{} has no help", metric.name);
    }
    assert_eq!(scrape.types, wanted, "{role:?} shows other names than the table has");
}

/// The worker has made its first audit.
async fn audited(address: &str) {
    let shown = || Scrape::of(address).types.contains_key("broca_audit_timestamp_seconds");
    eventually("there was an audit", PATIENCE, || async { shown() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_shows_what_the_table_says() {
    // An agent that is not called: what is told of agents is told of it.
    let agent = "mode = \"echo\"\n[agents.default]\nendpoint = \"http://127.0.0.1:9\"\nagent_id = \"agent-1\"\n";
    let home = Home::new(&format!("{agent}[up]\nworkers = 1\n[audit]\ninterval_s = 1\noverdue_s = 1\n"));
    let mut up = home.up(&[]).await;
    assert_eq!(home.run(&["send", "--as", "alice", "hi"]).code, 0);
    let status = home.run(&["status", "--json"]).json();
    let own = status["metrics"].as_str().expect("broca up has an address").to_owned();
    assert!(up.output().contains(&format!("http://{own}/metrics")), "{}", up.output());
    fits_the_table(&own, Role::Up);
    let (code, targets) = page(&own, "/targets");
    let targets: Value = serde_json::from_str(&targets).unwrap_or_else(|error| panic!("{code} {targets}: {error}"));
    for (name, role) in [("worker-1", Role::Worker), ("cli", Role::Plugin)] {
        let listed = |process: &&Value| process["labels"]["broca_process"] == name;
        let target = targets.as_array().expect("a list").iter().find(listed).expect("it is a target");
        let address = target["targets"][0].as_str().expect("an address");
        let shown = status["processes"].as_array().expect("a list").iter().find(|process| process["name"] == name);
        assert_eq!(shown.expect("it runs")["metrics"], address);
        assert_eq!((page(address, "/healthz"), page(address, "/readyz").0), ((200, "ok\n".to_owned()), 200));
        if role == Role::Worker {
            audited(address).await;
        }
        fits_the_table(address, role);
    }
    let scrape = Scrape::of(&own);
    for process in ["nats", "worker-1", "cli"] {
        assert_eq!(scrape.sum("broca_child_up", &[("process", process)]), 1.0, "{process}");
    }
    assert_eq!(page(&own, "/readyz").0, 200);
    assert!(up.stop(PATIENCE).is_some_and(|status| status.success()), "{}", up.output());
}

/// Where a process of its own says that it listens.
async fn address_of(process: &Process) -> String {
    let find = || {
        let output = process.output();
        let line = output.lines().find(|line| line.contains("metrics, health and readiness are served"))?;
        line.split("address").nth(1)?.split("127.0.0.1:").nth(1).map(|port| {
            let port: String = port.chars().take_while(char::is_ascii_digit).collect();
            format!("127.0.0.1:{port}")
        })
    };
    eventually("it says where its metrics are", PATIENCE, || async { find().is_some() }).await;
    find().expect("it was there")
}

/// A name, labels and the value that it should have.
type Figure<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// Waits until every one of these is exactly what it should be: one event is counted in several figures, one after the other.
async fn settles(address: &str, expected: &[Figure<'_>]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let scrape = Scrape::of(address);
        let found = expected.iter().map(|(name, labels, value)| (name, labels, scrape.sum(name, labels), *value));
        let wrong: Vec<_> = found.filter(|(.., found, value)| found != value).collect();
        if wrong.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "name, labels, found, expected: {wrong:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_is_what_happened() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let worker = rig.spawn("worker", &["worker"], &[ANYWHERE]);
    let plugin = rig.spawn("plugin", &["plugin", "run", "demo"], &[ANYWHERE]);
    let (at_worker, at_plugin) = (address_of(&worker).await, address_of(&plugin).await);
    rig.say(4, 5);
    let demo = [("plugin", "demo"), ("platform", "demo")];
    let with = |more: (&'static str, &'static str)| [demo.as_slice(), &[more]].concat();
    let delivered = with(("outcome", "delivered"));
    settles(
        &at_plugin,
        &[
            ("broca_messages_total", &with(("outcome", "accepted")), 20.0),
            ("broca_messages_total", &demo, 20.0),
            ("broca_deliveries_total", &delivered, 20.0),
            ("broca_deliveries_total", &demo, 20.0),
            ("broca_delivery_duration_seconds_count", &demo, 20.0),
            ("broca_delivered_delay_seconds_count", &demo, 20.0),
            ("broca_plugin_state", &with(("state", "connected")), 1.0),
            // One state at a time.
            ("broca_plugin_state", &demo, 1.0),
        ],
    )
    .await;
    let default = [("agent", "default")];
    settles(
        &at_worker,
        &[
            ("broca_turns_started_total", &default, 20.0),
            ("broca_turns_total", &[("agent", "default"), ("outcome", "answered")], 20.0),
            ("broca_turn_duration_seconds_count", &default, 20.0),
            ("broca_messages_ended_total", &with(("outcome", "completed")), 20.0),
            ("broca_answer_delay_seconds_count", &demo, 20.0),
            ("broca_publishes_total", &[("kind", "response"), ("outcome", "stored")], 20.0),
            ("broca_store_batch_items_sum", &[("operation", "start turn")], 20.0),
        ],
    )
    .await;
    eventually("nothing is in hand", PATIENCE, || async {
        let scrape = Scrape::of(&at_worker);
        scrape.sum("broca_slots_used", &[]) == 0.0 && scrape.sum("broca_leases_held", &[]) == 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_servers() {
    let mut rig = Rig::start(RigOptions::new(Database::Postgres)).await;
    let mut worker = rig.spawn("worker", &["worker"], &[ANYWHERE]);
    let address = address_of(&worker).await;
    let says = |status: u16, problem: &'static str| {
        let address = address.clone();
        async move {
            eventually(problem, PATIENCE, || async {
                let (found, body) = page(&address, "/readyz");
                found == status && body.contains(problem)
            })
            .await;
        }
    };
    says(200, "\"ready\":true").await;
    // One that cannot begin says so and ends; from here on it waits an outage out.
    eventually("it has begun", PATIENCE, || async { worker.output().contains("working") }).await;
    rig.nats.node_mut(0).kill9();
    says(503, "the connection to NATS is lost").await;
    settles(&address, &[("broca_nats_connected", &[], 0.0)]).await;
    rig.nats.node_mut(0).restart();
    says(200, "\"ready\":true").await;
    settles(&address, &[("broca_nats_reconnects_total", &[], 1.0)]).await;
    let postgres = rig.postgres.as_mut().expect("it runs on PostgreSQL");
    postgres.stop();
    says(503, "database").await;
    assert_eq!(page(&address, "/healthz").0, 200, "it lives all the same");
    postgres.restart();
    says(200, "\"ready\":true").await;
    assert!(worker.stop(PATIENCE).is_some_and(|status| status.success()), "{}", worker.output());
}

#[test]
fn an_address_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let home = Home::new(&format!("[metrics]\nlisten = '{address}'\n"));
    let said = home.run(&["up"]);
    assert!(said.code == 4 && said.stderr.contains("metrics.listen") && said.stderr.contains(&address), "{said:?}");
    home.settings("[metrics]\nlisten = 'somewhere'\n");
    let said = home.run(&["worker"]);
    assert!(said.code == 2 && said.stderr.contains("metrics.listen"), "{said:?}");
}

/// The name of the one worker that shows what is true of the whole deployment.
fn on_duty<'a>(workers: &[(&'a str, &str)]) -> Option<&'a str> {
    let shows = |address: &str| Scrape::of(address).types.contains_key("broca_orphans");
    let names: Vec<&str> = workers.iter().filter(|(_, address)| shows(address)).map(|(name, _)| *name).collect();
    assert!(names.len() <= 1, "{names:?} are on duty at once");
    names.first().copied()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_audits_and_another_one_takes_over() {
    let settings = "[audit]\ninterval_s = 1\noverdue_s = 1\n".to_owned();
    let rig = Rig::start(RigOptions { settings, ..RigOptions::new(Database::Sqlite) }).await;
    // The wake of the message is lost with the plugin's process, and nobody looks for it.
    let crash = [("BROCA_CRASH_AT", "ingested")];
    let mut plugin = rig.spawn("plugin", &["plugin", "run", "demo"], &crash);
    rig.say(1, 1);
    eventually("the plugin crashed", PATIENCE, || {
        let ended = plugin.has_ended().is_some();
        async move { ended }
    })
    .await;
    let blind = [ANYWHERE, ("BROCA_MUTATE", "sweep")];
    let mut first = rig.spawn("first", &["worker"], &blind);
    let at_first = address_of(&first).await;
    let orphans = |address: &str| {
        let scrape = Scrape::of(address);
        scrape.types.contains_key("broca_orphans").then(|| scrape.sum("broca_orphans", &[]))
    };
    eventually("the forgotten message is found", PATIENCE, || async { orphans(&at_first) == Some(1.0) }).await;
    settles(&at_first, &[("broca_audit_findings", &[("kind", "forgotten")], 1.0)]).await;
    let said = |process: &Process| process.output().matches("conversations with work that nobody does").count();
    assert_eq!(said(&first), 1, "once, not at every audit: {}", first.output());

    let second = rig.spawn("second", &["worker"], &[ANYWHERE]);
    let at_second = address_of(&second).await;
    let _plugin = rig.plugin("plugin");
    eventually("it is mended", PATIENCE, || async { orphans(&at_first) == Some(0.0) }).await;
    let both = [("first", at_first.as_str()), ("second", at_second.as_str())];
    assert_eq!(on_duty(&both), Some("first"));
    assert!(first.stop(PATIENCE).is_some_and(|status| status.success()), "{}", first.output());
    eventually("the other one audits", PATIENCE, || async { orphans(&at_second) == Some(0.0) }).await;
    assert_eq!(rig.is_sound(), Ok(()));
}
