//! Which requests go to the services at all, by their headers.
//!
//! A page of any origin can make a browser send a form: `text/plain`, `application/x-www-form-urlencoded` or
//! `multipart/form-data`, without asking first. A proxy would pass that on. So nothing but gRPC reaches a method, and nothing that names an origin which is
//! not allowed.

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, UPGRADE};
use hyper::{Method, Request, StatusCode, Version};

use super::Origins;

pub(super) const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Why a request is refused, as HTTP says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: String,
    pub(super) header: Option<(HeaderName, HeaderValue)>,
}

fn refused(status: StatusCode, text: &str) -> Refusal {
    Refusal { status, text: format!("{text}\n"), header: None }
}

/// What a content type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Native,
    Web,
    Other,
}

/// A content type in small letters, without its parameters.
fn essence(value: &HeaderValue) -> String {
    let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
    value.split(';').next().unwrap_or_default().trim().to_owned()
}

fn kind<B>(request: &Request<B>) -> Kind {
    let mut values = request.headers().get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Kind::Other };
    match essence(value).as_str() {
        "application/grpc" | "application/grpc+proto" => Kind::Native,
        "application/grpc-web"
        | "application/grpc-web+proto"
        | "application/grpc-web-text"
        | "application/grpc-web-text+proto" => Kind::Web,
        _ => Kind::Other,
    }
}

/// Whether a request is of gRPC-Web.
pub(super) fn is_web<B>(request: &Request<B>) -> bool {
    kind(request) == Kind::Web
}

/// Writes the content type of gRPC-Web without parameters and in small letters, as the layer behind compares it.
pub(super) fn plain_type<B>(request: &mut Request<B>) {
    if let Some(value) = request.headers_mut().get_mut(CONTENT_TYPE) {
        let essence = essence(value);
        if let Ok(essence) = HeaderValue::from_str(&essence) {
            *value = essence;
        }
    }
}

/// Refuses what must not reach a method.
pub(super) fn check<B>(request: &Request<B>, origins: &Origins) -> Result<(), Refusal> {
    if request.headers().get_all(ORIGIN).iter().any(|origin| !origins.allow(origin)) {
        let text = "pages of this origin may not call this server; an operator can add the origin to server.web_origins";
        return Err(refused(StatusCode::FORBIDDEN, text));
    }
    if request.method() == Method::OPTIONS && request.headers().contains_key(ORIGIN) {
        return Ok(());
    }
    if request.method() != Method::POST {
        let refusal = refused(StatusCode::METHOD_NOT_ALLOWED, "this port speaks gRPC, which only uses POST");
        return Err(Refusal { header: Some((ALLOW, HeaderValue::from_static("POST"))), ..refusal });
    }
    match kind(request) {
        Kind::Native if request.version() < Version::HTTP_2 => {
            let refusal = refused(StatusCode::UPGRADE_REQUIRED, "gRPC needs HTTP/2");
            Err(Refusal { header: Some((UPGRADE, HeaderValue::from_static("h2c"))), ..refusal })
        }
        Kind::Native => Ok(()),
        Kind::Web if !origins.is_empty() => Ok(()),
        Kind::Web => {
            let text = "gRPC-Web is off; an operator can turn it on by naming origins in server.web_origins";
            Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
        }
        Kind::Other => {
            let text =
                "this port speaks gRPC: the content type must be application/grpc or application/grpc+proto";
            Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).version(Version::HTTP_2).uri("/a.B/C");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    fn status(request: &Request<()>, origins: &Origins) -> u16 {
        check(request, origins).err().map_or(200, |refusal| refusal.status.as_u16())
    }

    #[test]
    fn only_grpc_reaches_a_method() {
        for (content_type, expected) in [
            ("application/grpc", 200),
            ("Application/GRPC", 200),
            ("application/grpc+proto", 200),
            ("application/grpc; charset=utf-8", 200),
            ("application/grpc+json", 415),
            ("application/grpcx", 415),
            ("application/grpc-web", 415),
            ("text/plain", 415),
            ("text/plain; application/grpc", 415),
            ("application/x-www-form-urlencoded", 415),
            ("multipart/form-data; boundary=x", 415),
            ("application/json", 415),
            ("application/octet-stream", 415),
            ("application/proto", 415),
            ("", 415),
        ] {
            let request = request("POST", &[("content-type", content_type)]);
            assert_eq!(status(&request, &Origins::None), expected, "{content_type}");
        }
        assert_eq!(status(&request("POST", &[]), &Origins::None), 415);
        let both = request("POST", &[("content-type", "application/grpc"), ("content-type", "text/plain")]);
        assert_eq!(status(&both, &Origins::None), 415);
    }

    #[test]
    fn grpc_takes_post_over_http_2_only() {
        for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"] {
            let request = request(method, &[("content-type", "application/grpc")]);
            assert_eq!(status(&request, &Origins::Any), 405, "{method}");
        }
        let mut request = request("POST", &[("content-type", "application/grpc")]);
        *request.version_mut() = Version::HTTP_11;
        assert_eq!(status(&request, &Origins::Any), 426);
    }

    #[test]
    fn a_page_reaches_a_method_only_if_its_origin_is_allowed() {
        let allowed: Origins = "https://console.example".parse().expect("an origin");
        let (good, evil) = ("https://console.example", "https://evil.example");
        for (origin, content_type, origins, expected) in [
            (good, "application/grpc-web+proto", &Origins::None, 403),
            (good, "application/grpc-web+proto", &allowed, 200),
            (evil, "application/grpc-web+proto", &allowed, 403),
            (evil, "application/grpc-web+proto", &Origins::Any, 200),
            (evil, "application/grpc", &allowed, 403),
            ("null", "application/grpc-web", &allowed, 403),
            (good, "text/plain", &allowed, 415),
        ] {
            let request = request("POST", &[("origin", origin), ("content-type", content_type)]);
            assert_eq!(status(&request, origins), expected, "{origin} {content_type}");
        }
        let preflight = |origin| request("OPTIONS", &[("origin", origin)]);
        assert_eq!(status(&preflight(good), &allowed), 200);
        assert_eq!(status(&preflight(evil), &allowed), 403);
    }
}
