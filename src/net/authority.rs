//! Mends `:authority` in HTTP/2 requests, where a client put something else than a host and port.
//!
//! gRPC's C core takes a target of several addresses, `ipv4:192.0.2.1:50051,192.0.2.2:50051`, and sends all of it as the
//! authority. The h2 crate resets such a stream before any service sees it, and hyper has no setting for that. Arom never reads the
//! authority. So bytes that make it malformed are replaced on their way in, one for one: no length changes, and so
//! neither does the size of an entry in the table of HPACK (RFC 7541).
//!
//! Only what gRPC's C core sends is mended: literals without Huffman code. All else passes unchanged, and so does everything after
//! the first byte that is not HTTP/2.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const ACK: u8 = 0x01;
const END_STREAM: u8 = 0x01;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// The index of the name in the static table, and the name as C core writes it.
const AUTHORITY: u64 = 1;
const NAME: &[u8] = b":authority";

/// Looks at the bytes of one connection, in their order.
#[derive(Debug, Default)]
pub(super) struct Authority {
    frames: Frames,
    fields: Fields,
    counts: FrameCounts,
}

/// The frames that began among some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameCounts {
    /// All of them.
    pub(super) all: u32,
    /// SETTINGS and GOAWAY: the h2 crate goes through all streams of the connection for each.
    pub(super) of_all_streams: u32,
    /// Those that ask for nothing: windows, pings, priorities, resets, empty data, and frames that nobody knows.
    pub(super) idle: u32,
}

/// Where the next byte is among the frames.
#[derive(Debug)]
enum Frames {
    Preface {
        seen: usize,
    },
    Head {
        seen: usize,
        bytes: [u8; HEAD_BYTES],
    },
    /// Bytes that are not fields, before these or instead of them.
    Skip {
        skip: usize,
        then: Block,
    },
    Fields(Block),
    /// Not HTTP/2.
    Unknown,
}

/// What is left of a frame: fields, then padding.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    fields: usize,
    padding: usize,
    /// The next byte says how much of the fields is padding.
    padded: bool,
    /// Bytes of priority that come first.
    priority: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self::Preface { seen: 0 }
    }
}

/// Where the next byte is among the fields.
#[derive(Debug, Default)]
enum Fields {
    /// A field begins.
    #[default]
    Start,
    /// An index, or the size of the table, goes on.
    Index(Integer, After),
    /// A string begins with its length.
    Length {
        of: Text,
        is_authority: bool,
    },
    LengthGoesOn {
        of: Text,
        is_authority: bool,
        plain: bool,
        length: Integer,
    },
    Name {
        plain: bool,
        read: usize,
        left: u64,
        is_authority: bool,
    },
    Value {
        mend: Option<Mender>,
        left: u64,
    },
}

/// What follows an index.
#[derive(Clone, Copy, Debug)]
enum After {
    Nothing,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Name,
    Value,
}

/// An integer of HPACK that is longer than its first byte.
#[derive(Clone, Copy, Debug)]
struct Integer {
    value: u64,
    shift: u32,
}

impl Integer {
    /// Takes a byte; gives the value with the last one.
    fn take(&mut self, byte: u8) -> Option<u64> {
        // What does not fit is malformed, and the h2 crate says so.
        let part = u64::from(byte & 0x7f).checked_shl(self.shift).unwrap_or(0);
        self.value = self.value.saturating_add(part);
        self.shift = self.shift.saturating_add(7);
        (byte & 0x80 == 0).then_some(self.value)
    }
}

impl Authority {
    /// Looks at the next bytes, mends them in place, and says which frames began among them.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) -> FrameCounts {
        self.counts = FrameCounts::default();
        self.read(bytes);
        self.counts
    }

    fn read(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = match &mut self.frames {
                Frames::Unknown => return,
                Frames::Skip { skip, .. } => {
                    let taken = bytes.len().min(*skip);
                    *skip -= taken;
                    taken
                }
                Frames::Preface { .. } | Frames::Head { .. } | Frames::Fields(_) => 1,
            };
            let (now, later) = bytes.split_at_mut(taken);
            if let Some(byte) = now.first_mut() {
                self.step(byte);
            }
            bytes = later;
        }
    }

    /// One byte; of those that are skipped only the first is given.
    fn step(&mut self, byte: &mut u8) {
        match &mut self.frames {
            Frames::Unknown => return,
            Frames::Skip { .. } => {}
            Frames::Preface { seen } => {
                if PREFACE.get(*seen) != Some(byte) {
                    self.frames = Frames::Unknown;
                    return;
                }
                *seen += 1;
                if *seen < PREFACE.len() {
                    return;
                }
                self.frames = Frames::Skip { skip: 0, then: Block::default() };
            }
            Frames::Head { seen, bytes } => {
                if let Some(place) = bytes.get_mut(*seen) {
                    *place = *byte;
                }
                *seen += 1;
                if *seen < HEAD_BYTES {
                    return;
                }
                let head = *bytes;
                self.begin(head);
            }
            Frames::Fields(block) => {
                if block.padded {
                    block.padded = false;
                    let padding = usize::from(*byte).min(block.fields.saturating_sub(1));
                    let Block { fields, priority, .. } = *block;
                    let block = Block { fields: fields - 1 - padding, padding, padded: false, priority };
                    self.frames =
                        Frames::Skip { skip: priority.min(block.fields), then: without_priority(block) };
                } else {
                    block.fields -= 1;
                    self.fields.step(byte);
                }
            }
        }
        self.settle();
    }

    /// A frame begins.
    fn begin(&mut self, head: [u8; HEAD_BYTES]) {
        let [a, b, c, kind, flags, ..] = head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.counts.all += 1;
        match kind {
            HEADERS => self.fields = Fields::Start,
            SETTINGS if flags & ACK == 0 => self.counts.of_all_streams += 1,
            GOAWAY => self.counts.of_all_streams += 1,
            DATA if length > 0 || flags & END_STREAM != 0 => {}
            CONTINUATION => {}
            _ => self.counts.idle += 1,
        }
        let priority = if kind == HEADERS && flags & PRIORITY != 0 { 5 } else { 0 };
        self.frames = match kind {
            HEADERS if flags & PADDED != 0 => {
                Frames::Fields(Block { fields: length, padding: 0, padded: length > 0, priority })
            }
            HEADERS | CONTINUATION => {
                let block = Block { fields: length, padding: 0, padded: false, priority };
                Frames::Skip { skip: priority.min(length), then: without_priority(block) }
            }
            _ => Frames::Skip { skip: length, then: Block::default() },
        };
    }

    /// Goes on to what has bytes left.
    fn settle(&mut self) {
        if let Frames::Skip { skip: 0, then } = self.frames {
            self.frames = Frames::Fields(then);
        }
        if let Frames::Fields(Block { fields: 0, padding, padded: false, .. }) = self.frames {
            self.frames = if padding > 0 {
                Frames::Skip { skip: padding, then: Block::default() }
            } else {
                Frames::Head { seen: 0, bytes: [0; HEAD_BYTES] }
            };
        }
    }
}

