//! The wire types of the profile: from fields to bytes and back, and bytes that are refused.

use dmls_core::codec::{Bytes, DeserializeBytes, Serialize, decode, encode};
use dmls_core::framing::{
    ApplicationData, ContentType, DmlsApplication, DmlsEpochInfo, DmlsJoin, DmlsMessage, DmlsMeta,
    DmlsNotice, DmlsProfile, DmlsRejoin, Heads, Merge, MlsMessage, MlsMessageBody, PrivateMessage, Proposal,
    TruncatedId,
};
use dmls_core::tree::{Credential, Extension, ExtensionType, Extensions};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

use super::{
    Failure, bytes, fail, list, missing, number, number_as, optional_bytes, random_hex, text, unhex,
};

pub(super) fn inputs(rng: &mut ChaCha20Rng) -> Vec<(String, Value)> {
    let mut cases = Vec::new();
    metas(rng, &mut cases);
    others(rng, &mut cases);
    refused(rng, &mut cases);
    notices(rng, &mut cases);
    cases
}

type Cases = Vec<(String, Value)>;

fn push(cases: &mut Cases, name: &str, input: Value) {
    cases.push((name.into(), input));
}

fn metas(rng: &mut ChaCha20Rng, cases: &mut Cases) {
    let mut id = || random_hex(rng, 32);
    let meta = |vote: Value, since: String, conf: Value, heads: Value, merge: Value| {
        json!({
            "type": "DmlsMeta", "vote": vote, "since": since, "conf": conf, "heads": heads, "merge": merge,
        })
    };
    let none = || Value::Null;
    push(cases, "DmlsMeta: acknowledgement", meta(none(), String::new(), none(), json!([]), none()));
    push(cases, "DmlsMeta: vote with since", meta(json!(id()), id(), none(), json!([]), none()));
    let heads = |count: usize, id: &mut dyn FnMut() -> String| -> Value {
        json!((0..count).map(|_| id()[..32].to_owned()).collect::<Vec<_>>())
    };
    let (conf, two, most) = (json!(id()), heads(2, &mut id), heads(16, &mut id));
    push(cases, "DmlsMeta: commit, two heads", meta(none(), String::new(), conf.clone(), two, none()));
    push(cases, "DmlsMeta: commit, sixteen heads", meta(none(), id(), conf.clone(), most, none()));
    let merge = json!({
        "fork_epoch": id(), "tips": [id(), id()], "carried_hash": id(),
        "deferred": ["616c696365", "626f62"], "healed": [0, 7, 4294967295_u32],
    });
    push(cases, "DmlsMeta: merge", meta(none(), id(), conf.clone(), json!([]), merge));
    let mut proposal = meta(none(), String::new(), conf, json!([]), none());
    proposal["type"] = json!("Proposal");
    push(cases, "Proposal: dmls_meta with its code point", proposal);
}

