//! How fast messages go out. Telegram's FAQ allows about one message a second into one chat, 20 a minute into one
//! group, and 30 a second in all; whoever is faster is answered with 429 and a wait.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When each chat, and all of them together (under no number), would be even with the allowed rate.
    even: Mutex<HashMap<Option<i64>, Instant>>,
}

/// A rate, and how far it may be run ahead of.
#[derive(Clone, Copy)]
struct Rate {
    each: Duration,
    ahead: u32,
}

const ALL: Rate = Rate { each: Duration::from_millis(34), ahead: 15 };
const PERSON: Rate = Rate { each: Duration::from_secs(1), ahead: 3 };
const GROUP: Rate = Rate { each: Duration::from_secs(3), ahead: 5 };
/// Chats that were quiet for long are forgotten when there are more than this.
const MAX_CHATS: usize = 10_000;

impl Pace {
    /// Waits until a message may go into the chat.
    ///
    /// # Errors
    /// The wait, when it is longer than `patience`; nothing was waited then.
    pub(crate) async fn admit(&self, chat: i64, patience: Duration) -> Result<(), Duration> {
        let at = self.reserve(chat, patience)?;
        sleep_until(at).await;
        Ok(())
    }

    /// Telegram answered 429: the chat is left alone for so long.
    pub(crate) fn limited(&self, chat: i64, wait: Duration) {
        let rate = rate(chat);
        let mut even = self.even.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + wait + rate.each * rate.ahead.saturating_sub(1);
        let entry = even.entry(Some(chat)).or_insert(until);
        *entry = (*entry).max(until);
    }

    fn reserve(&self, chat: i64, patience: Duration) -> Result<Instant, Duration> {
        let now = Instant::now();
        let mut even = self.even.lock().unwrap_or_else(PoisonError::into_inner);
        if even.len() > MAX_CHATS {
            even.retain(|_, at| *at > now);
        }
        let lines = [(None, ALL), (Some(chat), rate(chat))];
        let at = lines.iter().map(|(line, rate)| earliest(even.get(line).copied(), *rate, now)).max().unwrap_or(now);
        let wait = at.duration_since(now);
        if wait > patience {
            return Err(wait);
        }
        for (line, rate) in lines {
            let entry = even.entry(line).or_insert(now);
            *entry = (*entry).max(now) + rate.each;
        }
        Ok(at)
    }
}

fn rate(chat: i64) -> Rate {
    if chat < 0 { GROUP } else { PERSON }
}

fn earliest(even: Option<Instant>, rate: Rate, now: Instant) -> Instant {
    let lead = rate.each * rate.ahead.saturating_sub(1);
    even.and_then(|even| even.checked_sub(lead)).map_or(now, |at| at.max(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// How long it takes to send `count` messages into one chat.
    async fn taken(pace: &Pace, chat: i64, count: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            pace.admit(chat, PATIENCE).await.unwrap();
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_chat_gets_a_few_at_once_and_then_one_a_second() {
        let pace = Pace::default();
        assert_eq!(taken(&pace, 7, 3).await, Duration::ZERO);
        assert_eq!(taken(&pace, 7, 10).await.as_secs(), 10);
        assert!(taken(&pace, 8, 1).await < Duration::from_millis(50), "another chat does not wait for it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_gets_twenty_a_minute() {
        let pace = Pace::default();
        taken(&pace, -1, 5).await;
        assert_eq!(taken(&pace, -1, 20).await.as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn all_chats_together_get_thirty_a_second() {
        let pace = Pace::default();
        let start = Instant::now();
        for chat in 0..300 {
            pace.admit(chat, PATIENCE).await.unwrap();
        }
        let rate = 300.0 / start.elapsed().as_secs_f64();
        assert!((25.0..=31.0).contains(&rate), "{rate}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_too_long_is_said_and_not_waited() {
        let pace = Pace::default();
        pace.limited(7, Duration::from_secs(30));
        let start = Instant::now();
        assert_eq!(pace.admit(7, Duration::from_secs(5)).await, Err(Duration::from_secs(30)));
        assert_eq!(start.elapsed(), Duration::ZERO);
        pace.admit(7, PATIENCE).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 30);
    }
}
