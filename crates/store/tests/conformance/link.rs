//! Two accounts become one person's by a code, and part again; whatever else is kept of people stays true.

use std::time::Duration;

use broca_core::{
    MessageId, ProfileId, UserId,
    access::{Allowance, Rate, Reason},
    chat_command as said,
    route::Scope,
};
use broca_store::{
    Accepted, ActFilter, Admission, AuditLimits, CannotLink, Command, ForgetEnd, HoldSubject, LinkTerms, NewHold,
    NewMessage, PersonChange,
};
use serde_json::json;

use crate::{
    home::{Home, done, says, silent, worker},
    on_both,
};

on_both!(
    a_code_makes_two_accounts_one_persons,
    codes_are_good_once_and_for_a_while,
    who_is_kept_back_is_not_linked,
    what_one_person_wrote_is_forgotten_together,
    links_that_come_and_go_lose_nothing,
);

fn on(platform: &str, person: &str, text: &str) -> NewMessage {
    NewMessage { platform: platform.to_owned(), ..says(person, text) }
}

/// Somebody's command, stored.
async fn command(home: &Home, platform: &str, person: &str) -> MessageId {
    let message = NewMessage { admission: Admission::Command { allowance: None }, ..on(platform, person, "/link") };
    match home.store.ingest(message).await.unwrap() {
        Accepted::Suppressed { message, suppression, notice: None } if suppression.reason == Reason::Command => message,
        other => panic!("{other:?}"),
    }
}

async fn says_to(home: &Home, (platform, person): (&str, &str), command_of: Command) -> String {
    let message = command(home, platform, person).await;
    home.store.obey(message, command_of).await.unwrap().expect("it is replied to").text
}

async fn code(home: &Home, who: (&str, &str)) -> String {
    let told = says_to(home, who, Command::Code(LinkTerms::default())).await;
    let (_, code) = told.split_once("/link ").unwrap();
    code.lines().next().unwrap().to_owned()
}

fn using(code: &str) -> Command {
    Command::Link { code: code.to_owned(), terms: LinkTerms::default() }
}

async fn user(home: &Home, platform: &str, person: &str) -> UserId {
    home.store.people(Some(platform), person).await.unwrap()[0].user_id
}

async fn profile(home: &Home, platform: &str, person: &str) -> ProfileId {
    home.store.profile_of(platform, person).await.unwrap().unwrap()
}

async fn sound(home: &Home) {
    let limits = AuditLimits { overdue: Duration::from_secs(3_600), max_age: None };
    assert_eq!(home.store.audit(&limits).await.unwrap(), []);
}

async fn a_code_makes_two_accounts_one_persons(home: Home) {
    let (hers, his) = (("cli", "ann"), ("web", "7"));
    home.answer("ann", "hello").await;
    home.accept(on("web", "7", "hello")).await;
    let (ann, seven) = (user(&home, "cli", "ann").await, user(&home, "web", "7").await);
    let prefers = async |user, preferences, instructions: Option<&str>| {
        let instructions = instructions.map(|text| Some(text.to_owned()));
        let change = PersonChange { user, instructions, preferences: Some(preferences) };
        home.store.set_person(change).await.unwrap();
    };
    prefers(ann, json!({"colour": "red"}), None).await;
    prefers(seven, json!({"colour": "blue", "size": 3}), Some("be brief")).await;

    let code = code(&home, hers).await;
    let asked = command(&home, "web", "7").await;
    let reply = home.store.obey(asked, using(&code.to_lowercase())).await.unwrap().unwrap();
    assert_eq!((reply.text.as_str(), reply.message), (said::LINKED, asked));
    assert!(home.store.obey(asked, using(&code)).await.unwrap().is_none(), "it is obeyed once");
    assert!(!home.store.is_command_open(asked).await.unwrap());
    assert_eq!(user(&home, "web", "7").await, ann, "whoever was given the code stays");
    assert_eq!(home.store.user(seven).await.unwrap(), None);
    let (_, known) = (ann, home.store.prefer(ann, serde_json::Map::new(), &[], 9_999).await.unwrap().unwrap().unwrap());
    assert_eq!(json!(known), json!({"colour": "red", "size": 3}), "her own win");
    let (message, _) = home.accept(on("web", "7", "and now?")).await;
    let lease = home.hold(message, &worker("w")).await;
    let pending = lease.pending.last().unwrap();
    assert_eq!((pending.profile.user_id, pending.instructions.as_deref()), (ann, Some("be brief")));
    let acts = home.store.acts(&ActFilter::default(), None, 9).await.unwrap();
    let [act] = acts.as_slice() else { panic!("{acts:?}") };
    assert_eq!((act.actor.as_str(), act.operation.as_str()), ("web/7", "users.link"));
    assert_eq!(act.subjects, [ann.to_string(), seven.to_string()]);
    assert_eq!(says_to(&home, hers, using(&code)).await, said::NO_SUCH_CODE, "a code is good once");

    assert_eq!(says_to(&home, his, Command::Unlink).await, said::UNLINKED);
    let parted = user(&home, "web", "7").await;
    assert!(parted != ann && parted != seven);
    assert_eq!(home.store.conversations_of_user(parted).await.unwrap().len(), 1, "what it wrote went along");
    assert_eq!(says_to(&home, his, Command::Unlink).await, said::NOT_LINKED);
    sound(&home).await;
}

