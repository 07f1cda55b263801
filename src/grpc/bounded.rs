//! A codec that counts the parts of a request before it decodes them.
//!
//! An empty item of a list has two bytes on the wire and some hundreds in memory, so that a message of 4 MiB would decode to more
//! than half a gigabyte before a service sees how many there are. The bytes are walked first, by the compiled protos.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::LazyLock;

use prost::bytes::Buf;
use prost::encoding::decode_varint;
use prost::{Message, Name};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::{status, v1};

/// What an item that is a message takes in memory, about.
const MESSAGE_BYTES: usize = 256;

/// What every other part takes beside its content. One that is sent again and again replaces itself, but takes its time.
const VALUE_BYTES: usize = 24;

/// What the parts of one message may take in memory at least, beside the bytes that were sent.
const ALWAYS_BYTES: usize = 16 << 20;

/// How much more they may take for each byte of the message.
const BYTES_A_BYTE: usize = 4;

/// Messages inside messages that are walked; prost refuses deeper ones.
const DEPTH: usize = 100;

/// prost's codec, which refuses requests of too many items.
#[derive(Debug)]
pub(crate) struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder::default()
    }
}

/// prost's decoder, which looks at the bytes first.
#[derive(Debug)]
pub(crate) struct BoundedDecoder<U> {
    inner: ProstDecoder<U>,
    /// The request that it decodes; answers, which our own clients decode, are not counted.
    request: Option<usize>,
}

impl<U: Name> Default for BoundedDecoder<U> {
    fn default() -> Self {
        let request = SHAPES.requests.get(&U::full_name()).copied();
        Self { inner: ProstDecoder::default(), request }
    }
}

impl<U: Message + Name + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if let Some(request) = self.request {
            check(request, bytes.chunk()).map_err(|field| status::too_many_items(&field))?;
        }
        self.inner.decode(bytes)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.inner.buffer_settings()
    }
}

/// Names the list with the item that is one too many.
fn check(request: usize, bytes: &[u8]) -> Result<(), String> {
    let mut left = ALWAYS_BYTES.saturating_add(bytes.len().saturating_mul(BYTES_A_BYTE));
    SHAPES.walk(request, bytes, &mut left, DEPTH)
}

/// The fields of the requests.
static SHAPES: LazyLock<Shapes> = LazyLock::new(Shapes::of_protos);

struct Shapes {
    /// Of each message its fields, by number.
    messages: Vec<HashMap<u64, Field>>,
    /// The messages that clients send, by name.
    requests: HashMap<String, usize>,
}

struct Field {
    name: String,
    is_list: bool,
    /// If it is a message, which.
    message: Option<usize>,
}

impl Shapes {
    fn of_protos() -> Self {
        let set =
            FileDescriptorSet::decode(v1::DESCRIPTOR_SET).expect("the protos are compiled with this code");
        let mut messages: Vec<(String, &DescriptorProto)> = Vec::new();
        for file in &set.file {
            collect(file.package(), &file.message_type, &mut messages);
        }
        let numbers: HashMap<String, usize> =
            messages.iter().enumerate().map(|(number, (name, _))| (format!(".{name}"), number)).collect();
        let fields = |message: &DescriptorProto| {
            let fields = message.field.iter().filter_map(|field| {
                let is_list = field.label() == Label::Repeated;
                let is_message = field.r#type() == Type::Message;
                let message = numbers.get(field.type_name()).copied().filter(|_| is_message);
                let shape = Field { name: field.name().to_owned(), is_list, message };
                Some((u64::try_from(field.number()).ok()?, shape))
            });
            fields.collect()
        };
        let methods = set.file.iter().flat_map(|file| &file.service).flat_map(|service| &service.method);
        let requests = methods.filter_map(|method| {
            let name = method.input_type();
            Some((name.strip_prefix('.')?.to_owned(), *numbers.get(name)?))
        });
        Self {
            requests: requests.collect(),
            messages: messages.iter().map(|(_, message)| fields(message)).collect(),
        }
    }

    /// Takes what each item costs from what is left. What cannot be read is left to prost, which stops there, too.
    fn walk(&self, message: usize, mut bytes: &[u8], left: &mut usize, depth: usize) -> Result<(), String> {
        let Some(fields) = self.messages.get(message) else { return Ok(()) };
        while !bytes.is_empty() {
            let Ok(key) = decode_varint(&mut bytes) else { return Ok(()) };
            let Some(content) = content(key & 7, &mut bytes) else { return Ok(()) };
            let field = fields.get(&(key >> 3));
            let is_made = field.is_some_and(|field| field.is_list && field.message.is_some());
            let cost = if is_made { MESSAGE_BYTES } else { VALUE_BYTES };
            let name = || field.map_or_else(|| format!("field {}", key >> 3), |field| field.name.clone());
            *left = left.checked_sub(cost).ok_or_else(name)?;
            let Some(field) = field else { continue };
            if let (Some(inner), Some(depth)) = (field.message, depth.checked_sub(1)) {
                self.walk(inner, content, left, depth)
                    .map_err(|inside| format!("{}.{inside}", field.name))?;
            }
        }
        Ok(())
    }
}

/// What a field holds, if it is text, bytes or a message; the marks of a group stand for themselves.
fn content<'a>(wire_type: u64, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = match wire_type {
        0 => {
            decode_varint(bytes).ok()?;
            0
        }
        1 => 8,
        2 => usize::try_from(decode_varint(bytes).ok()?).ok()?,
        3 | 4 => 0,
        5 => 4,
        _ => return None,
    };
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(if wire_type == 2 { content } else { &[] })
}

/// All messages with their full names, those inside others included.
fn collect<'a>(scope: &str, found: &'a [DescriptorProto], messages: &mut Vec<(String, &'a DescriptorProto)>) {
    for message in found {
        let name = format!("{scope}.{}", message.name());
        collect(&name, &message.nested_type, messages);
        messages.push((name, message));
    }
}

#[cfg(test)]
mod tests;
