//! The message of a unary request, which must come in time. Calls are counted only once their message is there, so one that never
//! ends would hold memory that no limit knows of.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use crate::grpc::status;

/// A body that must end within a time.
#[derive(Debug)]
pub(super) struct InTime {
    body: Body,
    limit: Duration,
    /// Runs from the first time that the body is waited for; most never are.
    timer: Option<Pin<Box<Sleep>>>,
}

impl InTime {
    pub(super) fn new(body: Body, limit: Duration) -> Self {
        Self { body, limit, timer: None }
    }
}

impl HttpBody for InTime {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            return frame;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(context).map(|()| Some(Err(status::message_too_slow(limit))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;

    use tokio::time::Instant;

    use super::*;

    /// A piece a second.
    #[derive(Debug)]
    struct Drip(Pin<Box<Sleep>>, usize);

    impl HttpBody for Drip {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.1 == 0 {
                return Poll::Ready(None);
            }
            std::task::ready!(self.0.as_mut().poll(context));
            let next = Instant::now() + Duration::from_secs(1);
            self.0.as_mut().reset(next);
            self.1 -= 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_comes_bit_by_bit_must_still_end_in_time() {
        for (pieces, in_time) in [(0, true), (9, true), (1_000, false)] {
            let drip = Drip(Box::pin(sleep(Duration::from_secs(1))), pieces);
            let mut body = InTime::new(Body::new(drip), Duration::from_secs(10));
            let mut next = async || poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            let ended = loop {
                match next().await {
                    Some(Ok(_)) => {}
                    Some(Err(status)) => break Err(status.code()),
                    None => break Ok(()),
                }
            };
            assert_eq!(ended.is_ok(), in_time, "{pieces} {ended:?}");
        }
    }
}
