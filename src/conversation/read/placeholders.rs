//! What LINE writes in the place of what is no text.

use std::sync::LazyLock;

use regex::Regex;

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

/// Calls, with how long they took.
static CALL: LazyLock<Regex> = LazyLock::new(|| {
    let words = "^(?:☎.*|(?:การโทร|ไม่ได้รับสาย|ยกเลิกการโทร|Missed call|Call time|Canceled call|No answer)[\\s\\d:.()]*)$";
    Regex::new(words).expect("a constant pattern")
});

const UNSENT: &[&str] = &["ยกเลิกข้อความแล้ว", "ยกเลิกการส่งข้อความ", "Message unsent.", "unsent a message."];

/// What the application says of people, who stand in it by name.
static NOTICES: LazyLock<[Regex; 4]> = LazyLock::new(|| {
    [
        r"^(\S.*?) ?เพิ่ม ?(\S.*?) ?เข้ากลุ่ม(?:แล้ว)?$",
        r"^(\S.*?) ?(?:เข้าร่วมกลุ่ม|ออกจากกลุ่ม|เขียนโน้ตใหม่|เพิ่มประกาศ)(?:แล้ว)?$",
        r"^(\S.*?) added (\S.*?) to the (?:group|chat)\.?$",
        r"^(\S.*?) (?:joined|left) the (?:chat|group)\.?$|^(\S.*?) (?:made an announcement|created a new note|changed the (?:chat|group)\b.*)$",
    ]
    .map(|words| Regex::new(words).expect("a constant pattern"))
});

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
    if CALL.is_match(trimmed) {
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
    let text = text.trim();
    UNSENT.iter().any(|unsent| text.ends_with(unsent)) || NOTICES.iter().any(|notice| notice.is_match(text))
}

/// The people whom the application names in such a line.
pub(super) fn named(text: &str) -> Vec<&str> {
    let found = NOTICES.iter().find_map(|notice| notice.captures(text.trim()));
    found.iter().flat_map(|found| found.iter().skip(1).flatten()).map(|name| name.as_str()).collect()
}
