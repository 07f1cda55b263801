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

/// What stands before a message of gRPC.
pub(super) const HEAD_BYTES: usize = 5;

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

/// Where the next byte is among the messages of gRPC: a byte that says whether it is compressed, four with its length, and its bytes.
#[derive(Debug, Default)]
struct Messages {
    head: usize,
    length: usize,
    left: usize,
    /// The longest that has begun, as it is sent.
    longest: usize,
    /// Whether any is compressed.
    packed: bool,
}

impl Messages {
    /// Takes the next bytes.
    fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.head < HEAD_BYTES {
                match self.head {
                    0 => self.packed |= first != 0,
                    _ => self.length = self.length << 8 | usize::from(first),
                }
                self.head += 1;
                self.left = self.length;
                bytes = rest;
            } else {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = bytes.get(taken..).unwrap_or_default();
            }
            if self.head == HEAD_BYTES {
                self.longest = self.longest.max(self.length);
                if self.left == 0 {
                    (self.head, self.length) = (0, 0);
                }
            }
        }
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
    charge.read();
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
        fn the_longest_message_is_known_as_soon_as_its_head_is(
            messages in prop::collection::vec((0_usize..400, any::<bool>()), 0..6),
            cut in 0_usize..7,
        ) {
            // After each byte, the longest message and whether any is packed.
            let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
            let (mut longest, mut packed) = (0, false);
            for (length, is_packed) in messages {
                packed |= is_packed;
                wanted.extend([(longest, packed); HEAD_BYTES - 1]);
                longest = longest.max(length);
                wanted.extend(vec![(longest, packed); length + 1]);
                bytes.push(u8::from(is_packed));
                bytes.extend(u32::try_from(length).expect("small").to_be_bytes());
                bytes.extend(vec![7; length]);
            }
            prop_assert_eq!(bytes.len(), wanted.len());
            let (mut messages, mut seen) = (Messages::default(), 0);
            for piece in bytes.chunks(cut + 1) {
                seen += piece.len();
                messages.feed(piece);
                prop_assert_eq!(Some(&(messages.longest, messages.packed)), wanted.get(seen - 1));
            }
        }
    }
}
