//! A support chat from LINE's export to its turning points, by the real model.

use std::fs;

use arom::conversation::{Body, Felt, Format, Role, Roles, Trajectory, read};
use arom::scoring::Features;

use crate::support::{repository, scorer};

#[tokio::test]
async fn a_chat_that_goes_wrong_and_is_rescued_is_seen_to() {
    let file = fs::read(repository().join("examples/chats/parcel.txt")).expect("readable");
    let transcript = read(&file, None).expect("a chat");
    assert_eq!((transcript.format, transcript.skipped.len()), (Format::LineTabs, 0));
    let messages = transcript.messages;
    assert!(messages.len() >= 40);
    let roles = Roles::of(&messages, &Default::default());
    assert_eq!(roles.guessed, Vec::<String>::new());
    let scorer = scorer();
    let mut chat = Vec::new();
    for (message, role) in messages.iter().zip(roles.of) {
        let score = match &message.body {
            Body::Text(text) => {
                let scored = scorer.score(text, Features::default()).await.expect("scored");
                Some(f64::from(scored.sentiment.score))
            }
            Body::Sticker(_) | Body::Media(_) | Body::Notice(_) | Body::Unsent => None,
        };
        chat.push(Felt { role, time: message.time, score });
    }
    let trajectory = Trajectory::of(&chat);
    let customer = trajectory.roles.first().expect("the customer");
    assert_eq!(customer.role, Role::Customer);
    let text = |at: usize| match messages.get(at).map(|message| &message.body) {
        Some(Body::Text(text)) => text.as_str(),
        _ => "",
    };
    let [worse, better] = customer.turning_points.as_slice() else { panic!("{:?}", customer.turning_points) };
    assert!(worse.from > 0.25 && worse.to < -0.25 && better.to > 0.25);
    assert_eq!(text(worse.message), "ขนส่งบอกว่ายังไม่ได้รับของจากร้านเลยนะคะ");
    assert!(worse.after.is_some_and(|at| text(at).contains("ลองเช็กกับขนส่งดู")));
    assert_eq!(text(better.message), "จริงเหรอคะ ทันวันนี้ใช่ไหม");
    assert!(better.after.is_some_and(|at| text(at).contains("ห่อของขวัญให้ฟรี")));
    assert!(customer.longest_negative_run.0 >= 3 && customer.closing > 0.5);
    assert!(!trajectory.unresolved_negative);
    assert!(trajectory.waits.expect("answers").longest.as_secs() > 7 * 3600);
}
