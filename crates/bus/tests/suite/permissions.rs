//! The reference configurations: every role can do its work, and nothing else.

use std::time::Duration;

use broca_bus::{ApplyOptions, Auth, Bus, BusOptions, Outgoing, Topology};
use broca_servers::NatsServer;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::rig;

const ONE_ACCOUNT: &str = include_str!("../../../../nats/nats-server.conf");
const OWN_ACCOUNT: &str = include_str!("../../../../nats/nats-server.accounts.conf");

/// A refused request gets no answer at all, so its absence is what shows. Ten times what an answer takes here.
const NO_ANSWER: Duration = Duration::from_millis(300);

fn start(conf: &str) -> (NatsServer, nkeys::KeyPair) {
    let admin = nkeys::KeyPair::new_user();
    let key = admin.public_key();
    let env = [
        ("ADMIN_NKEY", key.as_str()),
        ("SYS_PASSWORD", "s-pass"),
        ("WORKER_PASSWORD", "worker-pass"),
        ("TELEGRAM_PASSWORD", "telegram-pass"),
        ("CLI_PASSWORD", "cli-pass"),
        ("DISCORD_PASSWORD", "discord-pass"),
    ];
    (NatsServer::start_with_env(conf, &env), admin)
}

async fn admin(server: &NatsServer, key: &nkeys::KeyPair, instances: &[&str]) -> Bus {
    let auth = Auth::Nkey { seed: key.seed().unwrap().into() };
    let bus = Bus::connect(BusOptions { auth, ..rig::options(server.url()) }).await.unwrap();
    let instances: Vec<_> = instances.iter().map(|name| name.parse().unwrap()).collect();
    let options = ApplyOptions { with_files: instances.clone(), instances, ..ApplyOptions::default() };
    let changes = Topology::embedded().unwrap().apply(&bus, &options).await.unwrap();
    assert!(changes.iter().all(|change| !change.is_refused()), "{changes:?}");
    bus
}

fn user(server: &NatsServer, name: &str) -> BusOptions {
    BusOptions {
        auth: Auth::UserPassword { user: name.into(), password: format!("{name}-pass").into() },
        inbox_prefix: Some(format!("_INBOX_{name}")),
        ..rig::options(server.url())
    }
}

fn to(subject: &str, id: &str) -> Outgoing {
    Outgoing { subject: subject.into(), ..rig::outgoing(id) }
}

/// The plain client of a user, as an attacker would hold it.
async fn raw(server: &NatsServer, name: &str) -> async_nats::Client {
    async_nats::ConnectOptions::with_user_and_password(name.into(), format!("{name}-pass"))
        .custom_inbox_prefix(format!("_INBOX_{name}"))
        .connect(server.url())
        .await
        .unwrap()
}

#[tokio::test]
async fn every_role_can_do_its_work() {
    let (server, key) = start(ONE_ACCOUNT);
    let _admin = admin(&server, &key, &["telegram", "cli"]).await;
    let worker = Bus::connect(user(&server, "worker")).await.unwrap();
    let telegram = Bus::connect(user(&server, "telegram")).await.unwrap();

    telegram.publish(to("broca.in.telegram", "wake")).await.unwrap();
    let mut wakes = rig::workers(&worker, 4).await;
    let wake = rig::next(&mut wakes).await;
    assert_eq!(wake.subject(), "broca.in.telegram");
    wake.progress().await.unwrap();
    for (subject, id) in [
        ("broca.in.telegram", "again"),
        ("broca.out.telegram", "answer"),
        ("broca.dlq.turn.telegram.1", "dead"),
        ("broca.events.message.telegram", "event"),
    ] {
        worker.publish(to(subject, id)).await.unwrap();
    }
    wake.ack_confirmed().await.unwrap();
    rig::next(&mut wakes).await.nak(Duration::ZERO).await.unwrap();
    assert_eq!(rig::next(&mut wakes).await.delivered(), 2);

    let mut answers = telegram.consumer("BROCA_OUT", "out-telegram", 2).await.unwrap();
    rig::next(&mut answers).await.ack_confirmed().await.unwrap();
    telegram.publish(to("broca.dlq.delivery.telegram.1", "dead-too")).await.unwrap();
    telegram.publish(to("broca.events.status.telegram", "event-too")).await.unwrap();
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    assert!(answers.next(&shutdown).await.is_none());
}

