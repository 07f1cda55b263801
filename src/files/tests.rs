use std::fs;
use std::os::unix::fs::symlink;

use super::*;

thread_local! {
    /// The folders whose names this thread synced.
    pub(crate) static SYNCED: std::cell::RefCell<Vec<std::path::PathBuf>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").mode() & 0o777
}

#[test]
fn what_is_created_is_private_and_never_written_through_a_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    create_folder(&at("a/b")).expect("created");
    assert_eq!((mode(&at("a")), mode(&at("a/b"))), (0o700, 0o700));

    fs::write(at("victim"), "kept").expect("written");
    symlink(at("victim"), at("planted")).expect("linked");
    create(&at("planted")).expect("created");
    assert_eq!(
        (fs::read_to_string(at("victim")).expect("there"), mode(&at("planted"))),
        ("kept".into(), 0o600)
    );

    symlink(at("nothing"), at("dangling")).expect("linked");
    let refused = open(&at("dangling"), options().write(true)).expect_err("refused").to_string();
    assert!(refused.contains("symbolic link") && !at("nothing").exists(), "{refused}");
}

#[test]
fn a_file_that_was_open_to_others_is_closed_to_them_when_it_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("loose");
    fs::write(&path, "kept").expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o664)).expect("loosened");
    open(&path, options().write(true)).expect("opened");
    assert_eq!((mode(&path), fs::read_to_string(&path).expect("there")), (0o600, "kept".into()));
}

#[test]
fn a_folder_is_tightened_with_all_that_is_in_it_and_no_link_is_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("store/rows")).expect("created");
    fs::write(at("store/rows/0.jnl"), "x").expect("written");
    fs::write(at("outside"), "x").expect("written");
    symlink(at("outside"), at("store/link")).expect("linked");
    for (name, mode) in
        [("store", 0o755), ("store/rows", 0o750), ("store/rows/0.jnl", 0o644), ("outside", 0o644)]
    {
        fs::set_permissions(at(name), Permissions::from_mode(mode)).expect("loosened");
    }
    assert_eq!(tighten(&at("store")).expect("tightened"), 3);
    let modes = ["store", "store/rows", "store/rows/0.jnl", "outside"].map(|name| mode(&at(name)));
    assert_eq!(modes, [0o700, 0o700, 0o600, 0o644]);
    assert_eq!(tighten(&at("store")).expect("tightened"), 0);
}

#[test]
fn a_file_is_the_same_by_every_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("one"), "x").expect("written");
    fs::write(at("other"), "x").expect("written");
    fs::hard_link(at("one"), at("hard")).expect("linked");
    symlink(at("one"), at("soft")).expect("linked");
    let one = Identity::at(&at("one"));
    assert!(one.is_some());
    for (name, same) in [("hard", true), ("soft", true), ("../".to_owned().as_str(), false), ("other", false)]
    {
        assert_eq!(Identity::at(&at(name)) == one, same, "{name}");
    }
    assert_eq!(Identity::at(&at("nothing")), None);
}

#[test]
fn a_file_without_end_is_refused() {
    let error = read_at_most(Path::new("/dev/zero"), 1000).expect_err("refused").to_string();
    assert!(error.contains("1000 bytes"), "{error}");
}
