//! What LINE writes in the place of what is no text.

use crate::conversation::message::{Body, Media};

/// Exactly these, with or without brackets.
#[rustfmt::skip]
const MEDIA: &[(&str, Media)] = &[
    ("รูป", Media::Image), ("รูปภาพ", Media::Image), ("ภาพ", Media::Image), ("Photo", Media::Image), ("Photos", Media::Image), ("Image", Media::Image),
    ("You sent a photo.", Media::Image),
    ("วิดีโอ", Media::Video), ("คลิปวิดีโอ", Media::Video), ("Video", Media::Video), ("Videos", Media::Video), ("You sent a video.", Media::Video),
    ("ข้อความเสียง", Media::Audio), ("Voice message", Media::Audio), ("Audio", Media::Audio), ("You sent a voice message.", Media::Audio),
    ("ไฟล์", Media::File), ("File", Media::File), ("Files", Media::File), ("You sent a file.", Media::File),
    ("ตำแหน่ง", Media::Location), ("ตำแหน่งที่ตั้ง", Media::Location), ("Location", Media::Location),
    ("ผู้ติดต่อ", Media::Contact), ("Contact", Media::Contact),
    ("โหวต", Media::Other), ("Poll", Media::Other), ("Gift", Media::Other), ("Notes", Media::Other), ("Album", Media::Other), ("อัลบั้ม", Media::Other),
];

const STICKERS: &[&str] = &["สติกเกอร์", "สติ๊กเกอร์", "Sticker", "Stickers", "You sent a sticker."];

/// Beginnings of lines about calls.
const CALLS: &[&str] =
    &["☎", "การโทร", "ไม่ได้รับสาย", "ยกเลิกการโทร", "Missed call", "Call time", "Canceled call", "No answer"];

const UNSENT: &[&str] = &["ยกเลิกข้อความแล้ว", "ยกเลิกการส่งข้อความ", "Message unsent.", "unsent a message."];

/// Parts of what the application says of people.
#[rustfmt::skip]
const NOTICES: &[&str] = &[
    "เข้ากลุ่ม", "เข้าร่วมกลุ่ม", "ออกจากกลุ่ม", "เขียนโน้ตใหม่", "เพิ่มประกาศ", "joined the chat", "joined the group", "left the group", "left the chat", "to the group",
    "made an announcement", "changed the chat's profile photo", "changed the group",
];

/// What a text of the export stands for.
pub(super) fn body(text: &str) -> Body {
    let trimmed = text.trim();
    let bare = trimmed.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(trimmed);
    if STICKERS.contains(&bare) {
        return Body::Sticker(Vec::new());
    }
    if let Some((_, media)) = MEDIA.iter().find(|(name, _)| *name == bare) {
        return Body::Media(*media);
    }
    if UNSENT.contains(&bare) {
        return Body::Unsent;
    }
    if CALLS.iter().any(|call| trimmed.starts_with(call)) {
        return Body::Media(Media::Call);
    }
    if trimmed.contains("maps.google.com/maps?q=") {
        return Body::Media(Media::Location);
    }
    Body::Text(text.to_owned())
}

/// What the application says, where nobody is named as the sender.
pub(super) fn notice(text: &str) -> Body {
    if UNSENT.iter().any(|unsent| text.contains(unsent)) {
        Body::Unsent
    } else {
        Body::Notice(text.to_owned())
    }
}

/// Whether a line without a sender is the application's own.
pub(super) fn is_notice(text: &str) -> bool {
    UNSENT.iter().chain(NOTICES).any(|part| text.contains(part))
}
