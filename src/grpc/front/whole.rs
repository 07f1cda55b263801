//! The only message of a call that has one, before anything is made of it.
//!
//! tonic makes a message as soon as its last byte is there and then waits for the end of the request. A caller that never ends its
//! request would hold the message as it is inflated and decoded, which no limit knows of yet.

use std::future::poll_fn;
use std::pin::Pin;

use hyper::body::{Body as HttpBody, Bytes};
use prost::bytes::BytesMut;
use tonic::Status;
use tonic::body::Body;

use crate::grpc::framing::HEAD_BYTES;
use crate::grpc::status;

/// A message that is large takes a turn to be made: it may take milliseconds.
const LARGE_BYTES: usize = 64 << 10;

/// A compressed one of more bytes than this is taken to be large: it may have a thousand times as many.
const LARGE_PACKED_BYTES: usize = 512;

/// A request whose bytes are all there.
#[derive(Debug)]
pub(super) struct Whole {
    bytes: Bytes,
}

impl Whole {
    /// Waits for the end of a request whose message has at most so many bytes. One that is said to be larger is not waited for: tonic
    /// refuses it by what it says.
    pub(super) async fn of(mut body: Body, most: usize) -> Result<Self, Status> {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let Ok(data) = frame?.into_data() else { continue };
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                if all.is_empty() {
                    all.extend_from_slice(&first);
                }
                all.extend_from_slice(&data);
            }
            let bytes = if all.is_empty() { &*first } else { &*all };
            match said(bytes) {
                Some(length) if length > most => break,
                Some(length) if bytes.len() > length.saturating_add(HEAD_BYTES) => {
                    return Err(status::second_message());
                }
                Some(_) | None => {}
            }
            if body.is_end_stream() {
                break;
            }
        }
        Ok(Self { bytes: if all.is_empty() { first } else { all.freeze() } })
    }

    /// Whether it may take long to make its message.
    pub(super) fn is_large(&self) -> bool {
        let is_packed = self.bytes.first().is_some_and(|&packed| packed != 0);
        self.bytes.len() > if is_packed { LARGE_PACKED_BYTES } else { LARGE_BYTES }
    }

    /// The request again.
    pub(super) fn into_body(self) -> Body {
        Body::new(http_body_util::Full::new(self.bytes))
    }
}

/// The length of the first message, as its head says.
fn said(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(1..HEAD_BYTES)?;
    Some(length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)))
}
