//! `arom profile`: what a server knows of customers and brands.

mod backup;
mod clock;
mod erasures;
mod import;
mod live;
mod whole_file;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use prost::Message;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use super::dial;
use super::terminal::padded;
use super::wait;
use crate::config::Config;
use crate::grpc::v1::profile_service_client::ProfileServiceClient;
use crate::grpc::v1::watch_profiles_response::Event;
use crate::grpc::v1::{
    EraseSubjectRequest, ExportSubjectRequest, ExportSubjectResponse, FeaturePresence, FeatureValue,
    FeatureWindow, GetProfileRequest, ListProfilesRequest, Profile, ProfileKey, ProfileOrder, Signal,
    SignalPhase, WatchProfilesRequest, WatchProfilesResponse,
};
use crate::grpc::{is_for_now, to_json};
use crate::visible::{visible, visible_json};

pub(super) type Client = ProfileServiceClient<Channel>;
pub(super) use import::{for_now, record};

/// What a running server knows of customers and brands.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  arom profile get --brand somtam\n  arom profile list --prefix brand/ --by share\n  \
    arom profile watch\n  arom profile import --server 127.0.0.1:50051 scored.jsonl"
)]
pub(super) struct ProfileArgs {
    /// The server's address and port; by default server.listen of the settings file, or 127.0.0.1:50051.
    #[arg(long, global = true, value_name = "ADDRESS", env = "AROM_LISTEN", hide_env_values = true)]
    server: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What is known of a customer, a brand, or the two.
    Get {
        #[command(flatten)]
        key: KeyArgs,
        /// Print the message as JSON.
        #[arg(long)]
        json: bool,
    },
    /// The keys that are known, by name or those of the worst mood first.
    List(ListArgs),
    /// Brands as they move: a live table on a terminal, JSON Lines elsewhere. Ends with q or Ctrl-C.
    Watch(WatchArgs),
    /// Everything that is held of a customer, as JSON.
    Export {
        /// Who.
        customer: String,
    },
    /// Forget a customer.
    Erase {
        /// Who.
        customer: String,
        /// Take back from brands what they felt, too.
        #[arg(long)]
        from_brands: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Record the events of a dump in JSON Lines: once, however often it is imported.
    Import(import::ImportArgs),
    /// The erasures that are noted: when, how many events, of a hash.
    Erasures(erasures::ErasuresArgs),
    /// Which time the store goes by, and whether the system's clock is trusted.
    Clock(clock::ClockArgs),
    /// The whole store as it is at one moment, in a file. The server goes on.
    Backup(backup::BackupArgs),
    /// Make a store out of a backup. No server is needed, and none may run on that folder.
    Restore(backup::RestoreArgs),
}

#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
struct KeyArgs {
    /// Who feels.
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Of what.
    #[arg(long, value_name = "ID")]
    brand: Option<String>,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Only keys whose names begin so, as "brand/" or "customer/vip-".
    #[arg(long, value_name = "PREFIX", default_value = "brand/")]
    prefix: String,
    /// In which order.
    #[arg(long, value_enum, default_value_t = By::Name)]
    by: By,
    /// In an order by mood, only those with so many events in the last 24 hours.
    #[arg(long, value_name = "N", default_value_t = 1)]
    min_count: i64,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print one message a line as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// By name
    Name,
    /// The largest share of negative events in 24 hours first
    Share,
    /// The lowest trend first
    Trend,
}

#[derive(Args, Debug)]
struct WatchArgs {
    /// Keys whose names begin so; "" for everything.
    #[arg(long, value_name = "PREFIX", default_value = "brand/")]
    prefix: Vec<String>,
    /// Print one message a line as JSON, on a terminal, too.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ProfileArgs, config: &Config) -> Result<()> {
    if let Command::Restore(args) = &args.command {
        return backup::restore(args);
    }
    if let Command::Clock(args) = &args.command
        && let Some(folder) = args.folder()
    {
        return clock::of_store(folder, args);
    }
    if let Command::Backup(args) = &args.command {
        backup::may_write(args, config)?;
    }
    if let Command::Erasures(args) = &args.command {
        erasures::may_write(args, config)?;
    }
    let server = args.server.clone().unwrap_or_else(|| config.server.listen.to_string());
    wait(async {
        let mut client = connect("--server", &server).await?;
        match &args.command {
            Command::Get { key, json } => get(&mut client, key, *json).await,
            Command::List(args) => list(&mut client, args).await,
            Command::Watch(watch) => self::watch(&server, watch).await,
            Command::Export { customer } => export(&mut client, customer).await,
            Command::Erase { customer, from_brands, yes } => {
                erase(&mut client, customer, *from_brands, *yes).await
            }
            Command::Import(args) => import::run(&mut client, args).await,
            Command::Erasures(args) => erasures::run(&mut client, args).await,
            Command::Clock(clock) => clock::of_server(&mut client, clock).await,
            Command::Backup(args) => backup::back_up(&mut client, args).await,
            Command::Restore(_) => Ok(()),
        }
    })?
}

/// Of the flag that names it.
pub(super) async fn connect(flag: &str, address: &str) -> Result<Client> {
    let advice = format!("start `arom serve --profile-store FOLDER` or name a server with {flag}");
    Ok(Client::new(dial(flag, address, &advice).await?).max_decoding_message_size(64 << 20))
}

/// What a server said to a call that failed.
fn refused(status: &tonic::Status) -> anyhow::Error {
    let reason =
        status.get_details_error_info().map(|info| format!(" ({})", info.reason)).unwrap_or_default();
    anyhow!("the server says: {}{reason}", status.message())
}

async fn get(client: &mut Client, key: &KeyArgs, json: bool) -> Result<()> {
    let key = ProfileKey {
        customer_id: key.customer.clone().unwrap_or_default(),
        brand_id: key.brand.clone().unwrap_or_default(),
    };
    let answer = client.get_profile(GetProfileRequest { key: Some(key) }).await;
    let profile = answer.map_err(|status| refused(&status))?.into_inner().profile.unwrap_or_default();
    if json {
        return print_json("Profile", &profile);
    }
    anstream::println!("{}", visible(&page(&profile)));
    Ok(())
}

async fn list(client: &mut Client, args: &ListArgs) -> Result<()> {
    let order = match args.by {
        By::Name => ProfileOrder::Unspecified,
        By::Share => ProfileOrder::NegativeShare,
        By::Trend => ProfileOrder::Trend,
    };
    let (mut token, mut left, mut width) = (String::new(), args.limit, None);
    while left > 0 {
        let size = left.min(100);
        let request = ListProfilesRequest {
            key_prefix: args.prefix.clone(),
            order_by: order.into(),
            window: FeatureWindow::Day.into(),
            min_count: args.min_count,
            page_size: i32::try_from(size).unwrap_or(i32::MAX),
            page_token: token,
        };
        let page = client.list_profiles(request).await.map_err(|status| refused(&status))?.into_inner();
        // As wide as the names of the first page are.
        let widest = page.profiles.iter().map(|profile| name(profile.key.as_ref()).chars().count()).max();
        if width.is_none() && !args.json {
            let names = ["key", "1 h", "neg", "24 h", "neg", "mean", "trend", "run", "raised"];
            anstream::println!("{}", row(&names.map(str::to_owned), widest.unwrap_or(0).clamp(32, 120)));
        }
        let width = *width.get_or_insert(widest.unwrap_or(0).clamp(32, 120));
        for profile in &page.profiles {
            if args.json {
                print_json("Profile", profile)?;
            } else {
                anstream::println!("{}", visible(&row(&cells(profile), width)));
            }
        }
        left -= size;
        token = page.next_page_token;
        if token.is_empty() {
            return Ok(());
        }
    }
    anstream::eprintln!("there are more; --limit says how many are shown, {} now", args.limit);
    Ok(())
}

/// Follows the pages to the last and prints all of them as one answer.
async fn export(client: &mut Client, customer: &str) -> Result<()> {
    let mut request =
        ExportSubjectRequest { customer_id: customer.to_owned(), ..ExportSubjectRequest::default() };
    let mut held = ExportSubjectResponse::default();
    loop {
        let page = client.export_subject(request.clone()).await.map_err(|status| refused(&status))?;
        let page = page.into_inner();
        held.profile = held.profile.or(page.profile);
        held.events.extend(page.events);
        held.brand_profiles.extend(page.brand_profiles);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let text = serde_json::to_string_pretty(&to_json("ExportSubjectResponse", &held))?;
    writeln!(io::stdout(), "{}", visible_json(&text)).context("cannot write to stdout")
}

/// Asks a person before what cannot be undone.
fn confirm(question: &str, otherwise: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        bail!("this cannot be undone; say --yes");
    }
    eprint!("{question} This cannot be undone. [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    if answer.trim().eq_ignore_ascii_case("y") { Ok(()) } else { bail!("{otherwise}") }
}

async fn erase(client: &mut Client, customer: &str, from_brands: bool, yes: bool) -> Result<()> {
    if !yes {
        confirm(&format!("Erase all that is held of {customer:?}?"), "nothing was erased")?;
    }
    let request = EraseSubjectRequest { customer_id: customer.to_owned(), erase_from_brands: from_brands };
    let erased = client.erase_subject(request).await.map_err(|status| refused(&status))?.into_inner();
    anstream::println!("erased, {} events", erased.event_count);
    Ok(())
}

/// Watches until it is ended; goes on from where it was when the connection breaks.
async fn watch(server: &str, args: &WatchArgs) -> Result<()> {
    const PAUSE: Duration = Duration::from_secs(1);
    let live = !args.json && io::stdout().is_terminal();
    let mut view = if live { Some(live::Live::open()?) } else { None };
    let mut token = Vec::new();
    let mut client = Some(connect("--server", server).await?);
    loop {
        let connected = match client.take() {
            Some(client) => Ok(client),
            None => connect("--server", server).await,
        };
        let request = WatchProfilesRequest {
            key_prefixes: args.prefix.clone(),
            resume_token: token.clone(),
            heartbeat_interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..WatchProfilesRequest::default()
        };
        let broken = match connected {
            Ok(mut client) => match client.watch_profiles(request).await {
                Ok(stream) => follow(stream.into_inner(), &mut token, view.as_mut()).await?,
                Err(status) => Some(status),
            },
            Err(_) => Some(tonic::Status::unavailable("the server is away")),
        };
        let Some(status) = broken else { return Ok(()) };
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        if reason == "CHANGES_FORGOTTEN" {
            // What was missed is not known any more: all anew.
            token.clear();
        } else if !reason.is_empty() && !is_for_now(&status) {
            // The server says so itself; without a reason it was the connection.
            return Err(refused(&status));
        }
        let note = format!("{}; trying again", status.message());
        if let Some(view) = &mut view {
            if view.say(&note)? {
                return Ok(());
            }
        } else {
            tracing::warn!("{note}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Shows what comes until the stream or the person ends it: the status of the stream if that was first.
async fn follow(
    mut stream: tonic::Streaming<WatchProfilesResponse>,
    token: &mut Vec<u8>,
    mut view: Option<&mut live::Live>,
) -> Result<Option<tonic::Status>> {
    const FRAME: Duration = Duration::from_millis(100);
    let mut frames = tokio::time::interval(FRAME);
    loop {
        tokio::select! {
            message = stream.message() => match message {
                Ok(Some(message)) => {
                    if !message.resume_token.is_empty() {
                        token.clone_from(&message.resume_token);
                    }
                    match &mut view {
                        Some(view) => view.take(message),
                        None => print_message(&message)?,
                    }
                }
                Ok(None) => return Ok(Some(tonic::Status::unavailable("the server ended the stream"))),
                Err(status) => return Ok(Some(status)),
            },
            _ = frames.tick() => {
                if let Some(view) = &mut view
                    && view.draw()?
                {
                    return Ok(None);
                }
            }
        }
    }
}

fn print_message(message: &WatchProfilesResponse) -> Result<()> {
    if matches!(message.event, Some(Event::Heartbeat(_))) {
        return Ok(());
    }
    print_json("WatchProfilesResponse", message)
}

fn print_json(name: &str, message: &impl Message) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", visible_json(&to_json(name, message).to_string()))
        .and_then(|()| out.flush())
        .context("cannot write to stdout")
}

fn name(key: Option<&ProfileKey>) -> String {
    let Some(ProfileKey { customer_id, brand_id }) = key else { return String::new() };
    match (customer_id.as_str(), brand_id.as_str()) {
        (customer, "") => format!("customer/{customer}"),
        ("", brand) => format!("brand/{brand}"),
        (customer, brand) => format!("customer/{customer}/brand/{brand}"),
    }
}

/// The figures of a window: events, share of negative ones, mean score.
fn figures(profile: &Profile, window: FeatureWindow) -> (i64, Option<f64>, Option<f64>) {
    let found = profile.windows.iter().find(|known| known.window() == window);
    let counts = found.and_then(|window| window.counts).unwrap_or_default();
    let mean = found.and_then(|window| known(window.mean_score.as_ref()));
    #[expect(clippy::cast_precision_loss, reason = "a count of events")]
    let share = (counts.total > 0).then(|| counts.negative as f64 / counts.total as f64);
    (counts.total, share, mean)
}

fn known(value: Option<&FeatureValue>) -> Option<f64> {
    value.filter(|value| value.presence() == FeaturePresence::Present).map(|value| value.value)
}

fn number(value: Option<f64>) -> String {
    // What rounds to nothing has no sign.
    let shown = |value: f64| format!("{:+.2}", if value.abs() < 0.005 { 0.0 } else { value });
    value.map_or_else(|| "–".to_owned(), shown)
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.0}%", share * 100.0))
}

fn raised(profile: &Profile) -> String {
    let names = profile.raised.iter().map(|raised| short(raised.kind().as_str_name()));
    names.collect::<Vec<_>>().join(" ")
}

/// `SIGNAL_KIND_MOOD_FELL` as "mood fell".
fn short(name: &str) -> String {
    name.trim_start_matches("SIGNAL_KIND_").to_lowercase().replace('_', " ")
}

fn row(
    [key, hour, hour_share, day, day_share, mean, trend, run, raised]: &[String; 9],
    width: usize,
) -> String {
    let key = padded(key, width);
    format!("{key} {hour:>7} {hour_share:>5} {day:>8} {day_share:>5} {mean:>6} {trend:>6} {run:>4}  {raised}")
}

/// A profile in a line.
fn cells(profile: &Profile) -> [String; 9] {
    let (hour, hour_share, _) = figures(profile, FeatureWindow::Hour);
    let (day, day_share, mean) = figures(profile, FeatureWindow::Day);
    [
        name(profile.key.as_ref()),
        hour.to_string(),
        percent(hour_share),
        day.to_string(),
        percent(day_share),
        number(mean),
        number(known(profile.trend.as_ref())),
        profile.negative_run.to_string(),
        raised(profile),
    ]
}

/// A profile on a page.
fn page(profile: &Profile) -> String {
    let mut text = format!("{}\n\n", name(profile.key.as_ref()));
    text.push_str("window      events  positive  neutral  negative  question   mean  deviation\n");
    for window in &profile.windows {
        let counts = window.counts.unwrap_or_default();
        text.push_str(&format!(
            "{:<9} {:>8} {:>9} {:>8} {:>9} {:>9} {:>6} {:>10}\n",
            window.window().as_str_name().trim_start_matches("FEATURE_WINDOW_").to_lowercase(),
            counts.total,
            counts.positive,
            counts.neutral,
            counts.negative,
            counts.question,
            number(known(window.mean_score.as_ref())),
            known(window.score_deviation.as_ref())
                .map_or_else(|| "–".to_owned(), |value| format!("{value:.2}")),
        ));
    }
    let half_lives = [&profile.decayed_mean_1d, &profile.decayed_mean_7d, &profile.decayed_mean_30d]
        .map(|mean| number(known(mean.as_ref())));
    text.push_str(&format!("\ndecayed mean, half-life 1 d, 7 d, 30 d   {}\n", half_lives.join("  ")));
    for (label, value) in [
        ("trend (1 d less 30 d)", &profile.trend),
        ("change a day, 30 days", &profile.daily_slope),
        ("volatility, 30 days", &profile.volatility),
        ("last score", &profile.last_score),
    ] {
        text.push_str(&format!("{label:<40} {}\n", number(known(value.as_ref()))));
    }
    let days = known(profile.days_since_negative.as_ref())
        .map_or_else(|| "–".to_owned(), |days| format!("{days:.0}"));
    text.push_str(&format!("{:<40} {days}\n", "days (UTC) since the last negative"));
    text.push_str(&format!("{:<40} {}\n", "negative ones in a row", profile.negative_run));
    text.push_str(&format!(
        "{:<40} {}",
        "raised",
        if profile.raised.is_empty() { "–".to_owned() } else { raised(profile) }
    ));
    text
}

/// A signal in a line.
fn said(signal: &Signal) -> String {
    let phase = if signal.phase() == SignalPhase::Raised { "raised" } else { "cleared" };
    let key = name(signal.key.as_ref());
    format!(
        "{key}: {} {phase} at {:+.2} (bar {:+.2})",
        short(signal.kind().as_str_name()),
        signal.statistic,
        signal.threshold
    )
}
