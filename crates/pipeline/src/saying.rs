//! What a turn says: the text of its messages, and the images that came with them.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use broca_core::{
    KeptFile, MessageId,
    agent::{Failure, FailureClass},
    attachment::without_url_lines,
    format::{Header, format_for_agent},
    route::{Mode, Resolved},
};
use broca_letta::Image;
use broca_store::PendingMessage;

use crate::{
    files::{self, Unread},
    held::Held,
    shared::Worker,
};

/// Images of one turn together: more is no question any more, and a worker has many turns.
const MAX_IMAGE_BYTES: u64 = 20 << 20;

/// What the agent is told.
#[derive(Debug, Default)]
pub(crate) struct Saying {
    pub(crate) text: String,
    pub(crate) images: Vec<Image>,
}

/// So many attempts end early when images cannot be read; the next one does without them.
const PATIENT_ATTEMPTS: u32 = 2;

/// Whether an attempt that cannot read its images is better made later. The last one of a message's budget is not.
pub(crate) fn waits_for_images(message: &PendingMessage, route: &Resolved) -> bool {
    let spent = message.attempts.saturating_sub(message.attempts_before);
    let budget = route.retry.within(message.budget).max_attempts;
    spent < PATIENT_ATTEMPTS && spent + 1 < budget
}

/// Reads the images of a turn's messages. Where `patient`, an image that cannot be read now is worth another attempt;
/// otherwise it is left out, with a word.
///
/// # Errors
/// The broker does not answer; the agent heard nothing.
pub(crate) async fn compose(
    worker: &Worker,
    held: &Held,
    (messages, route): (&[PendingMessage], &Resolved),
    patient: bool,
) -> Result<Saying, Failure> {
    let said = new_ones(messages);
    let mut images = Images { worker, patient, with: true, left: MAX_IMAGE_BYTES, of: HashMap::new() };
    let any = said.iter().any(|message| message.files.iter().any(|file| file.object.is_some()));
    if !any || route.mode != Mode::Live {
        return Ok(Saying { text: text(&said, route, |message| message.text.clone()), images: Vec::new() });
    }
    images.with = !Box::pin(were_refused(worker, held, &said)).await;
    let mut texts = HashMap::new();
    for message in &said {
        texts.insert(message.id, Box::pin(images.read(message)).await?);
    }
    let mut saying = Saying::default();
    for message in said {
        if !saying.text.is_empty() {
            saying.text.push_str("\n\n");
        }
        saying.text.push_str(&formatted(message, &texts[&message.id], route));
        let at = saying.text.len();
        let of = images.of.remove(&message.id).unwrap_or_default();
        saying.images.extend(of.into_iter().map(|image| Image { at, ..image }));
    }
    Ok(saying)
}

/// The text alone, for whoever needs no more than that.
pub(crate) fn text_of(messages: &[PendingMessage], route: &Resolved) -> String {
    text(&new_ones(messages), route, |message| message.text.clone())
}

/// What the agent has heard by a turn that was stopped is not said again, unless there is nothing else to say.
fn new_ones(messages: &[PendingMessage]) -> Vec<&PendingMessage> {
    let new: Vec<&PendingMessage> = messages.iter().filter(|message| !message.heard).collect();
    if new.is_empty() { messages.iter().collect() } else { new }
}

/// Each message with its own header, a blank line between two.
fn text(said: &[&PendingMessage], route: &Resolved, body: impl Fn(&PendingMessage) -> String) -> String {
    said.iter().map(|message| formatted(message, &body(message), route)).collect::<Vec<_>>().join("\n\n")
}

fn formatted(message: &PendingMessage, text: &str, route: &Resolved) -> String {
    let header = Header {
        platform: &message.profile.platform,
        platform_user_id: &message.profile.platform_user_id,
        username: message.profile.username.as_deref(),
        at: message.received_at,
        instructions: message.instructions.as_deref(),
    };
    format_for_agent(&header, text, route.format)
}

/// Whether an attempt of theirs came back because of its images. What is not known counts as no: the agent says it again.
async fn were_refused(worker: &Worker, held: &Held, said: &[&PendingMessage]) -> bool {
    for message in said.iter().filter(|message| message.attempts > message.attempts_before) {
        let look = || worker.store.ended_as(message.id, message.attempts_before, FailureClass::ImageRefused);
        if worker.persist(held, look).await == Some(true) {
            return true;
        }
    }
    false
}

struct Images<'a> {
    worker: &'a Worker,
    patient: bool,
    /// Whether the agent is shown any.
    with: bool,
    left: u64,
    of: HashMap<MessageId, Vec<Image>>,
}

impl Images<'_> {
    /// Reads a message's; gives its text, in which the lines of those that are not shown say so.
    async fn read(&mut self, message: &PendingMessage) -> Result<String, Failure> {
        let mut text = message.text.clone();
        for file in message.files.iter().filter(|file| file.object.is_some()) {
            match self.image(message, file).await? {
                Ok(image) => self.of.entry(message.id).or_default().push(image),
                Err(why) => text = retold(&text, file, &message.profile.platform, why),
            }
        }
        Ok(if self.with { text } else { without_url_lines(&text) })
    }

    async fn image(
        &mut self,
        message: &PendingMessage,
        file: &KeptFile,
    ) -> Result<Result<Image, &'static str>, Failure> {
        if !self.with {
            return Ok(Err("the agent's model did not take it"));
        }
        let Some(left) = self.left.checked_sub(file.size.unwrap_or_default()) else {
            return Ok(Err("there are too many images at a time"));
        };
        Ok(match files::read(&self.worker.bus, &message.instance, file).await {
            Ok(content) => {
                self.left = left;
                let media_type = file.mime.clone().unwrap_or_default();
                Ok(Image { at: 0, media_type, data: STANDARD.encode(content) })
            }
            Err(Unread::Gone) => Err("it is no longer kept"),
            Err(Unread::Changed) => Err("what is kept is not what was sent"),
            Err(Unread::NotNow(why)) if self.patient => {
                let reason = format!("the images of message {} cannot be read: {why}", message.id);
                return Err(Failure::new(FailureClass::Interrupted, reason));
            }
            Err(Unread::NotNow(_)) => Err("it could not be read"),
        })
    }
}

/// The file's line, as it is now; behind the text, where an operator changed that.
fn retold(text: &str, file: &KeptFile, platform: &str, why: &str) -> String {
    let (was, now) = (file.line(platform), KeptFile { refused: Some(why.to_owned()), ..file.clone() }.line(platform));
    if text.contains(&was) { text.replacen(&was, &now, 1) } else { format!("{text}\n{now}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broca_core::attachment::Kind;

    #[test]
    fn a_line_is_told_anew_where_it_stands() {
        let file = KeptFile { kind: Kind::Image, width: Some(2), height: Some(3), ..KeptFile::default() };
        let twice = "a\n[CLI image: 2x3px]\n[CLI image: 2x3px]";
        let once = "a\n[CLI image: 2x3px; not passed on: gone]\n[CLI image: 2x3px]";
        assert_eq!(retold(twice, &file, "cli", "gone"), once);
        assert_eq!(retold("edited", &file, "cli", "gone"), "edited\n[CLI image: 2x3px; not passed on: gone]");
    }
}
