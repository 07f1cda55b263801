//! The profile store on a disk: killed, damaged, opened twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output, Stdio};
use std::time::{Duration, SystemTime};

use arom::model::Label;
use arom::profile::{
    Book, Channel, Command, Contribution, Disk, Event, Key, Micros, Order, Outcome, Storage, StorageError,
    Table, Terms,
};
use jiff::{SignedDuration, Timestamp};

use crate::support::{run, stderr, stdout};

/// The present of these tests.
fn now() -> Timestamp {
    Timestamp::from_second(1_795_408_200).expect("a time")
}

fn open(folder: &Path) -> Result<Book<Disk>, StorageError> {
    Book::open(Disk::open(folder)?, Terms::default(), [7; 32])
}

/// Event number so many: of one of ten customers and one of three brands.
fn event(number: u64) -> Command {
    let contribution = Contribution {
        time: now() - Duration::from_secs(number % 100_000),
        label: if number.is_multiple_of(3) { Label::Negative } else { Label::Positive },
        score: Micros::of(if number.is_multiple_of(3) { -0.5 } else { 0.25 }),
        channel: Channel::LineChat,
    };
    let event = Event {
        id: format!("e{number}"),
        customer: Some(format!("c{}", number % 10)),
        brands: vec![format!("b{}", number % 3)],
        contribution,
    };
    Command::Record { content: format!("{event:?}").into_bytes(), event, replaces: None }
}

fn count(book: &Book<Disk>, key: Key) -> i64 {
    let profile = book.profile(&key, now()).expect("readable");
    profile.map_or(0, |profile| profile.features.windows.last().map_or(0, |lifetime| lifetime.sums.count()))
}

/// Every event is in the ledger once, and its customer and brand have it.
fn check(book: &Book<Disk>, acknowledged: &BTreeSet<u64>) {
    let rows =
        book.storage().scan(Table::Ledger, &[], &[0xFF], Order::Ascending, usize::MAX).expect("readable");
    let held: BTreeSet<u64> = rows.iter().map(|(id, _)| number(&String::from_utf8_lossy(id))).collect();
    assert_eq!(held.len(), rows.len());
    let lost: Vec<&u64> = acknowledged.difference(&held).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let of = |keys: Vec<Key>| keys.into_iter().map(|key| count(book, key)).sum::<i64>();
    let customers = of((0..10).map(|number| Key::Customer(format!("c{number}"))).collect());
    let brands = of((0..3).map(|number| Key::Brand(format!("b{number}"))).collect());
    let total = i64::try_from(held.len()).expect("few");
    assert_eq!((customers, brands), (total, total), "no event is half there");
}

fn number(id: &str) -> u64 {
    id.trim_start_matches('e').parse().expect("an id")
}

