//! Who may only look, and who uses no mouse.

use broca_core::MessageState;
use broca_servers::browser::{ENTER, ESCAPE, TAB};
use broca_tests::{Database, RigOptions};
use serde_json::json;

use crate::scene::{Scene, Screen};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_only_look_can_only_look() {
    let screen = Screen::start().await;
    let scene = Scene::start(RigOptions::new(Database::Sqlite)).await;
    let secret = "sesame opens nothing";
    let id = scene.said("ann", secret, MessageState::Completed).await;
    scene.said("ben", &format!("{secret} #letta(http=400)"), MessageState::Failed).await;
    let browser = &screen.browser;

    // On this machine, without any token: the page is there at once, without texts and without buttons.
    screen.open(&scene.url("/")).await;
    screen.shows("Not logged in").await;
    let token = scene.token("reader", &["--access", "read"]);
    screen.log_in(&scene, &token).await;
    for (path, title) in [("letters", "Dead letters"), ("holds", "Holds"), (&format!("message/{id}")[..], "Message")] {
        screen.go(path, title).await;
        browser.until("one('.card')").await;
        let acts = "return all('.main button').map((at) => at.innerText).filter((text) => /replay|resolve|hold|release|cancel/i.test(text));";
        assert_eq!(browser.run(acts).await, json!([]), "{path}");
        assert_eq!(browser.run(&format!("return says('{secret}')")).await, json!(false), "{path} shows a text");
    }
    browser.until("says('characters, hidden')").await;
    screen.is_quiet(&["401"]).await;
    // The buttons are a courtesy: the server says no.
    let tried = "const {act} = await import('/assets/api.js');
        return await act('hold.add', {on: {instance: 'demo'}, reason: 'x'}).then(() => 'done', (error) => [error.status, error.code]);";
    let tried = format!("return (async () => {{ {tried} }})();");
    assert_eq!(browser.run(&tried).await, json!([403, "unauthorised"]));
    screen.is_quiet(&["403"]).await;
    // Whose token is revoked is shown the door, and told why.
    scene.rig.succeeds(&["token", "revoke", "reader"]);
    screen.go("overview", "Broca").await;
    screen.shows("The session is over").await;
    screen.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_is_enough() {
    let screen = Screen::start().await;
    let scene = Scene::start(RigOptions::new(Database::Sqlite)).await;
    let id = scene.said("ann", "hello", MessageState::Completed).await;
    let token = scene.token("ann", &["--access", "operate", "--contents"]);
    let browser = &screen.browser;
    screen.open(&scene.url("/")).await;
    browser.until("document.activeElement?.id === 'token'").await;
    browser.press(&format!("{token}{ENTER}")).await;
    browser.until("one('.frame') && one('h1')?.innerText === 'Overview'").await;

    browser.press("gd").await;
    browser.until("one('h1').innerText === 'Dead letters'").await;
    browser.press("?").await;
    browser.until("one('dialog[open]')?.innerText.includes('Keyboard')").await;
    assert_eq!(browser.run("return one('dialog').contains(document.activeElement)").await, true);
    browser.press(ESCAPE).await;
    browser.until("!one('dialog')").await;
    browser.press("/").await;
    browser.until("document.activeElement?.dataset.search !== undefined").await;
    browser.press("gm").await;
    browser.until("document.activeElement.value === 'gm'").await;

    // The first thing that the Tab key comes to leads past the navigation.
    screen.open(&scene.url("/#/messages")).await;
    browser.until("all('tbody tr').length === 1").await;
    browser.run("one('.skip').focus();").await;
    browser.press(ENTER).await;
    browser.until("document.activeElement?.id === 'main'").await;
    for _ in 0..20 {
        if browser.run("return document.activeElement?.dataset.key?.startsWith('message-') ?? false").await
            == json!(true)
        {
            break;
        }
        browser.press(TAB).await;
    }
    let ring = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.run(ring).await, "solid", "the focus is seen");
    browser.press(ENTER).await;
    browser.until(&format!("location.hash === '#/message/{id}' && all('.journey li').length > 5")).await;
    assert_eq!(browser.run("return document.documentElement.dataset.theme ?? 'auto'").await, "auto");
    browser.press("t").await;
    browser.until("document.documentElement.dataset.theme === 'dark'").await;
    browser.reload().await;
    browser.until("one('.frame') && document.documentElement.dataset.theme === 'dark'").await;
    browser.press("go").await;
    browser.until("one('h1')?.innerText === 'Overview' && one('.live')?.dataset.state === 'live'").await;
    browser.press(" ").await;
    browser.until("one('.live').dataset.state === 'paused'").await;
    browser.prefers("prefers-reduced-motion", "reduce").await;
    browser.press(" ").await;
    browser
        .until("one('.live').dataset.state === 'live' && getComputedStyle(one('.live .dot')).animationName === 'none'")
        .await;
    screen.is_quiet(&[]).await;
    screen.browser.close().await;
}
