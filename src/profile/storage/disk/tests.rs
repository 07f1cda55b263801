#![allow(clippy::indexing_slicing, reason = "an index that is wrong fails the test")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::AbstractTree as _;

use super::*;

const KEYS: [&[u8]; 3] = [b"a", b"b", b"c"];

fn commit(disk: &Disk, rows: &[(&[u8], &[u8])]) -> Result<(), StorageError> {
    let writes: Vec<Write<'_>> =
        rows.iter().map(|(key, value)| (Table::Ledger, *key, Some(*value))).collect();
    disk.commit(&writes)
}

fn rows(disk: &Disk) -> Vec<Option<Vec<u8>>> {
    KEYS.iter().map(|key| disk.get(Table::Ledger, key).expect("readable")).collect()
}

fn values(values: [&[u8]; 3]) -> Vec<Option<Vec<u8>>> {
    values.map(|value| (!value.is_empty()).then(|| value.to_vec())).to_vec()
}

fn fail(disk: &Disk, steps: impl IntoIterator<Item = Step>) {
    *disk.fails_at.lock().expect("whole") = steps.into_iter().collect();
}

/// Waits until the database writes nothing in the background.
fn quiet(disk: &Disk) {
    let open = disk.reading();
    let Some(open) = open.as_ref() else { return };
    let waits = || open.tables.values().any(|table| table.tree.sealed_memtable_count() > 0);
    while open.database.outstanding_flushes() > 0 || waits() {
        std::thread::sleep(GLANCE);
    }
}

/// The files as a process that is killed now leaves them.
fn killed(disk: &Disk, folder: &Path) -> tempfile::TempDir {
    quiet(disk);
    left(folder)
}

/// The files of a store that nobody has open, or that writes nothing now.
fn left(folder: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("readable") {
            let path = entry.expect("readable").path();
            let to = to.join(path.file_name().expect("a name"));
            if path.is_dir() {
                copy(&path, &to);
            } else {
                match fs::copy(&path, &to) {
                    // A journal goes once its rows are in the tables.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => {}
                    copied => drop(copied.expect("copied")),
                }
            }
        }
    }
    let to = tempfile::tempdir().expect("a temporary folder");
    copy(folder, to.path());
    to
}

/// Whatever step fails, and whatever fails then while it is mended, and killed at any of these points: nothing that was acknowledged is
/// lost, nothing that was refused is there, and the store takes writes again.
#[test]
fn every_step_that_fails_heals() {
    let (before, after) = (values([b"1", b"1", b""]), values([b"2", b"1", b"2"]));
    for first in [Step::Write, Step::Sync, Step::Mark, Step::Panic] {
        for second in [Step::Probe, Step::Reopen, Step::TakeBack, Step::Forget, Step::Mark] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let disk = Disk::open(folder.path()).expect("it opens");
            commit(&disk, &[(b"a", b"1"), (b"b", b"1")]).expect("written");
            fail(&disk, [first]);
            let done = commit(&disk, &[(b"a", b"2"), (b"c", b"2")]);
            // Once it is on the disk it is acknowledged.
            assert_eq!(done.is_ok(), first == Step::Mark);
            let wanted = if done.is_ok() { &after } else { &before };
            assert!(disk.is_halted());
            assert!(matches!(commit(&disk, &[(b"b", b"9")]), Err(StorageError::Halted { .. })));
            fail(&disk, [second]);
            let healed = disk.recover().is_ok();
            // A mark needs no more than to be written.
            let is_visited = second == Step::Mark || first != Step::Mark;
            assert_eq!(healed, !is_visited, "{first:?} {second:?}");
            let killed = killed(&disk, folder.path());
            let again = Disk::open(killed.path()).expect("it opens");
            assert_eq!(&rows(&again), wanted, "killed: {first:?} {second:?}");
            commit(&again, &[(b"b", b"3")]).expect("it takes writes");
            drop(again);
            let again = Disk::open(killed.path()).expect("it opens");
            assert_eq!(rows(&again)[1], Some(b"3".to_vec()), "what came after is not taken back");
            fail(&disk, []);
            disk.recover().expect("it heals");
            assert!(!disk.is_halted());
            assert_eq!(&rows(&disk), wanted, "{first:?} {second:?}");
            commit(&disk, &[(b"b", b"5")]).expect("it takes writes");
            let commits = disk.commits();
            assert_eq!(commits, if done.is_ok() { 3 } else { 2 });
            drop(disk);
            let disk = Disk::open(folder.path()).expect("it opens");
            assert_eq!((rows(&disk)[1].as_deref(), disk.commits()), (Some(b"5".as_slice()), commits));
            assert_eq!(&rows(&disk)[0], &wanted[0]);
        }
    }
}

