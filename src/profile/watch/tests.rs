use jiff::SignedDuration;

use super::super::storage::memory::Memory;
use super::super::{Book, Channel, Command, Contribution, Event, Micros, Terms, Upkeep, frozen_clock};
use super::*;
use crate::model::Label;

fn now() -> Timestamp {
    Timestamp::from_second(1_795_408_200).expect("a time")
}

/// A negative event, so many seconds after now.
fn bad(id: &str, customer: &str, seconds: i64) -> Command {
    let contribution = Contribution {
        time: now() + SignedDuration::from_secs(seconds),
        label: Label::Negative,
        score: Micros::of(-0.8),
        channel: Channel::LineChat,
    };
    let (customer, brands) = (Some(customer.to_owned()), vec!["b".to_owned()]);
    let event = Event { id: id.to_owned(), customer, brands, contribution };
    Command::Record { event, content: Vec::new(), replaces: None }
}

fn erase(customer: &str) -> Command {
    Command::Erase { customer: customer.to_owned(), from_brands: false }
}

/// A customer comes back with enough to raise a signal.
fn back(customer: &str) -> Vec<Command> {
    (1..=4).map(|number| bad(&format!("{customer} {number}"), customer, number)).collect()
}

fn keeper(storage: Memory) -> Arc<Keeper<Memory>> {
    let book = Book::open(storage, Terms::default(), [7; 32]).expect("it opens");
    let keeper = Keeper::start(book, frozen_clock(now()), Upkeep::default(), Arc::default());
    Arc::new(keeper.expect("threads"))
}

/// The same store after a restart: changes are read from the disk.
fn restarted(keeper: &Keeper<Memory>) -> Arc<Keeper<Memory>> {
    let rows = keeper.book().storage().rows.lock().expect("whole").clone();
    self::keeper(Memory { rows: std::sync::Mutex::new(rows), ..Memory::default() })
}

fn short(update: &Update) -> String {
    match update {
        Update::Profile(seen) => format!("{} {}", seen.profile.key, seen.profile.revision),
        Update::Gone { key, erased } => format!("{key} {}", if *erased { "erased" } else { "gone" }),
        Update::Signal(signal) => format!("{} raised {}", signal.key, signal.raised),
    }
}

fn updates(watcher: &mut Watcher<Memory>) -> Vec<(Position, String)> {
    match watcher.step(now()).expect("readable") {
        Step::Updates(updates) => updates.iter().map(|(at, update)| (*at, short(update))).collect(),
        other @ (Step::Anew(_) | Step::Lost) => panic!("{other:?}"),
    }
}

/// Whose erasure and return are one commit, exists: what came back is said after the erasure, also to who goes on from the middle.
#[test]
fn who_comes_back_in_the_commit_that_erased_them_is_said_to_be_back_last() {
    let live = keeper(Memory::default());
    live.apply_blocking(vec![bad("c old", "c", -9), bad("d old", "d", -9)]).expect("written");
    let returns = [vec![erase("c"), erase("d")], back("c")].concat();
    live.apply_blocking(returns).expect("written");
    let from_disk = restarted(&live);
    let begin = Some(Position { next: 2, parts: 0 });
    let everything = Interest::default();
    let named = |names: [&str; 2]| Interest::new(names.iter().filter_map(|name| Key::parse(name)), []);
    let c = named(["customer/c", "customer/c/brand/b"]);
    let (pair, raised) = ("customer/c/brand/b 2", "customer/c raised true");
    let whole = ["brand/b 2", "customer/c erased", "customer/d erased", "customer/c 2", pair, raised];
    let only = ["customer/c erased", "customer/c/brand/b erased", "customer/c 2", pair, raised];
    for (keeper, interest, wanted) in [
        (&live, &everything, whole.as_slice()),
        (&live, &c, only.as_slice()),
        (&from_disk, &c, only.as_slice()),
    ] {
        let all = updates(&mut Watcher::new(Arc::clone(keeper), interest.clone(), begin));
        let said: Vec<&str> = all
            .iter()
            .map(|(_, said)| said.as_str())
            .filter(|said| !said.starts_with("brand/b raised"))
            .collect();
        assert_eq!(said, wanted);
        for (number, (position, _)) in all.iter().enumerate() {
            let rest = updates(&mut Watcher::new(Arc::clone(keeper), interest.clone(), Some(*position)));
            assert_eq!(Some(rest.as_slice()), all.get(number + 1..), "after {number}");
        }
    }
    // Who was told that far by an earlier version, which said it before the erasure, is told once more.
    let first = Some(Position { next: 2, parts: 1 });
    let rest = updates(&mut Watcher::new(Arc::clone(&live), c, first));
    assert_eq!(rest.iter().map(|(_, said)| said.as_str()).collect::<Vec<_>>(), only);
}

/// A snapshot that is read while customers go and come back says what is newer than it. Their erasures are said after it, and
/// then what they are now.
#[test]
fn an_erasure_after_a_snapshot_takes_back_what_the_snapshot_said() {
    let keeper = keeper(Memory::default());
    keeper.apply_blocking(vec![bad("c old", "c", -9), bad("d old", "d", -9)]).expect("written");
    let mut watcher = Watcher::new(Arc::clone(&keeper), Interest::default(), None);
    assert!(matches!(watcher.step(now()), Ok(Step::Anew(Anew::First))));
    keeper.apply_blocking(vec![erase("c")]).expect("written");
    keeper.apply_blocking(vec![bad("c new", "c", 1)]).expect("written");
    keeper.apply_blocking(vec![erase("d"), bad("d new", "d", 1)]).expect("written");
    let mut shown = Vec::new();
    while let Some(page) = watcher.page(now()).expect("readable") {
        shown.extend(page.into_iter().map(|shown| match shown {
            Shown::Profile(seen) => format!("{} {}", seen.profile.key, seen.profile.revision),
            Shown::Signal(_, signal) => panic!("{signal:?}"),
        }));
    }
    let (c, d) = (["customer/c 3", "customer/c/brand/b 3"], ["customer/d 4", "customer/d/brand/b 4"]);
    for name in c.iter().chain(&d) {
        assert!(shown.contains(&(*name).to_owned()), "{shown:?}");
    }
    let said: Vec<String> = updates(&mut watcher).into_iter().map(|(_, said)| said).collect();
    let of = |customer: &str| -> Vec<&str> {
        said.iter().map(String::as_str).filter(|said| said.starts_with(customer)).collect()
    };
    assert_eq!(of("customer/c"), ["customer/c erased", c[0], c[1]]);
    assert_eq!(of("customer/d"), ["customer/d erased", d[0], d[1]]);
}
