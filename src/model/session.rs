//! ONNX Runtime: the only file that names `ort`.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights};
use ort::value::{DynValue, Outlet, Tensor, TensorElementType, TensorRef, ValueType};

use super::weights::{Values, Weight, large_weights};
use super::{Bundle, Label, RuntimeError, TokenId, locate_runtime, runtime_telemetry};

/// The logits of one row, in the order of the bundle's labels.
pub type Logits = [f32; Label::COUNT];

/// The loaded ONNX Runtime library.
#[derive(Clone, Debug)]
pub struct Runtime {
    environment: Environment,
}

/// A bundle's graph with its weights in memory once, however many sessions run it.
pub struct Model<'a> {
    runtime: Runtime,
    bundle: &'a Bundle,
    weights: Vec<(String, Arc<DynValue>)>,
    prepacked: PrepackedWeights,
}

/// A model ready to run on one thread.
#[derive(Debug)]
pub struct Session {
    inner: ort::session::Session,
    input_ids: String,
    attention_mask: String,
    logits: String,
}

/// Why a session could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// ONNX Runtime refused the graph.
    #[error("ONNX Runtime cannot load model.onnx of bundle {bundle}")]
    Load {
        /// The bundle.
        bundle: String,
        /// What it said.
        #[source]
        cause: ort::Error,
    },
    /// The graph is not of the shape that the manifest describes.
    #[error("model.onnx of bundle {bundle}: {problem}")]
    Graph {
        /// The bundle.
        bundle: String,
        /// What does not fit.
        problem: String,
    },
    /// Inference failed.
    #[error("model refused a batch of {rows} rows of {length} tokens")]
    Infer {
        /// Rows in the batch.
        rows: usize,
        /// Tokens in each row, padding included.
        length: usize,
        /// Why.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
}

impl Runtime {
    /// Loads the library, once per process; later calls give the first one's result.
    ///
    /// ONNX Runtime sends telemetry unless the environment says otherwise before it is loaded, so this refuses where
    /// the variable [`TELEMETRY_OFF`](super::TELEMETRY_OFF) is not set. A program that embeds Arom calls
    /// [`restart_without_telemetry`](super::restart_without_telemetry) first in its `main`.
    ///
    /// # Errors
    ///
    /// If the library would send telemetry, if there is none, or it is no ONNX Runtime of a version that fits.
    pub fn load(library: Option<&Path>) -> Result<Self, RuntimeError> {
        // ONNX Runtime allows one environment per process, so it is kept for ever.
        static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
        if !runtime_telemetry::is_off() {
            return Err(RuntimeError::Telemetry);
        }
        let library = locate_runtime(library)?;
        if let Some(environment) = ENVIRONMENT.get() {
            return Ok(Self { environment: environment.clone() });
        }
        let environment = Self::environment(&library)
            .map_err(|cause| RuntimeError::Unusable { library: library.clone(), cause })?;
        Ok(Self { environment: ENVIRONMENT.get_or_init(|| environment).clone() })
    }

    fn environment(library: &Path) -> Result<Environment, Box<dyn Error + Send + Sync>> {
        // The thread options are made by the library, so it is loaded first. Every session runs on its
        // worker's own thread: the shared pool stays empty.
        let builder = ort::init_from(library)?;
        let threads = GlobalThreadPoolOptions::default().with_intra_threads(1)?.with_spin_control(false)?;
        // The variable keeps all telemetry off; this alone would come after the first event.
        Ok(builder.with_telemetry(false).with_global_thread_pool(threads).build()?)
    }
}

impl fmt::Debug for Model<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.weights.len();
        f.debug_struct("Model").field("bundle", &self.bundle.fingerprint).field("shared", &shared).finish()
    }
}

impl<'a> Model<'a> {
    /// Puts the weights of a bundle where all its sessions read them.
    ///
    /// # Errors
    ///
    /// If ONNX Runtime does not take a weight.
    pub fn load(runtime: &Runtime, bundle: &'a Bundle) -> Result<Self, SessionError> {
        let shared = |weight: Weight| Ok((weight.name.clone(), Arc::new(value(weight)?)));
        let weights = large_weights(&bundle.model).into_iter().map(shared).collect::<ort::Result<_>>();
        Ok(Self {
            runtime: runtime.clone(),
            bundle,
            weights: weights
                .map_err(|cause| SessionError::Load { bundle: bundle.fingerprint.clone(), cause })?,
            prepacked: PrepackedWeights::new(),
        })
    }

    /// Builds a session and checks it against the manifest.
    ///
    /// # Errors
    ///
    /// If the graph cannot be loaded, its tensors are not those of the manifest, or its embedding has not as
    /// many rows as the vocabulary has pieces.
    pub fn session(&self) -> Result<Session, SessionError> {
        let bundle = self.bundle;
        let name = || bundle.fingerprint.clone();
        let inner = self.build().map_err(|cause| SessionError::Load { bundle: name(), cause })?;
        let tensors = &bundle.manifest.tensors;
        let graph = |problem| SessionError::Graph { bundle: name(), problem };
        let mut session = Session {
            input_ids: tensors.input_ids.clone(),
            attention_mask: tensors.attention_mask.clone(),
            logits: tensors.logits.clone(),
            inner,
        };
        session.verify_tensors().map_err(graph)?;
        session.verify_vocabulary(bundle.manifest.vocabulary_size).map_err(graph)?;
        Ok(session)
    }

