//! The checked-in known answers, which `vectors/generate.py` computed without this crate.

use pprf::{Hash, HmacDerivation, Pprf, Punctured};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::reference::{Reference, bits, node_size};

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn check(case: &Value) -> usize {
    let hash = match case["hash"].as_str().unwrap() {
        "SHA-256" => Hash::Sha256,
        "SHA-384" => Hash::Sha384,
        "SHA-512" => Hash::Sha512,
        other => panic!("unknown hash {other}"),
    };
    let depth = u16::try_from(case["depth"].as_u64().unwrap()).unwrap();
    let (left, right) = (bytes(&case["left_info"]), bytes(&case["right_info"]));
    let derivation = HmacDerivation::new(hash, &left, &right);
    let mut tree = Pprf::new(node_size(hash), depth, &bytes(&case["root"])).unwrap();
    let mut reference = Reference::new(hash, depth, &bytes(&case["root"]));
    reference.infos = [left, right];
    let values = case["values"].as_array().unwrap();
    let mut checks = 0;
    for step in case["steps"].as_array().unwrap() {
        if !step["puncture"].is_null() {
            let x = bytes(&step["puncture"]);
            let expected = &values.iter().find(|value| bytes(&value["x"]) == x).unwrap()["value"];
            let leaf = tree.at_mut(&derivation, &x).unwrap().eval_and_puncture().ok().unwrap();
            assert_eq!(leaf.as_bytes(), bytes(expected), "{} depth {depth}", case["hash"]);
            reference.puncture(&bits(&x, depth)).unwrap();
        }
        let encoded = tree.to_bytes();
        assert_eq!(*encoded, reference.to_bytes());
        assert_eq!(encoded.len() as u64, step["length"].as_u64().unwrap());
        assert_eq!(Sha256::digest(&*encoded).as_slice(), bytes(&step["sha256"]));
        if let Some(state) = step.get("state") {
            assert_eq!(*encoded, bytes(state));
        }
        for value in values {
            let x = bytes(&value["x"]);
            let point = tree.at(&derivation, &x).unwrap();
            let expected = reference.eval(&bits(&x, depth));
            match point.eval() {
                Ok(leaf) => {
                    assert!(!point.is_punctured());
                    assert_eq!(leaf.as_bytes(), bytes(&value["value"]));
                    assert_eq!(expected, Some(bytes(&value["value"])));
                }
                Err(Punctured) => {
                    assert!(point.is_punctured());
                    assert_eq!(expected, None);
                }
            }
            checks += 1;
        }
    }
    checks
}

#[test]
fn all_known_answers_hold() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../vectors/pprf.json")).unwrap();
    assert_eq!(cases.len(), 27);
    let checks: usize = cases.iter().map(check).sum();
    assert!(checks > 400, "only {checks} checks");
}
