//! Tests of the runner: what is wrong must not pass.

use std::path::PathBuf;

use libtest_mimic::{Completion, Failed, Trial};
use serde_json::{Value, json};

use crate::run::{Found, Lines, find, read_cases, run_file, shape_of, trials as file_trials};
use crate::{Digit, Outcome, SHAPES, Shape};

/// The trials. Those that need vectors are ignored where there are none.
pub(crate) fn trials(found: &Found) -> Vec<Trial> {
    let files = match found {
        Found::Files(files) => files.clone(),
        Found::Absent | Found::Unusable(_) => Vec::new(),
    };
    let corruption = SHAPES.iter().map(|shape| {
        let files = files.clone();
        let name = format!("vectors::runner_detects_corruption::{}", shape.name);
        Trial::ignorable_test(name, move || detects_corruption(shape, &files))
            .with_ignored_flag(*found == Found::Absent)
    });
    let mut all: Vec<_> = corruption.collect();
    all.push(Trial::test("vectors::runner_rejects_bad_files", rejects_bad_files));
    all.push(Trial::test("vectors::runner_judges_directories", judges_directories));
    all.push(Trial::test("vectors::runner_exits_with_failure", exits_with_failure));
    all
}

/// Every expected field of the shape, with one digit changed, fails a case that passes as it is.
///
/// The official vectors have a case for each field; another directory may have none, and then has nothing to test with.
fn detects_corruption(shape: &'static Shape, files: &[PathBuf]) -> Result<Completion, Failed> {
    let mut tested = 0;
    // What is wrong with a file, its own trial says.
    let mut cases: Vec<_> = files.iter().flat_map(|path| read_cases(path).unwrap_or_default()).collect();
    cases.retain(|case| shape_of(case).is_ok_and(|found| std::ptr::eq(found, shape)) && suite_is_ours(case));
    for pointer in shape.expected {
        let with_field = |case: &&Value| {
            case.pointer(pointer).is_some_and(|field| corrupted(field, shape.digit).is_some())
        };
        let Some(case) = cases.iter().find(with_field) else {
            if std::env::var_os("MLS_VECTORS").is_none() {
                return Err(format!("{pointer}: no case of the official vectors has this field").into());
            }
            continue;
        };
        if (shape.run)(case)? != Outcome::Passed {
            return Err(format!("{pointer}: the case as it is does not pass").into());
        }
        let mut changed = case.clone();
        let field = changed.pointer_mut(pointer).ok_or("the field has gone")?;
        *field = corrupted(field, shape.digit).ok_or("the field has gone")?;
        if (shape.run)(&changed).is_ok() {
            return Err(format!("{pointer}: a case with a wrong digit there passes").into());
        }
        tested += 1;
    }
    Ok(match tested {
        0 => Completion::Ignored { reason: Some("no such cases".into()) },
        _ => Completion::Completed,
    })
}

fn suite_is_ours(case: &Value) -> bool {
    case.get("cipher_suite").is_none() || crate::input::suite(case).is_ok_and(|suite| suite.is_ok())
}

/// The field with one bit changed; none if there is nothing to change.
fn corrupted(field: &Value, digit: Digit) -> Option<Value> {
    if let Some(number) = field.as_u64() {
        return Some(json!(number ^ 1));
    }
    let text = field.as_str().filter(|text| !text.is_empty())?;
    let at = match digit {
        Digit::First => 0,
        Digit::Last => text.len() - 1,
    };
    let bit = match digit {
        Digit::First => 8,
        Digit::Last => 1,
    };
    let old = text.get(at..=at)?;
    let new = format!("{:x}", u8::from_str_radix(old, 16).ok()? ^ bit);
    Some(json!([&text[..at], new.as_str(), &text[at + 1..]].concat()))
}

fn rejects_bad_files() -> Result<(), Failed> {
    let good = r#"[{"vlbytes_header": "0d", "length": 13}]"#;
    let folder = tempfile::tempdir()?;
    let run = |text: &str| {
        let path = folder.path().join("any name.json");
        std::fs::write(&path, text).map_err(|e| e.to_string())?;
        run_file(&path).map(|report| report.to_string())
    };
    assert_eq!(run(good), Ok("passed (1 cases)".to_owned()), "the control");
    let extra = r#"[{"vlbytes_header": "0d", "length": 13, "comment": ""}]"#;
    assert_eq!(run(extra), Ok("passed (1 cases), did not check comment".to_owned()));
    let other = r#"[{"cipher_suite": 64000, "psks": [], "psk_secret": ""}]"#;
    assert_eq!(run(other), Ok("skipped 1 with suites 0xfa00".to_owned()));
    for (text, reason) in [
        ("", "no JSON"),
        (r#"[{"vlbytes_header": "0d", "length": 13}"#, "no JSON"),
        ("{}", "no array"),
        ("[]", "no cases"),
        ("[{}]", "unknown shape"),
        ("[7]", "unknown shape"),
        (r#"[{"vlbytes_header": "0d", "lengths": 13}]"#, "unknown shape"),
        (r#"[{"vlbytes_header": "0d", "length": 13}, {"colour": 1}]"#, "case 1: a case has an unknown shape"),
        (r#"[{"vlbytes_header": "0g", "length": 13}]"#, "vlbytes_header"),
        (r#"[{"vlbytes_header": "0d", "length": 12}]"#, "length"),
        (r#"[{"vlbytes_header": "400d", "length": 13}]"#, "vlbytes_header"),
    ] {
        match run(text) {
            Err(e) if e.contains(reason) => {}
            other => return Err(format!("{text}: expected an error about {reason}, got {other:?}").into()),
        }
    }
    Ok(())
}

fn judges_directories() -> Result<(), Failed> {
    let lines = Lines::default();
    let folder = tempfile::tempdir()?;

    let absent = find(&folder.path().join("absent"));
    assert_eq!(absent, Found::Absent);
    let trials = file_trials(&absent, &lines);
    assert_eq!(trials.len(), SHAPES.len());
    assert!(trials.iter().all(Trial::has_ignored_flag));

    std::fs::write(folder.path().join("README.md"), "no vectors here")?;
    let empty = find(folder.path());
    assert!(matches!(empty, Found::Unusable(_)), "{empty:?}");
    let trials = file_trials(&empty, &lines);
    assert_eq!(trials.len(), 1);
    assert!(!trials[0].has_ignored_flag());

    let path = folder.path().join("session.json");
    std::fs::write(&path, "[]")?;
    let one = find(folder.path());
    assert_eq!(one, Found::Files(vec![path]));
    let trials = file_trials(&one, &lines);
    assert_eq!(trials.iter().map(Trial::name).collect::<Vec<_>>(), ["vectors::session.json"]);
    assert!(!trials[0].has_ignored_flag());
    Ok(())
}

/// A failed trial makes the process fail: cargo and CI see nothing else.
fn exits_with_failure() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let run = |trial: &str| {
        std::process::Command::new(std::env::current_exe()?)
            .args(["--exact", trial])
            .env("MLS_VECTORS", folder.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .map(|status| status.success())
    };
    assert!(!run("vectors::directory")?, "an empty directory");
    std::fs::write(folder.path().join("good.json"), r#"[{"vlbytes_header": "0d", "length": 13}]"#)?;
    std::fs::write(folder.path().join("bad.json"), r#"[{"vlbytes_header": "0d", "length": 14}]"#)?;
    assert!(!run("vectors::bad.json")?, "a wrong vector");
    assert!(run("vectors::good.json")?, "the control");
    Ok(())
}
