//! `ListProfiles`: keys in pages, by name or by mood.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use super::super::status::Failure;
use super::super::v1::{self, ProfileOrder};
use super::super::violations::Violations;
use super::{Profiles, convert};
use crate::model::Label;
use crate::profile::{Disk, Features, Keeper, Key, Known, Profile, StorageError, Window};

/// Profiles that are read in one go.
const CHUNK: usize = 512;

const DEFAULT_PAGE: usize = 50;

/// A page that was asked for.
#[derive(Clone, Debug)]
struct Asked {
    start: String,
    order: ProfileOrder,
    window: Window,
    least: i64,
    size: usize,
    after: Option<Rank>,
}

/// Where a profile stands in an order by mood: the least comes first.
type Rank = (u64, i64, Key);

impl Profiles {
    pub(super) async fn list(
        &self,
        request: v1::ListProfilesRequest,
    ) -> Result<v1::ListProfilesResponse, Failure> {
        let keeper = self.keeper()?;
        let asked = asked(request, self.shared.config.max_batch_size)?;
        let now = keeper.now();
        // Whoever does not wait any more drops this, and with it the work.
        let caller = Arc::new(());
        let waits = Arc::downgrade(&caller);
        let read = move || page(&keeper, &asked, now, &|| waits.strong_count() > 0);
        let (profiles, next) =
            tokio::task::spawn_blocking(read).await.map_err(|_| Failure::Died)?.map_err(Failure::Storage)?;
        drop(caller);
        Ok(v1::ListProfilesResponse {
            profiles: profiles.iter().map(|profile| convert::profile(profile, now)).collect(),
            next_page_token: next.map(|rank| token(&rank)).unwrap_or_default(),
        })
    }
}

fn asked(request: v1::ListProfilesRequest, most: usize) -> Result<Asked, Failure> {
    let mut faults = Violations::default();
    convert::key_prefix(&mut faults, "key_prefix", &request.key_prefix);
    let mut fault = |field: &str, problem: String| faults.add(field, problem);
    let order = ProfileOrder::try_from(request.order_by).unwrap_or_else(|_| {
        fault("order_by", format!("{} is no ProfileOrder; use 0 to 2", request.order_by));
        ProfileOrder::Unspecified
    });
    let window = match v1::FeatureWindow::try_from(request.window) {
        Ok(v1::FeatureWindow::Hour) => Window::Hour,
        Ok(v1::FeatureWindow::Unspecified | v1::FeatureWindow::Day) => Window::Day,
        Ok(v1::FeatureWindow::Week) => Window::Week,
        Ok(v1::FeatureWindow::Month) => Window::Month,
        Ok(v1::FeatureWindow::Quarter) => Window::Quarter,
        Ok(v1::FeatureWindow::Lifetime) => Window::Lifetime,
        Err(_) => {
            fault("window", format!("{} is no FeatureWindow; use 0 to 6", request.window));
            Window::Day
        }
    };
    let size = match usize::try_from(request.page_size) {
        Ok(0) => DEFAULT_PAGE.min(most),
        Ok(size) if size <= most => size,
        Ok(_) | Err(_) => {
            fault("page_size", format!("is {}, 1 to {most} are taken", request.page_size));
            0
        }
    };
    let after = match request.page_token.as_str() {
        "" => None,
        token => read_token(token).or_else(|| {
            fault("page_token", "is none of ListProfiles; send it as it came".to_owned());
            None
        }),
    };
    faults.none_or(())?;
    let least = request.min_count.max(1);
    Ok(Asked { start: request.key_prefix, order, window, least, size, after })
}

fn page(
    keeper: &Arc<Keeper<Disk>>,
    asked: &Asked,
    now: Timestamp,
    waits: &impl Fn() -> bool,
) -> Result<(Vec<Profile>, Option<Rank>), StorageError> {
    let book = keeper.book();
    let (ranks, more) = match asked.order {
        ProfileOrder::Unspecified => {
            let after = asked.after.as_ref().map(|(_, _, key)| key);
            let keys = book.names(&asked.start, after, asked.size)?;
            let more = keys.len() == asked.size;
            (keys.into_iter().map(|key| (0, 0, key)).collect(), more)
        }
        ProfileOrder::NegativeShare | ProfileOrder::Trend => ranked(keeper, asked, now, waits)?,
    };
    let mut profiles = Vec::with_capacity(ranks.len());
    for (_, _, key) in &ranks {
        profiles.extend(book.profile(key, now)?);
    }
    Ok((profiles, ranks.into_iter().next_back().filter(|_| more)))
}

/// The first ranks after that of the page before, and whether there are more.
fn ranked(
    keeper: &Arc<Keeper<Disk>>,
    asked: &Asked,
    now: Timestamp,
    waits: &impl Fn() -> bool,
) -> Result<(Vec<Rank>, bool), StorageError> {
    let mut first: BTreeSet<Rank> = BTreeSet::new();
    let mut after: Option<Key> = None;
    loop {
        let found = keeper.book().survey(&asked.start, after.as_ref(), CHUNK, now)?;
        let whole = found.len() < CHUNK;
        after = found.last().map(|(key, _)| key.clone());
        for (key, features) in found {
            let Some((value, count)) = value(&features, asked) else { continue };
            let rank = (value, count, key);
            if asked.after.as_ref().is_none_or(|after| rank > *after) {
                first.insert(rank);
                if first.len() > asked.size + 1 {
                    first.pop_last();
                }
            }
        }
        if whole || !waits() {
            let more = first.len() > asked.size;
            return Ok((first.into_iter().take(asked.size).collect(), more));
        }
    }
}

/// What a profile is ordered by: the less, the earlier.
#[expect(clippy::cast_precision_loss, reason = "a count of events")]
fn value(features: &Features, asked: &Asked) -> Option<(u64, i64)> {
    let window = features.windows.iter().find(|window| window.window == asked.window)?;
    let count = window.sums.count();
    if count < asked.least {
        return None;
    }
    let value = match (asked.order, features.trend) {
        (ProfileOrder::NegativeShare, _) => -(window.sums.of(Label::Negative) as f64 / count as f64),
        (ProfileOrder::Trend, Known::Present(trend)) => trend,
        (ProfileOrder::Trend | ProfileOrder::Unspecified, _) => return None,
    };
    // Bits of floats in the order of their values.
    let bits = (value + 0.0).to_bits();
    Some((if value < 0.0 { !bits } else { bits | 1 << 63 }, -count))
}

fn token((value, count, key): &Rank) -> String {
    URL_SAFE_NO_PAD.encode(format!("{value} {count} {key}"))
}

fn read_token(token: &str) -> Option<Rank> {
    if token.len() > convert::MAX_TOKEN_BYTES {
        return None;
    }
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let mut parts = text.splitn(3, ' ');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, Key::parse(parts.next()?)?))
}
