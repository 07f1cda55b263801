//! Whether a webhook call is LINE's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Whether `signature`, the header `x-line-signature`, is that of this body, byte for byte as it came, by the owner of
/// the channel secret: base64 of HMAC-SHA256 (<https://developers.line.biz/en/docs/messaging-api/verify-webhook-signature/>).
/// Takes as long for a wrong one as for the right one.
///
/// ```
/// let (secret, body) = (b"8c570fa6dd201bb328f1c1eac23a96d8", br#"{"destination":"U0","events":[]}"#);
/// assert!(arom::conversation::is_signed(secret, body, "7bzucrfMAvMR2kIyf3o9W4tLB+uY7HzuzEraQd4pkbE="));
/// assert!(!arom::conversation::is_signed(secret, b"{}", "7bzucrfMAvMR2kIyf3o9W4tLB+uY7HzuzEraQd4pkbE="));
/// ```
pub fn is_signed(channel_secret: &[u8], body: &[u8], signature: &str) -> bool {
    let given = STANDARD.decode(signature.trim());
    let mac = Hmac::<Sha256>::new_from_slice(channel_secret);
    given.is_ok_and(|given| mac.is_ok_and(|mac| mac.chain_update(body).verify_slice(&given).is_ok()))
}
