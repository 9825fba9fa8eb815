//! Who is logged in, and who tried too often. Both are this process's own: whoever restarts it logs in again.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use secrecy::SecretString;

/// More people than this are not logged in at once: the oldest session goes.
const MOST: usize = 1_000;
/// Wrong tokens from one address in a minute.
const TRIES: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// Somebody who showed a token. The token is shown again with each request, so that revoking it ends the session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) token: SecretString,
    /// What the page sends with each act, which no other page knows.
    pub(super) csrf: String,
    ends: Instant,
}

#[derive(Debug, Default)]
struct Inside {
    /// By the cookie's secret.
    sessions: HashMap<String, Session>,
    failures: HashMap<IpAddr, (Instant, u32)>,
}

#[derive(Debug)]
pub(super) struct Sessions {
    life: Duration,
    inside: Mutex<Inside>,
}

impl Sessions {
    pub(super) fn new(life: Duration) -> Self {
        Self { life, inside: Mutex::default() }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Nothing panics while it is held.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn life(&self) -> Duration {
        self.life
    }

    pub(super) fn begin(&self, secret: String, csrf: String, token: SecretString, now: Instant) {
        let sessions = &mut self.inside().sessions;
        sessions.retain(|_, session| session.ends > now);
        let oldest = sessions.iter().min_by_key(|(_, session)| session.ends).map(|(secret, _)| secret.clone());
        if let Some(oldest) = oldest.filter(|_| sessions.len() >= MOST) {
            sessions.remove(&oldest);
        }
        sessions.insert(secret, Session { token, csrf, ends: now + self.life });
    }

    pub(super) fn of(&self, secret: &str, now: Instant) -> Option<Session> {
        self.inside().sessions.get(secret).filter(|session| session.ends > now).cloned()
    }

    pub(super) fn end(&self, secret: &str) {
        self.inside().sessions.remove(secret);
    }

    /// Whether somebody there may try a token.
    pub(super) fn may_try(&self, from: IpAddr, now: Instant) -> bool {
        let failures = &mut self.inside().failures;
        failures.retain(|_, (since, _)| now.duration_since(*since) < MINUTE);
        failures.get(&from).is_none_or(|(_, tries)| *tries < TRIES)
    }

    pub(super) fn failed(&self, from: IpAddr, now: Instant) {
        self.inside().failures.entry(from).or_insert((now, 0)).1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(sessions: &Sessions, name: &str, now: Instant) {
        sessions.begin(name.to_owned(), "csrf".to_owned(), "token".into(), now);
    }

    #[test]
    fn a_session_ends_by_itself_or_when_somebody_ends_it() {
        let (sessions, now) = (Sessions::new(MINUTE), Instant::now());
        begin(&sessions, "a", now);
        begin(&sessions, "b", now);
        assert!(sessions.of("a", now).is_some() && sessions.of("c", now).is_none());
        sessions.end("a");
        assert!(sessions.of("a", now).is_none());
        assert!(sessions.of("b", now + MINUTE / 2).is_some());
        assert!(sessions.of("b", now + MINUTE).is_none());
    }

    #[test]
    fn the_oldest_session_makes_room() {
        let (sessions, now) = (Sessions::new(MINUTE), Instant::now());
        for n in 0..=MOST {
            begin(&sessions, &n.to_string(), now + Duration::from_millis(n as u64));
        }
        assert!(sessions.of("0", now).is_none() && sessions.of("1", now).is_some());
    }

    #[test]
    fn who_fails_too_often_waits_a_minute_and_nobody_else_does() {
        let (sessions, now) = (Sessions::new(MINUTE), Instant::now());
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        for _ in 0..TRIES {
            assert!(sessions.may_try(one, now));
            sessions.failed(one, now);
        }
        assert!(!sessions.may_try(one, now) && sessions.may_try(other, now));
        assert!(sessions.may_try(one, now + MINUTE));
    }
}
