//! Messages of `WatchProfiles`: a profile that many watch is encoded once, and its bytes go into the message of each.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::Message as _;
use prost::bytes::BufMut;
use prost::encoding::{WireType, bytes, encode_key, encode_varint, int64};
use tonic::codec::{Codec, CompressionEncoding, EnabledCompressionEncodings, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Request, Response, Status};

use super::super::bounded::BoundedDecoder;
use super::super::v1::watch_profiles_response::Event;
use super::super::v1::{WatchProfilesRequest, WatchProfilesResponse};
use super::watch::Updates;
use super::{Profiles, convert};
use crate::profile::Seen;

/// A message of the stream.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// One of this stream alone.
    Own(Box<WatchProfilesResponse>),
    /// A profile that others are sent as well.
    Profile {
        /// As in the message.
        resume_token: Vec<u8>,
        /// As in the message.
        sequence: i64,
        /// What is known.
        seen: Arc<Seen>,
    },
}

/// A profile as a message, encoded.
pub(super) fn encoded(seen: &Seen) -> &[u8] {
    seen.bytes(|seen| convert::profile(&seen.profile, seen.time).encode_to_vec())
}

impl Message {
    pub(super) fn into_response(self) -> WatchProfilesResponse {
        match self {
            Self::Own(response) => *response,
            Self::Profile { resume_token, sequence, seen } => {
                let event = Some(Event::Profile(convert::profile(&seen.profile, seen.time)));
                WatchProfilesResponse { resume_token, sequence, event }
            }
        }
    }

    /// Writes it as [`WatchProfilesResponse`] is written.
    fn encode(&self, to: &mut impl BufMut) -> Result<(), prost::EncodeError> {
        const TOKEN: u32 = 1;
        const SEQUENCE: u32 = 2;
        const PROFILE: u32 = 5;
        match self {
            Self::Own(response) => return response.encode(to),
            Self::Profile { resume_token, sequence, seen } => {
                if !resume_token.is_empty() {
                    bytes::encode(TOKEN, resume_token, to);
                }
                if *sequence != 0 {
                    int64::encode(SEQUENCE, sequence, to);
                }
                let profile = encoded(seen);
                encode_key(PROFILE, WireType::LengthDelimited, to);
                encode_varint(u64::try_from(profile.len()).unwrap_or(u64::MAX), to);
                to.put_slice(profile);
            }
        }
        Ok(())
    }
}

/// Encodes messages of the stream.
#[derive(Clone, Copy, Debug, Default)]
struct Messages;

impl Codec for Messages {
    type Encode = Message;
    type Decode = WatchProfilesRequest;
    type Encoder = Self;
    type Decoder = BoundedDecoder<WatchProfilesRequest>;

    fn encoder(&mut self) -> Self::Encoder {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder::default()
    }
}

impl Encoder for Messages {
    type Item = Message;
    type Error = Status;

    fn encode(&mut self, message: Message, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(to).map_err(|error| Status::internal(error.to_string()))
    }
}

/// `ProfileService`, with the messages of `WatchProfiles` encoded here.
#[derive(Clone, Debug)]
pub(in super::super) struct Watched<S> {
    inner: S,
    profiles: Arc<Profiles>,
    max_message_bytes: usize,
}

impl<S> Watched<S> {
    /// The generated service, and what answers behind it.
    pub(in super::super) fn new(inner: S, profiles: Arc<Profiles>, max_message_bytes: usize) -> Self {
        Self { inner, profiles, max_message_bytes }
    }
}

impl<S: NamedService> NamedService for Watched<S> {
    const NAME: &'static str = S::NAME;
}

type HttpRequest = http::Request<tonic::body::Body>;
type HttpResponse = http::Response<tonic::body::Body>;

impl<S> Service<HttpRequest> for Watched<S>
where
    S: Service<HttpRequest, Response = HttpResponse, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = BoxFuture<HttpResponse, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        if request.uri().path() != "/arom.v1.ProfileService/WatchProfiles" {
            return Box::pin(self.inner.call(request));
        }
        let (watch, most) = (Watch(Arc::clone(&self.profiles)), self.max_message_bytes);
        Box::pin(async move {
            let mut encodings = EnabledCompressionEncodings::default();
            encodings.enable(CompressionEncoding::Gzip);
            encodings.enable(CompressionEncoding::Zstd);
            let grpc = Grpc::new(Messages).apply_compression_config(encodings, encodings);
            let mut grpc = grpc.apply_max_message_size_config(Some(most), None);
            Ok(grpc.server_streaming(watch, request).await)
        })
    }
}

/// The method alone.
#[derive(Debug)]
struct Watch(Arc<Profiles>);

impl ServerStreamingService<WatchProfilesRequest> for Watch {
    type Response = Message;
    type ResponseStream = Updates;
    type Future = BoxFuture<Response<Updates>, Status>;

    fn call(&mut self, request: Request<WatchProfilesRequest>) -> Self::Future {
        let profiles = Arc::clone(&self.0);
        Box::pin(async move { profiles.watch(request) })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::profile::{Book, Command, Contribution, Disk, Event as Happened, Interest, Keeper};
    use crate::profile::{Channel, Micros, Step, Terms, Update, Upkeep, Watcher};

    /// The bytes are those of the message that clients know.
    #[test]
    fn a_shared_profile_is_written_as_its_message() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let book = Book::open(Disk::open(folder.path()).expect("it opens"), Terms::default(), [7; 32]);
        let clock = crate::profile::system_clock();
        let keeper = Keeper::start(book.expect("a book"), clock, Upkeep::default(), Arc::default());
        let keeper = Arc::new(keeper.expect("threads"));
        let mut watcher = Watcher::from_now(Arc::clone(&keeper), Interest::default());
        let contribution = Contribution {
            time: Timestamp::now(),
            label: crate::model::Label::Negative,
            score: Micros::of(-0.5),
            channel: Channel::Review,
        };
        let (id, customer, brands) = ("e".to_owned(), Some("c".to_owned()), vec!["b".to_owned()]);
        let event = Happened { id, customer, brands, contribution };
        keeper
            .apply_blocking(vec![Command::Record { event, content: Vec::new(), replaces: None }])
            .expect("written");
        let Ok(Step::Updates(updates)) = watcher.step(Timestamp::now()) else { panic!("updates") };
        let seen = updates.into_iter().filter_map(|(_, update)| match update {
            Update::Profile(seen) => Some(seen),
            Update::Gone { .. } | Update::Signal(_) => None,
        });
        let mut count = 0;
        for seen in seen {
            for (resume_token, sequence) in [(vec![1, 2, 3], 300), (Vec::new(), 0)] {
                let message = Message::Profile { resume_token, sequence, seen: Arc::clone(&seen) };
                let mut bytes = Vec::new();
                message.encode(&mut bytes).expect("there is room");
                assert_eq!(
                    WatchProfilesResponse::decode(bytes.as_slice()),
                    Ok(message.clone().into_response())
                );
                assert_eq!(bytes, message.into_response().encode_to_vec());
                count += 1;
            }
        }
        assert_eq!(count, 6, "a customer, a brand and the pair, in a snapshot and after it");
    }
}
