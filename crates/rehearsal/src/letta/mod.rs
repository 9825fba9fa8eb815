//! A scripted Letta server, for the demo and for tests: no model, no database, the real wire format.
//!
//! It serves the conversations part of Letta's REST API v1 as server 0.16.8 does, with the habits that matter to a
//! client: keys (`otid`) are recognised only in background streams and only with Redis; one turn at a time in a
//! conversation, and 409 for the rest; nothing is stored before a turn's first step is over; a failed turn is
//! replayed under its key; runs that were under way when the server died stay `running` for ever, and their streams
//! ping for ever. A [`LettaScript`] says how long turns take and what goes wrong; so may a marker in a message's text,
//! `#letta(drop_after=2)`.
//!
//! The turn log has one line for every turn that really ran. It is the truth that a test holds a pipeline against.

mod blocks;
mod feed;
mod journal;
mod play;
mod rows;
mod script;
mod state;
mod talk;
mod wire;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State as Shelf},
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::Response,
    routing::{delete, get, patch, post},
    serve::ListenerExt,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

pub use script::{Behaviour, LettaScript, UnknownBehaviour};
use state::State;
pub use state::{ShownImage, TurnLine};

/// A server that runs inside this process until it is killed or dropped.
#[derive(Debug)]
pub struct ScriptedLetta {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<io::Result<()>>,
}

impl ScriptedLetta {
    /// Starts a server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port, or one of the script's files cannot be read or opened.
    pub async fn start(script: LettaScript) -> io::Result<Self> {
        Self::on(TcpListener::bind(("127.0.0.1", 0)).await?, script)
    }

    /// Starts a server on a listener, e.g. to come back on the address of one that was killed.
    ///
    /// # Errors
    /// One of the script's files cannot be read or opened.
    pub fn on(listener: TcpListener, script: LettaScript) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(script)?);
        let serving = tokio::spawn(run(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, serving })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happens to the next message that nothing else is scripted for.
    pub fn push(&self, behaviour: Behaviour) {
        self.shared.lock().script.behaviours.push_back(behaviour);
    }

    /// Changes the script while the server runs.
    pub fn script(&self, change: impl FnOnce(&mut LettaScript)) {
        change(&mut self.shared.lock().script);
    }

    /// Every turn that really ran, in the order in which they ended.
    pub fn turns(&self) -> Vec<TurnLine> {
        self.shared.lock().turns.clone()
    }

    /// Messages of users that arrived, refused and repeated ones included.
    pub fn arrived(&self) -> usize {
        self.shared.lock().arrived
    }

    /// The conversations that are there.
    pub fn conversations(&self) -> Vec<String> {
        self.shared.lock().conversations.keys().cloned().collect()
    }

    /// The blocks that are there.
    pub fn blocks(&self) -> Vec<String> {
        self.shared.lock().shelves.ids()
    }

    /// The identities, with their keys.
    pub fn identities(&self) -> BTreeMap<String, String> {
        self.shared.lock().shelves.identities.clone()
    }

    /// The blocks that are attached to agents.
    pub fn attached(&self) -> Vec<String> {
        self.shared.lock().shelves.attached.iter().map(|(_, block)| block.clone()).collect()
    }

    /// Somebody gives an agent a block, as Letta's own page does.
    pub fn attach(&self, agent: &str, label: &str, value: &str) -> String {
        let (id, mut state) = (wire::id("block"), self.shared.lock());
        let (label, value) = (label.to_owned(), value.to_owned());
        state.record(journal::Entry::Block(blocks::Change::Made { id: id.clone(), label, value }));
        state.record(journal::Entry::Block(blocks::Change::Attached { agent: agent.to_owned(), id: id.clone() }));
        id
    }

    /// Somebody deletes a conversation.
    pub fn delete_conversation(&self, id: &str) {
        self.shared.lock().record(journal::Entry::Deleted { conversation: id.to_owned() });
    }

    /// What a Redis does that loses its memory, or three hours.
    pub fn forget_keys(&self) {
        self.shared.lock().keys.clear();
    }

    /// Ends the server as `kill -9` does: streams break, turns under way go no further. Returns when the port is free.
    pub async fn kill(mut self) {
        self.die().await;
    }

    /// The same; what it remembers can still be asked.
    pub async fn die(&mut self) {
        self.shared.stopped.send_replace(true);
        match (&mut self.serving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the scripted Letta ended with an error"),
            Err(error) => tracing::error!(%error, "the scripted Letta was ended"),
        }
    }
}

