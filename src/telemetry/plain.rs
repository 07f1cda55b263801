//! Metrics in the older text format of Prometheus, made from the OpenMetrics text: what a scraper gets that does not ask for the newer.

use std::collections::HashSet;

/// OpenMetrics text as text format 0.0.4. A counter's family is named like its samples there, and there are neither units nor a
/// last line.
pub(super) fn plain(openmetrics: &str) -> String {
    let kinds = openmetrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let counters: HashSet<&str> =
        kinds.filter(|(_, kind)| *kind == "counter").map(|(name, _)| name).collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let described = ["# HELP ", "# TYPE "].into_iter().find_map(|head| {
            let (name, rest) = line.strip_prefix(head)?.split_once(' ')?;
            Some((head, name, rest))
        });
        match described {
            Some((head, name, rest)) => {
                let total = if counters.contains(name) { "_total" } else { "" };
                let rest = if head == "# TYPE " && rest == "unknown" { "untyped" } else { rest };
                text.extend([head, name, total, " ", rest, "\n"]);
            }
            None if line.starts_with('#') => {}
            None => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_like_their_samples_and_units_are_gone() {
        let openmetrics = "# HELP a_calls Calls.\n# TYPE a_calls counter\na_calls_total{x=\"# y\"} 3\n\
            # HELP a_wait_seconds Waits.\n# TYPE a_wait_seconds histogram\n# UNIT a_wait_seconds seconds\n\
            a_wait_seconds_bucket{le=\"+Inf\"} 1\n# TYPE a_open gauge\na_open 1\n# EOF\n";
        let text = "# HELP a_calls_total Calls.\n# TYPE a_calls_total counter\na_calls_total{x=\"# y\"} 3\n\
            # HELP a_wait_seconds Waits.\n# TYPE a_wait_seconds histogram\n\
            a_wait_seconds_bucket{le=\"+Inf\"} 1\n# TYPE a_open gauge\na_open 1\n";
        assert_eq!(plain(openmetrics), text);
    }
}
