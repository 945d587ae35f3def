//! What each authentication service says.

use dmls_core::epoch::CommitPolicy;
use dmls_core::identity::{
    AnyOf, AuthenticationService, Identity, IdentityError, SelfCertifying, ServicePolicy, X509,
};
use dmls_core::suite::{CipherSuite, SignaturePrivateKey, SignaturePublicKey};
use dmls_core::tree::{Credential, CredentialError};
use std::sync::Arc;

use super::{Authority, Holder, NOW};

const SUITE: CipherSuite = CipherSuite::X25519_AES128GCM;

fn private(seed: u8) -> SignaturePrivateKey {
    SignaturePrivateKey([seed; 32].as_slice().into())
}

fn public(seed: u8) -> SignaturePublicKey {
    SUITE.suite().unwrap().signature().public_key(&private(seed)).unwrap()
}

#[test]
fn the_default_takes_a_key_for_an_identity() {
    let ann = Credential::self_certifying(&public(1), "ann").unwrap();
    let verdict = SelfCertifying.validate(&ann, &public(1), NOW).unwrap();
    assert_eq!((verdict.name.as_str(), verdict.vouched, verdict.id.len()), ("ann", false, 32));
    let other_key = Err(IdentityError::Credential(CredentialError::IdentityOfOtherKey));
    assert_eq!(SelfCertifying.validate(&ann, &public(2), NOW), other_key);
    let plain = SelfCertifying.validate(&Credential::basic("ann"), &public(1), NOW);
    assert_eq!(plain, Err(IdentityError::UnknownForm));
    // One key is one client, whatever it calls itself; one name is not.
    let renamed = Credential::self_certifying(&public(1), "anna").unwrap();
    let namesake = Credential::self_certifying(&public(2), "ann").unwrap();
    assert!(
        SelfCertifying.is_same_client(&ann, &renamed) && SelfCertifying.accepts_successor(&ann, &renamed)
    );
    assert!(!SelfCertifying.is_same_client(&ann, &namesake));
    assert!(!SelfCertifying.is_same_client(&Credential::basic("ann"), &Credential::basic("ann")));
}

#[test]
fn each_defect_of_a_certificate_has_its_own_error() {
    let authority = Authority::new(SUITE, 1, "authority", None);
    let service = X509::new(&[authority.anchor()]).unwrap();
    let verdict = |service: &X509, credential: &Credential| service.validate(credential, &public(2), NOW);
    let of = |authority: &Authority, holder: Holder<'_>| authority.credential(SUITE, &private(2), &holder);
    let good = verdict(&service, &of(&authority, Holder::named("ann"))).unwrap();
    assert_eq!((good.name.as_str(), good.vouched), ("ann", true));

    let old = of(&authority, Holder { years: (2020, 2026), ..Holder::named("ann") });
    assert!(matches!(verdict(&service, &old), Err(IdentityError::Expired { not_after_s: 1_767_225_600 })));
    let future = of(&authority, Holder { years: (2030, 2032), ..Holder::named("ann") });
    let begins = Err(IdentityError::NotYetValid { not_before_s: 1_893_456_000 });
    assert_eq!(verdict(&service, &future), begins);
    let foreign = Authority::new(SUITE, 9, "somebody else", None);
    let same_name = Authority::new(SUITE, 9, "authority", None);
    for other in [&foreign, &same_name] {
        assert_eq!(verdict(&service, &of(other, Holder::named("ann"))), Err(IdentityError::UnknownIssuer));
    }
    let other_key = authority.credential(SUITE, &private(3), &Holder::named("ann"));
    let refused = Err(IdentityError::Credential(CredentialError::CertificateOfOtherKey));
    assert_eq!(verdict(&service, &other_key), refused);
    assert_eq!(verdict(&service, &of(&authority, Holder::named(""))), Err(IdentityError::NoName));
    let ca = of(&authority, Holder { is_ca: true, ..Holder::named("ann") });
    assert!(matches!(verdict(&service, &ca), Err(IdentityError::Chain(_))));
    let none = Credential::X509 { certificates: Vec::new() };
    assert_eq!(verdict(&service, &none), Err(CredentialError::NoCertificate.into()));
    let garbage = Credential::X509 { certificates: vec![b"x".as_slice().into()] };
    assert!(matches!(verdict(&service, &garbage), Err(IdentityError::Credential(_))));
    assert_eq!(verdict(&service, &Credential::basic("ann")), Err(IdentityError::UnknownForm));
    assert!(X509::new(&[b"x".as_slice().into()]).is_err());
}

#[test]
fn names_outside_of_what_is_accepted_are_refused() {
    let authority = Authority::new(SUITE, 1, "authority", None);
    let bound = Authority::new(SUITE, 4, "bound", Some("example.org"));
    let service = X509::new(&[authority.anchor(), bound.anchor()]).unwrap();
    let strict = service.clone().within("Example.org.");
    let judge = |service: &X509, authority: &Authority, hosts: &[&str]| {
        let credential = authority.credential(SUITE, &private(2), &Holder { hosts, ..Holder::named("ann") });
        service.validate(&credential, &public(2), NOW).map(|_| ())
    };
    // The host's own bound.
    assert_eq!(judge(&strict, &authority, &["ann.example.org"]), Ok(()));
    assert_eq!(judge(&strict, &authority, &["example.org", "b.c.EXAMPLE.org"]), Ok(()));
    let outside: [&[&str]; 4] =
        [&[], &["example.com"], &["annexample.org"], &["ann.example.org", "ann.example.com"]];
    for hosts in outside {
        assert_eq!(judge(&strict, &authority, hosts), Err(IdentityError::NameRefused), "{hosts:?}");
        assert_eq!(judge(&service, &authority, hosts), Ok(()), "{hosts:?}");
    }
    // The issuer's.
    assert_eq!(judge(&service, &bound, &["ann.example.org"]), Ok(()));
    assert_eq!(judge(&service, &bound, &["ann.example.com"]), Err(IdentityError::NameRefused));
}

