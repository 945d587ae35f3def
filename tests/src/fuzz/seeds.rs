//! Where fuzzing starts: real messages and records, written as inputs of each target.

use std::fs;
use std::io;
use std::path::Path;

use dmls_core::codec::{decode, encode};
use dmls_core::framing::{Content, MlsMessageBody};
use dmls_core::group::GroupId;
use dmls_core::tree::RatchetTree;
use serde_json::Value;

use super::decode::number;
use crate::{Insider, World, stored_records};

/// An input with a name of its own.
pub struct Seed {
    /// The target.
    pub target: &'static str,
    /// The name of the file.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// Inputs of a decoder.
struct Decoded(Vec<Seed>);

impl Decoded {
    fn push(&mut self, decoder: &str, bytes: &[u8]) {
        let number = number(decoder).expect("a decoder");
        let name = format!("{number:02}-{}-{}", decoder.replace(' ', "-"), self.0.len());
        self.0.push(Seed { target: "decode", name, bytes: [&[number], bytes].concat() });
    }

    fn encoded<T: dmls_core::codec::Serialize>(&mut self, decoder: &str, value: &T) {
        self.push(decoder, &encode(value).expect("bytes"));
    }
}

/// Messages and records of a group that has forked.
fn of_a_group(all: &mut Decoded) {
    let mut world = World::new(5, 4);
    world.form();
    world.cut(&[0, 0, 1, 1]);
    world.refresh(1);
    world.refresh(3);
    world.send(0, "a text");
    world.run(20_000);
    world.heal();
    world.run(20_000);
    let group = GroupId(b"the group".to_vec().into());
    let history = world.peers[0].group().history();
    let insiders: Vec<Insider> = history
        .epochs
        .iter()
        .filter_map(|epoch| Insider::read(&world.peers[0].store, &group, &epoch.id))
        .collect();
    for index in 0..world.sent() {
        all.push("DmlsMessage", world.bytes(index));
        let Some(opened) = insiders.iter().find_map(|insider| insider.open(world.bytes(index))) else {
            continue;
        };
        all.encoded("AuthenticatedContent", &opened.content);
        all.encoded("FramedContent", &opened.content.content);
        match &opened.content.content.content {
            Content::Application(data) => {
                all.push("DmlsApplication", data.as_slice());
                all.push("ApplicationData", data.as_slice());
            }
            Content::Proposal(proposal) => all.encoded("Proposal", proposal),
            Content::Commit(commit) => {
                all.encoded("Commit", commit);
                commit.path.iter().for_each(|path| all.encoded("UpdatePath", path));
            }
        }
    }
    if let Some(insider) = insiders.last() {
        let epoch = &insider.epoch;
        all.encoded("GroupContext", epoch.context());
        epoch.profile().into_iter().for_each(|profile| all.encoded("DmlsProfile", profile));
        let tree: &RatchetTree = epoch.tree();
        all.encoded("RatchetTreeExtension", &tree.to_extension());
        all.encoded("tree", &tree.to_extension());
        tree.to_nodes().iter().flatten().for_each(|node| all.encoded("Node", node));
        tree.leaves().for_each(|(_, leaf)| all.encoded("LeafNode", leaf));
    }
    let package = world.key_package(2);
    all.push("key package", &package);
    all.push("MlsMessage", &package);
    // One of each table is enough to start from.
    let mut tables = std::collections::BTreeSet::new();
    for (key, bytes) in stored_records(&world.peers[2].store) {
        if tables.insert(key.table) {
            all.push("record", &bytes);
        }
    }
}

/// Messages of the official vectors, by what they hold: a few of each, small ones.
fn of_vectors(dir: &Path, all: &mut Decoded) -> io::Result<()> {
    let cases: Value = serde_json::from_slice(&fs::read(dir.join("messages.json"))?)?;
    for case in cases.as_array().into_iter().flatten().take(3) {
        for bytes in
            case.as_object().into_iter().flatten().filter_map(|(_, hex)| hex::decode(hex.as_str()?).ok())
        {
            if let Ok(message) = decode::<dmls_core::framing::MlsMessage>(&bytes) {
                all.push("MlsMessage", &bytes);
                match &message.body {
                    MlsMessageBody::Welcome(welcome) => all.encoded("Welcome", welcome),
                    MlsMessageBody::GroupInfo(info) => all.encoded("GroupInfo", info),
                    MlsMessageBody::KeyPackage(package) => all.encoded("KeyPackage", package),
                    MlsMessageBody::Public(public) => all.encoded("PublicMessage", public),
                    MlsMessageBody::Private(private) => all.encoded("PrivateMessage", private),
                }
            }
        }
    }
    Ok(())
}

/// Encodings of the DMLS vectors.
fn of_our_vectors(dir: &Path, all: &mut Decoded) -> io::Result<()> {
    let file: Value = serde_json::from_slice(&fs::read(dir.join("messages.json"))?)?;
    let mut stack = vec![&file];
    while let Some(value) = stack.pop() {
        let text = |at: &str| value.pointer(at).and_then(Value::as_str);
        if let (Some(name), Some(Ok(bytes))) =
            (text("/input/type"), text("/expected/encoded").map(hex::decode))
        {
            let name = if name == "DMLSMessage" { "DmlsMessage" } else { name };
            if number(name).is_some() {
                all.push(name, &bytes);
            }
        }
        match value {
            Value::Array(items) => stack.extend(items),
            Value::Object(items) => stack.extend(items.values()),
            _ => {}
        }
    }
    Ok(())
}

/// All seeds. `vectors`: directories with the official vectors and with ours; what is not there is left out.
pub fn all(official: &Path, ours: &Path) -> Vec<Seed> {
    let mut decoded = Decoded(Vec::new());
    of_a_group(&mut decoded);
    let _ = of_vectors(official, &mut decoded);
    let _ = of_our_vectors(ours, &mut decoded);
    let mut seeds = decoded.0;
    // What happens in a schedule or to a receiver has no encoding to start from: a few bytes of each kind.
    for kind in 0..16_u8 {
        let bytes = |len: u8| (0..len).map(|k| k.wrapping_mul(kind).wrapping_add(kind)).collect::<Vec<u8>>();
        seeds.push(Seed { target: "receive", name: format!("kind-{kind}"), bytes: bytes(24 + kind) });
        seeds.push(Seed { target: "join", name: format!("kind-{kind}"), bytes: bytes(8 + kind) });
        seeds.push(Seed { target: "schedule", name: format!("kind-{kind}"), bytes: bytes(16 + 2 * kind) });
    }
    seeds
}

/// Writes all seeds below a directory, one directory a target.
///
/// # Errors
/// Whatever writing gives.
pub fn write_all(into: &Path, official: &Path, ours: &Path) -> io::Result<usize> {
    let seeds = all(official, ours);
    for seed in &seeds {
        let dir = into.join(seed.target);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(&seed.name), &seed.bytes)?;
    }
    Ok(seeds.len())
}
