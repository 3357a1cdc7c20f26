//! What is answered at once, from a request's bytes or from its head, is what the stack answers, and counts as much: two gateways that
//! differ in nothing but that one of them is never offered a head.

use std::fmt::Write as _;

use http::header::AGE;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use tokio::time::advance;

use super::callers::named;
use super::*;
use crate::caller::Callers;
use crate::lookup::{CACHE_STATUS, X_REQUEST_ID};
use crate::monime::operation::GET_CHECKOUT_SESSION;

/// A `GET` as a caller writes it.
#[derive(Debug, Clone)]
struct Written {
    target: String,
    fields: Vec<(&'static str, String)>,
}

/// How a caller may write a field: the names, and the values that it takes there.
type Field = (&'static [&'static str], &'static [&'static str]);

/// What changes nothing, or what changes the answer of one who may ask.
const FIELDS: [Field; 9] = [
    (&["Accept", "user-agent", "Connection", "monime-space"], &["*/*", "keep-alive", ""]),
    (&["Monime-Space-Id", "monime-space-id", "MONIME-SPACE-ID"], &[SPACE, "spc-other", "spc-foreign", "s p", "\u{e9}"]),
    (&["Monime-Version", "monime-version"], &["caph.2025-08-23", "caph.2025-06-20", "caph.1999-01-01", ""]),
    (
        &["X-Request-Id", "x-request-id"],
        &["mine.1_2-3", "", "not mine", "mgk_0123456789012345678901234567890123456789012"],
    ),
    (&["If-None-Match", "if-none-match"], &["*", "\"other\""]),
    (&["Cache-Control", "cache-control"], &["only-if-cached", "no-cache", "max-stale"]),
    (&["Pragma"], &["no-cache", "x"]),
    (&["Monigate-Timeout", "monigate-timeout"], &["5", "0", "soon"]),
    (&["X-Must"], &["1"]),
];
const KEYS: [&str; 7] = [
    "Bearer mgk_one",
    "bearer mgk_two",
    "Bearer mgk_poor",
    "Bearer mgk_writes",
    "Bearer mgk_none",
    "Basic mgk_one",
    "",
];
const TARGETS: [&str; 9] = [
    "/v1/checkout-sessions/scs-1",
    "/v1/checkout-sessions/scs-2",
    "/v1/checkout-sessions/gone",
    "/v1/checkout-sessions/pending",
    "/v1/checkout-sessions/scs-1?x=1",
    "/v1/checkout-sessions/scs%2D1",
    "/v1/checkout-sessions",
    "//v1/checkout-sessions/scs-1",
    "/",
];

// === impl Written ===

impl Written {
    /// A lookup by a caller that need not say which space is meant.
    fn plain(id: &str) -> Self {
        let fields = vec![("Host", "a".to_owned()), ("Authorization", "Bearer mgk_one".to_owned())];
        Self { target: format!("/v1/checkout-sessions/{id}"), fields }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((name, value.to_owned()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("GET {} HTTP/1.1\r\n", self.target);
        self.fields.iter().for_each(|(name, value)| write!(head, "{name}: {value} \r\n").unwrap());
        (head + "\r\n").into_bytes()
    }

    fn typed(&self) -> Request<Full<Bytes>> {
        let fields: Vec<_> = self.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        request("GET", &self.target, &fields)
    }

    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| field.eq_ignore_ascii_case(name))
    }
}

// === impl Gateway ===

impl Gateway {
    /// With named callers who may ask for this and that, behind a header or not.
    fn named(behind_header: bool) -> Self {
        let monime = Monime::saying(|key| match key.id.as_str() {
            "pending" => Said::session(key, "pending"),
            "gone" => Said::error(404),
            _ => Said::session(key, "completed").with("monime-request-id", "of Monime's"),
        });
        let (lookups, writes) = ([GET_CHECKOUT_SESSION], ["CreateCheckoutSession"]);
        let callers = vec![
            named("one", &[SPACE], &lookups, None),
            named("two", &[SPACE, "spc-other"], &lookups, None),
            named("poor", &[SPACE], &lookups, Some((1, 2))),
            named("writes", &[SPACE], &writes, None),
        ];
        Self::on(monime, Ttl { absent: Duration::from_secs(3600), ..ttl() }, |terms| {
            terms.door.callers = Some(Arc::new(Callers::new(callers, None)));
            terms.door.require_header = behind_header.then(|| "x-must".parse().unwrap());
            terms.callers_may_refresh = true;
        })
    }

    /// What is answered at once, if anything is.
    fn at_once(&self, written: &Written) -> Option<Answer> {
        let bytes = written.bytes();
        let mut head = Vec::new();
        let body = self.fast_path.answer(PlainHead::of(&bytes).unwrap(), Instant::now(), &mut head)?;
        let (line, fields) = std::str::from_utf8(&head).unwrap().split_once("\r\n").unwrap();
        let status = line.strip_prefix("HTTP/1.1 ").unwrap().split(' ').next().unwrap().parse().unwrap();
        let fields = fields.strip_suffix("\r\n").unwrap().split("\r\n").map(|field| field.split_once(": ").unwrap());
        let fields = fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Some(Answer { status, headers: fields.collect(), body })
    }

