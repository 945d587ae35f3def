//! Every decoder: the first byte chooses it, the others are its input.

use dmls_core::codec::{DeserializeBytes, Serialize, decode, encode};
use dmls_core::framing::{
    ApplicationData, AuthenticatedContent, Commit, DmlsApplication, DmlsEpochInfo, DmlsJoin, DmlsMessage,
    DmlsMeta, DmlsNotice, DmlsProfile, DmlsRejoin, EncryptedGroupSecrets, FramedContent, GroupInfo,
    GroupSecrets, Heads, KeyPackage, Merge, MlsMessage, PrivateMessage, Proposal, ProposalOrRef,
    PublicMessage, SenderData, Welcome,
};
use dmls_core::group::{Value, inspect_key_package};
use dmls_core::schedule::{GroupContext, PreSharedKeyId};
use dmls_core::suite::{CipherSuite, HpkeCiphertext};
use dmls_core::tree::{
    Capabilities, Credential, Extensions, ExternalSender, LeafNode, Lifetime, Node, ParentNode, RatchetTree,
    RatchetTreeExtension, RequiredCapabilities, UpdatePath,
};
use pprf::Pprf;

/// A decoder. Its number is its place in `DECODERS`, for ever: kept inputs start with it.
pub struct Decoder {
    /// The type.
    pub name: &'static str,
    /// Decodes, and judges what it has accepted. Returns whether it has.
    pub run: fn(&[u8]) -> bool,
    /// Whether its input comes from others: then memory is bounded by the input's length.
    pub hostile: bool,
}

macro_rules! wire {
    ($($ty:ty),+ $(,)?) => { [$(Decoder { name: stringify!($ty), run: round_trip::<$ty>, hostile: true }),+] };
}

/// The types on the wire.
const WIRE: [Decoder; 38] = wire![
    DmlsMessage,
    MlsMessage,
    DmlsMeta,
    Merge,
    DmlsApplication,
    ApplicationData,
    DmlsNotice,
    DmlsJoin,
    DmlsEpochInfo,
    DmlsProfile,
    DmlsRejoin,
    Heads,
    KeyPackage,
    Welcome,
    EncryptedGroupSecrets,
    GroupInfo,
    GroupSecrets,
    GroupContext,
    RatchetTreeExtension,
    Node,
    LeafNode,
    ParentNode,
    UpdatePath,
    Capabilities,
    Lifetime,
    Extensions,
    RequiredCapabilities,
    ExternalSender,
    Credential,
    Proposal,
    ProposalOrRef,
    Commit,
    PreSharedKeyId,
    PublicMessage,
    PrivateMessage,
    SenderData,
    FramedContent,
    AuthenticatedContent,
];

/// What more is read.
const OTHERS: [Decoder; 5] = [
    Decoder { name: "HpkeCiphertext", run: round_trip::<HpkeCiphertext>, hostile: true },
    Decoder { name: "key package", run: key_package, hostile: true },
    Decoder { name: "tree", run: tree, hostile: true },
    Decoder { name: "pprf", run: pprf, hostile: true },
    Decoder { name: "record", run: record, hostile: false },
];

/// The decoder with a number.
pub fn decoder(number: u8) -> Option<&'static Decoder> {
    WIRE.iter().chain(&OTHERS).nth(number.into())
}

/// The number of a decoder, by its name.
pub fn number(name: &str) -> Option<u8> {
    (0..=u8::MAX).find(|number| decoder(*number).is_some_and(|decoder| decoder.name == name))
}

/// Bytes that decoding and encoding an input of `len` bytes may take at once. A blank of a tree is one byte on the wire
/// and a node with its hash in memory, up to a width that is a power of two; that is the worst there is.
pub const fn memory(len: usize) -> usize {
    (64 << 10) + 2048 * len
}

/// Judges an input.
pub fn run(data: &[u8]) {
    let Some((number, bytes)) = data.split_first() else { return };
    if let Some(decoder) = decoder(*number) {
        (decoder.run)(bytes);
    }
}

/// What is accepted has one encoding, and it is the input.
fn round_trip<T: DeserializeBytes + Serialize>(bytes: &[u8]) -> bool {
    let Ok(value) = decode::<T>(bytes) else { return false };
    assert_eq!(value.tls_serialized_len(), bytes.len(), "a length differs from that of the input");
    let again = encode(&value).expect("what was decoded can be encoded");
    assert!(again == bytes, "another encoding of the same value was accepted");
    true
}

/// A key package of a stranger, as it is shown before anybody is invited.
fn key_package(bytes: &[u8]) -> bool {
    inspect_key_package(bytes).is_ok()
}

/// A ratchet tree, as a joiner reads it: the hash, and the checks that need no keys of others.
fn tree(bytes: &[u8]) -> bool {
    let suite = CipherSuite::X25519_AES128GCM.suite().expect("a suite");
    let Ok(tree) = RatchetTree::from_extension(suite, bytes) else { return false };
    assert!(tree.to_extension().encode().expect("bytes") == bytes, "another encoding of the same tree");
    let _ = tree.tree_hash().expect("a hash");
    let _ = (tree.verify_unmerged_leaves(), tree.verify_unique_keys(), tree.verify_credential_support());
    let _ = tree.verify_parent_hashes();
    true
}

/// A puncturable PRF as it is stored.
fn pprf(bytes: &[u8]) -> bool {
    let Ok(tree) = Pprf::from_bytes(bytes) else { return false };
    assert!(tree.to_bytes()[..] == *bytes, "another encoding of the same tree was accepted");
    true
}

/// A stored record. Nobody else writes these, but a disk may damage them. bincode has more than one encoding of a
/// number, so only what was written again must stay the same.
fn record(bytes: &[u8]) -> bool {
    const LIMIT: usize = 1 << 20;
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let read = |bytes: &[u8]| bincode::serde::decode_from_slice::<Value, _>(bytes, config);
    let write =
        |value: &Value| bincode::serde::encode_to_vec(value, config).expect("a record can be written");
    let Ok((value, _)) = read(bytes) else { return false };
    let written = write(&value);
    let (again, len) = read(&written).expect("what was written can be read");
    assert_eq!(len, written.len(), "a record has bytes too many");
    assert!(write(&again) == written, "a record changes when it is written again");
    true
}

#[cfg(test)]
mod tests {
    use dmls_core::codec::{Serialize, Size};

    use super::*;

    /// A number that forgets its lowest bit: two encodings for each value.
    struct Even(u8);

    impl Size for Even {
        fn tls_serialized_len(&self) -> usize {
            1
        }
    }

    impl Serialize for Even {
        fn tls_serialize<W: std::io::Write>(&self, writer: &mut W) -> Result<usize, tls_codec::Error> {
            self.0.tls_serialize(writer)
        }
    }

    impl DeserializeBytes for Even {
        fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), tls_codec::Error> {
            u8::tls_deserialize_bytes(bytes).map(|(byte, rest)| (Self(byte & !1), rest))
        }
    }

    #[test]
    fn a_second_encoding_is_noticed() {
        assert!(round_trip::<Even>(&[2]) && !round_trip::<Even>(&[2, 2]));
        assert!(std::panic::catch_unwind(|| round_trip::<Even>(&[3])).is_err());
    }

    #[test]
    fn a_decoder_is_found_by_the_number_of_its_name() {
        assert_eq!(number("DmlsMessage"), Some(0));
        assert_eq!(decoder(number("record").expect("a decoder")).map(|decoder| decoder.name), Some("record"));
        assert!(decoder(u8::MAX).is_none());
    }
}