async fn codes_are_good_once_and_for_a_while(home: Home) {
    let (hers, his, stranger) = (("cli", "ann"), ("web", "7"), ("web", "8"));
    let old = code(&home, hers).await;
    let newer = code(&home, hers).await;
    assert_eq!(says_to(&home, his, using(&old)).await, said::NO_SUCH_CODE, "the last one told is the good one");
    assert_eq!(says_to(&home, hers, using(&newer)).await, said::OWN_CODE);
    assert_eq!(says_to(&home, his, using(&newer)).await, said::LINKED, "her own slip did not use it up");
    let another = code(&home, hers).await;
    assert_eq!(says_to(&home, his, using(&another)).await, said::LINKED_BEFORE);

    let late = code(&home, hers).await;
    home.sql("UPDATE link_codes SET expires_at = 1").await;
    for _ in 0..5 {
        assert_eq!(says_to(&home, stranger, using(&late)).await, said::NO_SUCH_CODE);
    }
    let fresh = code(&home, hers).await;
    assert_eq!(says_to(&home, stranger, using(&fresh)).await, said::TOO_MANY_TRIES, "not even the right one");
    home.sql("UPDATE link_tries SET since = 1").await;
    assert_eq!(says_to(&home, stranger, using(&fresh)).await, said::LINKED);
    // Nothing in the database is the code, but the reply that told it.
    assert_eq!(home.number("SELECT count(*) FROM link_codes").await, 0);

    let allowance = Allowance { rate: Some(Rate { per_minute: 1, burst: 1 }), daily_cap: None };
    let limited =
        || NewMessage { admission: Admission::Command { allowance: Some(allowance) }, ..on("web", "9", "/link") };
    let mut reasons = Vec::new();
    for _ in 0..2 {
        let Accepted::Suppressed { suppression, .. } = home.store.ingest(limited()).await.unwrap() else { panic!() };
        reasons.push(suppression.reason);
    }
    assert_eq!(reasons, [Reason::Command, Reason::RateLimited], "commands are counted like messages");
}

async fn who_is_kept_back_is_not_linked(home: Home) {
    home.accept(says("ann", "hello")).await;
    home.accept(on("web", "7", "hello")).await;
    let (ann, seven) = (user(&home, "cli", "ann").await, user(&home, "web", "7").await);
    let link = async || home.store.link_users(ann, seven).await.unwrap().map(|linked| linked.profiles.len());
    assert_eq!(home.store.link_users(ann, ann).await.unwrap(), Err(CannotLink::Same));
    assert_eq!(home.store.link_users(ann, UserId::new()).await.unwrap(), Err(CannotLink::Nobody));
    assert_eq!(home.store.unlink_profile(ProfileId::new()).await.unwrap(), Err(CannotLink::Nobody));

    let hold = NewHold { subject: HoldSubject::User(seven), reason: "r".into(), actor: "op".into(), life: None };
    home.store.put_hold(hold).await.unwrap();
    assert_eq!(link().await, Err(CannotLink::OnHold));
    home.sql("UPDATE holds SET settled_at = 1").await;
    home.store.set_active(seven, false, None, "op").await.unwrap();
    assert_eq!(link().await, Err(CannotLink::Inactive));
    home.store.set_active(seven, true, None, "op").await.unwrap();
    home.store.forget_begin(seven, "op", None, &[]).await.unwrap();
    assert_eq!(link().await, Err(CannotLink::Forgetting));
    home.sql("UPDATE forgotten SET done_at = 1").await;
    assert_eq!(link().await, Ok(1));
    home.store.set_active(ann, false, None, "op").await.unwrap();
    let profile = profile(&home, "web", "7").await;
    assert_eq!(home.store.unlink_profile(profile).await.unwrap(), Err(CannotLink::Inactive), "no way around it");
}

