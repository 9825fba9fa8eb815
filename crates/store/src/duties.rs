//! Duties: what one process at a time does for all of them.
//!
//! Nothing rests on there being only one: whoever has a duty may be stopped for longer than its lease and go on beside
//! its successor. So what is done under a duty is harmless when it is done twice; the lease saves work, no more.

use std::time::Duration;

use broca_core::{WorkerId, clock::micros};

use crate::{
    Store, StoreError,
    tx::{Tx, change, operation},
};

/// What one process does for the whole deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Audits the rows, and counts what takes a look at many of them.
    Janitor,
    /// Takes away what ended turns left attached to agents.
    Leftovers,
}

impl Duty {
    fn as_str(self) -> &'static str {
        match self {
            Self::Janitor => "janitor",
            Self::Leftovers => "leftovers",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Wish {
    duty: Duty,
    owner: WorkerId,
    ttl: Duration,
}

pub(crate) const TAKE: &str = "-- take duty
INSERT INTO duties AS d (name, owner, lease_until) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET owner = EXCLUDED.owner, lease_until = EXCLUDED.lease_until
WHERE d.owner = EXCLUDED.owner OR d.lease_until <= $4";

pub(crate) const LEAVE: &str = "-- leave duty
UPDATE duties SET lease_until = 0 WHERE name = $1 AND owner = $2";

async fn take(tx: &mut Tx<'_>, wish: &Wish) -> Result<bool, StoreError> {
    let now = tx.now().await?;
    let until = now.saturating_add(micros(wish.ttl));
    Ok(change!(tx, TAKE, wish.duty.as_str(), wish.owner.as_str(), until, now)? > 0)
}

async fn leave(tx: &mut Tx<'_>, wish: &Wish) -> Result<bool, StoreError> {
    Ok(change!(tx, LEAVE, wish.duty.as_str(), wish.owner.as_str())? > 0)
}

operation!(TakeDuty: Wish => bool, "take duty", take);
operation!(LeaveDuty: Wish => bool, "leave duty", leave);

impl Store {
    /// Takes a duty, or keeps it, until database time + `ttl`; says whether it is `owner`'s.
    pub async fn take_duty(&self, duty: Duty, owner: &WorkerId, ttl: Duration) -> Result<bool, StoreError> {
        self.once::<TakeDuty>(Wish { duty, owner: owner.clone(), ttl }).await
    }

    /// Gives a duty up, so that another process has it at once; says whether it was `owner`'s.
    pub async fn leave_duty(&self, duty: Duty, owner: &WorkerId) -> Result<bool, StoreError> {
        self.once::<LeaveDuty>(Wish { duty, owner: owner.clone(), ttl: Duration::ZERO }).await
    }
}
