//! Arom (อารมณ์, "mood") scores the sentiment of Thai text.
//!
//! ```text
//! text ─► normalise ─► cache? ─► tokenise ─► window ─► queue ─► ONNX Runtime ─► calibrate ─► Sentiment
//!                         └──────────────────────── hit ────────────────────────────────────┘
//! gRPC │ CLI ── all through one `Scorer` ──
//! ```
//!
//! Read the modules in the order a text visits them:
//!
//! 1. [`cli`]: one file per command; [`config`]: settings from defaults, file, environment and flags, one table of all
//! 2. [`grpc`]: services, conversion at the edge, statuses, start, change of model and stop; [`http`]: metrics, probes;
//!    [`net`]: ports and connections of both; [`descriptors`]: how many of them the process may have
//! 3. [`scoring`]: the [`Scorer`](scoring::Scorer), its cache, queue and workers, explanations, targets and their
//!    catalogue, the figures of an evaluation
//! 4. [`text`]: the normaliser and its map back to the original; words, clauses, statements, modifiers; offsets in the
//!    caller's unit
//! 5. [`conversation`]: messages out of LINE's exports and other files, who is who in them, and how feeling moved
//!    through them; the same for conversations that go on
//! 6. [`profile`]: events folded into sums over time, the features worked out from these, the book that keeps them once
//!    and takes them back, its rows, the store on disk and its backups, the threads that write, signals, and who watches
//! 7. [`sinks`]: what changes in profiles, delivered outward at least once
//! 8. [`model`]: the verified bundle, tokenizer, ONNX Runtime session, calibration
//! 9. [`dumps`]: review dumps as they come, read as rows and written again; [`report`]: the scored rows of a dump in figures, in bounded memory, and these on one page
//! 10. [`telemetry`]: log lines, traces, one [`Metrics`](telemetry::Metrics)
//! 11. [`files`]: files that only their owner reads; [`secret_url`]: URLs that are printed without their secrets; `visible`: texts that a terminal only shows; `turns`: a limited number of turns, shared fairly
//!
//! What stays true:
//!
//! - One scoring path: unary, batch and command line give the same numbers for the same text, to the bit on one
//!   machine. The model's int8 scales are fixed in its graph, so neither company nor padding moves a score.
//! - Training reads its text through `arom normalize`, which is [`text::normalize`].
//! - The queue is bounded in tokens and in waiting time, says when it is full, and drops at once what nobody waits for.
//! - A caller's deadline ends the caller's wait, never work that others share.
//! - The scorer that serves, and with it the catalogue, is swapped between two calls; a call keeps the one it began with.
//! - A dump is scored row by row in its order; a run that was stopped ends with the bytes of one that was not.
//! - A bundle that does not match its manifest is refused, naming the file and the field.
//! - No text is logged or kept: the cache holds scores under a keyed hash.
//! - Nothing leaves the machine that no setting asks for: ONNX Runtime is not loaded while its telemetry is on.
//! - `text`, `conversation`, `report`, `profile` (but for its store and writer), the queue, the windows and the calibration name no tokio, no tonic, no clock and no file.
//!   `model/session.rs` alone names `ort`, `model/tokenizer.rs` alone `tokenizers`,
//!   `text/phrases.rs` alone `aho_corasick`, `profile/storage/disk.rs` alone fjall, `profile/book.rs` and `scoring/cache.rs` alone moka, `sinks/webhook.rs` alone ureq, `cli/chat/html.rs` and `report/page.rs` alone maud, `grpc/status.rs` alone tonic's codes.
//!   `tests/it/layering.rs` checks this.

pub mod cli;
pub mod config;
pub mod conversation;
pub mod descriptors;
pub mod dumps;
pub mod files;
pub mod grpc;
pub mod http;
pub mod model;
pub mod net;
pub mod profile;
pub mod report;
pub mod scoring;
pub mod secret_url;
pub mod sinks;
pub mod telemetry;
pub mod text;
pub(crate) mod turns;
pub(crate) mod visible;
#[cfg(test)]
mod work;
