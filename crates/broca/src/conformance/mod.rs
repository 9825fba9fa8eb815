//! The conformance suite: does a program behave as a plugin must, whatever happens to it?
//!
//! - `subject`: the program, and what it is given. `platform`: whom it talks to (`player`: a program of the author's).
//! - `life`: the suite is the program's host and sees every line. `checks` are what is looked at that way.
//! - `whole`: the program in the whole pipeline: a broker, a database, workers and a scripted agent of its own.
//! - `verdict`: what became of each check.

mod checks;
mod life;
mod platform;
mod player;
mod scene;
mod subject;
mod verdict;
mod whole;

pub(crate) use platform::Platform;
pub(crate) use subject::Subject;
pub(crate) use verdict::{Item, Report, Trouble};

use crate::{app::App, failure::Failure};

const QUICK: &str = "it was to be quick";

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Only what takes seconds: no flood, and no pipeline.
    pub(crate) quick: bool,
    /// What goes wrong at random, by this seed.
    pub(crate) chaos: Option<u64>,
}

/// Tries all of it, one after the other. `said` hears of each check when it is over.
///
/// # Errors
/// The suite itself could not go on: no broker, no folder.
pub(crate) async fn run(app: &App, subject: &Subject, extent: Extent, said: &dyn Fn(&Item)) -> Result<Report, Failure> {
    let mut items = checks::all(subject, extent, said).await;
    for item in whole::all(app, subject, extent).await? {
        said(&item);
        items.push(item);
    }
    Ok(Report::of(&subject.name, extent.chaos, items))
}
