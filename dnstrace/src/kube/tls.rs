//! TLS to the API server.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Access, Failure};

/// Speaks TLS over a TCP connection to the server.
///
/// # Errors
/// In a line that says what to do: if certificates cannot be read, or the server's is not trusted.
pub async fn connect(access: &Access, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
    if !graviola::util::is_cpu_supported() {
        return Err(Failure::trouble(
            "this CPU lacks instructions that dnstrace's TLS needs (AES; AVX2 and ADX on x86-64): kubectl proxy on the \
             node speaks plain HTTP instead"
                .to_owned(),
        ));
    }
    let name = access.server_name.as_ref().unwrap_or(&access.host).clone();
    let name = ServerName::try_from(name).map_err(|_| {
        Failure::trouble(format!("{} has a host name that no certificate has", access.shown()))
    })?;
    let connector = TlsConnector::from(Arc::new(config(access)?));
    connector.connect(name, tcp).await.map_err(|error| {
        Failure::trouble(format!(
            "{} cannot be spoken to over TLS: {error}; see certificate-authority in {}",
            access.shown(),
            access.source
        ))
    })
}

fn config(access: &Access) -> Result<ClientConfig, Failure> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| {
        Failure::trouble(format!("{}: its {what} cannot be used: {error}", access.source))
    };
    let provider = Arc::new(rustls_graviola::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("TLS", &error))?
        .with_root_certificates(authorities(access)?);
    let Some((chain, key)) = &access.identity else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|error| wrong("client certificate", &error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong("client key", &error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| wrong("client certificate", &error))
}

/// Those who may vouch for the server.
fn authorities(access: &Access) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    match &access.authorities {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let added = certificate.map_err(|error| error.to_string());
                let added = added.and_then(|one| roots.add(one).map_err(|error| error.to_string()));
                added.map_err(|error| {
                    Failure::trouble(format!(
                        "{}: its certificate-authority cannot be used: {error}",
                        access.source
                    ))
                })?;
            }
        }
        // Some of them may be unreadable: others vouch.
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    if roots.is_empty() {
        return Err(Failure::trouble(format!("{} names no certificate-authority", access.source)));
    }
    Ok(roots)
}
