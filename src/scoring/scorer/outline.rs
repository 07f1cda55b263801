//! How much an answer will say, found out before the model is asked.

use super::{Prepared, ScoreError, Scorer};
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

impl Scorer {
    /// What the answers to these texts will hold. This reads the texts as scoring does, without an inference.
    ///
    /// # Errors
    ///
    /// If the thread that reads them dies.
    pub async fn outline(&self, texts: Vec<(String, Features)>) -> Result<Outline, ScoreError> {
        let engine = std::sync::Arc::clone(&self.engine);
        let work = move || {
            let mut outline = Outline::default();
            for (text, features) in &texts {
                let prepared = Prepared::of(text, *features, &engine.config.catalogue);
                outline.clauses += prepared.clauses.len();
                outline.words += features.explanation.map_or(0, |most| prepared.words.len().min(most));
                outline.mentions += prepared.mentions.len();
                let targets = prepared.mentions.iter();
                let targets =
                    targets.filter_map(|(_, _, mention)| engine.config.catalogue.target(mention.target));
                outline.target_bytes +=
                    targets.map(|target| target.id.len() + target.name.len()).sum::<usize>();
            }
            outline
        };
        self.engine.prepare(work).await
    }

    /// About the most windows that a text of so many bytes is scored in.
    pub fn most_windows(&self, bytes: usize) -> usize {
        // A token has one byte at least; normalising rarely makes a text longer, as where it puts masks.
        const LONGER: usize = 2;
        let step = self.engine.windows.size - self.engine.windows.overlap;
        1 + bytes.saturating_mul(LONGER) / step.max(1)
    }
}
