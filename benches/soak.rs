//! Ten minutes of mixed load: single calls, batches, streams, callers who leave, and bursts beyond what the server can
//! do. Every accepted text must be answered once, under its own id, and memory must stay flat.
//!
//! ```sh
//! make bench-soak            # SOAK_MINUTES=1 make bench-soak for a short one
//! ```
//!
//! Texts are those of bench-serving; every other one is made unique, so that the cache (8 MiB) is used and filled. Writes
//! target/bench/soak.json.

#![allow(clippy::expect_used, clippy::cast_precision_loss, reason = "a benchmark that panics has failed")]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arom::grpc::v1::batch_analyze_sentiment_result::Outcome;
use arom::grpc::v1::stream_analyze_sentiment_response::Outcome as Streamed;
use arom::grpc::v1::{AnalyzeSentimentRequest, BatchAnalyzeSentimentRequest, StreamAnalyzeSentimentRequest};
use futures_util::{StreamExt, stream};
use tonic::Code;

use support::{Client, Figure, Server, report, request, texts};

/// What was seen over the whole run.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    refused: AtomicU64,
    left: AtomicU64,
    next: AtomicU64,
}

#[derive(Clone)]
struct Load {
    client: Client,
    texts: Arc<Vec<String>>,
    tally: Arc<Tally>,
    end: Instant,
}

impl Load {
    /// The next text, under an id of its own.
    fn next(&self) -> AnalyzeSentimentRequest {
        let id = self.tally.next.fetch_add(1, Ordering::Relaxed);
        let at = usize::try_from(id).expect("a small number") % self.texts.len();
        let text = self.texts.get(at).cloned().unwrap_or_default();
        let text = if id.is_multiple_of(2) { text } else { format!("{text} ครั้งที่ {id}") };
        AnalyzeSentimentRequest { message_id: id.to_string(), ..request(&text) }
    }

    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    async fn single(self) {
        while self.goes_on() {
            let asked = self.next();
            let id = asked.message_id.clone();
            match self.client.clone().analyze_sentiment(asked).await {
                Ok(answer) => {
                    assert_eq!(answer.into_inner().message_id, id);
                    self.tally.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                    self.tally.refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn batches(self) {
        while self.goes_on() {
            let requests: Vec<_> = (0..64).map(|_| self.next()).collect();
            let ids: Vec<String> = requests.iter().map(|request| request.message_id.clone()).collect();
            let batch = BatchAnalyzeSentimentRequest { requests };
            let results =
                self.client.clone().batch_analyze_sentiment(batch).await.expect("answered").into_inner();
            assert_eq!(results.results.len(), ids.len());
            for (result, id) in results.results.into_iter().zip(ids) {
                match result.outcome.expect("an outcome") {
                    Outcome::Response(answer) => {
                        assert_eq!(answer.message_id, id);
                        self.tally.answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Outcome::Error(status) => {
                        assert_eq!(status.code, Code::ResourceExhausted as i32, "{status:?}");
                        self.tally.refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Streams of 500 texts; every fourth is left in the middle.
    async fn streams(self) {
        for round in 1_u64.. {
            if !self.goes_on() {
                break;
            }
            let items: Vec<_> = (0..500)
                .map(|_| StreamAnalyzeSentimentRequest {
                    request: Some(self.next()),
                    in_order: round % 2 == 0,
                })
                .collect();
            let mut open: HashSet<String> = items
                .iter()
                .flat_map(|item| &item.request)
                .map(|request| request.message_id.clone())
                .collect();
            let answers = self.client.clone().stream_analyze_sentiment(stream::iter(items)).await;
            let mut answers = answers.expect("it opens").into_inner();
            while let Some(answer) = answers.next().await {
                let answer = answer.expect("the stream goes on");
                assert!(open.remove(&answer.message_id), "{} was answered twice", answer.message_id);
                assert!(matches!(answer.outcome, Some(Streamed::Response(_))), "{answer:?}");
                self.tally.answered.fetch_add(1, Ordering::Relaxed);
                if round % 4 == 0 && open.len() < 250 {
                    break;
                }
            }
            self.tally.left.fetch_add(open.len() as u64, Ordering::Relaxed);
            assert!(round % 4 == 0 || open.is_empty(), "{} texts were never answered", open.len());
        }
    }

    /// Every twenty seconds three hundred calls at once.
    async fn bursts(self) {
        while self.goes_on() {
            let calls = stream::iter(0..300).for_each_concurrent(300, async |_| {
                let asked = self.next();
                match self.client.clone().analyze_sentiment(asked).await {
                    Ok(_) => self.tally.answered.fetch_add(1, Ordering::Relaxed),
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                        self.tally.refused.fetch_add(1, Ordering::Relaxed)
                    }
                };
            });
            calls.await;
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
    }
}

fn main() {
    #[allow(clippy::disallowed_methods, reason = "not a setting of arom")]
    let minutes: u64 = std::env::var("SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    // Small enough to be full after a minute.
    let server = Server::start(&["--cache-bytes", "8388608"]);
    let waiting = tokio::runtime::Runtime::new().expect("a runtime");
    let time = Duration::from_secs(60 * minutes);
    let tally = Arc::<Tally>::default();
    let mut memory = Vec::new();
    waiting.block_on(async {
        let texts = Arc::new(texts());
        let end = Instant::now() + time;
        let mut loads = tokio::task::JoinSet::new();
        for number in 0..12 {
            let load = Load {
                client: server.client().await,
                texts: Arc::clone(&texts),
                tally: Arc::clone(&tally),
                end,
            };
            match number {
                0..8 => loads.spawn(load.single()),
                8..10 => loads.spawn(load.batches()),
                10 => loads.spawn(load.streams()),
                _ => loads.spawn(load.bursts()),
            };
        }
        let mut minute = tokio::time::interval(Duration::from_secs(30));
        loop {
            tokio::select! {
                done = loads.join_next() => match done {
                    Some(done) => done.expect("nothing was lost, doubled or failed"),
                    None => break,
                },
                _ = minute.tick() => {
                    memory.push(server.memory().0);
                    let answered = tally.answered.load(Ordering::Relaxed);
                    println!("{answered:>8} answered, {:.0} MB", memory.last().copied().unwrap_or_default());
                }
            }
        }
    });
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed) as f64;
    let (answered, asked) = (count(&tally.answered), count(&tally.next));
    let lost = asked - answered - count(&tally.refused) - count(&tally.left);
    assert!(lost.abs() < 0.5, "{lost} texts were lost or doubled");
    // The cache fills in the first part of the run.
    let settled = memory.get(memory.len() / 3).copied().unwrap_or_default();
    let after = memory.last().copied().unwrap_or_default();
    report(
        "soak",
        &[
            Figure::beside("answered", answered, "texts", ("asked", asked)),
            Figure::beside("refused, with a delay", count(&tally.refused), "texts", ("asked", asked)),
            Figure::beside("left by their caller", count(&tally.left), "texts", ("asked", asked)),
            Figure::beside("lost or doubled", lost, "texts", ("asked", asked)),
            Figure::beside("memory at the end", after, "MB", ("after a third of the time", settled)),
        ],
    );
}