#[tokio::test]
async fn every_role_reads_its_own_live_settings_and_hears_what_is_for_it() {
    let (server, key) = start(ONE_ACCOUNT);
    let admin = admin(&server, &key, &["telegram", "cli"]).await;
    let worker = Bus::connect(user(&server, "worker")).await.unwrap();
    let telegram = Bus::connect(user(&server, "telegram")).await.unwrap();
    follows(&admin, &worker, "mode").await;
    follows(&admin, &telegram, "plugin.telegram").await;
    let mut waits = telegram.listen("broca.typing.telegram".into()).await.unwrap();
    let mut events = telegram.listen("broca.events.*.telegram".into()).await.unwrap();
    telegram.setting("plugin.telegram").await.expect("a round trip behind them: the server listens for us by now");
    for (subject, heard) in [("broca.typing.telegram", &mut waits), ("broca.events.message.telegram", &mut events)] {
        worker.announce(subject.into(), b"now".to_vec()).await.unwrap();
        let said = tokio::time::timeout(rig::PATIENCE, heard.next()).await.unwrap().unwrap();
        assert_eq!(said, (subject.to_owned(), b"now".to_vec()));
    }
}

/// Writes a value that `reader` then reads, and hears of when it changes.
async fn follows(admin: &Bus, reader: &Bus, key: &str) {
    let mut feed = reader.follow_setting(key);
    assert_eq!(feed.first().await, broca_bus::Known { entry: Some(broca_bus::Entry::default()), trouble: None });
    let revision = admin.put_setting(key, b"new".to_vec(), 0).await.unwrap();
    let known = tokio::time::timeout(rig::PROMPT, feed.changed()).await.unwrap();
    let entry = broca_bus::Entry { value: Some(b"new".to_vec()), revision };
    assert_eq!(known, broca_bus::Known { entry: Some(entry), trouble: None });
}

