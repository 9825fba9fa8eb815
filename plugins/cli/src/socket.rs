//! The Unix socket: at most one plugin listens at a path, and only its owner's processes may connect.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use broca_plugin::PluginError;
use tokio::net::{UnixListener, UnixStream};

/// A socket that is listened to. Its file goes away with it.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    owner: u32,
    /// Held as long as the process lives: the kernel lets go of it however the process ends, so whoever holds it may
    /// take away a socket file that was left behind.
    _lock: File,
}

impl Listener {
    /// Listens at `path`, in a folder that is made if need be: a plugin process may be the first to use its data
    /// folder, where database and broker are elsewhere. A socket file that nobody listens at any more is replaced.
    ///
    /// # Errors
    /// [`PluginError::Settings`] when the path cannot be used, [`PluginError::Platform`] when another process
    /// listens there.
    pub(crate) async fn bind(path: &Path) -> Result<Self, PluginError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|e| unusable(path, &e))?;
        }
        let lock = lock(path)?;
        remove_stale(path).await?;
        let cannot = |e: io::Error| unusable(path, &e);
        let socket = UnixListener::bind(path).map_err(cannot)?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(cannot)?;
        let owner = fs::metadata(path).map_err(cannot)?.uid();
        Ok(Self { socket, path: path.to_owned(), owner, _lock: lock })
    }

    /// The next terminal. A process of another user, root excepted, is turned away without a word.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.socket.accept().await?;
            // The file's mode says the same, but only since just after the bind.
            let peer = stream.peer_cred()?.uid();
            if peer == self.owner || peer == 0 {
                return Ok(stream);
            }
            tracing::warn!(peer, owner = self.owner, "a process of another user tried to connect");
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the socket file stays behind");
        }
    }
}

fn lock(path: &Path) -> Result<File, PluginError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&name);
    let file = file.map_err(|e| unusable(&name, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(taken(path)),
        Err(TryLockError::Error(error)) => Err(unusable(&name, &error)),
    }
}

async fn remove_stale(path: &Path) -> Result<(), PluginError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unusable(path, &error)),
    };
    if !found.file_type().is_socket() {
        return Err(PluginError::Settings(format!(
            "{} exists and is no socket: move it away, or set another socket path",
            path.display()
        )));
    }
    match UnixStream::connect(path).await {
        // Something that does not know our lock.
        Ok(_) => Err(taken(path)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|e| unusable(path, &e))
        }
        Err(error) => Err(unusable(path, &error)),
    }
}

fn taken(path: &Path) -> PluginError {
    PluginError::Platform(format!(
        "another process listens at {}: stop it, or give this instance another socket path",
        path.display()
    ))
}

fn unusable(path: &Path, error: &io::Error) -> PluginError {
    PluginError::Settings(format!(
        "cannot listen at {}: {error}: set a socket path of at most 100 bytes in a folder that is writable",
        path.display()
    ))
}
