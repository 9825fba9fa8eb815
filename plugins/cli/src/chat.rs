//! A conversation, typed or piped.

use std::{future::pending, time::Duration};

use broca_core::MessageState;
use broca_plugin::HistoryEntry;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until},
};

use crate::{
    TerminalError,
    exchange::{Event, Exchange},
    lines::{Line, LineReader},
    protocol::MAX_REQUEST_BYTES,
};

/// Messages without an end at a time; more input is read when there are fewer.
const WINDOW: usize = 32;
/// Messages of history at the start, and for `/history`.
const HISTORY_AT_START: u32 = 10;
const HISTORY_ASKED: u32 = 50;

/// How a chat reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatStyle {
    /// A person types: history at the start, a prompt, `/quit` and `/history`, and the end of input (Ctrl-D) leaves
    /// at once; answers that are still due are in the history next time.
    Interactive,
    /// A program writes: every line is a message, answers alone are written, and the end of input waits for those
    /// that are missing.
    Piped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatOptions {
    pub style: ChatStyle,
    /// How long a piped chat waits after the end of its input, counted from the last thing it heard.
    pub patience: Duration,
}

/// What became of the messages of a chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatSummary {
    pub answered: usize,
    /// Refused, failed, suppressed or cancelled, or a line that is no text.
    pub failed: usize,
    /// Still open when the chat ended.
    pub open: usize,
}

#[derive(Debug)]
pub(crate) struct Chat<'a, W, N> {
    exchange: Exchange,
    user: &'a str,
    output: W,
    notes: N,
    options: ChatOptions,
    summary: ChatSummary,
    /// When waiting ends, once the input has.
    give_up_at: Option<Instant>,
    /// The same trouble is told once.
    unavailable: bool,
}

