//! `ListProfiles`: keys in pages, by name or by mood.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::answer_size::{Item, most_of};
use super::super::heavy::Place;
use super::super::page_token::{self, PageTokens, page_size};
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
        address: Option<IpAddr>,
    ) -> Result<v1::ListProfilesResponse, Failure> {
        let keeper = self.keeper()?;
        let most = most_of(Item::Profile, &self.shared.config);
        let (asked, tokens) = asked(request, &keeper.book().key_for(page_token::PURPOSE), most)?;
        let now = keeper.now();
        let by_name = asked.order == ProfileOrder::Unspecified;
        let work = if by_name { &self.shared.reads } else { &self.shared.scans };
        let waiting = self.shared.place(work, address)?;
        let (profiles, next) = page(&waiting, &keeper, &Arc::new(asked), now).await?;
        Ok(v1::ListProfilesResponse {
            profiles: profiles.iter().map(|profile| convert::profile(profile, now)).collect(),
            next_page_token: next.map(|rank| tokens.seal(&place(&rank))).unwrap_or_default(),
        })
    }
}

fn asked(
    request: v1::ListProfilesRequest,
    key: &[u8; 32],
    most: usize,
) -> Result<(Asked, PageTokens), Failure> {
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
    if request.min_count < 0 {
        fault("min_count", format!("is {}; use 0 for 1, or more", request.min_count));
    }
    let size = page_size(request.page_size, DEFAULT_PAGE, most);
    let every_page = v1::ListProfilesRequest { page_size: 0, page_token: String::new(), ..request.clone() };
    let tokens = PageTokens::new(key, "ListProfiles", &every_page);
    let after = tokens
        .open(&request.page_token)
        .and_then(|place| place.map(|place| read_place(&place).ok_or_else(page_token::foreign)).transpose());
    match (size, after) {
        (Ok(size), Ok(after)) if faults.is_empty() => {
            let least = request.min_count.max(1);
            Ok((Asked { start: request.key_prefix, order, window, least, size, after }, tokens))
        }
        (size, after) => {
            for fault in size.err().into_iter().chain(after.err()) {
                faults.add(&fault.field, fault.description);
            }
            Err(faults.into())
        }
    }
}

async fn page(
    place: &Place,
    keeper: &Arc<Keeper<Disk>>,
    asked: &Arc<Asked>,
    now: Timestamp,
) -> Result<(Vec<Profile>, Option<Rank>), Failure> {
    let (ranks, more) = match asked.order {
        ProfileOrder::Unspecified => {
            let (keeper, asked) = (Arc::clone(keeper), Arc::clone(asked));
            place.run(move || named(&keeper, &asked)).await?.map_err(Failure::Storage)?
        }
        ProfileOrder::NegativeShare | ProfileOrder::Trend => ranked(place, keeper, asked, now).await?,
    };
    let keeper = Arc::clone(keeper);
    let read = move || -> Result<_, StorageError> {
        let keys: Vec<Key> = ranks.iter().map(|(_, _, key)| key.clone()).collect();
        let profiles = keeper.book().profiles(&keys, now)?.into_iter().flatten().collect();
        Ok((profiles, ranks.into_iter().next_back().filter(|_| more)))
    };
    place.run(read).await?.map_err(Failure::Storage)
}

/// The first keys by name after that of the page before, and whether there are more.
fn named(keeper: &Keeper<Disk>, asked: &Asked) -> Result<(Vec<Rank>, bool), StorageError> {
    let after = asked.after.as_ref().map(|(_, _, key)| key);
    let mut keys = keeper.book().names(&asked.start, after, asked.size + 1)?;
    let more = keys.len() > asked.size;
    keys.truncate(asked.size);
    Ok((keys.into_iter().map(|key| (0, 0, key)).collect(), more))
}

/// The first ranks after that of the page before, and whether there are more. Each chunk takes a turn of its own, so that a
/// large store does not hold up others, and a caller who goes away ends the work.
async fn ranked(
    place: &Place,
    keeper: &Arc<Keeper<Disk>>,
    asked: &Arc<Asked>,
    now: Timestamp,
) -> Result<(Vec<Rank>, bool), Failure> {
    let mut first: BTreeSet<Rank> = BTreeSet::new();
    let mut after: Option<Key> = None;
    loop {
        let (keeper, asking) = (Arc::clone(keeper), Arc::clone(asked));
        let chunk = move || -> Result<_, StorageError> {
            let found = keeper.book().survey(&asking.start, after.as_ref(), CHUNK, now)?;
            let (last, whole) = (found.last().map(|(key, _)| key.clone()), found.len() < CHUNK);
            let rank = |(key, features)| value(&features, &asking).map(|(value, count)| (value, count, key));
            Ok((found.into_iter().filter_map(rank).collect::<Vec<Rank>>(), last, whole))
        };
        let (ranks, last, whole) = place.run(chunk).await?.map_err(Failure::Storage)?;
        for rank in ranks {
            if asked.after.as_ref().is_none_or(|after| rank > *after) {
                first.insert(rank);
                if first.len() > asked.size + 1 {
                    first.pop_last();
                }
            }
        }
        after = last;
        if whole {
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

fn place((value, count, key): &Rank) -> Vec<u8> {
    format!("{value} {count} {key}").into_bytes()
}

fn read_place(place: &[u8]) -> Option<Rank> {
    let mut parts = std::str::from_utf8(place).ok()?.splitn(3, ' ');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, Key::parse(parts.next()?)?))
}
