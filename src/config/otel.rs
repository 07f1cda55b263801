//! What OpenTelemetry's environment variables say of Arom's settings, where Arom's own sources say nothing.
//!
//! The names and meanings are those of its specification ("Environment variable specification", "OTLP exporter
//! configuration"). Variables that the SDK reads by itself are listed in `telemetry/traces.rs`.

use super::layers::{Said, Source};

/// The samplers that the SDK has.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

/// What the variables say.
#[derive(Debug, Default)]
pub(super) struct Otel {
    /// Values of keys, below those of the settings file.
    pub(super) said: Vec<(&'static str, Said)>,
    /// Whether nothing may be sent, whatever else is set.
    pub(super) disabled: bool,
    /// Whether `OTEL_TRACES_SAMPLER` is set.
    pub(super) sampler: bool,
    /// What is wrong with them; it only counts if traces are sent.
    pub(super) faults: Vec<String>,
}

impl Otel {
    /// What the environment of this process says.
    #[allow(clippy::disallowed_methods, reason = "settings are what the environment is read for")]
    pub(super) fn of_environment() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the variables; one that is empty is not set.
    pub(super) fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let says =
            |name: &str, word: &str| lookup(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
        let mut otel = Self {
            disabled: says("OTEL_SDK_DISABLED", "true") || says("OTEL_TRACES_EXPORTER", "none"),
            ..Self::default()
        };
        let mut first = |key: &'static str, names: [&'static str; 2]| {
            let found = names.into_iter().find_map(|name| Some((name, lookup(name)?)));
            if let Some((name, value)) = found {
                otel.said.push((key, Said { value, source: Source::Variable(name) }));
            }
        };
        first("trace.otlp_endpoint", ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]);
        first(
            "trace.otlp_ca_file",
            ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"],
        );
        if let Some((name, protocol)) = PROTOCOLS.into_iter().find_map(|name| Some((name, lookup(name)?)))
            && protocol != "grpc"
        {
            otel.faults.push(format!(
                "environment variable {name}: {protocol:?} is not grpc, and Arom sends traces over gRPC alone; set it to \
                 grpc and the endpoint to the collector's port for gRPC, usually 4317"
            ));
        }
        if let Some(sampler) = lookup("OTEL_TRACES_SAMPLER") {
            otel.sampler = true;
            if !SAMPLERS.contains(&sampler.as_str()) {
                otel.faults.push(format!(
                    "environment variable OTEL_TRACES_SAMPLER: {sampler:?} is not one of {}",
                    SAMPLERS.join(", ")
                ));
            }
            let share = lookup("OTEL_TRACES_SAMPLER_ARG").unwrap_or_else(|| "1".to_owned());
            if sampler.ends_with("ratio")
                && !share.parse::<f64>().is_ok_and(|share| (0.0..=1.0).contains(&share))
            {
                otel.faults.push(format!(
                    "environment variable OTEL_TRACES_SAMPLER_ARG: {share:?} is not a number within 0 to 1"
                ));
            }
        }
        otel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Otel {
        Otel::read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_variable_of_traces_goes_before_that_of_all_signals_and_an_empty_one_is_none() {
        let both = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", ""),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
        ];
        let said = read(&both).said;
        let said: Vec<_> = said.iter().map(|(key, said)| (*key, said.value.as_str())).collect();
        assert_eq!(said, [("trace.otlp_endpoint", "http://traces:4317"), ("trace.otlp_ca_file", "ca.pem")]);
        assert!(read(&[]).said.is_empty());
    }

    #[test]
    fn what_cannot_be_is_named_with_its_variable() {
        for (variables, wanted) in [
            (vec![("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], Some("OTEL_EXPORTER_OTLP_PROTOCOL")),
            (
                vec![("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "x")],
                None,
            ),
            (vec![("OTEL_TRACES_SAMPLER", "jaeger_remote")], Some("OTEL_TRACES_SAMPLER")),
            (vec![("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")], Some("_ARG")),
            (vec![("OTEL_TRACES_SAMPLER", "traceidratio")], None),
            (vec![("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_TRACES_SAMPLER_ARG", "x")], None),
        ] {
            let faults = read(&variables).faults.join("\n");
            assert!(
                wanted.map_or(faults.is_empty(), |part| faults.contains(part)),
                "{variables:?}: {faults}"
            );
        }
    }

    #[test]
    fn one_word_silences_all() {
        assert!(read(&[("OTEL_SDK_DISABLED", "TRUE")]).disabled);
        assert!(read(&[("OTEL_TRACES_EXPORTER", "none")]).disabled);
        assert!(!read(&[("OTEL_SDK_DISABLED", "1")]).disabled, "the specification knows true alone");
    }
}
