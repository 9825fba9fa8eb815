//! Who may talk, while real processes run: what is not let in says why, and nothing else stands still for it.

use std::time::Duration;

use broca_core::{MessageState, ResponseState};
use broca_rehearsal::telegram::{BOT_NAME, ScriptedTelegram, TOKEN, TelegramScript, in_group, in_private};
use broca_store::{MessageRecord, Store};
use broca_tests::{
    Crew, Database, Rig, RigOptions, all_over, answer_in, comes_to_rest, eventually, message_in, message_of,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: i64 = -1_001;
const ELSEWHERE: i64 = -1_002;

const SETTINGS: &str = r#"
[plugins.demo.access]
policy = "pairing"
allow = ["demo/friend"]
[[routes]]
name = "flooded"
user = "flood"
[routes.access]
policy = "open"
rate_per_minute = 1
burst = 5
"#;

struct Scene {
    /// Before the rig, whose folder has their logs.
    _workers: Crew,
    _plugin: Crew,
    rig: Rig,
    store: Store,
}

impl Scene {
    async fn set(database: Database) -> Self {
        let (rig, store) = Rig::with(database, SETTINGS).await;
        let (workers, plugin) = (Crew::workers(&rig, 2, &[]), Crew::plugin(&rig, &[]));
        Self { _workers: workers, _plugin: plugin, rig, store }
    }

    /// What a command prints with `--json`, and its exit code.
    fn json(&self, args: &[&str]) -> (Value, i32) {
        let output = self.rig.run(&[args, &["--json"]].concat());
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("broca {args:?}: {error}\n{}", String::from_utf8_lossy(&output.stderr));
        });
        (value, output.status.code().unwrap_or(-1))
    }

    fn does(&self, args: &[&str]) -> Value {
        let (value, code) = self.json(args);
        assert_eq!(code, 0, "broca {args:?}: {value:#}");
        value
    }

    async fn says(&self, user: &str, text: &str) -> MessageRecord {
        self.rig.platform.say(user, text);
        let accepted = async || message_of(&self.store, user, text).await.is_some();
        eventually(&format!("'{text}' is accepted"), PATIENCE, accepted).await;
        message_of(&self.store, user, text).await.expect("it is there")
    }

    async fn is_answered(&self, user: &str, text: &str) {
        self.rig.platform.say(user, text);
        answer_in(&self.store, user, text, ResponseState::Delivered).await;
    }

    /// Says one thing after the other until it is kept out; a rule counts within two seconds.
    async fn is_kept_out(&self, user: &str, reason: &str) -> MessageRecord {
        for n in 0.. {
            let said = self.says(user, &format!("{reason} {n}")).await;
            if said.state == MessageState::Suppressed {
                assert_eq!(said.class.as_deref(), Some(reason), "{said:?}");
                return said;
            }
            assert!(n < 1_000, "{user} is never kept out");
        }
        unreachable!("the loop has no end but these")
    }

    /// What `user` was told, in order.
    fn told(&self, user: &str) -> Vec<String> {
        self.rig.platform.log().into_iter().filter(|sent| sent.user == user).map(|sent| sent.text).collect()
    }
}

