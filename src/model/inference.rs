//! What a worker needs of a model: rows of token ids in, logits out.

use std::fmt;

use super::session::{Logits, Session, SessionError};
use super::tokenizer::TokenId;

/// Runs a model for one worker.
///
/// There are two: [`Session`] runs the bundle's graph in ONNX Runtime; the scripted model of the tests answers, waits,
/// fails or panics when the test says so, and so makes overload, lost workers and failed runs repeatable.
pub trait Inference: fmt::Debug + Send {
    /// Gives the logits of rows of token ids; short rows are filled with `padding`.
    ///
    /// # Errors
    ///
    /// If the model fails.
    fn run(&mut self, rows: &[Vec<TokenId>], padding: TokenId) -> Result<Vec<Logits>, SessionError>;
}

impl Inference for Session {
    fn run(&mut self, rows: &[Vec<TokenId>], padding: TokenId) -> Result<Vec<Logits>, SessionError> {
        Session::run(self, rows, padding)
    }
}
