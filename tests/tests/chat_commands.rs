//! Commands in chats, while real processes run: people link their accounts, admins run the deployment, and no agent
//! hears of it.

use std::time::Duration;

use broca_core::{
    MessageState, ResponseState,
    chat_command::{FOR_ADMINS, FOR_THE_OWNER, IN_PRIVATE, LINKED},
};
use broca_rehearsal::telegram::{ScriptedTelegram, TOKEN, TelegramScript, in_group, in_private};
use broca_tests::{Crew, Database, Rig, RigOptions, all_over, answer_in, eventually, message_in};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: i64 = -1_001;

struct Scene {
    /// Before the rig, whose folder has their logs.
    _crews: [Crew; 3],
    telegram: ScriptedTelegram,
    rig: Rig,
}

impl Scene {
    async fn set(database: Database, more: &str) -> Self {
        let telegram = ScriptedTelegram::start(TelegramScript::default()).await.expect("a free port");
        let mut options = RigOptions::new(database);
        options.settings = format!(
            "[plugins.telegram.settings]\ntoken = \"{TOKEN}\"\napi_url = \"{}\"\nrequire_owner = false\n\
             groups = \"all\"\n{more}",
            telegram.url()
        );
        let rig = Rig::start(options).await;
        let crews = [
            Crew::workers(&rig, 1, &[]),
            Crew::plugin(&rig, &[]),
            Crew::new(&rig, "telegram", &["plugin", "run", "telegram"], 1, &[]),
        ];
        Self { _crews: crews, telegram, rig }
    }

