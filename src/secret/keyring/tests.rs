//! What the keyring promises, on real files: every way to swap one is seen, no bad one is taken over, nothing is lost.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use tempfile::TempDir;

use super::*;

const OLD: &str = "mon_old_0123456789abcdef";
const NEW: &str = "mon_new_fedcba9876543210";

/// A folder with a token in `token`, the keyring that read it for one space, and what it counts.
struct Desk {
    folder: TempDir,
    keyring: Arc<Keyring>,
    metrics: Arc<Metrics>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        put(&folder.path().join("token"), OLD);
        Self::over(folder)
    }

    fn over(folder: TempDir) -> Self {
        let source = Source::file(&folder.path().join("token"), false).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let keyring = Keyring::new([(space("a"), source)], false).counting(Arc::clone(&metrics));
        Self { folder, keyring: Arc::new(keyring), metrics }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// Looks once more, as the poll does.
    async fn poll(&self) {
        self.keyring.look().await;
    }

    async fn reread(&self) {
        self.keyring.reread_all().await;
    }

    fn token(&self) -> String {
        bearer(&self.keyring, "a")
    }

    fn generation(&self) -> u64 {
        self.keyring.generation(&space("a"))
    }

    fn problem(&self) -> Option<String> {
        self.keyring.health().next().unwrap().1.problem
    }

    /// How many changes were taken over, and how many were refused.
    fn reloads(&self) -> (f64, f64) {
        let families = self.metrics.registry().gather();
        let family = families.iter().find(|family| family.name() == "monigate_secret_reloads_total").unwrap();
        let count = |result: &str| {
            let of =
                |metric: &&prometheus::proto::Metric| metric.get_label().iter().any(|label| label.value() == result);
            family.get_metric().iter().find(of).unwrap().get_counter().get_value()
        };
        (count("ok"), count("failed"))
    }
}

/// Something that may happen to a file, after its name.
type Way = (&'static str, fn(&Path));

fn space(name: &str) -> SpaceId {
    SpaceId::parse(&format!("spc-{name}")).unwrap()
}

fn bearer(keyring: &Keyring, name: &str) -> String {
    keyring.token(&space(name)).unwrap().bearer().to_str().unwrap().trim_start_matches("Bearer ").to_owned()
}

/// Writes in place: the file stays the one it was.
fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn rename_over(path: &Path, text: &str) {
    let beside = path.with_extension("next");
    put(&beside, text);
    fs::rename(beside, path).unwrap();
}

/// A volume as Kubernetes fills it: the file is a link through `..data`, a link that is swapped as a whole.
fn mount(folder: &Path, version: &str, text: &str) {
    fs::create_dir(folder.join(version)).unwrap();
    put(&folder.join(version).join("token"), text);
    symlink(version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn a_token_that_was_swapped_in_any_way_is_taken_over() {
    let ways: [Way; 4] = [
        ("in place", |path| put(path, NEW)),
        ("with a line break", |path| put(path, &format!("{NEW}\n"))),
        ("by renaming", |path| rename_over(path, NEW)),
        ("removed and made again", |path| {
            fs::remove_file(path).unwrap();
            put(path, NEW);
        }),
    ];
    for (how, swap) in ways {
        let desk = Desk::new();
        desk.poll().await;
        assert_eq!((desk.token(), desk.generation(), desk.reloads()), (OLD.to_owned(), 0, (0.0, 0.0)), "{how}");
        swap(&desk.path());
        desk.poll().await;
        assert_eq!((desk.token(), desk.generation(), desk.reloads()), (NEW.to_owned(), 1, (1.0, 0.0)), "{how}");
        desk.reread().await;
        assert_eq!((desk.generation(), desk.reloads()), (1, (1.0, 0.0)), "{how}: the same token is no change");
    }
}

#[tokio::test]
async fn a_mounted_volume_whose_data_link_moves_on_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), "..2026_11_22_1", OLD);
    symlink("..data/token", folder.path().join("token")).unwrap();
    let desk = Desk::over(folder);
    mount(desk.folder.path(), "..2026_11_22_2", NEW);
    fs::remove_dir_all(desk.folder.path().join("..2026_11_22_1")).unwrap();
    desk.poll().await;
    assert_eq!((desk.token(), desk.generation(), desk.problem()), (NEW.to_owned(), 1, None));
}

