//! The widget on another site's page.

use axum::{Router, response::Html, routing::get};
use broca_servers::browser::{ENTER, ESCAPE, TAB};
use serde_json::json;
use tokio::net::TcpListener;

use crate::scene::Scene;

/// A site of somebody else's, with one script tag. Its own style is no friend of the widget's.
async fn site(attributes: &'static str) -> (String, tokio::sync::oneshot::Sender<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let (chat, known) = tokio::sync::oneshot::channel::<String>();
    tokio::spawn(async move {
        let chat = known.await.unwrap();
        let page = format!(
            "<!doctype html><html lang=en><meta name=viewport content='width=device-width'><title>The bakery</title><style>button {{ display: none }} * {{ color: red; font-size: 40px }} \
             body {{ font-family: Georgia, serif; margin: 3rem; background: #fdf6ec }} h1, p {{ color: #4a2c17; max-width: 34rem }} p {{ font-size: 20px }}</style>\
             <h1>Fresh bread, every morning</h1><p>Our ovens are lit at four. Come by before noon, or order ahead and pick up until six.</p>\
             <a href='#order'>Order</a><script src='{chat}chat.js' {attributes}></script></html>"
        );
        let router = Router::new().route("/", get(|| async move { Html(page) }));
        axum::serve(listener, router).await.unwrap();
    });
    (origin, chat)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_script_tag_is_a_chat_by_keyboard_alone() {
    let (origin, chat) = site("data-title='The bakery' data-accent='#8a4b16' data-theme='light'").await;
    let scene = Scene::with(json!({"allowed_origins": [origin]})).await;
    chat.send(scene.url()).unwrap();
    scene.browser.open(&format!("{origin}/")).await;
    scene.browser.until("one('.launcher')").await;
    scene.browser.picture("widget-closed").await;
    scene.browser.press(TAB).await;
    scene.browser.press(TAB).await;
    scene.browser.until("chat.activeElement?.className === 'launcher'").await;
    scene.browser.press(ENTER).await;
    scene.browser.until("chat.activeElement?.id === 'broca-box' && one('[role=dialog]')").await;
    scene.is_online().await;
    let id = scene.say("Do you have rye?").await;
    scene.answer(id, "Yes: *dark* and *light*, from seven.\n\n- 500 g\n- 1 kg").await;
    scene.browser.until("one('.theirs li')").await;
    scene.browser.picture("widget-open").await;
    scene.browser.press(ESCAPE).await;
    scene.browser.until("chat.activeElement?.className === 'launcher' && one('.panel').hidden").await;
    // An answer that comes while it is closed is announced.
    scene.answer(id, "And spelt.").await;
    scene.browser.until("one('.badge').textContent === '1' && !one('.badge').hidden").await;
    scene.browser.press(ENTER).await;
    scene.browser.until("one('.badge').hidden && !one('.panel').hidden").await;
    // The site's own style stays outside.
    let size = scene.browser.run("return [getComputedStyle(one('.plain')).fontSize, getComputedStyle(one('.launcher')).display !== 'none' || one('.launcher').hidden]").await;
    assert_eq!(size, json!(["16px", true]));
    scene.browser.size(390, 780).await;
    scene.browser.picture("widget-phone").await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_may_not_is_told_so() {
    let (origin, chat) = site("data-open").await;
    let scene = Scene::start().await;
    chat.send(scene.url()).unwrap();
    scene.browser.open(&format!("{origin}/")).await;
    scene.browser.until("one('.panel')?.dataset.state === 'offline'").await;
    scene.browser.press(&format!("hello{ENTER}")).await;
    scene.browser.until("one('.mine[data-kind=waiting], .mine[data-kind=failed]')").await;
    assert!(scene.pipeline.seen().accepted.is_empty());
    scene.close().await;
}
