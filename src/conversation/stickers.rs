//! What a sticker says: LINE's webhook names up to 15 English moods of it.

use crate::model::Probabilities;
use crate::scoring::Sentiment;

#[rustfmt::skip]
const GLAD: &[&str] = &[
    "happy", "happiness", "glad", "joy", "joyful", "delighted", "excited", "yay", "hooray", "cheers", "love", "in love", "heart", "hearts", "like", "kiss", "hug",
    "thank you", "thanks", "thank", "grateful", "appreciate", "great", "good", "good job", "nice", "well done", "awesome", "amazing", "perfect", "excellent", "best",
    "smile", "smiling", "laugh", "laughing", "lol", "haha", "fun", "funny", "cute", "congratulations", "congrats", "celebrate", "celebration", "party", "clap",
    "applause", "thumbs up", "proud", "relieved", "satisfied", "sparkle", "victory", "success", "yes!", "fighting", "cheer", "cheering", "happy birthday",
];

#[rustfmt::skip]
const UNHAPPY: &[&str] = &[
    "sad", "sadness", "unhappy", "cry", "crying", "tears", "sob", "depressed", "disappointed", "disappointment", "upset", "hurt", "lonely", "heartbroken", "gloomy",
    "angry", "anger", "mad", "furious", "rage", "annoyed", "irritated", "frustrated", "frustration", "hate", "dislike", "disgusted", "disgust", "fed up", "grumpy",
    "worried", "worry", "anxious", "scared", "afraid", "fear", "shocked", "shock", "stressed", "stress", "tired", "exhausted", "bored", "boring", "sigh", "bad",
    "awful", "terrible", "no way", "thumbs down", "fail", "failed", "sulking", "sulk", "jealous", "regret", "pain", "sick", "despair", "hopeless",
];

/// How much a sticker is neutral beside each word of feeling that it has.
const NEUTRAL: f32 = 0.5;

/// Feeling as its words tell it, each known word counting alike; nothing if none of them is known.
///
/// ```
/// let words = ["angry", "steam"].map(str::to_owned);
/// assert!(arom::conversation::sticker(&words).is_some_and(|said| said.score < -0.25));
/// assert!(arom::conversation::sticker(&["hello".to_owned()]).is_none());
/// ```
pub fn sticker(keywords: &[String]) -> Option<Sentiment> {
    let count = |table: &[&str]| {
        let known = |word: &&String| table.contains(&word.trim().to_lowercase().as_str());
        keywords.iter().filter(known).fold(0.0_f32, |count, _| count + 1.0)
    };
    let (glad, unhappy) = (count(GLAD), count(UNHAPPY));
    let all = glad + unhappy + NEUTRAL;
    let said = Probabilities([glad / all, NEUTRAL / all, unhappy / all, 0.0]);
    (glad + unhappy > 0.0).then(|| Sentiment::of_windows(&[(said, 1)]))
}
