//! Vectors of messages, their protection, and Welcomes.

use dmls_core::codec::{Bytes, DeserializeBytes, Serialize, decode, encode};
use dmls_core::framing::{
    Add, AuthenticatedContent, Commit, Content, ContentType, ExternalInit, FramedContent, FramingError,
    GroupContextExtensions, GroupInfo, GroupSecrets, MlsMessage, MlsMessageBody, Padding, PreSharedKey,
    PrivateMessage, Proposal, PublicMessage, ReInit, Remove, Sender, SenderData, Update, Welcome, WireFormat,
};
use dmls_core::schedule::{
    DerivedEpoch, GroupContext, HandshakeKeys, Profile, RatchetType, SecretTree, Windows, psk_secret,
    welcome_keys, welcome_secret,
};
use dmls_core::suite::{HpkePrivateKey, Secret, SignaturePrivateKey, SignaturePublicKey, Strictness, Suite};
use dmls_core::tree::{Extensions, LeafIndex, ProtocolVersion, RatchetTreeExtension};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::Value;

use crate::Outcome;
use crate::input::{At, bytes, number, opaque, same, secret, suite_or_skip};

/// Every structure, decoded and encoded to the same bytes.
pub(crate) fn messages(case: &Value) -> Result<Outcome, String> {
    again::<RatchetTreeExtension>(case, "ratchet_tree")?;
    again::<GroupSecrets>(case, "group_secrets")?;
    again::<Add>(case, "add_proposal")?;
    again::<Update>(case, "update_proposal")?;
    again::<Remove>(case, "remove_proposal")?;
    again::<PreSharedKey>(case, "pre_shared_key_proposal")?;
    again::<ReInit>(case, "re_init_proposal")?;
    again::<ExternalInit>(case, "external_init_proposal")?;
    again::<GroupContextExtensions>(case, "group_context_extensions_proposal")?;
    again::<Commit>(case, "commit")?;
    let formats = [
        ("mls_welcome", WireFormat::Welcome),
        ("mls_group_info", WireFormat::GroupInfo),
        ("mls_key_package", WireFormat::KeyPackage),
        ("public_message_application", WireFormat::PublicMessage),
        ("public_message_proposal", WireFormat::PublicMessage),
        ("public_message_commit", WireFormat::PublicMessage),
        ("private_message", WireFormat::PrivateMessage),
    ];
    for (key, format) in formats {
        let message = again::<MlsMessage>(case, key)?;
        if message.wire_format() != format {
            return Err(format!("{key}: a {:?}", message.wire_format()));
        }
    }
    Ok(Outcome::Passed)
}

/// Decodes a field and encodes it again.
fn again<T: DeserializeBytes + Serialize>(case: &Value, key: &str) -> Result<T, String> {
    let value = decode::<T>(&bytes(case, key)?).at(key)?;
    same(case, key, &encode(&value).at(key)?)?;
    Ok(value)
}

/// The sender of the messages of a message-protection case.
const SENDER: LeafIndex = LeafIndex(1);

/// The state of a message-protection case: a group of two.
struct Group {
    suite: Suite,
    context: GroupContext,
    tree: SecretTree,
    sender_data_secret: Secret,
    membership_key: Secret,
    private: SignaturePrivateKey,
    public: SignaturePublicKey,
}

impl Group {
    fn read(case: &Value, suite: Suite) -> Result<Self, String> {
        let context = GroupContext {
            version: ProtocolVersion::MLS10,
            cipher_suite: suite.id(),
            group_id: opaque(case, "group_id")?,
            epoch: number(case, "epoch")?,
            tree_hash: opaque(case, "tree_hash")?,
            confirmed_transcript_hash: opaque(case, "confirmed_transcript_hash")?,
            extensions: Extensions::default(),
        };
        let encryption_secret = secret(case, "encryption_secret")?;
        Ok(Self {
            suite,
            context,
            tree: SecretTree::new(suite, &encryption_secret, 2, HandshakeKeys::Consumed)
                .at("encryption_secret")?,
            sender_data_secret: secret(case, "sender_data_secret")?,
            membership_key: secret(case, "membership_key")?,
            private: SignaturePrivateKey(secret(case, "signature_priv")?),
            public: bytes(case, "signature_pub")?.into(),
        })
    }

