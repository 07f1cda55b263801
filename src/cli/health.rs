//! `arom health`: whether a server serves, for container health checks and scripts.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use tonic::transport::Endpoint;

use super::wait;
use crate::config::{CommonFlags, Config, ServeFlags};
use crate::grpc::health::pb::health_check_response::ServingStatus;
use crate::grpc::health::pb::{HealthCheckRequest, health_client::HealthClient};
use crate::secret_url::SecretUrl;

const PATIENCE: Duration = Duration::from_secs(3);

/// Ask a server whether it serves: exit code 0 if it does, 1 if not.
///
/// Asks grpc.health.v1, as Kubernetes' gRPC probes do, and waits at most three seconds.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  arom health\n  arom health arom.internal:50051\n  \
    arom health --service arom.v1.ProfileService")]
pub(super) struct HealthArgs {
    /// The server's address and port; by default server.listen of the settings file, or 127.0.0.1:50051.
    #[arg(value_name = "ADDRESS", env = "AROM_LISTEN", hide_env_values = true)]
    address: Option<String>,
    /// Ask for one service, such as arom.v1.ProfileService; without it, for the server as a whole.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
}

pub(super) fn run(args: &HealthArgs, common: &CommonFlags) -> Result<()> {
    let address = match &args.address {
        Some(address) => address.clone(),
        None => Config::resolve(common, &ServeFlags::default())?.server.listen.to_string(),
    };
    let shown = SecretUrl::from(address.clone());
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .with_context(|| format!("{shown:?} is not an address and port such as 127.0.0.1:50051"))?
        .timeout(PATIENCE)
        .connect_timeout(PATIENCE);
    let status = wait(async {
        let channel = endpoint.connect().await.with_context(|| format!("nothing answers at {shown}"))?;
        let request = HealthCheckRequest { service: args.service.clone() };
        let answer = HealthClient::new(channel).check(request).await;
        let refused =
            |status: &tonic::Status| format!("{shown} did not answer the health check: {}", status.message());
        anyhow::Ok(answer.map_err(|status| anyhow!(refused(&status)))?.into_inner().status())
    })??;
    match status {
        ServingStatus::Serving => Ok(()),
        ServingStatus::Unknown | ServingStatus::NotServing | ServingStatus::ServiceUnknown => {
            bail!("{shown} is up but not serving: {}", status.as_str_name())
        }
    }
}
