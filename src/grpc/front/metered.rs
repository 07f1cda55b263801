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

/// An answer of so many bytes is sent even where there is no room for it: it is about what a call takes in any case.
const SMALL_ANSWER_BYTES: usize = 64 << 10;

/// The body of a request.
#[derive(Debug)]
pub(super) struct Metered {
    body: Body,
    shared: Arc<Shared>,
    charge: Arc<Charge>,
    messages: Messages,
    /// Whether messages are taken one after the other, so that only the one that is being received is held.
    is_stream: bool,
    received: usize,
}

impl Metered {
    pub(super) fn new(body: Body, shared: Arc<Shared>, charge: Arc<Charge>, is_stream: bool) -> Self {
        Self { body, shared, charge, messages: Messages::default(), is_stream, received: 0 }
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
        if self.received == 0 && data.first() == Some(&1) {
            self.charge.note_packed();
        }
        self.received += data.len();
        let incomplete = self.messages.feed(data);
        let held = if self.is_stream { incomplete } else { self.received };
        match self.charge.set(held) {
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

/// Where the next byte is among the messages of gRPC: a byte that says whether it is compressed, four with its length, and its bytes.
#[derive(Debug, Default)]
struct Messages {
    head: usize,
    length: usize,
    left: usize,
}

impl Messages {
    const HEAD: usize = 5;

    /// Takes the next bytes. How many there are now of a message that is not whole.
    fn feed(&mut self, mut bytes: &[u8]) -> usize {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.head < Self::HEAD {
                if self.head > 0 {
                    self.length = self.length << 8 | usize::from(first);
                }
                self.head += 1;
                self.left = self.length;
                bytes = rest;
            } else {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = bytes.get(taken..).unwrap_or_default();
            }
            if self.head == Self::HEAD && self.left == 0 {
                *self = Self::default();
            }
        }
        if self.head == Self::HEAD { self.length - self.left } else { 0 }
    }
}

/// An answer that is counted until it is sent. A single message is made at once, so that its bytes are known; one for which there is
/// no room is refused.
pub(super) async fn answer(
    response: Response<Body>,
    shared: &Shared,
    charge: Arc<Charge>,
    is_stream: bool,
) -> Response<Body> {
    let (parts, mut body) = response.into_parts();
    let mut first = None;
    if !is_stream && !body.is_end_stream() {
        first = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let bytes = first.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        if let Err(used_up) = charge.set(bytes)
            && bytes > SMALL_ANSWER_BYTES
        {
            return Status::from(shared.refused(used_up)).into_http();
        }
    }
    Response::from_parts(parts, Body::new(Answer { first, body, _charge: charge }))
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_the_message_that_is_not_whole_is_held(
            lengths in prop::collection::vec(0_usize..40, 0..6),
            cut in 0_usize..7,
        ) {
            let (mut bytes, mut held) = (Vec::new(), Vec::new());
            for length in lengths {
                let head = [&[0], u32::try_from(length).expect("small").to_be_bytes().as_slice()].concat();
                held.extend([0; Messages::HEAD - 1]);
                held.extend((0..=length).map(|at| if at == length { 0 } else { at }));
                bytes.extend(head);
                bytes.extend(vec![7; length]);
            }
            prop_assert_eq!(bytes.len(), held.len());
            let (mut messages, mut seen) = (Messages::default(), 0);
            for piece in bytes.chunks(cut + 1) {
                seen += piece.len();
                prop_assert_eq!(Some(&messages.feed(piece)), held.get(seen - 1));
            }
        }
    }
}
