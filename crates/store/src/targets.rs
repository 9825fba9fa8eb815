//! Chats and people that their platform takes nothing for.
//!
//! A delivery that ends because the bot is blocked, or the chat is gone, says something of every other answer to the same
//! chat: the platform would refuse it, too. It is remembered here, and those answers end as dead letters with the same
//! class, without a call each. What proves the memory wrong, removes it: somebody writes in the chat (`ingest`), or
//! an answer is delivered there, because it was written after the platform was last asked, because an operator
//! replayed it, or because it was time to see again (`probe_at`). Nothing is lost by a memory that is wrong: the dead
//! letters can be replayed.

use std::{fmt, str::FromStr};

use broca_core::{Instance, Timestamp};
use serde::Serialize;

use crate::{
    Store, StoreError,
    decode::parsed,
    reading::fetch,
    tx::{Tx, change, operation},
};

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct DeadTarget {
    /// Its name: the instance and the chat, or the id of the person's profile.
    pub target: String,
    pub instance: Instance,
    /// The person whose answer was refused.
    pub platform_user_id: String,
    /// `None` is the person's own chat.
    pub chat_id: Option<String>,
    /// `blocked` or `not_found`.
    pub class: String,
    pub reason: String,
    pub since: Timestamp,
    /// When the platform was last asked.
    pub asked_at: Timestamp,
    /// How often it was asked and refused.
    pub failures: i64,
    /// From then on, the next answer is tried again.
    pub probe_at: Timestamp,
}

/// Which targets. Whatever is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetFilter {
    pub instance: Option<Instance>,
    /// A target's name; or an instance, a slash and the platform's id of a person.
    pub target: Option<String>,
}

/// Where a page ended: the next one goes on behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetCursor {
    since: i64,
    target: String,
}

impl fmt::Display for TargetCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.since, self.target)
    }
}

impl FromStr for TargetCursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('.').and_then(|(since, target)| Some((since.parse().ok()?, target.to_owned())));
        let (since, target) =
            parts.ok_or_else(|| format!("'{text}' is no cursor: use the next_cursor of the page before"))?;
        Ok(Self { since, target })
    }
}

impl DeadTarget {
    pub fn cursor(&self) -> TargetCursor {
        TargetCursor { since: self.since.micros(), target: self.target.clone() }
    }
}

macro_rules! filtered {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "
FROM dead_targets d JOIN profiles p ON p.id = d.profile_id
WHERE ($1 IS NULL OR d.instance = $1)
  AND ($2 IS NULL OR d.lane = $2 OR d.chat_id IS NULL AND d.instance || '/' || p.platform_user_id = $2)",
            $after
        )
    };
}

pub(crate) const LIST: &str = filtered!(
    "-- dead targets
SELECT d.lane, d.instance, p.platform_user_id, d.chat_id, d.class, d.reason, d.since, d.asked_at, d.failures, d.probe_at",
    "
  AND (d.since, d.lane) < ($3, $4)
ORDER BY d.since DESC, d.lane DESC LIMIT $5"
);

pub(crate) const COUNT: &str = filtered!(
    "-- count dead targets
SELECT count(*)",
    ""
);

pub(crate) const CLEAR: &str = filtered!(
    "-- clear dead targets
DELETE FROM dead_targets WHERE lane IN (SELECT d.lane",
    ")"
);

type Row = (String, String, String, Option<String>, String, String, i64, i64, i64, i64);

fn target(row: Row) -> Result<DeadTarget, StoreError> {
    let (target, instance, platform_user_id, chat_id, class, reason, since, asked_at, failures, probe_at) = row;
    Ok(DeadTarget {
        target,
        instance: parsed(&instance)?,
        platform_user_id,
        chat_id,
        class,
        reason,
        since: Timestamp(since),
        asked_at: Timestamp(asked_at),
        failures,
        probe_at: Timestamp(probe_at),
    })
}

async fn clear(tx: &mut Tx<'_>, filter: &TargetFilter) -> Result<u64, StoreError> {
    let instance = filter.instance.as_ref().map(Instance::as_str);
    Ok(change!(tx, CLEAR, instance, filter.target.as_deref())?)
}

operation!(Clear: TargetFilter => u64, "clear dead targets", clear);

impl Store {
    /// The latest first, from behind `after` on.
    pub async fn dead_targets(
        &self,
        filter: &TargetFilter,
        after: Option<&TargetCursor>,
        limit: u32,
    ) -> Result<Vec<DeadTarget>, StoreError> {
        let instance = filter.instance.as_ref().map(Instance::as_str);
        let (since, lane) = after.map_or((i64::MAX, ""), |after| (after.since, after.target.as_str()));
        let rows =
            fetch!(self, fetch_all, Row, LIST, instance, filter.target.as_deref(), since, lane, i64::from(limit))?;
        rows.into_iter().map(target).collect()
    }

    /// How many there are.
    pub async fn count_dead_targets(&self, filter: &TargetFilter) -> Result<u64, StoreError> {
        let instance = filter.instance.as_ref().map(Instance::as_str);
        let (count,) = fetch!(self, fetch_one, (i64,), COUNT, instance, filter.target.as_deref())?;
        Ok(count.unsigned_abs())
    }

    /// Forgets that these are dead; says of how many.
    pub async fn clear_targets(&self, filter: TargetFilter) -> Result<u64, StoreError> {
        self.once::<Clear>(filter).await
    }
}
