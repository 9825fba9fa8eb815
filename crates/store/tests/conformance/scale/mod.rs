//! What the program asks of a PostgreSQL that has much in it costs what it gives, and not what there is.
//!
//! PostgreSQL itself writes down the plan of each statement that the store's functions send, with the rows that it
//! looked at (`auto_explain`); nothing here repeats any SQL. `BROCA_TEST_SCALE=1000000 cargo test --locked --workspace
//! --test conformance scale -- --nocapture` fills it with as many messages and prints what each statement took.

mod database;
mod hot;
mod lists;
mod plan;

use std::collections::BTreeMap;

use self::{
    database::Database,
    plan::{EXCUSED, Plan},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_costs_what_it_gives() {
    let database = Database::filled().await;
    let store = database.connect().await;
    hot::everything(&store, &database).await;
    lists::everything(&store, &database).await;
    let plans = database.plans(&[hot::STATEMENTS, lists::STATEMENTS].concat()).await;
    if database.is_large() {
        // These look at every message, and are asked once an hour.
        store.audit(&lists::LIMITS).await.unwrap();
        print(&database.plans(&["audit passed-over", "audit too-old"]).await);
    }
    let faults: Vec<String> = plans.iter().filter_map(|plan| plan.fault(database.messages as f64)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    let unused = EXCUSED.iter().find(|(label, _)| plans.iter().all(|plan| plan.label != *label));
    assert_eq!(unused, None, "it is excused and was not asked");
}

/// Of each statement, the run that took the longest.
fn print(plans: &[Plan]) {
    let mut longest: BTreeMap<&str, &Plan> = BTreeMap::new();
    for plan in plans {
        let kept = longest.entry(&plan.label).or_insert(plan);
        if plan.ms > kept.ms {
            *kept = plan;
        }
    }
    eprintln!("{:<44} {:>9} {:>9} {:>8}", "statement", "rows", "examined", "ms");
    for plan in longest.values() {
        eprintln!("{:<44} {:>9} {:>9} {:>8.1}", plan.label, plan.rows, plan.examined, plan.ms);
    }
}
