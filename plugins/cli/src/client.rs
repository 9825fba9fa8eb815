//! The terminal's side: one message and its answer, or a conversation.

use std::{io, path::PathBuf, time::Duration};

use broca_core::{MessageId, MessageState, retry::Budget};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};

use crate::{
    chat::{Chat, ChatOptions, ChatSummary},
    exchange::{Event, Exchange},
};

/// Why a terminal could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// A matter of exit code 6 (unavailable).
    #[error("no cli plugin listens at {}: start `broca up` or `broca plugin run cli`", .0.display())]
    NobodyListens(PathBuf),
    #[error("{}: {source}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    /// The plugin does not talk to this terminal, e.g. because it is of another version.
    #[error("the cli plugin refused this terminal: {0}")]
    Refused(String),
    #[error("cannot read the input: {0}")]
    Input(io::Error),
    #[error("cannot write: {0}")]
    Output(io::Error),
}

/// What became of a message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    Answered {
        message_id: MessageId,
        text: String,
    },
    /// The message is over and has no answer: failed, stored, suppressed, cancelled, or the agent had nothing to say.
    Ended {
        message_id: MessageId,
        state: MessageState,
        reason: Option<String>,
    },
    /// Nothing was accepted, and the sentence says why.
    Refused(String),
    /// No answer yet. With an id the message is accepted and goes on without this terminal.
    TimedOut {
        message_id: Option<MessageId>,
    },
}

/// A terminal of one person.
#[derive(Clone, Debug)]
pub struct Terminal {
    socket: PathBuf,
    user: String,
}

impl Terminal {
    /// A terminal at which `user` writes; nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>, user: impl Into<String>) -> Self {
        Self { socket: socket.into(), user: user.into() }
    }

    /// Sends one message and waits for its answer, at most `timeout`. A plugin that goes away meanwhile is waited
    /// for and told again; the message stays one message.
    ///
    /// # Errors
    /// [`TerminalError::NobodyListens`] when no plugin is there at the start.
    pub async fn send(&self, text: &str, timeout: Duration) -> Result<SendOutcome, TerminalError> {
        self.send_within(text, None, timeout).await
    }

    /// The same; an answer is tried for as often and as long as `budget` says.
    ///
    /// # Errors
    /// [`TerminalError::NobodyListens`] when no plugin is there at the start.
    pub async fn send_within(
        &self,
        text: &str,
        budget: Option<Budget>,
        timeout: Duration,
    ) -> Result<SendOutcome, TerminalError> {
        let deadline = Instant::now() + timeout;
        let mut exchange = Exchange::open(self.socket.clone(), self.user.clone(), false).await?;
        if let Err(reason) = exchange.push(text.to_owned(), budget) {
            return Ok(SendOutcome::Refused(reason));
        }
        let outcome = end_of_one(&mut exchange, deadline).await?;
        exchange.finish().await;
        Ok(outcome)
    }

    /// Talks until the input ends or says `/quit`. Answers go to `output`, everything else to `notes`; use
    /// [`crate::Keyboard`] as `input` in a process. Control characters in answers are left out.
    ///
    /// # Errors
    /// [`TerminalError::NobodyListens`] when no plugin is there at the start; one that goes away later is waited for.
    pub async fn chat<R, W, N>(
        &self,
        input: R,
        output: W,
        notes: N,
        options: ChatOptions,
    ) -> Result<ChatSummary, TerminalError>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
        N: AsyncWrite + Unpin + Send,
    {
        let exchange = Exchange::open(self.socket.clone(), self.user.clone(), true).await?;
        Chat::new(exchange, &self.user, output, notes, options).run(input).await
    }
}

async fn end_of_one(exchange: &mut Exchange, deadline: Instant) -> Result<SendOutcome, TerminalError> {
    let mut accepted = None;
    loop {
        let Ok(event) = timeout_at(deadline, exchange.next()).await else {
            return Ok(SendOutcome::TimedOut { message_id: accepted });
        };
        match event? {
            Event::Accepted(message_id) => accepted = Some(message_id),
            Event::Answer { message_id, text } => return Ok(SendOutcome::Answered { message_id, text }),
            Event::Ended { message_id, state, reason } => {
                return Ok(SendOutcome::Ended { message_id, state, reason });
            }
            Event::Refused(reason) => return Ok(SendOutcome::Refused(reason)),
            Event::Unavailable(reason) => tracing::info!(reason, "not accepted yet; trying again"),
            Event::Lost => tracing::info!("the plugin went away; waiting for it"),
            Event::Back | Event::History(_) => {}
        }
    }
}
