//! Starting servers so that none outlives the tests, however the tests end.

use std::{
    io,
    path::Path,
    process::{Child, Command},
    sync::{OnceLock, mpsc},
};

type Order = (Command, mpsc::Sender<io::Result<Child>>);

static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();

/// `program` as a command that the kernel kills when the process that started it is gone.
pub(crate) fn command(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if setpriv.exists() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Spawns from one thread that lives as long as the process: the kernel counts the death of the *thread* that
/// spawned, and a test's thread is gone before a server that several tests share.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                // The one who ordered waits for the answer; if they panicked meanwhile, the child ends with us.
                reply.send(command.spawn()).ok();
            }
        });
        orders
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}
