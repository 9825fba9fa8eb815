//! A real PostgreSQL.

use std::{
    env, fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use tempfile::TempDir;

use crate::{child, port};

const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// A running (or stopped) cluster on a port of 127.0.0.1, with a data folder that survives a restart. It is set up for
/// tests: nothing is synced to disk, so it outlives its processes' deaths but not the machine's. Ended and removed on
/// drop. PostgreSQL refuses to run as root; there it runs as the user `postgres`.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    dir: TempDir,
    binaries: PathBuf,
    /// The user and group to run as, when this process is root.
    user: Option<(u32, u32)>,
    databases: AtomicU32,
    child: Option<Child>,
}

impl Postgres {
    /// A new, empty cluster, ready for connections.
    pub fn start() -> Self {
        // Unwrap safety: without a temporary folder no test can run; the panic says why.
        let dir = TempDir::with_prefix("broca-postgres-").expect("cannot create a temporary folder");
        let user = geteuid().is_root().then(postgres_user);
        if let Some((uid, gid)) = user {
            // Unwrap safety: root may give its own folder away.
            chown(dir.path(), Some(uid), Some(gid)).expect("cannot give the folder to the user postgres");
        }
        let (port, databases) = (port::free(), AtomicU32::new(0));
        let mut server = Self { port, dir, binaries: binaries(), user, databases, child: None };
        let data = server.data();
        server.run("initdb", &["-D", &data, "-U", "broca", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        server.spawn();
        server.wait_until_ready();
        server
    }

    /// The cluster that the tests of one process share: started for the first, ended after the last that holds it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        // A test that panicked while starting it left nothing half done: the next one starts it.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// The url of the database `postgres`; the same after a restart.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Creates an empty database; gives its url.
    pub fn new_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let port = self.port.to_string();
        self.run("createdb", &["-h", "127.0.0.1", "-p", &port, "-U", "broca", &name]);
        self.url_of(&name)
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://broca@127.0.0.1:{}/{database}", self.port)
    }

    /// The "fast" shutdown: connections are cut, what was committed is kept. Waits for the end.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGINT);
        self.reap();
    }

    /// SIGKILL to the main process; returns when its children, which notice and end by themselves, are gone too.
    pub fn kill9(&mut self) {
        let main = self.child.as_ref().map(Child::id);
        let children = main.map(children_of).unwrap_or_default();
        self.signal(Signal::SIGKILL);
        self.reap();
        let deadline = Instant::now() + READY_WITHIN;
        while children.iter().any(|child| is_alive(child)) {
            assert!(Instant::now() < deadline, "PostgreSQL's processes {children:?} outlived their parent");
            std::thread::sleep(POLL);
        }
    }

    /// Starts again on the same port and data, after stopping it if it runs; returns when it is ready.
    pub fn restart(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
        self.spawn();
        self.wait_until_ready();
    }

    fn data(&self) -> String {
        self.dir.path().join("data").display().to_string()
    }

    fn signal(&self, signal: Signal) {
        let Some(child) = &self.child else { panic!("PostgreSQL on port {} is not running", self.port) };
        let pid = i32::try_from(child.id()).expect("process ids fit");
        kill(Pid::from_raw(pid), signal).expect("cannot signal the PostgreSQL that this test started");
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().expect("cannot wait for the PostgreSQL that this test started");
        }
    }

    fn spawn(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path());
        let mut command = self.as_user(child::command(&self.binaries.join("postgres")));
        command.args(["-D", &self.data(), "-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "full_page_writes=off",
            "max_connections=200",
            "shared_buffers=64MB",
        ] {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("cannot create a log file"));
        self.child = Some(child::spawn(command).expect("cannot start postgres"));
    }

    /// After a kill the old children may still hold the shared memory: then the new main process ends at once, and is
    /// started again until the deadline.
    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + READY_WITHIN;
        let port = self.port.to_string();
        while !self.output("pg_isready", &["-q", "-h", "127.0.0.1", "-p", &port, "-U", "broca"]).status.success() {
            assert!(Instant::now() < deadline, "PostgreSQL was not ready in {READY_WITHIN:?}:\n{}", self.log());
            let ended = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
            if ended {
                self.spawn();
            }
            std::thread::sleep(POLL);
        }
    }

    fn as_user(&self, mut command: Command) -> Command {
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.current_dir(self.dir.path());
        command
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = self.as_user(Command::new(self.binaries.join(program)));
        command.args(arguments).stdin(Stdio::null());
        command.output().unwrap_or_else(|error| panic!("cannot run {program}: {error}"))
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.output(program, arguments);
        assert!(output.status.success(), "{program} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What the server writes down.
    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The "immediate" shutdown, which ends the children first. Nothing is left to do about a failure here.
            if let Ok(pid) = i32::try_from(child.id()) {
                kill(Pid::from_raw(pid), Signal::SIGQUIT).ok();
            }
            child.wait().ok();
        }
    }
}

fn children_of(pid: u32) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

/// One that ended may stay as a zombie where nobody reaps orphans, as in a container.
fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn postgres_user() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = passwd.lines().find_map(|line| line.strip_prefix("postgres:"));
    let mut numbers = entry.unwrap_or_default().split(':').skip(1).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(uid)), Some(Ok(gid))) => (uid, gid),
        _ => panic!("PostgreSQL refuses to run as root, and there is no user postgres: run the tests as another user"),
    }
}

/// The folder with `postgres` and `initdb`: `$BROCA_PG_BIN`, or where Debian puts the newest, or on `PATH`.
fn binaries() -> PathBuf {
    let complete = |dir: &PathBuf| dir.join("postgres").is_file() && dir.join("initdb").is_file();
    if let Some(dir) = env::var_os("BROCA_PG_BIN").map(PathBuf::from) {
        assert!(complete(&dir), "BROCA_PG_BIN is {}, which has no postgres and initdb", dir.display());
        return dir;
    }
    let versions = fs::read_dir(Path::new("/usr/lib/postgresql")).into_iter().flatten().flatten();
    let version = |dir: &PathBuf| dir.file_name()?.to_str()?.parse::<u32>().ok();
    let mut packaged: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    packaged.sort_by_key(version);
    let packaged = packaged.into_iter().rev().map(|dir| dir.join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    packaged.chain(env::split_paths(&path)).find(complete).unwrap_or_else(|| {
        panic!("no PostgreSQL found: install it (Debian: postgresql), or set BROCA_PG_BIN to the folder of its initdb")
    })
}
