//! One process at a time talks to a platform account.

use broca_core::Instance;
use broca_store::{Account, AccountClaim, AccountLease, ClaimAccount, Fenced};

use crate::{
    home::{Home, TTL, worker},
    on_both,
};

on_both!(
    an_account_is_one_processs_until_it_gives_it_up,
    a_lease_that_ran_out_is_anybodys_and_its_owner_is_fenced,
    a_dead_owner_is_succeeded_at_once_and_only_that_one,
    of_many_that_ask_at_once_one_has_it,
);

fn claim(instance: &str, owner: &str) -> ClaimAccount {
    let account = Account { platform: "telegram".into(), account: "7".into() };
    let instance: Instance = instance.parse().unwrap();
    ClaimAccount { account, instance, owner: worker(owner), place: Some(owner.into()), ttl: TTL, dead: None }
}

fn lease(claim: &ClaimAccount, epoch: i64) -> AccountLease {
    AccountLease { account: claim.account.clone(), owner: claim.owner.clone(), epoch, ttl: TTL }
}

async fn an_account_is_one_processs_until_it_gives_it_up(home: Home) {
    let (mine, other) = (claim("telegram", "a"), claim("support", "b"));
    assert_eq!(home.store.claim_account(mine.clone()).await.unwrap(), AccountClaim::Owned { epoch: 1 });
    let second = home.another().await;
    match second.claim_account(other.clone()).await.unwrap() {
        AccountClaim::HeldBy(owner) => {
            assert_eq!((owner.instance.as_str(), owner.place.as_deref(), owner.epoch), ("telegram", Some("a"), 1));
        }
        owned => panic!("{owned:?}"),
    }
    let elsewhere = Account { platform: "telegram".into(), account: "8".into() };
    let free = ClaimAccount { account: elsewhere, ..other.clone() };
    assert_eq!(second.claim_account(free).await.unwrap(), AccountClaim::Owned { epoch: 1 });
    assert_eq!(home.store.renew_account(lease(&mine, 1)).await.unwrap(), Fenced::Done(()));
    assert_eq!(second.leave_account(lease(&other, 1)).await.unwrap(), Fenced::LeaseLost, "not the other's to give up");
    assert_eq!(home.store.accounts().await.unwrap().len(), 2);
    assert_eq!(home.store.leave_account(lease(&mine, 1)).await.unwrap(), Fenced::Done(()));
    assert_eq!(home.store.accounts().await.unwrap().len(), 1);
    assert_eq!(second.claim_account(other).await.unwrap(), AccountClaim::Owned { epoch: 2 });
}

async fn a_lease_that_ran_out_is_anybodys_and_its_owner_is_fenced(home: Home) {
    let (mine, other) = (claim("telegram", "a"), claim("telegram", "b"));
    home.store.claim_account(mine.clone()).await.unwrap();
    home.sql("UPDATE accounts SET lease_until = 1").await;
    // Whoever was silent for too long goes on, as long as nobody came.
    assert_eq!(home.store.renew_account(lease(&mine, 1)).await.unwrap(), Fenced::Done(()));
    home.sql("UPDATE accounts SET lease_until = 1").await;
    assert_eq!(home.store.claim_account(other.clone()).await.unwrap(), AccountClaim::Owned { epoch: 2 });
    assert_eq!(home.store.renew_account(lease(&mine, 1)).await.unwrap(), Fenced::LeaseLost);
    assert_eq!(home.store.leave_account(lease(&mine, 1)).await.unwrap(), Fenced::LeaseLost);
    assert!(matches!(home.store.claim_account(mine).await.unwrap(), AccountClaim::HeldBy(_)));
    assert_eq!(home.store.renew_account(lease(&other, 2)).await.unwrap(), Fenced::Done(()));
}

async fn a_dead_owner_is_succeeded_at_once_and_only_that_one(home: Home) {
    let (dead, first, second) = (claim("telegram", "a"), claim("telegram", "b"), claim("telegram", "c"));
    home.store.claim_account(dead).await.unwrap();
    let knows = |claim: ClaimAccount| ClaimAccount { dead: Some(1), ..claim };
    assert_eq!(home.store.claim_account(knows(first)).await.unwrap(), AccountClaim::Owned { epoch: 2 });
    let late = home.store.claim_account(knows(second)).await.unwrap();
    assert!(matches!(late, AccountClaim::HeldBy(owner) if owner.epoch == 2), "it lives");
}

async fn of_many_that_ask_at_once_one_has_it(home: Home) {
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..16 {
        let store = home.another().await;
        asking.spawn(async move { store.claim_account(claim("telegram", &format!("w{number}"))).await.unwrap() });
    }
    let claims = asking.join_all().await;
    let owned = claims.iter().filter(|claim| matches!(claim, AccountClaim::Owned { .. })).count();
    assert_eq!(owned, 1, "{claims:?}");
}
