//! Customers by other names: whoever sees the store, the stream or a sink cannot tell who they are without the key. Pure.

use std::fmt;

use sha2::{Digest, Sha256};

use super::rows::hash;

const PREFIX: &str = "pseudonym-";
const DIGITS: usize = 32;

/// Gives customers other names: HMAC-SHA-256 under a key, cut to 128 bits. The same customer has the same name under the same
/// key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pseudonyms([u8; 32]);

impl fmt::Debug for Pseudonyms {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms")
    }
}

impl Pseudonyms {
    /// Under a key of any length.
    pub fn new(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// What tells this key from any other, and says nothing of it.
    pub fn mark(&self) -> [u8; 16] {
        // Of two parts: no customer's.
        hash(&self.0, &[b"mark", b""])
    }

    /// The other name of a customer; one that has it already keeps it.
    pub fn name(&self, customer: &str) -> String {
        let digits = customer.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS);
        if digits.is_some_and(|digits| digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))) {
            return customer.to_owned();
        }
        let digits = hash(&self.0, &[customer.as_bytes()]).map(|byte| format!("{byte:02x}")).concat();
        format!("{PREFIX}{digits}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_has_one_other_name_under_one_key() {
        let (names, others) = (Pseudonyms::new(b"key"), Pseudonyms::new(b"another"));
        let name = names.name("U123");
        assert!(
            name.starts_with(PREFIX) && name.len() == PREFIX.len() + DIGITS && !name.contains("U123"),
            "{name}"
        );
        assert_eq!((names.name("U123"), names.name(&name)), (name.clone(), name.clone()));
        assert!(names.name("U124") != name && others.name("U123") != name);
        assert_ne!(names.name("pseudonym-zz"), "pseudonym-zz");
    }
}
