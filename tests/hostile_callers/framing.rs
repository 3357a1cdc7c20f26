//! One meaning for every message over HTTP/1.1: whatever could be read in two ways is refused, its connection closed, and
//! nothing of it or behind it sent anywhere. On the callers' listener and on the operators'.

use crate::defects::{self, Defect};
use crate::ground::{Ground, HTTP1, Place, Said, Way};
use crate::support::client::get;

/// Where a request is sent, and how it would be answered there.
struct Face<'a> {
    place: &'a Place,
    /// Begins every reason.
    name: &'static str,
    /// Would be answered, and is before each defect.
    good: String,
}

impl Face<'_> {
    /// What is wrong with how this defect was met, behind so many requests that are good; nothing if it is as promised.
    async fn met(&self, defect: &Defect, before: usize) -> Option<String> {
        let good = get(&self.good, "");
        let bytes = [good.repeat(before).as_bytes(), &defect.bytes, good.as_bytes()].concat();
        let said = self.place.converse(bytes).await;
        let wrong = self.wrong(&said, defect, before).await?;
        let (head, text) = (defect.bytes[..defect.bytes.len().min(90)].escape_ascii(), said.text.escape_ascii());
        let text = text.to_string();
        Some(format!("{head} behind {before}: {wrong}: {}", &text[..text.len().min(300)]))
    }

    async fn wrong(&self, said: &Said, defect: &Defect, before: usize) -> Option<String> {
        if !said.orderly {
            return Some("it was reset".to_owned());
        }
        let answers = said.answers().await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        let expected: Vec<_> = std::iter::repeat_n(200, before).chain([defect.status]).collect();
        if statuses != expected {
            return Some(format!("{statuses:?} and not {expected:?}"));
        }
        let (refusal, reason) = (answers.last().unwrap(), format!("{}_{}", self.name, defect.reason));
        let envelope = refusal.header("content-type") == Some("application/json");
        if !envelope || refusal.failure().1 != reason {
            return Some(format!("not {reason}"));
        }
        (refusal.header("connection") != Some("close")).then(|| "it does not say that it closes".to_owned())
    }

    async fn refuses(&self, defects: Vec<Defect>) -> Vec<String> {
        let mut wrong = Vec::new();
        for defect in &defects {
            for before in [0, 2] {
                wrong.extend(self.met(defect, before).await);
            }
        }
        wrong
    }
}

