//! The data folder, which one `broca up` at a time may use.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::failure::{Blame, Code, Failure};

/// A locked data folder. The kernel ends the lock with the process, however that ends.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder if need be, and takes it.
    ///
    /// # Errors
    /// [`Code::Conflict`] with the process that has it.
    pub(crate) fn take(path: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(path)?;
        let what = || format!("cannot use the data folder {}", path.display());
        // It holds messages and the broker's password: for its owner alone.
        DirBuilder::new().recursive(true).mode(0o700).create(&path).blame(Code::Failure, what())?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .blame(Code::Failure, what())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(&path, &mut lock)),
            Err(TryLockError::Error(error)) => return Err(error).blame(Code::Failure, what()),
        }
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())?;
        Ok(Self { path, _lock: lock })
    }

    /// Its absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn taken(path: &Path, lock: &mut File) -> Failure {
    let mut holder = String::new();
    let holder = match lock.read_to_string(&mut holder) {
        Ok(_) if !holder.trim().is_empty() => format!("process {}", holder.trim()),
        _ => "another process".to_owned(),
    };
    Failure::new(Code::Conflict, format!("{holder} already runs Broca in {}", path.display()))
        .hint("talk to it with `broca chat --as alice`, stop it, or give another folder with --data-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_once_and_says_by_whom() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/data");
        let first = DataDir::take(&path).unwrap();
        let refused = DataDir::take(&path).unwrap_err();
        assert_eq!(refused.code, Code::Conflict);
        assert!(refused.message.contains(&format!("process {}", std::process::id())), "{}", refused.message);
        drop(first);
        DataDir::take(&path).unwrap();
    }
}