/// What the process does that is killed: records events in commits of some, and says each id once it is acknowledged.
/// Only [`kills`](fn@a_killed_process_loses_nothing_that_it_acknowledged) runs it.
#[test]
#[ignore = "a process of another test"]
fn writer() {
    let Some(line) = std::io::stdin().lines().next() else { return };
    let line = line.expect("readable");
    let Some((folder, first)) = line.split_once('\t') else { return };
    let book = open(Path::new(folder)).expect("it opens");
    let mut next: u64 = first.parse().expect("a number");
    println!("open");
    loop {
        let group: Vec<u64> = (next..next + 1 + next % 17).collect();
        next += u64::try_from(group.len()).expect("few");
        let commands: Vec<Command> = group.iter().map(|number| event(*number)).collect();
        let applied = book.apply(&commands, now()).expect("written");
        assert!(applied.outcomes.iter().all(|outcome| *outcome == Outcome::Recorded));
        let mut out = std::io::stdout().lock();
        for number in group {
            writeln!(out, "e{number}").expect("it listens");
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    const ROUNDS: u64 = 50;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut acknowledged = BTreeSet::new();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..ROUNDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut child = Process::new(std::env::current_exe().expect("this test"))
            .args(["--ignored", "--exact", "store::writer", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut input = child.stdin.take().expect("piped");
        // Numbers of a round are its own: an event that was written but not acknowledged is not written again.
        writeln!(input, "{}\t{}", folder.path().display(), round * 1_000_000).expect("it reads");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut lines = lines.map_while(Result::ok).skip_while(|line| !line.ends_with("open"));
        assert!(lines.next().is_some(), "the store opens after {round} kills");
        let mut said = lines.filter(|line| line.starts_with('e')).map(|line| number(&line));
        // Somewhere in a commit, after some that it has acknowledged.
        acknowledged.extend(said.by_ref().take(usize::try_from(random >> 57).expect("7 bits")));
        child.kill().expect("it runs");
        acknowledged.extend(said);
        child.wait().expect("it ended");
        if round % 10 == 9 {
            check(&open(folder.path()).expect("it opens"), &acknowledged);
        }
    }
    assert!(acknowledged.len() > 1000, "{} events", acknowledged.len());
}

/// The journal of a store's database.
fn journal(folder: &Path) -> PathBuf {
    let files =
        fs::read_dir(folder.join("rows")).expect("a folder").map(|entry| entry.expect("readable").path());
    let mut journals: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "jnl")).collect();
    assert_eq!(journals.len(), 1, "one journal");
    journals.remove(0)
}

#[test]
fn a_flipped_bit_in_the_journal_is_noticed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let book = open(folder.path()).expect("it opens");
    for number in 0..200 {
        book.apply(&[event(number)], now()).expect("written");
    }
    drop(book);
    let journal = journal(folder.path());
    let bytes = fs::read(&journal).expect("readable");
    let written = bytes.iter().rposition(|byte| *byte != 0).expect("it holds something");
    for place in [written / 4, written / 2, written * 3 / 4] {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x10;
        fs::write(&journal, damaged).expect("written");
        let error = open(folder.path()).expect_err("it is refused").to_string();
        assert!(error.contains("is damaged") && error.contains("restore a backup"), "{error}");
        fs::write(&journal, &bytes).expect("written");
    }
    check(&open(folder.path()).expect("whole again"), &(0..200).collect());
}

/// The bytes of whom was erased stay where a backup still shows them: it must not be noted that they are gone.
#[test]
fn nothing_is_scrubbed_while_a_snapshot_shows_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let book = open(folder.path()).expect("it opens");
    book.apply(&[event(1)], now()).expect("written");
    let mut seen = 0;
    let look = &mut |_, _: &[u8], _: &[u8]| {
        seen += 1;
        assert!(!book.storage().scrub().expect("it answers"));
        ControlFlow::Break(())
    };
    book.storage().snapshot(look).expect("readable");
    assert_eq!(seen, 1);
    assert!(book.storage().scrub().expect("written anew"));
}

/// What is in a folder: of each file its mode, when it was written, and its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, (u32, SystemTime, Option<Vec<u8>>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(path) = folders.pop() {
        let meta = fs::symlink_metadata(&path).expect("it is there");
        let bytes = meta.is_file().then(|| fs::read(&path).expect("readable"));
        if meta.is_dir() {
            folders
                .extend(fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
        }
        found.insert(path, (meta.permissions().mode(), meta.modified().expect("known"), bytes));
    }
    found
}

fn look_at_clock(folder: &Path, more: &[&str]) -> Output {
    let folder = folder.display().to_string();
    let args = [&["profile", "clock", "--profile-store", &folder], more].concat();
    run(&args, "")
}

