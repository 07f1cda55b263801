use super::*;

/// A process in which everything that has a metric has happened.
fn all() -> Metrics {
    let metrics = Metrics::default();
    metrics.request_done("AnalyzeSentiment", "OK", Duration::ZERO);
    metrics.item_done("AnalyzeSentiment", "OK");
    metrics.request_unread("UNREADABLE_MESSAGE");
    metrics.call_refused("calls");
    metrics.model_serves("model", None);
    drop(metrics.drift.get_or_create(&Drifting { of: "labels" }));
    drop(metrics.profile_signals.get_or_create(&Signalled { kind: "mood_fell", phase: "raised" }));
    metrics.sink_done("webhook", "dead", 1);
    metrics.sink_stands("webhook", 1);
    metrics
}

/// Name and type of each metric, as the first two cells of a row of docs/metrics.md.
fn rows(page: &str) -> Vec<String> {
    let kinds = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    kinds.map(|(name, kind)| format!("| `{name}` | {kind} |")).collect()
}

#[test]
fn docs_name_every_metric_and_no_other() {
    let docs = include_str!("../../../docs/metrics.md");
    let mut documented: Vec<&str> = docs.lines().filter(|line| line.starts_with("| `arom_")).collect();
    let rows = rows(&all().render_plain());
    for row in &rows {
        let before = documented.len();
        documented.retain(|line| !line.starts_with(row.as_str()));
        assert_eq!(before - documented.len(), 1, "docs/metrics.md: rows that begin with {row}");
    }
    assert!(documented.is_empty(), "docs/metrics.md: these metrics do not exist: {documented:#?}");
    // A family without a value is not on the page: then `all` lacks it.
    let sources = [include_str!("../metrics.rs"), include_str!("../connections.rs")].concat();
    let registered = sources.matches("registry.register(").count()
        + sources.matches("registry.register_with_unit(").count();
    assert_eq!(rows.len(), registered);
}
