//! Spaces and versions: which of them a caller may name, and that what is kept under one is never told under another.

use super::*;

/// Each row: the header's values, and the status and reason, or the space that Monime is asked about.
type Row<'a> = (&'a [&'a str], Result<&'a str, (u16, &'a str)>);

const INVALID: (u16, &str) = (400, "gateway_space_invalid");
const FORBIDDEN: (u16, &str) = (403, "gateway_space_forbidden");
const VERSION: (u16, &str) = (400, "gateway_version_not_allowed");

/// Asks with each row's values of `header`; `asked` reads what Monime was asked.
async fn check(
    gateway: impl Fn() -> Gateway,
    header: &str,
    rows: &[Row<'_>],
    asked: impl Fn(crate::monime::Key) -> String,
) {
    for (values, expected) in rows {
        let gateway = gateway();
        let headers: Vec<(&str, &str)> = values.iter().map(|value| (header, *value)).collect();
        let answer = gateway.get(&headers).await;
        match expected {
            Ok(name) => {
                assert_eq!(answer.status, 200, "{values:?}");
                assert_eq!(asked(gateway.monime.key(0)), *name, "{values:?}");
            }
            Err((status, reason)) => {
                assert_eq!((answer.status, answer.reason().as_str()), (*status, *reason), "{values:?}");
                assert_eq!(gateway.monime.calls(), 0, "{values:?}");
                assert_eq!(gateway.counted("GetCheckoutSession", *status, "refused"), 1, "{values:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_space_is_the_default_one_or_one_that_is_configured() {
    let longest = format!("spc-{}", "x".repeat(60));
    let too_long = format!("spc-{}", "x".repeat(61));
    let rows: &[Row<'_>] = &[
        (&[], Ok(SPACE)),
        (&[SPACE], Ok(SPACE)),
        (&["spc-other"], Ok("spc-other")),
        (&["spc-stranger"], Err(FORBIDDEN)),
        (&["spc-othe"], Err(FORBIDDEN)),
        (&["spc-others"], Err(FORBIDDEN)),
        (&["spc-Other"], Err(FORBIDDEN)),
        (&[&longest], Err(FORBIDDEN)),
        (&[""], Err(INVALID)),
        (&["spc-"], Err(INVALID)),
        (&["other"], Err(INVALID)),
        (&["SPC-other"], Err(INVALID)),
        (&["spc-other "], Err(INVALID)),
        (&["spc-a b"], Err(INVALID)),
        (&["spc-other,spc-other"], Err(INVALID)),
        (&["spc-öther"], Err(INVALID)),
        (&[&too_long], Err(INVALID)),
        (&["spc-other", "spc-other"], Err(INVALID)),
        (&["", "spc-other"], Err(INVALID)),
        (&["spc-other", "spc-test"], Err(INVALID)),
    ];
    let asked = |key: crate::monime::Key| key.space.as_str().to_owned();
    check(|| Gateway::settled("completed"), "monime-space-id", rows, asked).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_default_a_space_must_be_named() {
    let gateway = || {
        let monime = Monime::saying(|key| Said::session(key, "completed"));
        Gateway::on(monime, ttl(), |terms| terms.default_space = None)
    };
    let rows: &[Row<'_>] = &[
        (&[], Err((400, "gateway_space_required"))),
        (&["spc-other"], Ok("spc-other")),
        (&["spc-stranger"], Err(FORBIDDEN)),
        (&[""], Err(INVALID)),
    ];
    check(gateway, "monime-space-id", rows, |key| key.space.as_str().to_owned()).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_is_the_configured_one_or_one_of_those_that_are_known() {
    let rows: &[Row<'_>] = &[
        (&[], Ok(CURRENT_VERSION)),
        (&[CURRENT_VERSION], Ok(CURRENT_VERSION)),
        (&[KNOWN_VERSIONS[1]], Ok(KNOWN_VERSIONS[1])),
        (&["caph.2026-01-01"], Err(VERSION)),
        (&["CAPH.2025-08-23"], Err(VERSION)),
        (&[""], Err(VERSION)),
        (&["latest"], Err(VERSION)),
        (&["é"], Err(VERSION)),
        (&[CURRENT_VERSION, CURRENT_VERSION], Err(VERSION)),
    ];
    let asked = |key: crate::monime::Key| key.version.as_str().to_owned();
    check(|| Gateway::settled("completed"), "monime-version", rows, asked).await;
}

#[tokio::test(start_paused = true)]
async fn the_same_id_in_two_spaces_or_versions_is_two_answers() {
    let gateway = Gateway::saying(|key| {
        let status = if key.space.as_str() == SPACE { "completed" } else { "expired" };
        let body = scripted::body(key, status).replace(r#""messages":[]"#, &format!(r#""v":"{}""#, key.version));
        Said::status(200, body)
    });
    let mut bodies = Vec::new();
    for round in 0..2 {
        for space in [SPACE, "spc-other"] {
            for version in KNOWN_VERSIONS {
                let answer = gateway.get(&[("monime-space-id", space), ("monime-version", version)]).await;
                let body = String::from_utf8(answer.body.to_vec()).unwrap();
                assert!(body.contains(&format!(r#""x":"{space}""#)), "{body}");
                assert!(body.contains(&format!(r#""v":"{version}""#)), "{body}");
                assert_eq!(answer.cache_status().contains("hit"), round == 1, "{space} {version}");
                bodies.push(body);
            }
        }
    }
    assert_eq!(bodies[..4], bodies[4..], "what is told from memory is what Monime said");
    assert_eq!(gateway.monime.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_default_that_is_named_is_the_default() {
    let gateway = Gateway::settled("completed");
    gateway.get(&[]).await;
    let named = gateway.get(&[("monime-space-id", SPACE), ("monime-version", CURRENT_VERSION)]).await;
    assert!(named.cache_status().starts_with("monigate; hit"));
    assert_eq!(gateway.monime.calls(), 1);
}
