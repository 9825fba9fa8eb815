//! Deliveries that are cut off by the program's own end.

use broca_plugin_exec::protocol::{FromChild, Outcome};

use super::{Bench, answers::long_answer, order::Order};
use crate::conformance::{
    life::{Life, PATIENCE},
    scene::Scene,
    verdict::{Checked, holds, not_checked},
};

const ASKED: &str =
    "ask the platform what it has of `response.id`, and say `cannot_tell` only where it cannot be asked";

pub(super) async fn all(bench: &mut Bench<'_>) {
    let ended = after_the_send(bench).await;
    bench.is("kill -9 between a send and its receipt: it finds the answer at the platform", ended);
    let ended = before_the_send(bench).await;
    bench.is("kill -9 before a send: it finds that the platform has nothing", ended);
    let ended = between_parts(bench).await;
    bench.is("kill -9 between two parts: it finds the first", ended);
    let ended = platform_away(bench).await;
    bench.is("of a platform that cannot be asked it does not guess", ended);
}

async fn settling<'a>(bench: &Bench<'a>) -> Checked<(Scene<'a>, Life)> {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let life = scene.begin().await?;
    if !life.can(bench.subject).settles {
        let advice = "an answer whose delivery is cut off stays unknown until an operator decides; say `settles` if your platform can be asked";
        return Err(not_checked("it does not say `settles`", advice));
    }
    Ok((scene, life))
}

async fn outcome(order: &Order, life: &mut Life) -> Checked<(Outcome, usize)> {
    match order.ask_after(life).await? {
        FromChild::Settled { outcome, parts, .. } => Ok((outcome, parts.len())),
        _ => Ok((Outcome::CannotTell, 0)),
    }
}

async fn after_the_send(bench: &Bench<'_>) -> Checked {
    let (scene, mut life) = settling(bench).await?;
    // A platform of the author's gives its receipt at once: the kill comes before it is read, or after.
    if let Ok(platform) = scene.platform.scripted() {
        platform.script(|script| script.hold_ms = 5_000);
    }
    let order = Order::to("alice", "did it arrive?");
    order.hand(&mut life).await?;
    scene.platform.wait_for_sent(PATIENCE, |sent| !sent.is_empty()).await;
    let mut life = scene.begin_again(life.kill().await).await?;
    let (outcome, _) = outcome(&order, &mut life).await?;
    holds(outcome == Outcome::Delivered, || format!("the platform has it, and it says {outcome:?}"), ASKED)
}

async fn before_the_send(bench: &Bench<'_>) -> Checked {
    let (scene, life) = settling(bench).await?;
    let order = Order::to("alice", "never sent");
    let mut life = scene.begin_again(life.kill().await).await?;
    let (outcome, _) = outcome(&order, &mut life).await?;
    holds(outcome == Outcome::NotDelivered, || format!("the platform has nothing, and it says {outcome:?}"), ASKED)?;
    // And so it is sent.
    Order { attempt: 2, ..order }.deliver(&mut life).await?.is_delivered()
}

async fn between_parts(bench: &Bench<'_>) -> Checked {
    let (scene, mut life) = settling(bench).await?;
    let order = Order::to("alice", &long_answer(&life, bench));
    order.hand(&mut life).await?;
    let first = life
        .hear("word of a long answer", |line| matches!(line, FromChild::Part { .. } | FromChild::Delivered { .. }))
        .await?;
    if !matches!(first, FromChild::Part { .. }) {
        return Err(not_checked("it sends a long answer in one message", ""));
    }
    let mut life = scene.begin_again(life.kill().await).await?;
    let (outcome, parts) = outcome(&order, &mut life).await?;
    let what = || format!("the platform has the first part, and it says {outcome:?} with {parts} parts");
    holds(outcome == Outcome::Partly && parts == 1, what, "say `partly`, with the parts that the platform has")
}

async fn platform_away(bench: &Bench<'_>) -> Checked {
    let (scene, mut life) = settling(bench).await?;
    scene.platform.scripted()?.script(|script| script.receipts_away = true);
    let (outcome, _) = outcome(&Order::to("alice", "who knows?"), &mut life).await?;
    let what = || format!("the platform does not tell, and it says {outcome:?}");
    holds(outcome == Outcome::CannotTell, what, ASKED)
}
