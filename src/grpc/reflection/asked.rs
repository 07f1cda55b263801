//! The requests of one stream of reflection: why they could not be read, and their end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::{Body as HttpBody, Bytes, Frame};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Context, Poll};

use super::super::framing::Messages;
use super::super::status::{self, Limit};
use super::MAX_REQUEST_BYTES;

/// What the answer knows of the requests. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Asked {
    state: Arc<Mutex<State>>,
    _open: oneshot::Sender<()>,
}

impl Asked {
    pub(super) fn new() -> (Self, Requests) {
        let (open, answered) = oneshot::channel();
        let state = Arc::<Mutex<State>>::default();
        (Self { state: Arc::clone(&state), _open: open }, Requests { state, answered })
    }

    /// Why an answer without an error ended before all requests were read.
    pub(super) fn refused(&self) -> Option<Status> {
        let state = lock(&self.state);
        let refused = match (&state.error, state.ended) {
            (Some(error), _) => error.clone(),
            (None, true) if state.messages.is_whole() => return None,
            (None, true) => Status::internal("the stream ended within a message"),
            (None, false) => Status::internal("failed to decode Protobuf message: it is malformed"),
        };
        Some(
            status::unread(&refused, Limit::Fixed)
                .map_or_else(|| status::bounded(refused), |unread| unread.status),
        )
    }
}

/// How far the requests are read.
#[derive(Debug, Default)]
struct State {
    /// Why no more can be read.
    error: Option<Status>,
    ended: bool,
    messages: Messages,
}

impl State {
    fn came(&mut self, bytes: &[u8]) {
        self.messages.feed(bytes);
        let longest = self.messages.longest;
        if longest > MAX_REQUEST_BYTES && self.error.is_none() {
            self.error = Some(Status::out_of_range(format!(
                "message length too large: found {longest} bytes, the limit is: {MAX_REQUEST_BYTES} bytes"
            )));
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at the requests of one stream.
#[derive(Debug)]
pub(super) struct Requests {
    state: Arc<Mutex<State>>,
    answered: oneshot::Receiver<()>,
}

impl Requests {
    pub(super) fn of(self, body: Body) -> Watched {
        Watched { body, requests: self }
    }
}

/// The body of the requests.
#[derive(Debug)]
pub(super) struct Watched {
    body: Body,
    requests: Requests,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if Pin::new(&mut self.requests.answered).poll(context).is_ready() {
            self.body = Body::empty();
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let mut state = lock(&self.requests.state);
        match &frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => state.came(data),
                None => state.ended = true,
            },
            Some(Err(error)) => state.error = Some(error.clone()),
            None => state.ended = true,
        }
        drop(state);
        Poll::Ready(frame)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// What the answer is told once these parts were read as far as they can be.
    async fn refusal(parts: &[&[u8]], read_all: bool) -> Option<Status> {
        let (asked, requests) = Asked::new();
        let parts: Vec<_> = parts.iter().map(|part| Ok(Frame::data(Bytes::copy_from_slice(part)))).collect();
        let reads = parts.len() + usize::from(read_all);
        let body = Body::new(super::super::Frames(Box::pin(futures_util::stream::iter(parts))));
        let mut watched = requests.of(body);
        for _ in 0..reads {
            poll_fn(|context| Pin::new(&mut watched).poll_frame(context)).await;
        }
        asked.refused()
    }

    #[tokio::test]
    async fn whole_requests_are_fine_however_they_are_cut() {
        let request = [0, 0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7];
        for at in 0..request.len() {
            let (first, second) = request.split_at(at);
            assert!(refusal(&[first, second], true).await.is_none(), "{at}");
        }
        // The service has read no further than the first: it could not decode it.
        let malformed = refusal(&[&request], false).await.expect("refused");
        assert_eq!(status::name(&malformed), "INVALID_ARGUMENT");
        let short = refusal(&[&request[..6]], true).await.expect("refused");
        assert_eq!(status::name(&short), "INTERNAL");
        let long = refusal(&[&[0, 0, 0], &[16, 1, 0]], false).await.expect("refused");
        assert_eq!(status::name(&long), "RESOURCE_EXHAUSTED");
        assert!(long.message().contains("4096 bytes") && !long.message().contains("--"), "{long}");
    }

    #[tokio::test]
    async fn requests_end_when_the_answer_does() {
        let (asked, requests) = Asked::new();
        let mut watched =
            requests.of(Body::new(super::super::Frames(Box::pin(futures_util::stream::pending()))));
        let mut next = Box::pin(next_of(&mut watched));
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(asked);
        assert!(next.await.is_none());
    }

    async fn next_of(watched: &mut Watched) -> Option<Result<Frame<Bytes>, Status>> {
        poll_fn(|context| Pin::new(&mut *watched).poll_frame(context)).await
    }
}
