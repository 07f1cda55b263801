//! Which services and methods there are, and what to say of those that are not.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::FileDescriptorSet;

use crate::grpc::v1;

/// What is shown of a name that a client sent.
const SHOWN_CHARS: usize = 48;

/// Every method of the gRPC port, by service.
#[derive(Debug)]
pub(super) struct Methods(BTreeMap<String, BTreeMap<String, Method>>);

/// What must be known of a method before it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method {
    /// Whether its request is a stream.
    pub(super) client_streams: bool,
    /// Whether its answer is a stream.
    pub(super) server_streams: bool,
}

/// What a path names that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::grpc) struct Missing {
    /// `UNKNOWN_SERVICE` or `UNKNOWN_METHOD`.
    pub(in crate::grpc) reason: &'static str,
    /// What there is instead.
    pub(in crate::grpc) message: String,
}

impl Methods {
    /// Those of this build.
    pub(super) fn all() -> Self {
        let sets = [
            v1::DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut services = BTreeMap::new();
        for set in sets {
            let set = FileDescriptorSet::decode(set).expect("a constant of this build");
            for file in set.file {
                let package = file.package().to_owned();
                for service in &file.service {
                    let methods = service.method.iter().map(|method| {
                        let client_streams = method.client_streaming();
                        let server_streams = method.server_streaming();
                        (method.name().to_owned(), Method { client_streams, server_streams })
                    });
                    services.insert(format!("{package}.{}", service.name()), methods.collect());
                }
            }
        }
        Self(services)
    }

    /// The method of a path.
    pub(super) fn find(&self, path: &str) -> Result<Method, Missing> {
        let (service, method) =
            path.strip_prefix('/').and_then(|path| path.split_once('/')).unwrap_or((path, ""));
        let Some(methods) = self.0.get(service) else {
            let known = self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let message = format!("no service {:?}; this server has {known}", shown(service));
            return Err(Missing { reason: "UNKNOWN_SERVICE", message });
        };
        methods.get(method).copied().ok_or_else(|| {
            let known = methods.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let message = format!("no method {:?} in {service}; it has {known}", shown(method));
            Missing { reason: "UNKNOWN_METHOD", message }
        })
    }
}

fn shown(name: &str) -> String {
    name.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let methods = Methods::all();
        for (path, reason, there) in [
            ("/arom.v1.Sentiment/AnalyzeSentiment", "UNKNOWN_SERVICE", "arom.v1.SentimentService"),
            ("/arom.v2.SentimentService/AnalyzeSentiment", "UNKNOWN_SERVICE", "grpc.health.v1.Health"),
            ("/", "UNKNOWN_SERVICE", "arom.v1.ProfileService"),
            ("", "UNKNOWN_SERVICE", "arom.v1.ProfileService"),
            ("/x", "UNKNOWN_SERVICE", "arom.v1.ProfileService"),
            ("/arom.v1.SentimentService/Analyze", "UNKNOWN_METHOD", "AnalyzeSentiment"),
            ("/arom.v1.SentimentService/", "UNKNOWN_METHOD", "BatchAnalyzeSentiment"),
            ("/arom.v1.SentimentService/AnalyzeSentiment/x", "UNKNOWN_METHOD", "AnalyzeSentiment"),
            ("/grpc.health.v1.Health/Checks", "UNKNOWN_METHOD", "Check"),
        ] {
            let missing = methods.find(path).expect_err(path);
            assert_eq!(missing.reason, reason, "{path}");
            assert!(missing.message.contains(there), "{}", missing.message);
        }
        let long = methods.find(&format!("/{}/x", "a".repeat(10_000))).expect_err("no such service");
        assert!(long.message.len() < 1_000);
    }

    #[test]
    fn methods_whose_request_is_a_stream_are_known() {
        let methods = Methods::all();
        for (path, client_streams) in [
            ("/arom.v1.SentimentService/AnalyzeSentiment", false),
            ("/arom.v1.SentimentService/StreamAnalyzeSentiment", true),
            ("/arom.v1.ProfileService/WatchProfiles", false),
            ("/grpc.health.v1.Health/Watch", false),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", true),
        ] {
            assert_eq!(methods.find(path).map(|method| method.client_streams), Ok(client_streams), "{path}");
        }
    }
}