    fn does(&self, args: &[&str]) -> Value {
        let output = self.rig.run(&[args, &["--json"]].concat());
        assert!(output.status.success(), "broca {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("it prints JSON")
    }

    /// What the bot says in that chat next, beside what it said before.
    async fn says(&self, chat: i64, text: &str) -> String {
        let said = |log: &[broca_rehearsal::telegram::Sent]| log.iter().filter(|sent| sent.chat_id == chat).count();
        let before = said(&self.telegram.log());
        self.telegram.say(if chat < 0 { in_group(chat, 7, text) } else { in_private(chat, text) });
        let log = self.telegram.wait_for_log(PATIENCE, |log| said(log) > before).await;
        log.into_iter().filter(|sent| sent.chat_id == chat).nth(before).expect("it is there").text
    }

    /// Who did what by a chat, and what came of it, oldest first.
    async fn acts(&self, count: usize) -> Vec<[String; 3]> {
        let acts = || {
            let list = self.does(&["audit", "list", "--via", "chat"]);
            let field = |act: &Value, name: &str| act[name].as_str().unwrap_or_default().to_owned();
            let items = list["items"].as_array().expect("a list").iter().rev();
            items.map(|act| ["actor", "operation", "outcome"].map(|name| field(act, name))).collect::<Vec<_>>()
        };
        eventually("the acts are written down", PATIENCE, || {
            let there = acts();
            async move { there.len() == count && there.iter().all(|act| act[2] != "begun") }
        })
        .await;
        acts()
    }
}

fn act(actor: &str, operation: &str, outcome: &str) -> [String; 3] {
    [actor, operation, outcome].map(str::to_owned)
}

async fn people_link_their_accounts(database: Database) {
    let scene = Scene::set(database, "[[routes]]\nname = \"everywhere\"\nscope = \"user\"\n").await;
    let (rig, store) = (&scene.rig, scene.rig.store().await);
    rig.platform.say("ann", "hello");
    let first = answer_in(&store, "ann", "hello", ResponseState::Delivered).await;
    let told = scene.says(7, "/link").await;
    let code = told.lines().find_map(|line| line.strip_prefix("/link ")).expect("a code").to_owned();
    rig.platform.say("ann", &format!("/link {code}"));
    let command = message_in(&store, "ann", "/link ********", MessageState::Suppressed).await;
    assert_eq!(command.class.as_deref(), Some("command"));
    let told = || rig.platform.log().iter().any(|sent| sent.user == "ann" && sent.text == LINKED);
    eventually("she is told", PATIENCE, || async { told() }).await;
    let one = scene.does(&["users", "get", "telegram/7"]);
    assert_eq!(one["profiles"].as_array().map(Vec::len), Some(2), "{one:#}");
    assert_eq!(scene.does(&["users", "get", "demo/ann"])["id"], one["id"]);

    // One person, one conversation from now on; what was said before stays where it was.
    rig.platform.say("ann", "and now?");
    let next = answer_in(&store, "ann", "and now?", ResponseState::Delivered).await;
    assert_ne!(next.conversation_id, first.conversation_id);
    assert!(scene.says(7, "me, too").await.ends_with("me, too"));
    let conversations = scene.does(&["users", "conversations", "telegram/7"]);
    let ours = conversations["items"].as_array().expect("a list").iter();
    let joint = ours.clone().find(|one| one["id"] == next.conversation_id.to_string().as_str()).expect("it is there");
    assert_eq!((joint["messages"].as_i64(), ours.count()), (Some(3), 2), "{conversations:#}");
    assert!(rig.letta.turns().iter().all(|turn| !turn.text.contains("/link")), "no agent hears of it");

    scene.does(&["users", "preferences", "set", "telegram/7", "language", "fr"]);
    let known = scene.does(&["users", "preferences", "get", "demo/ann"]);
    assert_eq!(known["preferences"], serde_json::json!({"language": "fr"}));
    let parted = scene.does(&["users", "unlink", "demo/ann", "--reason", "a mistake"]);
    assert_eq!((&parted["former"], parted["user_id"] == one["id"]), (&one["id"], false));
    let known = scene.does(&["users", "preferences", "unset", "telegram/7", "language"]);
    assert_eq!(known["preferences"], serde_json::json!({}));
    let again = scene.does(&["users", "link", "telegram/7", "demo/ann", "--reason", "it was none"]);
    assert_eq!((&again["user_id"], &again["absorbed"]), (&one["id"], &parted["user_id"]));
    for (args, code) in [
        (&["users", "link", "telegram/7", "demo/ann"][..], 4),
        (&["users", "link", "telegram/7", "demo/nobody"], 3),
        (&["users", "unlink", "demo/nobody"], 3),
        (&["users", "unlink", "nobody"], 2),
        (&["users", "preferences", "set", "telegram/7", "a key", "1"], 2),
    ] {
        assert_eq!(rig.run(args).status.code(), Some(code), "{args:?}");
    }
    assert_eq!(scene.acts(1).await, [act("demo/ann", "users.link", "done")]);
    eventually("all is over", PATIENCE, || all_over(&store)).await;
    assert_eq!(rig.is_sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_link_their_accounts_on_sqlite() {
    people_link_their_accounts(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_link_their_accounts_on_postgres() {
    people_link_their_accounts(Database::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_obeyed_once_though_its_process_dies_before() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let marker = rig.folder().join("crashed");
    let once = marker.to_str().expect("a plain path");
    let mut plugin = Crew::plugin(&rig, &[("BROCA_CRASH_AT", "command-stored"), ("BROCA_CRASH_ONCE", once)]);
    let _workers = Crew::workers(&rig, 1, &[]);
    let store = rig.store().await;
    rig.platform.say("ann", "/link");
    let told = || rig.platform.log().into_iter().filter(|sent| sent.user == "ann").map(|sent| sent.text);
    eventually("she is told a code", PATIENCE, || {
        plugin.tend(&rig);
        let (there, store) = (told().next().is_some(), store.clone());
        async move { there && all_over(&store).await }
    })
    .await;
    assert!(marker.exists() && plugin.replaced == 1, "it died before it obeyed");
    let told: Vec<String> = told().collect();
    assert!(told.len() == 1 && told[0].contains("/link "), "{told:?}");
    assert_eq!(rig.is_sound(), Ok(()));
}

/// A code from a terminal, used on a web page.
#[tokio::test(flavor = "multi_thread")]
async fn other_platforms_take_commands_too() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    drop(listener);
    let mut options = RigOptions::new(Database::Sqlite);
    options.settings = format!(
        "[plugins.webchat.settings]\nmode = \"server\"\n[plugins.webchat.settings.server]\nlisten = \"{address}\"\n\
         [plugins.cli.chat_commands]\nlink = true\n"
    );
    let rig = Rig::start(options).await;
    let _crews = [
        Crew::workers(&rig, 1, &[]),
        Crew::new(&rig, "cli", &["plugin", "run", "cli"], 1, &[]),
        Crew::new(&rig, "webchat", &["plugin", "run", "webchat"], 1, &[]),
    ];
    eventually("the terminal plugin listens", PATIENCE, || async { rig.socket().exists() }).await;
    let told = rig.succeeds(&["send", "--as", "carol", "/link"]);
    let code = told.lines().find_map(|line| line.strip_prefix("/link ")).expect("a code").to_owned();
    let (http, session) = (reqwest::Client::new(), "session_mdwj6vj5_okiiczierw");
    let url = |action: &str| format!("http://{address}/api/v1/?action={action}");
    let body = serde_json::json!({"session_id": session, "message": format!("/link {code}"), "client_message_id": "1"});
    let taken = || async {
        let reply = http.post(url("messages")).json(&body).send().await;
        reply.is_ok_and(|reply| reply.status().is_success())
    };
    eventually("the command is taken", PATIENCE, taken).await;
    let responses = || async {
        let reply = http.get(url(&format!("responses&session_id={session}"))).send().await.ok()?;
        reply.json::<Value>().await.ok()?["data"]["responses"].as_array().cloned()
    };
    eventually("it is replied to", PATIENCE, || async { responses().await.is_some_and(|list| !list.is_empty()) }).await;
    let reply = responses().await.and_then(|list| list.into_iter().next()).expect("it is there");
    assert_eq!((&reply["response"], &reply["kind"]), (&LINKED.into(), &"reply".into()));
    assert!(reply["message_id"].is_u64(), "it is known what it replies to: {reply}");
    let output = rig.run(&["users", "get", "cli/carol", "--json"]);
    let person: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(person["profiles"].as_array().map(Vec::len), Some(2), "{person:#}");
    assert!(rig.letta.turns().is_empty());
}

const ADMINS: &str = r#"
[plugins.telegram.access]
policy = "pairing"
owner = ["telegram/7"]
admins = ["telegram/8"]
allow = ["telegram/9"]
[plugins.telegram.chat_commands]
admin = true
"#;

#[tokio::test(flavor = "multi_thread")]
async fn admins_run_the_deployment_from_a_chat() {
    let scene = Scene::set(Database::Sqlite, ADMINS).await;
    let store = scene.rig.store().await;
    let help = scene.says(8, "/admin").await;
    assert!(help.contains("/hold agent") && !help.contains("/mode"), "{help}");
    assert!(scene.says(7, "/admin").await.contains("/mode"));
    assert!(scene.says(8, "/pipeline").await.contains("Workers: 1."));
    assert_eq!(scene.says(9, "/pipeline").await, FOR_ADMINS);
    assert_eq!(scene.says(9, "/hold agent default I want to").await, FOR_ADMINS);
    assert_eq!(scene.says(GROUP, "/hold agent default in public").await, IN_PRIVATE);
    assert_eq!(scene.says(GROUP, "/link").await, IN_PRIVATE);
    assert!(scene.says(8, "/hold agent default").await.contains("/hold agent|route"), "a reason is asked for");
    assert!(scene.says(8, "/hold agent default it is odd").await.starts_with("On hold: agent default."));
    let holds = scene.does(&["hold", "list"]);
    let hold = &holds["items"][0];
    assert_eq!((&hold["actor"], &hold["reason"]), (&"telegram/8".into(), &"it is odd".into()), "{holds:#}");
    assert_eq!(scene.says(8, "/release agent default").await, "Released: agent default.");
    assert!(scene.says(8, "/release agent default").await.ends_with("is not on hold."));

    let code = scene.says(10, "let me in").await;
    let code = code.split(": ").nth(1).and_then(|rest| rest.lines().next()).expect("a code").to_owned();
    assert_eq!(scene.says(8, &format!("/approve {code}")).await, "telegram/10 may talk now.");
    assert!(scene.says(10, "thanks").await.ends_with("thanks"));

    assert_eq!(scene.says(8, "/mode listen now").await, FOR_THE_OWNER);
    assert!(scene.says(7, "/mode listen for the night").await.starts_with("The mode is listen now"));
    scene.telegram.say(in_private(9, "anybody there?"));
    eventually("it is stored", PATIENCE, || async {
        let lines = store.history("telegram", "9", 9).await.expect("the store answers");
        lines.iter().any(|line| line.text == "anybody there?" && line.state == MessageState::Stored)
    })
    .await;
    let wanted = [
        act("telegram/9", "hold.add", "refused"),
        act("telegram/7", "hold.add", "refused"),
        act("telegram/8", "hold.add", "done"),
        act("telegram/8", "hold.release", "done"),
        act("telegram/8", "pairing.approve", "done"),
        act("telegram/8", "mode.set", "refused"),
        act("telegram/7", "mode.set", "done"),
    ];
    assert_eq!(scene.acts(wanted.len()).await, wanted);
    // Who is forgotten is not in the records of what they did.
    scene.does(&["users", "forget", "telegram/8", "--yes"]);
    assert!(!scene.does(&["audit", "list"]).to_string().contains("telegram/8"));
    assert!(!scene.does(&["hold", "list", "--all"]).to_string().contains("telegram/8"));
    let turns = scene.rig.letta.turns();
    assert_eq!(turns.iter().map(|turn| turn.text.ends_with("thanks")).collect::<Vec<_>>(), [true], "{turns:?}");
    eventually("all is over", PATIENCE, || all_over(&store)).await;
    assert_eq!(scene.rig.is_sound(), Ok(()));
}
