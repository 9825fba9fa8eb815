//! Answers and messages that want to be more than text.

use crate::scene::Scene;

const PAYLOADS: &[&str] = &[
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "<svg onload=\"window.pwned = 1\">",
    "[click](javascript:window.pwned=1)",
    "[click](data:text/html,<script>window.pwned=1</script>)",
    "**<iframe srcdoc='<script>parent.pwned=1</script>'>**",
    "```<b>\n</code></pre><script>window.pwned=1</script>\n```",
    "> <style>* { display: none }</style>",
    "- <a href='javascript:window.pwned=1'>x</a>",
    "https://example.org/\"onmouseover=\"window.pwned=1",
    "`</code><script>window.pwned=1</script>`",
];

#[tokio::test(flavor = "multi_thread")]
async fn text_stays_text() {
    let scene = Scene::start().await;
    scene.open().await;
    for payload in PAYLOADS.iter().filter(|payload| !payload.contains('\n')) {
        let id = scene.say(payload).await;
        scene.answer(id, payload).await;
    }
    let last = scene.say("last").await;
    for payload in PAYLOADS.iter().filter(|payload| payload.contains('\n')) {
        scene.answer(last, payload).await;
    }
    let count = PAYLOADS.len();
    let all_there = format!("all('.theirs:not(.answering)').length === {count}");
    scene.browser.until(&all_there).await;
    let check = |browser| async move {
        let browser: &broca_servers::browser::Browser = browser;
        let found = browser.run(
            "const bad = all('script, img, iframe, style, svg[onload], .bubble [onmouseover], [srcdoc]').length;
             const links = all('.bubble a').map((link) => link.protocol);
             return [window.pwned ?? null, bad, links.filter((p) => !['http:', 'https:', 'mailto:'].includes(p)), document.title];",
        );
        assert_eq!(found.await, serde_json::json!([null, 0, [], "Harbour Library"]));
    };
    check(&scene.browser).await;
    let said = scene.said().await;
    for payload in PAYLOADS.iter().filter(|payload| !payload.contains('\n')) {
        assert!(said.iter().any(|text| text == payload), "{payload} is not shown as it was said: {said:?}");
    }
    scene.browser.picture("hostile").await;
    scene.browser.reload().await;
    scene.browser.until(&all_there).await;
    check(&scene.browser).await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_answer_does_not_stop_the_page() {
    let scene = Scene::start().await;
    scene.open().await;
    for nasty in [
        "*".repeat(60_000),
        "**a ".repeat(15_000),
        "[".repeat(60_000),
        "> ".repeat(30_000),
        "`a".repeat(30_000),
        "x\n".repeat(30_000),
    ] {
        let id = scene.say("more").await;
        scene.answer(id, &nasty).await;
    }
    scene.browser.until("all('.theirs:not(.answering)').length === 6").await;
    scene.say("still there").await;
    scene.close().await;
}
