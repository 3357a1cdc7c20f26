//! The admin endpoints as an operator and a stranger see them.

use std::sync::Mutex;

use tower::ServiceExt;

use super::*;
use crate::caller::{Digest, Named, Policy};

#[derive(Debug, Default)]
struct Remembers(Mutex<Vec<Purge>>, Option<Arc<Callers>>);

impl Operated for Remembers {
    fn purge(&self, purge: &Purge) -> u64 {
        let mut purges = self.0.lock().unwrap();
        purges.push(purge.clone());
        purges.len() as u64
    }
    fn measure(&self) {}
    fn upstream(&self) -> String {
        "unreachable 3 s ago".into()
    }
    fn credentials(&self) -> Vec<String> {
        vec!["of spc-1: fine".into(), "of spc-2: an older one is used".into()]
    }
    fn config(&self) -> Bytes {
        "{}".into()
    }
    fn operators(&self) -> Option<Arc<Callers>> {
        self.1.clone()
    }
}

struct Fixture {
    service: AdminService,
    memory: Arc<Remembers>,
    readiness: Readiness,
}

fn fixture(local: bool) -> Fixture {
    operated(local, None)
}

fn operated(local: bool, operators: Option<Arc<Callers>>) -> Fixture {
    let memory = Arc::new(Remembers(Mutex::default(), operators));
    let readiness = Readiness::default();
    let admin = Admin {
        local,
        readiness: readiness.clone(),
        metrics: Arc::new(Metrics::new().unwrap()),
        gateway: Arc::clone(&memory) as Arc<dyn Operated>,
    };
    Fixture { service: AdminService::new(admin), memory, readiness }
}

