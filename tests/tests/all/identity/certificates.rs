//! Authorities and certificates made for the tests, with our own keys.

use dmls_core::codec::Bytes;
use dmls_core::suite::{CipherSuite, SignaturePrivateKey, SignaturePublicKey, Suite};
use dmls_core::tree::{CertificateParts, Credential};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, GeneralSubtree, IsCa,
    KeyIdMethod, KeyPair, NameConstraints, RemoteKeyPair, SerialNumber, date_time_ymd,
};

/// One of our keys, for the library that makes certificates.
struct Signer {
    suite: Suite,
    private: SignaturePrivateKey,
    public: SignaturePublicKey,
}

impl RemoteKeyPair for Signer {
    fn public_key(&self) -> &[u8] {
        self.public.as_slice()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.suite.signature().sign(&self.private, message).expect("a key"))
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.suite.id() {
            CipherSuite::P256_AES128GCM => &rcgen::PKCS_ECDSA_P256_SHA256,
            _ => &rcgen::PKCS_ED25519,
        }
    }
}

/// Whom a certificate is for.
pub(crate) struct Holder<'a> {
    pub(crate) name: &'a str,
    pub(crate) hosts: &'a [&'a str],
    pub(crate) years: (i32, i32),
    pub(crate) is_ca: bool,
}

impl Holder<'_> {
    /// A good one, valid in 2026 and 2027.
    pub(crate) fn named(name: &str) -> Holder<'_> {
        Holder { name, hosts: &[], years: (2026, 2028), is_ca: false }
    }
}

/// Somebody who issues certificates.
pub(crate) struct Authority {
    certificate: Certificate,
    key: KeyPair,
    suite: Suite,
}

fn key_pair(suite: Suite, private: &SignaturePrivateKey) -> KeyPair {
    let public = suite.signature().public_key(private).expect("a key");
    let signer = Signer { suite, private: private.clone(), public };
    KeyPair::from_remote(Box::new(signer)).expect("a key pair")
}

fn params(holder: &Holder<'_>, serial: u8) -> CertificateParams {
    let hosts: Vec<String> = holder.hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names");
    params.distinguished_name = DistinguishedName::new();
    if !holder.name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, holder.name);
    }
    params.serial_number = Some(SerialNumber::from(vec![serial]));
    params.key_identifier_method = KeyIdMethod::PreSpecified(vec![serial; 20]);
    params.not_before = date_time_ymd(holder.years.0, 1, 1);
    params.not_after = date_time_ymd(holder.years.1, 1, 1);
    if holder.is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

impl Authority {
    /// One with a key of its own, that may name everybody, or only hosts below `domain`.
    pub(crate) fn new(suite: CipherSuite, seed: u8, name: &str, domain: Option<&str>) -> Self {
        let suite = suite.suite().expect("a known suite");
        let key = key_pair(suite, &SignaturePrivateKey([seed; 32].as_slice().into()));
        let holder = Holder { years: (2020, 2040), is_ca: true, ..Holder::named(name) };
        let mut params = params(&holder, seed);
        params.name_constraints = domain.map(|domain| NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(domain.to_owned())],
            excluded_subtrees: Vec::new(),
        });
        Self { certificate: params.self_signed(&key).expect("a certificate"), key, suite }
    }

    /// The anchor to trust.
    pub(crate) fn anchor(&self) -> Bytes {
        self.certificate.der().to_vec().into()
    }

    /// An authority below this one.
    pub(crate) fn below(&self, seed: u8, name: &str) -> Self {
        let key = key_pair(self.suite, &SignaturePrivateKey([seed; 32].as_slice().into()));
        let holder = Holder { years: (2020, 2040), is_ca: true, ..Holder::named(name) };
        let certificate = params(&holder, seed).signed_by(&key, &self.certificate, &self.key);
        Self { certificate: certificate.expect("a certificate"), key, suite: self.suite }
    }

    /// A certificate for somebody's key, which need not be of the authority's scheme.
    pub(crate) fn issue(&self, suite: CipherSuite, key: &SignaturePrivateKey, holder: &Holder<'_>) -> Bytes {
        let key = key_pair(suite.suite().expect("a known suite"), key);
        let certificate = params(holder, 7).signed_by(&key, &self.certificate, &self.key);
        certificate.expect("a certificate").der().to_vec().into()
    }

    /// The same, as a credential.
    pub(crate) fn credential(
        &self,
        suite: CipherSuite,
        key: &SignaturePrivateKey,
        holder: &Holder<'_>,
    ) -> Credential {
        Credential::X509 { certificates: vec![self.issue(suite, key, holder)] }
    }
}

#[test]
fn a_certificate_is_read_for_its_key_and_names() {
    for suite in [CipherSuite::X25519_AES128GCM, CipherSuite::P256_AES128GCM] {
        let authority = Authority::new(suite, 1, "authority", None);
        let (one, other) = ([2, 3]).map(|seed| SignaturePrivateKey([seed; 32].as_slice().into())).into();
        let public = |key| suite.suite().unwrap().signature().public_key(key).unwrap();
        let holder = Holder { hosts: &["a.example.org"], ..Holder::named("Ann\u{202e}") };
        let credential = authority.credential(suite, &one, &holder);
        assert_eq!(credential.check_key(&public(&one)), Ok(()));
        assert!(credential.check_key(&public(&other)).is_err());
        assert_eq!(credential.display_name(), "Ann\\u{202e}");
        let nameless = Holder { name: "", ..holder };
        assert_eq!(authority.credential(suite, &one, &nameless).display_name(), "a.example.org");
    }
}

#[test]
fn a_broken_certificate_is_malformed_and_nothing_more() {
    let suite = CipherSuite::X25519_AES128GCM;
    let authority = Authority::new(suite, 1, "authority", None);
    let key = SignaturePrivateKey([2; 32].as_slice().into());
    let holder = Holder { hosts: &["a.example.org"], ..Holder::named("ann") };
    let good = authority.issue(suite, &key, &holder);
    let whole = CertificateParts::of(good.as_slice()).expect("a certificate");
    assert!(whole.alternative_names.is_some());
    for len in 0..good.len() {
        assert!(CertificateParts::of(&good.as_slice()[..len]).is_err(), "cut to {len} bytes");
    }
    assert!(CertificateParts::of(&[good.as_slice(), &[0]].concat()).is_err());
    let mut refused = 0;
    for place in 0..good.len() {
        for change in [1, 0x80, 0xff] {
            let mut bytes = good.as_slice().to_vec();
            bytes[place] ^= change;
            // It is read or not, and what is read lies within it.
            match CertificateParts::of(&bytes) {
                Ok(parts) => assert!(parts.name().is_none_or(|name| name.len() <= bytes.len())),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 0);
    let long_form = [&[0x30, 0x82, 0, 1], &good.as_slice()[4..]].concat();
    assert!(CertificateParts::of(&long_form).is_err());
}