/// A snapshot keeps the database open: it ends, so that the store can be mended.
#[test]
fn a_snapshot_ends_when_the_store_is_mended() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::open(folder.path()).expect("it opens");
    commit(&disk, &[(b"a", b"1"), (b"b", b"1")]).expect("written");
    fail(&disk, [Step::Write]);
    commit(&disk, &[(b"a", b"2")]).expect_err("it fails");
    fail(&disk, []);
    let mut tried = false;
    let shown = disk.snapshot(&mut |_, _, _| {
        if !std::mem::replace(&mut tried, true) {
            disk.recover().expect_err("not yet");
        }
        std::ops::ControlFlow::Continue(())
    });
    assert!(matches!(shown, Err(StorageError::Halted { .. })));
    disk.recover().expect("it heals");
    commit(&disk, &[(b"a", b"2")]).expect("written");
    disk.snapshot(&mut |_, _, _| std::ops::ControlFlow::Continue(())).expect("shown again");
}

/// A commit of thousands of rows is not visible in parts: neither within a scan nor in two reads, one after the other.
#[test]
fn reads_see_whole_commits() {
    use std::sync::atomic::AtomicU64;
    const ROWS: u32 = 3000;
    const COMMITS: u64 = 40;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::open(folder.path()).expect("it opens");
    let write = |number: u64| {
        let (value, keys) = (number.to_be_bytes(), (0..ROWS).map(u32::to_be_bytes).collect::<Vec<_>>());
        // Tables come in this order, and the row of the profile first.
        let mut all: Vec<Write<'_>> = Vec::new();
        for table in [Table::Profiles, Table::Tiles] {
            all.extend(keys.iter().map(|key| (table, key.as_slice(), Some(value.as_slice()))));
        }
        disk.commit(&all).expect("written");
    };
    write(0);
    let done = AtomicU64::new(0);
    let number = |value: &[u8]| u64::from_be_bytes(value.try_into().expect("a number"));
    let get = |table| number(&disk.get(table, &[0; 4]).expect("readable").expect("it is there"));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 1..=COMMITS {
                write(number);
                done.store(number, Ordering::SeqCst);
            }
        });
        while !writer.is_finished() {
            let acknowledged = done.load(Ordering::SeqCst);
            let (profile, tile) = (get(Table::Profiles), get(Table::Tiles));
            assert!(acknowledged <= profile && profile <= tile, "{acknowledged} {profile} {tile}");
            let rows = disk.scan(Table::Tiles, &[0; 4], &[255; 4], Order::Descending, usize::MAX);
            let rows = rows.expect("readable");
            let first = number(&rows[0].1);
            assert!(tile <= first && rows.iter().all(|(_, value)| number(value) == first), "{first}");
            assert!(get(Table::Profiles) >= first, "a tile was there before its profile");
        }
    });
    assert_eq!(get(Table::Tiles), COMMITS);
}

