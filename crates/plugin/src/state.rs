//! How a plugin stands with its platform.

use broca_core::Instance;
use serde::{Deserialize, Serialize};

/// How a plugin stands with its platform. `detail` tells an operator what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PluginState {
    /// Another process serves the account; this one takes over when that ends.
    WaitingForAccount {
        detail: String,
    },
    Connecting,
    Connected,
    /// Something fails and the plugin goes on trying by itself.
    Degraded {
        detail: String,
    },
    /// The platform refuses our credentials: nothing happens until a person renews them.
    BadCredentials {
        detail: String,
    },
    /// The settings do not fit: nothing happens until a person changes them.
    Misconfigured {
        detail: String,
    },
    /// Told to stop: what is under way ends.
    Stopping,
    Stopped,
}

/// What a state means to somebody who watches many plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Good,
    /// It begins, ends or waits for its turn.
    Waiting,
    /// It fails for now and may mend by itself.
    Failing,
    /// A person has to do something.
    NeedsYou,
}

impl PluginState {
    pub fn health(&self) -> Health {
        match self {
            Self::Connected => Health::Good,
            Self::WaitingForAccount { .. } | Self::Connecting | Self::Stopping | Self::Stopped => Health::Waiting,
            Self::Degraded { .. } => Health::Failing,
            Self::BadCredentials { .. } | Self::Misconfigured { .. } => Health::NeedsYou,
        }
    }

    /// The word for it, as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WaitingForAccount { .. } => "waiting_for_account",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Degraded { .. } => "degraded",
            Self::BadCredentials { .. } => "bad_credentials",
            Self::Misconfigured { .. } => "misconfigured",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// What is wrong and what to do.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::WaitingForAccount { detail }
            | Self::Degraded { detail }
            | Self::BadCredentials { detail }
            | Self::Misconfigured { detail } => Some(detail),
            Self::Connecting | Self::Connected | Self::Stopping | Self::Stopped => None,
        }
    }
}

/// Where a plugin reports its state.
pub trait StateSink: Send + Sync + std::fmt::Debug {
    fn report(&self, instance: &Instance, state: PluginState);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_name() {
        let detail = String::from("renew the token");
        let states = [
            PluginState::WaitingForAccount { detail: detail.clone() },
            PluginState::Connecting,
            PluginState::Connected,
            PluginState::Degraded { detail: detail.clone() },
            PluginState::BadCredentials { detail: detail.clone() },
            PluginState::Misconfigured { detail: detail.clone() },
            PluginState::Stopping,
            PluginState::Stopped,
        ];
        for state in states {
            let json = serde_json::to_value(&state).unwrap();
            assert_eq!(json["state"], state.name());
            assert_eq!(json.get("detail").and_then(|d| d.as_str()), state.detail());
            assert_eq!(serde_json::from_value::<PluginState>(json).unwrap(), state);
        }
    }
}
