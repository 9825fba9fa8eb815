//! Answers as they come.

use broca_core::MessageState;
use broca_plugin::{Plugin, Typing};
use reqwest::Response;
use serde_json::{Value, json};

use crate::scene::{SESSION, Scene, refused};

struct Stream {
    response: Response,
    read: String,
}

impl Stream {
    async fn open(scene: &Scene, more: &str, last: Option<&str>) -> Self {
        let mut request = scene.get(&format!("action=stream&session_id={SESSION}{more}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
            (200, "text/event-stream")
        );
        let mut stream = Self { response, read: String::new() };
        assert_eq!(stream.next().await.unwrap().0, "ready");
        stream
    }

    /// The next event, and its data; `None` once the stream has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
                };
                let found = field("event")
                    .map(|event_name| (event_name, serde_json::from_str(&field("data").unwrap()).unwrap()));
                self.read = rest.to_owned();
                if found.is_some() {
                    return found;
                }
                continue;
            }
            let chunk = tokio::time::timeout(broca_rehearsal::pipeline::PATIENCE, self.response.chunk())
                .await
                .unwrap()
                .ok()??;
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            let (event, data) = self.next().await.unwrap();
            assert_eq!(event, "response");
            texts.push(data["response"].as_str().unwrap().to_owned());
        }
        texts
    }
}

#[tokio::test]
async fn answers_come_as_they_are_given_and_missed_ones_first() {
    let scene = Scene::start().await;
    for text in ["a", "b", "c"] {
        scene.say(text).await;
    }
    let mut early = Stream::open(&scene, "", None).await;
    scene.answer("a", "1").await.unwrap();
    assert_eq!(early.texts(1).await, ["1"]);
    drop(early);
    scene.answer("b", "2\n\nid: 99\n").await.unwrap();
    scene.answer("c", "3").await.unwrap();
    let first = scene.responses("").await[0]["id"].to_string();
    assert_eq!(Stream::open(&scene, &format!("&after={first}"), None).await.texts(2).await, ["2\n\nid: 99\n", "3"]);
    let second = scene.responses("").await[1]["id"].to_string();
    let mut back = Stream::open(&scene, &format!("&after={first}"), Some(&second)).await;
    assert_eq!(back.texts(1).await, ["3"], "the browser's own word is the newer one");
}

#[tokio::test]
async fn a_message_without_an_answer_is_told_of() {
    let scene = Scene::start().await;
    let taken = scene.say("hello").await;
    let mut stream = Stream::open(&scene, "", None).await;
    scene.pipeline.end(scene.accepted("hello"), MessageState::Failed, Some("the agent is gone"));
    let (event, data) = stream.next().await.unwrap();
    assert_eq!((event.as_str(), &data), ("state", &json!({"message_id": taken["message_id"], "state": "failed"})));
}

#[tokio::test]
async fn a_page_is_told_that_an_agent_works_and_what_no_agent_said() {
    let scene = Scene::start().await;
    scene.say("hello").await;
    let mut stream = Stream::open(&scene, "", None).await;
    let uid = scene.pipeline.seen().accepted[0].incoming.sender.platform_user_id.clone();
    let message_id = scene.accepted("hello");
    let other = Typing { message_id: broca_core::MessageId::new(), chat_id: None, platform_user_id: uid.clone() };
    scene.plugin.typing(&other).await;
    scene.plugin.typing(&Typing { message_id, ..other }).await;
    assert_eq!(stream.next().await.unwrap(), ("typing".to_owned(), json!({"for_ms": 6000})));
    scene.pipeline.notice(&*scene.plugin, message_id, "sorry").await.unwrap();
    let (event, data) = stream.next().await.unwrap();
    assert_eq!((event.as_str(), &data["response"], &data["kind"]), ("response", &json!("sorry"), &json!("notice")));
    assert_eq!(scene.responses("").await[0]["kind"], "notice", "also for a page that asks");
}

#[tokio::test]
async fn listeners_are_limited_and_end_with_the_process() {
    let scene = Scene::with(json!({"max_streams": 1})).await;
    let mut stream = Stream::open(&scene, "", None).await;
    refused(scene.get(&format!("action=stream&session_id={SESSION}")), 503).await;
    refused(scene.get("action=stream&session_id=x"), 400).await;
    scene.hosted.stop().await.unwrap();
    assert_eq!(stream.next().await, None);
}
