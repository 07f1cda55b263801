//! A model bundle on disk: read, verified file by file, or refused with the file and field at fault.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Calibration, Distributions, Label};
use crate::files::read_plain;

/// The manifest format this version reads.
pub const BUNDLE_FORMAT: u32 = 1;

const MANIFEST: &str = "manifest.toml";
const MODEL: &str = "model.onnx";
const TOKENIZER: &str = "tokenizer.json";

/// What `manifest.toml` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this file's own shape; [`BUNDLE_FORMAT`].
    pub format: u32,
    /// Name of the bundle: lower-case letters, digits and hyphens.
    pub name: String,
    /// What the model is, in a sentence.
    pub description: String,
    /// The classes, in the order of the model's outputs.
    pub labels: Vec<String>,
    /// Tokens in one window, special tokens included.
    pub max_tokens: usize,
    /// Tokens that neighbouring windows of a long text share.
    pub window_overlap: usize,
    /// Rows of the model's embedding, and pieces of the tokenizer.
    pub vocabulary_size: usize,
    /// The sha256 of each file, in hexadecimal.
    pub files: BTreeMap<String, String>,
    /// Names of the graph's inputs and output.
    pub tensors: TensorNames,
    /// From logits to probabilities.
    pub calibration: Calibration,
    /// Where the weights come from.
    pub base: Origin,
    /// What the model was taught on.
    pub training: Origin,
    /// What was measured, on which data; nothing yet while a bundle is being made.
    #[serde(default)]
    pub metrics: Vec<Measured>,
    /// How to make the bundle again.
    pub reproduce: String,
    /// The validation texts, as this model sees them: what later texts are compared with. Without them drift is not shown.
    #[serde(default)]
    pub reference: Option<Distributions>,
}

/// Names of the graph's inputs and output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorNames {
    /// int64 `[batch, length]`: token ids.
    pub input_ids: String,
    /// int64 `[batch, length]`: 1 for a token, 0 for padding.
    pub attention_mask: String,
    /// float32 `[batch, labels]`.
    pub logits: String,
}

/// Where something comes from and on what terms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Its name.
    pub name: String,
    /// Its licence, as an SPDX expression.
    pub licence: String,
    /// Where it is found.
    pub source: String,
}

/// Figures measured on one data set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The data set.
    pub data: String,
    /// The command that printed the figures.
    pub command: String,
    /// The figures by name.
    pub figures: BTreeMap<String, f64>,
}

/// A manifest that is larger is none.
const MANIFEST_BYTES: u64 = 1 << 20;

/// A tokenizer that is larger is none: that of a million pieces has less.
const TOKENIZER_BYTES: u64 = 64 << 20;

/// ONNX, which is protobuf, has no larger files.
const MODEL_BYTES: u64 = 2 << 30;

/// A bundle whose files are what its manifest says.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The manifest.
    pub manifest: Manifest,
    /// The labels, in the order of the model's outputs.
    pub labels: [Label; Label::COUNT],
    /// "name@0123456789ab": the name and the start of the manifest's own sha256. Since the manifest holds the
    /// hash of every file, two bundles that could score differently differ here.
    pub fingerprint: String,
    /// The folder it was read from.
    pub folder: PathBuf,
    pub(super) model: Vec<u8>,
    pub(super) tokenizer: Vec<u8>,
}

/// Why a bundle was refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file is missing or cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The manifest is not TOML of the expected shape.
    #[error("{} is not a manifest of format {BUNDLE_FORMAT}", file.display())]
    Parse {
        /// The manifest.
        file: PathBuf,
        /// The line and what is wrong with it.
        #[source]
        cause: Box<toml::de::Error>,
    },
    /// A field of the manifest has a value that cannot be.
    #[error("{}: field `{field}` {problem}", file.display())]
    Field {
        /// The manifest.
        file: PathBuf,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is not the one the manifest was written for.
    #[error(
        "{} does not match its manifest: sha256 is {actual}, `files.\"{name}\"` says {expected}; \
         fetch the bundle again", file.display()
    )]
    Checksum {
        /// The file.
        file: PathBuf,
        /// Its name in the manifest.
        name: &'static str,
        /// The hash in the manifest.
        expected: String,
        /// The hash of the file.
        actual: String,
    },
}