impl<'a, W, N> Chat<'a, W, N>
where
    W: AsyncWrite + Unpin + Send,
    N: AsyncWrite + Unpin + Send,
{
    pub(crate) fn new(exchange: Exchange, user: &'a str, output: W, notes: N, options: ChatOptions) -> Self {
        let summary = ChatSummary::default();
        Self { exchange, user, output, notes, options, summary, give_up_at: None, unavailable: false }
    }

    pub(crate) async fn run<R: AsyncRead + Unpin + Send>(mut self, input: R) -> Result<ChatSummary, TerminalError> {
        let mut lines = LineReader::new(input, MAX_REQUEST_BYTES);
        if self.interactive() {
            self.note("/history shows more, /quit or Ctrl-D leaves").await?;
            self.exchange.ask_history(HISTORY_AT_START);
        }
        loop {
            let reading = self.give_up_at.is_none();
            if !reading && self.exchange.open_messages() == 0 {
                break;
            }
            let give_up_at = self.give_up_at;
            tokio::select! {
                line = lines.next(), if reading && self.exchange.open_messages() < WINDOW => {
                    let stays = match line.map_err(TerminalError::Input)? {
                        Some(line) => self.hear(line).await?,
                        None => false,
                    };
                    if !stays && self.interactive() {
                        break;
                    }
                    if !stays {
                        self.give_up_at = Some(Instant::now() + self.options.patience);
                    }
                }
                event = self.exchange.next() => {
                    let event = event?;
                    if self.give_up_at.is_some() && !matches!(event, Event::Lost | Event::Unavailable(_)) {
                        self.give_up_at = Some(Instant::now() + self.options.patience);
                    }
                    self.show(event).await?;
                }
                () = until(give_up_at) => break,
            }
        }
        if self.interactive() {
            write(&mut self.output, "\n", ChatStyle::Piped).await?;
        }
        self.summary.open = self.exchange.open_messages();
        self.exchange.finish().await;
        Ok(self.summary)
    }

    fn interactive(&self) -> bool {
        self.options.style == ChatStyle::Interactive
    }

    /// Takes a line of input. False when the person wants to leave.
    async fn hear(&mut self, line: Line) -> Result<bool, TerminalError> {
        let text = match line {
            Line::Text(text) => text,
            Line::NotUtf8 => {
                self.fail("this line is not UTF-8 and was not sent: convert it first").await?;
                return Ok(true);
            }
            Line::TooLong { bytes } => {
                let limit = MAX_REQUEST_BYTES;
                let note = format!("this line has {bytes} bytes, more than the limit of {limit}: send it in parts");
                self.fail(&note).await?;
                return Ok(true);
            }
        };
        match text.trim() {
            "" => {}
            "/quit" if self.interactive() => return Ok(false),
            "/history" if self.interactive() => self.exchange.ask_history(HISTORY_ASKED),
            _ => {
                if let Err(reason) = self.exchange.push(text, None) {
                    self.fail(&reason).await?;
                }
            }
        }
        self.prompt().await?;
        Ok(true)
    }

    async fn show(&mut self, event: Event) -> Result<(), TerminalError> {
        match event {
            Event::Accepted(_) => {
                self.unavailable = false;
                Ok(())
            }
            Event::Answer { text, .. } => {
                self.summary.answered += 1;
                self.print(&text).await
            }
            Event::Ended { state, reason, .. } => self.ended(state, reason.as_deref()).await,
            Event::Refused(reason) => self.fail(&format!("not accepted: {reason}")).await,
            Event::Unavailable(_) if self.unavailable => Ok(()),
            Event::Unavailable(reason) => {
                self.unavailable = true;
                self.note(&format!("not accepted yet, trying again: {reason}")).await
            }
            Event::Lost => self.note("the plugin went away; waiting for it").await,
            Event::Back => self.note("connected again").await,
            Event::History(items) => self.history(&items).await,
        }
    }

    async fn ended(&mut self, state: MessageState, reason: Option<&str>) -> Result<(), TerminalError> {
        let because = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        match state {
            MessageState::Completed => self.note("the agent had nothing to say").await,
            MessageState::Stored => self.note("stored without an answer").await,
            state => self.fail(&format!("{state}{because}")).await,
        }
    }

    async fn history(&mut self, items: &[HistoryEntry]) -> Result<(), TerminalError> {
        let mut text = String::new();
        for item in items {
            text.push_str(&format!("{}: {}\n", self.user, printable(&item.text)));
            match &item.answer {
                Some(answer) => text.push_str(&format!("agent: {}\n", printable(answer))),
                None => text.push_str(&format!("({})\n", item.state)),
            }
        }
        write(&mut self.output, &text, self.options.style).await?;
        self.prompt().await
    }

    async fn print(&mut self, answer: &str) -> Result<(), TerminalError> {
        let speaker = if self.interactive() { "agent: " } else { "" };
        let text = format!("{speaker}{}\n", printable(answer));
        write(&mut self.output, &text, self.options.style).await?;
        self.prompt().await
    }

    async fn fail(&mut self, note: &str) -> Result<(), TerminalError> {
        self.summary.failed += 1;
        self.note(note).await
    }

    async fn note(&mut self, note: &str) -> Result<(), TerminalError> {
        let text = format!("[{}]\n", printable(note));
        write(&mut self.notes, &text, self.options.style).await?;
        self.prompt().await
    }

    async fn prompt(&mut self) -> Result<(), TerminalError> {
        if !self.interactive() {
            return Ok(());
        }
        let prompt = format!("{}> ", self.user);
        write(&mut self.output, &prompt, self.options.style).await
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// A person's line is cleared first, so that no second prompt is left standing. What they are typing stays in the
/// terminal's own buffer and is sent whole, even when an answer is printed over it.
async fn write<W: AsyncWrite + Unpin>(to: &mut W, text: &str, style: ChatStyle) -> Result<(), TerminalError> {
    let clear = if style == ChatStyle::Interactive { "\r\x1b[K" } else { "" };
    to.write_all(format!("{clear}{text}").as_bytes()).await.map_err(TerminalError::Output)?;
    to.flush().await.map_err(TerminalError::Output)
}

/// An answer is text from outside: it must not move the cursor, rename the window or worse.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
