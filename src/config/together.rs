//! What settings must be to each other.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Values;
use super::layers::Said;

/// One setting must be less than another.
const LESS: [(&str, &str); 3] = [
    // The rest of a message is around its text.
    ("server.max_text_bytes", "server.max_message_bytes"),
    ("signal.share_clear", "signal.share_raise"),
    ("signal.mood_clear", "signal.mood_raise"),
];

/// One setting needs another.
const NEEDS: [(&str, &str); 3] = [
    ("sink.jsonl_folder", "profile.store"),
    ("sink.webhook_url", "profile.store"),
    ("sink.webhook_url", "sink.webhook_secret_file"),
];

/// Everything that is wrong with settings beside each other. One that is wrong by itself is told elsewhere.
pub(super) fn faults(values: &Values<'_>) -> Vec<String> {
    let less = LESS.into_iter().filter_map(|(low, high)| {
        let is_less = values.find::<f64>(low)? < values.find::<f64>(high)?;
        (!is_less).then(|| format!("{} must be less than {}", shown(values, low), shown(values, high)))
    });
    let needs = NEEDS.into_iter().filter(|(key, other)| values.is_set(key) && !values.is_set(other));
    let needs = needs.map(|(key, other)| format!("{key}: needs {other}, which is not set"));
    let folders = ["profile.store", "sink.jsonl_folder"].into_iter().filter_map(|key| {
        let path = values.find::<PathBuf>(key).filter(|path| path.is_file())?;
        Some(format!("{key}: {} is a file, and a folder is needed", path.display()))
    });
    less.chain(too_little_room(values)).chain(needs).chain(one_port_twice(values)).chain(folders).collect()
}

/// One call with the largest message and answer must have room in what its peer may hold, and a peer in what all may.
fn too_little_room(values: &Values<'_>) -> impl Iterator<Item = String> {
    let (message, answer) = ("server.max_message_bytes", "server.max_answer_bytes");
    let (of_peer, of_all) = ("server.max_peer_request_bytes", "server.max_request_bytes");
    let size = |name| values.find::<u64>(name);
    let largest = size(message).zip(size(answer)).map(|(message, answer)| message.saturating_add(answer));
    let of_call = largest.zip(size(of_peer)).filter(|(largest, room)| room < largest).map(|(largest, _)| {
        let [message, answer, of_peer] = [message, answer, of_peer].map(|name| shown(values, name));
        format!("{of_peer} must be at least {largest}: {message} and {answer}")
    });
    let of_peers = size(of_peer).zip(size(of_all)).filter(|(least, room)| room < least);
    let of_peers =
        of_peers.map(|_| format!("{} must be at least {}", shown(values, of_all), shown(values, of_peer)));
    of_call.into_iter().chain(of_peers)
}

/// Two listeners on one port: the second could not begin. Port 0 is another one each time.
fn one_port_twice(values: &Values<'_>) -> Option<String> {
    let grpc = values.find::<SocketAddr>("server.listen")?;
    let http = values.find::<SocketAddr>("server.http_listen")?;
    let overlap = grpc.ip() == http.ip() || grpc.ip().is_unspecified() || http.ip().is_unspecified();
    (overlap && grpc.port() == http.port() && grpc.port() != 0)
        .then(|| format!("server.http_listen: {http} is taken by server.listen, {grpc}; choose another port"))
}

/// A setting, its value and where it was said.
fn shown(values: &Values<'_>, name: &str) -> String {
    match values.0.get(name) {
        Some(Said { value, source }) => format!("{name} = {value} ({source})"),
        None => name.to_owned(),
    }
}