fn others(rng: &mut ChaCha20Rng, cases: &mut Cases) {
    for (name, content_type, ciphertext) in [("application", 1, 96), ("proposal", 2, 63), ("commit", 3, 64)] {
        let input = json!({
            "type": "DMLSMessage", "group_id": random_hex(rng, 16), "epoch": 7, "content_type": content_type,
            "authenticated_data": "", "encrypted_sender_data": random_hex(rng, 28),
            "ciphertext": random_hex(rng, ciphertext), "dmls_epoch": random_hex(rng, 32),
        });
        push(cases, &format!("DMLSMessage: {name}"), input);
    }
    for (name, heads, payload) in [("no heads", 0, 5), ("one head, empty payload", 1, 0)] {
        let heads: Vec<_> = (0..heads).map(|_| random_hex(rng, 16)).collect();
        let input = json!({
            "type": "DmlsApplication", "generation": 258, "heads": heads, "payload": random_hex(rng, payload),
        });
        push(cases, &format!("DmlsApplication: {name}"), input);
    }
    for kind in ["DmlsJoin", "DmlsEpochInfo"] {
        for (name, tips, added) in [("ordinary", 0, 0), ("merged tips, added before", 2, 32)] {
            let tips: Vec<_> = (0..tips).map(|_| random_hex(rng, 32)).collect();
            let input = json!({
                "type": kind, "dmls_epoch": random_hex(rng, 32), "parent": random_hex(rng, 32),
                "merged_tips": tips, "added_in": random_hex(rng, added),
            });
            push(cases, &format!("{kind}: {name}"), input);
        }
    }
    for (name, behind, retained, age, size, admins) in [
        ("default", 32, 64, 604_800_u64, 33_554_432_u64, vec![]),
        ("two admins", 8, 16, 3600, 1_048_576, vec!["616c696365", "626f62"]),
    ] {
        let input = json!({
            "type": "DmlsProfile", "profile": 3, "max_behind": behind, "max_retained": retained,
            "max_age_seconds": age, "max_bytes": size, "admins": admins,
        });
        push(cases, &format!("DmlsProfile: {name}"), input);
    }
}

/// Encodings that must be refused, each beside one that differs in a single point and is taken.
fn refused(rng: &mut ChaCha20Rng, cases: &mut Cases) {
    let ack = "0000000000";
    let heads = |len: usize, rng: &mut ChaCha20Rng| {
        let prefix = if len < 64 { format!("{len:02x}") } else { format!("{:04x}", 0x4000 | len) };
        format!("000000{prefix}{}00", random_hex(rng, len))
    };
    let vote = |len: usize, rng: &mut ChaCha20Rng| {
        let prefix = if len < 64 { format!("{len:02x}") } else { format!("{:04x}", 0x4000 | len) };
        format!("01{prefix}{}00000000", random_hex(rng, len))
    };
    let profile = |number: u16, behind: u32| {
        format!("{number:04x}{behind:08x}{:08x}{:016x}{:016x}00", 64, 604_800, 1 << 25)
    };
    let metas = [
        ("an acknowledgement", ack.to_owned()),
        ("a byte behind the end", format!("{ack}00")),
        ("a byte too few", ack[..8].to_owned()),
        ("an optional that is neither 0 nor 1", "0200000000".into()),
        ("a length that is not minimal", "004000000000".into()),
        ("sixteen heads", heads(256, rng)),
        ("seventeen heads", heads(272, rng)),
        ("half a head", heads(8, rng)),
        ("an id of 64 bytes", vote(64, rng)),
        ("an id of 65 bytes", vote(65, rng)),
    ];
    let profiles =
        [("profile 3", profile(3, 32)), ("profile 2", profile(2, 32)), ("a bound of zero", profile(3, 0))];
    let typed =
        metas.map(|case| ("DmlsMeta", case)).into_iter().chain(profiles.map(|case| ("DmlsProfile", case)));
    for (kind, (name, encoded)) in typed {
        let input = json!({ "type": "decode", "of": kind, "bytes": encoded });
        push(cases, &format!("{kind} from bytes: {name}"), input);
    }
}

