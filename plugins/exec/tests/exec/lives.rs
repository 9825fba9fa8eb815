//! From hello to the end, however that comes about.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use broca_core::{DeliveryError, ResponseId, agent::FailureClass, delivery::Settlement};
use broca_plugin::{Applied, HostError, PluginError, PluginState};
use broca_plugin_exec::{blueprint, untied};
use broca_rehearsal::pipeline::response_to;
use serde_json::json;

use crate::scene::{Scene, python};

/// Says ready, reports one message, and answers every delivery as `how` says.
fn behaves(how: &str) -> serde_json::Value {
    python(&format!(
        "hello = read()\nsay('ready', name='p', version='1')\n\
         say('ingest', id='a', message={{'event_id': '1', 'sender': {{'platform_user_id': 'alice'}}, 'text': 'hi'}})\n\
         while True:\n    line = read()\n    if line['type'] == 'shutdown': break\n    if line['type'] == 'deliver':\n        {how}\n"
    ))
}

/// The profile and response of a delivery by hand.
async fn deliver(scene: &Scene, text: &str) -> Result<broca_core::Receipt, DeliveryError> {
    let message = scene.first().await;
    scene.answer(message, text).await
}

#[tokio::test]
async fn a_message_goes_in_and_its_answer_out() {
    let how = "say('delivered', id=line['id'], platform_message_ids=[line['response']['rest'].upper()])";
    let scene = Scene::ready(behaves(how)).await;
    let receipt = deliver(&scene, "hello").await.unwrap();
    assert_eq!(receipt.platform_message_ids, ["HELLO"]);
    assert_eq!(scene.pipeline.seen().texts(), ["hi"]);
    scene.hosted.stop().await.unwrap();
}

#[tokio::test]
async fn parts_are_recorded_one_by_one() {
    let how = "say('part', id=line['id'], platform_message_id='1', text_bytes=2)\n        assert read()['type'] == 'part_recorded'\n        say('delivered', id=line['id'], platform_message_ids=['2'])";
    let scene = Scene::ready(behaves(how)).await;
    assert_eq!(deliver(&scene, "abcd").await.unwrap().platform_message_ids, ["1", "2"]);
    scene.hosted.stop().await.unwrap();
}

#[tokio::test]
async fn what_it_says_of_a_failure_is_what_is_heard() {
    let how = "say('retry', id=line['id'], after_ms=7000, **{'class': 'rate_limited'}, reason='slowly')";
    let scene = Scene::ready(behaves(how)).await;
    match deliver(&scene, "x").await {
        Err(DeliveryError::Retry { after: Some(after), failure }) => {
            assert_eq!((after, failure.class), (Duration::from_secs(7), FailureClass::RateLimited));
        }
        other => panic!("{other:?}"),
    }
    scene.hosted.stop().await.unwrap();
    for (how, class) in [
        ("say('dead', id=line['id'], **{'class': 'blocked'}, reason='gone')", FailureClass::Blocked),
        ("say('unknown', id=line['id'], reason='cut')", FailureClass::Timeout),
        ("say('settled', id=line['id'], outcome='delivered')", FailureClass::Protocol),
    ] {
        let scene = Scene::ready(behaves(how)).await;
        let failure = match deliver(&scene, "x").await {
            Err(DeliveryError::Dead(failure) | DeliveryError::Unknown(failure)) => failure,
            other => panic!("{other:?}"),
        };
        assert_eq!(failure.class, class, "{how}");
        scene.hosted.stop().await.unwrap();
    }
}

#[tokio::test]
async fn one_that_dies_in_mid_delivery_is_started_again_and_asked() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("died");
    let program = format!(
        "read()\nsay('ready', capabilities={{'settles': True}})\n\
         say('ingest', id=1, message={{'event_id': '1', 'sender': {{'platform_user_id': 'alice'}}, 'text': 'hi'}})\n\
         while True:\n    line = read()\n    if line['type'] == 'shutdown': break\n    if line['type'] == 'deliver' and not os.path.exists({marker:?}):\n        open({marker:?}, 'w').close()\n        os.kill(os.getpid(), signal.SIGKILL)\n    if line['type'] == 'deliver': say('delivered', id=line['id'], platform_message_ids=['again'])\n    if line['type'] == 'settle': say('settled', id=line['id'], outcome='partly', parts=[{{'platform_message_id': 'p', 'text_end': 1}}])\n"
    );
    let scene = Scene::ready(python(&program)).await;
    let cut = deliver(&scene, "hello").await.unwrap_err();
    assert!(matches!(&cut, DeliveryError::Unknown(f) if f.class == FailureClass::Interrupted), "{cut:?}");
    let accepted = scene.pipeline.seen().accepted[0].clone();
    let response = response_to(&accepted.incoming, "hello");
    let profile = serde_json::from_value(json!({
        "id": ResponseId::new(), "user_id": ResponseId::new(), "platform": "pigeon", "platform_user_id": "alice",
        "username": null, "display_name": null, "metadata": null,
    }))
    .unwrap();
    let settled = scene.plugin.settle(&response, &profile, accepted.id).await;
    assert!(matches!(settled, Settlement::Partly(parts) if parts[0].text_end == 1));
    assert_eq!(deliver(&scene, "hello").await.unwrap().platform_message_ids, ["again"]);
    // It reported its message again, and that was found to be the same.
    let seen = scene.pipeline.until(|seen| seen.duplicates == 1).await;
    assert!(
        seen.states.iter().any(|state| matches!(state, PluginState::Degraded { detail } if detail.contains("SIGKILL")))
    );
    scene.hosted.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_cannot_be_asked_leaves_it_open() {
    let scene = Scene::ready(behaves("os.kill(os.getpid(), signal.SIGKILL)")).await;
    assert!(matches!(deliver(&scene, "x").await, Err(DeliveryError::Unknown(_))));
    let accepted = scene.pipeline.seen().accepted[0].clone();
    let response = response_to(&accepted.incoming, "x");
    let profile = serde_json::from_value(json!({
        "id": ResponseId::new(), "user_id": ResponseId::new(), "platform": "pigeon", "platform_user_id": "alice",
        "username": null, "display_name": null, "metadata": null,
    }))
    .unwrap();
    assert_eq!(scene.plugin.settle(&response, &profile, accepted.id).await, Settlement::CannotTell);
    scene.hosted.stop().await.unwrap();
}

