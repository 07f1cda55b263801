//! `ConversationService`: whole conversations, and such as go on.

mod convert;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::answer_size::fits;
use super::call::{Call, within};
use super::phase::Halt;
use super::status::{Failure, OK, item_name, name};
use super::v1::conversation_service_server::ConversationService;
use super::v1::stream_conversation_request::Event;
use super::v1::stream_conversation_response::Outcome;
use super::v1::{
    AnalyzeConversationRequest, AnalyzeConversationResponse, ConversationUpdate, StreamConversationRequest,
    StreamConversationResponse,
};
use crate::conversation::{Analysis, Body, Disguise, Heard, Live, Message, Roles, Sender, Trajectory, hear};
use crate::scoring::Client;
use convert::{Asked, Limits};

const SERVICE: &str = "arom.v1.ConversationService";

/// What a conversation that goes on remembers of each message, about: its id, what was felt, and its place in the curve.
const MESSAGE_BYTES: usize = 320;

/// The service behind `arom.v1.ConversationService`.
#[derive(Debug)]
pub(super) struct Conversations {
    shared: Arc<Shared>,
}

impl Conversations {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn analyze(
        &self,
        request: AnalyzeConversationRequest,
        client: Client,
        done: impl Fn(&'static str),
    ) -> Result<AnalyzeConversationResponse, Failure> {
        let scorer = self.shared.scorer()?;
        let limits = Limits::of(&self.shared.config);
        let most = self.shared.config.max_answer_bytes;
        let read = move || -> Result<(Asked, Roles, usize), Failure> {
            let asked = Asked::new(request, &limits)?;
            let roles = Roles::of(&asked.messages, &asked.known);
            let bytes = asked.answer_bytes(&roles, most);
            Ok((asked, roles, bytes))
        };
        let address = client.address;
        let place = self.shared.place(&self.shared.heavy, address)?;
        let (asked, roles, bytes) = place.run(read).await??;
        drop(place);
        let instead = "ask without include_texts, send fewer messages at once, or use StreamConversation";
        fits("messages", bytes, &self.shared.config, instead)?;
        let caller = scorer.caller_for(client);
        let heard = hear(&caller, &asked.messages, &roles.of, || done(OK)).await.map_err(Failure::Score)?;
        let fingerprint = scorer.fingerprint().to_owned();
        let answer = move || {
            let analysis = Analysis::of(&asked.messages, &roles.of, heard);
            asked.answer(&roles, &analysis, &fingerprint)
        };
        // No place: what is nearly done is not refused.
        self.shared.heavy.run(address, answer).await
    }
}

#[tonic::async_trait]
impl ConversationService for Conversations {
    async fn analyze_conversation(
        &self,
        request: Request<AnalyzeConversationRequest>,
    ) -> Result<Response<AnalyzeConversationResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "AnalyzeConversation", &request)?;
        let (item, client) = (call.items(), call.client());
        let room = call.works_on(request.get_ref().encoded_len());
        call.answer(async {
            room.map_err(|used_up| self.shared.refused(used_up))?;
            self.analyze(request.into_inner(), client, item).await
        })
        .await
    }

    type StreamConversationStream =
        Pin<Box<dyn Stream<Item = Result<StreamConversationResponse, Status>> + Send + 'static>>;

    async fn stream_conversation(
        &self,
        request: Request<Streaming<StreamConversationRequest>>,
    ) -> Result<Response<Self::StreamConversationStream>, Status> {
        let call = Call::enter_stream(&self.shared, SERVICE, "StreamConversation", &request)?;
        self.shared.scorer()?;
        let mut response = Response::new(());
        call.trace(response.metadata_mut());
        let halt = Halt::new(&self.shared, call.deadline);
        let (shared, events) = (Arc::clone(&self.shared), request.into_inner());
        let state = Some(Going {
            shared,
            call,
            events,
            halt,
            live: Some(Live::default()),
            cue_count: 0,
            received: 0,
        });
        let updates = stream::unfold(state, async |state| {
            let mut going = state?;
            let next = going.next().await?;
            // Many messages may be at hand, all with known scores: other calls go in between.
            tokio::task::yield_now().await;
            let goes_on = next.is_ok();
            Some((next, goes_on.then_some(going)))
        });
        Ok(response.map(|()| Box::pin(updates) as Self::StreamConversationStream))
    }
}

/// A conversation that goes on.
struct Going {
    shared: Arc<Shared>,
    call: Call,
    events: Streaming<StreamConversationRequest>,
    halt: Halt,
    /// Nothing while another thread works on it, and after that died.
    live: Option<Live>,
    cue_count: usize,
    received: i64,
}

