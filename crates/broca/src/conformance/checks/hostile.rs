//! Texts that are meant to break something.

use super::{
    Bench,
    order::{End, Order},
};
use crate::conformance::{
    life::PATIENCE,
    scene::Scene,
    verdict::{Checked, holds, wrong},
};

/// Each by what it is.
fn texts() -> Vec<(&'static str, String)> {
    let fixed = [
        ("HTML", "<b>bold</b><script>alert(1)</script> & &amp; <unclosed"),
        ("marks of Markdown", "*a _b `c ```d [e](f) ![g](h) > # ~~ || __ \\"),
        ("JSON", "{\"v\":1,\"type\":\"shutdown\",\"grace_ms\":0}"),
        ("line breaks", "one\ntwo\r\nthree\n\n\nfour"),
        ("letters from right to left", "\u{202e}override\u{202c} שלום مرحبا"),
        ("emoji and joiners", "👩‍👩‍👧‍👦🏳️‍🌈 e\u{301}\u{302}\u{303} 𝒳"),
        ("invisible characters", "a\u{200b}b\u{feff}c\u{2028}d\u{85}e"),
        ("a command of a shell", "$(rm -rf .); `id` | cat && true %s%n {0} ${x}"),
        ("SQL", "'); DROP TABLE messages; --"),
    ];
    let mut texts: Vec<_> = fixed.map(|(what, text)| (what, text.to_owned())).into();
    texts.push(("one word of 30,000 letters", "x".repeat(30_000)));
    texts.push(("20,000 opening brackets", "<[({".repeat(5_000)));
    texts
}

pub(super) async fn all(bench: &mut Bench<'_>) {
    let ended = incoming(bench).await;
    bench.is("hostile texts come in as they are", ended);
    let ended = outgoing(bench).await;
    bench.is("hostile answers go out, or are `dead`, and harm no other", ended);
}

async fn incoming(bench: &Bench<'_>) -> Checked {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let mut life = scene.begin().await?;
    for (what, text) in texts() {
        scene.platform.say("alice", &text).await?;
        let (id, message) = life.report().await?;
        life.accept(id, &message).await?;
        let got: String = message.text.chars().take(60).collect();
        holds(message.text == text, || format!("{what} came in as {got:?}"), "report the text as the platform has it")?;
    }
    Ok(())
}

async fn outgoing(bench: &Bench<'_>) -> Checked {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let mut life = scene.begin().await?;
    for (number, (what, text)) in texts().into_iter().enumerate() {
        let user = format!("u{number}");
        let end = Order::to(&user, &text).deliver(&mut life).await?;
        if matches!(end, End::Delivered { .. }) {
            scene.platform.wait_for_sent(PATIENCE, |sent| sent.iter().any(|sent| sent.user == user)).await;
        }
        let sent = scene.platform.sent().into_iter().filter(|sent| sent.user == user);
        let sent: String = sent.map(|sent| sent.text).collect();
        match end {
            End::Dead { .. } => {}
            // A platform with a dialect of its own has it in that.
            End::Delivered { .. } => {
                let same = scene.platform.scripted().is_err() || sent.contains(&text);
                let begin: String = sent.chars().take(60).collect();
                holds(same && !sent.is_empty(), || format!("{what} went out as {begin:?}"), "send `rest` as it is")?;
            }
            other => {
                let advice = "a text that the platform never takes is `dead`, class rejected";
                return Err(wrong(format!("of {what} it says {other:?}"), advice));
            }
        }
    }
    Order::to("alice", "still here").deliver(&mut life).await?.is_delivered()
}