/// Its sender was told that nothing was done: nobody may see it, neither by a read nor in a backup.
#[test]
fn reads_do_not_see_a_commit_that_was_refused_after_it_was_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::open(folder.path()).expect("it opens");
    commit(&disk, &[(b"a", b"1")]).expect("written");
    fail(&disk, [Step::Sync, Step::Probe]);
    commit(&disk, &[(b"a", b"2"), (b"b", b"2")]).expect_err("it fails");
    let check = || {
        assert_eq!(rows(&disk), values([b"1", b"", b""]));
        let scanned = disk.scan(Table::Ledger, b"a", b"z", Order::Ascending, 9).expect("readable");
        assert_eq!(scanned, [(b"a".to_vec(), b"1".to_vec())]);
        let mut shown = Vec::new();
        let see = &mut |_: Table, key: &[u8], value: &[u8]| {
            shown.push((key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        };
        disk.snapshot(see).expect("readable");
        assert_eq!(shown, scanned);
    };
    check();
    disk.recover().expect_err("the disk is full");
    check();
    fail(&disk, []);
    disk.recover().expect("it heals");
    check();
    commit(&disk, &[(b"b", b"3")]).expect("written");
    assert_eq!(rows(&disk), values([b"1", b"3", b""]));
}

/// The customer whose rows they were may be erased later: neither the rows nor the end of longer ones stay in the file.
#[test]
fn nothing_stays_of_what_was_kept_to_take_a_commit_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refused = folder.path().join("refused");
    let is_wiped = || {
        let bytes = fs::read(&refused).expect("it is there");
        assert!(bytes.len() >= 4 << 20, "the room is given back");
        bytes[16..].iter().all(|byte| *byte == 0)
    };
    let mut noise = vec![0; 300_000];
    getrandom::fill(&mut noise).expect("random");
    let disk = Disk::open(folder.path()).expect("it opens");
    for value in [noise.as_slice(), b"short"] {
        commit(&disk, &[(b"a", value)]).expect("written");
        fail(&disk, [Step::Sync]);
        commit(&disk, &[(b"a", b"2")]).expect_err("it fails");
        assert!(!is_wiped());
        fail(&disk, []);
        disk.recover().expect("it heals");
        assert!(is_wiped());
    }
    let old = fs::metadata(&refused).expect("it is there").blocks();
    assert!(old * 512 >= 4 << 20, "{old}");
    // What an earlier version left behind an empty head.
    drop(disk);
    let mut left = fs::read(&refused).expect("it is there");
    left[16..16 + noise.len()].copy_from_slice(&noise);
    fs::write(&refused, left).expect("written");
    drop(Disk::open(folder.path()).expect("it opens"));
    assert!(is_wiped());
}

fn gone(error: &StorageError) -> PathBuf {
    let StorageError::Gone { path } = error else { panic!("{error}") };
    path.clone()
}

#[test]
fn a_folder_that_goes_halts_the_store_until_it_is_back() {
    let outer = tempfile::tempdir().expect("a temporary folder");
    let (folder, away) = (outer.path().join("store"), outer.path().join("away"));
    let disk = Disk::open(&folder).expect("it opens");
    commit(&disk, &[(b"a", b"1")]).expect("written");
    disk.check().expect("it is there");
    fs::rename(&folder, &away).expect("moved");
    assert_eq!(gone(&commit(&disk, &[(b"a", b"2")]).expect_err("it is gone")), folder);
    assert!(disk.is_halted());
    disk.recover().expect_err("it is gone");
    // Another in its place is not it.
    drop(Disk::open(&folder).expect("it opens"));
    assert_eq!(gone(&disk.recover().expect_err("it is another")), folder);
    fs::remove_dir_all(&folder).expect("removed");
    fs::rename(&away, &folder).expect("moved back");
    disk.recover().expect("it is back");
    commit(&disk, &[(b"b", b"1")]).expect("written");
    assert_eq!(rows(&disk), values([b"1", b"1", b""]));
}

#[test]
fn each_file_that_goes_is_noticed_and_named() {
    for lost in ["", "rows", "rows/lock", "rows/version", "rows/keyspaces", "rows/0.jnl", "high-water"] {
        for again in [false, true] {
            let outer = tempfile::tempdir().expect("a temporary folder");
            let folder = outer.path().join("store");
            let disk = Disk::open(&folder).expect("it opens");
            commit(&disk, &[(b"a", b"1")]).expect("written");
            let path = folder.join(lost);
            if path.is_dir() {
                // One that is removed could be made anew with the same inode.
                fs::rename(&path, outer.path().join("away")).expect("moved");
                again.then(|| fs::create_dir_all(&path).expect("made anew"));
            } else {
                let bytes = fs::read(&path).expect("readable");
                fs::rename(&path, outer.path().join("away")).expect("moved");
                again.then(|| fs::write(&path, bytes).expect("made anew"));
            }
            let error = disk.check().expect_err("it is gone");
            assert!(gone(&error).starts_with(&path) || path.starts_with(gone(&error)), "{lost}: {error}");
            assert!(commit(&disk, &[(b"a", b"2")]).is_err());
        }
    }
}

