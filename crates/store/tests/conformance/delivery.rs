use std::time::Duration;

use broca_core::{Part, Receipt, ResponseId, ResponseState, WorkerId};
use broca_store::{Delivery, DeliveryEnd, DeliveryFinished, Fenced, FinishDelivery, OwedKind, RecordParts};
use futures::future::join_all;

use crate::{
    home::{Home, TTL, failure, instance, says, worker},
    on_both,
};

on_both!(
    an_answer_is_delivered_once,
    a_lane_keeps_its_order,
    a_cut_off_delivery_is_settled,
    a_stale_host_ends_nothing,
    a_retry_waits_for_its_time,
    a_dead_delivery_is_a_dead_letter,
    what_was_sent_of_an_answer_is_remembered,
    what_waits_for_a_host_is_due,
    moves_follow_the_table,
    answers_of_one_chat_share_a_lane,
);

fn ends(response: ResponseId, host: &WorkerId, attempt: u32, end: DeliveryEnd) -> FinishDelivery {
    FinishDelivery { response, host: host.clone(), attempt, end }
}

fn delivered() -> DeliveryEnd {
    DeliveryEnd::Delivered(Receipt::of("platform-1"))
}

async fn finish(home: &Home, finish: FinishDelivery) -> DeliveryFinished {
    match home.store.finish_delivery(finish).await.unwrap() {
        Fenced::Done(finished) => finished,
        Fenced::LeaseLost => panic!("the delivery was lost"),
    }
}

async fn state_of(home: &Home, response: ResponseId) -> ResponseState {
    let id = home.id(response.0);
    for state in ResponseState::ALL {
        if home.number(&format!("SELECT count(*) FROM responses WHERE id = {id} AND state = '{state}'")).await == 1 {
            return *state;
        }
    }
    panic!("{response} has no state")
}

async fn an_answer_is_delivered_once(home: Home) {
    let (host, other) = (worker("out"), worker("other"));
    let response = home.answer("alice", "hi").await;
    let begun = join_all((0..20).map(|_| home.begin(response, &host))).await;
    let mut dispatches = begun.into_iter().filter_map(|begun| match begun {
        Delivery::Go(dispatch) => Some(dispatch),
        Delivery::Wait { .. } => None,
        other => panic!("{other:?}"),
    });
    let dispatch = dispatches.next().unwrap();
    assert!(dispatches.next().is_none(), "one attempt at a time");
    assert_eq!((dispatch.response.id, dispatch.response.attempt), (response, 1));
    assert_eq!((dispatch.response.text.as_str(), dispatch.response.chat_id.as_deref()), ("re: hi", None));
    assert_eq!(dispatch.response.attributes, serde_json::json!({"reply_to": 7}));
    assert_eq!(dispatch.profile.platform_user_id, "alice");
    assert!(matches!(home.begin(response, &other).await, Delivery::Wait { until } if until.micros() > 0));
    assert!(matches!(home.begin(ResponseId::new(), &host).await, Delivery::Unknown));
    let foreign = home.store.begin_delivery(response, &"else".parse().unwrap(), &host, TTL).await.unwrap();
    assert!(matches!(foreign, Delivery::Unknown));

    let ended = finish(&home, ends(response, &host, 1, delivered())).await;
    assert_eq!(ended, DeliveryFinished { next: None, owed: None });
    assert!(matches!(home.begin(response, &host).await, Delivery::Over(ResponseState::Delivered)));
    let record = home.store.message(dispatch.message).await.unwrap().unwrap();
    assert_eq!(record.responses[0].receipt, Some(Receipt::of("platform-1")));
    assert_eq!((record.responses[0].attempts, record.responses[0].state), (1, ResponseState::Delivered));
    assert!(record.responses[0].finished_at.is_some());
}

