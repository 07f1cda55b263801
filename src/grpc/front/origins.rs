//! The origins whose pages may ask by gRPC-Web. There are none unless the settings name some.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use hyper::header::HeaderValue;

/// Origins such as `https://console.example`, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// No page may ask.
    #[default]
    None,
    /// The pages of these may.
    Of(Vec<String>),
    /// All pages may.
    Any,
}

/// Why a list of origins is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginsError(String);

impl fmt::Display for OriginsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not an origin; write scheme, host and port as the browser does, such as https://console.example or http://localhost:3000, or * for all",
            self.0
        )
    }
}

impl std::error::Error for OriginsError {}

impl FromStr for Origins {
    type Err = OriginsError;

    fn from_str(list: &str) -> Result<Self, OriginsError> {
        let list: Vec<&str> = list.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
        if list == ["*"] {
            return Ok(Self::Any);
        }
        let checked = list.into_iter().map(|origin| {
            if is_origin(origin) {
                Ok(origin.to_ascii_lowercase())
            } else {
                Err(OriginsError(origin.to_owned()))
            }
        });
        let origins: Vec<String> = checked.collect::<Result<_, _>>()?;
        Ok(if origins.is_empty() { Self::None } else { Self::Of(origins) })
    }
}

/// Scheme, host and port, nothing else: a path would never match.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let fits = text.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    matches!(scheme, "http" | "https") && fits && !host.contains(['/', '?', '#', '@', '*'])
}

impl Origins {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::None
    }

    /// Whether pages of an origin may ask.
    pub(super) fn allow(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::Of(origins) => origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for (list, origins) in [
            ("", Some(Origins::None)),
            (" , ", Some(Origins::None)),
            ("*", Some(Origins::Any)),
            (
                "https://a.example, http://localhost:3000",
                Some(Origins::Of(vec!["https://a.example".to_owned(), "http://localhost:3000".to_owned()])),
            ),
            ("HTTPS://A.example", None),
            ("a.example", None),
            ("https://a.example/", None),
            ("https://a.example/path", None),
            ("https://*.example", None),
            ("https://a.example,*", None),
            ("null", None),
            ("ftp://a.example", None),
        ] {
            assert_eq!(list.parse::<Origins>().ok(), origins, "{list}");
        }
    }

    #[test]
    fn only_the_origin_itself_is_allowed() {
        let origins: Origins = "https://a.example".parse().expect("an origin");
        for (origin, allowed) in [
            ("https://a.example", true),
            ("http://a.example", false),
            ("https://a.example:8443", false),
            ("https://a.example.evil.example", false),
            ("https://b.example", false),
            ("null", false),
        ] {
            assert_eq!(origins.allow(&HeaderValue::from_static(origin)), allowed, "{origin}");
        }
    }
}