#[test]
fn a_file_that_is_missing_at_the_start_is_named() {
    for lost in ["rows/version", "rows/lock", "rows/keyspaces", "high-water"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::open(folder.path()).expect("it opens");
        commit(&disk, &[(b"a", b"1")]).expect("written");
        drop(disk);
        let path = folder.path().join(lost);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("removed");
        let error = Disk::open(folder.path()).expect_err("it is refused").to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}

/// Without its number, nobody would notice that the end of the journal is gone.
#[test]
fn a_damaged_high_water_mark_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("high-water");
    // Of a store that has never written anything it is begun anew.
    drop(Disk::open(folder.path()).expect("it opens"));
    fs::write(&path, "").expect("written");
    let disk = Disk::open(folder.path()).expect("it opens");
    for value in [b"1", b"2", b"3"] {
        commit(&disk, &[(b"a", value)]).expect("written");
    }
    drop(disk);
    let whole = fs::read(&path).expect("readable");
    let half = whole.iter().take(16).copied().collect();
    let changed = whole.iter().map(|byte| byte.wrapping_add(3)).collect();
    let longer = [whole.as_slice(), b"more"].concat();
    for damaged in [Vec::new(), vec![0; 32], half, changed, longer] {
        fs::write(&path, damaged).expect("written");
        let error = Disk::open(folder.path()).expect_err("it is damaged").to_string();
        assert!(error.contains("high-water") && error.contains("damaged"), "{error}");
    }
    // One slot may be torn: it was being written when the power went.
    let mut torn = whole.clone();
    torn[20] ^= 1;
    for bytes in [torn, whole] {
        fs::write(&path, bytes).expect("written");
        drop(Disk::open(folder.path()).expect("it opens"));
    }
}

/// Upkeep writes, too. Where that fails it rests for a minute, but the store takes writes again within seconds.
#[test]
fn a_store_that_fails_while_it_is_cleared_heals_as_soon_as_it_can() {
    use crate::profile::{Book, Keeper, Terms, Upkeep, system_clock};

    fn within(seconds: u64, so: impl Fn() -> bool) -> bool {
        let end = std::time::Instant::now() + Duration::from_secs(seconds);
        while !so() && std::time::Instant::now() < end {
            std::thread::sleep(GLANCE);
        }
        so()
    }

    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::open(folder.path()).expect("it opens");
    let book = Book::open(disk, Terms::default(), [7; 32]).expect("a new book");
    fail(book.storage(), [Step::Write]);
    let keeper = Keeper::start(book, system_clock(), Upkeep::default(), Arc::default()).expect("threads");
    assert!(within(30, || !keeper.accepts_writes()), "the clock is written soon after the start");
    fail(keeper.book().storage(), []);
    assert!(within(30, || keeper.accepts_writes()));
}

