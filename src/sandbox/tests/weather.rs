//! What tests of a gateway lean on: faults by seed, tokens that change under way, and the record of every request.

use super::*;

const ROUGH: Schedule = Schedule { profile: Profile::Rough, seed: 42 };
const DOWN: Schedule = Schedule { profile: Profile::Down, seed: 42 };

/// Looks it up, whatever becomes of the body.
async fn try_lookup(sandbox: &Sandbox, id: &SessionId) {
    let asked = ask("GET", &format!("/v1/checkout-sessions/{id}")).body(Full::new(Bytes::new())).unwrap();
    let _ = sandbox.service().oneshot(asked).await.unwrap().into_body().collect().await;
}

async fn lookup_with(sandbox: &Sandbox, token: &str, id: &SessionId) -> u16 {
    let request = Request::get(format!("/v1/checkout-sessions/{id}"))
        .header("authorization", format!("Bearer {token}"))
        .header("monime-space-id", "spc-shop");
    send(sandbox, request, "").await.status.as_u16()
}

#[tokio::test(start_paused = true)]
async fn lookups_meet_the_faults_of_their_seed_whenever_they_come() {
    let mut records = Vec::new();
    for pause in [0, 700] {
        let sandbox = Sandbox::new(Settings { limits: Limits::NONE, schedule: ROUGH, ..Settings::default() });
        let id = sandbox.create(&space());
        for _ in 0..100 {
            advance(Duration::from_millis(pause)).await;
            try_lookup(&sandbox, &id).await;
        }
        let met: Vec<_> = sandbox.asked().into_iter().map(|asked| (asked.turn, asked.fault)).collect();
        let expected: Vec<_> = (0..100).map(|turn| (Some(turn), ROUGH.at(turn))).collect();
        assert_eq!(met, expected);
        let faults = sandbox.seen().faults;
        assert_eq!(faults.values().sum::<u64>(), (0..100).filter_map(|turn| ROUGH.at(turn)).count() as u64);
        assert!(faults["latency"] > 5 && faults["status"] > 0, "{faults:?}");
        records.push(met);
    }
    assert_eq!(records.first(), records.last());
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_and_who_meets_a_planned_fault_takes_no_turn() {
    let sandbox = Sandbox::new(Settings { limits: Limits::TEST, schedule: DOWN, ..Settings::default() });
    let id = sandbox.create(&space());
    assert_eq!(lookup_with(&sandbox, "wrong", &id).await, 401);
    assert_eq!(get(&sandbox, "/v1/checkout-sessions").await.status, 200, "no lookup");
    sandbox.play(Fault::Gzip, 1);
    for _ in 0..6 {
        try_lookup(&sandbox, &id).await;
    }
    let turns: Vec<_> = sandbox.asked().into_iter().map(|asked| asked.turn).collect();
    assert_eq!(turns, [None, None, None, Some(0), Some(1), Some(2), Some(3), None]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_begins_and_ends_by_control_and_begins_its_seed_anew() {
    let sandbox = without_limits();
    let id = sandbox.create(&space());
    assert_eq!(lookup(&sandbox, &id).await.status, 200);
    let told = control(&sandbox, "PUT", "schedule", json!({"faults": "down", "seed": 42})).await;
    assert_eq!(told.json(), json!({"faults": "down", "seed": 42, "turns": 0}));
    for _ in 0..20 {
        try_lookup(&sandbox, &id).await;
    }
    let shown = control(&sandbox, "GET", "schedule", json!(null)).await.json();
    assert_eq!(shown, json!({"faults": "down", "seed": 42, "turns": 20}));
    let failed = sandbox.asked().into_iter().skip(1).filter(|asked| asked.status.is_none_or(|it| it.is_server_error()));
    assert_eq!(failed.count(), 20);
    assert_eq!(control(&sandbox, "PUT", "schedule", json!({"faults": "calm"})).await.status, 200);
    assert_eq!(lookup(&sandbox, &id).await.status, 200);

    sandbox.follow(DOWN);
    assert_eq!(sandbox.schedule(), DOWN);
    try_lookup(&sandbox, &id).await;
    let last = sandbox.asked().pop().unwrap();
    assert_eq!((last.turn, last.fault), (Some(0), DOWN.at(0)));
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_is_none_is_refused_with_a_sentence_and_changes_nothing() {
    let sandbox = Sandbox::new(Settings { schedule: DOWN, ..Settings::default() });
    for (wrong, said) in [
        (json!({"faults": "stormy"}), "unknown variant `stormy`, expected one of `calm`, `rough`, `down`"),
        (json!({"faults": "rough", "seed": "soon"}), "expected u64"),
        (json!({"faults": "rough", "seed": -1}), "expected u64"),
        (json!({"seed": 1}), "missing field `faults`"),
        (json!({"faults": "rough", "sead": 1}), "unknown field `sead`"),
    ] {
        let refused = control(&sandbox, "PUT", "schedule", wrong).await;
        assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (400, "sandbox_invalid"));
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(said), "{message}");
    }
    assert_eq!(sandbox.schedule(), DOWN);
}

#[tokio::test(start_paused = true)]
async fn tokens_change_under_way_and_each_has_limits_of_its_own() {
    let sandbox = Sandbox::new(Settings { limits: Limits::TEST, token: "one".to_owned(), ..Settings::default() });
    let id = sandbox.create(&space());
    let mut told = Vec::new();
    for (accepted, token, times) in
        [(vec!["one"], "one", 5), (vec!["one", "two"], "two", 6), (vec!["two"], "one", 1), (vec!["one"], "one", 1)]
    {
        sandbox.accept_tokens(accepted);
        for _ in 0..times {
            told.push(lookup_with(&sandbox, token, &id).await);
        }
    }
    assert_eq!(told, [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 429, 401, 429], "its window waited for it");
    let tokens: Vec<_> = sandbox.asked().into_iter().map(|asked| asked.token).collect();
    let expected = [vec![Some(0); 5], vec![Some(1); 6], vec![None, Some(0)]].concat();
    assert_eq!(tokens, expected);
}

#[tokio::test(start_paused = true)]
async fn the_token_that_came_is_the_one_that_is_reflected() {
    let sandbox = without_limits();
    let id = sandbox.create(&space());
    sandbox.accept_tokens(["one", "two"]);
    sandbox.play(Fault::ReflectToken, 1);
    let request = Request::get(format!("/v1/checkout-sessions/{id}"));
    let request = request.header("authorization", "Bearer two").header("monime-space-id", "spc-shop");
    let reflected = send(&sandbox, request, "").await;
    assert_eq!(reflected.json()["messages"], json!(["Bearer two"]));
}

#[tokio::test(start_paused = true)]
async fn tokens_are_accepted_by_control_and_never_said_again() {
    let sandbox = without_limits();
    let id = sandbox.create(&space());
    let accept = json!({"accept": ["canary-1", "canary-2"]});
    assert_eq!(control(&sandbox, "PUT", "tokens", accept).await.json(), json!({"done": true}));
    assert_eq!(lookup(&sandbox, &id).await.status, 401);
    assert_eq!(lookup_with(&sandbox, "canary-1", &id).await, 200);
    assert_eq!(lookup_with(&sandbox, "canary-2", &SessionId::parse("canary-1").unwrap()).await, 404);
    for wrong in [
        json!("canary-1"),
        json!(["canary-1"]),
        json!({"accept": "canary-1"}),
        json!({"accept": [""]}),
        json!({"accept": ["canary 1"]}),
        json!({"canary-1": []}),
    ] {
        let refused = control(&sandbox, "PUT", "tokens", wrong).await;
        assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (400, "sandbox_invalid"));
        assert!(!String::from_utf8(refused.body.to_vec()).unwrap().contains("canary"));
    }
    assert_eq!(lookup_with(&sandbox, "canary-2", &id).await, 200, "as before");
    for path in ["seen", "asked", "schedule"] {
        let shown = control(&sandbox, "GET", path, json!(null)).await;
        assert!(!String::from_utf8(shown.body.to_vec()).unwrap().contains("canary"), "{path}");
    }
    let shown = format!("{sandbox:?} {:?} {:?}", sandbox.seen(), sandbox.asked());
    assert!(!shown.contains("canary"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn every_request_is_on_record_with_its_moment_its_session_and_what_it_was_told() {
    let sandbox = without_limits();
    let id = sandbox.create(&space());
    get(&sandbox, "/v1/nothing").await;
    sandbox.play(Fault::Status(StatusCode::BAD_GATEWAY), 1);
    try_lookup(&sandbox, &id).await;
    advance(Duration::from_millis(1500)).await;
    sandbox.play(Fault::Reset, 1);
    try_lookup(&sandbox, &id).await;
    sandbox.play(Fault::Latency(MINUTE), 1);
    assert!(timeout(Duration::from_millis(1), try_lookup(&sandbox, &id)).await.is_err(), "its caller leaves");
    let shown = control(&sandbox, "GET", "asked", json!(null)).await.json();
    let lookup = |at: u64, status: Value, fault: Value| {
        json!({"at_us": at, "operation": "GetCheckoutSession", "session": id.as_str(), "token": 0,
            "status": status, "fault": fault, "turn": null})
    };
    assert_eq!(
        shown["asked"],
        json!([
            {"at_us": 0, "operation": null, "session": null, "token": 0, "status": 404, "fault": null, "turn": null},
            lookup(0, json!(502), json!({"status": 502})),
            lookup(1_500_000, json!(null), json!("reset")),
            lookup(1_500_000, json!(null), json!({"latency": "1m"})),
        ])
    );
    sandbox.forget_seen();
    assert_eq!(sandbox.asked(), []);
}