impl Going {
    /// The answer to the next event; nothing after the caller's last.
    async fn next(&mut self) -> Option<Result<StreamConversationResponse, Status>> {
        let idle = self.shared.config.stream_idle;
        let event = tokio::select! {
            biased;
            failure = self.halt.reached() => Err(failure),
            event = self.events.message() => event.map_err(Failure::Transport),
            () = tokio::time::sleep(idle) => Err(Failure::StreamIdle(idle)),
        };
        let failure = match event {
            Ok(Some(request)) => {
                self.halt.heard();
                match within(self.call.deadline, self.heard(request.encoded_len(), request.event)).await {
                    Ok(outcome) => return Some(Ok(self.answer(outcome))),
                    Err(failure) => failure,
                }
            }
            Ok(None) => {
                self.call.end(OK);
                return None;
            }
            Err(failure) => failure,
        };
        let status = Status::from(failure);
        self.call.end(name(&status));
        Some(Err(status))
    }

    /// The outcome of an event. Nothing is lost if it is dropped: the stream ends then.
    async fn heard(
        &mut self,
        bytes: usize,
        event: Option<Event>,
    ) -> Result<Result<ConversationUpdate, Failure>, Failure> {
        let remembered = usize::try_from(self.received).unwrap_or(usize::MAX).saturating_mul(MESSAGE_BYTES);
        let counted = self.call.took(bytes).and_then(|()| self.call.remember(remembered));
        counted.map_err(|used_up| self.shared.refused(used_up))?;
        Ok(self.update(event).await)
    }

    fn answer(&mut self, outcome: Result<ConversationUpdate, Failure>) -> StreamConversationResponse {
        let index = self.received;
        self.received += 1;
        let outcome = match outcome {
            Ok(update) => Outcome::Update(update),
            Err(failure) => Outcome::Error(failure.into_item()),
        };
        self.call.items()(match &outcome {
            Outcome::Update(_) => OK,
            Outcome::Error(status) => item_name(status),
        });
        StreamConversationResponse { index, outcome: Some(outcome) }
    }

    fn live(&mut self) -> Result<&mut Live, Failure> {
        self.live.as_mut().ok_or(Failure::Died)
    }

    /// How feeling moved up to now, and the curve after a message.
    async fn trajectory(&mut self, at: usize) -> Result<(Trajectory, Option<f64>), Failure> {
        let mut live = self.live.take().ok_or(Failure::Died)?;
        let is_long = live.is_long();
        let work = move || {
            let trajectory = live.trajectory();
            let smoothed = live.smoothed(at);
            (live, trajectory, smoothed)
        };
        let address = self.call.client().address;
        let (live, trajectory, smoothed) =
            if is_long { self.shared.heavy.run(address, work).await? } else { work() };
        self.live = Some(live);
        Ok((trajectory, smoothed))
    }

    async fn update(&mut self, event: Option<Event>) -> Result<ConversationUpdate, Failure> {
        let limits = Limits::of(&self.shared.config);
        let scorer = self.shared.scorer()?;
        let (at, message, role, heard) = match event {
            Some(Event::Message(message)) => {
                let (message, role) = convert::live(message, self.live()?.len(), &limits)?;
                // While the queue has no room the stream waits with it.
                let caller = scorer.patient_caller_for(self.call.client());
                let heard = self.live()?.hear(&caller, &message, role).await.map_err(Failure::Score)?;
                self.cue_count += heard.cues.len();
                (self.live()?.len() - 1, message, role, heard)
            }
            Some(Event::UnsendMessageId(id)) => {
                let taken_back = self.live()?.unsend(&id);
                let (at, role, cues) = taken_back.ok_or_else(|| convert::unknown_message(&id))?;
                self.cue_count -= cues;
                let (sender, body) = (Sender::System, Body::Unsent);
                (at, Message { line: 0, id: Some(id), time: None, sender, body }, role, Heard::NOTHING)
            }
            None => return Err(convert::missing_event()),
        };
        let (trajectory, smoothed) = self.trajectory(at).await?;
        let people = Disguise::of(&[], &[], false);
        let shown = convert::Shown { people: &people, max_risk: limits.max_risk, texts: false };
        Ok(ConversationUpdate {
            message: Some(shown.message(at, &message, role, &heard, smoothed)),
            trajectory: Some(convert::trajectory(&trajectory, self.cue_count)),
            model_fingerprint: scorer.fingerprint().to_owned(),
        })
    }
}
