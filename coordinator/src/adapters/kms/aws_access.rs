//! Access to AWS for one slot: region, credentials, the role to assume, time limits, retries, and one HTTP client for all slots.
//! Makes clients when they are first needed and keeps them. Knows nothing of keys.

use super::Refusal;
use crate::adapters::registry::SlotConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kms::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider as Tls, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Where AWS is, if not where the environment says (`AWS_ENDPOINT_URL`, `AWS_PROFILE`, …) as usual.
#[derive(Clone, Default)]
pub struct AwsOptions {
    /// Another address for all services.
    pub endpoint_url: Option<String>,
    /// Other credentials than the environment's. A role is assumed with these.
    pub credentials: Option<SharedCredentialsProvider>,
    /// How long to wait.
    pub patience: Patience,
}

/// How long a provider is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// For a connection.
    pub connection: Duration,
    /// For the answer to one attempt.
    pub attempt: Duration,
    /// For a call with its repetitions, its turn among others, and whatever credentials it needs first.
    pub call: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connection: Duration::from_secs(3),
            attempt: Duration::from_secs(5),
            call: Duration::from_secs(8),
        }
    }
}

/// What all slots share.
pub(super) struct Aws {
    options: AwsOptions,
    http: SharedHttpClient,
}

/// The clients of one slot in one region.
pub(super) struct Clients {
    pub(super) kms: aws_sdk_kms::Client,
    pub(super) secrets: aws_sdk_secretsmanager::Client,
    /// As resolved: what stands in the registry, in the key's ARN, or in the environment.
    pub(super) region: String,
}

/// The clients of one slot, by the region they were asked for.
#[derive(Default)]
pub(super) struct SlotClients(Mutex<HashMap<Option<String>, Making>>);

/// Clients, once they are made.
type Making = Arc<OnceCell<Arc<Clients>>>;

impl SlotClients {
    /// The clients for `region`, made if they are not there. Those who wait for the same ones wait for one making.
    pub(super) async fn of(
        &self,
        aws: &Aws,
        slot: &SlotOf<'_>,
        region: Option<&str>,
    ) -> Result<Arc<Clients>, Refusal> {
        let cell = {
            let mut cells = self.0.lock();
            if cells.len() >= REGIONS_MAX && !cells.contains_key(&region.map(str::to_owned)) {
                cells.clear();
            }
            cells.entry(region.map(str::to_owned)).or_default().clone()
        };
        let clients = cell
            .get_or_try_init(async || aws.clients(slot, region).await.map(Arc::new))
            .await?;
        Ok(clients.clone())
    }
}

/// A slot by name and as it is written.
pub(super) struct SlotOf<'a> {
    pub(super) name: &'a str,
    pub(super) config: &'a SlotConfig,
}

impl Aws {
    pub(super) fn new(options: AwsOptions) -> Self {
        // As the SDK makes its own, but one for all slots, with few idle connections.
        let http = Builder::new()
            .pool_idle_timeout(CONNECTION_IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build_with_connector_fn(|settings, components| {
                let mut connector = ConnectorBuilder::default().tls_provider(Tls::Rustls(CryptoMode::AwsLc));
                connector.set_connector_settings(settings.cloned());
                connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
                connector.set_proxy_config(Some(ProxyConfig::from_env()));
                connector.build()
            });
        Self { options, http }
    }

    pub(super) fn patience(&self) -> Patience {
        self.options.patience
    }

    async fn clients(&self, slot: &SlotOf<'_>, region: Option<&str>) -> Result<Clients, Refusal> {
        if slot.config.external_id.is_some() && slot.config.role_arn.is_none() {
            return Err(Refusal::misconfigured(
                "external_id needs role_arn; add role_arn, or remove external_id",
            ));
        }
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(self.http.clone())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(ATTEMPTS_MAX)
                    .with_initial_backoff(BACKOFF_FIRST)
                    .with_max_backoff(BACKOFF_MAX),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(self.options.patience.connection)
                    .operation_attempt_timeout(self.options.patience.attempt)
                    .operation_timeout(self.options.patience.call)
                    .build(),
            );
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        if let Some(url) = &self.options.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(credentials) = &self.options.credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        let config = loader.load().await;
        let region = config.region().map(|region| region.as_ref().to_owned());
        let region =
            region.ok_or_else(|| Refusal::misconfigured("no AWS region is known; add region to it"))?;
        let config = assuming_its_role(config, slot).await;
        Ok(Clients {
            kms: aws_sdk_kms::Client::new(&config),
            secrets: aws_sdk_secretsmanager::Client::new(&config),
            region,
        })
    }
}

/// The SDK asks for new credentials before the role's run out, and keeps them in the meantime.
async fn assuming_its_role(config: SdkConfig, slot: &SlotOf<'_>) -> SdkConfig {
    let Some(role) = &slot.config.role_arn else {
        return config;
    };
    let session = slot.config.role_session_name.clone();
    let mut role = AssumeRoleProvider::builder(role)
        .configure(&config)
        .session_name(session.unwrap_or_else(|| session_name(slot.name)));
    if let Some(external_id) = &slot.config.external_id {
        role = role.external_id(external_id);
    }
    let credentials = SharedCredentialsProvider::new(role.build().await);
    config.into_builder().credentials_provider(credentials).build()
}

/// `sealdex-<slot>` in the characters and the length that STS takes.
fn session_name(slot: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || "_=,.@-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let slot = slot.chars().map(allowed);
    "sealdex-"
        .chars()
        .chain(slot)
        .take(SESSION_NAME_CHARS_MAX)
        .collect()
}

/// The region in an ARN: `arn:partition:service:region:account:…`.
pub(super) fn region_of_arn(key_id: &str) -> Option<&str> {
    let mut parts = key_id.split(':');
    (parts.next() == Some("arn")).then_some(())?;
    parts.nth(2).filter(|region| !region.is_empty())
}

/// The first and two repetitions, with jitter.
const ATTEMPTS_MAX: u32 = 3;

const BACKOFF_FIRST: Duration = Duration::from_millis(200);

const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Calls are rare, since opened keys are cached.
const IDLE_CONNECTIONS_MAX: usize = 4;

const CONNECTION_IDLE: Duration = Duration::from_secs(30);

/// Regions that one slot's envelopes name. There is one, and another after the slot was moved.
const REGIONS_MAX: usize = 8;

const SESSION_NAME_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_names_are_such_as_sts_takes() {
        assert_eq!(session_name("tenant-7"), "sealdex-tenant-7");
        assert_eq!(session_name("a b/ü:c"), "sealdex-a-b---c");
        assert_eq!(session_name(&"x".repeat(99)).len(), 64);
    }

    #[test]
    fn a_region_is_read_from_an_arn() {
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234";
        assert_eq!(region_of_arn(arn), Some("eu-west-1"));
        for none in [
            "alias/sealdex",
            "arn:aws:iam::111122223333:role/x",
            "",
            "arn",
            "x:y:z:eu-west-1",
        ] {
            assert_eq!(region_of_arn(none), None, "{none}");
        }
    }
}
