//! Gives the refusals of the transport the same details as those of the services.
//!
//! tonic itself refuses a request whose bytes it cannot read or that is too large, before any service sees it, with a status
//! that has a text and no details.

use std::convert::Infallible;
use std::sync::Arc;

use tonic::Status;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Context, Poll, Service};
use tonic::server::NamedService;

use super::status::{self, Limit};
use crate::telemetry::Metrics;

/// A service whose every refusal says its reason and what to do.
#[derive(Clone, Debug)]
pub(super) struct Explained<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Explained<S> {
    pub(super) fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }
}

impl<S: NamedService> NamedService for Explained<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B, A> Service<Request<B>> for Explained<S>
where
    S: Service<Request<B>, Response = Response<A>, Error = Infallible> + NamedService,
    S::Future: Send + 'static,
    A: Default,
{
    type Response = Response<A>;
    type Error = Infallible;
    type Future = BoxFuture<Response<A>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = request.uri().path().to_owned();
        let limit = if S::NAME.starts_with("arom.") { Limit::Setting } else { Limit::Fixed };
        let (answer, metrics) = (self.inner.call(request), Arc::clone(&self.metrics));
        Box::pin(async move {
            let response = answer.await?;
            // tonic leaves the status of a call that failed before its first answer here.
            let Some(refused) =
                response.extensions().get::<Status>().and_then(|status| status::unread(status, limit))
            else {
                return Ok(response);
            };
            tracing::debug!(method, reason = refused.reason, "a request could not be read");
            metrics.request_unread(refused.reason);
            Ok(refused.status.into_http())
        })
    }
}
