//! The bodies of a call, whose bytes are counted against the budget.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::Response;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::grpc::Shared;
use crate::grpc::budget::Charge;
use crate::grpc::framing::Messages;

/// An answer of so many bytes is sent even where there is no room for it: it is about what a call takes in any case.
const SMALL_ANSWER_BYTES: usize = 64 << 10;

/// The body of a request.
#[derive(Debug)]
pub(super) struct Metered {
    body: Body,
    shared: Arc<Shared>,
    charge: Arc<Charge>,
    messages: Messages,
    /// The most bytes that a message of a stream may have, inflated; of a call with one message, nothing.
    most_of_stream: Option<usize>,
    received: usize,
}

impl Metered {
    pub(super) fn new(
        body: Body,
        shared: Arc<Shared>,
        charge: Arc<Charge>,
        most_of_stream: Option<usize>,
    ) -> Self {
        Self { body, shared, charge, messages: Messages::default(), most_of_stream, received: 0 }
    }

    /// What is held now. The buffers of a stream never shrink: they have the size of its longest message.
    fn held(&self) -> usize {
        match self.most_of_stream {
            None => self.received,
            Some(most) => self.messages.longest.min(most),
        }
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) else {
            return Poll::Ready(frame);
        };
        let this = &mut *self;
        this.received += data.len();
        this.messages.feed(data);
        if this.messages.packed {
            this.charge.note_packed();
        }
        match self.charge.set(self.held()) {
            Ok(()) => Poll::Ready(frame),
            Err(used_up) => Poll::Ready(Some(Err(self.shared.refused(used_up).into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer that is counted until it is sent. A single message is made at once, so that its bytes are known; one for which there is
/// no room is refused. Its bytes carry its charge: they may wait in the connection after the body has ended.
pub(super) async fn answer(
    response: Response<Body>,
    shared: &Shared,
    charge: Arc<Charge>,
    is_stream: bool,
) -> Response<Body> {
    charge.read();
    let (parts, mut body) = response.into_parts();
    let mut first = None;
    if !is_stream && !body.is_end_stream() {
        first = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let bytes = first.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        if let Err(used_up) = charge.answers(bytes)
            && bytes > SMALL_ANSWER_BYTES
        {
            return Status::from(shared.refused(used_up)).into_http();
        }
        first = first.map(|frame| frame.map(|frame| frame.map_data(|data| Counted::bytes(data, &charge))));
    }
    Response::from_parts(parts, Body::new(Answer { first, body, _charge: charge }))
}

/// Bytes of an answer, with what they are counted by.
struct Counted {
    data: Bytes,
    _charge: Arc<Charge>,
}

impl Counted {
    /// The same bytes, counted for as long as any part of them is held.
    fn bytes(data: Bytes, charge: &Arc<Charge>) -> Bytes {
        Bytes::from_owner(Self { data, _charge: Arc::clone(charge) })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// The body of an answer.
#[derive(Debug)]
struct Answer {
    first: Option<Result<Frame<Bytes>, Status>>,
    body: Body,
    _charge: Arc<Charge>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.first.take() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::budget::{Budget, CALL_BYTES};

    /// hyper drops the body of an answer once it has all of its bytes, and these may wait for the client.
    #[test]
    fn an_answer_is_counted_until_its_last_byte_is_dropped() {
        let budget = Budget::new(2 * CALL_BYTES, 2 * CALL_BYTES);
        let charge = budget.enter(None).expect("there is room");
        charge.set(CALL_BYTES).expect("there is room");
        let mut waits = Counted::bytes(Bytes::from_static(&[0; CALL_BYTES]), &charge);
        drop(charge);
        drop(waits.split_to(CALL_BYTES - 1));
        assert!(budget.enter(None).is_err(), "a byte waits");
        drop(waits);
        budget.enter(None).expect("there is room again");
    }
}
