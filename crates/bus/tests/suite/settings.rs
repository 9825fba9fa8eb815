//! The settings' bucket: one of two writers wins, and readers come to know.

use std::time::Duration;

use broca_bus::{BusError, Known, SettingsFeed};

use crate::rig;

/// Promised is a second; a busy machine takes longer, and much less than the 30 s after which a feed that was told
/// nothing reads again.
const SOON: Duration = Duration::from_secs(10);

async fn until(feed: &mut SettingsFeed, within: Duration, fits: impl Fn(&Known) -> bool) -> Known {
    let wait = async {
        loop {
            let known = feed.changed().await;
            if fits(&known) {
                return known;
            }
        }
    };
    tokio::time::timeout(within, wait).await.expect("the feed must come to know")
}

fn holds(value: &'static str) -> impl Fn(&Known) -> bool {
    move |known| known.entry.as_ref().is_some_and(|entry| entry.value.as_deref() == Some(value.as_bytes()))
}

#[tokio::test]
async fn of_two_writers_one_wins_and_the_other_is_told() {
    let (_server, bus) = rig::server().await;
    assert_eq!(bus.setting("plugin.a").await.unwrap(), broca_bus::Entry::default());
    let first = bus.put_setting("plugin.a", b"1".to_vec(), 0).await.unwrap();
    let late = bus.put_setting("plugin.a", b"late".to_vec(), 0).await.unwrap_err();
    assert!(matches!(&late, BusError::Changed { key } if key == "plugin.a"), "{late}");
    bus.put_setting("plugin.b", b"other".to_vec(), 0).await.unwrap();
    let second = bus.put_setting("plugin.a", b"2".to_vec(), first).await.unwrap();
    assert!(second > first);
    let found = bus.setting("plugin.a").await.unwrap();
    assert_eq!((found.value.as_deref(), found.revision), (Some(&b"2"[..]), second));
}

#[tokio::test]
async fn a_feed_is_told_of_a_change_and_minds_its_own_key_alone() {
    let (_server, bus) = rig::server().await;
    let mut feed = bus.follow_setting("plugin.a");
    assert_eq!(feed.first().await.entry, Some(broca_bus::Entry::default()));
    let mut revision = 0;
    for value in ["1", "2", "3"] {
        bus.put_setting("plugin.b", b"other".to_vec(), bus.setting("plugin.b").await.unwrap().revision).await.unwrap();
        revision = bus.put_setting("plugin.a", value.into(), revision).await.unwrap();
        let known = until(&mut feed, SOON, holds(value)).await;
        assert_eq!(known.entry.unwrap().revision, revision);
    }
    // A refused write says the same on the wire as one that counts.
    bus.put_setting("plugin.a", b"refused".to_vec(), 0).await.unwrap_err();
    bus.put_setting("plugin.a", b"4".to_vec(), revision).await.unwrap();
    let known = tokio::time::timeout(SOON, feed.changed()).await.unwrap();
    assert!(holds("4")(&known), "{known:?}");
}

#[tokio::test]
async fn a_feed_keeps_what_it_knows_over_an_outage_and_catches_up_after_it() {
    let (mut server, bus) = rig::server().await;
    let mut feed = bus.follow_setting("mode");
    feed.first().await;
    let revision = bus.put_setting("mode", b"1".to_vec(), 0).await.unwrap();
    until(&mut feed, rig::PROMPT, holds("1")).await;
    server.kill9();
    until(&mut feed, rig::PATIENCE * 2, |known| known.trouble.is_some() && holds("1")(known)).await;
    server.restart();
    until(&mut feed, rig::PATIENCE, |known| known.trouble.is_none() && holds("1")(known)).await;
    bus.put_setting("mode", b"2".to_vec(), revision).await.unwrap();
    until(&mut feed, rig::PROMPT, holds("2")).await;
}

#[tokio::test]
async fn without_a_bucket_a_feed_says_what_is_to_be_done_and_reads_it_once_it_is_there() {
    let server = broca_servers::NatsServer::start();
    let bus = broca_bus::Bus::connect(rig::options(server.url())).await.unwrap();
    let mut feed = bus.follow_setting("mode");
    let known = feed.first().await;
    assert!(known.entry.is_none() && known.trouble.unwrap().contains("broca nats apply"));
    rig::prepared(&server.url(), &broca_bus::ApplyOptions::default()).await;
    until(&mut feed, rig::PATIENCE, |known| known.entry.is_some() && known.trouble.is_none()).await;
}

#[tokio::test]
async fn what_is_announced_is_heard_by_those_who_listen_and_kept_by_nobody() {
    let (_server, bus) = rig::server().await;
    bus.announce("broca.typing.cli".into(), b"to nobody".to_vec()).await.unwrap();
    let mut heard = bus.listen("broca.typing.*".into()).await.unwrap();
    bus.announce("broca.typing.cli".into(), b"to us".to_vec()).await.unwrap();
    let said = tokio::time::timeout(rig::PROMPT, heard.next()).await.unwrap().unwrap();
    assert_eq!(said, ("broca.typing.cli".to_owned(), b"to us".to_vec()));
}