/// From a stranger's first message over the code to the first answer.
async fn a_stranger_is_let_in(scene: &Scene) {
    scene.is_answered("friend", "hello").await;
    let first = scene.says("eve", "let me in").await;
    assert_eq!((first.state, first.class.as_deref()), (MessageState::Suppressed, Some("not_paired")));
    let waiting = scene.does(&["pairing", "list"]);
    let code = waiting["items"][0]["code"].as_str().expect("eve has a code").to_owned();
    assert_eq!(waiting["items"][0]["message_id"], first.id.to_string().as_str());
    eventually("eve is told her code", PATIENCE, || async {
        scene.told("eve").iter().any(|text| text.contains(&code))
    })
    .await;
    let second = scene.says("eve", "hello?").await;
    assert_eq!(second.class.as_deref(), Some("not_paired"));

    let id = first.id.to_string();
    let explained = scene.does(&["explain", &id]);
    assert_eq!(explained["verdict"], "suppressed");
    let sentence = explained["sentence"].as_str().unwrap_or_default();
    assert!(sentence.starts_with("suppressed: not_paired: the sender is not paired"), "{sentence}");
    assert!(explained["next"].as_str().unwrap_or_default().contains("broca pairing list"), "{explained:#}");
    let journey = scene.rig.succeeds(&["message", "show", &id]);
    assert!(journey.contains("suppressed: not_paired"), "{journey}");

    // However it is typed.
    let approved = scene.does(&["pairing", "approve", &code.to_lowercase(), "--let-in"]);
    assert_eq!((&approved["pairing"]["state"], &approved["let_in"]["replayed"]), (&"approved".into(), &1.into()));
    message_in(&scene.store, "eve", "let me in", MessageState::Completed).await;
    // No copy of the rules is old enough to send her away again.
    scene.is_answered("eve", "thanks").await;
    let told = scene.told("eve");
    assert_eq!(told.iter().filter(|text| text.contains(&code)).count(), 1, "the code is told once: {told:?}");
    assert_eq!(
        told[1..].iter().map(|text| text.rsplit("] ").next().unwrap_or_default()).collect::<Vec<_>>(),
        ["let me in", "thanks"]
    );
    assert_eq!(message_of(&scene.store, "eve", "hello?").await.expect("it is there").state, MessageState::Suppressed);
    for (args, code) in [(&["pairing", "approve", &code][..], 4), (&["pairing", "approve", "NOTACODE"], 3)] {
        assert_eq!(scene.rig.run(args).status.code(), Some(code), "{args:?}");
    }
    scene.does(&["pairing", "revoke", &code]);
    scene.is_kept_out("eve", "not_paired").await;
}

async fn people_come_and_go(scene: &Scene) {
    let list = scene.rig.folder().join("telegram_ignore_list.json");
    let text = r#"{"friend": {"username": "friend"}, "4711": {"username": "some_bot", "reason": "spam"}}"#;
    std::fs::write(&list, text).expect("the list is written");
    let list = list.to_str().expect("a plain path");
    let import = ["ignore", "import", list, "--platform", "demo"];
    let imported = scene.does(&import);
    assert_eq!(imported, serde_json::json!({"added": ["demo/4711", "demo/@friend"], "known": 0}));
    assert_eq!(scene.does(&import)["known"], 2, "twice is harmless");
    let ignored = scene.is_kept_out("friend", "ignored").await;
    assert_eq!((ignored.turns.len(), ignored.responses.len()), (0, 0));
    let listed = scene.does(&["ignore", "list"]);
    assert_eq!(listed["items"][0]["reason"], "spam", "{listed:#}");
    scene.does(&["ignore", "remove", "demo/@friend"]);
    scene.is_answered("friend", "back again").await;

    scene.does(&["users", "deactivate", "demo/friend", "--reason", "left us"]);
    scene.is_kept_out("friend", "inactive").await;
    scene.does(&["users", "activate", "demo/friend"]);
    scene.is_answered("friend", "and again").await;

    scene.does(&["access", "deny", "demo/friend", "--reason", "insults", "--for", "4s"]);
    let denied = scene.is_kept_out("friend", "denied").await;
    assert_eq!(denied.reason.as_deref(), Some("the sender is kept out: insults"));
    let mut n = 0;
    eventually("the rule ends by itself", PATIENCE, || {
        n += 1;
        async move { scene.says("friend", &format!("over yet? {n}")).await.state != MessageState::Suppressed }
    })
    .await;
    scene.does(&["access", "allow", "demo/@stranger", "--instance", "demo"]);
    scene.is_answered("stranger", "hi").await;
    scene.does(&["users", "set", "demo/stranger", "--instructions", "be kind"]);
    scene.is_answered("stranger", "and now?").await;
    let last = scene.told("stranger").pop().unwrap_or_default();
    assert!(last.ends_with("[Username: @stranger, Demo ID: stranger, Instructions: be kind] and now?"), "{last}");
    for (args, code) in [
        (&["access", "remove", "demo/nobody"][..], 3),
        (&["access", "allow", "demo/"], 2),
        (&["access", "allow", "demo/7", "--instance", "nowhere"], 3),
        (&["ignore", "import", "/does/not/exist"], 2),
        (&["users", "deactivate", "demo/nobody"], 3),
        (&["users", "set", "demo/nobody", "--instructions", "x"], 3),
        (&["users", "set", "demo/friend", "--preferences", "[]"], 2),
        (&["users", "set", "demo/friend"], 2),
    ] {
        assert_eq!(scene.rig.run(args).status.code(), Some(code), "{args:?}");
    }
}

