//! Where messages of gRPC begin and end among the bytes of a request.

/// What stands before a message: a byte that says whether it is compressed, and four with its length.
pub(super) const HEAD_BYTES: usize = 5;

/// Where the next byte is among the messages of gRPC: a byte that says whether it is compressed, four with its length, and its bytes.
#[derive(Debug, Default)]
pub(super) struct Messages {
    head: usize,
    length: usize,
    left: usize,
    /// The longest that has begun, as it is sent.
    pub(super) longest: usize,
    /// Whether any is compressed.
    pub(super) packed: bool,
}

impl Messages {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
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

    /// Whether the last message that has begun is whole.
    pub(super) fn is_whole(&self) -> bool {
        self.head == 0
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
