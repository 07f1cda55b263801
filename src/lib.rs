//! Arom (อารมณ์, "mood") scores the sentiment of Thai text.
//!
//! ```text
//! text ─► normalise ─► tokenise ─► window ─► queue ─► ONNX Runtime ─► calibrate ─► Sentiment
//! gRPC │ CLI ── all through one `Scorer` ──
//! ```
//!
//! Read the modules in the order a text visits them:
//!
//! 1. [`cli`]: one file per command; [`config`]: settings from defaults, file, environment and flags
//! 2. [`grpc`]: services, conversion at the edge, statuses
//! 3. [`scoring`]: the [`Scorer`](scoring::Scorer), its queue and workers, the figures of an evaluation
//! 4. [`text`]: the normaliser and its map back to the original; offsets in the caller's unit
//! 5. [`model`]: the verified bundle, tokenizer, ONNX Runtime session, calibration
//! 6. [`telemetry`]: log lines
//!
//! What stays true:
//!
//! - One scoring path: unary, batch and command line give the same numbers for the same text, to the bit on one
//!   machine. The model's int8 scales are fixed in its graph, so neither company nor padding moves a score.
//! - Training reads its text through `arom normalize`, which is [`text::normalize`].
//! - The queue is bounded, says when it is full, and drops what nobody waits for.
//! - A bundle that does not match its manifest is refused, naming the file and the field.
//! - No text is logged or kept.
//! - `text`, the queue, the windows and the calibration name no tokio, no tonic, no clock and no file.
//!   `model/session.rs` alone names `ort`, `model/tokenizer.rs` alone `tokenizers`, `grpc/status.rs` alone
//!   tonic's codes. `tests/it/layering.rs` checks this.

pub mod cli;
pub mod config;
pub mod grpc;
pub mod http;
pub mod model;
pub mod scoring;
pub mod telemetry;
pub mod text;
