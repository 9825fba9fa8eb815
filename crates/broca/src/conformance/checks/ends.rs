//! How it stops.

use super::{Bench, order::Order};
use crate::conformance::{life::GRACE, scene::Scene, verdict::Checked};

pub(super) async fn all(bench: &mut Bench<'_>) {
    let ended = told(bench).await;
    bench.is("told to stop, it ends in time and well", ended);
    let ended = told_with_a_question_open(bench).await;
    bench.is("told to stop while a report is open, it ends in time and well", ended);
    let ended = input_ends(bench).await;
    bench.is("it ends when its input ends", ended);
}

async fn told(bench: &Bench<'_>) -> Checked {
    let scene = Scene::open(bench.subject, &bench.garbage).await?;
    let mut life = scene.begin().await?;
    if scene.platform.is_there().is_ok() {
        Order::to("alice", "good night").deliver(&mut life).await?.is_delivered()?;
    }
    life.stop(GRACE).await
}

/// The report is never answered: the platform gives the event again to whoever comes.
async fn told_with_a_question_open(bench: &Bench<'_>) -> Checked {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let mut life = scene.begin().await?;
    scene.platform.say("alice", "good night").await?;
    life.report().await?;
    life.stop(GRACE).await
}

async fn input_ends(bench: &Bench<'_>) -> Checked {
    let scene = Scene::open(bench.subject, &bench.garbage).await?;
    let life = scene.begin().await?;
    life.end_of_input(GRACE).await
}
