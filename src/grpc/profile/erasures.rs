//! `ListErasures`: that customers were forgotten.

use std::net::IpAddr;

use super::super::answer_size::{Item, most_of};
use super::super::convert::{moment, timestamp};
use super::super::page_token::{self, PageTokens, page_size};
use super::super::status::Failure;
use super::super::v1;
use super::super::violations::Violations;
use super::{Profiles, convert};
use crate::profile::Erasure;

const DEFAULT_PAGE: usize = 50;

impl Profiles {
    pub(super) async fn erasures(
        &self,
        request: v1::ListErasuresRequest,
        address: Option<IpAddr>,
    ) -> Result<v1::ListErasuresResponse, Failure> {
        let keeper = self.keeper()?;
        let most = most_of(Item::Erasure, &self.shared.config);
        let every_page =
            v1::ListErasuresRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let tokens =
            PageTokens::new(&keeper.book().key_for(page_token::PURPOSE), "ListErasures", &every_page);
        let size = page_size(request.page_size, DEFAULT_PAGE, most);
        let after = tokens.open(&request.page_token).and_then(|place| {
            place.map(|place| read_place(&place).ok_or_else(page_token::foreign)).transpose()
        });
        let (size, after) = match (size, after) {
            (Ok(size), Ok(after)) => (size, after),
            (size, after) => {
                return Err(Violations::from_iter(size.err().into_iter().chain(after.err())).into());
            }
        };
        let customer = match request.customer_id {
            customer if customer.is_empty() => None,
            customer => Some(convert::customer(customer, &self.shared.config)?),
        };
        let read = move || keeper.book().erasures(after.as_ref(), customer.as_deref(), size + 1);
        let waiting = self.shared.place(&self.shared.scans, address)?;
        let mut found = waiting.run(read).await?.map_err(Failure::Storage)?;
        let more = found.len() > size;
        found.truncate(size);
        Ok(v1::ListErasuresResponse {
            next_page_token: found
                .last()
                .filter(|_| more)
                .map(|last| tokens.seal(&place(last)))
                .unwrap_or_default(),
            erasures: found.iter().map(message).collect(),
        })
    }
}

fn message(erasure: &Erasure) -> v1::Erasure {
    v1::Erasure {
        erase_time: Some(timestamp(erasure.time)),
        subject_hash: hex(erasure),
        event_count: i64::try_from(erasure.events).unwrap_or(i64::MAX),
        erased_from_brands: erasure.from_brands,
        refused_through_time: Some(timestamp(erasure.through)),
    }
}

fn hex(erasure: &Erasure) -> String {
    format!("{:032x}", u128::from_be_bytes(erasure.subject))
}

/// An erasure that a message says, as long as it is one.
pub(in super::super) fn read(message: &v1::Erasure) -> Option<Erasure> {
    let time = moment(message.erase_time.as_ref()?)?;
    Some(Erasure {
        time,
        // Reports of earlier versions do not say.
        through: message.refused_through_time.as_ref().map_or(Some(time), moment)?,
        subject: subject(&message.subject_hash)?,
        events: u64::try_from(message.event_count).ok()?,
        from_brands: message.erased_from_brands,
    })
}

fn subject(hex: &str) -> Option<[u8; 16]> {
    (hex.len() == 32).then(|| u128::from_str_radix(hex, 16).ok().map(u128::to_be_bytes)).flatten()
}

fn place(last: &Erasure) -> Vec<u8> {
    [last.subject.as_slice(), &last.time.as_millisecond().to_be_bytes()].concat()
}

fn read_place(place: &[u8]) -> Option<Erasure> {
    let (subject, millis) = place.split_first_chunk()?;
    let time = jiff::Timestamp::from_millisecond(i64::from_be_bytes(millis.try_into().ok()?)).ok()?;
    Some(Erasure { time, subject: *subject, events: 0, from_brands: false, through: time })
}
