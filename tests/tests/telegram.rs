//! The Telegram plugin in the whole pipeline: real processes, killed at every place, before a scripted Telegram whose own
//! log says what people got.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use broca_core::{MessageState, ResponseState};
use broca_pipeline::crash::CrashPoint;
use broca_rehearsal::telegram::{BOT_NAME, Fault, ScriptedTelegram, Sent, TOKEN, TelegramScript, in_group, in_private};
use broca_store::{Counts, Store};
use broca_tests::{Crew, Database, Rig, all_over, eventually};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: i64 = -1_001;

struct Stage {
    telegram: ScriptedTelegram,
    rig: Rig,
    store: Store,
}

impl Stage {
    async fn set(database: Database, more: &str) -> Self {
        let telegram = ScriptedTelegram::start(TelegramScript::default()).await.expect("a free port");
        let settings = format!(
            "[plugins.telegram.settings]\ntoken = \"{TOKEN}\"\napi_url = \"{}\"\nrequire_owner = false\n{more}",
            telegram.url()
        );
        let (rig, store) = Rig::with(database, settings).await;
        Self { telegram, rig, store }
    }

    fn plugin(&self, env: &[(&str, &str)]) -> Crew {
        Crew::new(&self.rig, "telegram", &["plugin", "run", "telegram"], 1, env)
    }

    fn workers(&self, env: &[(&str, &str)]) -> Crew {
        Crew::workers(&self.rig, 2, env)
    }

    /// `people` write `each` messages, taking turns.
    fn say(&self, people: i64, each: i64) {
        for message in 0..each {
            for person in 1..=people {
                self.telegram.say(in_private(person, &format!("p{person:02}-m{message:03}")));
            }
        }
    }

    async fn counts(&self) -> Counts {
        self.store.counts().await.expect("the store answers")
    }

    async fn rests(&self, crews: &mut [&mut Crew]) {
        eventually("every message and every answer is over", PATIENCE, || {
            for crew in crews.iter_mut() {
                crew.tend(&self.rig);
            }
            all_over(&self.store)
        })
        .await;
    }
}

/// The message that an answer is to: the agent repeats it.
fn named(sent: &Sent) -> String {
    sent.text.split_whitespace().last().unwrap_or_default().to_owned()
}

/// What each chat was answered, in order.
fn answers(log: &[Sent]) -> BTreeMap<i64, Vec<String>> {
    let mut chats: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for sent in log {
        chats.entry(sent.chat_id).or_default().push(named(sent));
    }
    chats
}

