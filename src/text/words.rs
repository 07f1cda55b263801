//! Words of Thai text, which has no spaces between them: the longest matches in a dictionary.
//!
//! The dictionary is PyThaiNLP's list of Thai words (`words_th.txt`, CC0 1.0, from its release 5.4.0) as it is, less
//! [`LEFT_OUT`] and with [`ADDED`]; they are matched as nlpO3 matches them. ICU4X was measured beside it and cut inside words
//! (README.md, Words).

use std::ops::Range;
use std::sync::LazyLock;

use super::matching::Dictionary;
use super::offsets::is_grapheme_edge;

const DICTIONARY: &str = include_str!("words_th.txt");

/// Words of shops, applications and chats that the dictionary does not have.
#[rustfmt::skip]
const ADDED: &[&str] = &[
    "วันไหน", "ตอนไหน",
    "เหี้ย", "เชี่ย", "เชี้ย", "สัส", "แม่ง", "ชิบหาย", "ฉิบหาย", "ปัญญาอ่อน", "ส้นตีน", "ไม่ได้", "ไม่มี", "ฟัค",
    "แอป", "แอปพลิเคชัน", "แอพ", "แอดมิน", "แชต", "แชท", "ไลน์", "เฟซบุ๊ก", "โปร", "โปรโมชัน",
    "โปรโมชั่น", "พรีออเดอร์", "รีวิว", "รีฟันด์", "เคลม", "โค้ด", "คูปอง", "แพ็ก", "แพ็ค", "แพค",
    "ไรเดอร์", "เดลิเวอรี", "เดลิเวอรี่", "แบต", "เน็ต", "ไวไฟ", "โอที", "ลาเต้", "คาเฟ่", "บุฟเฟต์",
    "ชาบู", "หมูกระทะ", "น้ำซุป", "เซอร์วิส", "คอลเซ็นเตอร์", "สลิป", "พอยท์", "แต้ม", "โอเค", "เฟล",
    "ฟิน", "ปัง", "จึ้ง", "นก", "เท", "แบน", "ดราม่า", "ชิล", "ชิลล์", "ไซซ์", "ไซส์", "คับ", "ค้าบ",
    "คร้าบ", "จ้า", "อ่ะ", "งะ", "มว้าก", "เลิศ", "ห่วย", "กาก", "โคตร", "เช็กอิน", "เช็คอิน", "เช็กบิล",
    "เช็คบิล", "อัปเดต", "อัพเดต", "อัพเดท", "ล็อกอิน", "โหลด", "เด้ง",
];

/// Entries of the dictionary that are phrases of reviews, and hide the word that matters, or that are found where nobody
/// means them ("โป|รดี" for "โปร|ดี").
#[rustfmt::skip]
const LEFT_OUT: &[&str] = &[
    "ที่ไหนบ้าง", "นคะ", "พนักงานบริการ", "คุณภาพดี", "คุณภาพต่ำ",
    "ดีแต่", "แล้วก็", "นะคะ", "ดีมาก", "แย่มาก", "ใช้แล้ว", "ดีแล้ว", "พอแล้ว", "ชอบแล้ว", "ไม่ต้อง",
    "ไม่เลย", "ไม่เลว", "ไม่ต้องการ", "ได้ดี", "ก็ดี", "ก็ได้", "ฟังเพราะ", "ฟังได้", "ได้ที่",
    "ได้ส่วน", "มีส่วน", "ทุกครั้งที่", "แต่กลับ", "แต่ยังไง", "เอาแต่", "ราคาแพง", "ใช้ได้",
    "เพราะอะไร", "ได้กัน", "ไม่เป็นอะไร", "กับดี", "รดี", "บดี", "มดี", "วดี", "สดี", "ชคดี", "ถบดี", "ปรดี", "มมาก", "หาไม่", "น้ำดี", "ทนดี", "จุดดี", "มันดี",
    "น้ำสะอาด", "มือสะอาด", "สั่งอาหาร", "ที่มา", "พนักงานขายของ", "จองแล้ว", "คิดแพง", "ถูกน้อย", "ขับรถ", "เหมาะกับ",
];

static WORDS: LazyLock<Dictionary> = LazyLock::new(|| Dictionary::of(dictionary_words()));

/// The words of the dictionary.
pub(super) fn dictionary_words() -> impl Iterator<Item = &'static str> {
    let listed = DICTIONARY.lines().map(str::trim);
    listed.filter(|word| !word.is_empty() && !LEFT_OUT.contains(word)).chain(ADDED.iter().copied())
}

/// Byte ranges of the words of a text, in order. They cover all of it: white space, marks and emoji are words, too.
///
/// ```
/// let text = "อาหารอร่อยมากกก";
/// let words: Vec<&str> = arom::text::words(text).into_iter().map(|range| &text[range]).collect();
/// assert_eq!(words, ["อาหาร", "อร่อย", "มากกก"]);
/// ```
pub fn words(text: &str) -> Vec<Range<usize>> {
    let squeezed = Squeezed::of(text);
    let ends = WORDS.word_ends(&squeezed.text);
    let mut words = Vec::with_capacity(ends.len());
    let mut from = 0;
    for end in ends {
        let to = squeezed.origin(end);
        if to > from && is_grapheme_edge(text, to) {
            words.push(from..to);
            from = to;
        }
    }
    if from < text.len() {
        words.push(from..text.len());
    }
    words
}

/// A text with stretched letters ("มากกก") written once, as the dictionary has them.
pub(super) struct Squeezed {
    pub(super) text: String,
    /// Where each byte of it comes from, and at last where the original ends.
    origins: Vec<usize>,
}

impl Squeezed {
    pub(super) fn of(text: &str) -> Self {
        let mut squeezed = Self { text: String::with_capacity(text.len()), origins: Vec::new() };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let run = rest.chars().take_while(|ch| *ch == first).count();
            let kept = if run >= STRETCHED && is_thai_letter(first) { 1 } else { run };
            let start = text.len() - rest.len();
            for number in 0..kept {
                squeezed.origins.extend((0..first.len_utf8()).map(|_| start + number * first.len_utf8()));
                squeezed.text.push(first);
            }
            rest = rest.get(run * first.len_utf8()..).unwrap_or_default();
        }
        squeezed.origins.push(text.len());
        squeezed
    }

    /// Where a byte position of it lies in the original.
    pub(super) fn origin(&self, at: usize) -> usize {
        self.origins.get(at).or(self.origins.last()).copied().unwrap_or_default()
    }
}

/// The normaliser leaves a letter said more often than this at this.
const STRETCHED: usize = 3;

fn is_thai_letter(ch: char) -> bool {
    matches!(ch, '\u{E01}'..='\u{E4E}')
}
