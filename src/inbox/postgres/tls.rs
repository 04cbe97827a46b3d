//! TLS to the database, by libpq's modes: who is trusted, and who we say we are. Opens no connection.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use rustls_platform_verifier::Verifier;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::inbox::postgres::error::PostgresError;

/// From the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum TlsMode {
    Disable,
    /// Only where the server insists.
    Allow,
    /// Where the server has it.
    #[default]
    Prefer,
    /// Against listeners, not against whoever takes the server's place.
    Require,
    /// The server has a certificate of a trusted CA, for whatever name.
    VerifyCa,
    VerifyFull,
}

impl TlsMode {
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

/// The parameters of a URL that TLS is made of.
#[derive(Debug, Default)]
pub(super) struct TlsFiles {
    pub(super) mode: TlsMode,
    pub(super) system_roots: bool,
    pub(super) roots: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// Reads the files.
pub(super) fn connector(files: &TlsFiles) -> Result<MakeRustlsConnect, PostgresError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(files, &provider)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(PostgresError::TlsSetup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("sslcert", certificate)?;
            let key = provider.key_provider.load_private_key(private_key(key)?);
            let certified = CertifiedKey::new(chain, key.map_err(PostgresError::TlsSetup)?);
            match certified.keys_match() {
                // Of the first version of X.509, as `openssl x509 -req` makes them; the server judges those.
                Ok(()) | Err(rustls::Error::InvalidCertificate(_)) => {}
                Err(cause) => return Err(PostgresError::TlsSetup(cause)),
            }
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => return Err(parameter("sslcert", "needs sslkey beside it; set both")),
        (None, Some(_)) => return Err(parameter("sslkey", "needs sslcert beside it; set both")),
    };
    // Servers of version 17 and later ask for it where TLS comes first.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

fn verifier(
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, PostgresError> {
    let full = files.mode == TlsMode::VerifyFull;
    if files.system_roots {
        // Anyone can have a certificate of a public CA, for a name of their own.
        if !full {
            let text = "is for sslmode=verify-full only with the value system; set that too";
            return Err(parameter("sslrootcert", text));
        }
        let verifier = Verifier::new(Arc::clone(provider)).map_err(PostgresError::TlsSetup)?;
        return Ok(Arc::new(verifier));
    }
    match &files.roots {
        // As with libpq, a root certificate makes more of require than its name says.
        Some(path) if files.mode >= TlsMode::Require => {
            let trusted = certificates("sslrootcert", path)?;
            let mut roots = RootCertStore::empty();
            for certificate in &trusted {
                roots.add(certificate.clone()).map_err(PostgresError::TlsSetup)?;
            }
            let roots = Arc::new(roots);
            let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider));
            let chain = chain.build().map_err(|cause| {
                PostgresError::TlsSetup(rustls::Error::General(cause.to_string()))
            })?;
            Ok(Arc::new(ByRoots { chain, trusted, any_name: !full }))
        }
        None if files.mode >= TlsMode::VerifyCa => {
            let text = "is missing, whom to trust with sslmode=verify-ca or verify-full; \
                        name a file of CA certificates, or system with verify-full";
            Err(parameter("sslrootcert", text))
        }
        _ => Ok(Arc::new(Unverified { provider: Arc::clone(provider) })),
    }
}

fn parameter(name: &str, fault: &'static str) -> PostgresError {
    PostgresError::Parameter { name: name.to_owned(), fault }
}

fn certificates(
    parameter: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, PostgresError> {
    let text = read(parameter, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.ok().filter(|it| !it.is_empty());
    certificates.ok_or_else(|| not_pem(parameter, path, "certificate"))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PostgresError> {
    let text = zeroize::Zeroizing::new(read("sslkey", path)?);
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_cause| not_pem("sslkey", path, "private key without a password"))
}

fn read(parameter: &'static str, path: &Path) -> Result<Vec<u8>, PostgresError> {
    fs::read(path).map_err(|cause| PostgresError::Unreadable {
        parameter,
        path: path.to_owned(),
        cause,
    })
}

fn not_pem(parameter: &'static str, path: &Path, wanted: &'static str) -> PostgresError {
    PostgresError::NotPem { parameter, path: path.to_owned(), wanted }
}

/// Trusts whoever answers. That the server has the key of its certificate is verified nevertheless.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Trusts the certificates of a file and whom they vouch for.
#[derive(Debug)]
struct ByRoots {
    chain: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
    any_name: bool,
}

impl ByRoots {
    /// A server's own certificate that is marked as one of a CA, as `openssl req -x509` marks it, cannot be the
    /// end of a chain; yet whoever puts this very one into the file trusts it. Its validity has been checked
    /// before it is turned down for this.
    fn is_trusted_itself(&self, certificate: &CertificateDer<'_>, cause: &rustls::Error) -> bool {
        let marked = matches!(
            cause,
            rustls::Error::InvalidCertificate(CertificateError::Other(other))
                if other.to_string().contains("CaUsedAsEndEntity")
        );
        marked && self.trusted.contains(certificate)
    }
}

impl ServerCertVerifier for ByRoots {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is the last thing that is looked at.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            Err(cause) if self.is_trusted_itself(certificate, &cause) => {
                if !self.any_name {
                    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::CertificateError;
    use rustls::Error;
    use rustls::crypto::ring;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::ServerName;
    use rustls::pki_types::UnixTime;
    use rustls::pki_types::pem::PemObject;

    use super::TlsFiles;
    use super::TlsMode;
    use super::verifier;

    /// Of `dbhost`, by itself, marked as one of a CA, valid until October 2126.
    const OWN: &str = "-----BEGIN CERTIFICATE-----
MIIBizCCATKgAwIBAgIUeydn2zOVIe7QhUeI18uGNeR/C1YwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGZGJob3N0MCAXDTI2MTEyMjAwMzEwN1oYDzIxMjYxMDI5MDAz
MTA3WjARMQ8wDQYDVQQDDAZkYmhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AASgovxRqT6nWH8rDO508xq7XK3gbA/YjS+8mum6xu6F87NFMo4qRqQXJCSo6SBc
VDnu0kKxxTBK7hbztrvsafV3o2YwZDAdBgNVHQ4EFgQUqH/kquGnIkSAJfGKjfx3
jErO3c8wHwYDVR0jBBgwFoAUqH/kquGnIkSAJfGKjfx3jErO3c8wDwYDVR0TAQH/
BAUwAwEB/zARBgNVHREECjAIggZkYmhvc3QwCgYIKoZIzj0EAwIDRwAwRAIgGEwa
Y1BFLU9e0buyF2LfpmG6xjV9dTfdcdxo46id+uYCIAiZtkF3odT2EJU45pTOpg01
4rSLvB4Z/BAEyw36kaOy
-----END CERTIFICATE-----
";

    fn judged(mode: TlsMode, trusted: &str, name: &str, seconds: u64) -> Result<(), Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), trusted).unwrap();
        let roots = Some(file.path().to_owned());
        let files = TlsFiles { mode, roots, ..TlsFiles::default() };
        let verifier = verifier(&files, &Arc::new(ring::default_provider())).unwrap();
        let certificate = CertificateDer::from_pem_slice(OWN.as_bytes()).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        verifier.verify_server_cert(&certificate, &[], &name, &[], now).map(drop)
    }

    #[test]
    fn a_servers_own_certificate_may_stand_for_its_ca() {
        // In 2030 and in 2130.
        let (now, later) = (1_900_000_000, 5_050_000_000);
        for mode in [TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull] {
            assert_eq!(judged(mode, OWN, "dbhost", now), Ok(()), "{mode:?}");
            let expired = judged(mode, OWN, "dbhost", later).unwrap_err();
            let expired = matches!(
                expired,
                Error::InvalidCertificate(CertificateError::ExpiredContext { .. })
            );
            assert!(expired, "{mode:?}");
            let other = judged(mode, OWN, "other", now);
            assert_eq!(other.is_ok(), mode < TlsMode::VerifyFull, "{mode:?}");
        }
        for mode in [TlsMode::Disable, TlsMode::Allow, TlsMode::Prefer] {
            assert_eq!(judged(mode, OWN, "other", later), Ok(()), "{mode:?} verifies nothing");
        }
    }
}
