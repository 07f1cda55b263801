use proptest::prelude::*;

use super::*;
use crate::grpc::v1::{ListErasuresRequest, ListProfilesRequest};

const KEY: [u8; 32] = [7; 32];

fn tokens(prefix: &str) -> PageTokens {
    let request = ListProfilesRequest { key_prefix: prefix.to_owned(), ..ListProfilesRequest::default() };
    PageTokens::new(&KEY, "ListProfiles", &request)
}

fn problem(opened: Result<Option<Vec<u8>>, FieldViolation>) -> String {
    let fault = opened.expect_err("it is refused");
    assert_eq!(fault.field, "page_token");
    fault.description
}

#[test]
fn a_token_is_opened_by_its_own_request_alone() {
    let token = tokens("brand/").seal(b"brand/somtam");
    assert_eq!(tokens("brand/").open(&token).expect("its own"), Some(b"brand/somtam".to_vec()));
    assert_eq!(tokens("brand/").open("").expect("the first page"), None);
    let other_filter = tokens("customer/").open(&token);
    assert!(problem(other_filter).starts_with("is of another request"));
    let request = ListProfilesRequest { key_prefix: "brand/".to_owned(), ..ListProfilesRequest::default() };
    let other_method = PageTokens::new(&KEY, "ExportSubject", &request).open(&token);
    assert!(problem(other_method).starts_with("is of another request"));
    let other_message = PageTokens::new(&KEY, "ListErasures", &ListErasuresRequest::default()).open(&token);
    assert!(problem(other_message).starts_with("is of another request"));
    let other_store = PageTokens::new(&[8; 32], "ListProfiles", &request).open(&token);
    assert!(problem(other_store).starts_with("is no token of this server"));
}

#[test]
fn a_token_shows_nothing_of_its_place() {
    let token = tokens("").seal(b"customer/somchai");
    let bytes = URL_SAFE_NO_PAD.decode(&token).expect("base64 that goes into a URL");
    assert!(!bytes.windows(7).any(|part| part == b"somchai"));
    assert_eq!(token, tokens("").seal(b"customer/somchai"), "the same place has the same token");
    assert!(token.len() < MAX_TOKEN_BYTES && tokens("").seal(&[0; 300]).len() < MAX_TOKEN_BYTES);
}

proptest! {
    /// One bit or one character changed, bytes added or cut off: none is taken.
    #[test]
    fn a_token_that_was_changed_is_refused(place: Vec<u8>, at: prop::sample::Index, with: u8, cut: bool) {
        let tokens = tokens("brand/");
        let token = tokens.seal(&place);
        let mut changed = token.clone().into_bytes();
        if cut {
            changed.truncate(at.index(changed.len()));
        } else if let Some(byte) = changed.get_mut(at.index(token.len())) {
            *byte = with;
        }
        let changed = String::from_utf8_lossy(&changed).into_owned();
        prop_assume!(changed != token && !changed.is_empty());
        prop_assert!(problem(tokens.open(&changed)).starts_with("is no token of this server"));
    }
}

#[test]
fn page_sizes_are_coerced() {
    for (asked, size) in [(0, 50), (1, 1), (256, 256), (257, 256), (i32::MAX, 256)] {
        assert_eq!(page_size(asked, 50, 256).expect("coerced"), size);
    }
    assert_eq!(page_size(0, 50, 10).expect("coerced"), 10, "the default is no more than the most");
    assert_eq!(page_size(-1, 50, 256).expect_err("refused").field, "page_size");
}
