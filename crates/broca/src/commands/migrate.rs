//! `broca migrate`: brings the database's schema up to date.

use crate::{app::App, failure::Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(app: &App, _args: &Args) -> Result<(), Failure> {
    let store = app.store().await?;
    let applied = store.migrate().await?;
    app.output.result(&serde_json::json!({"applied": applied}), || match applied.as_slice() {
        [] => "the database is up to date".to_owned(),
        applied => format!("applied {}", applied.join(", ")),
    })
}
