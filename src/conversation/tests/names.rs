//! Conversations with more names than a chat has people.

use super::super::*;

fn said(name: String, text: &str) -> Message {
    Message { line: 0, id: None, time: None, sender: Sender::Named(name), body: Body::Text(text.to_owned()) }
}

#[test]
fn names_are_hidden_whatever_their_case_and_the_longest_first() {
    let chat = [said("Somchai Jaidee".to_owned(), "ดี"), said("แอดมินร้าน".to_owned(), "สวัสดีค่ะ")];
    let people = Disguise::of(&chat, &[Role::Customer, Role::Agent], false);
    for (text, shown) in [
        ("คุณ SOMCHAI jaidee คะ", "คุณ <customer> คะ"),
        ("somchai มาแล้ว", "<customer> มาแล้ว"),
        ("İ Jaidee İ แอดมินร้าน", "İ <customer> İ <agent>"),
        ("ไม่มีใคร", "ไม่มีใคร"),
    ] {
        assert_eq!(people.text(text), shown);
    }
}

#[test]
fn no_text_is_shown_if_there_are_more_names_than_can_be_hidden() {
    let name = |at: usize| format!("{at} {}", "คน ".repeat(25));
    let chat: Vec<Message> = (0..5000).map(|at| said(name(at), "ชื่อสมชาย")).collect();
    let people = Disguise::of(&chat, &vec![Role::Customer; chat.len()], false);
    assert_eq!(people.text("ชื่อสมชาย"), "[text with too many names to hide]");
    let kept = Disguise::of(&chat, &vec![Role::Customer; chat.len()], true);
    assert_eq!(kept.text("ชื่อสมชาย"), "ชื่อสมชาย");
}

#[test]
fn who_is_left_over_is_who_all_others_talk_to() {
    let known = (0..4999).map(|at| (format!("n{at}"), Role::Customer)).collect();
    // Each message was once compared with every name.
    let chat: Vec<Message> = (0..5000).map(|at| said(format!("n{at}"), "ดี")).collect();
    let roles = Roles::of(&chat, &known);
    assert_eq!(roles.of.last(), Some(&Role::Agent));
    assert_eq!(roles.of.iter().filter(|role| **role == Role::Customer).count(), 4999);
}