impl Fixture {
    async fn ask(&self, method: &str, target: &str, content_type: &str, body: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(target).header(CONTENT_TYPE, content_type);
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        let answer = self.service.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        (head.status, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    async fn get(&self, target: &str) -> (StatusCode, String) {
        self.ask("GET", target, "", "").await
    }
}

#[tokio::test]
async fn readiness_follows_the_process_and_never_monime() {
    let admin = fixture(true);
    assert_eq!(admin.get("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, "starting\n".into()));
    assert_eq!(admin.get("/livez").await.0, StatusCode::OK);
    admin.readiness.ready();
    assert_eq!(admin.get("/readyz").await, (StatusCode::OK, "ready\n".into()));
    let (status, verbose) = admin.get("/readyz?verbose").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        verbose,
        "gateway: ready\ncredential of spc-1: fine\ncredential of spc-2: an older one is used\nmonime: unreachable 3 s ago\n",
        "and nobody's trouble is the gateway's"
    );
    admin.readiness.draining();
    assert_eq!(admin.get("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, "draining\n".into()));
    assert_eq!(admin.get("/livez").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_purge_is_understood_to_the_last_field_or_purges_nothing() {
    let admin = fixture(true);
    let json = "application/json; charset=utf-8";
    let (space, id) = (SpaceId::parse("spc-1").unwrap(), SessionId::parse("scs-1").unwrap());
    for (body, purge) in [
        (r#"{"space":"spc-1","id":"scs-1"}"#, Purge::Session(space.clone(), id)),
        (r#"{"space":"spc-1"}"#, Purge::Space(space)),
        (r#"{"all":true}"#, Purge::All),
    ] {
        let (status, answer) = admin.ask("POST", "/purge", json, body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(admin.memory.0.lock().unwrap().last(), Some(&purge));
        assert_eq!(answer, format!("{{\"purged\":{}}}", admin.memory.0.lock().unwrap().len()));
    }
    for body in [
        "",
        "null",
        "{}",
        r#"{"all":false}"#,
        r#"{"all":true,"space":"spc-1"}"#,
        r#"{"id":"scs-1"}"#,
        r#"{"space":"spc-1","id":null}"#,
        r#"{"space":null,"all":true}"#,
        r#"["spc-1",null,null]"#,
        r#"[null,null,true]"#,
        r#"{"space":"x"}"#,
        r#"{"space":"spc-1","id":"a/b"}"#,
        r#"{"space":"spc-1","sapce":"spc-1"}"#,
        r#"{"space":"spc-1","space":"spc-2"}"#,
        r#"{"all":true} {"#,
        &format!(r#"{{"all":true{}}}"#, " ".repeat(MAX_PURGE)),
    ] {
        assert_eq!(admin.ask("POST", "/purge", json, body).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(admin.ask("POST", "/purge", "text/plain", r#"{"all":true}"#).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(admin.get("/purge").await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(admin.memory.0.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_stranger_sees_health_and_metrics_and_nothing_else() {
    let admin = fixture(false);
    for open in ["/livez", "/metrics"] {
        assert_eq!(admin.get(open).await.0, StatusCode::OK, "{open}");
    }
    assert_eq!(admin.get("/config").await.0, StatusCode::FORBIDDEN);
    assert_eq!(admin.ask("POST", "/purge", "application/json", r#"{"all":true}"#).await.0, StatusCode::FORBIDDEN);
    assert!(admin.memory.0.lock().unwrap().is_empty());
    assert_eq!(admin.get("/nothing").await.0, StatusCode::NOT_FOUND);
    assert_eq!(admin.ask("DELETE", "/metrics", "", "").await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(fixture(true).get("/config").await, (StatusCode::OK, "{}".into()));
}

#[tokio::test]
async fn a_page_that_was_rebound_to_this_address_cannot_steer_it() {
    let admin = fixture(true);
    for (host, status) in [
        ("127.0.0.1:9090", StatusCode::OK),
        ("localhost", StatusCode::OK),
        ("[::1]:9090", StatusCode::OK),
        ("evil.example:9090", StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1.evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let request = Request::builder().uri("/config").header(HOST, host).body(Full::<Bytes>::default()).unwrap();
        assert_eq!(admin.service.clone().oneshot(request).await.unwrap().status(), status, "{host:?}");
    }
}

#[tokio::test]
async fn where_there_are_keys_one_of_them_opens_what_is_not_for_everyone_and_nothing_else_does() {
    let named = Named {
        name: "operator".into(),
        keys: vec![Digest::of(b"mgk_right"), Digest::of(b"mgk_second")],
        san: Vec::new(),
        service_accounts: Vec::new(),
        policy: Policy { spaces: Vec::new(), operations: Vec::new(), rate: None },
    };
    let operators = Arc::new(Callers::new(vec![named], None));
    for local in [false, true] {
        let fixture = operated(local, Some(Arc::clone(&operators)));
        let ask = async |authorization: &[&str]| {
            // By a name that a cluster gives it: it is the key that keeps web pages out here.
            let mut request = Request::get("/config").header(HOST, "monigate.shop.svc.cluster.local:9090");
            for value in authorization {
                request = request.header("authorization", *value);
            }
            let answer =
                fixture.service.clone().oneshot(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
            (answer.status().as_u16(), answer.headers().contains_key(WWW_AUTHENTICATE))
        };
        assert_eq!(ask(&["Bearer mgk_right"]).await, (200, false));
        assert_eq!(ask(&["bearer mgk_second"]).await, (200, false));
        for wrong in [&[][..], &["Bearer mgk_wrong"], &["Basic mgk_right"], &["Bearer mgk_right", "Bearer mgk_right"]] {
            assert_eq!(ask(wrong).await, (403, true), "{wrong:?}");
        }
        for open in ["/livez", "/metrics"] {
            assert_eq!(fixture.get(open).await.0, StatusCode::OK, "{open}");
        }
        let (status, _) = fixture.ask("POST", "/purge", "application/json", "{\"all\":true}").await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(fixture.memory.0.lock().unwrap().is_empty(), "nothing was purged");
    }
}
