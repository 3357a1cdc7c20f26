//! The control routes for somebody who has only curl: the list of what there is, and a first session.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_pending_session_that_is_put_settles_like_a_created_one() {
    let outcome = Final::Cancelled;
    let sandbox = Sandbox::new(Settings { settle_after: Some(MINUTE), outcome, ..Settings::default() });
    let [by_hand, by_code] = ["scs-1", "scs-2"].map(|id| SessionId::parse(id).unwrap());
    let put = json!({"space": "spc-shop", "status": "pending"});
    assert_eq!(control(&sandbox, "PUT", "sessions/scs-1", put).await.status, 200);
    sandbox.put(&space(), &by_code, "pending");
    for (wait, expected) in [(59, "pending"), (1, "cancelled")] {
        advance(Duration::from_secs(wait)).await;
        for id in [&by_hand, &by_code] {
            assert_eq!(lookup(&sandbox, id).await.json()["result"]["status"], expected, "{id}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_session_takes_one_request_without_a_body() {
    let sandbox = without_limits();
    let made = send(&sandbox, Request::post("/_sandbox/sessions"), "").await;
    assert_eq!((made.status.as_u16(), made.body.last()), (200, Some(&b'\n')), "a terminal shows it");
    let made = made.json();
    let id = SessionId::parse(made["id"].as_str().unwrap()).unwrap();
    assert!(id.as_str().starts_with("scs-") && id.as_str().len() == 31, "{id}");
    assert_eq!((&made["space"], &made["status"]), (&json!("spc-demo"), &json!("pending")));
    assert_eq!(made["lookup"], format!("/v1/checkout-sessions/{id}"));
    assert_eq!(sandbox.status(&SpaceId::parse("spc-demo").unwrap(), &id).unwrap(), "pending");
    advance(Duration::from_secs(3599)).await;
    assert_eq!(sandbox.status(&SpaceId::parse("spc-demo").unwrap(), &id).unwrap(), "pending");
}

#[tokio::test(start_paused = true)]
async fn a_session_made_by_hand_goes_where_and_settles_as_it_was_told() {
    let sandbox = without_limits();
    let told = json!({"space": "spc-shop", "outcome": "cancelled", "settle_after": "1m"});
    let made = control(&sandbox, "POST", "sessions", told).await.json();
    let found = get(&sandbox, made["lookup"].as_str().unwrap()).await.json();
    assert_eq!((&found["result"]["id"], &found["result"]["status"]), (&made["id"], &json!("pending")));
    advance(MINUTE).await;
    let found = get(&sandbox, made["lookup"].as_str().unwrap()).await.json();
    assert_eq!(found["result"]["status"], "cancelled");

    for (wrong, said) in [
        (json!({"space": "shop"}), "`space`"),
        (json!({"outcome": "paid", "settle_after": "1s"}), "`completed`, `cancelled` or `expired`"),
        (json!({"outcome": "completed"}), "`settle_after`"),
        (json!({"settle_after": "soon"}), "body"),
        (json!({"status": "completed"}), "unknown field `status`"),
    ] {
        let refused = control(&sandbox, "POST", "sessions", wrong).await;
        assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (400, "sandbox_invalid"));
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(said), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_alone_will_do_where_sessions_settle_by_themselves() {
    let sandbox = Sandbox::new(Settings { settle_after: Some(MINUTE), ..Settings::default() });
    let made = control(&sandbox, "POST", "sessions", json!({"space": "spc-shop", "outcome": "expired"})).await.json();
    advance(MINUTE).await;
    let found = get(&sandbox, made["lookup"].as_str().unwrap()).await.json();
    assert_eq!(found["result"]["status"], "expired");
}

#[tokio::test(start_paused = true)]
async fn every_listed_fault_is_one_and_plays_and_none_is_left_out() {
    let sandbox = without_limits();
    let id = sandbox.create(&space());
    let right = lookup(&sandbox, &id).await.body;
    let listed = send(&sandbox, Request::get("/_sandbox"), "").await;
    let listed = listed.json()["faults"].as_array().unwrap().clone();
    let mut names = Vec::new();
    for entry in listed {
        let fault = &entry["fault"];
        assert!(entry["means"].as_str().is_some_and(|means| means.len() > 10), "{fault}");
        names.push(fault.as_str().or_else(|| fault.as_object()?.keys().next().map(String::as_str)).unwrap().to_owned());
        assert_eq!(serde_json::from_value::<Fault>(fault.clone()).unwrap().name(), names.last().unwrap());
        let planned = control(&sandbox, "POST", "faults", json!({ "fault": fault })).await;
        assert_eq!(planned.status, 200, "{fault}");

        let begun = Instant::now();
        let asked = ask("GET", &format!("/v1/checkout-sessions/{id}")).body(Full::new(Bytes::new())).unwrap();
        let (parts, body) = sandbox.service().oneshot(asked).await.unwrap().into_parts();
        let came = body.collect().await.map(http_body_util::Collected::to_bytes);
        let as_ever = parts.status == 200 && came.is_ok_and(|came| came == right) && begun.elapsed().is_zero();
        assert!(!as_ever, "{fault} changes something");
        assert_eq!(lookup(&sandbox, &id).await.body, right, "{fault} is over");
    }
    // serde names every variant that it would have taken.
    let every = serde_json::from_str::<Fault>(r#""explode""#).unwrap_err().to_string();
    let every: Vec<_> = every.split('`').skip(3).step_by(2).collect();
    assert_eq!(names, every);
}

#[tokio::test(start_paused = true)]
async fn every_listed_route_is_one_and_takes_the_body_that_is_shown() {
    let sandbox = without_limits();
    let whole = send(&sandbox, Request::get("/_sandbox"), "").await;
    let text = String::from_utf8(whole.body.to_vec()).unwrap();
    assert!(text.lines().count() > 20 && text.ends_with("}\n"), "{text}");
    assert!(text.contains(r#"{"fault": {"throttled":{"scope":"token-limit","retry_after":7}}, "means": "#), "{text}");
    assert!(text.contains(r#"{"fault": {"latency":"2s"}, "means": "#), "one to a line, ready to be copied: {text}");
    let documented =
        include_str!("../../sandbox.rs").lines().filter(|line| line.starts_with("//! |")).collect::<String>();
    for entry in whole.json()["routes"].as_array().unwrap() {
        let (method, path) = entry["route"].as_str().unwrap().split_once(' ').unwrap();
        assert!(documented.contains(method) && documented.contains(&format!("{path}`")), "{path} is in the docs");
        assert!(entry["does"].as_str().is_some_and(|does| does.len() > 10), "{path}");
        let id = SessionId::parse("scs-1").unwrap();
        sandbox.put(&space(), &id, "pending");
        let body = if entry["body"].is_null() { String::new() } else { entry["body"].to_string() };
        let request = Request::builder().method(method).uri(path.replace("{id}", id.as_str()));
        assert_eq!(send(&sandbox, request, body).await.status, 200, "{method} {path}");
    }
}
