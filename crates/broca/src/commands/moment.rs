//! Times on the command line: how long ago, or when.

pub(crate) use broca_admin::operations::Moment;
use broca_admin::operations::age;
use broca_core::{Clock, SystemClock, Timestamp};

pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    text.parse()
}

/// How long ago, or in how long, by this machine's clock: for people to read, and nothing to decide by.
pub(crate) fn relative(at: Timestamp) -> String {
    between(SystemClock.now(), at)
}

fn between(now: Timestamp, at: Timestamp) -> String {
    if at <= now {
        format!("{} ago", age(now.since(at).as_secs()))
    } else {
        format!("in {}", age(at.since(now).as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_from_now_on_and_back() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        assert_eq!(between(at(1_000), at(1_000)), "0 s ago");
        assert_eq!(between(at(1_000), at(700)), "5 min ago");
        assert_eq!(between(at(0), at(7_200)), "in 2 h");
    }
}
