//! The bundle's tokenizer: normalised text to token ids, without truncation.

use std::ops::Range;

use tokenizers::models::ModelWrapper;

use super::Bundle;
use crate::text::{Mask, Normalized};

/// A row of the model's embedding.
pub type TokenId = i64;

/// The token ids of a text, without special tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(pub Vec<TokenId>);

/// Turns normalised text into token ids.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    begin: TokenId,
    end: TokenId,
    padding: TokenId,
    unknown: TokenId,
}

/// Why a tokenizer was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// `tokenizer.json` cannot be read as a tokenizer.
    #[error("tokenizer.json of bundle {bundle} is not a tokenizer")]
    Parse {
        /// The bundle.
        bundle: String,
        /// What the library said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is a tokenizer, but not of this model.
    #[error("tokenizer.json of bundle {bundle} does not fit the model: {problem}")]
    Mismatch {
        /// The bundle.
        bundle: String,
        /// What does not fit.
        problem: String,
    },
    /// The library failed on a text.
    #[error("tokenizer failed on a text of {bytes} bytes")]
    Encode {
        /// Length of the text.
        bytes: usize,
        /// What the library said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Tokenizer {
    /// Builds the tokenizer of a bundle.
    ///
    /// # Errors
    ///
    /// If the file is no tokenizer, its size is not the manifest's, or a special token or mask is missing.
    pub fn open(bundle: &Bundle) -> Result<Self, TokenizerError> {
        let name = || bundle.fingerprint.clone();
        let mut inner = tokenizers::Tokenizer::from_bytes(&bundle.tokenizer)
            .map_err(|cause| TokenizerError::Parse { bundle: name(), cause })?;
        let mismatch = |problem| TokenizerError::Mismatch { bundle: name(), problem };
        let (pieces, rows) = (inner.get_vocab_size(true), bundle.manifest.vocabulary_size);
        if pieces != rows {
            return Err(mismatch(format!("it has {pieces} pieces, field `vocabulary_size` says {rows}")));
        }
        let id = |token: &str| {
            let id = inner.token_to_id(token).map(TokenId::from);
            id.ok_or_else(|| mismatch(format!("it has no piece {token}")))
        };
        let (begin, end, padding, unknown) = (id("<s>")?, id("</s>")?, id("<pad>")?, id("<unk>")?);
        for mask in Mask::ALL {
            id(mask.token())?;
        }
        // The library would keep the last ten thousand texts in memory; Arom keeps nobody's words.
        if let ModelWrapper::Unigram(unigram) = inner.get_model() {
            let mut unigram = unigram.clone();
            unigram.resize_cache(0);
            inner.with_model(unigram);
        }
        Ok(Self { inner, begin, end, padding, unknown })
    }

    /// The token ids of a text, all of them.
    ///
    /// # Errors
    ///
    /// If the library fails, which no text is known to make it do.
    pub fn encode(&self, text: &Normalized) -> Result<Tokens, TokenizerError> {
        let encoding = self.inner.encode_fast(text.as_str(), false).map_err(|cause| failed(text, cause))?;
        let ids = encoding.get_ids().iter().copied().map(TokenId::from);
        Ok(Tokens(ids.filter(|id| !self.is_control(*id)).collect()))
    }

    /// Where each token of [`Tokenizer::encode`] lies in the normalised text, in bytes.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn byte_ranges(&self, text: &Normalized) -> Result<Vec<Range<usize>>, TokenizerError> {
        let encoding = self.inner.encode(text.as_str(), false).map_err(|cause| failed(text, cause))?;
        let kept = encoding.get_ids().iter().zip(encoding.get_offsets());
        let kept = kept.filter(|(id, _)| !self.is_control(TokenId::from(**id)));
        Ok(kept.map(|(_, (start, end))| *start..*end).collect())
    }

    /// Whether a token tells the model where text begins, ends or is missing. Someone who writes "<s>" means
    /// struck-out HTML at best, so such tokens are left out of what the model reads.
    fn is_control(&self, id: TokenId) -> bool {
        [self.begin, self.end, self.padding].contains(&id)
    }

    /// One row of the model's input: the tokens of a window between the special tokens.
    pub fn window(&self, tokens: &[TokenId]) -> Vec<TokenId> {
        [self.begin].iter().chain(tokens).chain(&[self.end]).copied().collect()
    }

    /// How many of these are pieces that the vocabulary does not have.
    pub fn count_unknown(&self, tokens: &[TokenId]) -> usize {
        tokens.iter().filter(|id| **id == self.unknown).count()
    }

    /// The id that fills short rows of a batch.
    pub fn padding(&self) -> TokenId {
        self.padding
    }
}

fn failed(text: &Normalized, cause: tokenizers::Error) -> TokenizerError {
    TokenizerError::Encode { bytes: text.as_str().len(), cause }
}
