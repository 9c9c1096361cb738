//! Validates documents against docs/schema, with an implementation of JSON Schema that is not ours.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::Value;

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