/// Notices, and the request to rejoin. What stands for a KeyPackage or a Welcome are arbitrary bytes.
fn notices(rng: &mut ChaCha20Rng, cases: &mut Cases) {
    for (notice, name, contents) in [
        (1, "closed", 32),
        (2, "key_package", 90),
        (3, "welcome", 90),
        (4, "proof", 90),
        (9, "of an unknown type", 5),
    ] {
        let input = json!({
            "type": "ApplicationData", "generation": 3, "heads": [random_hex(rng, 16)], "payload": "",
            "notice_type": notice, "contents": random_hex(rng, contents),
        });
        push(cases, &format!("ApplicationData: notice, {name}"), input);
    }
    for (name, number) in [("first", 1), ("later", 1_795_000_000_000_u64)] {
        let input = json!({ "type": "dmls_rejoin", "group_id": random_hex(rng, 16), "number": number });
        push(cases, &format!("dmls_rejoin: {name}"), input);
    }
    let message = "000000030001020304".to_owned();
    let data = [
        ("a message of three bytes", "000000030003010203".to_owned()),
        ("an empty message", "000000030000".into()),
        ("an empty notice of type 1", "00000003000001".into()),
        ("a notice of type 1", format!("0000000300000120{}", random_hex(rng, 32))),
        ("a byte behind a notice", format!("0000000300000120{}00", random_hex(rng, 32))),
        ("a notice of type 7, anything behind it", "00000003000007ffff".into()),
        ("a notice behind a payload", message),
    ];
    for (name, encoded) in data {
        let input = json!({ "type": "decode", "of": "ApplicationData", "bytes": encoded });
        push(cases, &format!("ApplicationData from bytes: {name}"), input);
    }
}

fn notice(value: &Value) -> Result<DmlsNotice, Failure> {
    let contents = Bytes::from(bytes(value, "contents")?);
    Ok(match number_as(value, "notice_type")? {
        1 => DmlsNotice::Closed { winner: contents },
        2 => DmlsNotice::KeyPackage(contents),
        3 => DmlsNotice::Welcome(contents),
        4 => DmlsNotice::Proof(contents),
        notice_type => DmlsNotice::Unknown { notice_type, contents },
    })
}

fn ids(value: &Value, field: &str) -> Result<Vec<Bytes>, Failure> {
    list(value, field)?.iter().map(|id| unhex(id).map(Bytes::from)).collect()
}

fn heads(value: &Value) -> Result<Heads, Failure> {
    let head = |id: &Value| {
        let bytes: [u8; 16] = unhex(id)?.try_into().map_err(|_| "a head has not 16 bytes")?;
        Ok(TruncatedId(bytes))
    };
    list(value, "heads")?.iter().map(head).collect::<Result<_, Failure>>().map(Heads)
}

fn credentials(value: &Value, field: &str) -> Result<Vec<Credential>, Failure> {
    list(value, field)?.iter().map(|identity| unhex(identity).map(Credential::basic)).collect()
}

fn merge(value: &Value) -> Result<Merge, Failure> {
    let leaf = |leaf: &Value| leaf.as_u64().and_then(|leaf| u32::try_from(leaf).ok());
    Ok(Merge {
        fork_epoch: bytes(value, "fork_epoch")?.into(),
        tips: ids(value, "tips")?,
        carried_hash: bytes(value, "carried_hash")?.into(),
        deferred: credentials(value, "deferred")?,
        healed: list(value, "healed")?.iter().map(leaf).collect::<Option<_>>().ok_or(missing("healed"))?,
    })
}

fn meta(value: &Value) -> Result<DmlsMeta, Failure> {
    Ok(DmlsMeta {
        vote: optional_bytes(value, "vote")?.map(Bytes::from),
        since: bytes(value, "since")?.into(),
        conf: optional_bytes(value, "conf")?.map(Bytes::from),
        heads: heads(value)?,
        merge: if value["merge"].is_null() { None } else { Some(merge(&value["merge"])?) },
    })
}

fn join(value: &Value) -> Result<DmlsJoin, Failure> {
    Ok(DmlsJoin {
        parent: bytes(value, "parent")?.into(),
        merged_tips: ids(value, "merged_tips")?,
        added_in: bytes(value, "added_in")?.into(),
    })
}

fn profile(value: &Value) -> Result<DmlsProfile, Failure> {
    Ok(DmlsProfile {
        profile: number_as(value, "profile")?,
        max_behind: number_as(value, "max_behind")?,
        max_retained: number_as(value, "max_retained")?,
        max_age_seconds: number(value, "max_age_seconds")?,
        max_bytes: number(value, "max_bytes")?,
        admins: credentials(value, "admins")?,
    })
}