#[tokio::test]
async fn a_plugin_reaches_nothing_that_is_not_its_own() {
    let (server, key) = start(ONE_ACCOUNT);
    let admin = admin(&server, &key, &["telegram", "cli"]).await;
    admin.publish(to("broca.out.cli", "for cli")).await.unwrap();
    admin.publish(to("broca.in.cli", "for workers")).await.unwrap();
    let telegram = raw(&server, "telegram").await;

    let stream = r#"{"name":"EVIL","subjects":["evil"]}"#;
    let consumer = r#"{"stream_name":"BROCA_OUT","config":{"durable_name":"evil","ack_policy":"explicit"}}"#;
    let attempts: &[(&str, &str)] = &[
        ("broca.in.cli", "forged"),
        ("broca.out.telegram", "forged"),
        ("broca.out.cli", "forged"),
        ("broca.dlq.turn.telegram.1", "forged"),
        ("broca.dlq.delivery.cli.1", "forged"),
        ("broca.events.message.cli", "forged"),
        ("$JS.API.CONSUMER.MSG.NEXT.BROCA_OUT.out-cli", "1"),
        ("$JS.API.CONSUMER.MSG.NEXT.BROCA_IN.workers", "1"),
        ("$JS.API.CONSUMER.INFO.BROCA_IN.workers", ""),
        ("$JS.API.CONSUMER.CREATE.BROCA_OUT", consumer),
        ("$JS.API.CONSUMER.CREATE.BROCA_OUT.evil", consumer),
        ("$JS.API.CONSUMER.DURABLE.CREATE.BROCA_OUT.evil", consumer),
        ("$JS.API.CONSUMER.DELETE.BROCA_OUT.out-cli", ""),
        ("$JS.API.CONSUMER.DELETE.BROCA_OUT.out-telegram", ""),
        ("$JS.API.STREAM.CREATE.EVIL", stream),
        ("$JS.API.STREAM.UPDATE.BROCA_OUT", stream),
        ("$JS.API.STREAM.DELETE.BROCA_IN", ""),
        ("$JS.API.STREAM.PURGE.BROCA_IN", ""),
        ("$JS.API.STREAM.LIST", ""),
        ("$JS.API.STREAM.INFO.BROCA_OUT", ""),
        ("$JS.API.STREAM.MSG.GET.BROCA_OUT", r#"{"seq":1}"#),
        ("$JS.API.DIRECT.GET.BROCA_DLQ", r#"{"seq":1}"#),
        ("broca.typing.cli", "forged"),
        ("broca.typing.telegram", "forged"),
        ("$JS.API.DIRECT.GET.KV_broca_settings", r#"{"seq":1}"#),
        ("$JS.API.DIRECT.GET.KV_broca_settings.$KV.broca_settings.plugin.cli", ""),
        ("$JS.API.DIRECT.GET.KV_broca_settings.$KV.broca_settings.mode", ""),
        ("$JS.API.DIRECT.GET.KV_broca_settings.$KV.broca_settings.control.telegram", ""),
        ("$JS.API.STREAM.MSG.GET.KV_broca_settings", r#"{"last_by_subj":"$KV.broca_settings.plugin.telegram"}"#),
        ("$JS.API.STREAM.INFO.KV_broca_settings", ""),
        ("$JS.API.CONSUMER.CREATE.KV_broca_settings", consumer),
        ("$KV.broca_settings.plugin.telegram", "forged"),
        ("$KV.broca_settings.plugin.cli", "forged"),
        ("$KV.broca_settings.mode", "forged"),
        ("$O.BROCA_FILES_cli.M.eA==", "forged"),
        ("$O.BROCA_FILES_cli.C.x", "forged"),
        ("$JS.API.DIRECT.GET.OBJ_BROCA_FILES_cli.$O.BROCA_FILES_cli.M.eA==", ""),
        ("$JS.API.DIRECT.GET.OBJ_BROCA_FILES_telegram", r#"{"seq":1}"#),
        ("$JS.API.STREAM.INFO.OBJ_BROCA_FILES_cli", ""),
        ("$JS.API.STREAM.PURGE.OBJ_BROCA_FILES_telegram", ""),
        ("$JS.API.STREAM.DELETE.OBJ_BROCA_FILES_telegram", ""),
        ("$JS.API.CONSUMER.CREATE.OBJ_BROCA_FILES_cli", consumer),
        ("$JS.API.CONSUMER.CREATE.OBJ_BROCA_FILES_cli.evil.$O.BROCA_FILES_cli.C.x", consumer),
    ];
    let answers = futures::future::join_all(attempts.iter().map(|(subject, body)| {
        let telegram = &telegram;
        async move {
            let answer = tokio::time::timeout(NO_ANSWER, telegram.request((*subject).to_owned(), (*body).into())).await;
            (subject, matches!(answer, Ok(Ok(_))))
        }
    }))
    .await;
    let answered: Vec<_> = answers.iter().filter(|(_, answered)| *answered).collect();
    assert!(answered.is_empty(), "telegram got an answer from {answered:?}");

    // What it may ask is answered well within that time, so silence above means refusal.
    let own = tokio::time::timeout(NO_ANSWER, telegram.request("$JS.API.INFO", "".into())).await;
    assert!(matches!(own, Ok(Ok(_))));
    listening_is_refused(&telegram, &admin).await;
    let mut cli = admin.consumer("BROCA_OUT", "out-cli", 5).await.unwrap();
    let job = rig::next(&mut cli).await;
    assert_eq!((rig::text(&job).as_str(), job.delivered()), ("for cli", 1));
    assert!(rig::next_within(&mut cli, NO_ANSWER).await.is_none(), "only that one message is there");
    let backlog = admin.backlog("BROCA_IN", "workers").await.unwrap();
    assert_eq!((backlog.pending, backlog.ack_pending), (1, 0));
}

async fn listening_is_refused(telegram: &async_nats::Client, admin: &Bus) {
    let mut heard = Vec::new();
    for subject in [
        "broca.>",
        "$JS.>",
        "_INBOX_cli.>",
        "_INBOX.>",
        ">",
        "$KV.>",
        "$KV.broca_settings.plugin.cli",
        "$KV.broca_settings.plugin.*",
        "$KV.broca_settings.mode",
        "broca.events.*.cli",
        "broca.typing.cli",
        "broca.typing.*",
    ] {
        heard.push(telegram.subscribe(subject).await.unwrap());
    }
    telegram.flush().await.unwrap();
    admin.publish(to("broca.events.message.cli", "not for telegram")).await.unwrap();
    admin.announce("broca.typing.cli".into(), b"not for telegram".to_vec()).await.unwrap();
    for key in ["plugin.cli", "mode"] {
        admin.put_setting(key, b"not for telegram".to_vec(), 0).await.unwrap();
    }
    // A round trip after it: what the server would have sent is here by now.
    telegram.request("$JS.API.INFO", "".into()).await.unwrap();
    for subscription in &mut heard {
        let message = futures::FutureExt::now_or_never(subscription.next());
        assert!(!matches!(message, Some(Some(_))), "telegram heard {message:?}");
    }
}

#[tokio::test]
async fn a_plugin_keeps_files_in_its_own_bucket_and_a_worker_reads_them_all() {
    let (server, key) = start(ONE_ACCOUNT);
    let admin = admin(&server, &key, &["telegram", "cli"]).await;
    let worker = Bus::connect(user(&server, "worker")).await.unwrap();
    let telegram = Bus::connect(user(&server, "telegram")).await.unwrap();
    let picture: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    telegram.put_object("BROCA_FILES_telegram", "picture", &picture).await.unwrap();
    telegram.put_object("BROCA_FILES_telegram", "picture", &picture).await.expect("it may be repeated");
    admin.put_object("BROCA_FILES_cli", "other", b"cli's").await.unwrap();
    for (bucket, name, content) in
        [("BROCA_FILES_telegram", "picture", &picture[..]), ("BROCA_FILES_cli", "other", b"cli's")]
    {
        let read = worker.object(bucket, name, picture.len()).await.unwrap();
        assert_eq!(read.as_deref(), Some(content), "{bucket}");
    }
    let foreign = telegram.put_object("BROCA_FILES_cli", "mine", b"forged").await;
    assert!(foreign.is_err_and(|error| error.is_transient()));
    assert_eq!(admin.object("BROCA_FILES_cli", "mine", 99).await.unwrap(), None);

    // Reading files does not open any other stream, whatever the subject of the request claims.
    let worker = raw(&server, "worker").await;
    let filtered =
        r#"{"stream_name":"BROCA_DLQ","config":{"name":"x","filter_subject":"broca.dlq.>","ack_policy":"none"}}"#;
    let asked = |subject: &'static str| worker.request(subject, filtered.into());
    let claimed = asked("$JS.API.CONSUMER.CREATE.BROCA_DLQ.x.$O.a.C.b").await.unwrap();
    assert!(String::from_utf8_lossy(&claimed.payload).contains("\"error\""), "{claimed:?}");
    for subject in ["$JS.API.CONSUMER.CREATE.BROCA_DLQ.x.broca.dlq.>", "$JS.API.CONSUMER.CREATE.BROCA_DLQ"] {
        assert!(tokio::time::timeout(NO_ANSWER, asked(subject)).await.is_err(), "{subject}");
    }
    let written = worker.request("$O.BROCA_FILES_cli.M.eA==", "forged".into());
    assert!(tokio::time::timeout(NO_ANSWER, written).await.is_err(), "a worker only reads");
}

#[tokio::test]
async fn a_plugin_in_an_account_of_its_own_works_and_cannot_inject_replies() {
    // The file takes the place of the accounts block; what stands before that block stays. Without a limit of its own
    // the server would reserve no more than the disk has free at that moment.
    let before = ONE_ACCOUNT.split_once("system_account").map_or("", |(before, _)| before);
    let (server, key) = start(&format!("{before}{OWN_ACCOUNT}"));
    let admin = admin(&server, &key, &["discord", "cli"]).await;
    let options = BusOptions { api_prefix: Some("BROCA.API".into()), inbox_prefix: None, ..user(&server, "discord") };
    let discord = Bus::connect(options).await.unwrap();

    discord.publish(to("broca.in.discord", "wake")).await.unwrap();
    admin.publish(to("broca.out.discord", "answer")).await.unwrap();
    let mut answers = discord.consumer("BROCA_OUT", "out-discord", 2).await.unwrap();
    let answer = rig::next(&mut answers).await;
    assert_eq!((rig::text(&answer).as_str(), answer.delivered()), ("answer", 1));
    answer.ack_confirmed().await.unwrap();
    follows(&admin, &discord, "plugin.discord").await;
    discord.put_object("BROCA_FILES_discord", "picture", b"bytes").await.unwrap();
    let read = admin.object("BROCA_FILES_discord", "picture", 99).await.unwrap();
    assert_eq!(read.as_deref(), Some(&b"bytes"[..]));
    assert!(discord.put_object("BROCA_FILES_cli", "picture", b"bytes").await.is_err());
    let mut waits = discord.listen("broca.typing.discord".into()).await.unwrap();
    discord.setting("plugin.discord").await.expect("a round trip behind it: the server listens for us by now");
    admin.announce("broca.typing.discord".into(), b"now".to_vec()).await.unwrap();
    assert!(tokio::time::timeout(rig::PROMPT, waits.next()).await.unwrap().is_some());

    let attacker = async_nats::ConnectOptions::with_user_and_password("discord".into(), "discord-pass".into())
        .connect(server.url())
        .await
        .unwrap();
    let injected =
        [("broca.in.discord", ""), ("BROCA.API.INFO", ""), ("BROCA.API.CONSUMER.INFO.BROCA_OUT.out-discord", "")];
    for (subject, body) in injected {
        attacker.publish_with_reply(subject, "broca.in.cli", body.into()).await.unwrap();
    }
    let own_settings = "DIRECT.GET.KV_broca_settings.$KV.broca_settings.plugin.discord";
    attacker.publish_with_reply(format!("BROCA.API.{own_settings}"), "broca.in.cli", "".into()).await.unwrap();
    for subject in ["broca.in.cli", "$KV.broca_settings.plugin.discord", "$KV.broca_settings.mode"] {
        assert!(attacker.request(subject, "forged".into()).await.is_err(), "{subject}");
    }
    attacker.request("BROCA.API.INFO", "".into()).await.unwrap();

    let mut wakes = rig::workers(&admin, 10).await;
    let (mut subjects, never) = (Vec::new(), CancellationToken::new());
    while let Ok(Some(job)) = tokio::time::timeout(NO_ANSWER, wakes.next(&never)).await {
        subjects.push(job.subject().to_owned());
        job.ack().await.unwrap();
    }
    assert_eq!(subjects, ["broca.in.discord", "broca.in.discord"]);
}
