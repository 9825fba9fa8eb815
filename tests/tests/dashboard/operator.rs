//! Somebody on duty at work: looking, replaying, holding.

use broca_core::MessageState;
use broca_tests::{Database, RigOptions, eventually, message_in, message_of};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, Screen};

/// It would leave a mark if it became a part of the page.
const HOSTILE: &str =
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script> \u{202e}hello & <b>bye</b>";

async fn on_duty(database: Database) {
    let screen = Screen::start().await;
    let scene = Scene::start(RigOptions::new(database)).await;
    let answered = scene.said("ann", HOSTILE, MessageState::Completed).await;
    let failed = scene.said("ben", "please #letta(http=400)", MessageState::Failed).await;
    let token = scene.token("ann", &["--access", "operate", "--contents"]);
    let browser = &screen.browser;

    screen.open(&scene.url("/")).await;
    browser.until("one('#token')").await;
    browser.run("put('#token', 'broca_0'); named('Log in').click();").await;
    browser.until("one('[role=alert]')?.innerText.includes('not known')").await;
    screen.log_in(&scene, &token).await;
    screen.is_quiet(&["401"]).await;

    // What somebody wrote is text, wherever it stands.
    screen.go("overview", "Overview").await;
    browser.until("all('.tile .value').some((at) => at.innerText.startsWith('2'))").await;
    screen.go("messages", "Messages").await;
    browser.until("all('tbody tr').length === 2").await;
    browser.run("put('[name=contains]', 'onerror');").await;
    browser.until("all('tbody tr').length === 1 && all('td').some((at) => at.innerText.includes('<img src=x'))").await;
    screen.press(&answered[..13]).await;
    browser.until("all('.journey li').length > 5 && one('.bubble').innerText.includes('<b>bye</b>')").await;
    let kinds = browser.run("return all('.journey li').map((at) => at.dataset.kind);").await;
    let place = |kind: &str| kinds.as_array().expect("a list").iter().position(|known| known == kind);
    let order: Vec<_> =
        ["accepted", "claimed", "turn_started", "turn_answered", "delivery_begun", "delivered"].map(place).to_vec();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{kinds}");
    browser.run("one('.facts a').click();").await;
    screen.shows("What was said").await;
    browser.until("one('h1').innerText === 'Conversation' && one('.talk')?.innerText.includes('delivered')").await;
    assert_ne!(browser.run("return document.title").await, "owned");
    assert_eq!(browser.run("return all('img[src=x], .talk script').length").await, 0);

    replay(&scene, &screen, &failed).await;
    hold(&scene, &screen).await;

    screen.go("audit", "Audit log").await;
    for act in ["replay.plan", "replay.apply", "hold.add", "hold.release"] {
        screen.shows(act).await;
    }
    browser.until("all('td strong').some((at) => at.innerText === 'dashboard:ann')").await;
    for (path, title) in [("queues", "Queues"), ("workers", "Workers"), ("plugins", "Plugins")] {
        screen.go(path, title).await;
        browser.until("one('.card')").await;
    }
    screen.is_quiet(&["404"]).await;
    screen.press("Log out").await;
    browser.until("one('#token')").await;
    screen.browser.close().await;
}

