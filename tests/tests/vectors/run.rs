//! Finds the files, makes a trial of each, and prints what became of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;

use crate::{Outcome, SHAPES, Shape, self_test};

/// The directory with the vectors. A relative `MLS_VECTORS` starts at the workspace root, as the default does: cargo
/// runs tests in the package's folder, which is not where they are typed.
pub(crate) fn directory() -> PathBuf {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace");
    root.join(std::env::var_os("MLS_VECTORS").unwrap_or_else(|| "../shared/mls-vectors".into()))
}

/// Summary lines, by file name.
pub(crate) type Lines = Arc<Mutex<BTreeMap<String, String>>>;

/// Runs all trials; the code says whether any failed.
#[must_use]
pub(crate) fn main() -> ExitCode {
    let found = find(&directory());
    let lines = Lines::default();
    let mut trials = trials(&found, &lines);
    trials.extend(self_test::trials(&found));
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    // A closed pipe is no failure of the vectors.
    let mut out = std::io::stdout().lock();
    for (file, line) in lines.lock().expect("no trial panics while it holds the lock").iter() {
        let _ = writeln!(out, "{file}: {line}");
    }
    conclusion.exit_code()
}

/// What a directory has for us.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is no such directory: nothing was tested, and that is not a failure.
    Absent,
    /// It has no vectors, or cannot be read.
    Unusable(String),
    /// Its `*.json`, sorted; at least one.
    Files(Vec<PathBuf>),
}

/// Looks for vectors.
pub(crate) fn find(directory: &Path) -> Found {
    if !directory.exists() {
        return Found::Absent;
    }
    let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    let entries = std::fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match entries {
        Err(e) => Found::Unusable(format!("{} cannot be read: {e}", directory.display())),
        Ok(entries) => {
            let mut files: Vec<_> = entries.iter().map(std::fs::DirEntry::path).filter(is_json).collect();
            files.sort();
            match files.is_empty() {
                true => Found::Unusable(format!("{} has no *.json", directory.display())),
                false => Found::Files(files),
            }
        }
    }
}

/// One trial a file; one ignored trial a shape if there is no directory; one that fails if it has no vectors.
pub(crate) fn trials(found: &Found, lines: &Lines) -> Vec<Trial> {
    let trial = |path: &PathBuf| {
        let (path, lines) = (path.clone(), lines.clone());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Trial::ignorable_test(format!("vectors::{name}"), move || {
            let result = run_file(&path);
            let line = match &result {
                Ok(report) => report.to_string(),
                Err(e) => format!("FAILED: {e}"),
            };
            lines.lock().map_err(|_| "another trial panicked")?.insert(name, line);
            let report = result.map_err(Failed::from)?;
            // A file of which nothing ran has not passed.
            Ok(match report.passed {
                0 => Completion::Ignored { reason: Some(report.to_string()) },
                _ => Completion::Completed,
            })
        })
    };
    match found {
        Found::Absent => SHAPES.iter().map(ignored).collect(),
        Found::Unusable(reason) => {
            let reason = reason.clone();
            vec![Trial::test("vectors::directory", move || Err(reason.into()))]
        }
        Found::Files(files) => files.iter().map(trial).collect(),
    }
}

fn ignored(shape: &Shape) -> Trial {
    Trial::test(format!("vectors::{}", shape.name), || Err("there are no vectors".into()))
        .with_ignored_flag(true)
}

/// What a file's cases came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Cases that passed.
    pub(crate) passed: usize,
    /// Cases that were skipped, by the suite that they need.
    pub(crate) skipped: BTreeMap<u16, usize>,
    /// Fields that are not of the shape, and so were not looked at.
    pub(crate) unknown: BTreeSet<String>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let skipped: usize = self.skipped.values().sum();
        let suites = || self.skipped.keys().map(|id| format!("{id:#06x}")).collect::<Vec<_>>().join(",");
        match (self.passed, skipped) {
            (passed, 0) => write!(f, "passed ({passed} cases)")?,
            (0, skipped) => write!(f, "skipped {skipped} with suites {}", suites())?,
            (passed, skipped) => write!(f, "passed {passed}, skipped {skipped} with suites {}", suites())?,
        }
        if !self.unknown.is_empty() {
            let unknown: Vec<_> = self.unknown.iter().map(String::as_str).collect();
            write!(f, ", did not check {}", unknown.join(","))?;
        }
        Ok(())
    }
}

/// Reads the cases of a file.
pub(crate) fn read_cases(path: &Path) -> Result<Vec<Value>, String> {
    let text = std::fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    match serde_json::from_slice(&text).map_err(|e| format!("is no JSON: {e}"))? {
        Value::Array(cases) if !cases.is_empty() => Ok(cases),
        Value::Array(_) => Err("has no cases".into()),
        _ => Err("is no array of cases".into()),
    }
}

/// The shape with the most keys of those whose keys a case all has.
pub(crate) fn shape_of(case: &Value) -> Result<&'static Shape, String> {
    let fits = |shape: &&Shape| shape.keys.iter().all(|key| case.get(key).is_some());
    SHAPES.iter().filter(fits).max_by_key(|shape| shape.keys.len()).ok_or_else(|| {
        let keys = case.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>().join(","));
        format!("a case has an unknown shape, with the keys {}", keys.unwrap_or_default())
    })
}

/// Runs all cases of a file.
pub(crate) fn run_file(path: &Path) -> Result<Report, String> {
    let mut report = Report::default();
    for (index, case) in read_cases(path)?.iter().enumerate() {
        let shape = shape_of(case).map_err(|e| format!("case {index}: {e}"))?;
        match (shape.run)(case).map_err(|e| format!("{}, case {index}: {e}", shape.name))? {
            Outcome::Passed => report.passed += 1,
            Outcome::MissingSuite(id) => *report.skipped.entry(id).or_default() += 1,
        }
        let keys = case.as_object().into_iter().flat_map(|object| object.keys());
        report.unknown.extend(keys.filter(|key| !shape.has_key(key)).cloned());
    }
    Ok(report)
}
