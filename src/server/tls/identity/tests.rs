//! What may be wrong with a listener's files, and the words for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::super::tests::certificates::{Ca, DAY, Leaf, put};
use super::super::tests::files;
use super::*;
use crate::secret::Unusable;

/// A file of this part with this text, where everything else is in order.
fn refused(part: Part, text: &str) -> InvalidTls {
    let (ca, folder) = (Ca::new("the CA"), tempfile::tempdir().unwrap());
    let mut files = files(folder.path(), &ca.server());
    let client_ca = folder.path().join("clients.pem");
    put(&client_ca, &ca.pem, 0o644);
    let path = match part {
        Part::Certificate => &files.certificate,
        Part::Key => &files.key,
        Part::ClientCa => &client_ca,
    };
    put(path, text, 0o600);
    let path = path.clone();
    files.client_ca = Some(client_ca);
    let error = Identity::read(&files).unwrap_err();
    assert_eq!((error.part, &error.path), (part, &path), "{error}");
    let said = error.to_string();
    assert!(said.contains(path.to_str().unwrap()) && !error.fix().is_empty(), "{said}");
    error
}

fn read(leaf: &Leaf) -> Result<Identity, InvalidTls> {
    let folder = tempfile::tempdir().unwrap();
    Identity::read(&files(folder.path(), leaf))
}

#[test]
fn each_flaw_is_told_with_its_file() {
    use Part::{Certificate, ClientCa, Key};
    let ca = Ca::new("the CA");
    let (leaf, hollow) = (ca.server(), "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
    let half = leaf.certificate.replace("-----END", "");
    let cases: [(Part, &str, &str); 17] = [
        (Certificate, "", "holds no certificate in PEM"),
        (Certificate, "\x30\x03\x02\x01", "holds no certificate in PEM"),
        (Certificate, &leaf.key, "holds no certificate in PEM"),
        (Certificate, &half, "is not readable as PEM"),
        (Certificate, hollow, "holds something that cannot be read where its certificate number 1 should be"),
        (
            Certificate,
            &format!("{}{hollow}", leaf.certificate),
            "holds something that cannot be read where its certificate number 2 should be",
        ),
        (Key, "", "holds no private key in PEM (PKCS#8, SEC1 or PKCS#1)"),
        (Key, &leaf.certificate, "holds no private key in PEM (PKCS#8, SEC1 or PKCS#1)"),
        (Key, "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n", "is not readable as PEM"),
        (
            Key,
            "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n",
            "holds a private key that is neither RSA, ECDSA nor Ed25519",
        ),
        (
            Key,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "holds an encrypted private key",
        ),
        (
            Key,
            "-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-256-CBC,00\r\n\r\naGVsbG8=\r\n-----END RSA PRIVATE KEY-----\r\n",
            "holds an encrypted private key",
        ),
        (Key, &leaf.key.repeat(2), "holds 2 private keys"),
        (Key, &leaf.key, "holds a private key that does not belong to the certificate"),
        (ClientCa, "", "holds no certificate in PEM"),
        (ClientCa, &half, "is not readable as PEM"),
        (
            ClientCa,
            &format!("{}{hollow}", ca.pem),
            "holds something that cannot be read where its certificate number 2 should be",
        ),
    ];
    for (part, text, words) in cases {
        let said = refused(part, text).to_string();
        assert!(said.ends_with(words), "{said}\n{words}\n{text}");
    }
}

#[test]
fn a_file_that_is_not_there_or_not_private_is_told_as_a_secrets_file_is() {
    let (ca, folder) = (Ca::new("the CA"), tempfile::tempdir().unwrap());
    let good = files(folder.path(), &ca.server());
    let nowhere = folder.path().join("nowhere");
    for (files, part) in [
        (Files { certificate: nowhere.clone(), ..good.clone() }, Part::Certificate),
        (Files { key: nowhere.clone(), ..good.clone() }, Part::Key),
        (Files { client_ca: Some(nowhere.clone()), ..good.clone() }, Part::ClientCa),
    ] {
        let error = Identity::read(&files).unwrap_err();
        assert!(error.part == part && matches!(error.flaw, Flaw::File(Unusable::Missing)), "{error}");
        assert_eq!(error.to_string(), format!("{part} {} does not exist", nowhere.display()));
    }
    fs::set_permissions(&good.key, Permissions::from_mode(0o644)).unwrap();
    let error = Identity::read(&good).unwrap_err();
    assert!(matches!(error.flaw, Flaw::File(Unusable::WorldReadable(0o644))), "{error}");
    assert!(error.fix().contains("allow_world_readable_secrets"));
    assert!(Identity::read(&Files { allow_world_readable: true, ..good }).is_ok());
}

#[test]
fn a_chain_may_be_in_one_file_with_its_key_and_with_words_between() {
    let root = Ca::new("the root");
    let middle = root.intermediate("the middle");
    let leaf = middle.server().followed_by(&[&middle, &root]);
    assert_eq!(read(&leaf).unwrap().warnings(), []);
    let folder = tempfile::tempdir().unwrap();
    let one = Leaf { certificate: String::new(), key: format!("words\n{}words\n{}", leaf.key, leaf.certificate) };
    let mut files = files(folder.path(), &one);
    files.certificate.clone_from(&files.key);
    assert!(Identity::read(&files).is_ok());
}

#[test]
fn a_chain_in_the_wrong_order_is_told() {
    let root = Ca::new("the root");
    let middle = root.intermediate("the middle");
    let leaf = middle.server();
    let late = Leaf { certificate: format!("{}{}", middle.pem, leaf.certificate), ..leaf.clone() };
    assert!(matches!(read(&late).unwrap_err().flaw, Flaw::NotFirst(2)));
    let swapped = leaf.followed_by(&[&root, &middle]);
    assert_eq!(read(&swapped).unwrap().warnings()[0], Warning::OutOfOrder(2));
}

#[test]
fn a_certificate_outside_its_time_serves_with_a_warning() {
    let ca = Ca::new("the CA");
    let said = |valid| read(&ca.server_valid(valid)).unwrap().warnings().iter().map(ToString::to_string).collect();
    let (expired, early): (Vec<_>, Vec<_>) = (said((-9 * DAY, -3 * DAY - 60)), said((7_260, DAY)));
    assert_eq!(expired, ["it expired 3 days ago"]);
    assert_eq!(early, ["it is not valid before 2 hours from now"]);
    assert_eq!(said((-60, 60)), Vec::<String>::new());
}
