//! Answers, and what goes wrong with them.

use std::time::Duration;

use broca_plugin_exec::protocol::{Class, FromChild, ToChild};
use broca_rehearsal::platform::Fault;

use super::{
    Bench,
    order::{End, Order, end_of},
};
use crate::conformance::{
    life::{Life, PATIENCE},
    platform::{Platform, Sent},
    scene::Scene,
    verdict::{Checked, holds, not_checked},
};

/// Characters of a text that is long for a platform without a limit.
const LONG: usize = 20_000;
/// What is to come soon if it comes at all.
const SOON: Duration = Duration::from_millis(400);
const CLASSES: &str = "see \"Answers\" in plugins/exec/README.md";

pub(super) async fn all(bench: &mut Bench<'_>) {
    let ended = delivered(bench).await;
    bench.is("an answer goes out, with a receipt", ended);
    let ended = limited(bench).await;
    bench.is("a limited rate is `retry`, after as long as the platform says", ended);
    let fault = failed(bench, Fault::ServerError).await;
    bench.is("a platform that fails is `retry`", fault);
    let ended = away(bench).await;
    bench.is("a platform that is away is `retry`, and afterwards it goes on", ended);
    let ended = blocked(bench).await;
    bench.is("a person who blocked the bot is `dead`, class `blocked`", ended);
    let ended = failed(bench, Fault::CutBefore).await;
    bench.is("a connection that is cut before the send is no receipt", ended);
    let ended = failed(bench, Fault::CutAfter).await;
    bench.is("a connection that is cut after the send is `unknown`", ended);
    let ended = long(bench).await;
    bench.is("a long answer goes out whole, each part within the limit", ended);
    let ended = resumed(bench).await;
    bench.is("an answer of which a part is sent goes on behind it", ended);
    let ended = part_lost(bench).await;
    bench.is("after `part_lost` it sends nothing more", ended);
    let ended = several_chats(bench).await;
    bench.is("a slow answer holds no other chat up", ended);
}

/// A life that has answered nothing yet.
async fn begun<'a>(bench: &Bench<'a>) -> Checked<(Scene<'a>, Life)> {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let life = scene.begin().await?;
    Ok((scene, life))
}

async fn delivered(bench: &Bench<'_>) -> Checked {
    let (scene, mut life) = begun(bench).await?;
    let end = Order::to("alice", "good morning to you").deliver(&mut life).await?;
    end.is_delivered()?;
    let sent = scene.platform.wait_for_sent(PATIENCE, |sent| !sent.is_empty()).await;
    let what = || format!("the platform has {sent:?}");
    let whole = sent.len() == 1 && sent[0].user == "alice" && sent[0].text.contains("good morning to you");
    holds(whole, what, "send `rest` to the chat that the answer is for")?;
    let End::Delivered { ids, .. } = end else { return Ok(()) };
    let what = || format!("it says {ids:?}, and the platform {:?}", sent[0].id);
    holds(ids == [sent[0].id.clone()], what, "name the platform's own ids of what was sent: they are the receipt")
}

async fn limited(bench: &Bench<'_>) -> Checked {
    let (scene, mut life) = begun(bench).await?;
    scene.platform.fails(Fault::RateLimited { retry_after_s: 3 }).await?;
    let end = Order::to("alice", "slowly").deliver(&mut life).await?;
    let waits = matches!(end, End::Retry { after_ms: Some(3_000..), class: Some(Class::RateLimited) });
    let what = || format!("of a send that may be repeated after 3 s it says {end:?}");
    holds(waits, what, "say `retry` with class rate_limited and after_ms, and do not wait yourself")?;
    Order::to("alice", "again").deliver(&mut life).await?.is_delivered()
}

/// A fault that says nothing of the person.
async fn failed(bench: &Bench<'_>, fault: Fault) -> Checked {
    let (scene, mut life) = begun(bench).await?;
    scene.platform.fails(fault).await?;
    let order = Order::to("alice", "through thick and thin");
    let end = order.deliver(&mut life).await?;
    if matches!(end, End::Delivered { .. }) {
        scene.platform.wait_for_sent(PATIENCE, |sent| !sent.is_empty()).await;
    }
    let has = scene.platform.sent().len();
    let fits = match &end {
        // It may have tried again by itself, where it knows that nothing was done.
        End::Delivered { .. } => has == 1,
        End::Retry { .. } => has == 0,
        End::Unknown => fault != Fault::ServerError,
        End::Dead { .. } => false,
    };
    let what = || format!("the platform has it {has} times, and it says {end:?}");
    holds(fits, what, CLASSES)?;
    Order::to("alice", "again").deliver(&mut life).await?.is_delivered()
}

async fn away(bench: &Bench<'_>) -> Checked {
    let (mut scene, mut life) = begun(bench).await?;
    scene.platform.scripted()?;
    scene.platform.goes_away().await;
    let end = Order::to("alice", "is anybody there?").deliver(&mut life).await?;
    let what = || format!("nobody takes its connection, and it says {end:?}");
    let advice = "without a connection nothing was sent: say `retry`, or the answer waits for an operator";
    holds(matches!(end, End::Retry { .. }), what, advice)?;
    let back = scene.platform.comes_back().await;
    back.map_err(|error| not_checked(format!("the platform's port is gone: {error}"), ""))?;
    scene.platform.say("alice", "hello?").await?;
    let (id, message) = life.report().await?;
    life.accept(id, &message).await?;
    Order::to("alice", "here I am").deliver(&mut life).await?.is_delivered()
}

