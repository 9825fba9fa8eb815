//! Long polling. Telegram remembers what is confirmed: a poll with an offset confirms everything below it, and one
//! without an offset gives everything that is not confirmed. So no number is kept here across a restart: what a
//! process took and did not confirm comes again, and is known by its event id.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use broca_plugin::{PluginError, PluginState};
use futures::{StreamExt, stream};
use serde_json::Value;

use crate::{
    api::{Api, ApiError},
    health::{self, FIRST_PAUSE, Health, LONGEST_PAUSE},
    inbox::{self, Inbox},
};

/// How long Telegram holds a poll open while nobody writes; 50 is its most.
const WAIT_S: u64 = 30;
/// Chats whose messages are taken at once.
const LANES: usize = 32;

#[derive(Debug, Default)]
struct Place {
    /// What the next poll confirms; `None` once a poll has confirmed it.
    offset: Option<i64>,
    /// Taken, but behind one that was not.
    taken: HashSet<i64>,
}

/// Polls until the process should stop, or a person has to do something.
pub(crate) async fn run(api: &Api, inbox: &Inbox, health: &mut Health) -> Result<(), PluginError> {
    let shutdown = &inbox.ctx.shutdown;
    let mut place = Place::default();
    let mut pause = FIRST_PAUSE;
    let mut waits = false;
    while !shutdown.is_cancelled() {
        // The first poll does not wait: it finds out whether Telegram is there.
        let polling = api.updates(place.offset, if waits { WAIT_S } else { 0 });
        // A poll is given up at once when the process should stop, taking an update never.
        let Some(polled) = shutdown.run_until_cancelled(polling).await else { break };
        let trouble = match polled {
            Ok(updates) => {
                place.take(updates, inbox).await.err().map(|why| (PluginState::Degraded { detail: why }, None))
            }
            Err(error) => Some(trouble(&error)),
        };
        match trouble {
            None => {
                (pause, waits) = (FIRST_PAUSE, true);
                health.report(PluginState::Connected);
            }
            Some((PluginState::BadCredentials { detail }, _)) => return Err(PluginError::Credentials(detail)),
            Some((state, wait)) => {
                waits = false;
                health.report(state);
                let sleeping = tokio::time::sleep(pause.max(wait.unwrap_or_default()));
                shutdown.run_until_cancelled(sleeping).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    Ok(())
}

/// What a failed poll says of the account, and how long Telegram wants to be left alone.
fn trouble(error: &ApiError) -> (PluginState, Option<Duration>) {
    let conflict = error.refused().filter(|refused| refused.code == 409);
    let state = match conflict {
        Some(refused) if refused.description.contains("webhook") => PluginState::Degraded {
            detail: "another program has set a webhook for this bot: stop it, then restart this instance".into(),
        },
        Some(_) => PluginState::Degraded {
            detail: "another program polls with this bot's token: stop it, or give each a bot of its own".into(),
        },
        None => health::state_of(error),
    };
    (state, error.refused().and_then(|refused| refused.retry_after))
}

impl Place {
    /// Takes a batch: each chat's updates in order, several chats at once.
    async fn take(&mut self, updates: Vec<Value>, inbox: &Inbox) -> Result<(), String> {
        // The poll was answered, so what it confirmed is confirmed.
        self.offset = None;
        if updates.is_empty() {
            return Ok(());
        }
        // In the order in which the chats first appear.
        let mut lanes: Vec<Vec<(i64, Value)>> = Vec::new();
        let mut lane_of: HashMap<i64, usize> = HashMap::new();
        let mut last = None;
        for update in updates {
            let Some(number) = update["update_id"].as_i64() else { continue };
            last = last.max(Some(number));
            if !self.taken.contains(&number) {
                let lane = *lane_of.entry(inbox::lane(&update)).or_insert(lanes.len());
                if lane == lanes.len() {
                    lanes.push(Vec::new());
                }
                lanes[lane].push((number, update));
            }
        }
        let last = last.ok_or("Telegram sends updates without numbers: is api_url the address of a bot API server?")?;
        let lanes = lanes.into_iter().map(|lane| take_lane(lane, inbox));
        let ends: Vec<Lane> = stream::iter(lanes).buffer_unordered(LANES).collect().await;
        self.taken.extend(ends.iter().flat_map(|lane| lane.taken.iter().copied()));
        let stuck = ends.into_iter().filter_map(|lane| lane.stuck).min_by_key(|(number, _)| *number);
        let next = stuck.as_ref().map_or(last.saturating_add(1), |(number, _)| *number);
        self.offset = Some(next);
        self.taken.retain(|number| *number >= next);
        stuck.map_or(Ok(()), |(_, why)| Err(why))
    }
}

/// How far the updates of one chat came.
struct Lane {
    taken: Vec<i64>,
    stuck: Option<(i64, String)>,
}

async fn take_lane(mut updates: Vec<(i64, Value)>, inbox: &Inbox) -> Lane {
    // The number says which was first.
    updates.sort_by_key(|(number, _)| *number);
    updates.dedup_by_key(|(number, _)| *number);
    let mut lane = Lane { taken: Vec::new(), stuck: None };
    for (number, update) in updates {
        match inbox.take(update).await {
            Ok(()) => lane.taken.push(number),
            Err(why) => {
                lane.stuck = Some((number, why.to_string()));
                break;
            }
        }
    }
    lane
}
