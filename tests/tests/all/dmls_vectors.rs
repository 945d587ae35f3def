//! The vectors in `docs/vectors`: reproducible, right, and not right when anything in them is changed.

use std::path::{Path, PathBuf};

use dmls_tests::dmls_vectors::{FILES, VectorFile};
use serde_json::Value;

fn path(file: &VectorFile) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors").join(file.name)
}

fn read(file: &VectorFile) -> String {
    std::fs::read_to_string(path(file)).unwrap()
}

#[test]
fn the_files_are_what_the_command_writes_byte_for_byte() {
    for file in &FILES {
        let again = "cargo run -p dmls-tests --example dmls_vectors -- docs/vectors";
        assert!(file.generate().unwrap() == read(file), "{} is stale; run: {again}", file.name);
    }
}

#[test]
fn every_case_computes_to_what_it_expects() {
    for file in &FILES {
        let cases = file.cases(&read(file)).unwrap();
        assert!(cases.len() >= 3, "{} has {} cases", file.name, cases.len());
        for case in &cases {
            file.check(case).unwrap();
        }
    }
}

/// Calls `with` with the value, each of its leaves changed in turn.
fn each_leaf_changed(root: &Value, with: &mut dyn FnMut(&str, &Value)) {
    fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(k, v)| pointers(v, &format!("{at}/{k}"), found))
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), found));
            }
            _ => found.push(at.to_owned()),
        }
    }
    let mut found = Vec::new();
    pointers(root, "", &mut found);
    for pointer in found {
        let mut changed = root.clone();
        let leaf = changed.pointer_mut(&pointer).unwrap();
        *leaf = match leaf.take() {
            Value::Bool(value) => (!value).into(),
            Value::Number(value) => (value.as_u64().unwrap() + 1).into(),
            Value::Null => "00".into(),
            Value::String(value) => match hex::decode(&value) {
                // One bit of the last byte.
                Ok(mut bytes) => {
                    match bytes.last_mut() {
                        Some(last) => *last ^= 1,
                        None => bytes.push(0),
                    }
                    hex::encode(bytes).into()
                }
                Err(_) => format!("{value}?").into(),
            },
            other => panic!("{pointer} is no leaf: {other}"),
        };
        with(&pointer, &changed);
    }
}

#[test]
fn a_change_of_any_expected_field_is_noticed() {
    let mut changes = 0;
    for file in &FILES {
        for case in file.cases(&read(file)).unwrap() {
            // Control: unchanged it holds.
            file.check(&case).unwrap();
            each_leaf_changed(&case["expected"], &mut |pointer, changed| {
                let mut case = case.clone();
                case["expected"] = changed.clone();
                assert!(file.check(&case).is_err(), "{}: {}{pointer}", file.name, case["name"]);
                changes += 1;
            });
        }
    }
    assert!(changes > 500, "only {changes} changes were tried");
}

/// A vector whose expected values did not depend on an input would show nothing about it.
#[test]
fn every_secret_and_context_of_the_key_schedule_matters() {
    let file = FILES.iter().find(|file| file.name == "key-schedule.json").unwrap();
    for case in file.cases(&read(file)).unwrap() {
        each_leaf_changed(&case["input"], &mut |pointer, changed| {
            let mut case = case.clone();
            case["input"] = changed.clone();
            // Suites 1 and 3 hash alike; what differs is how their keys are used.
            if pointer != "/cipher_suite" {
                assert!(file.check(&case).is_err(), "{}{pointer}", case["name"]);
            }
        });
    }
}
