//! What the README says of reasons is what callers are told: every reason with its status, and none that there is not.

use std::collections::BTreeSet;

use http::StatusCode;

const README: &str = include_str!("../../../README.md");
/// Where every reason stands, beside its status.
const ROWS: [&str; 3] =
    [include_str!("../rescue.rs"), include_str!("../rescue/refusals.rs"), include_str!("../rescue/rejections.rs")];

/// Every `gateway_…` in a text.
fn reasons(text: &str) -> BTreeSet<&str> {
    let is_of_word = |c: char| c.is_ascii_lowercase() || c == '_';
    let ends = |word: &str| word.find(|c: char| !is_of_word(c)).unwrap_or(word.len());
    text.match_indices("gateway_")
        .map(|(at, _)| &text[at..at + ends(&text[at..])])
        .filter(|it| *it != "gateway_")
        .collect()
}

/// Statuses and reasons that stand side by side in the source, however it is wrapped.
fn rows(source: &str) -> BTreeSet<(u16, &str)> {
    let rows = source.split("StatusCode::").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once(',')?;
        let reason = rest.trim_start().strip_prefix('"')?.split('"').next()?;
        let is_name = |status: &StatusCode| {
            let words = status.canonical_reason().unwrap_or_default().to_ascii_uppercase();
            words.replace([' ', '-'], "_") == name
        };
        let status = (100..600).filter_map(|code| StatusCode::from_u16(code).ok()).find(is_name)?;
        Some((status.as_u16(), reason))
    });
    rows.filter(|(_, reason)| reason.starts_with("gateway_")).collect()
}

#[test]
fn every_reason_is_in_the_readme_and_no_other() {
    let told: BTreeSet<&str> = ROWS.into_iter().flat_map(reasons).collect();
    assert!(told.len() > 30, "{told:?}");
    assert_eq!(reasons(README), told);
}

#[test]
fn the_readme_gives_each_reason_its_status() {
    let stands = |status: u16, reason: &str| {
        let (inline, row) = (format!("{status} `{reason}`"), format!("| {status} |"));
        let in_row = |line: &str| line.starts_with(&row) && line.contains(&format!("`{reason}`"));
        README.contains(&inline) || README.lines().any(in_row)
    };
    let rejections = super::rejections::ROWS.into_iter().map(|(_, status, reason)| (status, reason));
    let rows: BTreeSet<_> = ROWS.into_iter().flat_map(rows).chain(rejections).collect();
    assert!(rows.len() > 25, "{rows:?}");
    for (status, reason) in rows {
        assert!(stands(status, reason), "{status} {reason}");
    }
}
