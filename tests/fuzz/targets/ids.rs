//! An id, a space or a version is accepted exactly if it is one by the words of Monime's OpenAPI file, stays the text that
//! it was, and travels unchanged: the path made of an id leads back to it, and to nothing else.

#![no_main]

use http::{HeaderValue, Uri};
use libfuzzer_sys::fuzz_target;
use monigate::monime::operation::{OPERATIONS, at, checkout_session, checkout_session_id};
use monigate::monime::{SessionId, SessionIdRef, SpaceId, Version};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    session(text);
    space(text);
    version(text);
    path(text);
});

fn is_id(text: &str) -> bool {
    let count = text.chars().count();
    count > 0 && count <= 128 && !text.contains(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c))
}

fn session(text: &str) {
    let Ok(id) = SessionId::parse(text) else {
        assert!(!is_id(text) && SessionIdRef::parse(text).is_err(), "{text:?} is an id");
        return;
    };
    assert!(is_id(text), "{text:?} is no id");
    assert_eq!((id.as_str(), id.to_string().as_str()), (text, text));
    let path = checkout_session(id.as_ref());
    assert_eq!(checkout_session_id(&path).map(|id| id.as_str().to_owned()).as_deref(), Some(text));
    let uri: Uri = path.parse().expect("a path of a URI");
    assert_eq!((uri.path(), uri.query()), (path.as_str(), None));
}

fn space(text: &str) {
    let is_space = text.strip_prefix("spc-").is_some_and(|rest| {
        (1..=60).contains(&rest.chars().count()) && rest.chars().all(|c| ('!'..='~').contains(&c) && c != ',')
    });
    let space = SpaceId::parse(text);
    assert_eq!(space.is_ok(), is_space, "{text:?}");
    if let Ok(space) = space {
        assert_eq!((space.as_str(), space.to_string().as_str()), (text, text));
        assert_eq!(HeaderValue::from_str(text).expect("a field's value").as_bytes(), text.as_bytes());
    }
}

fn version(text: &str) {
    let is_version = (1..=64).contains(&text.chars().count())
        && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='z' | 'A'..='Z' | '.' | '_' | '-'));
    let version = Version::parse(text);
    assert_eq!(version.is_ok(), is_version, "{text:?}");
    if let Ok(version) = version {
        assert_eq!((version.as_str(), version.to_string().as_str()), (text, text));
        HeaderValue::from_str(text).expect("a field's value");
    }
}

/// The same text taken for a path.
fn path(text: &str) {
    let id = text.strip_prefix("/v1/checkout-sessions/").filter(|id| is_id(id));
    assert_eq!(checkout_session_id(text).map(|id| id.as_str().to_owned()).as_deref(), id);
    let segments: Vec<&str> = text.split('/').collect();
    let fits = |template: &str| {
        let wanted: Vec<&str> = template.split('/').collect();
        let mut pairs = wanted.iter().zip(&segments);
        wanted.len() == segments.len() && pairs.all(|(wanted, is)| wanted == is || (*wanted == "{}" && is_id(is)))
    };
    let found: Vec<&str> = at(text).map(|operation| operation.id).collect();
    let fitting = OPERATIONS.iter().filter(|operation| fits(operation.path));
    assert_eq!(found, fitting.map(|operation| operation.id).collect::<Vec<_>>(), "{text:?}");
}
