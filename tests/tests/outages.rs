//! A server goes away in the middle and comes back: the pipeline heals by itself.

use std::time::Duration;

use broca_tests::{Crew, Database, Rig, RigOptions, Verdict, all_over, eventually};

const PEOPLE: usize = 6;
const EACH: usize = 5;

struct Running {
    rig: Rig,
    workers: Crew,
    plugin: Crew,
    said: Vec<(String, String)>,
}

impl Running {
    /// Half of the answers are out.
    async fn half_way(database: Database) -> Self {
        let mut options = RigOptions::new(database);
        options.letta.min_ms = 100;
        options.letta.max_ms = 300;
        let rig = Rig::start(options).await;
        let workers = Crew::workers(&rig, 2, &[]);
        let plugin = Crew::plugin(&rig, &[]);
        let said = rig.say(PEOPLE, EACH);
        eventually("the pipeline runs", Duration::from_secs(60), || {
            let answered = rig.platform.log().len();
            async move { answered >= PEOPLE * EACH / 3 }
        })
        .await;
        Self { rig, workers, plugin, said }
    }

    async fn ends_clean(mut self) {
        eventually("everything is answered", Duration::from_secs(60), || {
            let answered = self.rig.platform.log().len();
            async move { answered >= PEOPLE * EACH }
        })
        .await;
        for place in 0..2 {
            assert!(self.workers.member(place).has_ended().is_none(), "no worker gave up");
        }
        assert!(self.plugin.member(0).has_ended().is_none(), "the plugin did not give up");
        let verdict = Verdict::of(&self.rig, &self.said);
        assert!(verdict.is_clean(), "{verdict:#?}");
        let store = self.rig.store().await;
        eventually("every message is over", Duration::from_secs(60), || all_over(&store)).await;
        assert_eq!(self.rig.is_sound(), Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_killed_and_restarted() {
    for database in [Database::Sqlite, Database::Postgres] {
        let mut running = Running::half_way(database).await;
        running.rig.nats.node_mut(0).kill9();
        running.rig.nats.node_mut(0).restart();
        running.ends_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_restarted() {
    let mut running = Running::half_way(Database::Postgres).await;
    running.rig.postgres.as_mut().expect("this rig has one").restart();
    running.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_restarted_in_mid_stream() {
    for database in [Database::Sqlite, Database::Postgres] {
        let mut running = Running::half_way(database).await;
        running.rig = running.rig.restart_letta().await;
        running.ends_clean().await;
    }
}