#[tokio::test]
async fn what_it_never_read_was_not_delivered() {
    // Ready, and then deaf: the pipe takes what it can, and the rest was never written.
    let program = "read()\nsay('ready')\n\
         say('ingest', id=1, message={'event_id': '1', 'sender': {'platform_user_id': 'alice'}, 'text': 'hi'})\n\
         time.sleep(3)\nos.kill(os.getpid(), signal.SIGKILL)\n";
    let scene = Scene::ready(python(program)).await;
    let message = scene.first().await;
    let long = "x".repeat(1 << 20);
    let (first, second) = tokio::join!(scene.answer(message, &long), async {
        tokio::task::yield_now().await;
        scene.answer(message, &long).await
    });
    let ends = [first.unwrap_err(), second.unwrap_err()];
    let unknown = ends.iter().filter(|end| matches!(end, DeliveryError::Unknown(_))).count();
    let retry = ends.iter().filter(|end| matches!(end, DeliveryError::Retry { .. })).count();
    assert_eq!((unknown, retry), (1, 1), "{ends:?}");
    scene.hosted.kill().await;
}

#[tokio::test]
async fn garbage_is_dropped_and_too_much_of_it_is_the_end() {
    let noise = "read()\nprint('Welcome to my library!')\nprint('{\"v\": 2, \"type\": \"ready\"}')\nsys.stdout.flush()\nsys.stdout.buffer.write(b'\\xff\\xfe\\n')\nsay('ready')\nsay('what')\nsay('emit', kind='message', data={})\n";
    let scene = Scene::ready(python(&format!("{noise}\nwhile read()['type'] != 'shutdown': pass\n"))).await;
    scene.hosted.stop().await.unwrap();

    let flood = "read()\nsay('ready')\nwhile True: print('noise', flush=True)\n";
    let scene = Scene::of(python(flood));
    let ended = scene.hosted.ends().await.unwrap_err();
    let HostError::Plugin(PluginError::Platform(why)) = ended else { panic!("{ended:?}") };
    assert!(why.contains("too much") && why.contains("5 times in a row"), "{why}");
}

#[tokio::test]
async fn one_that_never_says_ready_is_given_up() {
    let mut settings = python("time.sleep(600)\n");
    settings["start_timeout_ms"] = 100.into();
    let scene = Scene::of(settings);
    let ended = scene.hosted.ends().await.unwrap_err();
    assert!(ended.to_string().contains("did not say that it is ready within 100ms"), "{ended}");
}

#[tokio::test]
async fn one_that_does_not_exist_says_so() {
    let scene = Scene::of(json!({"command": ["/no/such/program"]}));
    let ended = scene.hosted.ends().await.unwrap_err();
    assert!(ended.to_string().contains("cannot run /no/such/program"), "{ended}");
    let error = blueprint("pigeon", untied).build(json!({"command": []})).unwrap_err();
    assert!(error.to_string().contains("command"), "{error}");
}

#[tokio::test]
async fn it_says_itself_that_a_person_has_to_do_something() {
    let scene = Scene::of(python("read()\nsay('failed', cause='credentials', reason='renew the token')\n"));
    let ended = scene.hosted.ends().await.unwrap_err();
    assert!(
        matches!(&ended, HostError::Plugin(PluginError::Credentials(why)) if why == "renew the token"),
        "{ended:?}"
    );
    let bad = scene.pipeline.seen().states.pop();
    assert!(matches!(bad, Some(PluginState::BadCredentials { .. })), "{bad:?}");
}

