//! What an instance does otherwise with what comes with its messages.

use broca_core::AttachmentPolicy;
use serde::{Deserialize, Serialize};

/// Whatever is not set is as `[attachments]` says.
#[derive(Clone, Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OwnAttachments {
    enabled: Option<bool>,
    max_bytes: Option<u64>,
    max_images: Option<usize>,
    types: Option<Vec<String>>,
    keep_days: Option<u64>,
    bucket_mb: Option<u64>,
    image_url_line: Option<bool>,
}

impl OwnAttachments {
    pub(crate) fn over(&self, general: &AttachmentPolicy) -> AttachmentPolicy {
        AttachmentPolicy {
            enabled: self.enabled.unwrap_or(general.enabled),
            max_bytes: self.max_bytes.unwrap_or(general.max_bytes),
            max_images: self.max_images.unwrap_or(general.max_images),
            types: self.types.clone().unwrap_or_else(|| general.types.clone()),
            keep_days: self.keep_days.unwrap_or(general.keep_days),
            bucket_mb: self.bucket_mb.unwrap_or(general.bucket_mb),
            image_url_line: self.image_url_line.unwrap_or(general.image_url_line),
        }
    }
}
