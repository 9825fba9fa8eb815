//! A platform account is talked to by one process at a time: the others stand by.
//!
//! A lease in SQL says whose it is. Whoever has it runs the plugin and renews the lease; who cannot renew it stops the
//! plugin well before the lease is over, so that the next one begins after the last has ended. A stop in good order gives
//! the account up at once, and a process that was killed is succeeded at once on its own machine, where its
//! death can be seen, and elsewhere when its lease is over. A process that was stopped (SIGSTOP) for longer than that
//! talks for a moment beside its successor when it goes on: what both report is one message, by the platform's event id.
//!
//! Deliveries are not part of it: each is fenced by its own row, whichever process makes it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use broca_core::{Instance, WorkerId, format::rfc3339};
use broca_plugin::{Context, HostError, Plugin, PluginState, host};
use broca_store::{Account, AccountClaim, AccountLease, AccountOwner, ClaimAccount, Fenced, Store, StoreError};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{PipelineError, place};

/// How often a process that stands by asks whether the account is free.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who wants the account.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) store: Store,
    pub(crate) owner: WorkerId,
    pub(crate) ttl: Duration,
}

/// Another instance has the account: two of them would take each other's messages.
#[derive(Debug, thiserror::Error)]
#[error(
    "the instance '{}' talks to this {} account already (process {}, until {} unless it goes on): give each instance an \
     account of its own, or stop one of them",
    .0.instance, .0.platform, .0.owner, rfc3339(.0.lease_until)
)]
pub struct AccountTaken(Box<AccountOwner>);

/// Runs the plugin whenever its account is this process's, until `ctx.shutdown`.
///
/// # Errors
/// Another instance has the account, or the plugin ended although nobody told it to.
pub(crate) async fn host_alone(
    plugin: Arc<dyn Plugin>,
    ctx: Context,
    grace: Duration,
    tenant: &Tenant,
) -> Result<(), PipelineError> {
    let manifest = plugin.manifest();
    if manifest.capabilities.replicas {
        return Ok(host(plugin, ctx, grace).await?);
    }
    let name = plugin.account().unwrap_or_else(|| ctx.instance.to_string());
    let account = Account { platform: manifest.platform, account: name };
    loop {
        let Some(lease) = tenant.waits(&account, &ctx).await? else {
            ctx.report(PluginState::Stopped);
            return Ok(());
        };
        let stop = ctx.shutdown.child_token();
        let keeper = AbortOnDropHandle::new(tokio::spawn(keep(tenant.store.clone(), lease.clone(), stop.clone())));
        let mut while_owned = ctx.clone();
        while_owned.shutdown = stop.clone();
        let ended = tokio::select! {
            ended = host(plugin.clone(), while_owned, grace) => ended,
            // Dropping the host ends the plugin: it has ended before another may begin.
            () = overstays(&stop, &ctx.shutdown, tenant.ttl / 4) => Err(HostError::StopTimeout(tenant.ttl / 4)),
        };
        drop(keeper);
        if ended.is_err() || ctx.shutdown.is_cancelled() {
            tenant.leaves(lease).await;
            return Ok(ended?);
        }
    }
}

/// Resolves `grace` after the lease was lost; never when the process stops in good order.
async fn overstays(stop: &CancellationToken, shutdown: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    if shutdown.is_cancelled() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(grace).await;
}

impl Tenant {
    /// The account's lease once it is ours; `None` when the process is told to stop first.
    async fn waits(&self, account: &Account, ctx: &Context) -> Result<Option<AccountLease>, PipelineError> {
        let mut told = None;
        while !ctx.shutdown.is_cancelled() {
            let state = match self.claims(account, &ctx.instance).await {
                Ok(Ok(lease)) => return Ok(Some(lease)),
                Ok(Err(owner)) if owner.instance != ctx.instance => return Err(AccountTaken(Box::new(owner)).into()),
                Ok(Err(owner)) => {
                    let detail = format!("process {} has the account; this one takes over when it ends", owner.owner);
                    PluginState::WaitingForAccount { detail }
                }
                Err(error) if error.is_transient() => {
                    PluginState::Degraded { detail: format!("cannot ask whose the account is: {error}") }
                }
                Err(error) => return Err(error.into()),
            };
            if told.as_ref() != Some(&state) {
                ctx.report(state.clone());
                told = Some(state);
            }
            let pause = LOOK_EVERY.min(self.ttl / 5);
            ctx.shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        Ok(None)
    }

    async fn claims(
        &self,
        account: &Account,
        instance: &Instance,
    ) -> Result<Result<AccountLease, AccountOwner>, StoreError> {
        let (account, owner, ttl) = (account.clone(), self.owner.clone(), self.ttl);
        let (instance, place) = (instance.clone(), place::mine());
        let mut claim = ClaimAccount { account, instance, owner, place, ttl, dead: None };
        let mut claimed = self.store.claim_account(claim.clone()).await?;
        if let AccountClaim::HeldBy(holder) = &claimed
            && holder.place.as_deref().is_some_and(place::is_dead)
        {
            tracing::info!(holder = holder.owner, "the account's owner was killed on this machine, taking over");
            claim.dead = Some(holder.epoch);
            claimed = self.store.claim_account(claim.clone()).await?;
        }
        let ClaimAccount { account, owner, ttl, .. } = claim;
        Ok(match claimed {
            AccountClaim::Owned { epoch } => Ok(AccountLease { account, owner, epoch, ttl }),
            AccountClaim::HeldBy(holder) => Err(holder),
        })
    }

    async fn leaves(&self, lease: AccountLease) {
        match tokio::time::timeout(self.ttl / 3, self.store.leave_account(lease)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the account could not be given up; its lease runs out"),
            Err(_) => tracing::warn!("the account could not be given up in time; its lease runs out"),
        }
    }
}

/// Renews the lease; sets `stop` when it is lost, or about to be.
async fn keep(store: Store, lease: AccountLease, stop: CancellationToken) {
    let mut kept = Instant::now();
    loop {
        let since = kept.elapsed();
        tokio::time::sleep(if since > lease.ttl / 3 { lease.ttl / 12 } else { lease.ttl / 3 }).await;
        let asked = Instant::now();
        let why = match tokio::time::timeout(lease.ttl / 8, store.renew_account(lease.clone())).await {
            Ok(Ok(Fenced::Done(()))) => {
                kept = asked;
                continue;
            }
            Ok(Ok(Fenced::LeaseLost)) => {
                tracing::warn!("another process has the account now; this one stops talking to it and stands by");
                return stop.cancel();
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the database did not answer in time".to_owned(),
        };
        tracing::warn!(why, "the account's lease was not renewed, tried again");
        if kept.elapsed() > lease.ttl / 2 {
            tracing::warn!("the account's lease is about to be lost; this process stops talking to it and stands by");
            return stop.cancel();
        }
    }
}
