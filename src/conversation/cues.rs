//! Signs that a customer is about to go over somebody's head, or to go away, by the words they use.

use std::sync::LazyLock;

use regex::Regex;

/// What a customer threatens, demands or complains of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cue {
    /// To complain to an authority, to go to court or to the police.
    ComplaintThreat,
    /// To leave for another business.
    ChurnThreat,
    /// To tell the public.
    PublicityThreat,
    /// Their money back.
    RefundDemand,
    /// Somebody higher, or a person instead of a program.
    SupervisorRequest,
    /// That they have said it before.
    RepeatedContact,
    /// That nobody answers.
    NoAnswer,
}

impl Cue {
    /// Its name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::ComplaintThreat => "complaint_threat",
            Self::ChurnThreat => "churn_threat",
            Self::PublicityThreat => "publicity_threat",
            Self::RefundDemand => "refund_demand",
            Self::SupervisorRequest => "supervisor_request",
            Self::RepeatedContact => "repeated_contact",
            Self::NoAnswer => "no_answer",
        }
    }
}

/// The words of each, as patterns over the text in small letters.
#[rustfmt::skip]
const CUES: [(Cue, &str); 7] = [
    (Cue::ComplaintThreat, r"ร้องเรียน|แจ้งความ|ฟ้องร้อง|ฟ้องศาล|(?:จะ|ขอ|ไป)ฟ้อง|ดำเนินคดี|สคบ|ทนาย|กสทช|แบงก์ชาติ|ธปท|ขึ้นศาล|sue you|police report"),
    (Cue::ChurnThreat, r"เลิกใช้|เลิกเป็นลูกค้า|เลิกซื้อ|ย้ายค่าย|ย้ายไปใช้|ปิดบัญชี|ยกเลิกบริการ|ยกเลิกสมาชิก|ยกเลิกสัญญา|ไปใช้(?:เจ้า|ที่|ยี่ห้อ)อื่น|เปลี่ยน(?:เจ้า|ค่าย)|(?:จะ|คง|ไม่ขอ)?ไม่(?:มา|ใช้|ซื้อ|สั่ง|กลับมา|อุดหนุน)(?:ใช้|ซื้อ|สั่ง)?(?:ร้านนี้|ที่นี่|เจ้านี้)?อีก(?:แล้ว|เลย|ต่อไป)?|ครั้งสุดท้าย(?:แล้ว|ที่จะ)|cancel my (?:account|subscription|contract)"),
    (Cue::PublicityThreat, r"ประจาน|แฉ|ออกสื่อ|ลงพันทิป|ตั้งกระทู้|(?:โพสต์|โพส|แชร์|ลง)(?:ลง)?(?:ใน)?(?:โซเชียล|เฟซ|เฟส|ทวิต|พันทิป|กลุ่ม|ติ๊กต็อก|tiktok|facebook)|รีวิว(?:แย่|หนึ่งดาว|1 ?ดาว|ดาวเดียว)|(?:จะ)?บอกต่อ(?:ให้)?(?:ทุกคน)?ว่า(?:แย่|ห่วย|อย่า)"),
    (Cue::RefundDemand, r"ขอเงิน(?:ของ(?:ฉัน|ผม|หนู|เรา))?คืน|ขอคืนเงิน|เอาเงิน(?:ของ)?(?:ฉัน|ผม|หนู|เรา|กู)?คืน|คืนเงิน(?:มา|ให้(?:ผม|ฉัน|หนู|เรา|ด้วย|ที))|อยากได้เงินคืน|ต้องการเงินคืน|refund me|my money back|want a refund"),
    (Cue::SupervisorRequest, r"(?:ขอ|อยาก|ต้องการ)?(?:คุย|พูด|สาย|ติดต่อ|เรียก|ตาม)(?:กับ)?(?:คุณ)?(?:ผู้จัดการ|หัวหน้า|เจ้าของร้าน|ผจก|ผู้บริหาร)|(?:ขอ|อยาก|ต้องการ)(?:คุย|พูด|ติดต่อ)(?:กับ)?(?:คน|เจ้าหน้าที่|แอดมิน)(?:จริง)?|ไม่(?:อยาก)?คุยกับ(?:บอท|บอต|bot)|speak to (?:a|your) (?:manager|supervisor|human)"),
    (Cue::RepeatedContact, r"(?:ทัก|โทร|แจ้ง|ถาม|ตาม|บอก|ติดต่อ|เมล)(?:มา|ไป|เรื่อง)*(?:หลาย|กี่|สาม|สี่|ห้า|สิบ|[3-9]|10|เป็นสิบ)\s*(?:รอบ|ครั้ง|หน|สาย|วัน|อาทิตย์|เดือน)|(?:แจ้ง|บอก|ส่ง|ถาม|ตอบ)(?:มา|ไป)(?:หลาย)?(?:รอบ|ครั้ง)?แล้ว(?:ไง|ว่า|นะ)|รอบที่(?:สอง|สาม|สี่|ห้า|[2-9])|ครั้งที่(?:สาม|สี่|ห้า|[3-9])(?:แล้ว)|พูดแบบนี้(?:มา)?(?:ตั้งแต่|ทุก)|ส่ง(?:มา|ไป|ให้)*(?:หลาย|สาม|สี่|ห้า|[3-9])\s*(?:รอบ|ครั้ง|หน)|(?:เมื่อวาน|เมื่อวันก่อน|อาทิตย์ก่อน|คราวก่อน|คราวที่แล้ว)ก็(?:บอก|พูด|ตอบ|รับปาก)|ตอบเหมือนเดิม|เรื่องเดิม"),
    (Cue::NoAnswer, r"ไม่มีใคร(?:ตอบ|รับ|สนใจ|ติดต่อ)|ไม่(?:มีคน|เห็น|ยอม|เคย)?(?:ตอบ|รับสาย)(?:กลับ|แชท|แชต|ไลน์|ข้อความ)?(?:เลย|สักที|สักคน|ซักที|ซักคน)|อ่าน(?:แล้ว)?ไม่ตอบ|เงียบ(?:ไปเลย|หาย|กริบ|ฉี่)|หายเงียบ|โทร(?:ไป)?ไม่(?:ติด|รับ|มีใครรับ)|มี(?:ใคร|คน|แอดมิน)อยู่(?:ไหม|มั้ย|มั๊ย)"),
];

