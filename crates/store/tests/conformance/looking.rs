//! What people look at: what flows, what was said where, and who works on it.

use std::time::Duration;

use broca_core::{ConversationId, MessageState, Receipt, ResponseState};
use broca_store::{DeliveryEnd, FinishDelivery, Flow, FlowPoint, FoundMessages, MessageFilter};

use crate::{
    home::{Home, done, ends, failed, says, worker},
    on_both,
};

on_both!(
    what_flows_is_counted_by_time_and_party,
    messages_are_found_a_page_at_a_time,
    a_conversation_is_told_with_its_answers,
    who_works_on_what_is_told,
);

async fn deliver(home: &Home, person: &str, text: &str) {
    let (host, response) = (worker("out"), home.answer(person, text).await);
    home.go(response, &host).await;
    let end = DeliveryEnd::Delivered(Receipt::of("platform-1"));
    home.store.finish_delivery(FinishDelivery { response, host, attempt: 1, end }).await.unwrap();
}

async fn fail(home: &Home, person: &str, text: &str) {
    let (message, _) = home.accept(says(person, text)).await;
    let worker = worker("w");
    let lease = home.hold(message, &worker).await;
    let turn = home.start(&lease, &worker).await;
    done(home.store.finish(ends(&lease, Some(turn), failed())).await.unwrap());
}

fn sums(flow: &Flow) -> [i64; 3] {
    let add = |[a, b, c]: [i64; 3], point: &FlowPoint| [a + point.came_in, b + point.went_out, c + point.failed];
    flow.points.iter().fold([0; 3], add)
}

async fn what_flows_is_counted_by_time_and_party(home: Home) {
    const HOUR: Duration = Duration::from_secs(3_600);
    const MINUTE: Duration = Duration::from_secs(60);
    let nothing = home.store.flow(HOUR, MINUTE).await.unwrap();
    assert_eq!((nothing.points.len(), nothing.answered_in_ms_p50, nothing.bucket_s), (0, None, 60));
    assert_eq!((nothing.whole_since, nothing.since.micros() % 60_000_000), (nothing.since, 0));
    deliver(&home, "alice", "1").await;
    home.answer("alice", "2").await;
    fail(&home, "bob", "3").await;
    let (message, _) = home.accept(says("cem", "4")).await;
    let (worker, before) = (worker("w"), home.store.flow(HOUR, MINUTE).await.unwrap());
    assert!(before.in_turn.is_empty());
    let lease = home.hold(message, &worker).await;
    home.start(&lease, &worker).await;
    let flow = home.store.flow(HOUR, MINUTE).await.unwrap();
    assert_eq!(sums(&flow), [4, 1, 1]);
    assert!(flow.points.iter().all(|point| (point.instance.as_str(), point.agent.as_str()) == ("cli", "default")));
    assert_eq!((flow.in_turn.len(), flow.in_turn[0].turns), (1, 1));
    assert!(flow.answered_in_ms_p50.is_some() && flow.answered_in_ms_p50 == flow.answered_in_ms_p95);
    // What is older than the window does not count; what fails now counts now, whenever it came.
    home.sql("UPDATE messages SET received_at = received_at - 7200000000").await;
    home.sql("UPDATE responses SET finished_at = finished_at - 7200000000 WHERE finished_at IS NOT NULL").await;
    assert_eq!(sums(&home.store.flow(HOUR, MINUTE).await.unwrap()), [0, 0, 1]);
}

async fn find(home: &Home, filter: MessageFilter) -> Vec<String> {
    let found = home.store.search_messages(&filter, None, 10).await.unwrap();
    assert_eq!(found.next, None);
    found.items.into_iter().map(|line| line.text).collect()
}