#[test]
fn chains_and_both_schemes_are_followed() {
    for suite in [SUITE, CipherSuite::P256_AES128GCM] {
        let root = Authority::new(suite, 1, "root", None);
        let middle = root.below(5, "middle");
        let service = X509::new(&[root.anchor()]).unwrap();
        let end = middle.issue(SUITE, &private(2), &Holder::named("ann"));
        let validate = |certificates: Vec<_>| {
            service.validate(&Credential::X509 { certificates }, &public(2), NOW).map(|verdict| verdict.name)
        };
        assert_eq!(validate(vec![end.clone(), middle.anchor()]), Ok("ann".to_owned()));
        assert_eq!(validate(vec![end.clone(), middle.anchor(), root.anchor()]), Ok("ann".to_owned()));
        // Control: without the one between there is no way.
        assert_eq!(validate(vec![end]), Err(IdentityError::UnknownIssuer));
    }
}

#[test]
fn a_renewed_certificate_is_of_the_same_client() {
    let authority = Authority::new(SUITE, 1, "authority", None);
    let service = X509::new(&[authority.anchor()]).unwrap();
    let issue = |seed, name, hosts: &[&str], years| {
        let holder = Holder { name, hosts, years, is_ca: false };
        authority.credential(SUITE, &private(seed), &holder)
    };
    let old = issue(2, "ann", &["ann.example.org"], (2020, 2026));
    let new = issue(3, "ann", &["ann.example.org"], (2026, 2030));
    let renamed = issue(3, "anna", &["ann.example.org"], (2026, 2030));
    let moved = issue(3, "ann", &["ann.example.com"], (2026, 2030));
    assert!(service.is_same_client(&old, &new) && service.accepts_successor(&old, &new));
    for other in [renamed, moved, issue(2, "ann", &[], (2020, 2026)), Credential::basic("ann")] {
        assert!(!service.accepts_successor(&old, &other), "{other:?}");
    }
    let id = |credential: &Credential, seed| service.validate(credential, &public(seed), NOW);
    assert_eq!(
        id(&new, 3).unwrap().id,
        id(&issue(2, "ann", &["ann.example.org"], (2026, 2030)), 2).unwrap().id
    );
    assert!(matches!(id(&old, 2), Err(IdentityError::Expired { .. })));
}

#[test]
fn services_side_by_side_each_judge_their_own_form() {
    let authority = Authority::new(SUITE, 1, "authority", None);
    let certificates = X509::new(&[authority.anchor()]).unwrap();
    let both = AnyOf(vec![Arc::new(certificates), Arc::new(SelfCertifying)]);
    let certified = authority.credential(SUITE, &private(2), &Holder::named("ann"));
    let own = Credential::self_certifying(&public(2), "ann").unwrap();
    let verdict = |credential: &Credential| both.validate(credential, &public(2), NOW);
    let is_vouched = |verdict: Result<Identity, _>| verdict.map(|identity| identity.vouched);
    assert_eq!(is_vouched(verdict(&certified)), Ok(true));
    assert_eq!(is_vouched(verdict(&own)), Ok(false));
    assert_eq!(verdict(&Credential::basic("ann")), Err(IdentityError::UnknownForm));
    let foreign = Authority::new(SUITE, 9, "foreign", None);
    let refused = verdict(&foreign.credential(SUITE, &private(2), &Holder::named("ann")));
    assert_eq!(refused, Err(IdentityError::UnknownIssuer));
    assert!(both.is_same_client(&own, &own) && !both.is_same_client(&own, &certified));
}

#[test]
fn a_plain_group_asks_about_each_leaf() {
    let authority = Authority::new(SUITE, 1, "authority", None);
    let service = X509::new(&[authority.anchor()]).unwrap();
    let policy = ServicePolicy { service: &service, now_s: NOW };
    let leaf = |seed: u8, name| {
        let suite = SUITE.suite().unwrap();
        let template = dmls_core::tree::LeafTemplate {
            credential: authority.credential(SUITE, &private(seed), &Holder::named(name)),
            capabilities: Default::default(),
            extensions: Default::default(),
        };
        let mut rng = <rand_chacha::ChaCha20Rng as rand_core::SeedableRng>::seed_from_u64(1);
        let lifetime = dmls_core::tree::Lifetime::UNLIMITED;
        template.key_package(suite, lifetime, &private(seed), &mut rng).unwrap().0
    };
    assert!(policy.accept_member(&leaf(2, "ann")));
    assert!(policy.accept_successor(&leaf(2, "ann"), &leaf(3, "ann")));
    assert!(!policy.accept_successor(&leaf(2, "ann"), &leaf(3, "bob")));
    let late = ServicePolicy { now_s: NOW + 10 * 365 * 24 * 3600, ..policy };
    assert!(!late.accept_member(&leaf(2, "ann")));
}
