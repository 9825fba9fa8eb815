//! Conversations and the queue are listed, a page at a time.

use broca_core::ResponseId;
use broca_store::{BacklogFilter, ConversationFilter, Stand};

use crate::{
    home::{Home, answered, says, worker},
    on_both,
};

on_both!(conversations_are_listed_a_page_at_a_time, the_queue_is_in_order);

async fn conversations_are_listed_a_page_at_a_time(home: Home) {
    home.answer("ann", "one").await;
    let (bobs, with_bob) = home.accept(says("bob", "two")).await;
    let (_, with_cem) = home.accept(says("cem", "three")).await;
    let me = worker("w");
    let lease = home.hold(bobs, &me).await;
    let turn = home.start(&lease, &me).await;
    let list = async |filter: ConversationFilter| home.store.conversations(&filter, None, 10).await.unwrap().items;
    let all = ConversationFilter::default();
    let whole = list(all.clone()).await;
    let first = home.store.conversations(&all, None, 2).await.unwrap();
    let rest = home.store.conversations(&all, first.next, 2).await.unwrap();
    assert_eq!(([first.items, rest.items].concat(), rest.next), (whole.clone(), None));
    assert_eq!(whole.len(), 3);
    let waiting = list(ConversationFilter { waiting: true, ..all.clone() }).await;
    assert_eq!(waiting.iter().map(|one| one.id).collect::<Vec<_>>(), [with_cem, with_bob]);
    assert_eq!((waiting[1].waiting, waiting[1].worker.as_deref()), (1, Some(me.as_str())));
    let user = home.store.message(bobs).await.unwrap().unwrap().user_id;
    let bobs = list(ConversationFilter { user: Some(user), ..all.clone() }).await;
    assert_eq!((bobs.len(), bobs[0].id, bobs[0].scope.as_str()), (1, with_bob, "profile:cli/bob"));
    home.store.finish(answered(&lease, turn, ResponseId::new(), "re: two")).await.unwrap();
    let one = list(ConversationFilter { user: Some(user), ..all.clone() }).await;
    assert_eq!((one[0].messages, one[0].waiting, one[0].worker.as_deref()), (1, 0, None));
    assert_eq!(list(ConversationFilter { agent: Some("nobody".to_owned()), ..all }).await, []);
}

async fn the_queue_is_in_order(home: Home) {
    let (first, _) = home.accept(says("ann", "one")).await;
    let (second, _) = home.accept(says("bob", "two")).await;
    let (third, _) = home.accept(says("ann", "three")).await;
    let me = worker("w");
    let lease = home.hold(first, &me).await;
    home.start(&lease, &me).await;
    let filter = BacklogFilter::default();
    let page = home.store.queue(&filter, None, None, 2).await.unwrap();
    let rest = home.store.queue(&filter, None, page.last().map(|item| item.cursor()), 2).await.unwrap();
    let queue = [page, rest].concat();
    assert_eq!(queue.iter().map(|item| item.id).collect::<Vec<_>>(), [first, second, third]);
    assert_eq!((queue[0].stand, queue[0].attempts), (Stand::Processing, 1));
    let received = home.store.queue(&filter, Some(Stand::Received), None, 9).await.unwrap();
    assert_eq!(received.iter().map(|item| item.text.as_str()).collect::<Vec<_>>(), ["two", "three"]);
    let anns = BacklogFilter { user: Some("ann".to_owned()), ..filter };
    assert_eq!(home.store.queue(&anns, None, None, 9).await.unwrap().len(), 2);
}
