//! The archive: one JSON object a line, each with everything that is known of one message.

use broca_core::MessageId;
use broca_store::{ExportFilter, Store, StoreError};
use futures::{StreamExt, stream};
use serde::Serialize;

use crate::journey::{self, ShowError, Shown};

/// Rises when a line's form changes otherwise than by a further field.
pub const SCHEMA_VERSION: u32 = 1;
/// Rows of one page. A page is all that is held at a time.
const PAGE: u32 = 200;
/// Messages that are read at a time.
const AT_ONCE: usize = 4;

/// One line. What `broca message show --json` prints, and the version of the form.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub schema_version: u32,
    #[serde(flatten)]
    pub shown: Shown,
}

/// Some lines, and where the next ones begin; `None` when these were the last.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub lines: Vec<Line>,
    pub next: Option<MessageId>,
}

/// The next page behind `after`, in the order of the messages' ids. One that was removed meanwhile is left out.
///
/// # Errors
/// The database does not answer.
pub async fn page(store: &Store, filter: &ExportFilter, after: Option<MessageId>) -> Result<Page, StoreError> {
    let step = store.export_page(filter, after, PAGE).await?;
    let shown: Vec<Result<Shown, ShowError>> = stream::iter(step.messages)
        .map(|message| journey::show(store, message, None))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut lines = Vec::with_capacity(shown.len());
    for shown in shown {
        match shown {
            Ok(shown) => lines.push(Line { schema_version: SCHEMA_VERSION, shown }),
            Err(ShowError::Store(error)) => return Err(error),
            Err(ShowError::Unknown(_) | ShowError::NotYet { .. }) => {}
        }
    }
    Ok(Page { lines, next: step.next })
}
