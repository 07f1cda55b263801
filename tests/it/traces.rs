//! Traces: what a collector is sent, over plain and encrypted connections, and how it is asked for.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use arom::grpc::v1::AnalyzeSentimentRequest;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server as Transport, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

use crate::support::{PATIENCE, Process, arom, patient_client};

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT_ID: &str = "b7ad6b7169203331";

/// A collector that hands on what it is sent.
struct Receiving(mpsc::Sender<(MetadataMap, ExportTraceServiceRequest)>);

#[tonic::async_trait]
impl TraceService for Receiving {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, export) = request.into_parts();
        self.0.send((metadata, export)).await.expect("the test listens");
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// What a collector has been sent.
struct Collector {
    port: u16,
    exports: mpsc::Receiver<(MetadataMap, ExportTraceServiceRequest)>,
    metadata: MetadataMap,
    resource: Vec<KeyValue>,
    spans: Vec<Span>,
}

impl Collector {
    async fn start() -> Self {
        Self::with(Transport::builder()).await
    }

    /// One at `https`, whose certificate is for `localhost` and lies in a folder as `ca.pem`.
    async fn encrypted(folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        std::fs::write(folder.join("ca.pem"), made.cert.pem()).expect("written");
        let identity = Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem());
        let server = Transport::builder().tls_config(ServerTlsConfig::new().identity(identity));
        Self::with(server.expect("a certificate with its key")).await
    }

    async fn with(mut server: Transport) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (sender, exports) = mpsc::channel(64);
        let service = TraceServiceServer::new(Receiving(sender));
        tokio::spawn(server.add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
        let (metadata, resource, spans) = (MetadataMap::default(), Vec::new(), Vec::new());
        Self { port, exports, metadata, resource, spans }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits until a span of that name, or the end of it, was sent.
    async fn span(&mut self, name: &str) -> Span {
        loop {
            if let Some(span) = self.spans.iter().find(|span| span.name.ends_with(name)) {
                return span.clone();
            }
            let export = tokio::time::timeout(PATIENCE, self.exports.recv()).await;
            let (metadata, export) = export.unwrap_or_else(|_| panic!("no span {name}")).expect("an export");
            self.metadata = metadata;
            for sent in export.resource_spans {
                self.resource = sent.resource.expect("a resource").attributes;
                self.spans.extend(sent.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
    }
}

fn value(attributes: &[KeyValue], key: &str) -> Option<Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value
}

/// The text of an attribute, or `""`.
fn words(attributes: &[KeyValue], key: &str) -> String {
    match value(attributes, key) {
        Some(Value::StringValue(words)) => words,
        other => other.map(|other| format!("{other:?}")).unwrap_or_default(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A server that sends its spans soon, with these variables set.
fn server(args: &[&str], variables: &[(&str, &str)]) -> Process {
    let mut command: Command = arom();
    command.env("OTEL_BSP_SCHEDULE_DELAY", "100").envs(variables.iter().copied());
    let mut server = Process::run(command, args);
    server.wait_for("ready");
    server
}

/// Asks for a text's sentiment, as part of a trace if `traced`; gives the code and the server's own `traceparent`.
async fn ask(server: &Process, text: &str, traced: bool) -> (Code, Option<String>) {
    let mut client =
        SentimentServiceClient::connect(format!("http://{}", server.address)).await.expect("it listens");
    let mut request =
        Request::new(AnalyzeSentimentRequest { text: text.to_owned(), ..AnalyzeSentimentRequest::default() });
    if traced {
        let parent = format!("00-{TRACE_ID}-{PARENT_ID}-01");
        request.metadata_mut().insert("traceparent", parent.parse().expect("a header"));
    }
    let own = |metadata: &MetadataMap| {
        metadata.get("traceparent").map(|value| value.to_str().expect("ASCII").to_owned())
    };
    match client.analyze_sentiment(request).await {
        Ok(answer) => (Code::Ok, own(answer.metadata())),
        Err(status) => (status.code(), own(status.metadata())),
    }
}

#[tokio::test]
async fn a_call_is_a_span_of_its_callers_trace_named_by_the_conventions() {
    let mut collector = Collector::start().await;
    // A quiet log silences no trace.
    let server = server(&["--otlp-endpoint", &collector.url(), "--log", "warn,arom=info"], &[]);
    let (code, own) = ask(&server, "ดีมาก", true).await;
    let own = own.expect("the server's own span");
    assert_eq!(code, Code::Ok);
    let call = collector.span("/AnalyzeSentiment").await;
    assert_eq!((hex(&call.trace_id).as_str(), hex(&call.parent_span_id).as_str()), (TRACE_ID, PARENT_ID));
    assert_eq!(own, format!("00-{TRACE_ID}-{}-01", hex(&call.span_id)));
    assert_eq!(call.name, "arom.v1.SentimentService/AnalyzeSentiment");
    let port = server.address.rsplit_once(':').expect("a port").1.parse().expect("a number");
    for (key, wanted) in [
        ("rpc.system.name", Value::StringValue("grpc".to_owned())),
        ("rpc.method", Value::StringValue("arom.v1.SentimentService/AnalyzeSentiment".to_owned())),
        ("rpc.response.status_code", Value::StringValue("OK".to_owned())),
        ("server.address", Value::StringValue("127.0.0.1".to_owned())),
        ("server.port", Value::IntValue(port)),
        // Of the conventions before.
        ("rpc.system", Value::StringValue("grpc".to_owned())),
        ("rpc.service", Value::StringValue("arom.v1.SentimentService".to_owned())),
        ("rpc.grpc.status_code", Value::IntValue(0)),
    ] {
        assert_eq!(value(&call.attributes, key), Some(wanted), "{key}");
    }
    assert_eq!(value(&call.attributes, "error.type"), None);
    assert_eq!(call.status.clone().unwrap_or_default().code, StatusCode::Unset as i32);
    assert_eq!(words(&collector.resource, "service.name"), "arom");
    assert_eq!(words(&collector.resource, "service.version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(words(&collector.resource, "service.instance.id").len(), 36);

    let (queue, inference) = (collector.span("queue").await, collector.span("inference").await);
    for span in [&queue, &inference] {
        assert_eq!((&span.trace_id, &span.parent_span_id), (&call.trace_id, &call.span_id), "{}", span.name);
    }
    assert!(call.start_time_unix_nano <= queue.start_time_unix_nano);
    assert!(queue.end_time_unix_nano <= inference.start_time_unix_nano);
    assert!(inference.end_time_unix_nano <= call.end_time_unix_nano);
    assert_eq!(value(&inference.attributes, "arom.batch.rows"), Some(Value::IntValue(1)));
    assert!(!format!("{:?}", collector.spans).contains("ดีมาก"), "no text in a trace");
}

#[tokio::test]
async fn a_refused_request_is_no_error_of_the_server() {
    let mut collector = Collector::start().await;
    let server = server(&["--otlp-endpoint", &collector.url()], &[]);
    let (code, _) = ask(&server, &"ก".repeat(40_000), true).await;
    assert_eq!(code, Code::InvalidArgument);
    let call = collector.span("/AnalyzeSentiment").await;
    assert_eq!(words(&call.attributes, "rpc.response.status_code"), "INVALID_ARGUMENT");
    assert_eq!(value(&call.attributes, "rpc.grpc.status_code"), Some(Value::IntValue(3)));
    assert_eq!(value(&call.attributes, "error.type"), None);
    assert_eq!(call.status.clone().unwrap_or_default().code, StatusCode::Unset as i32);
}

#[tokio::test]
async fn a_late_call_is_an_error_of_the_server() {
    let mut collector = Collector::start().await;
    let server = server(&["--otlp-endpoint", &collector.url()], &[]);
    let mut client = patient_client(&format!("http://{}", server.address));
    let text =
        AnalyzeSentimentRequest { text: "ดีมาก".to_owned(), ..AnalyzeSentimentRequest::default() };
    // It has passed when the call arrives, however fast the machine is. tonic's client reads the time, too, and may leave before it
    // has sent the call; so there are more, until one has come.
    let calls = async {
        loop {
            let mut request = Request::new(text.clone());
            request.metadata_mut().insert("grpc-timeout", "1n".parse().expect("a header"));
            let late = client.analyze_sentiment(request).await.expect_err("too late");
            assert_eq!(late.code(), Code::DeadlineExceeded);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let call = tokio::select! {
        call = collector.span("/AnalyzeSentiment") => call,
        () = calls => unreachable!("it goes on"),
    };
    assert_eq!(call.status.clone().unwrap_or_default().code, StatusCode::Error as i32);
    assert_eq!(words(&call.attributes, "error.type"), "DEADLINE_EXCEEDED");
    assert_eq!(words(&call.attributes, "rpc.response.status_code"), "DEADLINE_EXCEEDED");
    assert_eq!(value(&call.attributes, "rpc.grpc.status_code"), Some(Value::IntValue(4)));
}

#[tokio::test]
async fn the_environment_says_where_and_for_whom_unless_arom_does() {
    let (mut collector, mut other) = (Collector::start().await, Collector::start().await);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", other.url()),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=voice".to_owned()),
        ("OTEL_SERVICE_NAME", "feedback".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-1,deployment.environment.name=test".to_owned()),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let first = server(&[], &variables);
    ask(&first, "ดีมาก", false).await;
    collector.span("/AnalyzeSentiment").await;
    assert_eq!(collector.metadata.get("x-team").expect("a header"), "voice");
    for (key, wanted) in [
        ("service.name", "feedback"),
        ("service.instance.id", "pod-1"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("deployment.environment.name", "test"),
    ] {
        assert_eq!(words(&collector.resource, key), wanted, "{key}");
    }
    drop(first);
    let second = server(&["--otlp-endpoint", &other.url()], &variables);
    ask(&second, "ดีมาก", false).await;
    other.span("/AnalyzeSentiment").await;
}

#[tokio::test]
async fn nothing_is_sent_if_the_environment_says_so() {
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
    ] {
        let mut collector = Collector::start().await;
        let endpoint = collector.url();
        let server = server(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), (name, value)]);
        ask(&server, "ดีมาก", false).await;
        // What is held is sent before the end.
        server.stop();
        assert!(collector.exports.try_recv().is_err(), "{name}={value}");
    }
}

#[tokio::test]
async fn a_collector_at_https_is_believed_by_the_certificates_given() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut collector = Collector::encrypted(folder.path()).await;
    let endpoint = format!("https://localhost:{}", collector.port);
    let ca = folder.path().join("ca.pem").display().to_string();
    let known = server(&["--otlp-endpoint", &endpoint, "--otlp-ca-file", &ca], &[]);
    ask(&known, "ดีมาก", false).await;
    collector.span("/AnalyzeSentiment").await;
    drop(known);
    // OpenTelemetry's own variable names the same file.
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_CERTIFICATE", &ca)];
    let named = server(&[], &variables);
    ask(&named, "ดีมาก", false).await;
    collector.spans.clear();
    collector.span("/AnalyzeSentiment").await;
    drop(named);
    // The system's certificates do not vouch for it: nothing is sent, and the log says so.
    let unknown = server(&["--otlp-endpoint", &endpoint], &[]);
    ask(&unknown, "ดีมาก", false).await;
    let logged = unknown.stop();
    assert!(logged.contains("opentelemetry"), "{logged}");
    assert!(collector.exports.try_recv().is_err(), "a stranger is not believed");
}
