//! People's blocks at their agents: one turn has an agent's at a time, until it is over.

use std::time::Duration;

use broca_core::{TurnId, UserId};
use broca_store::{AttachedBlock, SlotWish, TakeBlocks};

use crate::{
    home::{Home, TTL, answered, done, says, worker},
    on_both,
};

on_both!(an_agents_blocks_are_one_turns, a_person_has_one_block_of_an_agent, only_one_of_many_gets_the_lease);

fn wish(holder: TurnId, ttl: Option<Duration>) -> TakeBlocks {
    TakeBlocks { agent: "letta a".to_owned(), holder: holder.0, ttl }
}

fn attached(block: &str) -> Vec<AttachedBlock> {
    vec![AttachedBlock { block: block.to_owned(), conversation: "conv-1".to_owned() }]
}

async fn an_agents_blocks_are_one_turns(home: Home) {
    let me = worker("w");
    let (one, _) = home.accept(says("ann", "one")).await;
    let (two, other) = home.accept(says("ben", "two")).await;
    let lease = home.hold(one, &me).await;
    let turn = home.start(&lease, &me).await;
    let take = async |holder, ttl| home.store.take_blocks(wish(holder, ttl)).await.unwrap();
    assert_eq!(take(turn, None).await, Some(vec![]));
    assert!(home.store.note_blocks("letta a", turn.0, attached("block-ann")).await.unwrap());
    let later = TurnId::new();
    assert_eq!(take(later, None).await, None, "the first turn is open");
    assert_eq!(take(later, Some(TTL)).await, None, "also for whoever cleans up");
    assert!(!home.store.note_blocks("letta a", later.0, attached("x")).await.unwrap());
    let slot = SlotWish {
        conversation: other,
        worker: me.clone(),
        agent: "a".into(),
        agent_limit: Some(1),
        endpoint: None,
        endpoint_limit: None,
        blocks: Some("letta a".into()),
        ttl: TTL,
    };
    assert!(!home.store.take_slot(slot.clone()).await.unwrap(), "no turn is begun that would only wait");
    assert!(home.store.take_slot(SlotWish { conversation: lease.conversation, ..slot.clone() }).await.unwrap());
    home.store.free_slot(lease.conversation, &me).await.unwrap();
    assert_eq!(take(turn, None).await, Some(attached("block-ann")), "whoever takes the turn over goes on in it");
    assert!(!home.store.are_blocks_left("letta a").await.unwrap());

    let response = broca_core::ResponseId::new();
    done(home.store.finish(answered(&lease, turn, response, "yes")).await.unwrap());
    assert!(home.store.are_blocks_left("letta a").await.unwrap(), "its worker died before it took it away");
    assert!(home.store.take_slot(slot).await.unwrap());
    let second = home.hold(two, &me).await;
    let next = home.start(&second, &me).await;
    assert_eq!(take(next, None).await, Some(attached("block-ann")), "the next one knows what to take away");
    home.store.free_blocks("letta a", turn.0).await.unwrap();
    assert_eq!(
        home.store.blocks_of("letta a", next).await.unwrap(),
        Some(attached("block-ann")),
        "that was not its own"
    );
    home.store.free_blocks("letta a", next.0).await.unwrap();
    assert_eq!(home.store.blocks_of("letta a", next).await.unwrap(), None);

    let cleaner = TurnId::new();
    assert_eq!(take(cleaner, Some(TTL)).await, Some(vec![]));
    assert_eq!(take(next, None).await, None, "while somebody cleans up");
    home.sql("UPDATE block_leases SET until = 1").await;
    assert_eq!(take(next, None).await, Some(vec![]), "who died in it");
}

async fn a_person_has_one_block_of_an_agent(home: Home) {
    home.accept(says("ann", "hello")).await;
    home.accept(says("ben", "hello")).await;
    let user = async |person| home.store.people(None, person).await.unwrap()[0].user_id;
    let (ann, ben): (UserId, UserId) = (user("ann").await, user("ben").await);
    let keep = async |agent: &str, user, block: &str| home.store.keep_block(agent, user, block).await.unwrap();
    assert_eq!(home.store.block_of("a", ann).await.unwrap(), None);
    assert_eq!(keep("a", ann, "b1").await, "b1");
    assert_eq!(keep("a", ann, "b2").await, "b1", "the first one counts");
    assert_eq!((keep("a", ben, "b3").await, keep("b", ben, "b4").await), ("b3".into(), "b4".into()));
    home.store.link_users(ann, ben).await.unwrap().unwrap();
    let of = async |agent: &str| home.store.block_of(agent, ann).await.unwrap().unwrap_or_default();
    assert_eq!((of("a").await, of("b").await), ("b1".to_owned(), "b4".to_owned()), "hers, and what only he had");
    assert!(home.store.is_block_ours("a", "b3").await.unwrap(), "his is kept, and attached no more");
    assert!(!home.store.is_block_ours("b", "b3").await.unwrap());
    assert_eq!(home.store.owed_blocks("a").await.unwrap(), Vec::<String>::new());
    home.store.drop_block("b1").await.unwrap();
    assert_eq!(home.store.block_of("a", ann).await.unwrap(), None);
    home.sql("UPDATE messages SET state = 'cancelled'").await;
    home.store.forget_end(ann, &[], Duration::ZERO, "forgotten").await.unwrap();
    assert_eq!(home.store.owed_blocks("a").await.unwrap(), ["b3"]);
    assert_eq!(home.store.owed_blocks("b").await.unwrap(), ["b4"]);
}

async fn only_one_of_many_gets_the_lease(home: Home) {
    let holders: Vec<TurnId> = (0..8).map(|_| TurnId::new()).collect();
    let asking = holders.iter().map(|holder| {
        let (store, wish) = (home.store.clone(), wish(*holder, Some(TTL)));
        tokio::spawn(async move { store.take_blocks(wish).await.unwrap().is_some() })
    });
    let mut got = 0;
    for asked in asking.collect::<Vec<_>>() {
        got += usize::from(asked.await.unwrap());
    }
    assert_eq!(got, 1);
}
