//! A model whose runs begin, wait, fail and end when the test says so.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use arom::model::{Inference, Label, Logits, SessionError, TokenId};
use arom::scoring::{Scorer, ScoringConfig};
use arom::telemetry::Metrics;
use tokio::sync::watch;

use crate::support::{PATIENCE, bundle};

/// What a run of the model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Gives logits that depend on the row alone.
    Answer,
    /// Waits until the script gives another turn, or lets it go with [`Script::release`].
    Hold,
    /// Fails, as ONNX Runtime does.
    Fail,
    /// Panics, and so takes the worker with it.
    Panic,
    /// Gives one row of logits too few.
    Short,
}

type Rule = Box<dyn Fn(&[Vec<TokenId>]) -> Turn + Send>;

struct State {
    rule: Rule,
    /// Runs that may end although the rule holds them.
    released: usize,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Rows of each run that has begun, in the order in which they began.
    begun: watch::Sender<Vec<usize>>,
}

/// Decides what the model does. Clones are one script.
#[derive(Clone)]
pub struct Script(Arc<Shared>);

impl Script {
    /// One in which every run takes this turn.
    pub fn new(turn: Turn) -> Self {
        let state = State { rule: Box::new(move |_| turn), released: 0 };
        let begun = watch::Sender::new(Vec::new());
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), begun }))
    }

    /// Gives every run this turn from now on, those that are held included.
    pub fn all(&self, turn: Turn) {
        self.each(move |_| turn);
    }

    /// Decides by the rows of a run, from now on, those that are held included.
    pub fn each(&self, rule: impl Fn(&[Vec<TokenId>]) -> Turn + Send + 'static) {
        self.0.lock().rule = Box::new(rule);
        self.0.changed.notify_all();
    }

    /// Lets so many more runs end that the rule holds.
    pub fn release(&self, runs: usize) {
        self.0.lock().released += runs;
        self.0.changed.notify_all();
    }

    /// Waits until so many runs have begun, ended ones included.
    pub async fn begun(&self, runs: usize) {
        let mut begun = self.0.begun.subscribe();
        let waited = tokio::time::timeout(PATIENCE, begun.wait_for(|begun| begun.len() >= runs)).await;
        let seen = self.0.begun.borrow().len();
        waited.unwrap_or_else(|_| panic!("{seen} of {runs} runs have begun")).expect("the script is here");
    }

    /// How many runs have begun.
    pub fn runs(&self) -> usize {
        self.0.begun.borrow().len()
    }

    /// Rows of all runs that have begun.
    pub fn rows(&self) -> usize {
        self.0.begun.borrow().iter().sum()
    }

    /// A scorer of the shipped bundle with this model, of as many workers as the settings say.
    pub fn scorer(&self, config: &ScoringConfig, metrics: Arc<Metrics>) -> Scorer {
        let session = |_| Box::new(Session(Arc::clone(&self.0))) as Box<dyn Inference>;
        let sessions = (0..config.workers).map(session).collect();
        Scorer::with_sessions(bundle(), sessions, config, metrics).expect("the shipped tokenizer fits")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A run that panics does so with the lock given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's model.
struct Session(Arc<Shared>);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scripted")
    }
}

impl Inference for Session {
    fn run(&mut self, rows: &[Vec<TokenId>], _padding: TokenId) -> Result<Vec<Logits>, SessionError> {
        self.0.begun.send_modify(|begun| begun.push(rows.len()));
        let answers = rows.iter().map(|row| logits(row));
        match self.turn(rows) {
            Turn::Answer => Ok(answers.collect()),
            Turn::Short => Ok(answers.skip(1).collect()),
            Turn::Fail => Err(SessionError::Infer {
                rows: rows.len(),
                length: rows.iter().map(Vec::len).max().unwrap_or_default(),
                cause: io::Error::other("the script says so").into(),
            }),
            Turn::Panic => panic!("the script says so"),
            Turn::Hold => unreachable!("a held run waits for another turn"),
        }
    }
}

impl Session {
    fn turn(&self, rows: &[Vec<TokenId>]) -> Turn {
        let mut state = self.0.lock();
        loop {
            match (state.rule)(rows) {
                Turn::Hold if state.released > 0 => {
                    state.released -= 1;
                    return Turn::Answer;
                }
                Turn::Hold => {
                    // A test that failed may leave runs held: they must not hang its end for ever.
                    let patience = 2 * PATIENCE;
                    let (after, waited) =
                        self.0.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
                    state = after;
                    if waited.timed_out() {
                        return Turn::Fail;
                    }
                }
                turn @ (Turn::Answer | Turn::Fail | Turn::Panic | Turn::Short) => return turn,
            }
        }
    }
}

/// Logits that tell rows apart.
fn logits(row: &[TokenId]) -> Logits {
    let hash = row.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, id| {
        (hash ^ id.unsigned_abs()).wrapping_mul(0x0000_0100_0000_01B3)
    });
    std::array::from_fn::<_, { Label::COUNT }, _>(|class| {
        f32::from(u8::try_from(hash >> (8 * class + 24) & 0xFF).expect("a byte")) / 64.0
    })
}
