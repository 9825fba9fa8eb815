//! `inbox` and `outbox`: another program answers beside or instead of Broca's own agents, e.g. where the instance's route
//! only listens.

use broca_core::{Clock, MessageId, ResponseKind, SystemClock};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    api::Call,
    asked::checked_session,
    reply::{Done, Outcome, Refused},
    store::Visitor,
};
use crate::wire::iso;

/// Messages that nobody answered and no reply had. They count as fetched before the reply is sent.
pub(super) async fn inbox(call: Call) -> Outcome {
    let page = call.asked.page()?;
    let since = call.asked.since()?;
    let mut unread = call.shared.store.see(|book| {
        let all =
            book.sessions.iter().flat_map(|(name, session)| session.unread().map(move |said| (name, session, said)));
        let wanted = all.filter(|(.., said)| since.is_none_or(|since| said.at > since));
        let shown = wanted.map(|(name, session, said)| {
            let message = json!({
                "id": said.id, "session_id": name, "message": said.text, "timestamp": iso(said.at), "uid": session.uid,
            });
            (said.id, name.clone(), message)
        });
        shown.collect::<Vec<_>>()
    });
    unread.sort_by_key(|(id, ..)| *id);
    let (cut, pagination) = page.cut(unread);
    let handed: Vec<(String, u64)> = cut.iter().map(|(id, session, _)| (session.clone(), *id)).collect();
    call.shared.store.handed(&handed).await?;
    let messages: Vec<Value> = cut.into_iter().map(|(.., message)| message).collect();
    Ok(Done::new("Messages retrieved successfully", json!({"messages": messages, "pagination": pagination})))
}

#[derive(Debug, Deserialize)]
struct Answered {
    session_id: String,
    response: String,
    #[serde(default)]
    message_id: Value,
}

/// An answer of that program's.
pub(super) async fn outbox(call: Call) -> Outcome {
    let answered: Answered = call.json()?;
    let name = checked_session(&answered.session_id)?;
    if answered.response.trim().is_empty() {
        return Err(Refused::bad("Missing required fields: the response is empty"));
    }
    let now = SystemClock.now().micros();
    let timeout = call.shared.session_timeout_us();
    let known = call.shared.store.session(name, |session| {
        let is_active = session.last_active.micros() >= now.saturating_sub(timeout);
        (is_active, Visitor { session: name.to_owned(), uid: session.uid.clone(), address: session.address.clone() })
    });
    let Some((true, visitor)) = known else { return Err(Refused::bad("Invalid or expired session")) };
    let asked = answered.message_id.as_u64().or_else(|| answered.message_id.as_str()?.parse().ok());
    // Without a word of which message it answers, it is the oldest that waits.
    let key = format!("outbox/{}", MessageId::new());
    let link = |session: &super::book::Session| match asked {
        Some(id) => session.said.contains_key(&id).then_some(id),
        None => session.open().next().map(|said| said.id),
    };
    let (id, at) = call.shared.store.told(&visitor, (&key, ResponseKind::Answer), link, &answered.response).await?;
    let data = json!({"response_id": id, "session_id": name, "timestamp": iso(at)});
    Ok(Done::new("Response sent successfully", data))
}
