//! What is hidden of a message before it is shown: whatever leads to a person.
//!
//! | hidden | example | known by |
//! | --- | --- | --- |
//! | `<email>` | `mali@example.com` | its @ |
//! | `<id>` | `1-2345-67890-12-1` | 13 digits, the last of which checks the others |
//! | `<card>` | `4111 1111 1111 1111` | 13 to 19 digits that pass Luhn's check |
//! | `<account>` | `123-4-56789-0`, `บัญชี 1234567890` | its dashes, or a word before it |
//! | `<phone>` | `081-234-5678`, `+66 81 234 5678` | 9 or 10 digits from 0, or the same from 66 |
//!
//! Other numbers stay: prices, dates, parcels and orders.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// A word for an account, and what may stand between it and the number.
const ACCOUNT: &str = r"(?i)(?:บัญชี|พร้อมเพย์|account|acct?\.?)[^0-9\n]{0,20}$";

/// The fewest and most digits of what is hidden.
const DIGITS: std::ops::RangeInclusive<usize> = 9..=19;

static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\+?[0-9](?:[ .-]?[0-9])+"));
static BEFORE_ACCOUNT: LazyLock<Regex> = LazyLock::new(|| pattern(ACCOUNT));
static ACCOUNT_DASHES: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[0-9]{3}-[0-9]-[0-9]{5}-[0-9]$"));

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("a constant pattern, compiled in every test")
}

/// The text without what leads to a person.
///
/// ```
/// let shown = arom::conversation::hide("โทร 081-234-5678 นะคะ ราคา 1,290 บาท");
/// assert_eq!(shown, "โทร <phone> นะคะ ราคา 1,290 บาท");
/// ```
pub fn hide(text: &str) -> String {
    let text = EMAIL.replace_all(text, "<email>");
    let hidden = NUMBER.replace_all(&text, |found: &Captures<'_>| {
        let number = found.get(0).map(|number| (number.as_str(), number.start()));
        let (number, start) = number.unwrap_or_default();
        let before = text.get(..start).unwrap_or_default();
        kind(number, before).unwrap_or(number).to_owned()
    });
    hidden.into_owned()
}

fn kind(number: &str, before: &str) -> Option<&'static str> {
    let digits: Vec<u32> = number.chars().filter_map(|ch| ch.to_digit(10)).collect();
    // A number after letters is a parcel's or an order's.
    if !DIGITS.contains(&digits.len()) || before.ends_with(|ch: char| ch.is_ascii_alphabetic()) {
        return None;
    }
    let local = digits.first() == Some(&0) && matches!(digits.len(), 9 | 10);
    let abroad = digits.starts_with(&[6, 6]) && matches!(digits.len(), 10 | 11);
    if is_id(&digits) {
        Some("<id>")
    } else if is_card(&digits) {
        Some("<card>")
    } else if ACCOUNT_DASHES.is_match(number) || BEFORE_ACCOUNT.is_match(before) {
        Some("<account>")
    } else if local || (abroad && number.starts_with(['+', '6'])) {
        Some("<phone>")
    } else {
        None
    }
}

/// Thailand's identity numbers: the last digit is 11 less the others, weighed 13 down to 2, modulo 11.
fn is_id(digits: &[u32]) -> bool {
    let [first @ .., last] = digits else { return false };
    let sum: u32 = first.iter().zip((2..=13).rev()).map(|(digit, weight)| digit * weight).sum();
    digits.len() == 13 && digits.first() != Some(&0) && (11 - sum % 11) % 10 == *last
}

/// Luhn's check: from the right every other digit doubled, the digits of the whole add up to a multiple of ten.
fn is_card(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| if at % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { *digit })
        .sum();
    (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}
