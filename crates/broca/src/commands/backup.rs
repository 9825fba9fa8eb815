//! `broca backup`: a copy of the embedded database, made while everything runs.

use std::path::PathBuf;

use broca_store::Backend;
use serde_json::json;

use crate::{
    app::App,
    failure::{Code, Failure},
    progress::Progress,
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "To restore it: stop Broca, put the file in the place of broca.db (without the old broca.db-wal and -shm), start it. \
                  For PostgreSQL use pg_dump."
)]
pub(crate) struct Args {
    /// Where it is written; it must not be there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) async fn run(app: &App, Args { file }: &Args) -> Result<(), Failure> {
    let store = app.store().await?;
    let shown = file.display().to_string();
    if store.backend() == Backend::Postgres {
        return Err(Failure::new(Code::Conflict, "the database is PostgreSQL, which has its own tools for this").hint(
            format!("pg_dump --format=custom --file={shown} --dbname=\"$BROCA_DATABASE__URL\", and pg_restore to bring it back"),
        ));
    }
    if file.exists() {
        return Err(Failure::new(Code::Conflict, format!("{shown} is there already")).hint("name another file"));
    }
    let part = PathBuf::from(format!("{shown}.part"));
    // What an earlier run left when it was killed.
    if part.exists() {
        std::fs::remove_file(&part)?;
    }
    let working = Progress::of("copying the database");
    store.backup_to(&part).await?;
    drop(working);
    std::fs::File::open(&part)?.sync_all()?;
    std::fs::rename(&part, file)?;
    let bytes = std::fs::metadata(file)?.len();
    app.output.result(&json!({"file": shown, "bytes": bytes}), || format!("wrote {shown}, {bytes} bytes"))
}
