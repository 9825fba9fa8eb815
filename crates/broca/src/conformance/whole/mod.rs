//! The program in the whole pipeline: a broker, a database, workers and a scripted agent of its own, all private.

mod chaos;
mod mischief;
mod stage;
mod tally;

use std::time::Duration;

use stage::Stage;

use super::{
    Extent, QUICK,
    subject::Subject,
    verdict::{Checked, Item, Verdict, not_checked},
};
use crate::{app::App, failure::Failure};

const CALM: &str = "in the whole pipeline, everybody is answered once and in order";
const KILLED: &str = "kill -9 of the program and of its host: no message and no answer is lost or doubled";
const BROKER: &str = "the broker is killed: no message and no answer is lost or doubled";
const AWAY: &str = "the platform is away: no message and no answer is lost or doubled";
const CHAOS: &str = "chaos: no message and no answer is lost or doubled";

pub(super) async fn all(app: &App, subject: &Subject, extent: Extent) -> Result<Vec<Item>, Failure> {
    if extent.quick || !subject.is_fed() {
        let why = if extent.quick { QUICK } else { "nobody plays its platform" };
        let checks = [CALM, KILLED, BROKER, AWAY].into_iter().chain(extent.chaos.map(|_| CHAOS));
        return Ok(checks.map(|check| Item::of(check, Err(not_checked(why, "")))).collect());
    }
    let folder = tempfile::Builder::new().prefix("broca-plugin-test-").tempdir()?;
    let mut stage = match Stage::set(app, subject, folder.path()).await? {
        Ok(stage) => stage,
        Err(trouble) => return Ok(vec![Item::of(CALM, Err(trouble))]),
    };
    let played = play(app, &mut stage, extent).await;
    stage.strike().await;
    let all_well = played.as_ref().is_ok_and(|items| items.iter().all(|item| item.result != Verdict::Fail));
    if !all_well {
        let kept = folder.keep();
        app.note(&format!("logs and database are in {}", kept.display()));
    }
    played
}

async fn play(app: &App, stage: &mut Stage, extent: Extent) -> Result<Vec<Item>, Failure> {
    let mut items = vec![Item::of(CALM, stage.calm().await?)];
    // What follows says nothing where not even this works.
    if items[0].result == Verdict::Fail {
        return Ok(items);
    }
    items.push(Item::of(KILLED, stage.killed().await?));
    items.push(Item::of(BROKER, stage.without_broker().await?));
    items.push(Item::of(AWAY, stage.without_platform().await?));
    if let Some(seed) = extent.chaos {
        let (ended, did) = chaos::run(stage, seed).await?;
        app.note(&format!("chaos with seed {seed}: {}", did.join(", ")));
        items.push(Item::of(CHAOS, ended));
    }
    Ok(items)
}

/// For the last answer of a phase; nothing waits so long when all is well.
const PATIENCE: Duration = Duration::from_secs(120);

type Played = Result<Checked, Failure>;