async fn blocked(bench: &Bench<'_>) -> Checked {
    let (scene, mut life) = begun(bench).await?;
    scene.platform.is_blocked_by("bob").await?;
    let end = Order::to("bob", "hello?").deliver(&mut life).await?;
    let what = || format!("it says {end:?}");
    holds(end == End::Dead { class: Class::Blocked }, what, CLASSES)?;
    Order::to("alice", "hello").deliver(&mut life).await?.is_delivered()
}

/// An answer that takes several messages, where the platform has a limit.
pub(super) fn long_answer(life: &Life, bench: &Bench<'_>) -> String {
    long_text(life.can(bench.subject).max_text_chars.map_or(LONG, |limit| limit * 3 + 17))
}

/// Words, in so many letters.
fn long_text(chars: usize) -> String {
    let words = (0..).flat_map(|number| format!("w{number} ").chars().collect::<Vec<_>>());
    words.take(chars.saturating_sub(1)).chain(['.']).collect()
}

/// A text as far as no cut and no dialect touches it.
fn bare(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// All that arrived, once it is as much as it should be.
async fn all_sent(platform: &Platform, expected: &str) -> String {
    let all = |sent: &[Sent]| sent.iter().map(|sent| bare(&sent.text)).collect::<String>();
    all(&platform.wait_for_sent(PATIENCE, |sent| all(sent).len() >= expected.len()).await)
}

async fn long(bench: &Bench<'_>) -> Checked {
    let (_, life) = begun(bench).await?;
    let limit = life.can(bench.subject).max_text_chars;
    drop(life);
    let text = long_text(limit.map_or(LONG, |limit| limit * 3 + 17));
    whole(bench, limit, &text).await?;
    // One whose last piece is full, too.
    match limit {
        Some(limit) => whole(bench, Some(limit), &long_text(limit * 2)).await,
        None => Ok(()),
    }
}

async fn whole(bench: &Bench<'_>, limit: Option<usize>, text: &str) -> Checked {
    let (scene, mut life) = begun(bench).await?;
    let end = Order::to("alice", text).deliver(&mut life).await?;
    end.is_delivered()?;
    let expected = bare(text);
    let sent = all_sent(&scene.platform, &expected).await;
    let what = || format!("{} of {} characters arrived", sent.len(), expected.len());
    holds(sent == expected, what, "send all of `rest`, each piece once and in order")?;
    let limit = limit.unwrap_or(usize::MAX);
    let longest = scene.platform.sent().iter().map(|sent| sent.text.chars().count()).max().unwrap_or_default();
    let what = || format!("one of its messages has {longest} characters, and its limit is {limit}");
    holds(longest <= limit, what, "cut what is longer than `max_text_chars`, and note each part but the last")?;
    let (End::Delivered { parts, ids }, pieces) = (end, scene.platform.sent().len()) else { return Ok(()) };
    let what = || format!("{pieces} messages were sent, and {} noted as parts", parts.len());
    let advice = "say `part` after each message but the last, and name in `delivered` what was sent since";
    holds(parts.len() + ids.len() == pieces && !ids.is_empty(), what, advice)
}

async fn resumed(bench: &Bench<'_>) -> Checked {
    let (scene, mut life) = begun(bench).await?;
    let text = "the first half and the second half";
    let text_end = "the first half ".len();
    let part = broca_plugin_exec::protocol::Part { platform_message_id: "m0".into(), text_end };
    let order = Order { parts: vec![part], attempt: 2, ..Order::to("alice", text) };
    order.deliver(&mut life).await?.is_delivered()?;
    let expected = bare("and the second half");
    let sent = all_sent(&scene.platform, &expected).await;
    let what = || format!("of the second half it sent {sent:?}");
    holds(sent == expected, what, "send `rest`, not `text`: the platform has what is before it")
}

async fn part_lost(bench: &Bench<'_>) -> Checked {
    let (scene, mut life) = begun(bench).await?;
    let order = Order::to("alice", &long_answer(&life, bench));
    let id = order.hand(&mut life).await?;
    let first = life
        .hear("word of a long answer", |line| matches!(line, FromChild::Part { .. } | FromChild::Delivered { .. }))
        .await?;
    if !matches!(first, FromChild::Part { .. }) {
        return Err(not_checked("it sends a long answer in one message", ""));
    }
    let before = scene.platform.wait_for_sent(PATIENCE, |sent| !sent.is_empty()).await.len();
    life.tell(&ToChild::PartLost { id, reason: "another process took the answer over".into() }).await?;
    let after = scene.platform.wait_for_sent(SOON, |sent| sent.len() > before).await.len();
    let what = || format!("it sent {} more", after - before);
    holds(after == before, what, "after `part_lost` another process goes on with the answer")?;
    Order::to("alice", "another").deliver(&mut life).await?.is_delivered()
}

async fn several_chats(bench: &Bench<'_>) -> Checked {
    let (scene, mut life) = begun(bench).await?;
    let platform = scene.platform.scripted()?;
    // Of these the platform gives no word for long; those behind them are quick.
    platform.script(|script| script.hold_ms = 3_000);
    let slow = Order::to("slow", "slow").hand(&mut life).await?;
    scene.platform.wait_for_sent(PATIENCE, |sent| !sent.is_empty()).await;
    platform.script(|script| script.hold_ms = 0);
    let fast = Order::to("fast", "fast").hand(&mut life).await?;
    let done = |line: &FromChild| matches!(line, FromChild::Delivered { .. });
    let first = life.hear("`delivered`", done).await?;
    let is_fast = matches!(first, FromChild::Delivered { id, .. } if id == fast);
    let what = || "an answer waited for another chat's".to_owned();
    holds(is_fast, what, "several chats are delivered to at once: use threads or tasks")?;
    end_of(&mut life, slow).await?.is_delivered()
}
