//! People are listed, found and renamed.

use broca_core::UserId;
use broca_store::UserFilter;

use crate::{
    home::{Home, says},
    on_both,
};

on_both!(people_are_listed_a_page_at_a_time, a_person_has_conversations);

async fn people_are_listed_a_page_at_a_time(home: Home) {
    for n in 0..5 {
        let mut message = says(&format!("p{n}"), "hello");
        message.incoming.sender.username = Some(format!("Name_{n}"));
        home.accept(message).await;
    }
    let all = UserFilter::default();
    let first = home.store.users(&all, None, 3).await.unwrap();
    let rest = home.store.users(&all, first.last().map(|user| user.id), 3).await.unwrap();
    let mut names: Vec<_> = first.iter().chain(&rest).map(|user| user.profiles[0].platform_user_id.clone()).collect();
    names.sort();
    assert_eq!((names.join(" ").as_str(), first.len()), ("p0 p1 p2 p3 p4", 3));
    let found = async |filter: UserFilter| home.store.users(&filter, None, 9).await.unwrap().len();
    let named = |name: &str| UserFilter { name: Some(name.into()), ..UserFilter::default() };
    assert_eq!(found(named("name_3")).await, 1);
    assert_eq!(found(named("%")).await, 0, "a name is no pattern");
    assert_eq!(found(named("p4")).await, 1);
    assert_eq!(found(UserFilter { platform: Some("telegram".into()), ..all.clone() }).await, 0);
    assert_eq!(found(UserFilter { platform: Some("cli".into()), ..all }).await, 5);

    let user = first[0].id;
    assert!(home.store.rename_user(user, "Somebody").await.unwrap());
    assert_eq!(home.store.user(user).await.unwrap().unwrap().display_name.as_deref(), Some("Somebody"));
    assert!(!home.store.rename_user(UserId::new(), "Nobody").await.unwrap());
    assert_eq!(home.store.user(UserId::new()).await.unwrap(), None);
}

async fn a_person_has_conversations(home: Home) {
    home.answer("ann", "one").await;
    let (message, conversation) = home.accept(says("ann", "two")).await;
    let user = home.store.message(message).await.unwrap().unwrap().user_id;
    let found = home.store.conversations_of_user(user).await.unwrap();
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.id, one.scope.as_str()), (conversation, "profile:cli/ann"));
    assert_eq!((one.messages, one.answers, one.pending), (2, 1, 1));
    let states = home.store.messages_of_user(user).await.unwrap();
    assert_eq!((states["completed"], states["received"]), (1, 1));
}
