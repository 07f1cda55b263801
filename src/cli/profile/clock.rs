//! `arom profile clock`: which time the store goes by, of a running server or of a store that is closed.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;

use super::{Client, confirm, refused};
use crate::grpc::v1::{AcceptProfileClockRequest, GetProfileClockRequest, ProfileClock};
use crate::profile::{Book, ClockState, Disk, Terms, system_clock};

#[derive(Args, Debug)]
#[command(
    after_help = "A clock that jumps is distrusted: the store goes by the last good time and forgets nothing. It is trusted again \
    when it is right again, or after some minutes in which at least 20 events of now confirm it. --accept does so at once: compare \
    the time with another clock first. What is older than is kept at an accepted time is forgotten for good.\n\n\
    Examples:\n  arom profile clock\n  arom profile clock --accept\n  \
    arom profile clock --profile-store /var/lib/arom --accept"
)]
pub(super) struct ClockArgs {
    /// The folder of a store that no server has open; without it, the running server is asked.
    #[arg(long, value_name = "FOLDER")]
    profile_store: Option<PathBuf>,
    /// Trust the system's time from now on.
    #[arg(long)]
    accept: bool,
}

/// The same of a server's answer and of a store that this process opens.
struct Shown {
    distrust: String,
    system: String,
    store: String,
    proven: String,
}

impl ClockArgs {
    /// The folder to look into, if no server is asked.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.profile_store.as_deref()
    }
}

/// Of a store that is closed.
pub(super) fn of_store(folder: &Path, args: &ClockArgs) -> Result<()> {
    let reading = system_clock()();
    // What is kept for how long is the server's to say; neither reading nor accepting the time asks for it.
    let terms = Terms::default();
    let seen = Shown::of_state(&Book::look(Disk::look(folder)?, terms)?.clock(reading)?);
    if !args.accept {
        show(&seen);
        return Ok(());
    }
    ask(&seen)?;
    let accepted = Book::open_existing(Disk::open_existing(folder)?, terms)?.accept_clock(system_clock()())?;
    show(&Shown::of_state(&accepted));
    Ok(())
}

/// Of a running server.
pub(super) async fn of_server(client: &mut Client, args: &ClockArgs) -> Result<()> {
    let answer = client.get_profile_clock(GetProfileClockRequest {}).await;
    let mut clock = answer.map_err(|status| refused(&status))?.into_inner().clock.unwrap_or_default();
    if args.accept {
        ask(&Shown::of_message(&clock))?;
        let request = AcceptProfileClockRequest { system_time: clock.system_time };
        let answer = client.accept_profile_clock(request).await;
        clock = answer.map_err(|status| refused(&status))?.into_inner().clock.unwrap_or_default();
    }
    show(&Shown::of_message(&clock));
    Ok(())
}

impl Shown {
    fn of_state(state: &ClockState) -> Self {
        let ClockState { now, wall, proven, distrust, .. } = state;
        let distrust = distrust.map(|why| why.text().to_owned()).unwrap_or_default();
        Self { distrust, system: wall.to_string(), store: now.to_string(), proven: proven.to_string() }
    }

    fn of_message(clock: &ProfileClock) -> Self {
        let text = |time: Option<prost_types::Timestamp>| {
            let time = time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
            time.map(|time| time.to_string()).unwrap_or_default()
        };
        let distrust = clock.distrust_reason.clone();
        let (system, store, proven) =
            (text(clock.system_time), text(clock.store_time), text(clock.proven_time));
        Self { distrust, system, store, proven }
    }
}

/// Asks the person at the terminal, if there is one: a script has said it with its flag.
fn ask(seen: &Shown) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    show(seen);
    let question =
        format!("Is {} the right time? Events that are too old by it are forgotten for good.", seen.system);
    confirm(&question, "the clock was not accepted")
}

fn show(Shown { distrust, system, store, proven }: &Shown) {
    let trusted = if distrust.is_empty() { "yes".to_owned() } else { format!("no: {distrust}") };
    anstream::println!("trusted      {trusted}");
    anstream::println!("system time  {system}");
    anstream::println!("store time   {store}");
    anstream::println!("proven time  {proven}");
}