/// Two hundred at once: five are let in, and everybody else goes on.
async fn a_flood_is_cut_off(scene: &Scene) {
    let begun = std::time::Instant::now();
    for n in 0..200 {
        scene.rig.platform.say("flood", &format!("{n}"));
    }
    scene.is_answered("friend", "meanwhile").await;
    let history = async || scene.store.history("demo", "flood", 500).await.expect("the store answers");
    eventually("all of it is stored", PATIENCE, || async { history().await.len() == 200 }).await;
    let suppressed = history().await.iter().filter(|line| line.state == MessageState::Suppressed).count();
    // One more for each minute that it took.
    let minutes = usize::try_from(begun.elapsed().as_secs() / 60).expect("a short time");
    assert!((195 - minutes..=195).contains(&suppressed), "{suppressed} in {:?}", begun.elapsed());
    eventually("all is over", PATIENCE, || all_over(&scene.store)).await;
    assert_eq!(scene.told("flood").len(), 200 - suppressed);
    let kept = history().await.into_iter().find(|line| line.state == MessageState::Suppressed).expect("there are some");
    let explained = scene.does(&["explain", &kept.message.to_string()]);
    let sentence = "suppressed: rate_limited: the sender may say 1 messages a minute, 5 at once";
    assert_eq!(explained["sentence"], sentence);
}

async fn every_scene(database: Database) {
    let scene = Scene::set(database).await;
    a_stranger_is_let_in(&scene).await;
    people_come_and_go(&scene).await;
    a_flood_is_cut_off(&scene).await;
    comes_to_rest(&scene.store, &scene.rig.bus().await, &["demo"]).await;
    assert_eq!(scene.rig.is_sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    every_scene(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    every_scene(Database::Postgres).await;
}

/// The plugin says whether a message speaks to the bot and who its owner is; the rest is the core's.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_heard_where_and_when_the_rules_say_so() {
    let telegram = ScriptedTelegram::start(TelegramScript::default()).await.expect("a free port");
    let mut options = RigOptions::new(Database::Sqlite);
    options.settings = format!(
        "[plugins.telegram.settings]\ntoken = \"{TOKEN}\"\napi_url = \"{}\"\nowner_id = 7\ngroups = \"all\"\n\
         [plugins.telegram.access]\ngroups = \"mention\"\nchats = [\"{GROUP}\"]\nadmins = [\"telegram/8\"]\n",
        telegram.url()
    );
    let rig = Rig::start(options).await;
    let store = rig.store().await;
    let _crews = [Crew::new(&rig, "telegram", &["plugin", "run", "telegram"], 1, &[]), Crew::workers(&rig, 1, &[])];
    let named = format!("@{BOT_NAME} hi");
    telegram.say(in_group(GROUP, 7, "among ourselves"));
    telegram.say(in_group(ELSEWHERE, 7, &named));
    telegram.say(in_group(GROUP, 7, &named));
    telegram.say(in_private(8, "from an admin"));
    telegram.say(in_private(9, "from a stranger"));
    telegram.say(in_private(8, "/whoami"));
    let log = telegram.wait_for_log(PATIENCE, |log| log.len() >= 4).await;
    eventually("all is over", PATIENCE, || all_over(&store)).await;
    let mut said: Vec<_> =
        log.iter().map(|sent| (sent.chat_id, sent.text.rsplit("] ").next().unwrap_or_default())).collect();
    said.sort_unstable();
    let [group, admin, answer, stranger] = said.try_into().expect("four things were said");
    assert_eq!((group, answer), ((GROUP, named.as_str()), (8, "from an admin")));
    assert!(admin.0 == 8 && admin.1.ends_with("You are an admin of this bot."), "{admin:?}");
    assert!(stranger.0 == 9 && stranger.1.contains("serves its owner alone"), "{stranger:?}");
    let mut classes = Vec::new();
    for person in ["7", "9"] {
        for line in store.history("telegram", person, 10).await.expect("the store answers") {
            let record = store.message(line.message).await.expect("the store answers").expect("it is there");
            classes.push((person, line.text, record.class.unwrap_or_default()));
        }
    }
    // Chats are taken side by side.
    classes.sort_unstable();
    let mut wanted = [
        ("7", "among ourselves", "group_silent"),
        ("7", named.as_str(), "group_not_allowed"),
        ("7", named.as_str(), ""),
        ("9", "from a stranger", "not_owner"),
    ]
    .map(|(person, text, class)| (person, text.to_owned(), class.to_owned()));
    wanted.sort_unstable();
    assert_eq!(classes, wanted);
    assert_eq!(rig.is_sound(), Ok(()));
}