#[tokio::test]
async fn a_bad_file_keeps_the_token_and_says_what_is_wrong() {
    let ways: [Way; 9] = [
        ("does not exist", |path| fs::remove_file(path).unwrap()),
        ("token is empty", |path| put(path, "")),
        ("token is empty", |path| put(path, "\n")),
        ("more than one line", |path| put(path, &format!("{NEW}\n{NEW}\n"))),
        ("quotation marks", |path| put(path, &format!("\"{NEW}\""))),
        ("begins with `Bearer `", |path| put(path, &format!("Bearer {NEW}"))),
        ("mode 0644", |path| {
            put(path, NEW);
            fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        }),
        ("not a regular file", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("larger than 65536 bytes", |path| put(path, &NEW.repeat(4096))),
    ];
    for (words, spoil) in ways {
        let desk = Desk::new();
        spoil(&desk.path());
        desk.poll().await;
        assert_eq!((desk.token(), desk.generation(), desk.reloads()), (OLD.to_owned(), 0, (0.0, 1.0)), "{words}");
        let problem = desk.problem().unwrap();
        assert!(problem.contains(words) && !problem.contains("mon_"), "{problem} lacks {words}");
        let health = desk.keyring.health().next().unwrap().1.to_string();
        assert_eq!(health, format!("an older one is used, because its file now {problem}"));
        desk.poll().await;
        assert_eq!(desk.reloads(), (0.0, 1.0), "{words}: polled again, it is no news");
        for asked in [2.0, 3.0] {
            desk.reread().await;
            assert_eq!(desk.reloads(), (0.0, asked), "{words}: who asks is told");
        }
        desk.poll().await;
        assert_eq!(desk.reloads(), (0.0, 3.0), "{words}: nor after somebody asked");
        assert!(desk.problem().is_some(), "{words}: it is wrong all the same");
    }
}

#[tokio::test]
async fn a_bad_file_that_becomes_another_bad_file_is_news() {
    let desk = Desk::new();
    let path = desk.path();
    let open = |text: &str| {
        put(&path, text);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    };
    let ways: [(&str, &dyn Fn()); 6] = [
        ("bad", &|| put(&path, "a b")),
        ("bad in the same way, with other words", &|| put(&path, "a c")),
        ("the same words in another file", &|| rename_over(&path, "a c")),
        ("bad in another way", &|| put(&path, "")),
        ("not to be read", &|| open("secret")),
        ("not to be read, and longer", &|| open("secrets")),
    ];
    for (number, (how, spoil)) in (1_u32..).zip(ways) {
        spoil();
        for _ in 0..2 {
            desk.poll().await;
            assert_eq!(desk.reloads(), (0.0, f64::from(number)), "{how}");
        }
    }
    put(&path, "");
    desk.poll().await;
    put(&path, "");
    desk.poll().await;
    assert_eq!(desk.reloads(), (0.0, 7.0), "written again, but the same");
}

#[tokio::test]
async fn a_file_that_is_mended_is_fine_again() {
    let desk = Desk::new();
    put(&desk.path(), "");
    desk.poll().await;
    put(&desk.path(), OLD);
    desk.poll().await;
    assert_eq!((desk.problem(), desk.generation(), desk.reloads()), (None, 0, (0.0, 1.0)), "nothing has changed");
    put(&desk.path(), "");
    desk.poll().await;
    put(&desk.path(), NEW);
    desk.poll().await;
    assert_eq!((desk.problem(), desk.generation(), desk.reloads()), (None, 1, (1.0, 2.0)));
}

#[tokio::test]
async fn spaces_share_a_source_when_they_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let [shared, own] = ["shared", "own"].map(|name| folder.path().join(name));
    put(&shared, OLD);
    put(&own, "mon_test_own_0123456789");
    let file = |path: &Path| Source::file(path, false).unwrap();
    let all = [(space("a"), file(&shared)), (space("b"), file(&own)), (space("c"), file(&shared))];
    let keyring = Keyring::new(all, false);

    let name = |name: &str| keyring.source_name(&space(name)).unwrap();
    assert_eq!(&*name("a"), shared.to_str().unwrap());
    assert!(Arc::ptr_eq(&name("a"), &name("c")) && name("a") != name("b"));
    assert_eq!(keyring.sources().count(), 2);
    assert_eq!(
        ["a", "b", "c"].map(|name| keyring.kind(&space(name))),
        [TokenKind::Live, TokenKind::Test, TokenKind::Live]
    );

    put(&shared, NEW);
    keyring.reread(&space("a")).await;
    keyring.refused(&space("c"), &keyring.token(&space("c")).unwrap(), true);
    assert_eq!(["a", "b", "c"].map(|name| keyring.generation(&space(name))), [1, 0, 1]);
    assert_eq!(["a", "c"].map(|name| bearer(&keyring, name)), [NEW, NEW]);
    let said: Vec<_> = keyring.health().map(|(space, health)| format!("{}: {health}", space.as_str())).collect();
    let refused = "fine; Monime refused it when last asked";
    assert_eq!(said, [format!("spc-a: {refused}"), "spc-b: fine".to_owned(), format!("spc-c: {refused}")]);
}

