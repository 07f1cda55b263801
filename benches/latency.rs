//! Latency of single calls, idle and at 50, 80 and 300 % of what the server can do; start and memory.
//!
//! ```sh
//! make bench-latency
//! ```
//!
//! An open-loop generator sends calls at random moments whether or not earlier ones were answered, and counts latency
//! from the moment each was due. Capacity is what single calls reach with 64 at once, measured first in the same run,
//! the median of three passes.
//! Client and server share the CPUs; no cache. Texts as in bench-serving, in random order. Writes
//! target/bench/latency.json.

#![allow(clippy::expect_used, clippy::cast_precision_loss, reason = "a benchmark that panics has failed")]

mod support;

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};

use support::{
    Figure, OpenLoop, Server, median, milliseconds, one, open_loop, quantile, report, request, texts,
};

const TIME: Duration = Duration::from_secs(20);
const IDLE_CALLS: usize = 400;

fn main() {
    let texts = texts();
    let started = Instant::now();
    let server = Server::start(&["--cache-bytes", "0"]);
    let ready = started.elapsed();
    let waiting = tokio::runtime::Runtime::new().expect("a runtime");
    let client = waiting.block_on(server.client());
    let idle_memory = server.memory().0;
    let mut figures = Vec::new();

    let idle: Vec<f64> = waiting.block_on(async {
        let mut took = Vec::new();
        for text in texts.iter().take(IDLE_CALLS) {
            let asked = Instant::now();
            one(&client, text).await.expect("scored");
            took.push(milliseconds(asked.elapsed()));
        }
        took
    });
    let base = quantile(&idle, 0.5);
    for share in [0.5, 0.95, 0.99] {
        figures.push(Figure::beside(named("idle", share), quantile(&idle, share), "ms", ("idle p50", base)));
    }

    let rates = [(); 3].map(|()| {
        let started = Instant::now();
        waiting.block_on(stream::iter(&texts).for_each_concurrent(64, async |text| {
            one(&client, text).await.expect("64 at once are not too many");
        }));
        texts.len() as f64 / started.elapsed().as_secs_f64()
    });
    let capacity = median(&rates);
    figures.push(Figure::beside("capacity, 64 at once", capacity, "texts/s", ("itself", capacity)));

    let mut at_80 = 0.0;
    for load in [0.5, 0.8, 3.0] {
        let call = |text: String| {
            let mut client = client.clone();
            async move { client.analyze_sentiment(request(&text)).await.map(drop) }
        };
        let OpenLoop { accepted, refused, failed } =
            waiting.block_on(open_loop(capacity * load, TIME, &texts, call));
        assert!(
            failed.is_empty(),
            "{} failed otherwise than by a refusal: {:?}",
            failed.len(),
            failed.first()
        );
        let name = format!("{:.0} %", load * 100.0);
        if load < 1.0 {
            at_80 = quantile(&accepted, 0.99);
        }
        let (baseline, value) = if load < 1.0 { ("idle p50", base) } else { ("80 % p99", at_80) };
        for share in [0.5, 0.95, 0.99] {
            figures.push(Figure::beside(
                named(&name, share),
                quantile(&accepted, share),
                "ms",
                (baseline, value),
            ));
        }
        let rate = accepted.len() as f64 / TIME.as_secs_f64();
        figures.push(Figure::beside(format!("{name} answered"), rate, "texts/s", ("capacity", capacity)));
        let refusals = refused.len() as f64 / (accepted.len() + refused.len()) as f64;
        figures.push(Figure::beside(format!("{name} refused"), refusals, "share", ("all calls", 1.0)));
        if refused.len() > 100 {
            let p99 = quantile(&refused, 0.99);
            figures.push(Figure::against(format!("{name} p99 of refusals"), p99, "ms", 20.0));
        }
        figures.push(Figure::against(format!("{name} memory after"), server.memory().0, "MB", 350.0));
    }
    figures.push(Figure::against("memory idle", idle_memory, "MB", 350.0));
    figures.push(Figure::against("memory at most", server.memory().1, "MB", 350.0));
    figures.push(Figure::against("start to ready", ready.as_secs_f64(), "s", 1.0));
    report("latency", &figures);
}

fn named(load: &str, share: f64) -> String {
    format!("{load} p{:.0}", share * 100.0)
}