async fn a_lane_keeps_its_order(home: Home) {
    let host = worker("out");
    let (first, second, third) =
        (home.answer("alice", "1").await, home.answer("alice", "2").await, home.answer("alice", "3").await);
    let stranger = home.answer("bob", "1").await;
    assert!(matches!(home.begin(second, &host).await, Delivery::Behind));
    home.go(stranger, &host).await;
    home.go(first, &host).await;
    assert!(matches!(home.begin(second, &host).await, Delivery::Behind));
    let retry = DeliveryEnd::Retry { failure: failure(), delay: Duration::ZERO };
    assert_eq!(finish(&home, ends(first, &host, 1, retry)).await.next, None);
    assert!(matches!(home.begin(second, &host).await, Delivery::Behind), "an open retry keeps its place");
    assert_eq!(home.go(first, &host).await.response.attempt, 2);
    assert_eq!(finish(&home, ends(first, &host, 2, delivered())).await.next, Some(second));
    home.go(second, &host).await;
    let unknown = DeliveryEnd::Unknown(failure());
    assert_eq!(finish(&home, ends(second, &host, 1, unknown)).await.next, Some(third));
    home.go(third, &host).await;
    assert_eq!(finish(&home, ends(third, &host, 1, delivered())).await.next, None);
}

async fn a_cut_off_delivery_is_settled(home: Home) {
    let (first, second) = (worker("first"), worker("second"));
    let response = home.answer("alice", "hi").await;
    home.go(response, &first).await;
    assert!(home.store.renew_deliveries(&first, &[response], TTL).await.unwrap().is_empty());
    assert_eq!(home.store.renew_deliveries(&second, &[response], TTL).await.unwrap(), [response]);
    home.sql("UPDATE responses SET lease_until = 1").await;
    let Delivery::Settle(dispatch) = home.begin(response, &second).await else { panic!("not to settle") };
    assert_eq!(dispatch.response.attempt, 1, "still the same attempt");
    let late = home.store.finish_delivery(ends(response, &first, 1, delivered())).await.unwrap();
    assert_eq!(late, Fenced::LeaseLost);
    // The platform does not have it: from the start, and the attempt that never reached it does not count.
    assert_eq!(finish(&home, ends(response, &second, 1, DeliveryEnd::HandBack)).await.next, None);
    assert_eq!(state_of(&home, response).await, ResponseState::Pending);
    assert_eq!(home.go(response, &second).await.response.attempt, 1);
    finish(&home, ends(response, &second, 1, delivered())).await;
    assert_eq!(home.number("SELECT count(*) FROM deliveries").await, 2);
    assert_eq!(home.number("SELECT count(*) FROM deliveries WHERE outcome = 'handed_back' AND attempt = 1").await, 1);
}

async fn a_stale_host_ends_nothing(home: Home) {
    let host = worker("out");
    let response = home.answer("alice", "hi").await;
    home.go(response, &host).await;
    for (who, attempt) in [(worker("else"), 1), (host.clone(), 2), (host.clone(), 0)] {
        let late = home.store.finish_delivery(ends(response, &who, attempt, delivered())).await.unwrap();
        assert_eq!(late, Fenced::LeaseLost);
    }
    assert_eq!(state_of(&home, response).await, ResponseState::Delivering);
    let both = join_all((0..2).map(|_| home.store.finish_delivery(ends(response, &host, 1, delivered())))).await;
    let done = both.iter().filter(|ended| matches!(ended, Ok(Fenced::Done(_)))).count();
    assert_eq!(done, 1);
    assert_eq!(home.number("SELECT count(*) FROM deliveries").await, 1);
}

