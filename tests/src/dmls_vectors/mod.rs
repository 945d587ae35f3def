//! The DMLS test vectors of `docs/vectors`: written by `cargo run -p dmls-tests --example dmls_vectors`.
//!
//! A file is a list of cases. A case has an `input`, written here, and what is `expected` of it, computed by
//! `dmls-core`. Checking a file computes every case again from the input that the *file* gives.

mod histories;
mod merges;
mod messages;
mod pprf;
mod schedule;

use std::path::Path;

use dmls_core::suite::{CipherSuite, Suite};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Why a vector does not hold, as a sentence.
pub type Failure = String;

type Inputs = fn(&mut ChaCha20Rng) -> Vec<(String, Value)>;
type Compute = fn(&Value) -> Result<Value, Failure>;

/// A file of vectors.
pub struct VectorFile {
    /// Its name in `docs/vectors`.
    pub name: &'static str,
    inputs: Inputs,
    compute: Compute,
}

/// All of them.
pub const FILES: [VectorFile; 5] = [
    VectorFile { name: "pprf.json", inputs: pprf::inputs, compute: pprf::compute },
    VectorFile { name: "key-schedule.json", inputs: schedule::inputs, compute: schedule::compute },
    VectorFile { name: "messages.json", inputs: messages::inputs, compute: messages::compute },
    VectorFile { name: "histories.json", inputs: histories::inputs, compute: histories::compute },
    VectorFile { name: "merges.json", inputs: merges::inputs, compute: merges::compute },
];

impl VectorFile {
    /// The file's contents, the same at every call.
    ///
    /// # Errors
    /// If a case cannot be computed, or is not what was written down for it by hand.
    pub fn generate(&self) -> Result<String, Failure> {
        // One seed a file: a case that is added to one changes no other.
        let seed =
            self.name.bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut cases = Vec::new();
        for (name, input) in (self.inputs)(&mut rng) {
            let expected = (self.compute)(&input).map_err(|why| format!("{name}: {why}"))?;
            cases.push(json!({ "name": name, "input": input, "expected": expected }));
        }
        let text = serde_json::to_string_pretty(&json!({ "profile": 3, "cases": cases }));
        text.map(|text| text + "\n").map_err(|error| error.to_string())
    }

    /// Computes one case again from its own input.
    ///
    /// # Errors
    /// If what comes out is not what the case expects.
    pub fn check(&self, case: &Value) -> Result<(), Failure> {
        let name = text(case, "name")?;
        let computed = (self.compute)(&case["input"]).map_err(|why| format!("{name}: {why}"))?;
        if computed == case["expected"] { Ok(()) } else { Err(format!("{name}: computed {computed:#}")) }
    }

    /// The cases of a file.
    ///
    /// # Errors
    /// If the text is no such file.
    pub fn cases(&self, text: &str) -> Result<Vec<Value>, Failure> {
        let file: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(list(&file, "cases")?.clone())
    }
}

/// Writes all files into a directory.
///
/// # Errors
/// If a case does not hold, or a file cannot be written.
pub fn write_all(dir: &Path) -> Result<(), Failure> {
    for file in &FILES {
        std::fs::write(dir.join(file.name), file.generate()?).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn random(rng: &mut ChaCha20Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn random_hex(rng: &mut ChaCha20Rng, len: usize) -> String {
    hex::encode(random(rng, len))
}

fn missing(what: &str) -> Failure {
    format!("{what} is missing or of another type")
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, Failure> {
    value[field].as_str().ok_or_else(|| missing(field))
}

fn number(value: &Value, field: &str) -> Result<u64, Failure> {
    value[field].as_u64().ok_or_else(|| missing(field))
}

fn number_as<T: TryFrom<u64>>(value: &Value, field: &str) -> Result<T, Failure> {
    T::try_from(number(value, field)?).map_err(|_| format!("{field} is too large"))
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>, Failure> {
    value[field].as_array().ok_or_else(|| missing(field))
}

fn unhex(value: &Value) -> Result<Vec<u8>, Failure> {
    hex::decode(value.as_str().ok_or_else(|| missing("a hex string"))?).map_err(|error| error.to_string())
}

fn bytes(value: &Value, field: &str) -> Result<Vec<u8>, Failure> {
    unhex(&value[field]).map_err(|why| format!("{field}: {why}"))
}

/// `None` for a JSON null.
fn optional_bytes(value: &Value, field: &str) -> Result<Option<Vec<u8>>, Failure> {
    if value[field].is_null() { Ok(None) } else { bytes(value, field).map(Some) }
}

fn suite(value: &Value) -> Result<Suite, Failure> {
    CipherSuite(number_as(value, "cipher_suite")?).suite().map_err(|error| error.to_string())
}

fn fail(error: impl ToString) -> Failure {
    error.to_string()
}
