//! Pictures that people send: fetched as far as they are kept, and told in words in any case.

use broca_rehearsal::{
    pipeline::{Hosted, MemoryPipeline, Seen},
    telegram::{Fault, Said, ScriptedTelegram, TelegramScript, in_private, photo},
};
use serde_json::json;

use crate::{ALICE, BOB, DEADLINE, plugin};

const JPEG: &[u8] = b"\xFF\xD8\xFF\xE0 a picture";

/// What the pipeline saw, and the Telegram that it came from.
async fn reported(script: TelegramScript, owner: Option<i64>, said: Vec<Said>) -> (Seen, ScriptedTelegram) {
    let telegram = ScriptedTelegram::start(script).await.unwrap();
    for said in said {
        telegram.say(said);
    }
    let pipeline = MemoryPipeline::new();
    let settings = owner.map_or(json!({}), |owner| json!({"require_owner": true, "owner_id": owner}));
    let hosted = Hosted::start(plugin(&telegram.url(), settings), &pipeline);
    assert!(telegram.wait_for_confirmation(DEADLINE).await, "stuck at {:?}", pipeline.seen());
    hosted.stop().await.unwrap();
    (pipeline.seen(), telegram)
}

fn with(file_id: &str, content: &[u8]) -> TelegramScript {
    TelegramScript { files: [(file_id.to_owned(), content.to_vec())].into(), ..TelegramScript::default() }
}

#[tokio::test]
async fn a_photo_comes_with_its_bytes_and_its_caption() {
    let said = in_private(ALICE, "").with(photo("P", (40, 30), JPEG.len(), Some("what is this?")));
    let (seen, telegram) = reported(with("P", JPEG), None, vec![said]).await;
    assert_eq!(seen.texts(), ["what is this?\n[Telegram image: 40x30px]"]);
    let attachments = &seen.accepted[0].incoming.attachments;
    assert_eq!(attachments.len(), 1);
    assert_eq!(attachments[0].content.as_deref(), Some(JPEG));
    assert_eq!((telegram.calls("getfile"), telegram.calls("file")), (1, 1));
}

#[tokio::test]
async fn an_album_keeps_its_order_and_an_image_document_is_an_image() {
    let album = |file_id: &str| {
        let more = photo(file_id, (4, 3), JPEG.len(), None);
        in_private(ALICE, "").with(more).with(json!({"media_group_id": "album"}))
    };
    let document = json!({"text": null, "document":
        {"file_id": "D", "file_name": "a.jpg", "mime_type": "image/jpeg", "file_size": JPEG.len()}});
    let mut script = with("1", JPEG);
    for file_id in ["2", "D"] {
        script.files.insert(file_id.to_owned(), [JPEG, file_id.as_bytes()].concat());
    }
    // The first one is late; what comes after it waits.
    script.file_faults = [Fault::ServerError].into();
    let said = vec![album("1"), album("2"), in_private(ALICE, "").with(document)];
    let (seen, _telegram) = reported(script, None, said).await;
    let contents = seen.accepted.iter().map(|message| message.incoming.attachments[0].content.as_deref().unwrap());
    assert_eq!(contents.collect::<Vec<_>>(), [JPEG, &[JPEG, b"2"].concat(), &[JPEG, b"D"].concat()]);
    assert_eq!(seen.accepted[1].incoming.attributes["media_group"], "album");
    let told = format!("[Telegram image document: name=a.jpg mime=image/jpeg size={}b]", JPEG.len());
    assert_eq!(seen.texts()[2], told, "{:?}", seen.texts());
}

#[tokio::test]
async fn what_is_too_large_is_not_fetched_and_what_lies_is_not_believed() {
    let large = photo("L", (9000, 9000), 50 << 20, Some("look"));
    // It says that it is small.
    let liar = photo("M", (4, 3), 10, None);
    let script = with("M", &vec![0xFF; 6 << 20]);
    let said = vec![in_private(ALICE, "").with(large), in_private(ALICE, "").with(liar)];
    let (seen, telegram) = reported(script, None, said).await;
    let why = format!("it has {} bytes, more than the limit of {}", 50 << 20, 5 << 20);
    assert_eq!(seen.texts()[0], format!("look\n[Telegram image: 9000x9000px; not passed on: {why}]"));
    let liar = "[Telegram image: 4x3px; not passed on: it could not be fetched (it is larger than the limit";
    assert!(seen.texts()[1].starts_with(liar), "{:?}", seen.texts());
    assert_eq!(telegram.calls("getfile"), 1);
}

#[tokio::test]
async fn a_picture_that_cannot_be_fetched_does_not_hold_up_its_message() {
    let script = TelegramScript { file_faults: vec![Fault::Gateway(502); 3].into(), ..with("P", JPEG) };
    let said = in_private(ALICE, "").with(photo("P", (4, 3), JPEG.len(), Some("look")));
    let (seen, telegram) = reported(script, None, vec![said, in_private(ALICE, "and now?")]).await;
    let lost = "look\n[Telegram image: 4x3px; not passed on: it could not be fetched (the file server answered 502";
    assert!(seen.texts()[0].starts_with(lost), "{:?}", seen.texts());
    assert_eq!(seen.texts()[1], "and now?");
    assert_eq!(telegram.calls("file"), 3, "it was tried again");
}

#[tokio::test]
async fn nothing_is_fetched_for_people_who_may_not_talk() {
    let said = in_private(BOB, "").with(photo("P", (4, 3), JPEG.len(), None));
    let (seen, telegram) = reported(with("P", JPEG), Some(ALICE), vec![said]).await;
    assert_eq!((seen.accepted.len(), seen.suppressed.len()), (0, 1));
    assert_eq!(telegram.calls("getfile"), 0);
}
