//! Ties a child's life to its parent's.
//!
//! A child is started as `broca tied --parent <pid> -- <program> …`, which asks the kernel for SIGTERM at its parent's
//! death, looks whether the parent died before it could ask, and then becomes the program. The wish survives that
//! step (prctl(2), PR_SET_PDEATHSIG), so it also holds for programs that are not ours, such as nats-server. The
//! kernel keeps it also when the parent is killed with SIGKILL, which nothing in the parent could.
//!
//! The kernel means the thread that started the child. Ours are the runtime's own workers, which end with the process.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// The command that runs `program` tied to this process, holding `lock` for as long as it lives.
///
/// # Errors
/// This process's own program file cannot be found.
pub(crate) fn command(program: &Path, args: &[OsString], lock: Option<&Path>) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("tied").arg("--parent").arg(std::process::id().to_string());
    if let Some(lock) = lock {
        command.arg("--lock").arg(lock);
    }
    command.arg("--").arg(program).args(args);
    Ok(command)
}

/// Ties this process to `parent` and becomes `program`. Returns only when that failed.
pub(crate) fn become_tied(parent: u32, lock: Option<&Path>, program: &OsStr, args: &[OsString]) -> io::Error {
    let held = tie().and_then(|()| lock.map(hold).transpose());
    if let Err(error) = held {
        return error;
    }
    if std::os::unix::process::parent_id() != parent {
        return io::Error::new(io::ErrorKind::BrokenPipe, "the process that started this one is gone");
    }
    Command::new(program).args(args).exec()
}

/// Waits for the lock, which a predecessor that is still stopping may have, and lets the program inherit it.
fn hold(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    file.lock()?;
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(file)
}

#[cfg(target_os = "linux")]
fn tie() -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM).map_err(io::Error::from)
}

/// Elsewhere nothing of the kind exists; a killed `broca up` leaves its children to the operator.
#[cfg(not(target_os = "linux"))]
fn tie() -> io::Result<()> {
    Ok(())
}
