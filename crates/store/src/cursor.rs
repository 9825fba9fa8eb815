//! Where a page of a list ended.

use std::{fmt, str::FromStr};

use sqlx::types::Uuid;

/// The time and the id of the last row of a page: the next page goes on behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor {
    pub(crate) at: i64,
    pub(crate) id: Uuid,
}

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at, self.id.simple())
    }
}

impl FromStr for PageCursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('.').and_then(|(at, id)| Some((at.parse().ok()?, Uuid::parse_str(id).ok()?)));
        let (at, id) = parts.ok_or_else(|| format!("'{text}' is no cursor: use the next_cursor of the page before"))?;
        Ok(Self { at, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_text() {
        let cursor = PageCursor { at: 17, id: Uuid::now_v7() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "17", "17.x", "x.00000000000000000000000000000000"] {
            assert!(bad.parse::<PageCursor>().is_err(), "{bad}");
        }
    }
}
