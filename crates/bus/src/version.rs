//! Which servers Broca works with.

use std::{fmt, str::FromStr};

/// The oldest supported release: delayed messages and batches with message ids work from here on, so that both
/// stay open to use.
pub const MINIMUM_SERVER: ServerVersion = ServerVersion { major: 2, minor: 12, patch: 1, prerelease: false };
/// The release that the test suite runs against.
pub const TESTED_SERVER: ServerVersion = ServerVersion { major: 2, minor: 15, patch: 1, prerelease: false };

/// A nats-server version as its INFO line gives it. A pre-release sorts before its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerVersion {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
    pub prerelease: bool,
}

impl ServerVersion {
    pub fn is_supported(self) -> bool {
        self >= MINIMUM_SERVER
    }

    fn rank(self) -> (u32, u32, u32, bool) {
        (self.major, self.minor, self.patch, !self.prerelease)
    }
}

impl PartialOrd for ServerVersion {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ServerVersion {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if self.prerelease { f.write_str(" (pre-release)") } else { Ok(()) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a nats-server version")]
pub struct InvalidVersion(String);

impl FromStr for ServerVersion {
    type Err = InvalidVersion;

    /// Reads `2.15.1`, `v2.15.1`, `2.12.0-RC.3` and `2.15.1+build`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidVersion(text.chars().take(40).collect());
        let (release, _build) = text.trim().trim_start_matches('v').split_once('+').unwrap_or((text.trim(), ""));
        let release = release.trim_start_matches('v');
        let (numbers, prerelease) = match release.split_once('-') {
            Some((numbers, _)) => (numbers, true),
            None => (release, false),
        };
        let mut parts = numbers.split('.').map(|part| part.parse::<u32>().map_err(|_| invalid()));
        let mut next = || parts.next().unwrap_or_else(|| Err(invalid()));
        let version = Self { major: next()?, minor: next()?, patch: next()?, prerelease };
        if parts.next().is_some() { Err(invalid()) } else { Ok(version) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BusError;

    fn version(text: &str) -> ServerVersion {
        text.parse().unwrap()
    }

    #[test]
    fn old_servers_are_refused_and_new_ones_are_not() {
        for old in ["2.9.11", "2.12.0", "2.12.1-RC.1", "1.99.99", "v2.11.9"] {
            assert!(!version(old).is_supported(), "{old}");
        }
        for new in ["2.12.1", "v2.12.2", "2.12.10", "2.15.1", "2.16.0-preview.1", "2.15.1+abc", "3.0.0"] {
            assert!(version(new).is_supported(), "{new}");
        }
    }

    #[test]
    fn what_is_no_version_is_said_to_be_none() {
        for junk in ["", "2", "2.12", "2.12.x", "2.12.1.4", "-1.0.0", "latest"] {
            assert!(junk.parse::<ServerVersion>().is_err(), "{junk}");
        }
    }

    #[test]
    fn the_refusal_names_both_versions_and_the_way_out() {
        let text = BusError::TooOld { found: version("2.9.11") }.to_string();
        for part in ["2.9.11", "2.12.1", "2.15.1", "install a newer nats-server"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
}