/// What turns a sign into its opposite if it stands before it.
static DENIED: LazyLock<Regex> = LazyLock::new(|| {
    let words = r"(?:ไม่(?:ได้|คิด|อยาก|ต้อง|จำเป็นต้อง|ขอ)?(?:จะ|ไป)?|อย่าเพิ่ง|อย่า|no need to )$";
    Regex::new(words).expect("a constant pattern, compiled in every test")
});

/// More bytes than such words have: only they are looked at, however long the text is.
const DENIED_BYTES: usize = 128;

static PATTERNS: LazyLock<Vec<(Cue, Regex)>> = LazyLock::new(|| {
    let ready = |(cue, words)| (cue, Regex::new(words).expect("a constant pattern, compiled in every test"));
    CUES.map(ready).into()
});

/// The signs in what a customer wrote, each once.
///
/// ```
/// use arom::conversation::{Cue, cues};
/// assert_eq!(cues("ถ้าไม่ได้ของ ขอเงินคืน แล้วจะไปร้องเรียนด้วย"), [Cue::ComplaintThreat, Cue::RefundDemand]);
/// assert_eq!(cues("ไม่ต้องขอคืนเงินแล้วค่ะ ได้ของแล้ว"), []);
/// ```
pub fn cues(text: &str) -> Vec<Cue> {
    let small = text.to_lowercase();
    let meant = |start: usize| {
        let near = small.floor_char_boundary(start.saturating_sub(DENIED_BYTES));
        !small.get(near..start).is_some_and(|before| DENIED.is_match(before))
    };
    let seen = |words: &Regex| words.find_iter(&small).any(|found| meant(found.start()));
    PATTERNS.iter().filter(|(_, words)| seen(words)).map(|(cue, _)| *cue).collect()
}
