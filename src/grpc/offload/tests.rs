use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;

use futures_util::FutureExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::*;

/// What a call does.
#[derive(Clone, Debug)]
enum Does {
    /// Says that it has begun, and holds its thread until it is told to go on.
    Hold(blocking::SyncSender<()>, Arc<std::sync::Mutex<blocking::Receiver<()>>>),
    /// Says that it has begun, and waits for ever.
    Wait(Arc<Notify>),
    /// Gives one frame, and then waits for ever.
    Stream,
    /// Answers with a head alone.
    Refuse,
    Panic,
}

#[derive(Clone, Debug)]
struct Scripted {
    does: Does,
    /// Calls and bodies that were dropped.
    dropped: Arc<Dropped>,
}

#[derive(Debug, Default)]
struct Dropped {
    count: AtomicUsize,
    one_more: Notify,
}

/// Counts its own end.
#[derive(Debug)]
struct Witness(Arc<Dropped>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        self.0.one_more.notify_one();
    }
}

impl Service<Request<Body>> for Scripted {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let (does, witness) = (self.does.clone(), Witness(Arc::clone(&self.dropped)));
        Box::pin(async move {
            match does {
                Does::Hold(begun, go_on) => {
                    begun.send(()).expect("the test listens");
                    go_on.lock().expect("whole").recv().expect("the test says so");
                    Ok(Response::new(Body::empty()))
                }
                Does::Wait(begun) => {
                    begun.notify_one();
                    std::future::pending().await
                }
                Does::Stream => Ok(Response::new(Body::new(Endless { said: false, _witness: witness }))),
                Does::Refuse => Ok(Status::not_found("no").into_http()),
                Does::Panic => panic!("careless"),
            }
        })
    }
}

#[derive(Debug)]
struct Endless {
    said: bool,
    _witness: Witness,
}

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Sent>> {
        if std::mem::replace(&mut self.said, true) {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"first")))))
    }
}

fn calls() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).build().expect("a thread")
}

fn offloaded(does: Does, calls: &Runtime) -> (Offload<Scripted>, Arc<Dropped>) {
    let dropped = Arc::<Dropped>::default();
    let service = Scripted { does, dropped: Arc::clone(&dropped) };
    (Offload::new(service, Some(calls.handle().clone())), dropped)
}

fn request() -> Request<Body> {
    Request::new(Body::empty())
}

/// Ends the runtime of the calls, which a test must not do on an async thread.
fn end(calls: Runtime) {
    calls.shutdown_background();
}

#[tokio::test]
async fn a_call_that_holds_its_thread_holds_up_nobody_here() {
    let (begun, has_begun) = blocking::sync_channel(0);
    let (go_on, told) = blocking::sync_channel(0);
    let calls = calls();
    let (mut service, _) = offloaded(Does::Hold(begun, Arc::new(std::sync::Mutex::new(told))), &calls);
    let mut answer = service.call(request());
    // It runs without being polled here, and this thread goes on while it holds its own.
    has_begun.recv().expect("it begins");
    assert!((&mut answer).now_or_never().is_none());
    go_on.send(()).expect("it waits for that");
    assert!(answer.await.expect("infallible").body().is_end_stream());
    end(calls);
}

#[tokio::test]
async fn a_call_ends_with_its_caller() {
    let calls = calls();
    let begun = Arc::new(Notify::new());
    let (mut service, dropped) = offloaded(Does::Wait(Arc::clone(&begun)), &calls);
    let answer = service.call(request());
    begun.notified().await;
    drop(answer);
    dropped.one_more.notified().await;

    let (mut service, dropped) = offloaded(Does::Stream, &calls);
    let answer = service.call(request()).await.expect("infallible");
    let mut body = answer.into_body();
    let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
    assert_eq!(frame.expect("a frame").expect("no error").into_data().expect("data"), "first");
    assert_eq!(dropped.count.load(Ordering::SeqCst), 0);
    drop(body);
    dropped.one_more.notified().await;
    end(calls);
}

/// gRPC clients take a head without a body only if the head says that it is the end.
#[tokio::test]
async fn a_refusal_stays_a_head_alone() {
    let calls = calls();
    let (mut service, _) = offloaded(Does::Refuse, &calls);
    let answer = service.call(request()).await.expect("infallible");
    assert!(answer.body().is_end_stream());
    assert_eq!(answer.headers()["grpc-status"], "5");
    end(calls);
}

#[tokio::test]
async fn a_panic_is_answered() {
    let calls = calls();
    let (mut service, _) = offloaded(Does::Panic, &calls);
    let answer = service.call(request()).await.expect("infallible");
    assert_eq!(answer.headers()["grpc-status"], "13");
    end(calls);
}