    fn sign(&self, format: WireFormat, content: Content) -> Result<AuthenticatedContent, String> {
        let is_commit = matches!(content, Content::Commit(_));
        let content = FramedContent {
            group_id: self.context.group_id.clone(),
            epoch: self.context.epoch,
            sender: Sender::Member(SENDER),
            authenticated_data: Bytes::default(),
            content,
        };
        let mut signed =
            AuthenticatedContent::sign(self.suite, format, content, &self.context, &self.private)
                .at("sign")?;
        // Any will do: there is no key schedule behind it.
        signed.auth.confirmation_tag = is_commit.then(|| vec![7; self.suite.nh()].into());
        Ok(signed)
    }

    fn verify(&self, opened: AuthenticatedContent) -> Result<Content, String> {
        opened.verify(self.suite, &self.public, &self.context, Strictness::Standard).at("signature")?;
        if opened.content.sender != Sender::Member(SENDER) {
            return Err(format!("sender: {:?}", opened.content.sender));
        }
        Ok(opened.content.content)
    }

    fn open_public(&self, message: &MlsMessage) -> Result<Content, String> {
        let MlsMessageBody::Public(message) = &message.body else { return Err("not public".into()) };
        let opened = message.unprotect(self.suite, &self.context, &self.membership_key);
        self.verify(opened.at("membership tag")?)
    }

    fn open_private(&self, message: &MlsMessage) -> Result<Content, String> {
        let MlsMessageBody::Private(message) = &message.body else { return Err("not private".into()) };
        let sender =
            message.open_sender_data(self.suite, &self.sender_data_secret).at("encrypted_sender_data")?;
        let ratchet = match message.content_type {
            ContentType::Application => RatchetType::Application,
            _ => RatchetType::Handshake,
        };
        let keys = self.tree.peek(sender.leaf_index, ratchet, sender.generation, Windows::default());
        let opened = message.decrypt(self.suite, &sender, &keys.at("key")?).at("ciphertext")?;
        self.verify(opened)
    }

    fn protect_public(&self, content: Content) -> Result<MlsMessage, String> {
        let signed = self.sign(WireFormat::PublicMessage, content)?;
        let message = PublicMessage::protect(self.suite, signed, &self.context, &self.membership_key);
        through_bytes(&message.at("protect")?.into())
    }

    fn protect_private(&self, content: Content) -> Result<MlsMessage, String> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let signed = self.sign(WireFormat::PrivateMessage, content)?;
        let ratchet = match signed.content.content {
            Content::Application(_) => RatchetType::Application,
            _ => RatchetType::Handshake,
        };
        let own = self.tree.clone().next_own(SENDER, ratchet).at("key")?;
        let sender = SenderData::new(SENDER, own.generation, &mut rng);
        let secret = &self.sender_data_secret;
        let padding = Padding::Multiple(32);
        let message = PrivateMessage::encrypt(self.suite, &signed, &sender, &own.keys, secret, padding);
        through_bytes(&message.at("protect")?.into())
    }
}

fn through_bytes(message: &MlsMessage) -> Result<MlsMessage, String> {
    MlsMessage::from_bytes(&message.to_bytes().at("encode")?).at("decode")
}

fn message(case: &Value, key: &str) -> Result<MlsMessage, String> {
    MlsMessage::from_bytes(&bytes(case, key)?).at(key)
}

