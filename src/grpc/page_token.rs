//! Page tokens: opaque, sealed with a key of the store, and bound to the request that they continue.
//!
//! A token holds where the next page begins, which may be the name of a customer, so it is encrypted and not only signed.
//! It is the same for the same place and request: the nonce is a keyed hash of what is sealed, so that no random number can
//! repeat (as in AES-GCM-SIV).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use tonic_types::FieldViolation;

/// The first byte of what is sealed: another layout gets another number, and older tokens are refused.
const VERSION: u8 = 1;

/// A token that is longer is none of ours: the longest place is a rank and a key of two ids of 128 bytes.
const MAX_TOKEN_BYTES: usize = 1024;

/// What the key of the store is derived for.
pub(super) const PURPOSE: &str = "page tokens";

type Binding = [u8; 16];

/// The tokens of one list request.
#[derive(Debug)]
pub(super) struct PageTokens {
    cipher: LessSafeKey,
    nonces: hmac::Key,
    binding: Binding,
}

impl PageTokens {
    /// Tokens of a method and a request, under a key of the store. The request is given without its page_size and
    /// page_token, which may change from page to page.
    pub(super) fn new(key: &[u8; 32], method: &str, request: &impl Message) -> Self {
        let keys = hmac::Key::new(hmac::HMAC_SHA256, key);
        let derived = hmac::sign(&keys, b"page token cipher");
        let cipher =
            UnboundKey::new(&CHACHA20_POLY1305, derived.as_ref()).expect("the hash is as long as the key");
        let nonces = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&keys, b"page token nonce").as_ref());
        let asked = [method.as_bytes(), &[0], &request.encode_to_vec()].concat();
        let mut binding = Binding::default();
        for (to, from) in binding.iter_mut().zip(hmac::sign(&keys, &asked).as_ref()) {
            *to = *from;
        }
        Self { cipher: LessSafeKey::new(cipher), nonces, binding }
    }

    /// The token for the page that begins after a place.
    pub(super) fn seal(&self, place: &[u8]) -> String {
        let mut sealed = [&[VERSION], self.binding.as_slice(), place].concat();
        let mut nonce = [0; NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(hmac::sign(&self.nonces, &sealed).as_ref()) {
            *to = *from;
        }
        self.cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .expect("a place is far shorter than the cipher takes");
        URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
    }

    /// The place that a token stands for; nothing for the first page.
    ///
    /// # Errors
    ///
    /// If it is no token of this store, or one of another request.
    pub(super) fn open(&self, token: &str) -> Result<Option<Vec<u8>>, FieldViolation> {
        if token.is_empty() {
            return Ok(None);
        }
        let (binding, place) = self.unseal(token).ok_or_else(foreign)?;
        if binding != self.binding {
            return Err(refused(
                "is of another request; send it to the same method with the same fields (only page_size may change), \
                 or none for the first page",
            ));
        }
        Ok(Some(place))
    }

    fn unseal(&self, token: &str) -> Option<(Binding, Vec<u8>)> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.cipher.open_in_place(nonce, Aad::empty(), sealed).ok()?;
        let (&version, rest) = opened.split_first()?;
        let (binding, place) = rest.split_first_chunk()?;
        (version == VERSION).then(|| (*binding, place.to_vec()))
    }
}

/// A token that this server did not make, or not of this store.
pub(super) fn foreign() -> FieldViolation {
    refused("is no token of this server; send next_page_token as it came, or none for the first page")
}

fn refused(problem: &str) -> FieldViolation {
    FieldViolation::new("page_token", problem)
}

/// How many items a page may have, by AIP-158: 0 is the default, and more than the most is the most.
///
/// # Errors
///
/// If it is negative.
pub(super) fn page_size(asked: i32, default: usize, most: usize) -> Result<usize, FieldViolation> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default.min(most)),
        Ok(size) => Ok(size.min(most)),
        Err(_) => {
            let problem = format!("is {asked}; use 0 for {default}, or how many you take");
            Err(FieldViolation::new("page_size", problem))
        }
    }
}

#[cfg(test)]
mod tests;
