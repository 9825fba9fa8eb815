//! How often somebody may ask: so many requests in each minute.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);
/// Windows that are remembered. Whoever comes from more addresses than that shares one window with all others.
const MAX_WINDOWS: usize = 50_000;

/// What is counted apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    Public(IpAddr),
    Admin(IpAddr),
    Plugin(IpAddr),
    Session(String),
    /// Everybody for whom there is no room.
    Everybody,
}

#[derive(Debug, Default)]
pub(super) struct Limits {
    windows: Mutex<HashMap<Counted, (Instant, u32)>>,
}

impl Limits {
    /// Counts a request.
    ///
    /// # Errors
    /// It is one too many; says after how long there is room.
    pub(super) fn admit(&self, who: Counted, per_minute: u32) -> Result<(), Duration> {
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MAX_WINDOWS {
            windows.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
        }
        let is_full = windows.len() >= MAX_WINDOWS && !windows.contains_key(&who);
        let (since, count) = windows.entry(if is_full { Counted::Everybody } else { who }).or_insert((now, 0));
        let age = now.duration_since(*since);
        if age >= WINDOW {
            (*since, *count) = (now, 0);
        }
        if *count >= per_minute {
            return Err(WINDOW.saturating_sub(age).max(Duration::from_secs(1)));
        }
        *count += 1;
        Ok(())
    }
}

/// Places that are taken for longer than a request: so many, and so many of one address.
#[derive(Debug)]
pub(super) struct Seats {
    taken: Mutex<HashMap<IpAddr, usize>>,
    max: usize,
    max_of_one: usize,
}

impl Seats {
    pub(super) fn new(max: usize, max_of_one: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), max, max_of_one })
    }

    /// A seat until it is dropped; `None` when there is none.
    pub(super) fn take(self: &Arc<Self>, who: IpAddr) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = taken.values().sum::<usize>() >= self.max;
        let of_one = taken.get(&who).copied().unwrap_or(0);
        if is_full || of_one >= self.max_of_one {
            return None;
        }
        taken.insert(who, of_one + 1);
        Some(Seat { seats: self.clone(), who })
    }
}

#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    who: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.who) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.who)),
        }
    }
}

/// A household has a network of IPv6 addresses, not one.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_minute_has_so_many() {
        let limits = Limits::default();
        let who = |last: u8| Counted::Public(IpAddr::from([192, 0, 2, last]));
        assert!((0..3).all(|_| limits.admit(who(1), 3).is_ok()));
        let wait = limits.admit(who(1), 3).unwrap_err();
        assert!(wait <= WINDOW && wait > Duration::from_secs(50), "{wait:?}");
        assert!(limits.admit(who(2), 3).is_ok(), "somebody else");
        tokio::time::advance(wait).await;
        assert!(limits.admit(who(1), 3).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_addresses_costs_no_more_memory() {
        let limits = Limits::default();
        let admitted = (0..u32::try_from(MAX_WINDOWS).unwrap() + 100)
            .filter(|n| limits.admit(Counted::Public(IpAddr::from(n.to_be_bytes())), 10).is_ok())
            .count();
        assert_eq!(admitted, MAX_WINDOWS + 10);
        assert!(limits.windows.lock().unwrap().len() <= MAX_WINDOWS + 1);
    }

    #[test]
    fn one_does_not_take_all_seats() {
        let seats = Seats::new(3, 2);
        let [a, b] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let of_a = [seats.take(a), seats.take(a), seats.take(a)];
        assert!(of_a[1].is_some() && of_a[2].is_none());
        let of_b = seats.take(b).unwrap();
        assert!(seats.take(b).is_none(), "all three are taken");
        drop((of_a, of_b));
        assert!(seats.take(b).is_some() && seats.taken.lock().unwrap().is_empty());
    }

    #[test]
    fn one_household_is_one() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(address("2001:db8:1:2:3:4:5:6")), network(address("2001:db8:1:2::1")));
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }
}