impl Bundle {
    /// Reads a bundle and verifies everything that can be known without running the model.
    ///
    /// # Errors
    ///
    /// Any fault is an error that names the file and the field; nothing is repaired or guessed.
    pub fn read(folder: &Path) -> Result<Self, BundleError> {
        let file = folder.join(MANIFEST);
        let bytes = read(&file, MANIFEST_BYTES)?;
        let parse = |cause| BundleError::Parse { file: file.clone(), cause: Box::new(cause) };
        let manifest: Manifest = toml::from_slice(&bytes).map_err(parse)?;
        let labels = verify_fields(&manifest).map_err(|(field, problem)| BundleError::Field {
            file: file.clone(),
            field,
            problem,
        })?;
        let verified = |name: &'static str, most: u64| {
            let path = folder.join(name);
            let expected = manifest.files.get(name).cloned().ok_or_else(|| BundleError::Field {
                file: file.clone(),
                field: "files",
                problem: format!("has no entry for {name}"),
            })?;
            let bytes = read(&path, most)?;
            let actual = sha256(&bytes);
            if actual != expected {
                return Err(BundleError::Checksum { file: path, name, expected, actual });
            }
            Ok(bytes)
        };
        let (model, tokenizer) = (verified(MODEL, MODEL_BYTES)?, verified(TOKENIZER, TOKENIZER_BYTES)?);
        let digest = sha256(&bytes);
        let fingerprint = format!("{}@{}", manifest.name, digest.get(..12).unwrap_or(&digest));
        Ok(Self { labels, fingerprint, folder: folder.to_owned(), model, tokenizer, manifest })
    }
}

fn verify_fields(manifest: &Manifest) -> Result<[Label; Label::COUNT], (&'static str, String)> {
    if manifest.format != BUNDLE_FORMAT {
        let found = manifest.format;
        return Err(("format", format!("is {found}; this version of arom reads {BUNDLE_FORMAT}")));
    }
    let name = &manifest.name;
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(("name", format!("is {name:?}; use lower-case letters, digits and hyphens")));
    }
    let labels = verify_labels(&manifest.labels)?;
    // Below this a window could not hold its special tokens and move on.
    if !(8..=512).contains(&manifest.max_tokens) {
        return Err(("max_tokens", format!("is {}; it must be 8 to 512", manifest.max_tokens)));
    }
    if manifest.window_overlap > manifest.max_tokens / 2 {
        let problem = format!("is {}; it may be at most half of max_tokens", manifest.window_overlap);
        return Err(("window_overlap", problem));
    }
    manifest.calibration.verify().map_err(|problem| ("calibration", problem))?;
    if let Some(reference) = &manifest.reference {
        reference.verify().map_err(|problem| ("reference", problem))?;
    }
    Ok(labels)
}

fn verify_labels(names: &[String]) -> Result<[Label; Label::COUNT], (&'static str, String)> {
    let problem = || {
        let wanted = Label::ALL.map(Label::name).join(", ");
        ("labels", format!("is {names:?}; it must name each of {wanted} once"))
    };
    let labels: Vec<Label> =
        names.iter().map(|name| Label::from_name(name)).collect::<Option<_>>().ok_or_else(problem)?;
    if !Label::ALL.iter().all(|label| labels.contains(label)) {
        return Err(problem());
    }
    labels.try_into().map_err(|_| problem())
}

fn read(file: &Path, most: u64) -> Result<Vec<u8>, BundleError> {
    read_plain(file, most).map_err(|cause| BundleError::Read { file: file.to_owned(), cause })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