/// A second fault keeps from the disk how the refused commit is taken back. It is tried again at each attempt to recover, and when the
/// store is closed; nothing goes on before.
#[test]
fn what_must_be_taken_back_is_never_given_up() {
    for second in [Step::Read, Step::Keep] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::open(folder.path()).expect("it opens");
        commit(&disk, &[(b"a", b"1"), (b"b", b"1")]).expect("written");
        fail(&disk, [Step::Sync, second]);
        commit(&disk, &[(b"a", b"2"), (b"c", b"2")]).expect_err("it fails");
        for _ in 0..2 {
            disk.recover().expect_err("the second fault lasts");
            assert!(disk.is_halted(), "{second:?}");
        }
        // The second fault is over; the disk is as full as it was, and the server is restarted.
        fail(&disk, [Step::Sync, Step::Probe]);
        quiet(&disk);
        drop(disk);
        let left = left(folder.path());
        let again = Disk::open(left.path()).expect("it opens");
        assert_eq!(rows(&again), values([b"1", b"1", b""]), "{second:?}");
        assert_eq!(again.commits(), 1);
    }
    for second in [Step::Read, Step::Keep] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::open(folder.path()).expect("it opens");
        commit(&disk, &[(b"a", b"1"), (b"b", b"1")]).expect("written");
        fail(&disk, [Step::Sync, second]);
        commit(&disk, &[(b"a", b"2"), (b"c", b"2")]).expect_err("it fails");
        fail(&disk, []);
        disk.recover().expect("both faults are over");
        assert_eq!((rows(&disk), disk.commits()), (values([b"1", b"1", b""]), 1), "{second:?}");
    }
}

/// The file system is full to the last byte: what takes back a refused commit has its room already.
#[test]
fn what_takes_back_a_commit_needs_no_room() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::open(folder.path()).expect("it opens");
    let blocks = || fs::metadata(folder.path().join("refused")).expect("it is there").blocks();
    // Rows of random bytes, as values that cannot be compressed.
    let mut value = vec![0; 1 << 20];
    getrandom::fill(&mut value).expect("random");
    commit(&disk, &[(b"a", &value)]).expect("written");
    let before = blocks();
    assert!(before * 512 >= 4 << 20, "{before}");
    fail(&disk, [Step::Sync, Step::Probe]);
    commit(&disk, &[(b"a", b"2")]).expect_err("it fails");
    assert_eq!(blocks(), before);
    let left = killed(&disk, folder.path());
    let again = Disk::open(left.path()).expect("it opens");
    assert_eq!(rows(&again)[0].as_ref(), Some(&value));
}

fn journals(folder: &Path) -> Vec<PathBuf> {
    let files = super::journals(folder).into_iter();
    files.filter(|path| path.extension().is_some_and(|kind| kind == "jnl")).collect()
}

/// Where a sync failed, the journal may lack on the disk what reading it shows. What is acknowledged later lies in another.
#[test]
fn nothing_is_written_behind_what_was_not_synced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::open(folder.path()).expect("it opens");
    commit(&disk, &[(b"a", b"1"), (b"b", b"1")]).expect("written");
    let first = journals(folder.path());
    // Of a full disk nothing is lost, and a new journal would need room.
    fail(&disk, [Step::Write]);
    commit(&disk, &[(b"a", b"2")]).expect_err("it fails");
    fail(&disk, []);
    disk.recover().expect("it heals");
    assert_eq!(journals(folder.path()), first);
    fail(&disk, [Step::Sync]);
    commit(&disk, &[(b"a", b"2"), (b"c", b"2")]).expect_err("it fails");
    let killed_early = killed(&disk, folder.path());
    let length = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    fail(&disk, []);
    disk.recover().expect("it heals");
    let old = length(&first[0]);
    for number in [b"3", b"4"] {
        commit(&disk, &[(b"b", number)]).expect("written");
    }
    assert!([0, old].contains(&length(&first[0])), "it was written on");
    assert_eq!(rows(&disk), values([b"1", b"4", b""]));
    // The old one is cut off where the sync failed, as after a power cut; and once more, after it was killed before it recovered.
    for left in [killed(&disk, folder.path()), killed_early] {
        let again = Disk::open(left.path()).expect("it opens");
        commit(&again, &[(b"b", b"5")]).expect("written");
        drop(again);
        let newest = journals(left.path()).into_iter().max().expect("one");
        assert_ne!(newest.file_name(), first[0].file_name());
        let again = Disk::open(left.path()).expect("it opens");
        assert_eq!(rows(&again), values([b"1", b"5", b""]));
    }
}

/// A power cut takes files whose names are not on the disk, however often the files themselves were synced.
#[test]
fn the_names_of_a_new_store_are_synced_before_it_takes_anything() {
    let outer = tempfile::tempdir().expect("a temporary folder");
    let folder = outer.path().join("a/store");
    drop(Disk::open(&folder).expect("it opens"));
    let synced = crate::files::tests::SYNCED.with_borrow(Clone::clone);
    for named in [outer.path().to_owned(), outer.path().join("a"), folder] {
        assert!(synced.contains(&named), "{}: {synced:?}", named.display());
    }
}

