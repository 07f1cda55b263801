//! Who is who: the customer's side, the business's people and its programs.
//!
//! What the source says decides; then the names that the caller knows; then how a business is called and how it speaks.

use std::collections::BTreeMap;

use super::message::{Body, Message, Sender};
use super::trajectory::Role;

/// Parts of names that businesses have, in small letters.
#[rustfmt::skip]
const BUSINESS_NAMES: &[&str] = &[
    "แอดมิน", "ร้าน", "ศูนย์บริการ", "เจ้าหน้าที่", "ฝ่ายขาย", "ธนาคาร", "บริษัท", "คลินิก", "โรงแรม", "official", "admin", "support", "shop", "store", "service", "care",
    "call center", "callcenter", "sales", "ทีมงาน", "ทีม", "team", "cs ", "helpdesk", "help desk", "บริการลูกค้า", "ประชาสัมพันธ์",
];

/// What people say who answer for a business.
#[rustfmt::skip]
const BUSINESS_PHRASES: &[&str] = &[
    "ยินดีให้บริการ", "ขอบคุณที่ติดต่อ", "ขอบคุณที่ใช้บริการ", "แอดมินขอ", "ทางร้าน", "ทางบริษัท", "ทางธนาคาร", "ขออภัยในความไม่สะดวก", "รบกวนแจ้ง", "คุณลูกค้า",
    "ลูกค้าสามารถ", "เรียนลูกค้า", "สอบถามเพิ่มเติม", "ตรวจสอบให้", "ประสานงานให้", "ดำเนินการให้", "จัดส่งให้", "แจ้งเลขพัสดุ",
];

/// The role of every message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// One for each message, in their order.
    pub of: Vec<Role>,
    /// Names whose role is a guess, for nothing tells who answers for the business.
    pub guessed: Vec<String>,
}

impl Roles {
    /// Finds out who is who; `known` are the roles of names.
    pub fn of(messages: &[Message], known: &BTreeMap<String, Role>) -> Self {
        // Everybody who has no role by what the source says, and whether they sound like a business.
        let mut names: BTreeMap<&str, bool> = BTreeMap::new();
        for message in messages {
            if let Sender::Named(name) = &message.sender {
                let small = name.to_lowercase();
                let sounds = BUSINESS_NAMES.iter().any(|part| small.contains(part))
                    || speaks_for_business(&message.body);
                *names.entry(name).or_default() |= sounds;
            }
        }
        let told = |name: &str| match (known.get(name), names.get(name)) {
            (Some(role), _) => Some(*role),
            (None, Some(true)) => Some(Role::Agent),
            (None, _) => None,
        };
        let told_as = |role: Role| names.keys().filter(|name| told(name) == Some(role)).count();
        let answered = told_as(Role::Agent) > 0;
        // Of whom all others are customers must be who they talk to. Counted once, not for each message.
        let left_over = names.len() > 1 && told_as(Role::Customer) == names.len() - 1;
        let role_of = |name: &str| told(name).unwrap_or(if left_over { Role::Agent } else { Role::Customer });
        let guessed = |name: &&str| told(name).is_none() && !answered && role_of(name) == Role::Customer;
        let role = |message: &Message| match &message.sender {
            Sender::User(_) => Role::Customer,
            Sender::Account(_) => Role::Agent,
            Sender::Bot(_) => Role::Bot,
            Sender::System => Role::System,
            Sender::Named(name) => role_of(name),
        };
        Self {
            of: messages.iter().map(role).collect(),
            guessed: names.keys().copied().filter(guessed).map(str::to_owned).collect(),
        }
    }
}

fn speaks_for_business(body: &Body) -> bool {
    matches!(body, Body::Text(text) if BUSINESS_PHRASES.iter().any(|phrase| text.contains(phrase)))
}
