//! How it looks: pictures for somebody to look at, and what can be said of them without looking.

use broca_core::MessageState;
use serde_json::json;

use broca_servers::{Browser, CONTRAST};

use crate::scene::Scene;

const ANSWER: &str = "Yes, we do! There are **two reading rooms**:\n\n1. *Harbour room*: 12 seats, quiet, with a view\n2. *Archive*: 4 seats, \
    by appointment\n\nBook one at https://library.example/rooms, or write:\n\n```\nroom harbour 14:00 2h\n```\n\n> Groups of more than six, \
    please call us first.\n\nAnything with `room` in front of it is understood.";

/// Nothing is wider than the page, and texts can be read on what is behind them.
async fn is_readable(browser: &Browser, what: &str) {
    let script = [
        CONTRAST,
        "const ground = (at) => { for (; at; at = at.parentElement) {
           const colour = getComputedStyle(at).backgroundColor;
           if (!colour.includes('rgba(0, 0, 0, 0)') && !colour.startsWith('color(')) return colour;
         } return getComputedStyle(chat.host).backgroundColor; };
         const poor = all('p, li, h1, time, .note, .again, a, .state').filter((at) => at.offsetParent && at.textContent.trim()).filter((at) => contrast(getComputedStyle(at).color, ground(at)) < 4.5).map((at) => `${at.tagName}.${at.className} ${getComputedStyle(at).color} on ${ground(at)}`);
         return [document.documentElement.scrollWidth > innerWidth, poor];",
    ]
    .concat();
    let found = browser.run(&script);
    assert_eq!(found.await, json!([false, []]), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_shown_to_a_friend() {
    let scene = Scene::start().await;
    scene.browser.size(1280, 800).await;
    scene.open().await;
    scene.browser.picture("empty-desktop").await;
    let first = scene.say("Do you have rooms for reading?").await;
    scene.answer(first, ANSWER).await;
    let second =
        scene.say("Great, thanks. Please keep the harbour room for me tomorrow at two, if that is possible.").await;
    scene.answer(second, "Done. See you tomorrow at two.").await;
    scene.say("One more thing").await;
    scene.browser.until("all('.theirs:not(.answering)').length === 2 && !one('.answering').hidden").await;
    for (name, width, height) in [("desktop", 1280, 800), ("phone", 390, 844), ("narrow", 320, 568)] {
        scene.browser.size(width, height).await;
        for scheme in ["light", "dark"] {
            scene.browser.prefers("prefers-color-scheme", scheme).await;
            is_readable(&scene.browser, &format!("{name} {scheme}")).await;
            scene.browser.picture(&format!("{name}-{scheme}")).await;
        }
    }
    scene.browser.size(1280, 800).await;
    let last = scene.pipeline.seen().accepted.last().unwrap().id;
    scene.pipeline.end(last, MessageState::Failed, None);
    scene.browser.until("one('.again')").await;
    is_readable(&scene.browser, "failed, dark").await;
    scene.browser.picture("failed-dark").await;
    scene.browser.prefers("prefers-color-scheme", "light").await;
    is_readable(&scene.browser, "failed, light").await;
    scene.browser.picture("failed-light").await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_motion_gets_none() {
    let scene = Scene::start().await;
    scene.open().await;
    scene.say("hello").await;
    scene.browser.until("!one('.answering').hidden").await;
    let moves = "return getComputedStyle(one('.answering i')).animationName";
    assert_eq!(scene.browser.run(moves).await, "breathe");
    scene.browser.prefers("prefers-reduced-motion", "reduce").await;
    assert_eq!(scene.browser.run(moves).await, "none");
    scene.close().await;
}
