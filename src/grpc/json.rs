//! Messages as JSON: the proto3 mapping with the field names of the protos, and whole numbers as numbers.

use std::sync::OnceLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use super::v1;

/// What the protos describe.
fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(v1::DESCRIPTOR_SET).expect("a constant of this build"))
}

/// A kind of message of package `arom.v1`.
fn kind(name: &str) -> MessageDescriptor {
    pool().get_message_by_name(&format!("arom.v1.{name}")).expect("a message of this build")
}

/// A message of package `arom.v1` as JSON. What was not set is there with its default, so that every message of a kind has the same
/// fields.
pub(crate) fn to_json(name: &str, message: &impl Message) -> Value {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    let mut dynamic = DynamicMessage::new(kind(name));
    dynamic.transcode_from(message).expect("a message is of its own kind");
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("JSON has every value of a message")
}

/// The message that JSON says, if it is one of that kind.
pub(crate) fn from_json<M: Message + Default>(name: &str, value: Value) -> Option<M> {
    DynamicMessage::deserialize(kind(name), value).ok()?.transcode_to().ok()
}
