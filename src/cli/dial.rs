//! Connections to a running server.

use std::time::Duration;

use anyhow::{Context, Result};
use tonic::transport::{Channel, Endpoint};

use crate::config::ConfigError;
use crate::secret_url::SecretUrl;

/// Connects to what a flag names; `advice` says what to do if nothing answers. A server that has vanished is noticed, also
/// while nothing is asked of it.
pub(super) async fn dial(flag: &str, address: &str, advice: &str) -> Result<Channel> {
    const PATIENCE: Duration = Duration::from_secs(5);
    const ALIVE: Duration = Duration::from_secs(20);
    let address = address.trim_start_matches("http://");
    // No user belongs in it, but one who pastes a URL may bring a password.
    let shown = SecretUrl::from(address.to_owned());
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| {
        ConfigError::invalid(format!("{flag} {shown:?} is not an address and port such as 127.0.0.1:50051"))
    })?;
    let endpoint = endpoint
        .connect_timeout(PATIENCE)
        .http2_keep_alive_interval(ALIVE)
        .keep_alive_timeout(ALIVE)
        .keep_alive_while_idle(true);
    endpoint.connect().await.with_context(|| format!("nothing answers at {shown}; {advice}"))
}
