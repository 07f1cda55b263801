//! Fives, which are "ha" in Thai, and how they are told from amounts and names.

/// Words after which a number counts or names something, in small letters.
#[rustfmt::skip]
const NUMBERED: &[&str] = &[
    "ราคา", "ห้อง", "รหัส", "สาย", "เลขที่", "เลข", "หมายเลข", "รุ่น", "เบอร์", "โทร", "ข้อ", "หน้า", "ซอย", "ชั้น", "ตึก", "อาคาร", "โต๊ะ", "คิว", "บิล", "จำนวน", "ทั้งหมด", "แค่", "เพียง",
    "ประมาณ", "ออเดอร์", "ออร์เดอร์", "พัสดุ", "โค้ด", "โค๊ด", "คลื่น", "เที่ยวบิน", "ทะเบียน", "พ.ศ.", "ค.ศ.", "สาขา", "เวอร์ชัน", "เวอร์ชั่น", "ไซส์", "ไซซ์", "เกต", "ประตู",
    "room", "no", "no.", "id", "code", "order", "bus", "model", "flight", "price", "total", "version", "size", "gate", "#", "฿", "$", "€", "£", "¥", "thb",
];

/// What counts what the number before it says, in small letters.
#[rustfmt::skip]
const UNITS: &[&str] = &[
    "บาท", "บ.", "฿", ".-", ",-", "thb", "baht", "usd", "%", "เปอร์เซ็น", "กิโล", "กม.", "เมตร", "ลิตร", "กรัม", "ชั่วโมง", "ชม.", "นาที", "วินาที", "คะแนน", "แต้ม", "พอยท์", "เหรียญ", "ล้าน",
    "หน่วย", "องศา", "ไลก์", "ไลค์",
];

/// The same, of words that may also begin a sentence: they count only if nothing is joined to them.
#[rustfmt::skip]
const UNITS_ALONE: &[&str] = &[
    "คน", "ท่าน", "ชิ้น", "อัน", "ตัว", "ใบ", "กล่อง", "ซอง", "ขวด", "แก้ว", "จาน", "ชุด", "คู่", "เครื่อง", "คัน", "หลัง", "ห้อง", "ครั้ง", "รอบ", "วัน", "เดือน", "ปี", "หน้า", "ข้อ", "วิว", "เล่ม", "ต้น",
    "แสน", "หมื่น", "พัน", "ร้อย", "กว่า", "รายการ", "เม็ด", "kg", "km", "cm", "mm", "ml", "gb", "mb", "mbps", "people", "items", "pcs", "points", "days", "hours",
];

/// As many letters before and after fives tell what they are.
pub(super) const REACH: usize = 16;

/// Whether a run of fives laughs, by what stands right before and after it: an amount or a name does not.
pub(super) fn laughs(before: &str, after: &str) -> bool {
    let (mut back, mut on) = (before.chars().rev(), after.chars());
    let (near, next) = (back.next(), on.next());
    if beside_digit(near, back.next()) || beside_digit(next, on.next()) {
        return false;
    }
    // As "A555" and "555X".
    let latin = |ch: Option<char>| ch.is_some_and(|ch| ch.is_ascii_alphabetic());
    let (small_before, small_after) = (before.to_lowercase(), after.to_lowercase());
    let (small_before, small_after) =
        (small_before.trim_end_matches([' ', ':']), small_after.trim_start_matches(' '));
    let letter = |ch: char| {
        ch.is_alphabetic() || matches!(ch, '\u{E31}' | '\u{E34}'..='\u{E3A}' | '\u{E47}'..='\u{E4E}')
    };
    let alone = |unit: &&str| small_after.strip_prefix(**unit).is_some_and(|rest| !rest.starts_with(letter));
    let counted =
        UNITS.iter().any(|unit| small_after.starts_with(unit)) || UNITS_ALONE.iter().any(|unit| alone(&unit));
    let numbered = NUMBERED.iter().any(|word| {
        let Some(rest) = small_before.strip_suffix(word) else { return false };
        // "room", but not "broom".
        !(word.starts_with(|ch: char| ch.is_ascii_alphabetic()) && latin(rest.chars().next_back()))
    });
    !(latin(near) || counted || numbered)
}

/// Whether a neighbour is a digit, touching or across one separator ("1,5555", "081 5555").
fn beside_digit(near: Option<char>, far: Option<char>) -> bool {
    let digit = |ch: Option<char>| ch.is_some_and(char::is_numeric);
    digit(near) || (near.is_some_and(|ch| "-.,:/ ".contains(ch)) && digit(far))
}
