//! A person is forgotten: all that is kept of them goes, and only numbers stay.
//!
//! In steps, each of which may be repeated: nothing of theirs is begun any more ([`quieten`]), the agents' side is
//! deleted by whoever speaks with agents, then the rows go, the person last ([`remove`]). Who is killed between any
//! two runs it again. A copy in the dead-letter stream, and a file in the object store, is dropped before the row that
//! tells where it lies.

use std::time::{Duration, Instant};

use broca_bus::{Bus, BusError};
use broca_core::{ConversationId, HoldId, UserId, subject};
use broca_store::{
    ForgetEnd, ForgetItem, Forgotten, HoldSubject, NewHold, PersonData, PutOn, Removed, Store, StoreError,
};

/// Messages of one transaction.
const BATCH: u32 = 200;
/// How often one looks whether what was begun has ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// If nobody ever comes back to end it, the person may go on after this long.
const HOLD: Duration = Duration::from_secs(3_600);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Forget {
    pub user: UserId,
    pub actor: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// How long to wait for what is in a turn or in delivery.
    pub wait: Duration,
    /// How long an event of theirs is known again after its message was accepted.
    pub dedupe: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    #[error(
        "of their messages {} are in a turn and {} answers in delivery, and {} copies of dead letters are on their way to the broker",
        .0.in_turn, .0.in_delivery, .0.copies_owed
    )]
    Busy(Box<PersonData>),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Forget {
    fn because(&self) -> String {
        let why = self.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("the person is forgotten by {}{why}", self.actor)
    }
}

/// Cancels what waits, and waits for the end of what was begun. From then on, a hold keeps anything else from being
/// begun. Says what is left.
///
/// # Errors
/// [`ForgetError::Busy`] when something does not end in time; the hold is taken off again.
pub async fn quieten(store: &Store, forget: &Forget) -> Result<PersonData, ForgetError> {
    let hold = put_hold(store, forget).await?;
    let deadline = Instant::now() + forget.wait;
    loop {
        let waiting = store.forget_waiting(forget.user, BATCH).await?;
        for message in &waiting {
            store.cancel(*message, &forget.because()).await?;
        }
        let data = store.forget_look(forget.user).await?;
        if is_quiet(&data) {
            let agents = &data.agent_conversations;
            store.forget_begin(forget.user, &forget.actor, forget.reason.as_deref(), agents).await?;
            return Ok(data);
        }
        if Instant::now() >= deadline {
            if let Some(hold) = hold {
                // What is not settled here, the workers settle.
                store.release_hold(hold, &forget.actor).await?;
            }
            return Err(ForgetError::Busy(Box::new(data)));
        }
        if waiting.len() < BATCH as usize {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// `None` when somebody else keeps the person back already.
async fn put_hold(store: &Store, forget: &Forget) -> Result<Option<HoldId>, StoreError> {
    let hold = NewHold {
        subject: HoldSubject::User(forget.user),
        reason: "is being forgotten".to_owned(),
        actor: forget.actor.clone(),
        life: Some(HOLD),
    };
    Ok(match store.put_hold(hold).await? {
        PutOn::New(hold) => Some(hold.id),
        PutOn::Already(_) => None,
    })
}

/// What waits for its turn is kept back by the hold, and the end takes it along: in a flood there is always some.
fn is_quiet(data: &PersonData) -> bool {
    data.in_turn + data.in_delivery + data.copies_owed + data.answers_waiting == 0
}

/// Removes everything, the person last. `own` are the conversations that nobody else is in.
///
/// # Errors
/// [`ForgetError::Busy`] when something of theirs was begun all the same. Whatever was removed stays removed: run
/// it again.
pub async fn remove(
    store: &Store,
    bus: &Bus,
    forget: &Forget,
    own: &[ConversationId],
) -> Result<Forgotten, ForgetError> {
    let deadline = Instant::now() + forget.wait;
    loop {
        let items = store.forget_next(forget.user, BATCH).await?;
        let removed = some(store, bus, forget, &items).await?;
        // Nothing is over any more: the end cancels what came meanwhile.
        let end = match removed.messages {
            0 => store.forget_end(forget.user, own, forget.dedupe, &forget.because()).await?,
            _ => ForgetEnd::More,
        };
        match end {
            ForgetEnd::Done => break,
            ForgetEnd::More => {}
            ForgetEnd::Busy if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            ForgetEnd::Busy => {
                return Err(ForgetError::Busy(Box::new(store.forget_look(forget.user).await?)));
            }
        }
    }
    let record = store.forgotten(forget.user).await?;
    record.ok_or_else(|| StoreError::Unreadable("the record of a forgotten person is gone".to_owned()).into())
}

async fn some(store: &Store, bus: &Bus, forget: &Forget, items: &[ForgetItem]) -> Result<Removed, ForgetError> {
    if items.is_empty() {
        return Ok(Removed::default());
    }
    for item in items.iter().filter(|item| item.copied) {
        let copies = subject::dead_letters_of(&item.instance, item.message);
        bus.purge(subject::STREAM_DLQ, &copies).await?;
    }
    for item in items {
        for object in &item.objects {
            bus.drop_object(&subject::files_bucket(&item.instance), object).await?;
        }
    }
    let messages: Vec<_> = items.iter().map(|item| item.message).collect();
    Ok(store.forget_remove(forget.user, &messages, forget.dedupe).await?)
}