#[tokio::test]
async fn a_slow_one_holds_nobody_else_up() {
    let how = "pid = os.fork()\n        if pid == 0:\n            time.sleep(5 if line['response']['rest'] == 'slow' else 0)\n            say('delivered', id=line['id'])\n            os._exit(0)";
    let scene = Arc::new(Scene::ready(behaves(how)).await);
    let message = scene.first().await;
    let slow = tokio::spawn({
        let scene = scene.clone();
        async move { scene.answer(message, "slow").await }
    });
    scene.answer(message, "fast").await.unwrap();
    assert!(!slow.is_finished());
    slow.await.unwrap().unwrap();
}

#[tokio::test]
async fn its_environment_holds_nothing_of_ours_but_what_it_is_given() {
    let mut settings = python(
        "hello = read()\nsay('ready')\ntext = json.dumps([sorted(os.environ), os.environ['GIVEN'], hello['settings']])\n\
         say('ingest', id=1, message={'event_id': '1', 'sender': {'platform_user_id': 'a'}, 'text': text})\n\
         while read()['type'] != 'shutdown': pass\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "hunter2\n").unwrap();
    let reference = format!("file:{}", token.display());
    settings["env"] = json!({"GIVEN": "as it is"});
    settings["options"] = json!({"colour": "blue", "looks": "env:LIKE_ONE"});
    settings["secrets"] = json!({"token": reference});
    let scene = Scene::ready(settings).await;
    scene.first().await;
    let said: serde_json::Value = serde_json::from_str(scene.pipeline.seen().texts()[0]).unwrap();
    let names: Vec<&str> = said[0].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
    assert!(names.contains(&"PATH") && !names.iter().any(|name| name.starts_with("CARGO")), "{names:?}");
    assert_eq!(said[1], "as it is");
    assert_eq!(said[2], json!({"colour": "blue", "looks": "env:LIKE_ONE", "token": "hunter2"}));
    scene.hosted.stop().await.unwrap();
}

#[tokio::test]
async fn settings_are_taken_live_where_it_says_so() {
    let program = "hello = read()\nsay('ready', applies_settings=True)\nwhile True:\n    line = read()\n    if line['type'] == 'shutdown': break\n    if line['type'] == 'settings':\n        colour = line['settings'].get('colour')\n        if colour == 'red': say('settings_refused', id=line['id'], reason='no red')\n        else: say('applied', id=line['id'], restart=colour == 'green')\n";
    let with = |colour: &str| {
        let mut settings = python(program);
        settings["options"] = json!({"colour": colour});
        settings
    };
    let scene = Scene::ready(with("blue")).await;
    assert_eq!(scene.plugin.apply_settings(with("black")).await.unwrap(), Applied::Live);
    assert_eq!(scene.plugin.apply_settings(with("green")).await.unwrap(), Applied::Restart);
    assert!(scene.plugin.apply_settings(with("red")).await.unwrap_err().to_string().contains("no red"));
    let mut other = with("black");
    other["command"] = json!(["true"]);
    assert_eq!(scene.plugin.apply_settings(other).await.unwrap(), Applied::Restart);
    scene.hosted.stop().await.unwrap();
}

#[tokio::test]
async fn it_and_what_it_started_are_gone_after_the_stop() {
    let program = "read()\nsay('ready')\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\npid = os.fork()\nif pid == 0:\n    time.sleep(600)\n\
         say('ingest', id=1, message={'event_id': '1', 'sender': {'platform_user_id': 'a'}, 'text': str(pid)})\nwhile read()['type'] != 'shutdown': pass\n";
    let scene = Scene::ready(python(program)).await;
    scene.first().await;
    let grandchild = scene.pipeline.seen().texts()[0].to_owned();
    scene.hosted.stop().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    while alive() {
        assert!(Instant::now() < deadline, "process {grandchild} goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn every_question_is_answered() {
    let program = "read()\nsay('ready')\nfor n in range(5): say('status', id=n, message_id='01a20a75-2634-75f9-aaa5-72502bdb0e44')\n\
         answers = sorted(read()['id'] for _ in range(5))\n\
         say('history', id='h', platform_user_id='a', limit=3)\nassert read()['messages'] == []\n\
         say('cancel', id='c', message_id='01a20a75-2634-75f9-aaa5-72502bdb0e44', reason='r')\nassert read()['outcome'] == 'over'\n\
         say('ingest', id=1, message={'event_id': '1', 'sender': {'platform_user_id': 'a'}, 'text': str(answers)})\nassert read()['type'] == 'accepted'\n\
         say('ingest', id=2, message={'event_id': '2', 'sender': {'platform_user_id': 'a'}, 'text': ' '})\nassert read()['type'] == 'refused'\n\
         while read()['type'] != 'shutdown': pass\n";
    let scene = Scene::ready(python(program)).await;
    scene.first().await;
    assert_eq!(scene.pipeline.seen().texts(), ["[0, 1, 2, 3, 4]"]);
    scene.pipeline.until(|seen| seen.refused == 1).await;
    scene.hosted.stop().await.unwrap();
}