async fn a_retry_waits_for_its_time(home: Home) {
    let host = worker("out");
    let response = home.answer("alice", "hi").await;
    home.go(response, &host).await;
    let retry = DeliveryEnd::Retry { failure: failure(), delay: Duration::from_secs(60) };
    finish(&home, ends(response, &host, 1, retry)).await;
    let Delivery::Wait { until } = home.begin(response, &host).await else { panic!("it does not wait") };
    let ended = home.number("SELECT finished_at FROM deliveries").await;
    assert_eq!(until.micros(), ended + 60_000_000);
    assert!(home.store.due_deliveries(&instance(), 10).await.unwrap().is_empty());
    home.sql("UPDATE responses SET not_before = 1").await;
    assert_eq!(home.store.due_deliveries(&instance(), 10).await.unwrap(), [response]);
    assert_eq!(home.go(response, &host).await.response.attempt, 2);
}

async fn a_dead_delivery_is_a_dead_letter(home: Home) {
    let host = worker("out");
    let response = home.answer("alice", "hi").await;
    home.go(response, &host).await;
    let owed = finish(&home, ends(response, &host, 1, DeliveryEnd::Dead(failure()))).await.owed.unwrap();
    let due = home.store.outbox_due(Duration::ZERO, 10).await.unwrap();
    let letter = due.iter().find(|due| due.id == owed).unwrap();
    let OwedKind::DeadLetter { stage, class, attempts, .. } = &letter.what else { panic!("{letter:?}") };
    assert_eq!((stage.as_str(), class.as_str(), *attempts), ("delivery", "unavailable", 1));
    assert_eq!(letter.text, "re: hi");
}

async fn what_was_sent_of_an_answer_is_remembered(home: Home) {
    let (host, other) = (worker("out"), worker("other"));
    let response = home.answer("alice", "hi").await;
    let part = |n: usize| Part { platform_message_id: format!("m{n}"), text_end: n };
    let sent = |host: &WorkerId, attempt, parts: &[Part]| {
        home.store.record_parts(RecordParts { response, host: host.clone(), attempt, parts: parts.to_vec() })
    };
    for attempt in 1..=2 {
        assert!(home.go(response, &host).await.response.parts.is_empty());
        let retry = DeliveryEnd::Retry { failure: failure(), delay: Duration::ZERO };
        finish(&home, ends(response, &host, attempt, retry)).await;
    }
    assert_eq!(sent(&host, 2, &[part(1)]).await.unwrap(), Fenced::LeaseLost, "nobody has it in hand");
    home.go(response, &host).await;
    assert_eq!(sent(&other, 3, &[part(1)]).await.unwrap(), Fenced::LeaseLost);
    assert_eq!(sent(&host, 2, &[part(1)]).await.unwrap(), Fenced::LeaseLost);
    for _ in 0..2 {
        assert_eq!(sent(&host, 3, &[part(1), part(2)]).await.unwrap(), Fenced::Done(()), "twice is once");
    }
    home.sql("UPDATE responses SET lease_until = 1").await;
    let Delivery::Settle(dispatch) = home.begin(response, &other).await else { panic!("not to settle") };
    assert_eq!(dispatch.response.parts, [part(1), part(2)]);
    assert_eq!((dispatch.response.attempt, dispatch.attempts_before), (3, 2), "an attempt that got on is the first");
    assert_eq!(sent(&host, 3, &[part(1)]).await.unwrap(), Fenced::LeaseLost, "it was taken over");
    finish(&home, ends(response, &other, 3, DeliveryEnd::Dead(failure()))).await;
    assert_eq!(
        home.number("SELECT count(*) FROM responses WHERE parts IS NOT NULL").await,
        1,
        "a replay goes on there"
    );
}

