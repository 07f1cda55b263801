#![allow(clippy::indexing_slicing, reason = "an index that is wrong fails the test")]

use super::super::storage::memory::Memory;
use super::super::{Channel, Contribution, Event, Interest, Micros, Step, Terms, Update, Watcher};
use super::*;
use crate::model::Label;

/// The system's clock of these tests, which they set.
#[derive(Debug, Default)]
struct Machine(Mutex<SignedDuration>);

fn start() -> Timestamp {
    Timestamp::from_second(1_795_408_200).expect("a time")
}

impl Machine {
    fn steps(&self, by: SignedDuration) {
        *self.0.lock().expect("whole") = by;
    }

    fn clock(self: &Arc<Self>) -> Clock {
        let machine = Arc::clone(self);
        Arc::new(move || Reading {
            wall: start() + *machine.0.lock().expect("whole"),
            monotonic: Duration::ZERO,
        })
    }
}

fn keeper(machine: &Arc<Machine>) -> Keeper<Memory> {
    let book = Book::open(Memory::default(), Terms::default(), [7; 32]).expect("an empty storage");
    let keeper = Keeper::start(book, machine.clock(), Upkeep::default(), Arc::default()).expect("threads");
    keeper.apply_blocking(vec![record("first")]).expect("written");
    keeper
}

fn waited<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

fn record(id: &str) -> Command {
    let contribution = Contribution {
        time: start(),
        label: Label::Positive,
        score: Micros::of(0.5),
        channel: Channel::LineChat,
    };
    let event = Event {
        id: id.to_owned(),
        customer: Some("c".to_owned()),
        brands: vec!["b".to_owned()],
        contribution,
    };
    Command::Record { event, content: Vec::new(), replaces: None }
}

/// A time that a person accepted counts once that is on the disk. Else things would be deleted by it although the person was told
/// that it was refused.
#[test]
fn a_time_that_could_not_be_kept_is_not_accepted() {
    const YEAR: SignedDuration = SignedDuration::from_hours(24 * 365);
    let machine = Arc::new(Machine::default());
    let keeper = keeper(&machine);
    machine.steps(YEAR);
    let before = keeper.clock();
    assert_eq!(before.distrust, Some(Distrust::SteppedAhead));
    keeper.book().storage().full.store(true, Ordering::Relaxed);
    waited(keeper.accept_clock()).expect_err("the disk is full");
    assert_eq!(keeper.clock(), before);
    keeper.book().storage().full.store(false, Ordering::Relaxed);
    let after = waited(keeper.accept_clock()).expect("written");
    assert_eq!((after.distrust, after.now), (None, start() + YEAR));
    assert_eq!(keeper.clock(), after);
    // What is on the disk says so, too, also after a commit that came with it.
    let asked = vec![Command::AcceptClock, Command::Tick];
    keeper.apply_blocking(asked).expect("written");
    keeper.apply_blocking(vec![record("second")]).expect("written");
    let past = keeper.book().past().expect("readable");
    let again = StoreClock::start(past, machine.clock()());
    assert_eq!(again.state().distrust, None);
}

/// Who asked is told, nobody is answered wrongly afterwards, and health says it.
#[test]
fn a_commit_that_panics_takes_no_thread_with_it() {
    let keeper = keeper(&Arc::default());
    assert!(keeper.accepts_writes());
    keeper.book().storage().panics.store(true, Ordering::Relaxed);
    let refused = keeper.apply_blocking(vec![record("second")]).expect_err("it panics");
    assert!(
        matches!(&refused, KeepError::Storage(error) if matches!(**error, StorageError::Broken)),
        "{refused}"
    );
    assert!(!keeper.accepts_writes());
    keeper.book().storage().panics.store(false, Ordering::Relaxed);
    let refused = keeper.apply_blocking(vec![record("third")]).expect_err("nobody knows what is there");
    assert!(refused.to_string().contains("restart the server"), "{refused}");
    assert_eq!(keeper.book().held("c").expect("readable").len(), 1);
}

/// Nothing else has the store take writes again, sweeps it, or looks at its disk.
#[test]
fn upkeep_that_panics_goes_on() {
    let keeper = keeper(&Arc::default());
    let storage = keeper.book().storage();
    storage.check_panics.store(true, Ordering::Relaxed);
    let seen = storage.checks.load(Ordering::Relaxed);
    // One panicked, and another came after it.
    while storage.checks.load(Ordering::Relaxed) < seen + 2 {
        assert!(keeper.accepts_writes(), "the thread ended");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(keeper.accepts_writes());
}

/// A machine that slept is not one whose clock jumped.
#[test]
fn time_while_the_machine_sleeps_counts() {
    let reading = || system_clock()().monotonic.as_secs_f64();
    let before = reading();
    let uptime = std::fs::read_to_string("/proc/uptime").expect("the kernel says it");
    let uptime: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).expect("seconds");
    // The kernel says hundredths.
    assert!((before - 0.02..=reading() + 0.02).contains(&uptime), "{before} {uptime}");
}

/// A change is on the disk before what is known of its brands is up to date, and before the sequence counts it. Who reads changes
/// from the disk, as after a restart, is told of it after that: else of the old brand, or that it is too far behind.
#[test]
fn a_change_is_told_once_its_commit_is_over() {
    let book = Book::open(Memory::default(), Terms::default(), [7; 32]).expect("an empty storage");
    book.apply(&[record("first")], start()).expect("written");
    let machine = Arc::new(Machine::default());
    let keeper = Keeper::start(book, machine.clock(), Upkeep::default(), Arc::default()).expect("threads");
    let keeper = Arc::new(keeper);
    let told = |since: Since| match since {
        Since::Changes(changes) => changes.iter().map(|change| change.sequence).collect::<Vec<u64>>(),
        Since::Forgotten => panic!("nothing is forgotten"),
    };
    let changes = |after| told(keeper.changes(after, 9).expect("readable"));
    let mut watcher = Watcher::from_now(Arc::clone(&keeper), Interest::default());
    let mut updates = || match watcher.step(start()).expect("readable") {
        Step::Updates(updates) => updates,
        other @ (Step::Anew(_) | Step::Lost) => panic!("{other:?}"),
    };
    let meets = Arc::new(std::sync::Barrier::new(2));
    *keeper.book().storage().meets.lock().expect("whole") = Some(Arc::clone(&meets));
    thread::scope(|scope| {
        let written = scope.spawn(|| keeper.apply_blocking(vec![record("second")]));
        meets.wait();
        let on_the_way = (changes(0), changes(1), updates().len());
        meets.wait();
        written.join().expect("no panic").expect("written");
        assert_eq!(on_the_way, (vec![1], vec![], 0));
    });
    assert_eq!((changes(0), changes(1)), (vec![1], vec![2]), "from the disk and from memory");
    let revisions: Vec<u64> = updates()
        .into_iter()
        .map(|(_, update)| match update {
            Update::Profile(seen) => seen.profile.revision,
            other @ (Update::Gone { .. } | Update::Signal(_)) => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(revisions, [2, 2, 2], "the customer, the brand and the pair");
}
