//! The server goes, and comes back.

use broca_servers::browser::ENTER;

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_without_a_connection_is_sent_once() {
    let mut scene = Scene::start().await;
    scene.open().await;
    let first = scene.say("before").await;
    scene.stop().await;
    scene.browser.until("one('.panel').dataset.state === 'offline'").await;
    scene.browser.press(&format!("meanwhile{ENTER}")).await;
    scene.browser.until("all('.mine')[1]?.dataset.kind === 'waiting'").await;
    scene.browser.picture("offline").await;
    // It is kept when the page is left: the browser shows its own error page now, and ours after.
    scene.serve().await;
    scene.accepted("meanwhile").await;
    scene.is_online().await;
    scene.answer(first, "to before").await;
    scene.browser.until("one('.theirs:not(.answering)')").await;
    assert_eq!(scene.pipeline.seen().texts(), ["before", "meanwhile"]);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_were_missed_are_filled_in() {
    let mut scene = Scene::start().await;
    scene.open().await;
    let first = scene.say("first").await;
    let second = scene.say("second").await;
    scene.answer(first, "to first").await;
    scene.browser.until("all('.theirs:not(.answering)').length === 1").await;
    scene.browser.devtools("Network.enable", serde_json::json!({})).await;
    let offline = |offline: bool| serde_json::json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
    scene.browser.devtools("Network.emulateNetworkConditions", offline(true)).await;
    scene.stop().await;
    scene.browser.until("one('.panel').dataset.state === 'offline'").await;
    scene.serve().await;
    scene.answer(second, "to second").await;
    scene.browser.devtools("Network.emulateNetworkConditions", offline(false)).await;
    scene.browser.until("all('.theirs:not(.answering)').length === 2").await;
    assert_eq!(scene.said().await, ["first", "second", "to first", "to second"]);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_not_sent_survives_a_reload() {
    let mut scene = Scene::start().await;
    scene.open().await;
    // The pipeline refuses, the page is still served.
    scene.pipeline.be_unavailable(usize::MAX);
    scene.browser.press(&format!("not lost{ENTER}")).await;
    scene.browser.until("one('.mine')?.dataset.kind === 'waiting'").await;
    scene.browser.reload().await;
    scene.browser.until("one('.mine')?.dataset.kind === 'waiting'").await;
    scene.pipeline.be_unavailable(0);
    scene.accepted("not lost").await;
    scene.browser.until("one('.mine')?.dataset.kind === 'sent'").await;
    assert_eq!(scene.pipeline.seen().texts(), ["not lost"]);
    scene.stop().await;
    scene.serve().await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_in_another_tab_comes_with_its_answer() {
    let scene = Scene::start().await;
    scene.open().await;
    let first = scene.say("here").await;
    scene.answer(first, "to here").await;
    scene.browser.until("all('.theirs:not(.answering)').length === 1").await;
    let elsewhere = "return fetch('api/v1/?action=messages', {method: 'POST', body: JSON.stringify({session_id: \
        JSON.parse(localStorage[Object.keys(localStorage)[0]]).session, message: 'elsewhere'})}).then((r) => r.status)";
    assert_eq!(scene.browser.run(elsewhere).await, 200);
    let second = scene.accepted("elsewhere").await;
    scene.answer(second, "to elsewhere").await;
    scene.browser.until("all('.theirs:not(.answering)').length === 2").await;
    assert_eq!(scene.said().await, ["here", "to here", "elsewhere", "to elsewhere"]);
    scene.close().await;
}
