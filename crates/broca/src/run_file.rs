//! `<data_dir>/run.json`: where the running `broca up` of a data folder is to be found.
//!
//! Other commands read it when nobody told them a NATS address. It holds the embedded server's password, so only its
//! owner may read it; it is written in one move, so nobody reads half of it.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use broca_admin::control::Standing;
use nix::{errno::Errno, sys::signal, unistd::Pid};
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Blame, Code, Failure},
    reload::Reloaded,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// Of `broca up` itself.
    pub(crate) pid: u32,
    pub(crate) version: String,
    pub(crate) mode: broca_core::route::Mode,
    pub(crate) nats: NatsAddress,
    pub(crate) database_url: String,
    /// Where `broca up` itself shows its metrics.
    #[serde(default)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Its child processes, in the order in which they were started.
    pub(crate) processes: Vec<ProcessEntry>,
    /// When it last read its settings anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reloaded: Option<Reloaded>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NatsAddress {
    pub(crate) url: String,
    /// Set when the server was started by `broca up`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<NatsLogin>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NatsLogin {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for NatsLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsLogin").field("user", &self.user).field("password", &"***").finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessEntry {
    pub(crate) name: String,
    /// `None` between an end and the restart.
    pub(crate) pid: Option<u32>,
    /// It said that it works.
    #[serde(default)]
    pub(crate) ready: bool,
    pub(crate) restarts: u32,
    /// Where it shows its metrics.
    #[serde(default)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Of a plugin: how it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) standing: Option<Standing>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("run.json")
}

impl RunFile {
    /// The file of a running `broca up`; `None` when there is no file, or its process is gone.
    pub(crate) fn read(data_dir: &Path) -> Result<Option<Self>, Failure> {
        let path = path(data_dir);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(Failure::new(Code::Unauthorised, format!("{}: {error}", path.display()))
                    .hint("run the command as the user that runs `broca up`"));
            }
            Err(error) => return Err(error).blame(Code::Failure, path.display()),
        };
        let file: Self = serde_json::from_str(&text).blame(Code::Failure, path.display())?;
        Ok(is_alive(file.pid).then_some(file))
    }

    pub(crate) fn write(&self, data_dir: &Path) -> Result<(), Failure> {
        let path = path(data_dir);
        let text = serde_json::to_vec_pretty(self).map_err(anyhow::Error::from)?;
        write_private(&path, &text).blame(Code::Failure, format!("cannot write {}", path.display()))
    }

    pub(crate) fn remove(data_dir: &Path) -> Result<(), Failure> {
        let path = path(data_dir);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).blame(Code::Failure, format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Writes a file that only its owner may read, in one move.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    std::fs::rename(&draft, path)
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    // No signal is sent; another user's process answers EPERM and is alive.
    pid > 0 && !matches!(signal::kill(Pid::from_raw(pid), None), Err(Errno::ESRCH))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(pid: u32) -> RunFile {
        let login = Some(NatsLogin { user: "broca".into(), password: "p".into() });
        RunFile {
            pid,
            version: "0".into(),
            mode: broca_core::route::Mode::Echo,
            nats: NatsAddress { url: "nats://127.0.0.1:1".into(), login },
            database_url: "sqlite:x".into(),
            metrics: None,
            processes: vec![],
            reloaded: None,
        }
    }

    #[test]
    fn a_living_process_is_found_and_a_dead_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RunFile::read(dir.path()).unwrap(), None);
        let mine = file(std::process::id());
        mine.write(dir.path()).unwrap();
        assert_eq!(RunFile::read(dir.path()).unwrap(), Some(mine.clone()));
        let mode = std::fs::metadata(path(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        file(ended.id()).write(dir.path()).unwrap();
        assert_eq!(RunFile::read(dir.path()).unwrap(), None);
        RunFile::remove(dir.path()).unwrap();
        RunFile::remove(dir.path()).unwrap();
        assert!(!format!("{mine:?}").contains("\"p\""));
    }
}