/// Messages of all types opened, protected, and opened again.
pub(crate) fn message_protection(case: &Value) -> Result<Outcome, String> {
    let suite = suite_or_skip!(case);
    let group = Group::read(case, suite)?;
    let proposal = Content::Proposal(decode::<Proposal>(&bytes(case, "proposal")?).at("proposal")?);
    let commit = Content::Commit(decode::<Commit>(&bytes(case, "commit")?).at("commit")?);
    let application = Content::Application(secret(case, "application")?);
    let of_both = [(&proposal, "proposal_pub", "proposal_priv"), (&commit, "commit_pub", "commit_priv")];
    for (content, public, private) in of_both {
        expect(content, group.open_public(&message(case, public)?).at(public)?, public)?;
        expect(content, group.open_private(&message(case, private)?).at(private)?, private)?;
        expect(content, group.open_public(&group.protect_public(content.clone())?)?, public)?;
        expect(content, group.open_private(&group.protect_private(content.clone())?)?, private)?;
    }
    let key = "application_priv";
    expect(&application, group.open_private(&message(case, key)?).at(key)?, key)?;
    expect(&application, group.open_private(&group.protect_private(application.clone())?)?, key)?;

    let signed = group.sign(WireFormat::PublicMessage, application)?;
    match PublicMessage::protect(suite, signed, &group.context, &group.membership_key) {
        Err(FramingError::PublicApplication) => Ok(Outcome::Passed),
        other => Err(format!("application data in a PublicMessage: {other:?}")),
    }
}

fn expect(expected: &Content, found: Content, key: &str) -> Result<(), String> {
    if *expected == found { Ok(()) } else { Err(format!("{key}: opened to other content")) }
}

/// A Welcome opened: signature and confirmation tag.
pub(crate) fn welcome(case: &Value) -> Result<Outcome, String> {
    let suite = suite_or_skip!(case);
    let MlsMessageBody::Welcome(welcome) = message(case, "welcome")?.body else {
        return Err("welcome: not a Welcome".into());
    };
    let MlsMessageBody::KeyPackage(key_package) = message(case, "key_package")?.body else {
        return Err("key_package: not a KeyPackage".into());
    };
    let init_private = HpkePrivateKey(secret(case, "init_priv")?);
    let reference = key_package.reference(suite).at("key_package")?;
    let secrets = open_secrets(suite, &welcome, &reference, &init_private)?;
    if !secrets.psks.is_empty() {
        return Err("welcome: needs PSKs".into());
    }
    let psk_secret = psk_secret(suite, &[]).at("psk_secret")?;
    let welcome_secret = welcome_secret(suite, &secrets.joiner_secret, &psk_secret).at("welcome_secret")?;
    let keys = welcome_keys(suite, &welcome_secret).at("welcome_secret")?;
    let info = welcome.encrypted_group_info.as_slice();
    let info = suite.aead().open(&keys.key, keys.nonce.as_slice(), b"", info).at("encrypted_group_info")?;
    let info: GroupInfo = decode(info.as_slice()).at("encrypted_group_info")?;
    let signer: SignaturePublicKey = bytes(case, "signer_pub")?.into();
    info.verify(suite, &signer, Strictness::Standard).at("signer_pub")?;
    let joiner = &secrets.joiner_secret;
    let derived = DerivedEpoch::new(suite, Profile::Plain, joiner, &psk_secret, &info.group_context);
    let confirmed = &info.group_context.confirmed_transcript_hash;
    let epoch = derived.at("joiner_secret")?.secrets;
    match epoch.verify_confirmation_tag(suite, confirmed, &info.confirmation_tag).at("confirmation_tag")? {
        true => Ok(Outcome::Passed),
        false => Err("confirmation_tag: wrong".into()),
    }
}

fn open_secrets(
    suite: Suite,
    welcome: &Welcome,
    reference: &Bytes,
    init_private: &HpkePrivateKey,
) -> Result<GroupSecrets, String> {
    let ours = welcome.secrets.iter().find(|secrets| secrets.new_member == *reference);
    let ours = ours.ok_or("welcome: not for this key package")?;
    let info = welcome.encrypted_group_info.as_slice();
    let opened = suite
        .decrypt_with_label(init_private, "Welcome", info, &ours.encrypted_group_secrets)
        .at("init_priv")?;
    decode(opened.as_slice()).at("group_secrets")
}
