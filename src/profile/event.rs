//! What happened: somebody felt something about something, somewhere, at some time. Pure.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::Label;

/// Where a text was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Channel {
    /// A review of a product or place.
    Review,
    /// A post or comment.
    Social,
    /// A chat in LINE.
    LineChat,
    /// Anywhere else, or unknown.
    Other,
}

impl Channel {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// In the order of every array of channels.
    pub const ALL: [Self; Self::COUNT] = [Self::Review, Self::Social, Self::LineChat, Self::Other];
}

/// A score in millionths, so that sums of scores are exact whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Micros(i32);

impl Micros {
    /// One.
    pub const ONE: i32 = 1_000_000;

    /// The nearest to a score, which is held to [-1, 1]; what is no number is 0.
    #[expect(clippy::cast_possible_truncation, reason = "held to a million either way")]
    pub fn of(score: f32) -> Self {
        let held = if score.is_nan() { 0.0 } else { f64::from(score).clamp(-1.0, 1.0) };
        Self((held * f64::from(Self::ONE)).round() as i32)
    }

    /// In millionths.
    pub fn get(self) -> i32 {
        self.0
    }

    /// As a score.
    pub fn score(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ONE)
    }
}

/// What an event adds to each of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// When it happened.
    pub time: Timestamp,
    /// The most probable class.
    pub label: Label,
    /// Polarity.
    pub score: Micros,
    /// Where it was written.
    pub channel: Channel,
}

/// What features are kept of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// A customer.
    Customer(String),
    /// A brand.
    Brand(String),
    /// What a customer feels of a brand.
    Pair {
        /// Who feels.
        customer: String,
        /// Of what.
        brand: String,
    },
}

impl Key {
    /// The key of such a name; names are as [`Display`](fmt::Display) writes them.
    pub fn parse(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('/').collect();
        match parts.as_slice() {
            ["customer", customer] => Some(Self::Customer((*customer).to_owned())),
            ["brand", brand] => Some(Self::Brand((*brand).to_owned())),
            ["customer", customer, "brand", brand] => {
                Some(Self::Pair { customer: (*customer).to_owned(), brand: (*brand).to_owned() })
            }
            _ => None,
        }
    }

    /// Its name.
    pub fn name(&self) -> String {
        match self {
            Self::Customer(customer) => ["customer/", customer].concat(),
            Self::Brand(brand) => ["brand/", brand].concat(),
            Self::Pair { customer, brand } => ["customer/", customer, "/brand/", brand].concat(),
        }
    }

    /// Whose it is, if anybody's.
    pub fn customer(&self) -> Option<&str> {
        match self {
            Self::Customer(customer) | Self::Pair { customer, .. } => Some(customer),
            Self::Brand(_) => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// An event: a scored text with when, by whom, of what and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The caller's name for it: the same again changes nothing.
    pub id: String,
    /// Who wrote it, if that is known.
    pub customer: Option<String>,
    /// What it is about; each once.
    pub brands: Vec<String>,
    /// What it adds.
    pub contribution: Contribution,
}

impl Event {
    /// What it is folded into: the customer, each brand, and each pair of the two.
    pub fn keys(&self) -> Vec<Key> {
        let customer = self.customer.iter().cloned().map(Key::Customer);
        let brands = self.brands.iter().cloned().map(Key::Brand);
        let pair = |(customer, brand): (&String, &String)| Key::Pair {
            customer: customer.clone(),
            brand: brand.clone(),
        };
        let pairs =
            self.customer.iter().flat_map(|customer| self.brands.iter().map(move |brand| (customer, brand)));
        customer.chain(brands).chain(pairs.map(pair)).collect()
    }
}
