//! Pictures in the whole pipeline: what a person sends to a bot, the agent sees, byte by byte, or is told why not.

use std::time::Duration;

use broca_core::{MessageState, attachment::Content, subject};
use broca_pipeline::crash::CrashPoint;
use broca_rehearsal::{
    letta::{Behaviour, ShownImage, TurnLine},
    telegram::{Said, ScriptedTelegram, TOKEN, TelegramScript, in_private, photo},
};
use broca_store::{MessageRecord, Store};
use broca_tests::{Crew, Database, Rig, RigOptions, all_over, eventually};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(60);

fn jpeg(of: &str) -> Vec<u8> {
    let noise = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8);
    [b"\xFF\xD8\xFF\xE0 ".as_slice(), of.as_bytes()].concat().into_iter().chain(noise).collect()
}

fn shown(content: Vec<u8>) -> ShownImage {
    ShownImage { media_type: "image/jpeg".to_owned(), data: Content(content) }
}

struct Stage {
    telegram: ScriptedTelegram,
    rig: Rig,
    store: Store,
}

impl Stage {
    async fn set(database: Database, more: &str, behaviours: &[Behaviour]) -> Self {
        let files = ["A", "B"].map(|id| (id.to_owned(), jpeg(id)));
        let script = TelegramScript { files: files.into(), ..TelegramScript::default() };
        let telegram = ScriptedTelegram::start(script).await.expect("a free port");
        let mut options = RigOptions::new(database);
        options.letta.behaviours = behaviours.to_vec().into();
        options.settings = format!(
            "[plugins.telegram.settings]\ntoken = \"{TOKEN}\"\napi_url = \"{}\"\nrequire_owner = false\n{more}",
            telegram.url()
        );
        let rig = Rig::start(options).await;
        let store = rig.store().await;
        Self { telegram, rig, store }
    }

    fn plugin(&self, env: &[(&str, &str)]) -> Crew {
        Crew::new(&self.rig, "telegram", &["plugin", "run", "telegram"], 1, env)
    }

    /// Waits for so many answers, and for the end of all work.
    async fn answered(&self, answers: usize, crews: &mut [&mut Crew]) {
        eventually(&format!("{answers} answers, and everything is over"), PATIENCE, || {
            for crew in crews.iter_mut() {
                crew.tend(&self.rig);
            }
            let sent = self.telegram.log().len();
            let store = self.store.clone();
            async move { sent >= answers && all_over(&store).await }
        })
        .await;
    }

    fn turns(&self) -> Vec<TurnLine> {
        self.rig.letta.turns()
    }

    async fn message(&self) -> MessageRecord {
        let page = self.store.export_page(&broca_store::ExportFilter::default(), None, 10).await.expect("a page");
        let id = page.messages.first().expect("a message");
        self.store.message(*id).await.expect("the store answers").expect("it is there")
    }
}

