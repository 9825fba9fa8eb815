//! Lists that are read a page at a time: nothing is left out, and nothing comes twice.

use std::fmt::Debug;

use broca_core::{WorkerId, access::RuleKind};
use broca_store::{
    DeliveryEnd, FinishDelivery, HoldSubject, LetterFilter, NewHold, NewRule, RuleSource, StoreError, TargetFilter,
};

use crate::{
    home::{Home, ends, failed, failure, says, worker},
    on_both,
};

on_both!(holds_are_paged, rules_are_paged, targets_are_paged, letters_of_both_stages_are_paged);

/// All of a list, two at a time.
async fn walk<T, C: Clone>(
    page: impl AsyncFn(Option<C>) -> Result<Vec<T>, StoreError>,
    cursor: impl Fn(&T) -> C,
) -> Vec<T> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = page(after).await.unwrap();
        assert!(page.len() <= 2);
        after = page.last().map(&cursor);
        all.extend(page);
        if after.is_none() {
            return all;
        }
    }
}

fn same<T: PartialEq + Debug, R>(walked: Vec<R>, whole: Vec<R>, key: impl Fn(R) -> T) {
    let [walked, whole] = [walked, whole].map(|rows| rows.into_iter().map(&key).collect::<Vec<_>>());
    assert_eq!(walked, whole);
    assert_eq!(walked.len(), 5);
}

async fn holds_are_paged(home: Home) {
    for n in 0..6 {
        let (subject, life) = (HoldSubject::Agent(format!("a{n}")), None);
        let hold = NewHold { subject, reason: "slow".to_owned(), actor: "me".to_owned(), life };
        home.store.put_hold(hold).await.unwrap();
    }
    let third = HoldSubject::Agent("a2".to_owned());
    let third = home.store.open_hold(&third).await.unwrap().unwrap();
    home.store.release_hold(third.id, "me").await.unwrap();
    home.store.settle_hold(third.id).await.unwrap();
    assert_eq!(home.store.open_hold(&third.subject).await.unwrap(), None);
    let walked = walk(|after| home.store.open_holds(after, 2), |hold| hold.id).await;
    same(walked, home.store.open_holds(None, 100).await.unwrap(), |hold| hold.id);
    let all = walk(|after| home.store.holds(after, 2), |hold| hold.id).await;
    let names: Vec<_> = all.into_iter().map(|hold| hold.subject.to_string()).collect();
    assert_eq!(names, ["agent a5", "agent a4", "agent a3", "agent a2", "agent a1", "agent a0"]);
}

async fn rules_are_paged(home: Home) {
    let rule = |n: usize| NewRule {
        kind: if n == 3 { RuleKind::Ignore } else { RuleKind::Deny },
        who: format!("cli/{n}").parse().unwrap(),
        instance: None,
        reason: None,
        source: RuleSource::Operator,
        actor: "me".to_owned(),
        life: None,
    };
    home.store.put_access_rules((0..6).map(rule).collect()).await.unwrap();
    let deny = Some(RuleKind::Deny);
    let walked = walk(|after| home.store.some_access_rules(deny, after, 2), |rule| rule.id).await;
    same(walked, home.store.some_access_rules(deny, None, 100).await.unwrap(), |rule| rule.who.to_string());
    home.store.remove_access_rules(None, Some("cli/0".parse().unwrap()), None, "me").await.unwrap();
    let walked = walk(|after| home.store.some_access_rules(None, after, 2), |rule| rule.id).await;
    same(walked, home.store.access_rules().await.unwrap(), |rule| rule.id);
    let all = walk(|after| home.store.all_access_rules(None, after, 2), |rule| rule.id).await;
    assert_eq!((all.len(), all[5].in_force), (6, false));
}

async fn refused(home: &Home, person: &str, host: &WorkerId) {
    let response = home.answer(person, "hi").await;
    home.go(response, host).await;
    let end = DeliveryEnd::TargetDead { failure: failure(), probe_after: std::time::Duration::from_secs(60) };
    home.store.finish_delivery(FinishDelivery { response, host: host.clone(), attempt: 1, end }).await.unwrap();
}

async fn targets_are_paged(home: Home) {
    let host = worker("out");
    for n in 0..5 {
        refused(&home, &format!("p{n}"), &host).await;
    }
    // Two of them since the same moment.
    home.sql(
        "UPDATE dead_targets SET since = 7 WHERE since IN (SELECT since FROM dead_targets ORDER BY since LIMIT 2)",
    )
    .await;
    let any = TargetFilter::default();
    let walked = walk(
        async |after| home.store.dead_targets(&any, after.as_ref(), 2).await,
        |target| target.cursor().to_string().parse().unwrap(),
    )
    .await;
    same(walked, home.store.dead_targets(&any, None, 100).await.unwrap(), |target| target.target);
    assert_eq!(home.store.count_dead_targets(&any).await.unwrap(), 5);
}

async fn letters_of_both_stages_are_paged(home: Home) {
    let (host, me) = (worker("out"), worker("w"));
    for n in 0..3 {
        refused(&home, &format!("p{n}"), &host).await;
        let (message, _) = home.accept(says(&format!("q{n}"), "hi")).await;
        let lease = home.hold(message, &me).await;
        let turn = home.start(&lease, &me).await;
        home.store.finish(ends(&lease, Some(turn), failed())).await.unwrap();
    }
    // One of each stage at the same moment.
    home.sql("UPDATE messages SET finished_at = 7 WHERE state = 'failed' AND text = 'hi'").await;
    home.sql("UPDATE responses SET finished_at = 7 WHERE state = 'dead'").await;
    home.sql(
        "UPDATE messages SET state = 'cancelled' WHERE id IN (SELECT id FROM messages WHERE state = 'failed' LIMIT 1)",
    )
    .await;
    let any = LetterFilter::default();
    let walked = walk(|after| home.store.letters(&any, after, 2), broca_store::Letter::cursor).await;
    same(walked, home.store.letters(&any, None, 100).await.unwrap(), |letter| letter.cursor());
}
