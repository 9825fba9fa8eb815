//! What a query asks for, checked.

use broca_core::Timestamp;
use serde_json::{Value, json};

use super::{api::Asked, reply::Refused};
use crate::wire::{is_session_id, parse_time};

const LIMIT: usize = 50;
const MAX_LIMIT: usize = 100;

/// A part of a longer list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    limit: usize,
    offset: usize,
}

impl Page {
    pub(super) fn cut<T>(self, items: Vec<T>) -> (Vec<T>, Value) {
        let total = items.len();
        let has_more = self.offset.saturating_add(self.limit) < total;
        let cut = items.into_iter().skip(self.offset).take(self.limit).collect();
        (cut, json!({"total": total, "limit": self.limit, "offset": self.offset, "has_more": has_more}))
    }
}

impl Asked {
    pub(super) fn page(&self) -> Result<Page, Refused> {
        let number = |name: &str, text: &Option<String>, default: usize| match text.as_deref() {
            None | Some("") => Ok(default),
            Some(text) => text.parse().map_err(|_| Refused::bad(format!("{name} is not a number"))),
        };
        let limit = number("limit", &self.limit, LIMIT)?.clamp(1, MAX_LIMIT);
        Ok(Page { limit, offset: number("offset", &self.offset, 0)? })
    }

    pub(super) fn session(&self) -> Result<&str, Refused> {
        let session = self.session_id.as_deref().filter(|session| !session.is_empty());
        checked_session(session.ok_or_else(|| Refused::bad("Missing session_id parameter"))?)
    }

    /// Only what came later is wanted.
    pub(super) fn since(&self) -> Result<Option<Timestamp>, Refused> {
        let since = self.since.as_deref().filter(|since| !since.is_empty());
        since.map(|since| parse_time(since).ok_or_else(|| Refused::bad("since is not an ISO 8601 time"))).transpose()
    }
}

pub(super) fn checked_session(session: &str) -> Result<&str, Refused> {
    if is_session_id(session) { Ok(session) } else { Err(Refused::bad("Invalid session ID format")) }
}
