//! Platform accounts: one process at a time talks to each of them (`Plugin::run`), whichever instances and versions of it
//! there are. Deliveries need no account: their rows are fenced by themselves.

use std::time::Duration;

use broca_core::{Instance, Timestamp, WorkerId, clock::micros};
use serde::Serialize;

use crate::{
    Fenced, Store, StoreError,
    decode::parsed,
    tx::{Tx, ask, change, operation, snapshot},
};

/// An account as its platform knows it: a bot's id, a socket, a server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub platform: String,
    pub account: String,
}

/// Who asks for an account.
#[derive(Clone, Debug)]
pub struct ClaimAccount {
    pub account: Account,
    pub instance: Instance,
    pub owner: WorkerId,
    /// The owner's process, as others on its machine find it.
    pub place: Option<String>,
    pub ttl: Duration,
    /// Takes it also before its lease is over, from the owner under this epoch: one that is known to be dead.
    pub dead: Option<i64>,
}

/// What became of the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountClaim {
    /// It is the asker's, under this epoch.
    Owned {
        epoch: i64,
    },
    HeldBy(AccountOwner),
}

/// Whose an account is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountOwner {
    pub platform: String,
    pub account: String,
    pub instance: Instance,
    pub owner: String,
    pub place: Option<String>,
    pub epoch: i64,
    pub lease_until: Timestamp,
}

/// A lease on an account.
#[derive(Clone, Debug)]
pub struct AccountLease {
    pub account: Account,
    pub owner: WorkerId,
    pub epoch: i64,
    pub ttl: Duration,
}

pub(crate) const CLAIM: &str = "-- account: claim
INSERT INTO accounts AS a (platform, account, instance, owner, place, epoch, lease_until)
VALUES ($1, $2, $3, $4, $5, 1, $6)
ON CONFLICT (platform, account) DO UPDATE
SET instance = EXCLUDED.instance, owner = EXCLUDED.owner, place = EXCLUDED.place, epoch = a.epoch + 1,
    lease_until = EXCLUDED.lease_until
WHERE a.lease_until <= $7 OR a.owner = EXCLUDED.owner OR a.epoch = $8";

pub(crate) const HOLDER: &str = "-- account: holder
SELECT platform, account, instance, owner, place, epoch, lease_until FROM accounts
WHERE platform = $1 AND account = $2";

/// Also after the lease ran out, as long as nobody took the account.
pub(crate) const RENEW: &str = "-- account: renew
UPDATE accounts SET lease_until = $5 WHERE platform = $1 AND account = $2 AND owner = $3 AND epoch = $4";

const LIVE: &str = "-- accounts
SELECT platform, account, instance, owner, place, epoch, lease_until FROM accounts WHERE lease_until > $1
ORDER BY platform, account";

type Row = (String, String, String, String, Option<String>, i64, i64);

fn owner(row: Row) -> Result<AccountOwner, StoreError> {
    let (platform, account, instance, owner, place, epoch, lease_until) = row;
    let (instance, lease_until) = (parsed(&instance)?, Timestamp(lease_until));
    Ok(AccountOwner { platform, account, instance, owner, place, epoch, lease_until })
}

async fn claim(tx: &mut Tx<'_>, claim: &ClaimAccount) -> Result<AccountClaim, StoreError> {
    let (platform, account) = (claim.account.platform.as_str(), claim.account.account.as_str());
    let now = tx.now().await?;
    let until = now.saturating_add(micros(claim.ttl));
    let (instance, me, place) = (claim.instance.as_str(), claim.owner.as_str(), claim.place.as_deref());
    // No epoch is negative.
    let dead = claim.dead.unwrap_or(-1);
    let taken = change!(tx, CLAIM, platform, account, instance, me, place, until, now, dead)? > 0;
    let row = ask!(tx, fetch_one, Row, HOLDER, platform, account)?;
    Ok(if taken { AccountClaim::Owned { epoch: row.5 } } else { AccountClaim::HeldBy(owner(row)?) })
}

/// A ttl of nothing gives it up.
async fn renew(tx: &mut Tx<'_>, lease: &AccountLease) -> Result<Fenced<()>, StoreError> {
    let (platform, account) = (lease.account.platform.as_str(), lease.account.account.as_str());
    let until = if lease.ttl.is_zero() { 0 } else { tx.now().await?.saturating_add(micros(lease.ttl)) };
    let mine = change!(tx, RENEW, platform, account, lease.owner.as_str(), lease.epoch, until)? > 0;
    Ok(if mine { Fenced::Done(()) } else { Fenced::LeaseLost })
}

async fn live(tx: &mut Tx<'_>) -> Result<Vec<AccountOwner>, StoreError> {
    let now = tx.now().await?;
    ask!(tx, fetch_all, Row, LIVE, now)?.into_iter().map(owner).collect()
}

operation!(Claim: ClaimAccount => AccountClaim, "claim account", claim);
operation!(Renew: AccountLease => Fenced<()>, "renew account", renew);

impl Store {
    /// Takes an account if nobody has it, or if its lease is over.
    pub async fn claim_account(&self, claim: ClaimAccount) -> Result<AccountClaim, StoreError> {
        self.once::<Claim>(claim).await
    }

    /// Keeps an account for another `ttl`; [`Fenced::LeaseLost`] when it is somebody else's by now.
    pub async fn renew_account(&self, lease: AccountLease) -> Result<Fenced<()>, StoreError> {
        self.once::<Renew>(lease).await
    }

    /// Gives an account up, so that whoever waits for it has it at once.
    pub async fn leave_account(&self, lease: AccountLease) -> Result<Fenced<()>, StoreError> {
        self.once::<Renew>(AccountLease { ttl: Duration::ZERO, ..lease }).await
    }

    /// Whose which account is now.
    pub async fn accounts(&self) -> Result<Vec<AccountOwner>, StoreError> {
        snapshot!(self, live)
    }
}
