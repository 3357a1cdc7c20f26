//! Following the files: what is swapped, what is kept, what is said and counted.

use std::fs::{self, Permissions};
use std::future::poll_fn;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use certificates::{Ca, Leaf, put};
use tempfile::TempDir;

use super::*;

#[path = "../../../tests/support/certificates.rs"]
pub(super) mod certificates;

/// A folder with the files of a listener, and what follows them.
struct Followed {
    ca: Ca,
    folder: TempDir,
    metrics: Arc<Metrics>,
    tls: Tls,
}

/// The files of a listener in `folder`, without a CA of its clients.
pub(super) fn files(folder: &Path, leaf: &Leaf) -> Files {
    let (certificate, key) = leaf.write(folder, "server");
    Files { certificate, key, client_ca: None, client_auth: ClientAuth::Required, allow_world_readable: false }
}

impl Followed {
    fn new() -> Self {
        let (ca, folder) = (Ca::new("the CA"), tempfile::tempdir().unwrap());
        let metrics = Arc::new(Metrics::new().unwrap());
        let tls = Tls::new(files(folder.path(), &ca.server())).unwrap().counting(Arc::clone(&metrics));
        Self { ca, folder, metrics, tls }
    }

    fn issue(&self) {
        self.ca.server().write(self.folder.path(), "server");
    }

    fn is_served(&self, config: &Arc<ServerConfig>) -> bool {
        Arc::ptr_eq(&self.tls.config(), config)
    }

    /// How many changes were taken over, and how many were refused.
    fn reloads(&self) -> (f64, f64) {
        let families = self.metrics.registry().gather();
        let family = families.iter().find(|family| family.name() == "monigate_tls_reloads_total").unwrap();
        let count = |result: &str| {
            let of =
                |metric: &&prometheus::proto::Metric| metric.get_label().iter().any(|label| label.value() == result);
            family.get_metric().iter().find(of).unwrap().get_counter().get_value()
        };
        (count("ok"), count("failed"))
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_over_by_all_clones_at_once() {
    let followed = Followed::new();
    let (clone, before) = (followed.tls.clone(), followed.tls.config());
    followed.issue();
    followed.tls.look().await;
    assert!(!followed.is_served(&before));
    assert!(followed.is_served(&clone.config()));
    assert_eq!(followed.reloads(), (1.0, 0.0));
}

#[tokio::test]
async fn the_same_words_in_another_file_are_no_change() {
    let followed = Followed::new();
    let before = followed.tls.config();
    for path in [&followed.tls.files().certificate, &followed.tls.files().key] {
        put(path, &fs::read_to_string(path).unwrap(), 0o400);
    }
    followed.tls.look().await;
    followed.tls.reread().await;
    assert!(followed.is_served(&before));
    assert_eq!(followed.reloads(), (0.0, 0.0));
}

#[tokio::test]
async fn what_is_bad_is_refused_once_and_what_was_fine_serves_on() {
    let followed = Followed::new();
    let (before, files) = (followed.tls.config(), followed.tls.files().clone());
    let good = fs::read_to_string(&files.certificate).unwrap();

    put(&files.certificate, &followed.ca.server().certificate, 0o644);
    followed.tls.look().await;
    followed.tls.look().await;
    assert_eq!(followed.reloads(), (0.0, 1.0), "one complaint for one content");
    assert!(followed.tls.problem().unwrap().ends_with("does not belong to the certificate"));
    followed.tls.reread().await;
    assert_eq!(followed.reloads(), (0.0, 2.0), "an operator is told each time");
    put(&files.certificate, "nothing", 0o644);
    followed.tls.look().await;
    assert_eq!(followed.reloads(), (0.0, 3.0), "another content is another complaint");
    fs::remove_file(&files.certificate).unwrap();
    followed.tls.look().await;
    assert_eq!(followed.reloads(), (0.0, 4.0));
    assert!(followed.is_served(&before), "all the while");

    put(&files.certificate, &good, 0o644);
    followed.tls.look().await;
    assert_eq!((followed.tls.problem(), followed.reloads()), (None, (0.0, 4.0)), "as it was before");
    assert!(followed.is_served(&before));
    followed.issue();
    followed.tls.look().await;
    assert_eq!(followed.reloads(), (1.0, 4.0));
}

#[tokio::test]
async fn a_key_that_everyone_may_read_is_not_taken_over() {
    let followed = Followed::new();
    let before = followed.tls.config();
    followed.issue();
    fs::set_permissions(&followed.tls.files().key, Permissions::from_mode(0o644)).unwrap();
    followed.tls.look().await;
    assert!(followed.is_served(&before));
    assert!(followed.tls.problem().unwrap().contains("can be read by everyone on this machine"));
}

#[tokio::test]
async fn a_reading_that_was_begun_goes_on_without_its_caller() {
    let followed = Followed::new();
    let before = followed.tls.config();
    followed.issue();
    {
        let mut look = pin!(followed.tls.look());
        let _ = poll_fn(|cx| Poll::Ready(look.as_mut().poll(cx))).await;
    }
    // Whoever looks next waits for the reading that is under way, and finds nothing new.
    followed.tls.look().await;
    assert!(!followed.is_served(&before));
    assert_eq!(followed.reloads(), (1.0, 0.0));
}

#[test]
fn nothing_of_the_key_is_shown() {
    let (ca, folder) = (Ca::new("the CA"), tempfile::tempdir().unwrap());
    let leaf = ca.server();
    let files = files(folder.path(), &leaf);
    let line = leaf.key.lines().nth(1).unwrap();
    let mut shown = format!("{:?}{:?}", Tls::new(files.clone()).unwrap(), Identity::read(&files).unwrap());
    put(&files.key, &leaf.key.replace("END", "end"), 0o600);
    let error = Tls::new(files).unwrap_err();
    shown.push_str(&format!("{error}{error:?}{}", error.fix()));
    assert!(!shown.contains(&line[..12]), "{shown}");
}
