//! Templates in the syntax of Jinja: what they may use, and the place of their errors.

use std::fmt;
use std::time::Duration;

use minijinja::machinery::{Instruction, get_compiled_template};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{ValueKind, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use crate::moment::thread_cpu_time;

/// About one for each instruction and for each 64 bytes of data: at most some 30 ms and 32 MB. The shipped template needs
/// about 240 for each disk.
const FUEL: u64 = 500_000;
/// Constant expressions are evaluated while compiling, without fuel: `2 in [1] * 100000000` takes seconds.
const MAX_COMPILE_CPU_TIME: Duration = Duration::from_millis(200);
/// Python's methods of dictionaries, which templates of Ansible use.
const METHODS: [&str; 4] = ["get", "items", "keys", "values"];
const LOOP_METHODS: [&str; 2] = ["cycle", "changed"];

/// An error of a template, with its place.
#[derive(Debug)]
pub struct TemplateError {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

impl TemplateError {
    fn new(text: &str, error: &Error) -> Self {
        let reason = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        let start = error.range().map_or(0, |range| range.start);
        Self {
            line: error.line().unwrap_or(1),
            ..Self::at(text, start, reason)
        }
    }

    fn at(text: &str, offset: usize, reason: String) -> Self {
        let before = text.get(..offset).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: 1 + before.matches('\n').count(),
            column: 1 + before[line_start..].chars().count(),
            reason,
        }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.reason)
    }
}

impl std::error::Error for TemplateError {}

/// Returns the text of a template that sees `context`.
pub fn render(template: &str, context: Value) -> Result<String, TemplateError> {
    let environment = environment();
    let rendered = environment
        .template_from_str(template)
        .and_then(|compiled| compiled.render(context));
    rendered.map_err(|error| TemplateError::new(template, &error))
}

/// Compiles a template, to find its syntax errors and the filters, tests, functions and methods that do not exist.
pub fn check(template: &str) -> Result<(), TemplateError> {
    if template.starts_with('\u{feff}') {
        let reason = "starts with a byte order mark, save the template without it";
        return Err(TemplateError::at(template, 0, reason.into()));
    }
    let environment = environment();
    let start = thread_cpu_time();
    let compiled = environment
        .template_from_str(template)
        .map_err(|error| TemplateError::new(template, &error))?;
    let taken = thread_cpu_time().saturating_sub(start);
    if taken > MAX_COMPILE_CPU_TIME {
        let reason = format!("compiling took {taken:.1?} of CPU time, the limit is {MAX_COMPILE_CPU_TIME:?}");
        return Err(TemplateError::at(template, 0, reason));
    }
    let instructions = &get_compiled_template(&compiled).instructions;
    let numbered = (0..).map_while(|index| Some((index, instructions.get(index)?)));
    let mut state = compiled.new_state();
    for (index, instruction) in numbered {
        if let Some(unknown) = unknown_name(instruction, &mut state) {
            let offset = instructions.get_span(index).map_or(0, |span| span.start_offset);
            return Err(TemplateError::at(template, offset as usize, unknown));
        }
    }
    Ok(())
}

/// Returns what does not exist, if this instruction uses it. Jinja reports it at compile time, minijinja while rendering.
fn unknown_name(instruction: &Instruction, state: &mut State) -> Option<String> {
    let is_kind = |error: Option<Error>, kind| error.is_some_and(|error| error.kind() == kind);
    let (is_unknown, kind, name) = match instruction {
        Instruction::ApplyFilter(name, ..) => {
            let error = state.apply_filter(name, &[]).err();
            (
                is_kind(error, ErrorKind::UnknownFilter),
                ErrorKind::UnknownFilter,
                name,
            )
        }
        Instruction::PerformTest(name, ..) => {
            let error = state.perform_test(name, &[]).err();
            (
                is_kind(error, ErrorKind::UnknownTest),
                ErrorKind::UnknownTest,
                name,
            )
        }
        Instruction::CallFunction(name, _) => {
            let is_known = *name == "loop" || state.lookup(name).is_some();
            (!is_known, ErrorKind::UnknownFunction, name)
        }
        Instruction::CallMethod(name, _) => {
            let is_known = METHODS.contains(name) || LOOP_METHODS.contains(name);
            (!is_known, ErrorKind::UnknownMethod, name)
        }
        _ => return None,
    };
    is_unknown.then(|| format!("{kind}: {name}"))
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(false);
    environment.set_unknown_method_callback(call_method);
    // Its values can be nested without limit, or contain themselves: printing or freeing them overflows the stack.
    environment.remove_global("namespace");
    // The whitespace rules of Ansible.
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .keep_trailing_newline(true)
        .build();
    environment.set_syntax(syntax.expect("the delimiters are the default ones"));
    environment
}

/// Calls a method of Python's dictionaries.
fn call_method(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if value.kind() != ValueKind::Map || !METHODS.contains(&method) {
        return Err(ErrorKind::UnknownMethod.into());
    }
    if method == "get" {
        let (key, default): (Value, Option<Value>) = from_args(args)?;
        let found = value.get_item(&key)?;
        let default = default.unwrap_or_else(|| Value::from(()));
        return Ok(if found.is_undefined() { default } else { found });
    }
    let () = from_args(args)?;
    match method {
        "items" => state.apply_filter("items", std::slice::from_ref(value)),
        "keys" => state.apply_filter("list", std::slice::from_ref(value)),
        _ => {
            let values = value.try_iter()?.map(|key| value.get_item(&key));
            values.collect::<Result<Vec<_>, _>>().map(Value::from)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_name_or_slow_constant_is_found_while_compiling() {
        for (template, expected) in [
            (
                "\n  {% if %}",
                "line 2, column 9: syntax error: unexpected end of block",
            ),
            (
                "{% if no %}\né {{ 1|nothing }}{% endif %}",
                "line 2, column 8: unknown filter: nothing",
            ),
            ("{{ 1 is nothing }}", "line 1, column 9: unknown test: nothing"),
            ("{{ now() }}", "line 1, column 4: unknown function: now"),
            ("{{ a.nothing() }}", "line 1, column 5: unknown method: nothing"),
            ("\u{feff}a", "line 1, column 1: starts with a byte order mark"),
            ("{{ 2 in [1] * 4000000 }}", "line 1, column 1: compiling took "),
        ] {
            let error = check(template).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{template:?}: {error}");
        }
    }

    #[test]
    fn everything_that_exists_compiles() {
        let text = "a".repeat(256 << 10);
        for template in [
            text.as_str(),
            &"{{ a.b|round(2) }},\n".repeat(1 << 10),
            "{% for a in b.items() recursive %}{{ loop.cycle(1, 2) }}{% set c = loop(a) %}{% endfor %}",
            "{{ a|default(1)|tojson }}{{ range(3)|sum }}{% if a is number or a is defined %}{% endif %}",
        ] {
            let error = check(template).err();
            assert!(error.is_none(), "{template:.60}: {error:?}");
        }
    }

    #[test]
    fn method_of_a_number_is_an_error() {
        let context = Value::from_pairs([("a", 1)]);
        let error = render("{{ a.get('b', 2) }}", context).unwrap_err();
        assert!(error.to_string().contains("unknown method"), "{error}");
    }

    #[test]
    fn longest_template_renders() {
        // `check` would also measure the debug build, which compiles this in about the time that is the limit.
        let template = "{{ a.b|round(2) }},\n".repeat(13 << 10);
        let context = Value::from_pairs([("a", Value::from_pairs([("b", 0.126)]))]);
        assert_eq!(render(&template, context).unwrap(), "0.13,\n".repeat(13 << 10));
    }
}
