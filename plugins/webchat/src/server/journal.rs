//! The file behind the book: one change a line, appended and synced before anybody is told. Whatever waits is written and
//! synced together. Now and then, and after a write that failed, the file is written anew from what the book has.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use tokio::sync::oneshot;

use super::book::{Book, Change};

/// A file this much longer than what is in it is written anew.
const SLACK_BYTES: u64 = 8 << 20;
/// Lines that are written with one sync.
const BATCH: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("another process has {0}: give each instance a file of its own")]
    Taken(String),
    #[error("cannot use {path}: {error}")]
    Io { path: String, error: io::Error },
}

/// A change on its way into the file.
pub(super) struct Line {
    pub(super) change: Option<Change>,
    /// Told once it is synced.
    pub(super) done: Option<oneshot::Sender<bool>>,
}

/// Where lines go. They are written in the order in which they are sent.
pub(super) type Lines = mpsc::Sender<Line>;

/// Reads the file, writes it anew, and keeps it until every sender is gone. `snapshot` gives all that makes the book.
pub(super) fn open(path: &Path, max_entries: usize) -> Result<(Book, Writer), JournalError> {
    let failed = |error: io::Error| JournalError::Io { path: path.display().to_string(), error };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let lock = beside(path, "lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(JournalError::Taken(path.display().to_string())),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let mut book = Book::new(max_entries);
    read(path, &mut book).map_err(failed)?;
    let (file, bytes) = rewrite(path, book.changes()).map_err(failed)?;
    Ok((
        book,
        Writer { path: path.to_owned(), file, bytes, limit: 2 * bytes + SLACK_BYTES, is_whole: true, _lock: lock },
    ))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn read(path: &Path, book: &mut Book) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut lines = BufReader::new(file).split(b'\n').enumerate().peekable();
    let mut is_damaged = false;
    while let Some((at, line)) = lines.next() {
        match serde_json::from_slice(&line?) {
            Ok(change) => book.apply(change),
            // The last line of a process that was killed; nobody was told of it.
            Err(_) if lines.peek().is_none() => tracing::info!(path = %path.display(), "half a last line is left out"),
            Err(error) => {
                is_damaged = true;
                tracing::error!(path = %path.display(), line = at + 1, %error, "a line cannot be read and is left out");
            }
        }
    }
    if is_damaged {
        let kept = beside(path, "damaged");
        std::fs::copy(path, &kept)?;
        tracing::error!(kept = %kept.display(), "the file of chats was damaged; it is kept as it was");
    }
    Ok(())
}

/// In one move, so that a process that dies here leaves the old file or the new one.
fn rewrite(path: &Path, changes: Vec<Change>) -> io::Result<(File, u64)> {
    let fresh = beside(path, "new");
    let mut file = private(&fresh)?;
    let mut bytes = Vec::new();
    for change in changes {
        serde_json::to_writer(&mut bytes, &change)?;
        bytes.push(b'\n');
    }
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok((file, bytes.len() as u64))
}

/// What people say is for the owner of the process alone.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    bytes: u64,
    limit: u64,
    /// Nothing of what was sent is missing in the file.
    is_whole: bool,
    _lock: File,
}

impl Writer {
    /// Writes on a thread of its own until every sender is gone.
    pub(super) fn start(mut self, snapshot: Arc<dyn Fn() -> Vec<Change> + Send + Sync>) -> io::Result<Lines> {
        let (lines, waiting) = mpsc::channel::<Line>();
        thread::Builder::new().name("webchat-file".to_owned()).spawn(move || {
            while let Ok(first) = waiting.recv() {
                let batch: Vec<Line> = [first].into_iter().chain(waiting.try_iter().take(BATCH - 1)).collect();
                let written = self.write(&batch, &*snapshot);
                if let Err(error) = &written {
                    tracing::error!(path = %self.path.display(), %error, "cannot write what was said; answers wait until it can be");
                }
                for done in batch.into_iter().filter_map(|line| line.done) {
                    if done.send(written.is_ok()).is_err() {
                        tracing::debug!("whoever wrote a change did not wait for its sync");
                    }
                }
            }
        })?;
        Ok(lines)
    }

    fn write(&mut self, batch: &[Line], snapshot: &dyn Fn() -> Vec<Change>) -> io::Result<()> {
        if self.is_whole && self.bytes < self.limit {
            let appended = self.append(batch);
            self.is_whole = appended.is_ok();
            return appended;
        }
        // The book has what this batch says: a change is made before its line is sent.
        let (file, bytes) = rewrite(&self.path, snapshot())?;
        (self.file, self.bytes, self.limit, self.is_whole) = (file, bytes, 2 * bytes + SLACK_BYTES, true);
        Ok(())
    }

    fn append(&mut self, batch: &[Line]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for change in batch.iter().filter_map(|line| line.change.as_ref()) {
            serde_json::to_writer(&mut bytes, change)?;
            bytes.push(b'\n');
        }
        self.file.seek(SeekFrom::Start(self.bytes))?;
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use broca_core::Timestamp;

    use super::*;

    fn session(name: &str) -> Change {
        Change::Session { session: name.into(), uid: "u".into(), address: "::1".into(), at: Timestamp(1) }
    }

    async fn written(lines: &Lines, change: Option<Change>) -> bool {
        let (done, synced) = oneshot::channel();
        lines.send(Line { change, done: Some(done) }).unwrap();
        synced.await.unwrap()
    }

    /// What a full disk does: a write fails, and what it would have written is still owed.
    #[tokio::test]
    async fn after_a_write_that_failed_everything_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chats.jsonl");
        let (book, mut writer) = open(&path, 100).unwrap();
        // Opened to be read, it cannot be written.
        writer.file = File::open(&path).unwrap();
        let book = Arc::new(Mutex::new(book));
        let snapshot = book.clone();
        let lines = writer.start(Arc::new(move || snapshot.lock().unwrap().changes())).unwrap();
        book.lock().unwrap().apply(session("session_one"));
        assert!(!written(&lines, Some(session("session_one"))).await, "nobody is told that it is kept");
        assert!(written(&lines, None).await, "asked again, it is");
        book.lock().unwrap().apply(session("session_two"));
        assert!(written(&lines, Some(session("session_two"))).await);
        let mut again = Book::new(100);
        read(&path, &mut again).unwrap();
        assert_eq!(again.sessions.len(), 2);
    }

    #[test]
    fn a_damaged_file_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chats.jsonl");
        let good = serde_json::to_string(&session("session_one")).unwrap();
        std::fs::write(&path, format!("{good}\nnonsense\n{}\n{{\"t\":\"sess", good.replace("one", "two"))).unwrap();
        let (book, writer) = open(&path, 100).unwrap();
        assert_eq!(book.sessions.len(), 2);
        assert!(matches!(open(&path, 100), Err(JournalError::Taken(_))));
        drop(writer);
        assert!(std::fs::read_to_string(folder.path().join("chats.jsonl.damaged")).unwrap().contains("nonsense"));
        assert!(!std::fs::read_to_string(&path).unwrap().contains("nonsense"));
    }
}