/// Holds the listeners to their promise for defects of one kind.
async fn refused_and_sent_nowhere(kind: fn(&str) -> Vec<Defect>) {
    let mut wrong = Vec::new();
    for way in HTTP1 {
        let ground = Ground::on(way).await;
        let good = ground.kept().await;
        let calls = ground.gateway.calls();
        let face = Face { place: &ground.place, name: "gateway", good };
        let found = face.refuses(kind(&ground.fresh())).await;
        wrong.extend(found.into_iter().map(|wrong| format!("{way:?}: {wrong}")));
        assert_eq!(ground.gateway.calls(), calls, "nothing is sent to Monime");
        if way == Way::Http1 {
            let place = Place::at(Way::Http1, &ground.gateway.admin.clone(), ground.place);
            let face = Face { place: &place, name: "admin", good: "/livez".to_owned() };
            let found = face.refuses(kind("/livez")).await;
            wrong.extend(found.into_iter().map(|wrong| format!("admin: {wrong}")));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_request_whose_length_could_be_read_in_two_ways_is_refused_and_sent_nowhere() {
    refused_and_sent_nowhere(defects::lengths).await;
}

#[tokio::test]
async fn a_transfer_coding_that_is_not_just_chunked_is_refused_and_sent_nowhere() {
    refused_and_sent_nowhere(defects::codings).await;
}

#[tokio::test]
async fn a_line_that_ends_in_anything_but_crlf_or_holds_controls_is_refused_and_sent_nowhere() {
    refused_and_sent_nowhere(defects::line_ends).await;
}

#[tokio::test]
async fn a_field_that_is_folded_or_has_no_plain_name_is_refused_and_sent_nowhere() {
    refused_and_sent_nowhere(defects::field_lines).await;
}

#[tokio::test]
async fn a_request_without_exactly_one_good_host_is_refused_and_sent_nowhere() {
    refused_and_sent_nowhere(defects::hosts).await;
}

#[tokio::test]
async fn a_request_line_that_is_not_a_method_a_path_and_a_version_is_refused_and_sent_nowhere() {
    refused_and_sent_nowhere(defects::request_lines).await;
}

#[tokio::test]
async fn tunnels_upgrades_expectations_and_other_versions_are_refused_and_sent_nowhere() {
    refused_and_sent_nowhere(defects::not_served).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_its_connection_closed() {
    refused_and_sent_nowhere(defects::too_large).await;
}

#[tokio::test]
async fn a_head_as_large_as_it_may_be_is_answered_and_its_connection_goes_on() {
    for way in HTTP1 {
        let ground = Ground::on(way).await;
        let path = ground.kept().await;
        let mut wire = ground.place.wire().await;
        let start = get(&path, "").len();
        for fields in [
            "X-A: b\r\n".repeat(99),
            format!("X-A: {}\r\n", "b".repeat(64 * 1024 - start - "X-A: \r\n".len())),
            "X-A:\r\nX-B: \tc\t \r\n".to_owned(),
            "Host-Name: elsewhere\r\nX-Content-Length: 5\r\n".to_owned(),
        ] {
            wire.send(get(&path, &fields)).await;
            assert_eq!(wire.answer().await.unwrap().status, 200, "{way:?}: {} bytes of fields", fields.len());
        }
        for host in ["gateway:8080", "127.0.0.1", "[::1]:8080", "checkout.example", "GATEWAY"] {
            wire.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!(wire.answer().await.unwrap().status, 200, "{host}");
        }
        let query = "x".repeat(8 * 1024 - path.len() - 1);
        wire.send(get(&format!("{path}?{query}"), "")).await;
        let answer = wire.answer().await.unwrap();
        assert_eq!(answer.failure(), (400, "gateway_query_not_allowed".to_owned()), "8 KiB are not too long");
    }
}

#[tokio::test]
async fn a_chunk_that_is_none_ends_its_connection_and_purges_nothing() {
    let ground = Ground::on(Way::Http1).await;
    let kept = ground.kept().await;
    let place = Place::at(Way::Http1, &ground.gateway.admin.clone(), ground.place);
    let head = "POST /purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let mut wrong = Vec::new();
    for chunks in defects::chunks() {
        let said = place.converse([head.as_bytes(), chunks, get("/livez", "").as_bytes()].concat()).await;
        let told = said.answers().await;
        let refused = said.orderly
            && told.len() == 1
            && told[0].header("connection") == Some("close")
            && (told[0].status, told[0].json()["error"]["reason"].as_str()) == (400, Some("admin_purge_invalid"));
        if !refused {
            wrong.push(format!("{}: {told:?}", chunks.escape_ascii()));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let calls = ground.gateway.calls();
    let id = kept.rsplit('/').next().unwrap();
    assert_eq!(ground.gateway.look_up(id).await.status, 200);
    assert_eq!(ground.gateway.calls(), calls, "it is still in memory");
}

#[tokio::test]
async fn a_listener_with_tls_tells_who_speaks_plainly() {
    let ground = Ground::on(Way::Http1OverTls).await;
    let calls = ground.gateway.calls();
    let plain = Place::at(Way::Http1, &ground.gateway.address.clone(), ground.place);
    for bytes in [get("/v1/checkout-sessions/scs-1", ""), "GET / HTTP/1.0\r\n\r\n".to_owned()] {
        let said = plain.converse(bytes.repeat(2)).await;
        let answers = said.answers().await;
        assert!(said.orderly && answers.len() == 1, "{answers:?}");
        assert_eq!(answers[0].failure(), (400, "gateway_tls_required".to_owned()));
        assert_eq!(answers[0].header("connection"), Some("close"));
    }
    assert_eq!(ground.gateway.calls(), calls);
}