fn nothing_twice_and_in_order(log: &[Sent], what: &str) {
    for (chat, texts) in answers(log) {
        let once: BTreeSet<&String> = texts.iter().collect();
        assert!(texts.is_sorted() && once.len() == texts.len(), "{what}: chat {chat} got {texts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_finds_its_way_back() {
    let stage = Stage::set(Database::Sqlite, "").await;
    let mut plugin = stage.plugin(&[]);
    let mut workers = stage.workers(&[]);
    stage.telegram.say(in_private(7, "*hello* & #letta(takes=700)").by("alice"));
    stage.telegram.say(in_group(GROUP, 8, &format!("@{BOT_NAME} hi")).in_topic(5));
    stage.telegram.say(in_private(9, &format!("![plot](https://a.example/p.png) {}", "word ".repeat(900))));
    stage.telegram.script(|script| drop(script.files.insert("F".to_owned(), b"\xFF\xD8\xFF a picture".to_vec())));
    let picture = json!({"text": null, "caption": "look", "photo": [{"file_id": "F", "width": 4, "height": 3}]});
    stage.telegram.say(in_private(10, "").with(picture));
    let log = stage.telegram.wait_for_log(PATIENCE, |log| log.len() >= 6).await;
    stage.rests(&mut [&mut plugin, &mut workers]).await;

    let of = |chat: i64| log.iter().filter(|sent| sent.chat_id == chat).collect::<Vec<_>>();
    assert_eq!(of(7)[0].raw, "You said: [Username: @alice, Telegram ID: 7] <i>hello</i> &amp; #letta(takes=700)");
    let group = of(GROUP)[0];
    assert_eq!((group.thread, group.reply_to), (Some(5), Some(2)));
    let long = of(9);
    assert_eq!(long.iter().filter(|sent| sent.photo.as_deref() == Some("https://a.example/p.png")).count(), 1);
    assert_eq!(long.len(), 3, "two texts and a picture");
    assert!(of(10)[0].text.ends_with("look\n[Telegram image: 4x3px]"), "{:?}", of(10)[0]);
    let counts = stage.counts().await;
    assert_eq!(counts.responses.get(ResponseState::Delivered.as_str()), Some(&4), "{counts:?}");
    for output in [plugin.output(), workers.output()] {
        assert!(!output.contains(TOKEN.split_once(':').expect("it has a colon").1), "the token is in a log");
    }
    assert!(plugin.stop(PATIENCE).iter().all(|(_, well)| *well), "{}", plugin.output());
}

/// Where the plugin process may die, and whether Telegram may have a message then of which nobody can ask.
const PLACES: &[(CrashPoint, bool)] = &[
    (CrashPoint::Ingested, false),
    (CrashPoint::Published, false),
    (CrashPoint::DeliveryBegun, true),
    (CrashPoint::PlatformSent, true),
    (CrashPoint::PartRecorded, true),
    (CrashPoint::DeliveryFinished, false),
];

async fn crash_at(database: Database, point: CrashPoint, in_doubt: bool) {
    let stage = Stage::set(database, "").await;
    let marker = stage.rig.folder().join("crashed");
    let env = [("BROCA_CRASH_AT", point.name()), ("BROCA_CRASH_ONCE", marker.to_str().expect("a plain path"))];
    let mut plugin = stage.plugin(&env);
    let mut workers = stage.workers(&[]);
    stage.say(4, 3);
    eventually(&format!("every update is confirmed after a crash at {}", point.name()), PATIENCE, || {
        plugin.tend(&stage.rig);
        let left = stage.telegram.unconfirmed();
        async move { left == 0 }
    })
    .await;
    stage.rests(&mut [&mut plugin, &mut workers]).await;
    assert!(marker.exists(), "nothing ever came to {}", point.name());
    assert_eq!(plugin.replaced, 1, "the plugin died at {}", point.name());

    let log = stage.telegram.log();
    nothing_twice_and_in_order(&log, point.name());
    let counts = stage.counts().await;
    let count = |state: ResponseState| counts.responses.get(state.as_str()).copied().unwrap_or_default();
    assert_eq!(counts.messages.get(MessageState::Completed.as_str()), Some(&12), "{}: {counts:?}", point.name());
    // Several chats are delivered to at once: each of them may have been cut off.
    let unknown = count(ResponseState::Unknown);
    assert_eq!(count(ResponseState::Delivered) + unknown, 12, "{}: {counts:?}", point.name());
    assert!(if in_doubt { (1..=4).contains(&unknown) } else { unknown <= 3 }, "{}: {counts:?}", point.name());
    let got = i64::try_from(log.len()).expect("a small number");
    assert!((12 - unknown..=12).contains(&got), "{}: {got} at Telegram, {counts:?}", point.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_killed_at_any_place_loses_and_doubles_nothing_on_sqlite() {
    for (point, in_doubt) in PLACES {
        crash_at(Database::Sqlite, *point, *in_doubt).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_killed_at_any_place_loses_and_doubles_nothing_on_postgres() {
    for (point, in_doubt) in PLACES {
        crash_at(Database::Postgres, *point, *in_doubt).await;
    }
}

/// Telegram, then the broker, are away while people write and answers wait.
#[tokio::test(flavor = "multi_thread")]
async fn outages_delay_and_lose_nothing() {
    let mut stage = Stage::set(Database::Sqlite, "").await;
    let mut workers = stage.workers(&[]);
    let mut plugin = stage.plugin(&[]);
    stage.say(3, 1);
    stage.telegram.wait_for_log(PATIENCE, |log| log.len() >= 3).await;

    // Telegram goes while answers are on their way; they wait longer than one attempt.
    for person in 1..=3 {
        stage.telegram.say(in_private(person, &format!("p{person:02}-m001 #letta(takes=1000)")));
    }
    assert!(stage.telegram.wait_for_confirmation(PATIENCE).await);
    stage.telegram.goes_away().await;
    eventually("the answers wait for Telegram", PATIENCE, || async {
        stage.counts().await.responses.get(ResponseState::Retry.as_str()).is_some_and(|waiting| *waiting == 3)
    })
    .await;
    stage.telegram.comes_back().await.expect("its port is free");
    stage.telegram.wait_for_log(PATIENCE, |log| log.len() >= 6).await;

    // The broker is away: what people write is still taken.
    stage.rig.nats.node_mut(0).kill9();
    for person in 1..=3 {
        stage.telegram.say(in_private(person, &format!("p{person:02}-m002")));
    }
    assert!(stage.telegram.wait_for_confirmation(PATIENCE).await, "SQL is the record");
    stage.rig.nats.node_mut(0).restart();
    stage.telegram.wait_for_log(PATIENCE, |log| log.len() >= 9).await;
    stage.rests(&mut [&mut plugin, &mut workers]).await;
    assert_eq!((plugin.replaced, workers.replaced), (0, 0), "nobody gave up");
    let log = stage.telegram.log();
    assert_eq!(log.len(), 9);
    let heads: Vec<String> = log.iter().map(|sent| sent.text.clone()).collect();
    for person in 1..=3 {
        let own: Vec<&String> = heads.iter().filter(|text| text.contains(&format!("p{person:02}-"))).collect();
        let places = ["m000", "m001", "m002"].map(|m| own.iter().position(|text| text.contains(m)));
        assert_eq!(places, [Some(0), Some(1), Some(2)], "{own:?}");
    }
}

/// Limits, refusals and cut connections hit sends and polls.
#[tokio::test(flavor = "multi_thread")]
async fn faults_end_in_states_that_say_why() {
    let stage = Stage::set(Database::Sqlite, "").await;
    stage.telegram.script(|script| {
        script.blocked = [1].into();
        script.poll_faults = [Fault::Conflict, Fault::Gateway(502), Fault::RateLimited { retry_after_s: 1 }].into();
    });
    let mut workers = stage.workers(&[]);
    let mut plugin = stage.plugin(&[]);
    stage.say(2, 1);
    stage.telegram.wait_for_log(PATIENCE, |log| !log.is_empty()).await;
    stage.rests(&mut [&mut plugin, &mut workers]).await;
    stage.telegram.script(|script| {
        script.send_faults = [Fault::ServerError, Fault::RateLimited { retry_after_s: 1 }, Fault::CutAfter].into();
    });
    stage.telegram.say(in_private(3, "p03-m000"));
    stage.telegram.wait_for_log(PATIENCE, |log| log.len() >= 2).await;
    stage.rests(&mut [&mut plugin, &mut workers]).await;
    let counts = stage.counts().await;
    let expected: BTreeMap<String, i64> =
        [("dead", 1), ("delivered", 1), ("unknown", 1)].map(|(state, count)| (state.to_owned(), count)).into();
    assert_eq!(counts.responses, expected);
    assert_eq!(stage.telegram.log().len(), 2, "what may be there is not sent again");
    assert_eq!((plugin.replaced, workers.replaced), (0, 0), "nobody gave up");
    let log = plugin.output();
    assert!(log.contains("another program polls with this bot's token"), "{log}");
}

/// 10,000 updates of a hundred people, and a plugin that is killed in the middle of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_taken_once() {
    for database in [Database::Sqlite, Database::Postgres] {
        let more = "[[routes]]\nname = \"flood\"\nplatform = \"telegram\"\ngroup = true\nmode = \"listen\"\n";
        let stage = Stage::set(database, more).await;
        for n in 0..10_000 {
            let text = format!("@{BOT_NAME} {n}");
            stage.telegram.say(in_group(GROUP - n % 100, n % 100 + 1, &text));
        }
        let mut workers = stage.workers(&[]);
        let mut plugin = stage.plugin(&[]);
        eventually("half of it is taken", PATIENCE, || {
            let left = stage.telegram.unconfirmed();
            async move { left < 5_000 }
        })
        .await;
        plugin.member(0).kill9();
        plugin.tend(&stage.rig);
        assert!(stage.telegram.wait_for_confirmation(PATIENCE * 2).await);
        stage.telegram.say(in_private(7, "still-there"));
        let log = stage.telegram.wait_for_log(PATIENCE, |log| !log.is_empty()).await;
        assert_eq!(log.iter().map(named).collect::<Vec<_>>(), ["still-there"]);
        stage.rests(&mut [&mut plugin, &mut workers]).await;
        let counts = stage.counts().await;
        let expected: BTreeMap<String, i64> =
            [("completed", 1), ("stored", 10_000)].map(|(state, count)| (state.to_owned(), count)).into();
        assert_eq!(counts.messages, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_sender_stops_what_the_agent_works_on() {
    let stage = Stage::set(Database::Sqlite, "").await;
    let mut plugin = stage.plugin(&[]);
    let mut workers = stage.workers(&[]);
    stage.telegram.say(in_private(7, "unwanted #letta(takes=9000)"));
    eventually("the agent has it", PATIENCE, || async { stage.rig.letta.arrived() > 0 }).await;
    stage.telegram.say(in_private(7, "/cancel"));
    let cancelled = async || stage.counts().await.messages.get("cancelled") == Some(&1);
    eventually("it is cancelled", PATIENCE, cancelled).await;
    stage.telegram.say(in_private(7, "next"));
    let log = stage.telegram.wait_for_log(PATIENCE, |log| log.iter().any(|sent| named(sent) == "next")).await;
    stage.rests(&mut [&mut plugin, &mut workers]).await;
    assert!(log.iter().any(|sent| sent.text.contains("asked to stop")), "{log:?}");
    assert!(log.iter().all(|sent| !sent.text.contains("unwanted")), "{log:?}");
    assert_eq!(stage.rig.is_sound(), Ok(()));
}