/// A store may lie beside somebody else's files, whatever these are called.
#[test]
fn files_beside_a_store_keep_their_rights_and_their_bytes() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let others =
        ["rows-of-seats", "probe", "refused-claims", "restoring.md", "high-water-marks.csv", "rows2"];
    for name in others {
        let path = folder.path().join(name);
        fs::write(&path, name).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("its owner's");
    }
    let disk = Disk::open(folder.path()).expect("it opens");
    fail(&disk, [Step::Write]);
    commit(&disk, &[(b"a", b"1")]).expect_err("it fails");
    fail(&disk, []);
    disk.recover().expect("it heals");
    for name in others {
        let path = folder.path().join(name);
        let mode = fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((fs::read_to_string(&path).expect("readable").as_str(), mode), (name, 0o644));
    }
}

#[test]
fn a_table_without_a_byte_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = folder.path().join("rows/keyspaces/3/tables");
    std::fs::create_dir_all(&tables).expect("created");
    let failed = || open::failure(folder.path(), fjall::Error::Io(std::io::Error::from_raw_os_error(22)));
    std::fs::write(tables.join("6"), "whole").expect("written");
    assert!(matches!(failed(), StorageError::Io { .. }));
    std::fs::write(tables.join("7"), "").expect("written");
    let said = crate::telemetry::chain(&failed());
    assert!(said.contains("is damaged") && said.contains("keyspaces/3/tables/7 is empty"), "{said}");
}

/// Beside a restore that was cut off a new store would hide it, and nothing would erase what is in it.
#[test]
fn no_store_is_begun_beside_an_unfinished_restore() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let restoring = Disk::restoring(folder.path());
    fs::create_dir_all(Disk::rows(&restoring)).expect("made");
    let refused = Disk::open(folder.path()).expect_err("refused").to_string();
    assert!(refused.contains("a restore did not end") && refused.contains("restoring"), "{refused}");
    let left: Vec<_> =
        fs::read_dir(folder.path()).expect("readable").map(|entry| entry.expect("readable").path()).collect();
    assert_eq!(left, std::slice::from_ref(&restoring));
    fs::remove_dir_all(restoring).expect("there");
    Disk::open(folder.path()).expect("it opens");
}

/// Whether any file of a store has these bytes.
fn has_bytes(folder: &Path, bytes: &[u8]) -> bool {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read(&path).is_ok_and(|read| read.windows(bytes.len()).any(|part| part == bytes)) {
                return true;
            }
        }
    }
    false
}

/// It must not be said that the bytes of an erased customer left the disk while a file has them: what a read sees stays there,
/// be it one that began before they were removed, or one that began while they were wiped.
#[test]
fn bytes_that_are_still_read_have_not_left_the_disk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::open(folder.path()).expect("it opens");
    let removed: Write<'_> = (Table::Ledger, b"Uerased", None);
    for held_before in [true, false] {
        commit(&disk, &[(b"Uerased", b"1"), (b"d", b"1")]).expect("written");
        let seen = || disk.acknowledged(disk.reading().as_ref().expect("open"));
        let before = held_before.then(|| (disk.reads.begin(), seen()));
        disk.commit(std::slice::from_ref(&removed)).expect("written");
        // One that begins after the reads were waited for.
        let read = before.unwrap_or_else(|| (Arc::default(), seen()));
        assert!(!disk.scrub().expect("nothing failed"), "{held_before}: it is read");
        assert!(has_bytes(folder.path(), b"Uerased"), "{held_before}");
        drop(read);
        assert!(disk.scrub().expect("nothing failed"), "{held_before}: nobody reads");
        assert!(!has_bytes(folder.path(), b"Uerased"), "{held_before}");
    }
    assert_eq!(disk.get(Table::Ledger, b"d").expect("readable").as_deref(), Some(b"1".as_slice()));
}