/// The block once its bytes of priority are skipped.
fn without_priority(block: Block) -> Block {
    Block { fields: block.fields - block.priority.min(block.fields), priority: 0, ..block }
}

impl Fields {
    fn step(&mut self, byte: &mut u8) {
        *self = match std::mem::take(self) {
            Self::Start => Self::begin(*byte),
            Self::Index(mut index, after) => match index.take(*byte) {
                Some(index) => Self::indexed(index, after),
                None => Self::Index(index, after),
            },
            Self::Length { of, is_authority } => {
                let plain = *byte & 0x80 == 0;
                match u64::from(*byte & 0x7f) {
                    0x7f => {
                        let length = Integer { value: 0x7f, shift: 0 };
                        Self::LengthGoesOn { of, is_authority, plain, length }
                    }
                    length => Self::string(of, is_authority, plain, length),
                }
            }
            Self::LengthGoesOn { of, is_authority, plain, mut length } => match length.take(*byte) {
                Some(length) => Self::string(of, is_authority, plain, length),
                None => Self::LengthGoesOn { of, is_authority, plain, length },
            },
            Self::Name { plain, read, left, is_authority } => {
                let is_authority = is_authority && NAME.get(read) == Some(&*byte);
                match left - 1 {
                    0 => Self::value(plain && is_authority),
                    left => Self::Name { plain, read: read + 1, left, is_authority },
                }
            }
            Self::Value { mut mend, left } => {
                if let Some(mender) = &mut mend {
                    *byte = mender.mended(*byte);
                }
                match left - 1 {
                    0 => Self::Start,
                    left => Self::Value { mend, left },
                }
            }
        };
    }

    /// The first byte of a field (RFC 7541, section 6).
    fn begin(byte: u8) -> Self {
        let (prefix, after) = match byte {
            0x80.. => (0x7f, After::Nothing),
            0x40..0x80 => (0x3f, After::Value),
            0x20..0x40 => (0x1f, After::Nothing),
            0x00..0x20 => (0x0f, After::Value),
        };
        match byte & prefix {
            index if index == prefix => Self::Index(Integer { value: prefix.into(), shift: 0 }, after),
            index => Self::indexed(index.into(), after),
        }
    }

    fn indexed(index: u64, after: After) -> Self {
        match (after, index) {
            (After::Nothing, _) => Self::Start,
            (After::Value, 0) => Self::Length { of: Text::Name, is_authority: false },
            (After::Value, index) => Self::Length { of: Text::Value, is_authority: index == AUTHORITY },
        }
    }

    /// A string of so many bytes begins.
    fn string(of: Text, is_authority: bool, plain: bool, left: u64) -> Self {
        match (of, left) {
            (Text::Name, 0) => Self::value(false),
            (Text::Value, 0) => Self::Start,
            (Text::Name, _) => Self::Name { plain, read: 0, left, is_authority: left == NAME.len() as u64 },
            (Text::Value, _) => Self::Value { mend: (is_authority && plain).then(Mender::default), left },
        }
    }

    fn value(is_authority: bool) -> Self {
        Self::Length { of: Text::Value, is_authority }
    }
}

/// Makes an authority well formed, byte by byte: from the first byte that no host and port have, whatever is not a letter,
/// digit, dot or hyphen is a hyphen.
#[derive(Clone, Copy, Debug, Default)]
struct Mender {
    malformed: bool,
    port: bool,
    brackets: Brackets,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Brackets {
    #[default]
    None,
    Open,
    Closed,
}

impl Mender {
    fn mended(&mut self, byte: u8) -> u8 {
        let inside = self.brackets == Brackets::Open;
        let fits = match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'.' | b'-' => true,
            b'_' | b'~' => true,
            b':' if inside => true,
            b':' => !std::mem::replace(&mut self.port, true),
            b'[' if self.brackets == Brackets::None && !self.port => {
                self.brackets = Brackets::Open;
                true
            }
            b']' if inside => {
                self.brackets = Brackets::Closed;
                true
            }
            _ => false,
        };
        // An address in brackets must end before anything is replaced.
        self.malformed |= !fits && !inside;
        let replaced = if self.malformed {
            !(byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
        } else {
            !fits
        };
        match (replaced, inside) {
            (false, _) => byte,
            (true, true) => b'0',
            (true, false) => b'-',
        }
    }
}

#[cfg(test)]
mod tests;
