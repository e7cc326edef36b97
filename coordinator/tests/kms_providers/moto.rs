//! Makes keys and secrets in the imitation of AWS, with AWS's own clients, which the code under test never does.

use aws_sdk_kms::config::{
    BehaviorVersion, Credentials, Region, SharedCredentialsProvider, SharedHttpClient,
};
use aws_sdk_kms::primitives::Blob;
pub(crate) use sealdex_tests::aws::REGION;
use std::net::SocketAddr;

/// The running imitation.
pub(crate) struct Moto {
    address: SocketAddr,
}

/// The imitation, started if it is not.
pub(crate) fn moto() -> Moto {
    Moto {
        address: sealdex_tests::aws::imitation(),
    }
}

pub(crate) fn credentials() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new("AKIATHESERVER", "secret", None, None, "test"))
}

impl Moto {
    /// A new KMS key of the server's own account; its id.
    pub(crate) async fn key(&self) -> String {
        new_key(&self.kms(REGION, credentials())).await
    }

    /// A new KMS key in another region.
    pub(crate) async fn key_in(&self, region: &'static str) -> String {
        new_key(&self.kms(region, credentials())).await
    }

    /// A new KMS key of the account of `role`, which only those who have assumed the role can see.
    pub(crate) async fn key_behind(&self, role: &str) -> String {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http())
            .endpoint_url(format!("http://{}", self.address))
            .region(Region::new(REGION))
            .credentials_provider(credentials());
        let sts = aws_sdk_sts::Client::from_conf(config.build());
        let call = sts.assume_role().role_arn(role).role_session_name("tenant");
        let owner = call.send().await.unwrap().credentials.unwrap();
        let owner = Credentials::new(
            owner.access_key_id,
            owner.secret_access_key,
            Some(owner.session_token),
            None,
            "test",
        );
        new_key(&self.kms(REGION, SharedCredentialsProvider::new(owner))).await
    }

    /// A new secret; its name.
    pub(crate) async fn secret(&self, name: &str, binary: Option<&[u8]>, text: Option<&str>) -> String {
        let made = self
            .secrets()
            .create_secret()
            .name(name)
            .set_secret_binary(binary.map(Blob::new))
            .set_secret_string(text.map(str::to_owned));
        made.send().await.unwrap().name.unwrap()
    }

    pub(crate) fn kms(
        &self,
        region: &'static str,
        credentials: SharedCredentialsProvider,
    ) -> aws_sdk_kms::Client {
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http())
            .endpoint_url(format!("http://{}", self.address))
            .region(Region::new(region))
            .credentials_provider(credentials);
        aws_sdk_kms::Client::from_conf(config.build())
    }

    pub(crate) fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        let config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http())
            .endpoint_url(format!("http://{}", self.address))
            .region(Region::new(REGION))
            .credentials_provider(credentials());
        aws_sdk_secretsmanager::Client::from_conf(config.build())
    }
}

async fn new_key(kms: &aws_sdk_kms::Client) -> String {
    let made = kms.create_key().send().await.unwrap();
    made.key_metadata.unwrap().key_id
}

fn http() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}