fn picture(of: &str, caption: Option<&str>) -> Said {
    in_private(7, "").with(photo(of, (40, 30), jpeg(of).len(), caption))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_sees_what_was_sent() {
    for database in [Database::Sqlite, Database::Postgres] {
        let stage = Stage::set(database, "", &[]).await;
        let (mut plugin, mut workers) = (stage.plugin(&[]), Crew::workers(&stage.rig, 1, &[]));
        stage.telegram.say(picture("A", Some("what is this?")));
        stage.answered(1, &mut [&mut plugin, &mut workers]).await;
        let turns = stage.turns();
        assert_eq!(turns.len(), 1);
        assert_eq!(turns[0].text, "[Telegram ID: 7] what is this?\n[Telegram image: 40x30px]");
        assert!(turns[0].images == [shown(jpeg("A"))], "{:?}", turns[0].images);
        // It is on record, in the journey and in the export.
        let message = stage.message().await;
        let file = &message.files[0];
        assert_eq!((file.mime.as_deref(), file.refused.as_deref()), (Some("image/jpeg"), None));
        let journey = stage.rig.succeeds(&["message", "show", &message.id.to_string()]);
        assert!(journey.contains("came with image/jpeg of 200006 bytes, kept"), "{journey}");
        let exported: Value = serde_json::from_str(stage.rig.succeeds(&["export"]).trim()).expect("one line");
        assert_eq!(exported["files"][0]["object"].as_str(), file.object.as_deref(), "{exported}");
        // Forgetting the person takes the picture along.
        let (bus, object) = (stage.rig.bus().await, file.object.clone().expect("it was kept"));
        let bucket = subject::files_bucket(&message.instance);
        assert!(bus.object(&bucket, &object, 1 << 20).await.expect("the broker answers").is_some());
        stage.rig.succeeds(&["users", "forget", &message.user_id.to_string(), "--yes"]);
        assert_eq!(bus.object(&bucket, &object, 1 << 20).await.expect("the broker answers"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shown_is_told() {
    let own = "[plugins.telegram.attachments]\nmax_bytes = 300000\ntypes = [\"image/png\"]\n";
    let stage = Stage::set(Database::Sqlite, own, &[]).await;
    let (mut plugin, mut workers) = (stage.plugin(&[]), Crew::workers(&stage.rig, 1, &[]));
    stage.telegram.script(|script| drop(script.files.insert("T".to_owned(), b"<html>not a picture</html>".to_vec())));
    stage.telegram.say(in_private(7, "").with(photo("L", (9, 9), 400_000, Some("too large"))));
    stage.telegram.say(picture("A", Some("a jpeg")));
    stage.telegram.say(in_private(7, "").with(photo("T", (1, 1), 30, Some("a lie"))));
    stage.answered(3, &mut [&mut plugin, &mut workers]).await;
    let turns = stage.turns();
    let told = [
        "too large\n[Telegram image: 9x9px; not passed on: it has 400000 bytes, more than the limit of 300000]",
        "a jpeg\n[Telegram image: 40x30px; not passed on: image/jpeg is not allowed here]",
        "a lie\n[Telegram image: 1x1px; not passed on: it is no JPEG, PNG, GIF or WebP, whatever it is called]",
    ];
    for (turn, told) in turns.iter().zip(told) {
        assert_eq!((turn.text.as_str(), turn.images.len()), (format!("[Telegram ID: 7] {told}").as_str(), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_nothing_is_fetched_or_kept() {
    let stage = Stage::set(Database::Sqlite, "[attachments]\nenabled = false\n", &[]).await;
    let (mut plugin, mut workers) = (stage.plugin(&[]), Crew::workers(&stage.rig, 1, &[]));
    stage.telegram.say(picture("A", None));
    stage.answered(1, &mut [&mut plugin, &mut workers]).await;
    assert_eq!(stage.turns()[0].text, "[Telegram ID: 7] [Telegram image: 40x30px]");
    assert_eq!(stage.telegram.calls("getfile"), 0);
    let bucket = subject::files_bucket(&"telegram".parse().expect("a name"));
    let missing = stage.rig.bus().await.object(&bucket, "any", 9).await;
    assert!(missing.is_err(), "there is no bucket: {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_takes_no_images_is_asked_again_without() {
    let refuses = Behaviour::LlmFails("llm_bad_request".to_owned());
    let stage = Stage::set(Database::Sqlite, "", &[refuses]).await;
    let (mut plugin, mut workers) = (stage.plugin(&[]), Crew::workers(&stage.rig, 1, &[]));
    stage.telegram.say(picture("A", Some("look")));
    stage.answered(1, &mut [&mut plugin, &mut workers]).await;
    let told = "look\n[Telegram image: 40x30px; not passed on: the agent's model did not take it]";
    assert!(stage.telegram.log()[0].text.ends_with(told), "{:?}", stage.telegram.log());
    let message = stage.message().await;
    let classes: Vec<_> = message.turns.iter().map(|turn| turn.class.as_deref()).collect();
    assert_eq!(classes, [Some("image_refused"), None], "{:?}", message.turns);
    let journey = stage.rig.succeeds(&["message", "show", &message.id.to_string()]);
    assert!(journey.contains("does not take the images"), "{journey}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_a_burst_stand_behind_their_messages() {
    let burst = "[[routes]]\nname = \"all\"\ncoalesce = { window_ms = 60000, max_messages = 3 }\n";
    let stage = Stage::set(Database::Sqlite, burst, &[]).await;
    let (mut plugin, mut workers) = (stage.plugin(&[]), Crew::workers(&stage.rig, 1, &[]));
    for said in [picture("A", Some("this")), in_private(7, "or"), picture("B", Some("that"))] {
        stage.telegram.say(said);
    }
    stage.answered(1, &mut [&mut plugin, &mut workers]).await;
    let turns = stage.turns();
    assert_eq!(turns.len(), 1);
    assert!(turns[0].images == [shown(jpeg("A")), shown(jpeg("B"))], "both, in their order");
    let places: Vec<_> = ["this\n", "or", "that\n"].iter().map(|word| turns[0].text.find(word)).collect();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{}", turns[0].text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_expired_is_told_at_a_replay() {
    let refuses = Behaviour::Http(401);
    let stage = Stage::set(Database::Sqlite, "", &[refuses]).await;
    let (mut plugin, mut workers) = (stage.plugin(&[]), Crew::workers(&stage.rig, 1, &[]));
    stage.telegram.say(picture("A", Some("look")));
    eventually("it is a dead letter", PATIENCE, || {
        for crew in [&mut plugin, &mut workers] {
            crew.tend(&stage.rig);
        }
        let store = stage.store.clone();
        async move {
            let counts = store.counts().await.expect("the store answers");
            counts.messages.get(MessageState::Failed.as_str()) == Some(&1)
        }
    })
    .await;
    let message = stage.message().await;
    let bucket = subject::files_bucket(&message.instance);
    let object = message.files[0].object.clone().expect("it was kept");
    assert!(stage.rig.bus().await.drop_object(&bucket, &object).await.expect("the broker answers"));
    stage.rig.succeeds(&["replay", &message.id.to_string()]);
    stage.answered(1, &mut [&mut plugin, &mut workers]).await;
    let turns = stage.turns();
    let told = "[Telegram ID: 7] look\n[Telegram image: 40x30px; not passed on: it is no longer kept]";
    assert_eq!((turns[0].text.as_str(), turns[0].images.len()), (told, 0));
}

/// The plugin dies at every place on a picture's way in: one message, one copy of the picture, one answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_plugin_keeps_one_copy() {
    for (database, point) in [
        (Database::Sqlite, CrashPoint::FileKept),
        (Database::Postgres, CrashPoint::FileKept),
        (Database::Sqlite, CrashPoint::Ingested),
    ] {
        let stage = Stage::set(database, "", &[]).await;
        let marker = stage.rig.folder().join("crashed");
        let env = [("BROCA_CRASH_AT", point.name()), ("BROCA_CRASH_ONCE", marker.to_str().expect("a plain path"))];
        let (mut plugin, mut workers) = (stage.plugin(&env), Crew::workers(&stage.rig, 1, &[]));
        stage.telegram.say(picture("A", Some("look")));
        stage.answered(1, &mut [&mut plugin, &mut workers]).await;
        eventually("it is confirmed", PATIENCE, || {
            plugin.tend(&stage.rig);
            let left = stage.telegram.unconfirmed();
            async move { left == 0 }
        })
        .await;
        assert!(marker.exists() && plugin.replaced == 1, "it died at {}", point.name());
        assert!(stage.turns()[0].images == [shown(jpeg("A"))], "{}", point.name());
        assert_eq!((stage.turns().len(), stage.telegram.log().len()), (1, 1), "{}", point.name());
        // Two chunks, and what names them.
        let stored = stage.rig.nats.messages_in(&subject::files_stream(&"telegram".parse().expect("a name")));
        assert_eq!(stored, Some(3), "{}", point.name());
    }
}

/// What is written while the broker is away is accepted all the same; a picture has nowhere to go then.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_does_not_wait_for_the_broker() {
    let mut stage = Stage::set(Database::Sqlite, "", &[]).await;
    let (mut plugin, mut workers) = (stage.plugin(&[]), Crew::workers(&stage.rig, 1, &[]));
    stage.telegram.say(in_private(7, "first"));
    stage.answered(1, &mut [&mut plugin, &mut workers]).await;
    stage.rig.nats.node_mut(0).kill9();
    stage.telegram.say(picture("A", Some("look")));
    assert!(stage.telegram.wait_for_confirmation(PATIENCE).await, "{}", plugin.output());
    stage.rig.nats.node_mut(0).restart();
    stage.answered(2, &mut [&mut plugin, &mut workers]).await;
    let told = "look\n[Telegram image: 40x30px; not passed on: the broker could not keep it]";
    assert!(stage.turns()[1].text.ends_with(told), "{:?}", stage.turns()[1]);
}

/// By the webhook's chat: a picture with a public address, which the agent is told, until its model takes no images.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_told_where_that_is_switched_on() {
    // Taken and given back: the plugin listens there in a moment.
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("its address");
    let key = "a-key-of-the-desk-that-is-long-enough";
    let more = format!(
        "[attachments]\nimage_url_line = true\n[plugins.webhook.settings]\nlisten = \"{free}\"\n\
         [plugins.webhook.settings.chat.keys.desk]\nkey = \"{key}\"\n"
    );
    let behaviours = [Behaviour::Plain, Behaviour::Http(400)];
    let stage = Stage::set(Database::Sqlite, &more, &behaviours).await;
    let mut plugin = Crew::new(&stage.rig, "webhook", &["plugin", "run", "webhook"], 1, &[]);
    let mut workers = Crew::workers(&stage.rig, 1, &[]);
    let url = format!("http://{free}");
    let http = reqwest::Client::new();
    eventually("the webhook listens", PATIENCE, || {
        plugin.tend(&stage.rig);
        let asked = http.get(format!("{url}/healthz")).send();
        async move { asked.await.is_ok() }
    })
    .await;
    for said in ["one", "two"] {
        let image = json!({"kind": "image", "url": "https://a.example/p.png", "content": "iVBORw0KGgpieXRlcw=="});
        let body = json!({"user": "alice", "text": said, "attachments": [image], "wait_s": 60});
        let answer = http.post(format!("{url}/v1/chat")).bearer_auth(key).json(&body).send().await;
        let answer: Value = answer.expect("an answer").json().await.expect("JSON");
        assert!(answer["answer"].as_str().is_some_and(|answer| answer.contains(said)), "{answer}");
    }
    workers.tend(&stage.rig);
    let turns = stage.turns();
    let line = "[Webhook image document: mime=image/png size=13b";
    let one = format!("one\n{line}]\n[Image Attachment: https://a.example/p.png]");
    assert!(turns[0].text.ends_with(&one) && turns[0].images.len() == 1, "{:?}", turns[0]);
    let two = format!("two\n{line}; not passed on: the agent's model did not take it]");
    assert!(turns[1].text.ends_with(&two) && turns[1].images.is_empty(), "{:?}", turns[1]);
}