    /// The same of one that came over HTTP/2.
    fn recalled(&self, written: &Written) -> Option<Answer> {
        let response = self.fast_path.respond(&written.typed().into_parts().0, Instant::now())?;
        let (head, body) = response.into_parts();
        Some(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// Every counter, gauge and histogram of ours.
    fn counts(&self) -> String {
        let families = self.metrics.registry().gather();
        let ours = families.iter().filter(|family| family.name().starts_with("monigate_"));
        ours.map(|family| format!("{family:?}\n")).collect()
    }
}

/// What an answer says, without what is drawn: an id, and how long it lasts.
fn said(mut answer: Answer, written: &Written) -> (u16, Vec<(String, String)>, Bytes) {
    let id = answer.headers.remove(X_REQUEST_ID).unwrap();
    if written.has("x-request-id") && id.len() != 16 {
        answer.headers.insert(X_REQUEST_ID, id);
    }
    if let Some((hit, _)) = answer.cache_status().split_once("ttl=") {
        let hit = hit.parse().unwrap();
        answer.headers.insert(CACHE_STATUS, hit);
    }
    let fields = answer.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (answer.status, fields.collect(), answer.body)
}

/// Requests of which most may be answered at once.
fn written() -> impl Strategy<Value = Written> {
    let field = Union::new(FIELDS.map(|(names, values)| (select(names), select(values))));
    let fields = proptest::collection::vec(field, 0..4);
    let target = prop_oneof![4 => select(&TARGETS[..2]), 1 => select(&TARGETS[..])];
    let keys = prop_oneof![
        6 => select(&KEYS[..3]).prop_map(|key| vec![key]),
        1 => proptest::collection::vec(select(&KEYS[..]), 0..3),
    ];
    (target, keys, fields).prop_map(|(target, keys, fields)| {
        let keys = keys.into_iter().map(|key| ("Authorization", key.to_owned()));
        let fields = fields.into_iter().map(|(name, value)| (name, value.to_owned()));
        Written { target: target.to_owned(), fields: keys.chain(fields).collect() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_answered_at_once_is_what_the_stack_answers_and_counts_as_much(
        (behind_header, as_bytes) in any::<(bool, bool)>(),
        steps in proptest::collection::vec((written(), 0_u64..3000), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (offered, never) = (Gateway::named(behind_header), Gateway::named(behind_header));
            for (written, pause) in steps {
                let at_hand = if as_bytes { offered.at_once(&written) } else { offered.recalled(&written) };
                let answer = match at_hand {
                    Some(answer) => answer,
                    None => offered.send(written.typed()).await,
                };
                let wanted = never.send(written.typed()).await;
                prop_assert_eq!(said(answer, &written), said(wanted, &written), "{:?}", written);
                advance(Duration::from_millis(pause)).await;
            }
            prop_assert_eq!(offered.counts(), never.counts());
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_lookup_of_a_kept_answer_is_answered_at_once_and_what_is_not_is_left_to_the_stack() {
    let gateway = Gateway::named(false);
    let plain = || Written::plain("scs-1");
    assert!(gateway.at_once(&plain()).is_none(), "it is not kept yet");
    assert_eq!(gateway.send(plain().typed()).await.status, 200);
    advance(Duration::from_secs(7)).await;
    let answer = gateway.at_once(&plain()).unwrap();
    assert_eq!((answer.status, answer.header(AGE.as_str())), (200, Some("7")));
    assert!(answer.cache_status().starts_with("monigate; hit; ttl="));
    for (name, value) in [
        ("Accept", "*/*"),
        ("connection", "keep-alive"),
        ("MONIME-SPACE-ID", SPACE),
        ("Monime-Version", CURRENT_VERSION),
        ("x-request-id", "mine"),
    ] {
        let written = plain().with(name, value);
        assert!(gateway.at_once(&written).is_some() && gateway.recalled(&written).is_some(), "{name}: {value}");
    }
    let counted = gateway.counted_in_all();
    for (name, value) in [
        ("authorization", "Bearer mgk_one"),
        ("monime-space-id", "spc-other"),
        ("monime-version", "caph.1999-01-01"),
        ("If-None-Match", "\"x\""),
        ("cache-control", "no-store"),
        ("Pragma", "x"),
        ("Monigate-Timeout", "5"),
    ] {
        let written = plain().with(name, value);
        assert!(gateway.at_once(&written).is_none() && gateway.recalled(&written).is_none(), "{name}: {value}");
    }
    assert_eq!(gateway.counted_in_all(), counted, "what is left to the stack is counted there");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_long_is_left_to_the_stack_which_hands_it_out_in_pieces() {
    let long = || Gateway::saying(|key| Said::session(key, "completed").padded(64 * 1024));
    let short = || Gateway::saying(|key| Said::session(key, "completed").padded(60 * 1024));
    for (gateway, at_once) in [(long(), false), (short(), true)] {
        assert_eq!(gateway.get(&[]).await.status, 200);
        assert_eq!(gateway.at_once(&Written::plain("scs-1")).is_some(), at_once);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_beyond_limits_that_were_lowered_meanwhile_is_left_to_the_stack() {
    let settled = || Monime::saying(|key| Said::session(key, "completed"));
    let most = HeadLimits { size: 200, fields: 3, target: 40 };
    let gateway = Gateway::on(settled(), ttl(), |terms| terms.head = most);
    let plain = |id: &str| Written::plain(id).with("x-a", "b");
    for (written, at_once) in [
        (plain("scs-1"), true),
        (plain("scs-1").with("x-c", ""), false),
        (Written::plain("scs-1").with("x-a", &"b".repeat(200)), false),
        (plain(&"s".repeat(30)), false),
    ] {
        let kept = gateway.get(&[]).await;
        assert_eq!(kept.status, 200);
        assert_eq!(gateway.at_once(&written).is_some(), at_once, "{written:?}");
        assert_eq!(gateway.recalled(&written).is_some(), at_once, "{written:?}");
        assert_eq!(gateway.send(written.typed()).await.status == 200, at_once, "{written:?}");
    }
}
