//! Behaviour seen from outside: the command line, the server, the bundle and the clients.

#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod answers;
mod backup;
mod batch;
mod bundle;
mod cache;
mod chat;
mod cli;
mod clients;
mod config_check;
mod constraints;
mod conversation;
mod exports;
mod fair;
mod faults;
mod features;
mod grpc;
mod health;
mod hostile;
mod layering;
mod lifecycle;
mod limits;
mod observe;
mod overload;
mod privacy;
mod profile;
mod prometheus;
mod protected;
mod python;
mod readme;
mod reload;
mod scripted;
mod sinks;
mod store;
mod stream;
mod support;
mod targets;
mod traces;
mod transport;
mod unread;
mod watch;

#[path = "../../examples/client.rs"]
#[allow(dead_code, unreachable_pub, reason = "an example has a main of its own")]
mod example_client;