/// Has all of a person's messages end, and forgets the person.
async fn forget(home: &Home, user: UserId) {
    let own: Vec<_> = home.store.forget_look(user).await.unwrap().conversations;
    let own: Vec<_> = own.into_iter().filter(|conversation| conversation.own).map(|own| own.id).collect();
    let dedupe = Duration::from_secs(60);
    assert_eq!(home.store.forget_end(user, &own, dedupe, "forgotten").await.unwrap(), ForgetEnd::Done);
}

async fn what_one_person_wrote_is_forgotten_together(home: Home) {
    let shared =
        |platform: &str, person: &str, text: &str| NewMessage { scope: Scope::User, ..on(platform, person, text) };
    home.accept(shared("cli", "ann", "one")).await;
    let (message, his_own) = home.accept(shared("web", "7", "two")).await;
    let (ann, seven) = (user(&home, "cli", "ann").await, user(&home, "web", "7").await);
    home.store.link_users(ann, seven).await.unwrap().unwrap();
    // What waited there is brought to its end there, and the next one is in hers.
    let lease = home.hold(message, &worker("w")).await;
    let turn = home.start(&lease, &worker("w")).await;
    assert!(done(home.store.finish(crate::home::ends(&lease, Some(turn), silent())).await.unwrap()).released);
    let (_, hers) = home.accept(shared("web", "7", "three")).await;
    assert_ne!(hers, his_own);
    let look = home.store.forget_look(ann).await.unwrap();
    let mut own: Vec<_> = look.conversations.iter().map(|conversation| (conversation.id, conversation.own)).collect();
    own.sort();
    let mut wanted = vec![(hers, true), (his_own, true)];
    wanted.sort();
    assert_eq!((own, look.messages), (wanted, 3));

    let parted = home.store.unlink_profile(profile(&home, "web", "7").await).await.unwrap().unwrap();
    let look = home.store.forget_look(ann).await.unwrap();
    let stays = look.conversations.iter().find(|conversation| conversation.id == hers).unwrap();
    assert!(!stays.own, "somebody else's message is in it by now");
    forget(&home, ann).await;
    assert_eq!(home.store.user(ann).await.unwrap(), None);
    assert_eq!(home.store.messages_of_user(parted.user_id).await.unwrap().values().sum::<i64>(), 2);
    sound(&home).await;
    forget(&home, parted.user_id).await;
    for table in ["users", "profiles", "messages", "conversations", "past_users", "link_codes"] {
        assert_eq!(home.number(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
}

/// Accounts are linked and parted while they write: every message is there once, in a queue that comes to its end.
async fn links_that_come_and_go_lose_nothing(home: Home) {
    const PEOPLE: [&str; 4] = ["a", "b", "c", "d"];
    const EACH: usize = 30;
    for person in PEOPLE {
        home.accept(says(person, "first")).await;
    }
    let writers = PEOPLE.map(|person| {
        let store = home.store.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                let message = NewMessage { scope: Scope::User, ..says(person, &format!("{n}")) };
                while store.ingest(message.clone()).await.is_err() {
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    for round in 0..40 {
        let (one, two) = (PEOPLE[round % 4], PEOPLE[(round + 1 + round / 4 % 3) % 4]);
        let (one, two) = (user(&home, "cli", one).await, user(&home, "cli", two).await);
        let linked = home.store.link_users(one, two).await.unwrap();
        assert!(matches!(linked, Ok(_) | Err(CannotLink::Same)), "{linked:?}");
        if round % 2 == 1 {
            let parted = home.store.unlink_profile(profile(&home, "cli", PEOPLE[round % 4]).await).await.unwrap();
            assert!(matches!(parted, Ok(_) | Err(CannotLink::OnlyAccount)), "{parted:?}");
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let me = worker("w");
    let mut texts = Vec::new();
    let due = "UPDATE conversations SET wake_at = 1 WHERE head < tail";
    home.sql(due).await;
    while let Some(wake) = home.store.wake_due(1, Duration::ZERO).await.unwrap().pop() {
        let lease = home.hold(wake.message, &me).await;
        let turn = home.start(&lease, &me).await;
        texts.push(lease.pending[0].text.clone());
        done(home.store.finish(crate::home::ends(&lease, Some(turn), silent())).await.unwrap());
        home.store.release(lease.conversation, lease.epoch).await.unwrap();
        home.sql(due).await;
    }
    assert_eq!(texts.len(), PEOPLE.len() * (EACH + 1), "each message once");
    sound(&home).await;
}
