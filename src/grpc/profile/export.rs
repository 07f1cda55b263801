//! `ExportSubject`: all that is held of a customer, in pages.

use std::net::IpAddr;

use jiff::Timestamp;
use prost::Message;

use super::super::answer_size::Item;
use super::super::page_token::{self, PageTokens, page_size};
use super::super::status::Failure;
use super::super::v1;
use super::super::violations::Violations;
use super::{Profiles, convert};
use crate::profile::{Book, Disk, Key, StorageError};

/// Most events and profiles with brands in one page, and as many are in it unless fewer are asked for.
const LARGEST_PAGE: usize = 10_000;

/// Rows that are read in one go.
const CHUNK: usize = 512;

/// Where a page begins: after a row of the customer's events, or after one of their brands. The events come first.
#[derive(Clone, Debug)]
enum Place {
    Events(Option<Vec<u8>>),
    Brands(Option<Key>),
}

impl Profiles {
    pub(super) async fn export(
        &self,
        request: v1::ExportSubjectRequest,
        address: Option<IpAddr>,
    ) -> Result<v1::ExportSubjectResponse, Failure> {
        let keeper = self.keeper()?;
        let every_page =
            v1::ExportSubjectRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let tokens =
            PageTokens::new(&keeper.book().key_for(page_token::PURPOSE), "ExportSubject", &every_page);
        let size = page_size(request.page_size, LARGEST_PAGE, LARGEST_PAGE);
        let place = tokens.open(&request.page_token).and_then(|place| {
            place.map(|place| Place::read(&place).ok_or_else(page_token::foreign)).transpose()
        });
        let (size, place) = match (size, place) {
            (Ok(size), Ok(place)) => (size, place),
            (size, place) => {
                return Err(Violations::from_iter(size.err().into_iter().chain(place.err())).into());
            }
        };
        let customer = convert::customer(request.customer_id, &self.shared.config)?;
        let bytes = self.shared.config.max_answer_bytes;
        let now = keeper.now();
        let read = move || Page::of(keeper.book(), customer, place, size, bytes, now);
        let waiting = self.shared.place(&self.shared.scans, address)?;
        let (mut answer, next) = waiting.run(read).await?.map_err(Failure::Storage)?;
        answer.next_page_token = next.map(|place| tokens.seal(&place.to_bytes())).unwrap_or_default();
        Ok(answer)
    }
}

/// A page that is being filled.
struct Page {
    answer: v1::ExportSubjectResponse,
    /// How many more events and profiles it may have, and how many bytes.
    items: usize,
    bytes: usize,
}

impl Page {
    /// Reads a page, and where the next one begins if there is more.
    fn of(
        book: &Book<Disk>,
        customer: String,
        place: Option<Place>,
        items: usize,
        bytes: usize,
        now: Timestamp,
    ) -> Result<(v1::ExportSubjectResponse, Option<Place>), StorageError> {
        // Room for the profile and the token.
        let room = bytes.saturating_sub(2 * Item::Profile.bytes());
        let mut page = Self { answer: v1::ExportSubjectResponse::default(), items, bytes: room };
        let key = Key::Customer(customer.clone());
        if place.is_none() {
            page.answer.profile = book.profile(&key, now)?.map(|profile| convert::profile(&profile, now));
        }
        let mut brand = match place.unwrap_or(Place::Events(None)) {
            Place::Events(after) => match page.events(book, &customer, after)? {
                Some(after) => return Ok((page.answer, Some(Place::Events(Some(after))))),
                None => None,
            },
            Place::Brands(after) => after,
        };
        let prefix = format!("{key}/brand/");
        loop {
            let pairs = book.names(&prefix, brand.as_ref(), CHUNK)?;
            let last = pairs.len() < CHUNK;
            // Those that are not there were erased or swept since their names were read.
            for profile in book.profiles(&pairs, now)?.into_iter().flatten() {
                if !page.take(Item::Profile.bytes()) {
                    return Ok((page.answer, Some(Place::Brands(brand))));
                }
                page.answer.brand_profiles.push(convert::profile(&profile, now));
                brand = Some(profile.key);
            }
            if last {
                return Ok((page.answer, None));
            }
        }
    }

    /// Takes events after a row: the row after which the next page goes on, if they are more than fit.
    fn events(
        &mut self,
        book: &Book<Disk>,
        customer: &str,
        mut after: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        loop {
            let rows = book.held_after(customer, after.as_deref(), CHUNK)?;
            let last = rows.len() < CHUNK;
            for (row, held) in rows {
                let held = convert::held(held);
                if !self.take(held.encoded_len() + 8) {
                    return Ok(Some(after.unwrap_or_default()));
                }
                self.answer.events.push(held);
                after = Some(row);
            }
            if last {
                return Ok(None);
            }
        }
    }

    /// Whether there is room for one item more of so many bytes. The first of a page always has room.
    fn take(&mut self, bytes: usize) -> bool {
        let is_first = self.answer.events.is_empty() && self.answer.brand_profiles.is_empty();
        let fits = self.items > 0 && (bytes <= self.bytes || is_first);
        self.items = self.items.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        fits
    }
}

impl Place {
    const EVENTS: u8 = 0;
    const BRANDS: u8 = 1;

    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Events(after) => [&[Self::EVENTS], after.as_deref().unwrap_or_default()].concat(),
            Self::Brands(after) => {
                let name = after.as_ref().map(Key::name).unwrap_or_default();
                [&[Self::BRANDS], name.as_bytes()].concat()
            }
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&Self::EVENTS, row) => Some(Self::Events(Some(row.to_vec()))),
            (&Self::BRANDS, []) => Some(Self::Brands(None)),
            (&Self::BRANDS, name) => Some(Self::Brands(Some(Key::parse(std::str::from_utf8(name).ok()?)?))),
            _ => None,
        }
    }
}
