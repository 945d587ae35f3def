//! The init PPRF: what it gives before and after punctures.

use dmls_core::schedule::{ChildInput, DmlsKeyError, InitPprf};
use dmls_core::suite::{CipherSuite, Secret};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

use super::{Failure, bytes, fail, list, random, random_hex, suite, text};

pub(super) fn inputs(rng: &mut ChaCha20Rng) -> Vec<(String, Value)> {
    let mut cases = Vec::new();
    for id in CipherSuite::supported() {
        let nh = id.suite().unwrap().nh();
        let x = random(rng, nh);
        // Neighbours at both ends of the tree, and the two extremes.
        let mut last_bit = x.clone();
        *last_bit.last_mut().unwrap() ^= 1;
        let mut first_bit = x.clone();
        first_bit[0] ^= 0x80;
        let all = [x, last_bit, first_bit, vec![0; nh], vec![0xff; nh], random(rng, nh)].map(hex::encode);
        let step = |op: &str, x: &String| json!({ "op": op, "x": x });
        let mut steps: Vec<_> = all.iter().map(|x| step("evaluate", x)).collect();
        for punctured in [0, 3, 0] {
            steps.push(step("puncture", &all[punctured]));
            steps.extend(all.iter().map(|x| step("evaluate", x)));
        }
        let input = json!({ "cipher_suite": id.0, "parent_init": random_hex(rng, nh), "steps": steps });
        cases.push((format!("suite {}: six inputs, two punctures, one of them twice", id.0), input));
    }
    cases
}

/// The PPRF's input type, which is otherwise only derived.
pub(super) fn child_input(x: &[u8]) -> Result<ChildInput, Failure> {
    serde_json::from_value(json!(x)).map_err(fail)
}

pub(super) fn compute(input: &Value) -> Result<Value, Failure> {
    let root = Secret::from(bytes(input, "parent_init")?);
    let mut pprf = InitPprf::new(suite(input)?, &root).map_err(fail)?;
    let mut results = Vec::new();
    for step in list(input, "steps")? {
        let x = child_input(&bytes(step, "x")?)?;
        results.push(match text(step, "op")? {
            "evaluate" => match pprf.evaluate(&x) {
                Ok(secret) => json!({ "init_secret": hex::encode(secret.as_slice()) }),
                Err(DmlsKeyError::Punctured) => json!({ "init_secret": null }),
                Err(error) => return Err(fail(error)),
            },
            "puncture" => json!({ "was_derivable": pprf.puncture(&x).map_err(fail)? }),
            other => return Err(format!("no such step: {other}")),
        });
    }
    Ok(json!({ "results": results, "punctured": pprf.punctured_count() }))
}
