//! What JetStream says of our account.

use serde::Deserialize;
use serde_json::Value;

use crate::{Bus, BusError, connect::API_TIMEOUT};

/// Bytes of file storage that the account's streams use, reserve and may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    pub used: u64,
    pub reserved: u64,
    /// `None` where the account has no limit of its own.
    pub limit: Option<u64>,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    storage: u64,
    #[serde(default)]
    reserved_storage: u64,
    limits: Limits,
}

#[derive(Deserialize)]
struct Limits {
    /// -1: none.
    max_storage: i64,
}

impl Bus {
    /// How much room JetStream has for this account (`$JS.API.INFO`).
    pub async fn storage(&self) -> Result<Storage, BusError> {
        let info: Info = self.inner.api.request("INFO", &Value::Null, API_TIMEOUT).await?;
        let limit = u64::try_from(info.limits.max_storage).ok();
        Ok(Storage { used: info.storage, reserved: info.reserved_storage, limit })
    }
}