/// The plan is shown, confirmed, and done: the message is answered.
async fn replay(scene: &Scene, screen: &Screen, failed: &str) {
    let browser = &screen.browser;
    screen.go("letters", "Dead letters").await;
    browser.until("all('tbody tr').length === 1").await;
    browser.run("one('tbody input[type=checkbox]').click();").await;
    screen.press("Plan a replay of 1…").await;
    browser.run("put('dialog [name=reason]', 'mended');").await;
    screen.press("Show the plan").await;
    browser.until("one('dialog .plan') && one('dialog h2').innerText === 'The plan'").await;
    let store = scene.rig.store().await;
    let id = failed.parse().expect("an id");
    let replays = async || store.message(id).await.expect("the store answers").expect("it is there").replays.len();
    assert_eq!(replays().await, 0, "a plan moves nothing");
    screen.press("Replay 1 message…").await;
    browser.until("one('dialog h2').innerText === 'Are you sure?'").await;
    assert_eq!(replays().await, 0, "nor does asking");
    screen.press("Replay 1 message").await;
    browser.until("one('[data-done]')?.innerText.includes('replayed')").await;
    assert_eq!(replays().await, 1);
    message_in(&store, "ben", "please #letta(http=400)", MessageState::Completed).await;
    eventually("it is answered on the platform", PATIENCE, || async {
        scene.rig.platform.log().iter().any(|sent| sent.user == "ben")
    })
    .await;
    screen.press("Close").await;
    screen.shows("No dead letters").await;
}

/// An instance is held and released, and what came meanwhile is answered.
async fn hold(scene: &Scene, screen: &Screen) {
    let browser = &screen.browser;
    screen.go("holds", "Holds").await;
    screen.press("New hold…").await;
    browser.run("put('dialog [name=subject]', 'nobody'); put('dialog [name=reason]', 'a deploy');").await;
    screen.press("Hold").await;
    screen.shows("settings have no instance 'nobody'").await;
    screen.press("Close").await;
    // What was typed is there again.
    browser.until("one('dialog [name=subject]')?.value === 'nobody'").await;
    browser.run("put('dialog [name=subject]', 'demo'); put('dialog [name=reason]', 'a deploy');").await;
    screen.press("Hold").await;
    browser.until("named('Release…')").await;
    scene.rig.platform.say("cem", "while it is held");
    let store = scene.rig.store().await;
    eventually("it is accepted", PATIENCE, || async { message_of(&store, "cem", "while it is held").await.is_some() })
        .await;
    message_in(&store, "cem", "while it is held", MessageState::Held).await;
    screen.press("Release…").await;
    screen.press("Release").await;
    screen.shows("Nothing is on hold").await;
    message_in(&store, "cem", "while it is held", MessageState::Completed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_duty_on_sqlite() {
    on_duty(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_duty_on_postgres() {
    on_duty(Database::Postgres).await;
}

/// A plan with more than one call deals with.
#[tokio::test(flavor = "multi_thread")]
async fn many_letters_come_back_a_few_at_a_time() {
    const MANY: usize = 45;
    let screen = Screen::start().await;
    let scene = Scene::start(RigOptions::new(Database::Sqlite)).await;
    for n in 0..MANY {
        scene.rig.platform.say(&format!("u{n:02}"), &format!("m{n:02} #letta(http=400)"));
    }
    let store = scene.rig.store().await;
    eventually("all of them failed", PATIENCE, || async {
        store.counts().await.expect("the store answers").messages.get("failed") == Some(&(MANY as i64))
    })
    .await;
    let token = scene.token("ann", &["--access", "operate"]);
    screen.log_in(&scene, &token).await;
    screen.go("letters", "Dead letters").await;
    screen.press("Plan a replay of all…").await;
    screen.browser.run("put('dialog [name=rate]', '200');").await;
    screen.press("Show the plan").await;
    screen.press(&format!("Replay {MANY} messages…")).await;
    screen.press(&format!("Replay {MANY} messages")).await;
    screen.browser.until(&format!("one('[data-done]')?.innerText.includes('{MANY}')")).await;
    let acts = crate::scene::json(&scene.rig, &["audit", "list", "--operation", "replay.apply"]);
    let outcomes: Vec<&Value> = acts["items"].as_array().expect("a list").iter().map(|act| &act["outcome"]).collect();
    assert_eq!(outcomes, [&json!("done"); 3], "twenty a call");
    eventually("all of them are answered", PATIENCE, || async {
        store.counts().await.expect("the store answers").messages.get("completed") == Some(&(MANY as i64))
    })
    .await;
    screen.is_quiet(&[]).await;
    screen.browser.close().await;
}
