//! An MCP client that is not ours: the Python SDK, by standard input and output and over HTTP. `tests/run` gets it.

use std::{path::PathBuf, process::Stdio};

use broca_tests::Database;

use crate::prepared::{Prepared, SECRET};

/// The Python that has the package `mcp`.
fn python() -> PathBuf {
    let said = std::env::var_os("BROCA_TEST_MCP_PYTHON").map(PathBuf::from);
    let python =
        said.expect("BROCA_TEST_MCP_PYTHON names a Python with the package mcp: run tests/run, which gets one");
    assert!(python.exists(), "BROCA_TEST_MCP_PYTHON is {}, which is not there", python.display());
    python
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_client_works_with_it() {
    let prepared = Prepared::start(Database::Sqlite).await;
    let (reader, operator) = (
        prepared.token("reader", &["--access", "read"]),
        prepared.token("operator", &["--access", "operate", "--contents"]),
    );
    let mcp = prepared.mcp().await;
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/operations/client.py");
    // The client starts the server for standard input and output itself, with this rig's settings.
    let broca = prepared.rig.command(&["mcp"]);
    let mut command = std::process::Command::new(python());
    command.arg(client).env_clear().envs(broca.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .env("CLIENT_BROCA", broca.get_program())
        .env("CLIENT_URL", mcp.url("/mcp"))
        .env("CLIENT_READER", reader)
        .env("CLIENT_OPERATOR", operator)
        .env("CLIENT_MESSAGE", &prepared.answered)
        .env("CLIENT_FAILED", prepared.failed.join(","))
        .env("CLIENT_SECRET", SECRET)
        .current_dir(prepared.rig.folder())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("Python runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).ends_with("all is well\n"), "{}", text(&output.stdout));
}
