//! Thai that was written as UTF-8 and read as Latin-1 or Windows-1252, as Facebook's exports have it: `à¸”à¸µ` for `ดี`.

use encoding_rs::WINDOWS_1252;

/// The text as it was meant, if all of it can be taken back and Thai comes out.
///
/// ```
/// assert_eq!(arom::text::repaired("à¸”à¸µ ok").as_deref(), Some("ดี ok"));
/// assert_eq!(arom::text::repaired("déjà vu"), None);
/// ```
pub fn repaired(text: &str) -> Option<String> {
    // The first byte of every Thai letter.
    if !text.contains('\u{E0}') {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    for ch in text.chars() {
        match u8::try_from(u32::from(ch)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => {
                let mut buffer = [0; 4];
                let (coded, _, failed) = WINDOWS_1252.encode(ch.encode_utf8(&mut buffer));
                match (coded.as_ref(), failed) {
                    ([byte], false) => bytes.push(*byte),
                    _ => return None,
                }
            }
        }
    }
    let repaired = String::from_utf8(bytes).ok()?;
    repaired.contains(|ch| ('\u{E01}'..='\u{E5B}').contains(&ch)).then_some(repaired)
}
