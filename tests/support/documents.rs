//! Published documents, validated against docs/schema with an implementation of JSON Schema that is not ours.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::Value;

use super::stderr_of;

/// Reads a published file, which must be whole and valid for its schema. `None` if it does not exist.
pub fn document(path: &Path) -> Option<Value> {
    let document = json_line(path)?;
    assert_valid(&document);
    Some(document)
}

/// Reads a file, which must be one object on one line. `None` if it does not exist.
pub fn json_line(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    assert!(
        text.ends_with("}\n") && text.lines().count() == 1,
        "not one line: {text:?}"
    );
    Some(serde_json::from_str(&text).unwrap())
}

/// The JSON that a command printed.
pub fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr_of(output)))
}

/// One process for all documents of this test program; `None` without python3-jsonschema.
static VALIDATOR: LazyLock<Option<Mutex<Validator>>> = LazyLock::new(|| Validator::start().map(Mutex::new));

struct Validator {
    child: Child,
    answers: BufReader<ChildStdout>,
    /// Tests read the same document again while they wait.
    valid: HashSet<String>,
}

impl Validator {
    fn start() -> Option<Self> {
        let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suites/validate.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let answers = BufReader::new(child.stdout.take()?);
        let valid = HashSet::new();
        let mut validator = Self {
            child,
            answers,
            valid,
        };
        validator
            .answer()?
            .parse()
            .ok()
            .filter(|schemas: &usize| *schemas > 0)?;
        Some(validator)
    }

    fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .ok()
            .filter(|length| *length > 0)?;
        Some(line.trim_end().to_string())
    }

    fn error(&mut self, document: String) -> String {
        if self.valid.contains(&document) {
            return String::new();
        }
        writeln!(self.child.stdin.as_ref().unwrap(), "{document}").unwrap();
        let answer = self.answer().expect("an answer of the validator");
        if answer.is_empty() {
            self.valid.insert(document);
        }
        answer
    }
}

/// Returns why the document is invalid, `""` if it is valid; `None` if there is no validator.
pub fn error(document: &Value) -> Option<String> {
    let validator = VALIDATOR.as_ref()?;
    let mut validator = validator.lock().unwrap_or_else(PoisonError::into_inner);
    Some(validator.error(document.to_string()))
}

/// Fails if the document is invalid. Does nothing if there is no validator.
pub fn assert_valid(document: &Value) {
    let error = error(document).unwrap_or_default();
    assert!(error.is_empty(), "{error}\n{document}");
}
