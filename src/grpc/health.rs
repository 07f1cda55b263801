//! `grpc.health.v1`: whether the server and each of its services serve.
//!
//! tonic-health 0.14 has no `List`, and ends a watch of an unknown service, which the protocol says must stay open.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::status::Failure;

/// The generated messages, client and server of package `grpc.health.v1`.
pub(crate) mod pb {
    #![allow(
        missing_docs,
        unreachable_pub,
        reason = "generated from proto/, whose comments are the documentation"
    )]
    #![allow(clippy::all, clippy::pedantic, reason = "generated code")]
    tonic::include_proto!("grpc.health.v1");
}

pub(super) use pb::health_check_response::ServingStatus;
use pb::health_server::{Health, HealthServer};
use pb::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};

/// A request names one service: a watch must not hold megabytes of a name.
pub(super) const MAX_REQUEST_BYTES: usize = 1024;

type Statuses = BTreeMap<String, ServingStatus>;

/// Tells the health service how services stand.
#[derive(Clone, Debug)]
pub(super) struct HealthReporter(Arc<watch::Sender<Statuses>>);

/// The reporter, and the service that passes on what it is told.
pub(super) fn health_reporter() -> (HealthReporter, HealthServer<HealthService>) {
    let (sender, statuses) = watch::channel(Statuses::from([(String::new(), ServingStatus::NotServing)]));
    let server = HealthServer::new(HealthService(statuses)).max_decoding_message_size(MAX_REQUEST_BYTES);
    (HealthReporter(Arc::new(sender)), server)
}

impl HealthReporter {
    /// Sets the status of a service; those who watch it are told if it is another than before.
    pub(super) async fn set_service_status(&self, service: impl AsRef<str>, status: ServingStatus) {
        self.0.send_if_modified(|statuses| {
            statuses.insert(service.as_ref().to_owned(), status) != Some(status)
        });
    }

    /// Forgets a service, which ends the watches of it. The last one ends all other watches, too: the server stops.
    pub(super) async fn clear_service_status(&self, service: &str) {
        self.0.send_if_modified(|statuses| statuses.remove(service).is_some());
    }
}

/// The service behind `grpc.health.v1.Health`.
#[derive(Debug)]
pub(super) struct HealthService(watch::Receiver<Statuses>);

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let statuses = self.0.borrow();
        match statuses.get(&request.get_ref().service) {
            Some(status) => Ok(Response::new(response(*status))),
            None => Err(Failure::ServiceUnknown(statuses.keys().cloned().collect()).into()),
        }
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let statuses = self.0.borrow();
        let statuses = statuses.iter().map(|(service, status)| (service.clone(), response(*status)));
        Ok(Response::new(HealthListResponse { statuses: statuses.collect() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watching =
            Watching { service: request.into_inner().service, statuses: self.0.clone(), told: None };
        let updates = stream::unfold(watching, async |mut watching| {
            let status = watching.next().await?;
            Some((Ok(response(status)), watching))
        });
        Ok(Response::new(Box::pin(updates)))
    }
}

/// One stream of `Watch`.
struct Watching {
    service: String,
    statuses: watch::Receiver<Statuses>,
    /// The last status that was sent.
    told: Option<ServingStatus>,
}

impl Watching {
    /// The next status that differs from the one before, and nothing once the service is gone or the server stops.
    async fn next(&mut self) -> Option<ServingStatus> {
        loop {
            let (found, stopped) = {
                let statuses = self.statuses.borrow_and_update();
                (statuses.get(&self.service).copied(), statuses.is_empty())
            };
            let was_known = self.told.is_some_and(|told| told != ServingStatus::ServiceUnknown);
            if stopped || (was_known && found.is_none()) {
                return None;
            }
            let status = found.unwrap_or(ServingStatus::ServiceUnknown);
            if self.told.replace(status) != Some(status) {
                return Some(status);
            }
            self.statuses.changed().await.ok()?;
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
