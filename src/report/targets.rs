//! What is spoken of: aspects, or brands.

use std::collections::HashMap;

use super::Spoken;
use super::extremes::Extremes;
use super::figures::{Aspect, Ranking, Snippet};
use super::shown;
use super::statistics::{Tally, rounded, sound};
use crate::model::Label;

/// Most targets that are counted; beyond that the half with the fewest mentions is forgotten.
pub(super) const COUNTED: usize = 4000;

/// Most targets in the figures, and most examples of each.
const SHOWN: usize = 40;
const EXAMPLES: usize = 3;

#[derive(Debug)]
struct Target {
    tally: Tally,
    worst: Extremes,
}

/// Aspects or brands with what is said of them.
#[derive(Debug, Default)]
pub(super) struct Targets {
    targets: HashMap<String, Target>,
    mentions: u64,
    forgotten: u64,
}

impl Targets {
    pub(super) fn add(&mut self, spoken: &Spoken<'_>) {
        let key = shown::key(spoken.target);
        if key.is_empty() {
            return;
        }
        let score = sound(spoken.score);
        self.mentions += 1;
        let target = self
            .targets
            .entry(key)
            .or_insert_with(|| Target { tally: Tally::default(), worst: Extremes::lowest(EXAMPLES) });
        target.tally.add(spoken.label, score);
        if spoken.label == Label::Negative {
            let make = || Snippet {
                text: shown::snippet(spoken.statement),
                score: rounded(score),
                rating: None,
                brand: None,
            };
            target.worst.offer(score, make);
        }
        if self.targets.len() > COUNTED {
            self.prune();
        }
    }

    fn prune(&mut self) {
        let mut ranks: Vec<(u64, String)> =
            self.targets.iter().map(|(name, target)| (target.tally.count(), name.clone())).collect();
        ranks.sort_unstable();
        for (count, name) in ranks.into_iter().take(COUNTED / 2) {
            self.targets.remove(&name);
            self.forgotten += count;
        }
    }

    /// Ranked by the share that is negative, those of few mentions last: with three mentions anything is first.
    pub(super) fn finish(self, least: u64) -> Ranking {
        let counted = self.targets.len();
        let mut targets: Vec<(String, Target)> = self.targets.into_iter().collect();
        let negative = |target: &Target| target.tally.labels().negative.share;
        targets.sort_by(|(name, one), (other_name, other)| {
            let few = |target: &Target| target.tally.count() < least;
            few(one)
                .cmp(&few(other))
                .then(negative(other).total_cmp(&negative(one)))
                .then(other.tally.count().cmp(&one.tally.count()))
                .then(name.cmp(other_name))
        });
        targets.truncate(SHOWN);
        let shown: u64 = targets.iter().map(|(_, target)| target.tally.count()).sum();
        let left_out = counted.saturating_sub(targets.len());
        let targets = targets.into_iter().map(|(name, target)| Aspect {
            name: shown::name(&name),
            mention_count: target.tally.count(),
            few: target.tally.count() < least,
            labels: target.tally.labels(),
            mean: target.tally.moments.interval(),
            examples: target.worst.finish(),
        });
        Ranking {
            targets: targets.collect(),
            mention_count: self.mentions,
            few_mentions: least,
            left_out_count: u64::try_from(left_out).unwrap_or(u64::MAX),
            left_out_mention_count: self.mentions - shown,
            forgotten_mention_count: self.forgotten,
        }
    }
}
