//! The terminal's side: one message and its answer, or a conversation.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use broca_core::{MessageId, MessageState};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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

/// How a chat reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatStyle {
    /// A person types: history at the start, a prompt, the end of input (Ctrl-D) leaves at once.
    Interactive,
    /// A program writes: answers alone on the output; the end of input waits for the missing answers.
    Piped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatOptions {
    pub style: ChatStyle,
    /// How long a piped chat waits after the end of its input, counted from the last sign of life of any message.
    pub patience: Duration,
}

/// What became of the messages of a chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatSummary {
    pub answered: usize,
    /// Refused, or over without an answer although one was due (failed, suppressed, cancelled), or not text.
    pub failed: usize,
    /// Still open when the chat ended.
    pub open: usize,
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

    /// Sends one message and waits for its answer, at most `timeout`.
    ///
    /// # Errors
    /// [`TerminalError::NobodyListens`] when no plugin is there at the start.
    pub async fn send(&self, _text: &str, _timeout: Duration) -> Result<SendOutcome, TerminalError> {
        Err(TerminalError::NobodyListens(self.socket.clone()))
    }

    /// Talks until the input ends or says `/quit`. Answers go to `output`, everything else to `notes`.
    ///
    /// # Errors
    /// [`TerminalError::NobodyListens`] when no plugin is there at the start; later losses are waited for.
    pub async fn chat<R, W, N>(
        &self,
        _input: R,
        _output: W,
        _notes: N,
        _options: ChatOptions,
    ) -> Result<ChatSummary, TerminalError>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
        N: AsyncWrite + Unpin + Send,
    {
        Err(TerminalError::Refused(self.user.clone()))
    }
}

/// Standard input for [`Terminal::chat`]: unlike tokio's, a read that never ends does not keep the process alive.
#[derive(Debug)]
pub struct Keyboard;

impl Keyboard {
    /// Starts to read the standard input; call it once.
    pub fn stdin() -> Self {
        Self
    }
}

impl AsyncRead for Keyboard {
    fn poll_read(self: Pin<&mut Self>, _cx: &mut Context<'_>, _buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