async fn messages_are_found_a_page_at_a_time(home: Home) {
    for n in 0..5 {
        home.answer("alice", &format!("Apples {n}")).await;
    }
    fail(&home, "bob", "100%").await;
    let all = MessageFilter::default();
    let FoundMessages { items, next } = home.store.search_messages(&all, None, 4).await.unwrap();
    let texts: Vec<_> = items.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["100%", "Apples 4", "Apples 3", "Apples 2"]);
    assert_eq!(next, items.last().map(|last| last.message_id));
    assert_eq!((items[0].state, items[0].class.as_deref()), (MessageState::Failed, Some("unavailable")));
    assert_eq!(items[1].answer_state.as_deref(), Some("pending"));
    let rest = home.store.search_messages(&all, next, 4).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (2, None));

    let of = |change: fn(&mut MessageFilter)| {
        let mut filter = MessageFilter::default();
        change(&mut filter);
        filter
    };
    assert_eq!(find(&home, of(|f| f.user = Some("bob".to_owned()))).await, ["100%"]);
    assert_eq!(find(&home, of(|f| f.state = Some(MessageState::Completed))).await.len(), 5);
    assert_eq!(find(&home, of(|f| f.contains = Some("APPLES 3".to_owned()))).await, ["Apples 3"]);
    assert_eq!(find(&home, of(|f| f.contains = Some("re: apples 4".to_owned()))).await, ["Apples 4"], "in the answer");
    assert_eq!(find(&home, of(|f| f.contains = Some("%".to_owned()))).await, ["100%"], "a character like any other");
    assert_eq!(find(&home, of(|f| f.agent = Some("nobody".to_owned()))).await.len(), 0);
    let now = home.store.now().await.unwrap();
    assert_eq!(find(&home, MessageFilter { since: Some(now), ..MessageFilter::default() }).await.len(), 0);
    assert_eq!(find(&home, MessageFilter { until: Some(now), ..MessageFilter::default() }).await.len(), 6);
}

async fn a_conversation_is_told_with_its_answers(home: Home) {
    assert!(home.store.talk(ConversationId::of("default", "nowhere"), None, 10).await.unwrap().is_none());
    deliver(&home, "alice", "1").await;
    home.answer("alice", "2").await;
    let (message, conversation) = home.accept(says("alice", "3")).await;
    home.accept(says("bob", "another's")).await;
    let lease = home.hold(message, &worker("w")).await;
    let talk = home.store.talk(conversation, None, 2).await.unwrap().unwrap();
    assert_eq!((talk.conversation.waiting, talk.conversation.epoch), (1, lease.epoch));
    assert!(talk.conversation.owner.is_some() && talk.conversation.lease_until.is_some());
    let told: Vec<_> = talk.items.iter().map(|line| (line.text.as_str(), line.answers.len())).collect();
    assert_eq!(told, [("3", 0), ("2", 1)]);
    let before = home.store.talk(conversation, talk.next, 2).await.unwrap().unwrap();
    assert_eq!((before.items.len(), before.next), (1, None));
    let answer = &before.items[0].answers[0];
    assert_eq!((answer.text.as_str(), answer.state), ("re: 1", ResponseState::Delivered));
}

async fn who_works_on_what_is_told(home: Home) {
    assert!(home.store.busy_conversations(10).await.unwrap().is_empty());
    let (first, conversation) = home.accept(says("alice", "1")).await;
    home.accept(says("alice", "2")).await;
    home.accept(says("bob", "1")).await;
    let worker = worker("w");
    let lease = home.hold(first, &worker).await;
    let turn = home.start(&lease, &worker).await;
    let busy = home.store.busy_conversations(10).await.unwrap();
    let hers = busy.iter().find(|one| one.conversation.id == conversation).unwrap();
    assert_eq!((busy.len(), hers.conversation.waiting), (2, 2));
    assert_eq!(
        hers.first.as_ref().map(|first| (first.message_id, first.state)),
        Some((first, MessageState::Processing))
    );
    assert_eq!(hers.conversation.owner.as_deref(), Some(worker.as_str()));
    assert_eq!(home.store.busy_conversations(1).await.unwrap().len(), 1);
    let turns = home.store.turns_now(10).await.unwrap();
    assert_eq!(turns.len(), 1);
    assert_eq!((turns[0].turn_id, turns[0].message_id, turns[0].attempt), (turn, first, 1));
    assert_eq!((turns[0].worker.as_str(), turns[0].owner.as_deref()), (worker.as_str(), Some(worker.as_str())));
    home.expire_leases().await;
    let busy = home.store.busy_conversations(10).await.unwrap();
    assert!(busy.iter().all(|one| one.conversation.owner.is_none()), "a lease that ran out is nobody's");
}
