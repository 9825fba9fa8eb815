//! The walk for the archive finds everything once, while others write.

use std::collections::BTreeSet;

use broca_core::{MessageId, Timestamp};
use broca_store::{ExportFilter, Store};

use crate::{
    home::{Home, says},
    on_both,
};

on_both!(everything_is_found_once_while_others_write, a_filter_leaves_the_rest_out);

async fn walk(store: &Store, filter: &ExportFilter) -> Vec<MessageId> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let step = store.export_page(filter, after, 7).await.unwrap();
        found.extend(step.messages);
        match step.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

async fn everything_is_found_once_while_others_write(home: Home) {
    let mut before = BTreeSet::new();
    for n in 0..20 {
        before.insert(home.accept(says(&format!("p{}", n % 3), "hello")).await.0);
    }
    let another = home.another().await;
    let writes = async {
        for n in 0..30 {
            another.ingest(says(&format!("p{}", n % 3), "more")).await.unwrap();
        }
    };
    let filter = ExportFilter::default();
    let (found, ()) = tokio::join!(walk(&home.store, &filter), writes);
    assert!(found.is_sorted() && found.len() == found.iter().collect::<BTreeSet<_>>().len(), "none twice");
    assert!(before.is_subset(&found.into_iter().collect()), "none left out");
}

async fn a_filter_leaves_the_rest_out(home: Home) {
    let (mine, conversation) = home.accept(says("ann", "hello")).await;
    let (other, _) = home.accept(says("ben", "hello")).await;
    let record = home.store.message(mine).await.unwrap().unwrap();
    let all = ExportFilter::default();
    let found = async |filter: ExportFilter| walk(&home.store, &filter).await;
    assert_eq!(found(ExportFilter { user: Some(record.user_id), ..all.clone() }).await, [mine]);
    assert_eq!(found(ExportFilter { conversation: Some(conversation), ..all.clone() }).await, [mine]);
    assert_eq!(found(ExportFilter { platform: Some("telegram".into()), ..all.clone() }).await, []);
    let at = record.received_at;
    assert_eq!(found(ExportFilter { until: Some(at), ..all.clone() }).await, []);
    let after = Timestamp(home.store.message(other).await.unwrap().unwrap().received_at.micros() + 1);
    assert_eq!(found(ExportFilter { since: Some(at), until: Some(after), ..all.clone() }).await, [mine, other]);
    assert_eq!(found(ExportFilter { since: Some(after), ..all }).await, []);
}
