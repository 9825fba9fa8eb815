//! What came with a message is on record with it, and nowhere where its text is not.

use std::time::Duration;

use broca_core::{
    KeptFile, TurnId,
    access::{Reason, Suppression},
    agent::{Failure, FailureClass},
    attachment::Kind,
};
use broca_store::{Admission, End, NewMessage};

use crate::{
    home::{Home, done, ends, says, start_of, worker},
    on_both,
};

on_both!(
    files_stay_with_their_message,
    what_is_not_kept_of_a_stranger_is_not_kept_of_their_files,
    who_is_forgotten_names_their_files,
    an_attempt_is_remembered_by_its_end,
);

fn picture(of: &str) -> KeptFile {
    let object = Some(format!("object of {of}"));
    KeptFile { kind: Kind::Image, mime: Some("image/png".into()), size: Some(7), object, ..KeptFile::default() }
}

fn with_files(person: &str) -> NewMessage {
    let voice = KeptFile { kind: Kind::Voice, duration_s: Some(5), ..KeptFile::default() };
    NewMessage { files: vec![picture(person), voice], ..says(person, "look") }
}

async fn files_stay_with_their_message(home: Home) {
    let (message, _) = home.accept(with_files("alice")).await;
    let (plain, _) = home.accept(says("alice", "and now?")).await;
    let lease = home.hold(message, &worker("w")).await;
    assert_eq!(lease.pending[0].files, with_files("alice").files);
    assert_eq!(lease.pending[1].files, []);
    let record = |id| home.store.message(id);
    assert_eq!(record(message).await.unwrap().unwrap().files, with_files("alice").files);
    assert_eq!(record(plain).await.unwrap().unwrap().files, []);
    let journey = home.store.journey(message).await.unwrap().unwrap();
    let accepted = serde_json::to_value(&journey.events[0]).unwrap();
    assert_eq!(accepted["detail"]["files"][0]["object"], "object of alice", "{accepted}");
}

async fn what_is_not_kept_of_a_stranger_is_not_kept_of_their_files(home: Home) {
    let suppression = Suppression::of(Reason::NotAllowed);
    let admission = Admission::Suppressed { suppression, keep_text: false };
    let message = NewMessage { admission, ..with_files("mallory") };
    let id = message.id;
    home.store.ingest(message).await.unwrap();
    let record = home.store.message(id).await.unwrap().unwrap();
    assert_eq!((record.text.as_str(), record.files.len()), ("", 0));
}

async fn who_is_forgotten_names_their_files(home: Home) {
    let (message, _) = home.accept(with_files("alice")).await;
    home.accept(with_files("bob")).await;
    let user = home.store.message(message).await.unwrap().unwrap().user_id;
    let items = home.store.forget_next(user, 10).await.unwrap();
    let objects: Vec<_> = items.iter().flat_map(|item| &item.objects).collect();
    assert_eq!(objects, ["object of alice"]);
}

async fn an_attempt_is_remembered_by_its_end(home: Home) {
    let (message, _) = home.accept(with_files("alice")).await;
    let refused = |after| home.store.ended_as(message, after, FailureClass::ImageRefused);
    assert!(!refused(0).await.unwrap());
    let me = worker("w");
    let lease = home.hold(message, &me).await;
    let turn = TurnId::new();
    home.store.start_turn(start_of(&lease, turn, &me)).await.unwrap();
    let failure = Failure::new(FailureClass::ImageRefused, "it takes none");
    let end = End::Retry { failure, delay: Duration::ZERO, turn_unknown: false };
    done(home.store.finish(ends(&lease, Some(turn), end)).await.unwrap());
    assert!(refused(0).await.unwrap());
    assert!(!refused(1).await.unwrap(), "before a replay");
}
