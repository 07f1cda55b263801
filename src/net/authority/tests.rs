#![allow(clippy::indexing_slicing, reason = "a test that panics has failed")]

use hyper::http::uri;
use proptest::prelude::*;

use super::*;

/// An integer with a prefix of so many bits (RFC 7541, section 5.1).
fn integer(first: u8, bits: u32, mut value: usize) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![first | u8::try_from(value).expect("below the prefix")];
    }
    let mut bytes = vec![first | u8::try_from(most).expect("a prefix")];
    value -= most;
    while value >= 128 {
        bytes.push(u8::try_from(value % 128).expect("seven bits") | 128);
        value /= 128;
    }
    bytes.push(u8::try_from(value).expect("seven bits"));
    bytes
}

fn string(text: &[u8]) -> Vec<u8> {
    [integer(0, 7, text.len()), text.to_vec()].concat()
}

/// The authority as a literal: 0x40 adds it to the table, 0x00 does not, 0x10 never does.
fn authority(kind: u8, value: &[u8]) -> Vec<u8> {
    let bits = if kind == 0x40 { 6 } else { 4 };
    [integer(kind, bits, 1), string(value)].concat()
}

fn other(name: &[u8], value: &[u8]) -> Vec<u8> {
    [vec![0x40], string(name), string(value)].concat()
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &[0, 0, 0, 1], payload].concat()
}

fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frames.concat()].concat()
}

/// What comes out if the bytes come in pieces of this size.
fn passed(bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut authority = Authority::default();
    bytes.chunks_mut(piece).for_each(|piece| _ = authority.pass(piece));
    bytes
}

fn mended(value: &str) -> String {
    let mut mender = Mender::default();
    value.bytes().map(|byte| char::from(mender.mended(byte))).collect()
}

#[test]
fn malformed_authorities_become_well_formed_and_the_others_stay() {
    for (sent, read) in [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("arom.example", "arom.example"),
        ("a_b.c~d:1", "a_b.c~d:1"),
        ("[::1]:50051", "[::1]:50051"),
        ("127.0.0.1:50051,127.0.0.2:50051", "127.0.0.1:50051-127.0.0.2-50051"),
        ("127.0.0.1:50051%2C127.0.0.2:50051", "127.0.0.1:50051-2C127.0.0.2-50051"),
        ("[::1]:1,[::2]:2", "[::1]:1----2--2"),
        ("[::1]:1%2C%5B::2%5D:2", "[::1]:1-2C-5B--2-5D-2"),
        ("[fe80::1%25eth0]:1", "[fe80::1025eth0]:1"),
        ("my service", "my-service"),
        ("user@host", "user-host"),
        ("path/to", "path-to"),
        ("a:b:c", "a:b-c"),
    ] {
        assert_eq!(mended(sent), read, "{sent}");
        assert!(read.parse::<uri::Authority>().is_ok(), "{read}");
    }
}

#[test]
fn every_form_of_the_literal_is_found_and_huffman_code_is_left_alone() {
    let (bad, good) = (b"a:1,b:2", b"a:1-b-2");
    for kind in [0x40, 0x00, 0x10] {
        let sent = connection(&[frame(HEADERS, 4, &authority(kind, bad))]);
        assert_eq!(passed(&sent, 1), connection(&[frame(HEADERS, 4, &authority(kind, good))]));
    }
    for (name, read) in [(":authority", good), (":authoritx", bad), (":authority2", bad), (":path", bad)] {
        let sent = connection(&[frame(HEADERS, 4, &other(name.as_bytes(), bad))]);
        assert_eq!(passed(&sent, 1), connection(&[frame(HEADERS, 4, &other(name.as_bytes(), read))]));
    }
    let huffman = [integer(0x40, 6, 1), integer(0x80, 7, 3), b",,,".to_vec()].concat();
    let sent = connection(&[frame(HEADERS, 4, &huffman)]);
    assert_eq!(passed(&sent, 7), sent);
}

#[test]
fn what_is_not_http_2_passes_unchanged() {
    let request = b"POST /x HTTP/1.1\r\nhost: a:1,b:2\r\n\r\n";
    assert_eq!(passed(request, 5), request);
}

/// A field and how it is to be read.
fn field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        ("[ -~]{0,200}", prop::sample::select(vec![0x40u8, 0, 0x10])).prop_map(|(value, kind)| {
            (authority(kind, value.as_bytes()), authority(kind, mended(&value).as_bytes()))
        }),
        (bytes.clone(), bytes).prop_map(|(name, value)| {
            let field = other(&name, &value);
            (field.clone(), field)
        }),
        (1usize..200).prop_map(|index| (integer(0x80, 7, index), integer(0x80, 7, index))),
        (0usize..9000).prop_map(|size| (integer(0x20, 5, size), integer(0x20, 5, size))),
    ]
}

/// The frames of a block of fields: split into continuations, padded, with priority, after some data.
fn frames(block: &[u8], split: usize, padding: u8, priority: bool) -> Vec<u8> {
    let (first, rest) = block.split_at(split.min(block.len()));
    let flags = if priority { PADDED | PRIORITY } else { PADDED };
    let priority: &[u8] = if priority { &[0x40; 5] } else { &[] };
    let padding_bytes = vec![0x41; padding.into()];
    let first = [&[padding], priority, first, &padding_bytes].concat();
    connection(&[
        frame(0, 0, b"\x41\x07a:1,b:2"),
        frame(HEADERS, flags, &first),
        frame(CONTINUATION, 4, rest),
        frame(6, 0, &[0x41; 8]),
    ])
}

proptest! {
    #[test]
    fn only_the_authority_changes_however_the_bytes_come(
        fields in prop::collection::vec(field(), 0..8),
        split in 0usize..400,
        padding in any::<u8>(),
        priority in any::<bool>(),
        piece in 1usize..100,
    ) {
        let (sent, read): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
        let sent = frames(&sent.concat(), split, padding, priority);
        prop_assert_eq!(passed(&sent, piece), frames(&read.concat(), split, padding, priority));
    }

    #[test]
    fn an_authority_that_is_well_formed_stays_as_it_is(value in "[a-z0-9.-]{1,20}(:[0-9]{1,5})?|\\[[0-9a-f:]{2,20}\\](:[0-9]{1,5})?") {
        prop_assert_eq!(mended(&value), value);
    }

    #[test]
    fn no_bytes_make_it_panic_and_none_are_lost(bytes in prop::collection::vec(any::<u8>(), 0..600), piece in 1usize..100) {
        let sent = connection(&[bytes]);
        prop_assert_eq!(passed(&sent, piece).len(), sent.len());
        prop_assert_eq!(passed(&sent, piece), passed(&sent, 1));
    }
}

#[test]
fn settings_and_goaway_are_counted_and_answers_to_settings_are_not() {
    let frames = [frame(4, 0, &[]), frame(4, 1, &[]), frame(7, 0, &[0; 8]), frame(6, 0, &[0; 8])];
    let mut bytes = connection(&frames);
    let mut authority = Authority::default();
    let counted: u32 = bytes.chunks_mut(5).map(|piece| authority.pass(piece).of_all_streams).sum();
    assert_eq!(counted, 2);
}
