//! How it looks: pictures for somebody to look at, and what can be said of them without looking.

use broca_core::MessageState;
use broca_servers::{Browser, CONTRAST};
use broca_tests::{Database, RigOptions};
use serde_json::json;

use crate::scene::{Scene, Screen};

/// Nothing is wider than the page, every control has a name, and texts can be read on what is behind them.
async fn is_readable(browser: &Browser, what: &str) {
    let script = [
        CONTRAST,
        "const ground = (at) => { for (; at; at = at.parentElement) {
           const colour = getComputedStyle(at).backgroundColor;
           if (!colour.includes('rgba(') && !colour.startsWith('color(')) return colour;
         } return 'rgb(255, 255, 255)'; };
         const own = (at) => [...at.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
         const poor = all('body *').filter((at) => own(at) && at.checkVisibility() && !at.closest('.hidden, .skip, svg, script, :disabled')).filter((at) => contrast(getComputedStyle(at).color, ground(at)) < 4.5).map((at) => `${at.tagName}.${at.className} ${getComputedStyle(at).color} on ${ground(at)}: ${at.textContent.slice(0, 40)}`);
         const nameless = all('button, a, input, select').filter((at) => !(at.innerText?.trim() || at.getAttribute('aria-label') || at.labels?.length))
           .map((at) => at.outerHTML.slice(0, 120));
         return [document.documentElement.scrollWidth > innerWidth, poor, nameless];",
    ]
    .concat();
    let found = browser.run(&script);
    assert_eq!(found.await, json!([false, [], []]), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_shown_to_a_friend() {
    let screen = Screen::start().await;
    let scene = Scene::start(RigOptions::new(Database::Sqlite)).await;
    let answered = scene.said("ann", "Do you have a room for four this afternoon?", MessageState::Completed).await;
    scene.said("ann", "And on Saturday?", MessageState::Completed).await;
    let failed = scene.said("ben", "The projector only blinks. #letta(http=400)", MessageState::Failed).await;
    scene.said("cem", "ok", MessageState::Completed).await;
    scene.rig.succeeds(&["hold", "add", "--user", "cem", "--reason", "waits for a call back"]);
    scene.said("cem", "When do you close?", MessageState::Held).await;
    let store = scene.rig.store().await;
    let record =
        store.message(answered.parse().expect("an id")).await.expect("the store answers").expect("it is there");
    let token = scene.token("ann", &["--access", "admin", "--contents"]);
    let browser = &screen.browser;
    screen.open(&scene.url("/")).await;
    browser.until("one('#token')").await;
    browser.picture("login").await;
    screen.log_in(&scene, &token).await;
    let pages = [
        ("overview", "Overview", "overview".to_owned()),
        ("queues", "Queues", "queues".to_owned()),
        ("workers", "Workers", "workers".to_owned()),
        ("plugins", "Plugins", "plugins".to_owned()),
        ("messages", "Messages", "messages".to_owned()),
        ("message", "Message", format!("message/{answered}")),
        ("failed", "Message", format!("message/{failed}")),
        ("conversation", "Conversation", format!("conversation/{}", record.conversation_id)),
        ("letters", "Dead letters", "letters".to_owned()),
        ("holds", "Holds", "holds".to_owned()),
        ("audit", "Audit log", "audit".to_owned()),
    ];
    for (name, title, path) in &pages {
        browser.size(1280, 800).await;
        screen.go(path, title).await;
        browser.until("one('.card')").await;
        for (size, width, height) in [("desktop", 1280, 800), ("phone", 390, 844), ("narrow", 320, 568)] {
            browser.size(width, height).await;
            for scheme in ["light", "dark"] {
                browser.prefers("prefers-color-scheme", scheme).await;
                // A colour on its way to another is neither.
                browser.until("document.getAnimations().every((one) => !(one instanceof CSSTransition))").await;
                is_readable(browser, &format!("{name} {size} {scheme}")).await;
                browser.picture(&format!("{name}-{size}-{scheme}")).await;
            }
        }
    }
    screen.is_quiet(&[]).await;
    screen.browser.close().await;
}
