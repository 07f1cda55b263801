//! Reads and writes messages, and refuses one of very many tiny parts before anything is made of them.
//!
//! A part of two bytes may become a message of 250 bytes in memory. The limits of the services come too late for that: they count
//! what has been decoded.

use std::marker::PhantomData;

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use super::json;
use super::status::Failure;
use super::violations::Violations;

/// So many parts are always read.
const MANY: usize = 65_536;

/// Of more parts than [`MANY`], each must be of so many bytes on average.
const LEAST_BYTES: usize = 32;

/// As [`ProstCodec`], for requests that strangers send.
#[derive(Debug)]
pub(crate) struct Counted<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Counted<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Counted<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CountedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        CountedDecoder(ProstDecoder::default())
    }
}

/// The reading half of [`Counted`].
#[derive(Debug)]
pub(crate) struct CountedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Name + Default> Decoder for CountedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // Shorter messages cannot have so many parts. tonic gives the whole message in one piece.
        if message.remaining() > MANY
            && let Err(field) = few_parts(message.chunk())
        {
            return Err(too_many::<U>(field));
        }
        self.0.decode(message)
    }
}

fn too_many<U: Name>(field: u32) -> Status {
    let name = json::field_name(&U::full_name(), field);
    let problem = format!(
        "is one of more than {MANY} parts of the message, of less than {LEAST_BYTES} bytes on average"
    );
    Failure::from(Violations::of(&name, problem)).into()
}

/// Counts the parts of a message.
///
/// # Errors
///
/// The number of the field after which there were too many.
fn few_parts(message: &[u8]) -> Result<(), u32> {
    let most = MANY.max(message.len() / LEAST_BYTES);
    let mut rest = message;
    for _ in 0..most {
        // What cannot be read is told by the decoder, in its own words.
        if skip(&mut rest).is_none() {
            return Ok(());
        }
    }
    skip(&mut rest).map_or(Ok(()), Err)
}

/// Passes over the next part, and gives the number of its field.
fn skip(rest: &mut &[u8]) -> Option<u32> {
    let (field, kind) = decode_key(rest).ok()?;
    let length = match kind {
        WireType::Varint => decode_varint(rest).ok().map(|_| 0)?,
        WireType::SixtyFourBit => 8,
        WireType::LengthDelimited => usize::try_from(decode_varint(rest).ok()?).ok()?,
        WireType::ThirtyTwoBit => 4,
        WireType::StartGroup | WireType::EndGroup => 0,
    };
    *rest = rest.get(length..)?;
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_many_tiny_parts_is_refused_and_large_ones_are_read() {
        // Two bytes each, as an empty message in a repeated field.
        assert_eq!(few_parts(&[0x0a, 0].repeat(MANY)), Ok(()));
        assert_eq!(few_parts(&[0x0a, 0].repeat(MANY + 1)), Err(1));
        assert_eq!(few_parts(&[0x1a, 0].repeat(2_000_000)), Err(3));
        let part = |bytes: u8| [vec![0x0a, bytes], vec![b'x'; usize::from(bytes)]].concat();
        assert_eq!(few_parts(&part(29).repeat(2 * MANY)), Err(1));
        assert_eq!(few_parts(&part(30).repeat(2 * MANY)), Ok(()));
        // Of every kind, one after the other.
        let mixed =
            [&[0x08, 0x96, 0x01][..], &[0x11, 0, 0, 0, 0, 0, 0, 0, 0], &[0x1d, 0, 0, 0, 0], &[0x23, 0x24]];
        assert_eq!(few_parts(&mixed.concat().repeat(MANY / 5)), Ok(()));
        assert!(few_parts(&mixed.concat().repeat(MANY)).is_err());
    }

    #[test]
    fn broken_bytes_are_left_to_the_decoder() {
        for broken in [&[0xff; 12][..], &[0x0a, 0x7f], &[0x0a], &[]] {
            assert_eq!(few_parts(broken), Ok(()));
        }
    }
}