    fn build(&self) -> ort::Result<ort::session::Session> {
        let mut builder = ort::session::Session::builder(&self.runtime.environment)?
            .with_optimization_level(GraphOptimizationLevel::Level3)?
            // What goes wrong comes back as a result; the probe of the vocabulary goes wrong on purpose.
            .with_log_level(LogLevel::Fatal)?
            .with_prepacked_weights(&self.prepacked)?;
        for (name, weight) in &self.weights {
            builder = builder.with_initializer(name, Arc::clone(weight))?;
        }
        builder.commit_from_memory(&self.bundle.model)
    }
}

fn value(weight: Weight) -> ort::Result<DynValue> {
    Ok(match weight.values {
        Values::Float32(values) => Tensor::from_array((weight.shape, values))?.into_dyn(),
        Values::Int8(values) => Tensor::from_array((weight.shape, values))?.into_dyn(),
    })
}

impl Session {
    fn verify_tensors(&self) -> Result<(), String> {
        let check =
            |field: &str, name: &str, outlets: &[Outlet], wanted: (TensorElementType, Option<i64>)| {
                let found = outlets.iter().find(|outlet| outlet.name() == name).map(Outlet::dtype);
                let Some(ValueType::Tensor { ty, shape, .. }) = found else {
                    let have: Vec<&str> = outlets.iter().map(Outlet::name).collect();
                    return Err(format!("field `tensors.{field}` names {name}, the graph has {have:?}"));
                };
                let width_fits = wanted.1.is_none_or(|width| shape.last() == Some(&width));
                if *ty == wanted.0 && shape.len() == 2 && width_fits {
                    return Ok(());
                }
                let columns = wanted.1.map_or("length".to_owned(), |width| width.to_string());
                Err(format!("tensor {name} is {ty} {shape:?}, it must be {} [batch, {columns}]", wanted.0))
            };
        let (inputs, outputs) = (self.inner.inputs(), self.inner.outputs());
        check("input_ids", &self.input_ids, inputs, (TensorElementType::Int64, None))?;
        check("attention_mask", &self.attention_mask, inputs, (TensorElementType::Int64, None))?;
        let classes = i64::try_from(Label::COUNT).ok();
        check("logits", &self.logits, outputs, (TensorElementType::Float32, classes))
    }

    /// The embedding must hold the last id of the vocabulary and refuse the next: run with both, since a
    /// graph does not say how large its weights are.
    fn verify_vocabulary(&mut self, vocabulary_size: usize) -> Result<(), String> {
        let size = TokenId::try_from(vocabulary_size).map_err(|_| "vocabulary too large".to_owned())?;
        let mut holds = |id: TokenId| self.run(&[vec![id; 3]], 0).is_ok();
        if !holds(size - 1) {
            return Err(format!("its embedding has fewer rows than `vocabulary_size` = {size}"));
        }
        if holds(size) {
            return Err(format!("its embedding has more rows than `vocabulary_size` = {size}"));
        }
        Ok(())
    }

    /// Runs the model on rows of token ids, filling the short ones with `padding`.
    ///
    /// # Errors
    ///
    /// If ONNX Runtime fails, for example on an id outside the embedding.
    pub fn run(&mut self, rows: &[Vec<TokenId>], padding: TokenId) -> Result<Vec<Logits>, SessionError> {
        let length = rows.iter().map(Vec::len).max().unwrap_or(0);
        let fill = |row: &Vec<TokenId>, value| std::iter::repeat_n(value, length - row.len());
        let ids: Vec<i64> =
            rows.iter().flat_map(|row| row.iter().copied().chain(fill(row, padding))).collect();
        let mask: Vec<i64> = rows.iter().flat_map(|row| row.iter().map(|_| 1).chain(fill(row, 0))).collect();
        self.infer([rows.len(), length], &ids, &mask).map_err(|cause| SessionError::Infer {
            rows: rows.len(),
            length,
            cause: cause.into(),
        })
    }

    fn infer(&mut self, shape: [usize; 2], ids: &[i64], mask: &[i64]) -> ort::Result<Vec<Logits>> {
        let outputs = self.inner.run(ort::inputs![
            self.input_ids.as_str() => TensorRef::from_array_view((shape, ids))?,
            self.attention_mask.as_str() => TensorRef::from_array_view((shape, mask))?,
        ])?;
        let output = outputs
            .get(&self.logits)
            .ok_or_else(|| ort::Error::new(format!("no output named {}", self.logits)))?;
        let (_, values) = output.try_extract_tensor::<f32>()?;
        let (rows, rest) = values.as_chunks::<{ Label::COUNT }>();
        debug_assert!(rest.is_empty(), "the output's width was checked when the session was opened");
        Ok(rows.to_vec())
    }
}
