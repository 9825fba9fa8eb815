//! Files on their way: kept before the message that they came with, read when an agent is to see them.
//!
//! An image is in its instance's bucket before its message is committed, under a name made of its bytes and of the
//! platform's event. So an event that is reported again finds it there, and what a crash leaves without a message
//! expires. What cannot be kept or read is told in the message's text instead: no message waits for the object store or
//! is refused because of it, and the platform is never asked to repeat one for the sake of a picture.

use broca_bus::Bus;
use broca_core::{
    Attachment, AttachmentPolicy, Instance, KeptFile,
    attachment::{Kind, MAX_FILES, with_lines},
    subject,
};
use broca_store::{Admission, NewMessage};
use ring::digest::{SHA256, digest};

/// A plugin process's side: what it may keep, and where.
#[derive(Clone, Debug)]
pub struct Files {
    pub bus: Bus,
    pub policy: AttachmentPolicy,
}

impl Files {
    /// Puts what came with a message on record, and a line for each file into its text.
    pub(crate) async fn keep(&self, message: &mut NewMessage) {
        let reported = std::mem::take(&mut message.incoming.attachments);
        if reported.is_empty() {
            return;
        }
        let more = reported.len().saturating_sub(MAX_FILES);
        let nobodys = match &message.admission {
            Admission::Open | Admission::Within { .. } => None,
            Admission::Command { .. } => Some("it came with a command"),
            _ => Some("its sender was not let in"),
        };
        let mut room = self.policy.max_images;
        for file in reported.into_iter().take(MAX_FILES) {
            let mut kept = file.described();
            if file.kind == Kind::Image && self.policy.enabled {
                let judged = match (nobodys, room.checked_sub(1)) {
                    (Some(why), _) => Err(why.to_owned()),
                    (None, None) => Err(format!("only {} of one message are", self.policy.max_images)),
                    (None, Some(left)) => {
                        room = left;
                        self.image(&message.instance, &message.incoming.event_id, &file).await
                    }
                };
                match judged {
                    Ok(stored) => (kept.mime, kept.size, kept.digest, kept.object) = stored.into(),
                    Err(why) => kept.refused = Some(why),
                }
            }
            message.files.push(kept);
        }
        let text = &message.incoming.text;
        message.incoming.text = with_lines(text, &message.platform, &message.files, more, self.policy.image_url_line);
    }

    async fn image(&self, instance: &Instance, event: &str, file: &Attachment) -> Result<Stored, String> {
        let mime = self.policy.judge(file)?;
        let Some(content) = &file.content else { return Err("it came without its content".to_owned()) };
        let digest = hex(content);
        // Its bytes alone would not do: what two messages share, neither could be rid of.
        let name = format!("{digest}-{}", &hex(event.as_bytes())[..32]);
        let bucket = subject::files_bucket(instance);
        if let Err(error) = self.bus.put_object(&bucket, &name, content).await {
            tracing::warn!(%instance, %error, "an image could not be kept, and is only described");
            return Err("the broker could not keep it".to_owned());
        }
        Ok(Stored { mime, size: content.len() as u64, digest, name })
    }
}

struct Stored {
    mime: &'static str,
    size: u64,
    digest: String,
    name: String,
}

type Facts = (Option<String>, Option<u64>, Option<String>, Option<String>);

impl From<Stored> for Facts {
    fn from(stored: Stored) -> Self {
        (Some(stored.mime.to_owned()), Some(stored.size), Some(stored.digest), Some(stored.name))
    }
}

/// Reads a kept image.
///
/// # Errors
/// [`Unread::NotNow`]: the broker does not answer.
pub(crate) async fn read(bus: &Bus, instance: &Instance, file: &KeptFile) -> Result<Vec<u8>, Unread> {
    let (Some(object), Some(size)) = (&file.object, file.size) else { return Err(Unread::Gone) };
    let limit = usize::try_from(size).unwrap_or(usize::MAX);
    match bus.object(&subject::files_bucket(instance), object, limit).await {
        Ok(Some(content)) if file.digest.as_deref() == Some(hex(&content).as_str()) => Ok(content),
        Ok(Some(_)) => Err(Unread::Changed),
        Ok(None) => Err(Unread::Gone),
        Err(error) => Err(Unread::NotNow(error.to_string())),
    }
}

/// Why an image is not there.
#[derive(Debug)]
pub(crate) enum Unread {
    Gone,
    /// Whoever may write to the bucket put something else there.
    Changed,
    NotNow(String),
}

fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