impl Drop for ScriptedLetta {
    fn drop(&mut self) {
        self.shared.stopped.send_replace(true);
        self.serving.abort();
    }
}

/// Serves until the process ends.
///
/// # Errors
/// One of the script's files cannot be read or opened, or the listener failed.
pub async fn serve(listener: TcpListener, script: LettaScript) -> io::Result<()> {
    run(listener, Arc::new(Shared::new(script)?)).await
}

/// What the server's parts share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// True once the server was killed.
    stopped: watch::Sender<bool>,
}

impl Shared {
    fn new(script: LettaScript) -> io::Result<Self> {
        Ok(Self { state: Mutex::new(State::new(script)?), stopped: watch::Sender::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let router = Router::new()
        .route("/v1/health/", get(rows::health))
        .route("/v1/agents/{id}", get(rows::agent))
        .route("/v1/agents/{id}/core-memory/blocks", get(blocks::list))
        .route("/v1/agents/{id}/core-memory/blocks/attach/{block}", patch(blocks::attach))
        .route("/v1/agents/{id}/core-memory/blocks/detach/{block}", patch(blocks::detach))
        .route("/v1/blocks/", post(blocks::create))
        .route("/v1/identities/", get(blocks::identities).put(blocks::identify))
        .route("/v1/identities/{id}", delete(blocks::delete_identity))
        .route("/v1/blocks/{id}", delete(blocks::delete))
        .route("/v1/conversations/", get(rows::conversations).post(rows::create_conversation))
        .route("/v1/conversations/{id}", get(rows::conversation).delete(rows::delete_conversation))
        .route("/v1/conversations/{id}/messages", get(rows::conversation_messages).post(talk::say))
        .route("/v1/conversations/{id}/stream", post(talk::resume_conversation))
        .route("/v1/conversations/{id}/cancel", post(talk::cancel))
        .route("/v1/conversations/{id}/recompile", post(blocks::recompile))
        .route("/v1/runs/", get(rows::runs))
        .route("/v1/runs/{id}", get(rows::run))
        .route("/v1/runs/{id}/messages", get(rows::run_messages))
        .route("/v1/runs/{id}/usage", get(rows::run_usage))
        .route("/v1/runs/{id}/stream", post(talk::resume_run))
        .layer(DefaultBodyLimit::max(32 << 20))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), at_the_door))
        .with_state(Arc::clone(&shared));
    let mut stopped = shared.stopped.subscribe();
    // As Python's servers do: events are small, and must not wait for the acknowledgement of the one before.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended before it began");
        }
    });
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            // The sender lives as long as the router, so this ends when it says so.
            if stopped.wait_for(|stopped| *stopped).await.is_err() {
                tracing::debug!("the scripted Letta was dropped");
            }
        })
        .await
}

/// Nobody without the key gets in, and a killed server answers nobody.
async fn at_the_door(Shelf(shared): Shelf<Arc<Shared>>, request: Request, next: Next) -> Response {
    let expected = shared.lock().script.api_key.as_ref().map(|key| format!("Bearer {key}"));
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if expected.is_some() && expected.as_deref() != given && request.uri().path() != "/v1/health/" {
        return wire::detail(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    let mut stopped = shared.stopped.subscribe();
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stopped| *stopped) => cut(),
        response = next.run(request) => response,
    }
}

/// Closes the connection without an answer: the server's task for it ends here, quietly.
fn cut() -> ! {
    std::panic::resume_unwind(Box::new("connection cut by the script"))
}
