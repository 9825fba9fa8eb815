//! One database with something of everything in it, at rest, and servers on it.

use std::time::Duration;

use broca_tests::{Crew, Database, Process, Rig, RigOptions, all_over, eventually};
use serde_json::Value;

use crate::client::Server;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a person wrote, and only those may read who may.
pub(crate) const SECRET: &str = "sesame-opens-nothing";

pub(crate) struct Prepared {
    pub(crate) rig: Rig,
    /// Answered.
    pub(crate) answered: String,
    /// Of the answered one.
    pub(crate) conversation: String,
    /// Dead letters.
    pub(crate) failed: Vec<String>,
}

/// What a command prints with `--json`.
pub(crate) fn json(rig: &Rig, args: &[&str]) -> Value {
    let output = rig.run(&[args, &["--json"]].concat());
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("broca {args:?}: {error}\n{}", String::from_utf8_lossy(&output.stderr)))
}

impl Prepared {
    pub(crate) async fn start(database: Database) -> Self {
        let rig = Rig::start(RigOptions::new(database)).await;
        let (mut workers, mut plugin) = (Crew::workers(&rig, 1, &[]), Crew::plugin(&rig, &[]));
        rig.platform.say("ann", &format!("{SECRET} ann"));
        for person in ["ben", "cem", "dea"] {
            rig.platform.say(person, &format!("{SECRET} {person} #letta(http=400)"));
        }
        let store = rig.store().await;
        eventually("ann is answered and the others failed", PATIENCE, || {
            workers.tend(&rig);
            plugin.tend(&rig);
            let store = store.clone();
            async move {
                let counts = store.counts().await.expect("the store answers");
                let count = |state: &str| counts.messages.get(state).copied().unwrap_or_default();
                count("completed") == 1 && count("failed") == 3 && all_over(&store).await
            }
        })
        .await;
        drop((workers, plugin));
        let letters = json(&rig, &["dlq", "list"]);
        let ids = |value: &Value| value["message_id"].as_str().expect("an id").to_owned();
        let failed = letters["items"].as_array().expect("a list").iter().map(ids).collect();
        let history = store.history("demo", "ann", 1).await.expect("the store answers");
        let answered = history[0].message;
        let conversation = store.message(answered).await.expect("the store answers").expect("it is there");
        let (answered, conversation) = (answered.to_string(), conversation.conversation_id.to_string());
        json(&rig, &["hold", "add", "--agent", "default", "--reason", "for the test"]);
        json(&rig, &["ignore", "add", "demo/mallory", "--reason", "for the test"]);
        Self { rig, answered, conversation, failed }
    }

    /// A token of that name, with these options.
    pub(crate) fn token(&self, name: &str, options: &[&str]) -> String {
        let made = json(&self.rig, &[&["token", "add", name], options].concat());
        made["secret"].as_str().unwrap_or_else(|| panic!("no token: {made}")).to_owned()
    }

    pub(crate) async fn api(&self) -> Server {
        self.serve("api", &["api", "--listen", "127.0.0.1:0"]).await
    }

    pub(crate) async fn mcp(&self) -> Server {
        self.serve("mcp", &["mcp", "--http", "127.0.0.1:0"]).await
    }

    async fn serve(&self, name: &str, args: &[&str]) -> Server {
        let mut process: Process = self.rig.spawn(name, args, &[]);
        let address = |log: &str| {
            let (_, rest) = log.split_once("served at http://")?;
            rest.split('/').next().map(str::to_owned)
        };
        eventually("it serves", PATIENCE, || {
            assert!(process.has_ended().is_none(), "it ended: {}", process.output());
            let there = address(&process.output()).is_some();
            async move { there }
        })
        .await;
        Server::new(address(&process.output()).expect("it said where"), process)
    }
}
