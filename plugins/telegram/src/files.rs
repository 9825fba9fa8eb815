//! The bytes of images that people send, as far as the pipeline keeps them.

use std::time::Duration;

use broca_core::{
    Attachment, Incoming,
    access::Standing,
    attachment::{Content, Kind},
};
use broca_plugin::Context;

use crate::{api::Api, content::Held};

/// For all attempts at one file. The chat's next message waits behind it.
const TIME: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);
const TRIES: usize = 3;

/// A file as it is reported. Only an image's bytes are fetched, only where they are kept, and only from people who may
/// talk; whatever goes wrong with that is told in the message, which arrives all the same.
pub(crate) async fn with_content(api: &Api, ctx: &Context, incoming: &Incoming, file: Held) -> Attachment {
    let Held { attachment, file_id, .. } = file;
    let policy = ctx.attachments();
    if attachment.kind != Kind::Image || !policy.enabled || policy.admits(&attachment).is_err() {
        return attachment;
    }
    if matches!(ctx.standing(incoming).await, Ok(Standing::Blocked(_))) {
        return attachment;
    }
    let limit = usize::try_from(policy.max_bytes).unwrap_or(usize::MAX);
    match tokio::time::timeout(TIME, fetch(api, &file_id, limit)).await {
        Ok(Ok(content)) => Attachment { content: Some(Content(content)), ..attachment },
        Ok(Err(why)) => Attachment { trouble: Some(format!("it could not be fetched ({why})")), ..attachment },
        Err(_) => Attachment { trouble: Some("it could not be fetched in time".to_owned()), ..attachment },
    }
}

async fn fetch(api: &Api, file_id: &str, limit: usize) -> Result<Vec<u8>, String> {
    let mut tries = 1;
    loop {
        match api.file(file_id, limit).await {
            Ok(content) => return Ok(content),
            Err(error) if error.is_passing() && tries < TRIES => {
                tracing::info!(%error, "an image is not given out, tried again");
                tokio::time::sleep(PAUSE).await;
                tries += 1;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
