//! URLs that may hold passwords and tokens: they are printed without them.

use std::fmt;
use std::str::FromStr;

use tonic::transport::Uri;

/// What stands for a secret where a URL is printed.
pub(crate) const HIDDEN: &str = "***";

/// A URL whose secrets are not printed: only its scheme, host and port are. Nobody can tell a token from the name of a path.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The URL as it was written, for whoever connects to it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The URL, if it has a host and, if it has a port, one that there is: the parser takes any text for a port.
    pub(crate) fn place(&self) -> Option<Uri> {
        let url: Uri = self.0.parse().ok()?;
        let host = url.host().filter(|host| !host.is_empty())?;
        let place = url.authority()?.as_str().rsplit('@').next()?;
        let port = place.strip_prefix(host)?.strip_prefix(':').unwrap_or_default();
        (port.is_empty() || port.parse().is_ok_and(|port: u16| port > 0)).then_some(url)
    }

    /// A text of somebody else's about this URL, without the secrets of it or of any other.
    pub fn hide_in(&self, text: &str) -> String {
        hide_urls(&text.replace(&self.0, &self.to_string()))
    }
}

impl From<String> for SecretUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl FromStr for SecretUrl {
    type Err = std::convert::Infallible;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Ok(Self(url.to_owned()))
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hidden(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", hidden(&self.0))
    }
}

/// A text with every URL in it printed without its secrets. Each byte is looked at a fixed number of times.
pub(crate) fn hide_urls(text: &str) -> String {
    text.split_inclusive(|ch: char| ch.is_whitespace() || ch.is_control()).map(hide_in_word).collect()
}

/// A line of JSON with every URL in it printed without its secrets.
///
/// Between two fields there is no space, so each string is looked at by itself.
pub(crate) fn hide_json_urls(line: &str) -> String {
    let mut escaped = false;
    let ends_string = |ch: char| {
        let ends = ch == '"' && !escaped;
        escaped = ch == '\\' && !escaped;
        ends
    };
    line.split_inclusive(ends_string).map(hide_urls).collect()
}

/// As [`hide_urls`], of a text without spaces but the last character.
fn hide_in_word(word: &str) -> String {
    const ENDS: [char; 8] = ['"', '\'', '`', '<', '>', '{', '}', '|'];
    let mut shown = String::new();
    let mut rest = word;
    // A password may hold one of the signs that end a URL. Then there is an `@` behind it, and the host follows the last of them.
    let mut last_at = word.rfind('@');
    while let Some((before, after)) = rest.split_once("://") {
        let passed = rest.len() - after.len();
        let host = last_at.and_then(|at| at.checked_sub(passed)).unwrap_or(0);
        let ends = |ch: char| ENDS.contains(&ch) || ch.is_whitespace() || ch.is_control();
        let end = after.get(host..).and_then(|behind| behind.find(ends)).map_or(after.len(), |at| host + at);
        // A backslash belongs to the quote behind it. Without it a line of JSON would be none.
        let end = after.get(..end).map_or(end, |url| url.trim_end_matches('\\').len());
        let (url, following) = after.split_at(end);
        shown.push_str(before);
        // With the end of its scheme: else a `://` in the password would be taken for that.
        shown.push_str(&hidden(&format!("://{url}")));
        last_at = last_at.and_then(|at| at.checked_sub(passed + end));
        rest = following;
    }
    shown + rest
}

/// A URL, with or without its scheme, without its secrets.
fn hidden(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let host = after_user(rest);
    let user = if host.len() < rest.len() { "***@" } else { "" };
    let (host, behind) = host.split_at(host.find(['/', '?', '#']).unwrap_or(host.len()));
    let behind = if behind.is_empty() || behind == "/" { behind } else { "/***" };
    format!("{scheme}{user}{host}{behind}")
}

/// What follows the user and password. A password may hold an `@`, `/`, `?` or `#` that should have been escaped: then what is
/// before it has a port that is no number, or there is another `@` behind it.
fn after_user(rest: &str) -> &str {
    let mut left = rest;
    loop {
        let authority = left.split(['/', '?', '#']).next().unwrap_or_default();
        let is_host = is_host(authority);
        let was_cut = left.len() < rest.len();
        let at = authority.rfind('@').or_else(|| if is_host { None } else { left.find('@') });
        // One in the path. The search ends where the path does, so that no byte is searched again.
        let at = at.or_else(|| {
            left.find(['@', '?', '#'])
                .filter(|&at| was_cut && left.get(at..).is_some_and(|left| left.starts_with('@')))
        });
        match at.and_then(|at| left.get(at + 1..)) {
            Some(after) => left = after,
            None => return left,
        }
    }
}

/// Whether it may be a host, with a port or without.
fn is_host(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, port),
        _ => (authority, "0"),
    };
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_port && !host.is_empty() && (host.starts_with('[') || !host.contains(':'))
}

#[cfg(test)]
mod tests;
