//! The process: its group, its three pipes, its end.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::ChildStdin,
    sync::mpsc,
    task::JoinSet,
};

use crate::{
    Launch, Program,
    protocol::{self, FromChild, ToChild},
};

/// Bytes in one line that a program writes: an answer of the longest kind fits many times.
pub(crate) const LINE_BYTES: usize = 4 << 20;
/// Of its standard error; a longer line comes in pieces.
const NOTE_BYTES: usize = 8 << 10;
/// Lines that wait to be read, and to be written.
const QUEUE: usize = 64;
/// A program that takes nothing from its input for so long hangs.
const WRITE_PATIENCE: Duration = Duration::from_secs(20);
/// Between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// What was read of it.
#[derive(Debug)]
pub(crate) enum Heard {
    Line(Box<FromChild>),
    /// Why it means nothing.
    Garbage(&'static str),
}

/// The way to its standard input.
#[derive(Clone, Debug)]
pub(crate) struct Ear(mpsc::Sender<ToWrite>);

#[derive(Debug)]
struct ToWrite {
    line: String,
    begun: Option<Arc<AtomicBool>>,
}

/// Nobody reads it any more.
#[derive(Debug)]
pub(crate) struct Deaf;

impl Ear {
    /// Waits for its place in the line. `begun` is set before the first byte is written.
    pub(crate) async fn say(&self, message: &ToChild, begun: Option<Arc<AtomicBool>>) -> Result<(), Deaf> {
        let line = protocol::write(message).map_err(|_| Deaf)?;
        self.0.send(ToWrite { line, begun }).await.map_err(|_| Deaf)
    }

    /// Says it if there is a place for it now: a courtesy.
    pub(crate) fn mention(&self, message: &ToChild) {
        if let Ok(line) = protocol::write(message)
            && self.0.try_send(ToWrite { line, begun: None }).is_err()
        {
            tracing::debug!("the program is busy or gone: a courtesy was left out");
        }
    }
}

/// A running child. Dropping it kills its whole group.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) process: tokio::process::Child,
    group: Group,
    pub(crate) heard: mpsc::Receiver<Heard>,
    pub(crate) ear: Ear,
    /// Ends when its input breaks, or is not read for too long.
    pub(crate) writer: JoinSet<&'static str>,
    readers: JoinSet<()>,
}

impl Child {
    /// # Errors
    /// Why it cannot be started, as a sentence.
    pub(crate) fn start(program: &Program, launch: Launch) -> Result<Self, String> {
        let command = program.command(launch).map_err(|error| error.to_string())?;
        let mut process = tokio::process::Command::from(command)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", program.name()))?;
        let group = Group(process.id());
        let (said, heard) = mpsc::channel(QUEUE);
        let (ear, lines) = mpsc::channel(QUEUE);
        let (mut writer, mut readers) = (JoinSet::new(), JoinSet::new());
        if let Some(stdin) = process.stdin.take() {
            writer.spawn(write(stdin, lines));
        }
        if let Some(stdout) = process.stdout.take() {
            readers.spawn(listen(stdout, said));
        }
        if let Some(stderr) = process.stderr.take() {
            readers.spawn(note(stderr));
        }
        Ok(Self { process, group, heard, ear: Ear(ear), writer, readers })
    }

    /// Ends it and all that it started: at once if it is over, else by SIGTERM, and SIGKILL for who does not hear.
    pub(crate) async fn end(mut self) -> String {
        // Its input ends, too: that is how many programs are told to stop.
        self.writer.abort_all();
        let mut ended = self.process.try_wait().ok().flatten();
        if ended.is_none() {
            self.group.signal(Signal::SIGTERM);
            ended = tokio::time::timeout(TERM_GRACE, self.process.wait()).await.ok().and_then(Result::ok);
        }
        if ended.is_none() {
            self.group.signal(Signal::SIGKILL);
            ended = self.process.wait().await.ok();
        }
        self.readers.abort_all();
        ended.map_or_else(|| "it cannot be waited for".to_owned(), |status| status.to_string())
    }
}

/// A child's process group, killed when this is dropped: what the child itself started and left behind.
#[derive(Debug)]
struct Group(Option<u32>);

impl Group {
    fn signal(&self, signal: Signal) {
        let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) else { return };
        // Whoever is gone needs no signal.
        if let Err(error) = killpg(Pid::from_raw(id), signal) {
            tracing::trace!(%error, "no such process group");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<ToWrite>) -> &'static str {
    while let Some(ToWrite { line, begun }) = lines.recv().await {
        if let Some(begun) = begun {
            begun.store(true, Ordering::Release);
        }
        match tokio::time::timeout(WRITE_PATIENCE, stdin.write_all(line.as_bytes())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return "it closed its input",
            Err(_) => return "it does not read its input",
        }
    }
    "nothing more is said to it"
}

async fn listen(stdout: impl AsyncRead + Unpin, said: mpsc::Sender<Heard>) {
    let mut reader = BufReader::new(stdout);
    while let Some(line) = next_line(&mut reader, LINE_BYTES).await {
        let heard = match line {
            Ok(line) => match std::str::from_utf8(&line).map(str::trim_end) {
                Ok("") => continue,
                Ok(line) => protocol::read(line).map_or_else(Heard::Garbage, |line| Heard::Line(Box::new(line))),
                Err(_) => Heard::Garbage("no UTF-8"),
            },
            Err(TooLong) => Heard::Garbage("too long"),
        };
        if said.send(heard).await.is_err() {
            return;
        }
    }
}

/// What it writes to its standard error is for the log.
async fn note(stderr: impl AsyncRead + Unpin) {
    let mut reader = BufReader::with_capacity(NOTE_BYTES, stderr);
    loop {
        let piece = match reader.fill_buf().await {
            Ok([]) | Err(_) => return,
            Ok(bytes) => bytes.len(),
        };
        let mut line = Vec::with_capacity(piece);
        let mut bounded = tokio::io::AsyncReadExt::take(&mut reader, NOTE_BYTES as u64);
        if bounded.read_until(b'\n', &mut line).await.is_err() {
            return;
        }
        let line = String::from_utf8_lossy(&line);
        if !line.trim_end().is_empty() {
            tracing::info!(target: "plugin::stderr", "{}", line.trim_end());
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct TooLong;

/// The next line, or that it was longer than `most` bytes, which are then skipped; `None` at the end.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin), most: usize) -> Option<Result<Vec<u8>, TooLong>> {
    let (mut line, mut too_long) = (Vec::new(), false);
    loop {
        let piece = match reader.fill_buf().await {
            Ok(piece) if !piece.is_empty() => piece,
            // A line without an end is half of one.
            _ => return None,
        };
        let end = piece.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(piece.len(), |at| at + 1);
        too_long |= line.len() + taken > most;
        if !too_long {
            line.extend_from_slice(&piece[..taken]);
        }
        reader.consume(taken);
        if end.is_some() {
            return Some(if too_long { Err(TooLong) } else { Ok(line) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped_and_the_next_is_read() {
        let text = format!("one\n{}\ntwo\nhalf", "x".repeat(50));
        let mut reader = BufReader::with_capacity(7, text.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut reader, 10).await {
            lines.push(line.map(|line| String::from_utf8(line).unwrap()));
        }
        assert_eq!(lines, [Ok("one\n".into()), Err(TooLong), Ok("two\n".into())]);
    }
}
