//! Somebody between two nodes who has the keys of both their certificates: ends TLS on either side, and keeps what went through.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What went through, one entry to a direction of a connection.
pub(crate) type Captured = Arc<Mutex<Vec<Vec<u8>>>>;

/// Stands before one node.
pub(crate) struct Tap {
    acceptor: TlsAcceptor,
    /// How to go on as whoever came, by their certificate.
    callers: HashMap<CertificateDer<'static>, TlsConnector>,
    node: ServerName<'static>,
    behind: SocketAddr,
    captured: Captured,
}

impl Tap {
    /// Stands before the node `name`, which listens at `behind`; `callers` may call it.
    pub(crate) fn new(
        certs: &Path,
        name: &str,
        behind: u16,
        callers: &[String],
        captured: &Captured,
    ) -> Arc<Self> {
        let mut authority = RootCertStore::empty();
        authority.add(certificate(&certs.join("ca.crt"))).unwrap();
        let authority = Arc::new(authority);
        let verifier = WebPkiClientVerifier::builder(authority.clone()).build().unwrap();
        let (chain, key) = identity(certs, name);
        let mut server = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec()];
        let connector = |caller: &String| {
            let (chain, key) = identity(certs, caller);
            let shown = chain[0].clone();
            let mut client = ClientConfig::builder()
                .with_root_certificates(authority.clone())
                .with_client_auth_cert(chain, key)
                .unwrap();
            client.alpn_protocols = vec![b"h2".to_vec()];
            (shown, TlsConnector::from(Arc::new(client)))
        };
        Arc::new(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            callers: callers.iter().map(connector).collect(),
            node: ServerName::try_from(name.to_owned()).unwrap(),
            behind: SocketAddr::from((Ipv4Addr::LOCALHOST, behind)),
            captured: captured.clone(),
        })
    }

    /// Serves until the test ends.
    pub(crate) async fn listen(self: Arc<Self>, port: u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that fails is the nodes' to make again.
                tokio::spawn(self.clone().pass(stream));
            }
        });
    }

    async fn pass(self: Arc<Self>, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let inner = self.acceptor.accept(stream).await?;
        let shown = inner
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first());
        let connector = shown.and_then(|shown| self.callers.get(shown));
        let connector = connector.ok_or_else(|| std::io::Error::other("an unknown caller"))?;
        let outer = TcpStream::connect(self.behind).await?;
        outer.set_nodelay(true)?;
        let outer = connector.connect(self.node.clone(), outer).await?;
        let (there, back) = (tokio::io::split(inner), tokio::io::split(outer));
        let forth = copy(there.0, back.1, self.captured.clone());
        tokio::try_join!(forth, copy(back.0, there.1, self.captured.clone()))?;
        Ok(())
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    captured: Captured,
) -> std::io::Result<()> {
    let place = {
        let mut captured = captured.lock().unwrap();
        captured.push(Vec::new());
        captured.len() - 1
    };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        captured.lock().unwrap()[place].extend_from_slice(&buffer[..read]);
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}

fn certificate(path: &PathBuf) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

fn identity(certs: &Path, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = vec![certificate(&certs.join(format!("{name}.crt")))];
    let key = PrivateKeyDer::from_pem_file(certs.join(format!("{name}.key"))).unwrap();
    (chain, key)
}
