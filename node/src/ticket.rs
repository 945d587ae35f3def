//! A ticket: everything that somebody needs to reach and recognise a node, as one string to copy and paste.
//!
//! `dmls1` and base64url without padding of: peer id and name behind a length byte each, the 32 bytes of the
//! fingerprint, the number of addresses in a byte, each address in binary behind two bytes of length, and four bytes
//! of SHA-256 over all of that against slips in copying. It is not authenticated: trust it as far as the way it came.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dmls_gossip::{Multiaddr, PeerId};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::bytes::{Early, Reader, put_long, put_short};
use crate::error::{ErrorCode, Failure};
use crate::store::types::{MAX_NAME, clean_name};

const PREFIX: &str = "dmls1";
const CHECK: usize = 4;
/// The most addresses in a ticket.
pub const MAX_ADDRESSES: usize = 16;
/// The longest ticket that is read, in characters.
const MAX_TICKET: usize = 8192;

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The peer id.
    pub peer: PeerId,
    /// Who the client says it is.
    pub name: String,
    /// SHA-256 of the client's signature public key.
    pub fingerprint: [u8; 32],
    /// Where the peer listens, without peer id.
    pub addresses: Vec<Multiaddr>,
}

/// Why a string is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TicketError {
    /// It does not begin as tickets do.
    #[error("This is not a ticket: tickets begin with {PREFIX}.")]
    Prefix,
    /// A character is wrong, or some are missing.
    #[error("The ticket is damaged: some of it is missing or changed.")]
    Damaged,
    /// Its contents are not those of a ticket.
    #[error("The ticket is malformed: {0}.")]
    Malformed(&'static str),
}

impl From<TicketError> for Failure {
    fn from(error: TicketError) -> Self {
        Self::new(ErrorCode::Usage, error).hint("Ask for the output of `dmls id` again and copy all of it.")
    }
}

impl From<Early> for TicketError {
    fn from(Early: Early) -> Self {
        Self::Malformed("it ends too early")
    }
}

/// Whether a string is meant to be a ticket.
pub fn looks_like_ticket(text: &str) -> bool {
    text.trim().starts_with(PREFIX)
}

impl Ticket {
    /// The string. Addresses beyond [`MAX_ADDRESSES`] are left out.
    pub fn encode(&self) -> String {
        let mut out = Vec::new();
        put_short(&mut out, &self.peer.to_bytes());
        put_short(&mut out, clean_name(&self.name).as_bytes());
        out.extend_from_slice(&self.fingerprint);
        let addresses: Vec<Vec<u8>> =
            self.addresses.iter().take(MAX_ADDRESSES).map(Multiaddr::to_vec).collect();
        out.push(u8::try_from(addresses.len()).unwrap_or(u8::MAX));
        for address in addresses {
            put_long(&mut out, &address);
        }
        let check = Sha256::digest(&out);
        out.extend(check.iter().take(CHECK));
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(out))
    }

    /// Reads the string.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn decode(text: &str) -> Result<Self, TicketError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(TicketError::Prefix)?;
        if body.len() > MAX_TICKET {
            return Err(TicketError::Malformed("it is too long"));
        }
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| TicketError::Damaged)?;
        let at = bytes.len().checked_sub(CHECK).ok_or(TicketError::Damaged)?;
        let (bytes, check) = bytes.split_at_checked(at).ok_or(TicketError::Damaged)?;
        if !Sha256::digest(bytes).starts_with(check) {
            return Err(TicketError::Damaged);
        }
        let mut reader = Reader::new(bytes);
        let peer = reader.short()?;
        let peer = PeerId::from_bytes(peer).map_err(|_| TicketError::Malformed("its peer id is none"))?;
        let name = std::str::from_utf8(reader.short()?)
            .map_err(|_| TicketError::Malformed("its name is not text"))?;
        if name.len() > MAX_NAME || clean_name(name) != name {
            return Err(TicketError::Malformed("its name is not one"));
        }
        let fingerprint = reader.array()?;
        let [count] = reader.array()?;
        if usize::from(count) > MAX_ADDRESSES {
            return Err(TicketError::Malformed("it has too many addresses"));
        }
        let mut addresses = Vec::new();
        for _ in 0..count {
            let address = Multiaddr::try_from(reader.long()?.to_vec());
            addresses.push(address.map_err(|_| TicketError::Malformed("an address is none"))?);
        }
        if !reader.rest().is_empty() {
            return Err(TicketError::Malformed("bytes are left over"));
        }
        Ok(Self { peer, name: name.to_owned(), fingerprint, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        let seed = dmls_gossip::IdentitySeed::new([7; 32]);
        Ticket {
            peer: seed.peer_id().unwrap(),
            name: "zoë".into(),
            fingerprint: [9; 32],
            addresses: vec![
                "/ip4/127.0.0.1/udp/4001/quic-v1".parse().unwrap(),
                "/ip6/::1/tcp/4001".parse().unwrap(),
            ],
        }
    }

    #[test]
    fn round_trip() {
        let text = ticket().encode();
        assert!(looks_like_ticket(&text));
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{text}");
        assert_eq!(Ticket::decode(&format!("  {text}\n")).unwrap(), ticket());
    }

    #[test]
    fn every_slip_in_copying_is_noticed() {
        let text = ticket().encode();
        for end in 0..text.len() {
            assert!(Ticket::decode(&text[..end]).is_err(), "{end}");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(Ticket::decode(&changed).is_err(), "{at}");
        }
        assert_eq!(Ticket::decode("hello"), Err(TicketError::Prefix));
    }

    #[test]
    fn malformed_contents_are_refused() {
        let with_check = |bytes: &[u8]| {
            let mut all = bytes.to_vec();
            all.extend(Sha256::digest(bytes).iter().take(CHECK));
            format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(all))
        };
        assert_eq!(Ticket::decode(&with_check(&[])), Err(TicketError::Malformed("it ends too early")));
        assert_eq!(Ticket::decode(&with_check(&[1, 0])), Err(TicketError::Malformed("its peer id is none")));
        let good = URL_SAFE_NO_PAD.decode(&ticket().encode()[PREFIX.len()..]).unwrap();
        let body = &good[..good.len() - CHECK];
        assert!(Ticket::decode(&with_check(body)).is_ok());
        let longer = [body, &[0]].concat();
        assert_eq!(Ticket::decode(&with_check(&longer)), Err(TicketError::Malformed("bytes are left over")));
    }
}