#[tokio::test]
async fn a_space_that_nobody_named_has_nothing() {
    let desk = Desk::new();
    let stranger = space("stranger");
    assert!(desk.keyring.token(&stranger).is_none() && desk.keyring.source_name(&stranger).is_none());
    desk.keyring.refused(&stranger, &desk.keyring.token(&space("a")).unwrap(), true);
    desk.keyring.reread(&stranger).await;
    assert_eq!((desk.keyring.generation(&stranger), desk.keyring.kind(&stranger)), (0, TokenKind::Other));
    assert!(!desk.keyring.health().next().unwrap().1.refused);
}

#[tokio::test]
async fn the_environment_is_never_read_again() {
    let secret = Secret::parse(OLD.as_bytes().to_vec()).unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let keyring = Keyring::new([(space("a"), Source::environment(secret))], false).counting(metrics);
    keyring.reread(&space("a")).await;
    keyring.reread_all().await;
    assert_eq!((bearer(&keyring, "a"), keyring.generation(&space("a"))), (OLD.to_owned(), 0));
    assert_eq!(&*keyring.source_name(&space("a")).unwrap(), "the environment");
}

#[tokio::test]
async fn a_refusal_is_of_one_token_and_not_of_its_successor() {
    let desk = Desk::new();
    let refused = |desk: &Desk| desk.keyring.health().next().unwrap().1.refused;
    let old = desk.keyring.token(&space("a")).unwrap();
    desk.keyring.refused(&space("a"), &old, true);
    put(&desk.path(), "");
    desk.poll().await;
    assert!(refused(&desk), "it is still the one in use");
    put(&desk.path(), NEW);
    desk.poll().await;
    assert!(!refused(&desk));
    desk.keyring.refused(&space("a"), &old, true);
    assert!(!refused(&desk), "an answer that comes late is of the token that it was asked for with");
}

#[tokio::test]
async fn a_storm_of_reasons_to_look_reads_the_file_twice_at_most() {
    let desk = Desk::new();
    put(&desk.path(), "");
    join_all((0..100).map(|_| desk.reread())).await;
    // Of the first nobody knows whether it began after the others' reasons to look.
    assert_eq!(desk.reloads(), (0.0, 2.0));
    desk.reread().await;
    assert_eq!(desk.reloads(), (0.0, 3.0));
}

#[tokio::test]
async fn a_bad_file_is_complained_of_once_however_often_monime_refuses() {
    let desk = Desk::new();
    put(&desk.path(), "");
    for _ in 0..5 {
        desk.keyring.reread(&space("a")).await;
        desk.poll().await;
    }
    assert_eq!(desk.reloads(), (0.0, 1.0));
    desk.reread().await;
    assert_eq!(desk.reloads(), (0.0, 2.0), "whoever asks is told each time");
    put(&desk.path(), NEW);
    desk.keyring.reread(&space("a")).await;
    assert_eq!((desk.token().as_str(), desk.reloads()), (NEW, (1.0, 2.0)));
}

#[tokio::test]
async fn a_reading_that_has_begun_goes_on_though_nobody_waits() {
    let desk = Desk::new();
    put(&desk.path(), "");
    // Polled once and dropped.
    let _ = desk.reread().now_or_never();
    desk.reread().await;
    assert_eq!(desk.reloads(), (0.0, 2.0));
}

#[tokio::test]
async fn a_new_configuration_keeps_what_is_known_of_its_files() {
    let desk = Desk::new();
    put(&desk.path(), NEW);
    desk.reread().await;
    put(&desk.path(), "");
    desk.reread().await;
    desk.keyring.refused(&space("a"), &desk.keyring.token(&space("a")).unwrap(), true);
    let before = desk.keyring.source_name(&space("a")).unwrap();

    put(&desk.path(), OLD);
    let other = desk.folder.path().join("other");
    put(&other, OLD);
    let [same, other] = [&desk.path(), &other].map(|path| Source::file(path, false).unwrap());
    let keyring = Keyring::new([(space("b"), other), (space("c"), same)], false).adopt(&desk.keyring);
    assert!(keyring.token(&space("a")).is_none(), "it is no longer configured");
    assert_eq!(keyring.generation(&space("b")), 0);
    assert!(Arc::ptr_eq(&before, &keyring.source_name(&space("c")).unwrap()));
    assert_eq!((keyring.generation(&space("c")), bearer(&keyring, "c")), (1, NEW.to_owned()));
    let (_, health) = keyring.health().last().unwrap();
    assert!(health.problem.is_some() && health.refused);

    keyring.reread_all().await;
    assert_eq!((keyring.generation(&space("c")), bearer(&keyring, "c")), (2, OLD.to_owned()));
    assert_eq!(desk.reloads(), (2.0, 1.0), "and goes on counting");
    assert!(!format!("{keyring:?}").contains("0123456789"));
}

#[tokio::test]
async fn what_was_allowed_at_start_is_allowed_when_reading_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, OLD).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let keyring = Keyring::new([(space("a"), Source::file(&path, true).unwrap())], true);
    fs::write(&path, NEW).unwrap();
    keyring.reread_all().await;
    assert_eq!(bearer(&keyring, "a"), NEW);
}