fn message(value: &Value) -> Result<DmlsMessage, Failure> {
    let content_type = match number(value, "content_type")? {
        1 => ContentType::Application,
        2 => ContentType::Proposal,
        3 => ContentType::Commit,
        other => return Err(format!("no content type {other}")),
    };
    let private = PrivateMessage {
        group_id: bytes(value, "group_id")?.into(),
        epoch: number(value, "epoch")?,
        content_type,
        authenticated_data: bytes(value, "authenticated_data")?.into(),
        encrypted_sender_data: bytes(value, "encrypted_sender_data")?.into(),
        ciphertext: bytes(value, "ciphertext")?.into(),
    };
    let body = MlsMessageBody::Private(private);
    let message = MlsMessage { version: dmls_core::tree::ProtocolVersion::MLS10, body };
    Ok(DmlsMessage { message, dmls_epoch: bytes(value, "dmls_epoch")?.into() })
}

/// The encoding, from which exactly the same value is read again.
fn both_ways<T: Serialize + DeserializeBytes + PartialEq>(value: &T) -> Result<Value, Failure> {
    let encoded = encode(value).map_err(fail)?;
    let decoded: T = decode(&encoded).map_err(fail)?;
    if decoded != *value {
        return Err("what was decoded is not what was encoded".into());
    }
    Ok(json!({ "encoded": hex::encode(encoded) }))
}

/// Whether bytes are taken; what is taken has no other encoding.
fn is_valid(input: &Value) -> Result<Value, Failure> {
    let given = bytes(input, "bytes")?;
    let again = match text(input, "of")? {
        "DmlsMeta" => decode::<DmlsMeta>(&given).map_err(fail).and_then(|meta| encode(&meta).map_err(fail)),
        "ApplicationData" => {
            decode::<ApplicationData>(&given).map_err(fail).and_then(|data| encode(&data).map_err(fail))
        }
        "DmlsProfile" => {
            let extension_type = ExtensionType::DMLS_PROFILE;
            let extension = Extension { extension_type, extension_data: given.clone().into() };
            let profile = DmlsProfile::from_extensions(&Extensions(vec![extension])).map_err(fail);
            profile.and_then(|profile| encode(&profile.ok_or("no profile")?).map_err(fail))
        }
        other => return Err(format!("no such type: {other}")),
    };
    match again {
        Ok(again) if again != given => Err("the bytes are not the value's encoding".into()),
        again => Ok(json!({ "valid": again.is_ok() })),
    }
}

pub(super) fn compute(input: &Value) -> Result<Value, Failure> {
    match text(input, "type")? {
        "DmlsMeta" => both_ways(&meta(input)?),
        "Proposal" => both_ways(&Proposal::DmlsMeta(meta(input)?)),
        "DmlsApplication" => both_ways(&DmlsApplication {
            generation: number_as(input, "generation")?,
            heads: heads(input)?,
            payload: bytes(input, "payload")?.into(),
        }),
        "ApplicationData" => {
            let (generation, heads) = (number_as(input, "generation")?, heads(input)?);
            both_ways(&ApplicationData::notice(generation, heads, notice(input)?))
        }
        "dmls_rejoin" => {
            let (group_id, number) = (bytes(input, "group_id")?.into(), number(input, "number")?);
            both_ways(&DmlsRejoin { group_id, number }.to_extension().map_err(fail)?)
        }
        "DmlsJoin" => both_ways(&join(input)?),
        "DmlsEpochInfo" => {
            both_ways(&DmlsEpochInfo { dmls_epoch: bytes(input, "dmls_epoch")?.into(), join: join(input)? })
        }
        "DmlsProfile" => both_ways(&profile(input)?),
        "DMLSMessage" => both_ways(&message(input)?),
        "decode" => is_valid(input),
        other => Err(format!("no such type: {other}")),
    }
}
