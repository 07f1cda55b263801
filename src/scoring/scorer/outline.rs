//! How much an answer will say, found out before the model is asked.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Caller, Engine, Prepared, ScoreError};
use crate::scoring::Features;

/// The parts that the answers to some texts will have, and no fewer; the model was not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Clauses in all.
    pub clauses: usize,
    /// Words of explanations in all.
    pub words: usize,
    /// Mentions of targets in all.
    pub mentions: usize,
    /// Bytes of the ids and names of these targets.
    pub target_bytes: usize,
}

impl Outline {
    /// Of one text.
    fn of(text: &str, features: Features, engine: &Engine) -> Self {
        let catalogue = &engine.config.catalogue;
        let prepared = Prepared::of(text, features, catalogue);
        let targets = prepared.mentions.iter();
        let targets = targets.filter_map(|(_, _, mention)| catalogue.target(mention.target));
        Self {
            clauses: prepared.clauses.len(),
            words: features.explanation.map_or(0, |most| prepared.words.len().min(most)),
            mentions: prepared.mentions.len(),
            target_bytes: targets.map(|target| target.id.len() + target.name.len()).sum(),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            clauses: self.clauses + other.clauses,
            words: self.words + other.words,
            mentions: self.mentions + other.mentions,
            target_bytes: self.target_bytes + other.target_bytes,
        }
    }
}

impl Caller {
    /// What the answers to these texts will hold. This reads the texts as scoring does, without an inference; each long text takes a
    /// turn of its own.
    ///
    /// # Errors
    ///
    /// If a thread that reads them dies, or too many wait for a turn.
    pub async fn outline(&self, texts: Vec<(String, Features)>) -> Result<Outline, ScoreError> {
        let one = |(text, features): (String, Features)| {
            let engine = Arc::clone(&self.engine);
            self.work_on(text.len(), move || Outline::of(&text, features, &engine))
        };
        let each = stream::iter(texts).map(one).buffer_unordered(self.engine.config.workers.max(1));
        each.try_fold(Outline::default(), async |sum, next| Ok(sum.and(next))).await
    }

    /// About the most windows that a text of so many bytes is scored in.
    pub fn most_windows(&self, bytes: usize) -> usize {
        // A token has one byte at least; normalising rarely makes a text longer, as where it puts masks.
        const LONGER: usize = 2;
        let step = self.engine.windows.size - self.engine.windows.overlap;
        1 + bytes.saturating_mul(LONGER) / step.max(1)
    }
}