async fn what_waits_for_a_host_is_due(home: Home) {
    let host = worker("out");
    let (first, second) = (home.answer("alice", "1").await, home.answer("alice", "2").await);
    let other = home.answer("bob", "1").await;
    assert!(home.store.due_deliveries(&instance(), 10).await.unwrap().is_empty(), "their publishes come first");
    home.sql("UPDATE responses SET created_at = created_at - 6000000").await;
    assert_eq!(home.store.due_deliveries(&instance(), 10).await.unwrap(), [first, other]);
    assert_eq!(home.store.due_deliveries(&instance(), 1).await.unwrap(), [first]);
    assert!(home.store.due_deliveries(&"else".parse().unwrap(), 10).await.unwrap().is_empty());
    home.go(first, &host).await;
    assert_eq!(home.store.due_deliveries(&instance(), 10).await.unwrap(), [other], "a live host has it");
    home.sql("UPDATE responses SET lease_until = 1 WHERE state = 'delivering'").await;
    assert_eq!(home.store.due_deliveries(&instance(), 10).await.unwrap(), [first, other]);
    let Delivery::Settle(_) = home.begin(first, &host).await else { panic!("not to settle") };
    assert_eq!(finish(&home, ends(first, &host, 1, delivered())).await.next, Some(second));
}

async fn place(home: &Home, response: ResponseId, state: ResponseState) {
    // Both databases read TRUE and FALSE.
    let (open, id) = (if state.is_terminal() { "FALSE" } else { "TRUE" }, home.id(response.0));
    home.sql(&format!("UPDATE responses SET state = '{state}', open = {open}, host = NULL WHERE id = {id}")).await;
}

/// Against the table in `broca_core::state`, from every state and by every operation.
async fn moves_follow_the_table(home: Home) {
    let host = worker("out");
    let retry = || DeliveryEnd::Retry { failure: failure(), delay: TTL };
    let moves: [(ResponseState, DeliveryEnd); 5] = [
        (ResponseState::Delivered, delivered()),
        (ResponseState::Retry, retry()),
        (ResponseState::Dead, DeliveryEnd::Dead(failure())),
        (ResponseState::Unknown, DeliveryEnd::Unknown(failure())),
        (ResponseState::Pending, DeliveryEnd::HandBack),
    ];
    for from in ResponseState::ALL {
        // Replay opens a terminal one again, beginning a delivery never does.
        let response = home.answer(&format!("{from}"), "hi").await;
        place(&home, response, *from).await;
        let begun = home.begin(response, &host).await;
        let legal = from.to(ResponseState::Delivering).is_ok();
        assert_eq!(legal, matches!(begun, Delivery::Go(_)), "{from}: {begun:?}");
        assert_eq!(from.is_terminal(), matches!(begun, Delivery::Over(state) if state == *from), "{from}: {begun:?}");

        for (to, end) in &moves {
            let response = home.answer(&format!("{from} {to}"), "hi").await;
            home.go(response, &host).await;
            if *from != ResponseState::Delivering {
                place(&home, response, *from).await;
                home.sql(&format!("UPDATE responses SET host = '{host}' WHERE id = {}", home.id(response.0))).await;
            }
            let ended = home.store.finish_delivery(ends(response, &host, 1, end.clone())).await.unwrap();
            let legal = *from == ResponseState::Delivering && from.to(*to).is_ok();
            assert_eq!(legal, matches!(ended, Fenced::Done(_)), "{from} to {to}");
            assert_eq!(state_of(&home, response).await, if legal { *to } else { *from });
        }
    }
}

async fn answers_of_one_chat_share_a_lane(home: Home) {
    let host = worker("out");
    let mut responses = Vec::new();
    for person in ["alice", "bob"] {
        let mut message = says(person, "hi");
        message.incoming.chat_id = Some("room".to_owned());
        let (message, _) = home.accept(message).await;
        let me = worker("w");
        let lease = home.hold(message, &me).await;
        let turn = home.start(&lease, &me).await;
        let response = ResponseId::new();
        let finish = crate::home::answered(&lease, turn, response, "re");
        crate::home::done(home.store.finish(finish).await.unwrap());
        responses.push(response);
    }
    assert!(matches!(home.begin(responses[1], &host).await, Delivery::Behind));
    assert_eq!(home.go(responses[0], &host).await.response.chat_id.as_deref(), Some("room"));
    assert_eq!(finish(&home, ends(responses[0], &host, 1, delivered())).await.next, Some(responses[1]));
}