/// A store that a command made would have a salt that is no secret, and another one would have the same.
#[test]
fn a_look_at_the_clock_makes_no_store() {
    let outer = tempfile::tempdir().expect("a temporary folder");
    let (absent, empty) = (outer.path().join("absent"), outer.path().join("empty"));
    fs::create_dir(&empty).expect("made");
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o755)).expect("its owner's");
    let before = contents(outer.path());
    for folder in [&absent, &empty] {
        for more in [&[][..], &["--accept"]] {
            let output = look_at_clock(folder, more);
            assert!(!output.status.success());
            assert!(stderr(&output).contains("there is no profile store in"), "{}", stderr(&output));
            assert!(contents(outer.path()) == before, "it changed something");
        }
    }
    // Half a store is none, and none is made of it.
    for lost in ["high-water", "rows"] {
        let half = outer.path().join(lost);
        drop(open(&half).expect("it opens"));
        let path = half.join(lost);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("removed");
        let before = contents(&half);
        for more in [&[][..], &["--accept"]] {
            let output = look_at_clock(&half, more);
            assert!(!output.status.success() && stderr(&output).contains("lacks"), "{}", stderr(&output));
            assert!(contents(&half) == before, "it changed something");
        }
    }
    // A folder in which a server was stopped before it began the book.
    let begun = outer.path().join("begun");
    drop(Disk::open(&begun).expect("it opens"));
    for more in [&[][..], &["--accept"]] {
        let output = look_at_clock(&begun, more);
        assert!(!output.status.success() && stderr(&output).contains("is empty"), "{}", stderr(&output));
    }
    assert_eq!(Disk::open(&begun).expect("it opens").commits(), 0);
}

#[test]
fn a_look_at_the_clock_changes_no_store() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let book = open(folder.path()).expect("it opens");
    for number in 0..20 {
        book.apply(&[event(number)], now()).expect("written");
    }
    drop(book);
    // Somebody loosened it, and a refused commit is yet to be taken back.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its owner's");
    fs::write(folder.path().join("refused"), b"").expect("written");
    let written =
        |name: &str| fs::metadata(folder.path().join(name)).expect("it is there").modified().expect("known");
    let times = ["rows/0.jnl", "high-water"].map(written);
    // The first time that it is opened, the database cuts off what it had reserved.
    for turn in 0..2 {
        let before = contents(folder.path());
        let output = look_at_clock(folder.path(), &[]);
        assert!(stdout(&output).contains("store time"), "{}", stderr(&output));
        let after = contents(folder.path());
        let differs = |path: &&PathBuf| before.get(*path) != after.get(*path);
        let changed: Vec<_> = before.keys().chain(after.keys()).filter(differs).collect();
        assert!(turn == 0 || changed.is_empty(), "{changed:?}");
        assert_eq!(["rows/0.jnl", "high-water"].map(written), times);
        assert_eq!(fs::metadata(folder.path()).expect("it is there").permissions().mode() & 0o777, 0o755);
    }
    fs::remove_file(folder.path().join("refused")).expect("removed");
    let events = open(folder.path()).expect("it opens").storage().commits();
    assert_eq!(events, 21, "the beginning and each event");
}

/// What accepting forgets is the server's to say, by its own settings.
#[test]
fn accepting_the_clock_of_a_closed_store_deletes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let terms = || Terms { retention: SignedDuration::from_hours(24 * 3650), ..Terms::default() };
    let reopen =
        || Book::open(Disk::open(folder.path()).expect("it opens"), terms(), [7; 32]).expect("whole");
    let book = reopen();
    let old = now() - SignedDuration::from_hours(24 * 300);
    let mut recorded = event(1);
    if let Command::Record { event, .. } = &mut recorded {
        event.contribution.time = old;
    }
    book.apply(&[recorded], old).expect("written");
    drop(book);
    let output = look_at_clock(folder.path(), &["--accept"]);
    assert!(stdout(&output).contains("trusted      yes"), "{}", stderr(&output));
    let book = reopen();
    assert_eq!((book.held("c1").expect("readable").len(), book.trimmed()), (1, 0));
    assert_eq!(book.changes(0, 10).expect("readable").len(), 1);
}

#[test]
fn one_process_has_the_store_open() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = open(folder.path()).expect("it opens");
    assert!(matches!(open(folder.path()), Err(StorageError::Locked { .. })));
    drop(first);
    open(folder.path()).expect("it opens");
}
