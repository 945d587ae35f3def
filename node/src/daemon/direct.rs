//! What two nodes say to each other directly: asking for a key package, delivering a Welcome.
//!
//! A request begins with the version byte 1. Kind 1 asks for a key package; nothing follows; the answer is an
//! `MLSMessage`. Kind 2 delivers a Welcome: the key package's reference and the group's name behind a length byte
//! each, a count of contacts and the contacts (peer id behind a length byte, count of addresses, each binary address
//! behind two bytes of length), then the `MLSMessage`; the answer is empty.

use dmls_gossip::{Multiaddr, PeerId};

use crate::bytes::{Early, Reader, put_long, put_short};
use crate::store::types::{Contact, clean_name};

/// Asks for a key package.
pub(super) const KEY_PACKAGE: u8 = 1;
/// Delivers a Welcome.
pub(super) const WELCOME: u8 = 2;

const VERSION: u8 = 1;
/// The most contacts in a delivery.
pub(super) const MAX_CONTACTS: usize = 64;
/// The most addresses of a contact.
const MAX_ADDRESSES: usize = 8;

/// Why a node refuses a request: the `code` of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Refusal {
    /// The request is malformed or of another version.
    Malformed = 1,
    /// The Welcome is for no key package of this client, or for one that has expired.
    UnknownKeyPackage = 2,
    /// The Welcome is for a key package that was used for another one.
    UsedKeyPackage = 3,
    /// It cannot be done just now; ask again.
    Later = 4,
    /// There is no such kind of request.
    UnknownKind = 5,
}

impl Refusal {
    /// The refusal that a code stands for; `None` if this version knows none.
    pub(super) fn of(code: u8) -> Option<Self> {
        let all =
            [Self::Malformed, Self::UnknownKeyPackage, Self::UsedKeyPackage, Self::Later, Self::UnknownKind];
        all.into_iter().find(|refusal| *refusal as u8 == code)
    }

    /// Whether asking again is useless.
    pub(super) fn is_final(self) -> bool {
        self != Self::Later
    }

    /// A sentence for people.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Malformed => "It does not understand the request.",
            Self::UnknownKeyPackage => "It does not know the key package; its home may have been replaced.",
            Self::UsedKeyPackage => "It has used the key package for another Welcome.",
            Self::Later => "It cannot do that just now.",
            Self::UnknownKind => "It does not know this kind of request.",
        }
    }
}

/// The body of a request for a key package.
pub(super) fn key_package_request() -> Vec<u8> {
    vec![VERSION]
}

/// Checks the body of a request for a key package.
///
/// # Errors
/// [`Refusal::Malformed`].
pub(super) fn check_key_package_request(body: &[u8]) -> Result<(), Refusal> {
    if body == [VERSION] { Ok(()) } else { Err(Refusal::Malformed) }
}

/// A delivered Welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WelcomeDelivery {
    /// The reference of the key package that it is for.
    pub(super) reference: Vec<u8>,
    /// What the inviter calls the group.
    pub(super) name: String,
    /// Peers that may have the group's messages.
    pub(super) contacts: Vec<Contact>,
    /// An `MLSMessage` with a Welcome.
    pub(super) welcome: Vec<u8>,
}

impl WelcomeDelivery {
    /// The body of the request. Contacts beyond the bounds, and what is no peer id or address, are left out.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_short(&mut out, &self.reference);
        put_short(&mut out, clean_name(&self.name).as_bytes());
        let contacts: Vec<(PeerId, Vec<Multiaddr>)> =
            self.contacts.iter().filter_map(|contact| contact.parsed()).take(MAX_CONTACTS).collect();
        out.push(u8::try_from(contacts.len()).unwrap_or(u8::MAX));
        for (peer, mut addresses) in contacts {
            put_short(&mut out, &peer.to_bytes());
            addresses.truncate(MAX_ADDRESSES);
            out.push(u8::try_from(addresses.len()).unwrap_or(u8::MAX));
            addresses.iter().for_each(|address| put_long(&mut out, &address.to_vec()));
        }
        out.extend_from_slice(&self.welcome);
        out
    }

    /// Reads the body of the request.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub(super) fn decode(body: &[u8]) -> Result<Self, Refusal> {
        let mut reader = Reader::new(body);
        if reader.array()? != [VERSION] {
            return Err(Refusal::Malformed);
        }
        let reference = reader.short()?.to_vec();
        let name = std::str::from_utf8(reader.short()?).map_err(|_| Refusal::Malformed)?;
        let [count] = reader.array()?;
        if usize::from(count) > MAX_CONTACTS {
            return Err(Refusal::Malformed);
        }
        let mut contacts = Vec::new();
        for _ in 0..count {
            contacts.push(contact(&mut reader)?);
        }
        let welcome = reader.rest().to_vec();
        if welcome.is_empty() || reference.is_empty() {
            return Err(Refusal::Malformed);
        }
        Ok(Self { reference, name: clean_name(name), contacts, welcome })
    }
}

fn contact(reader: &mut Reader<'_>) -> Result<Contact, Refusal> {
    let peer = PeerId::from_bytes(reader.short()?).map_err(|_| Refusal::Malformed)?;
    let [count] = reader.array()?;
    if usize::from(count) > MAX_ADDRESSES {
        return Err(Refusal::Malformed);
    }
    let mut addresses = Vec::new();
    for _ in 0..count {
        let address = Multiaddr::try_from(reader.long()?.to_vec()).map_err(|_| Refusal::Malformed)?;
        addresses.push(address.to_string());
    }
    Ok(Contact { peer: peer.to_string(), addresses })
}

impl From<Early> for Refusal {
    fn from(Early: Early) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> WelcomeDelivery {
        let peer = dmls_gossip::IdentitySeed::new([3; 32]).peer_id().unwrap();
        WelcomeDelivery {
            reference: vec![1; 32],
            name: "friends".into(),
            contacts: vec![Contact {
                peer: peer.to_string(),
                addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
            }],
            welcome: vec![5; 100],
        }
    }

    #[test]
    fn a_delivery_survives_the_wire() {
        assert_eq!(WelcomeDelivery::decode(&delivery().encode()).unwrap(), delivery());
    }

    #[test]
    fn malformed_deliveries_are_refused() {
        let bytes = delivery().encode();
        let header = bytes.len() - 100;
        for end in 0..=header {
            assert_eq!(WelcomeDelivery::decode(&bytes[..end]), Err(Refusal::Malformed), "{end}");
        }
        let mut other = bytes;
        other[0] = 2;
        assert_eq!(WelcomeDelivery::decode(&other), Err(Refusal::Malformed));
        assert_eq!(check_key_package_request(&[]), Err(Refusal::Malformed));
        assert!(check_key_package_request(&key_package_request()).is_ok());
    }

    #[test]
    fn what_is_no_address_is_left_out() {
        let mut delivery = delivery();
        delivery.contacts.push(Contact { peer: "nobody".into(), addresses: Vec::new() });
        delivery.contacts[0].addresses.push("nowhere".into());
        let decoded = WelcomeDelivery::decode(&delivery.encode()).unwrap();
        assert_eq!(decoded.contacts.len(), 1);
        assert_eq!(decoded.contacts[0].addresses.len(), 1);
    }

    #[test]
    fn refusals_have_codes() {
        for code in 1..=5 {
            assert_eq!(Refusal::of(code).unwrap() as u8, code);
        }
        assert_eq!(Refusal::of(0), None);
        assert_eq!(Refusal::of(6), None);
    }
}
