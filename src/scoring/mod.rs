//! From a text to its sentiment: cache, windows, the queue of work, the workers, and the figures of an evaluation.

mod behaviour;
mod cache;
mod catalogue;
mod evaluation;
mod explanation;
mod flights;
mod prepared;
mod queue;
mod retry_line;
mod scorer;
mod sentiment;
mod slices;
mod targets;
mod window;
mod workers;

pub use behaviour::{
    BEHAVIOUR_MARGIN, Behaviour, BehaviourFailure, BehaviourTest, CapabilityFigures, Expectation,
};
pub use catalogue::{Catalogue, CatalogueError, Target, TargetKind};
pub use evaluation::{ClassFigures, Evaluation, McNemar, RiskCoverage};
pub use explanation::{Contribution, EXPLANATION_INFERENCES, Explanation};
pub use prepared::MAX_CLAUSES;
pub(crate) use retry_line::{Refused, RetryLine};
pub use scorer::{Caller, Client, OpenError, Outline, ScoreError, Scorer, ScoringConfig};
pub use sentiment::{
    Content, Features, Intent, MIXED_MARGIN, Scored, ScoredClause, ScoredMention, ScoredWindow, Sentiment,
    Timings,
};
pub use slices::{slice_names, slices};
pub(crate) use workers::chance;

#[cfg(test)]
mod tests;
