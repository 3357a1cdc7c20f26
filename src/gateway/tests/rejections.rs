//! What the server turns away is told, counted and audited as what the stack refuses.

use std::io;
use std::sync::Mutex;

use super::*;
use crate::server::{Reject, Rejection};

const MALFORMED: &str = "gateway_request_malformed";

/// Every rejection with what is told of it.
pub(super) const ROWS: [(Rejection, u16, &str); 15] = [
    (Rejection::RequestLine, 400, MALFORMED),
    (Rejection::LineEnd, 400, MALFORMED),
    (Rejection::FieldLine, 400, MALFORMED),
    (Rejection::Host, 400, MALFORMED),
    (Rejection::Length, 400, MALFORMED),
    (Rejection::Chunk, 400, MALFORMED),
    (Rejection::Version, 505, "gateway_http_version_not_supported"),
    (Rejection::Method, 501, "gateway_method_not_supported"),
    (Rejection::Upgrade, 400, "gateway_upgrade_not_allowed"),
    (Rejection::Expectation, 417, "gateway_expectation_failed"),
    (Rejection::TargetTooLong, 414, "gateway_target_too_long"),
    (Rejection::HeadTooLarge, 431, "gateway_head_too_large"),
    (Rejection::HeadTimedOut, 408, "gateway_head_timeout"),
    (Rejection::PlainHttp, 400, "gateway_tls_required"),
    (Rejection::Panicked, 500, "gateway_internal"),
];

fn told(reject: &Reject, rejection: Rejection) -> Answer {
    let (head, body) = reject(rejection).into_parts();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

fn message(answer: &Answer) -> String {
    let value: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    value["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn each_rejection_is_an_error_in_monimes_shape_and_counted_as_a_strangers() {
    for (named, unproved) in [(false, 0), (true, 1)] {
        for (rejection, status, reason) in ROWS {
            let metrics = Arc::new(Metrics::new().unwrap());
            let answer = told(&reject(Arc::clone(&metrics), move || named), rejection);
            assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{rejection:?}");
            assert_eq!(answer.status, rejection.status().as_u16(), "{rejection:?}");
            let message = message(&answer);
            assert!(message.starts_with(char::is_uppercase) && message.ends_with('.'), "{rejection:?}: {message}");
            assert!(!answer.header("x-request-id").unwrap().is_empty(), "{rejection:?}");
            let outcome = if status == 500 { "error" } else { "refused" };
            let code = status.to_string();
            assert_eq!(metric(&metrics, "monigate_requests_total", &[&code, "none", outcome]), 1, "{rejection:?}");
            let strangers = metric(&metrics, "monigate_caller_requests_total", &["(none)", outcome]);
            assert_eq!(strangers, unproved, "{rejection:?}");
        }
    }
}

#[test]
fn a_message_is_the_servers_own_unless_the_stack_has_words_for_the_same() {
    let reject = reject(Arc::new(Metrics::new().unwrap()), || false);
    assert_eq!(message(&told(&reject, Rejection::PlainHttp)), "This address speaks TLS: ask with https.");
    assert!(message(&told(&reject, Rejection::Panicked)).contains("look at what became of it before trying again"));
}

#[tokio::test(start_paused = true)]
async fn what_the_stack_refuses_as_well_is_told_in_the_same_words() {
    let reject = reject(Arc::new(Metrics::new().unwrap()), || false);
    let gateway = Gateway::settled("completed");
    let target = format!("/{}", "x".repeat(9000));
    let filler = "x".repeat(70_000);
    let refused = gateway.ask("GET", &target, &[]).await;
    assert_eq!(told(&reject, Rejection::TargetTooLong).body, refused.body);
    assert_eq!(told(&reject, Rejection::HeadTooLarge).body, gateway.get(&[("x", &filler)]).await.body);
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_rejection_has_one_line_of_the_audit_and_a_fault_of_ours_one_of_the_log() {
    let reject = reject(Arc::new(Metrics::new().unwrap()), || true);
    for (rejection, status, reason) in ROWS {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let answer = tracing::subscriber::with_default(subscriber, || told(&reject, rejection));
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let logged: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [line] = logged.as_slice() else { panic!("{rejection:?}: {text}") };
        let (target, fields) = (line["target"].as_str().unwrap(), &line["fields"]);
        let wanted = if rejection == Rejection::Panicked {
            ("monigate::gateway::measure", "WARN", "error")
        } else {
            ("monigate::audit", "INFO", "refused")
        };
        assert_eq!((target, line["level"].as_str().unwrap(), fields["outcome"].as_str().unwrap()), wanted);
        assert_eq!((fields["status"].as_u64().unwrap(), fields["reason"].as_str().unwrap()), (status.into(), reason));
        assert_eq!((&fields["operation"], fields.get("caller")), (&"none".into(), None));
        assert_eq!(fields["request_id"].as_str(), answer.header("x-request-id"), "to find it by");
    }
}
