//! What can be wrong in a configuration: for each key every type and value that is none of its own, then what can be
//! wrong with tables, duplicates, nesting, syntax and paths.

use crate::support::TestDir;

/// What a key takes.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Level,
    /// The path of a file, or "" for none.
    LogFile,
    /// The path of a folder, or "" for none.
    StateDir,
    Bool,
    Folder,
    File,
    Duration,
    Percent,
    Depth,
    Patterns,
    Libraries,
    Address,
    Prefix,
}

/// Each key with its table, what it takes, and its default as it is written; `None` where unset is the default.
pub const KEYS: [(&str, &str, Kind, Option<&str>); 26] = [
    ("", "log_level", Kind::Level, Some("\"info\"")),
    (
        "",
        "log_file",
        Kind::LogFile,
        Some("\"/var/log/shinken/gatherer.log\""),
    ),
    (
        "",
        "state_dir",
        Kind::StateDir,
        Some("\"/var/lib/shinken-gatherer\""),
    ),
    ("graphite", "enabled", Kind::Bool, Some("true")),
    ("graphite", "whisper_dir", Kind::Folder, None),
    ("graphite", "output", Kind::File, None),
    ("graphite", "interval", Kind::Duration, Some("\"15m\"")),
    ("graphite", "max_busy_percent", Kind::Percent, Some("50")),
    ("graphite", "host_depth", Kind::Depth, Some("1")),
    ("graphite", "full_scan_interval", Kind::Duration, Some("\"24h\"")),
    ("graphite", "exclude", Kind::Patterns, Some("[\"/lost+found/\"]")),
    ("disks", "enabled", Kind::Bool, Some("true")),
    (
        "disks",
        "output",
        Kind::File,
        Some("\"/tmp/__check_graphite_iostats.tmp\""),
    ),
    ("disks", "interval", Kind::Duration, Some("\"10s\"")),
    ("disks", "window", Kind::Duration, Some("\"60s\"")),
    ("vmware", "enabled", Kind::Bool, Some("true")),
    (
        "vmware",
        "output",
        Kind::File,
        Some("\"/dev/shm/vmware_stats_export.dat\""),
    ),
    ("vmware", "interval", Kind::Duration, Some("\"10s\"")),
    ("vmware", "window", Kind::Duration, Some("\"60s\"")),
    (
        "vmware",
        "libraries",
        Kind::Libraries,
        Some("[\"libguestlib.so.0\", \"libvmGuestLib.so.0\", \"libvmGuestLib.so\"]"),
    ),
    ("carbon", "enabled", Kind::Bool, Some("false")),
    ("carbon", "address", Kind::Address, Some("\"127.0.0.1:2003\"")),
    ("carbon", "prefix", Kind::Prefix, Some("\"shinken.gatherer\"")),
    ("host", "proc", Kind::Folder, Some("\"/proc\"")),
    ("host", "sys", Kind::Folder, Some("\"/sys\"")),
    ("host", "run", Kind::Folder, Some("\"/run\"")),
];

/// A text, what the error says after the file (`:LINE: KEY: ` and the beginning of the reason), and what it ends with.
pub struct Bad {
    pub text: String,
    pub expected: String,
    pub end: String,
}

fn bad(text: impl Into<String>, expected: impl Into<String>) -> Bad {
    Bad {
        text: text.into(),
        expected: expected.into(),
        end: String::new(),
    }
}

/// A value of each type of TOML, with the word for it in the error.
const TYPES: [(&str, &str); 11] = [
    ("true", "boolean"),
    ("3", "integer"),
    ("-9223372036854775808", "integer"),
    ("99999999999999999999", "integer"),
    ("1.5", "floating point"),
    ("nan", "floating point"),
    ("\"text\"", "string"),
    ("[\"text\"]", "sequence"),
    ("{ a = 1 }", "map"),
    ("2026-11-22T13:05:00Z", "datetime"),
    ("13:05:00", "datetime"),
];

impl Kind {
    /// The type of the values it takes, in the error's word.
    fn own_type(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Percent | Self::Depth => "integer",
            Self::Patterns | Self::Libraries => "sequence",
            _ => "string",
        }
    }

    /// Values of the right type that are refused, as TOML.
    fn wrong_values(self) -> Vec<String> {
        let long = format!("\"{}\"", "x".repeat(1_000_000));
        let long_path = format!("\"/{}\"", "x/".repeat(499_999));
        let list = |values: &[&str]| values.iter().map(|value| value.to_string()).collect::<Vec<_>>();
        let folders = || {
            let mut values = list(&[
                "\"\"",
                "\" \"",
                "\"relative\"",
                "\"./x\"",
                "\"../x\"",
                "\"~/x\"",
                "\"file:///x\"",
                "\" /x\"",
                r#""/a\u0000b""#,
                r#""/a\nb""#,
                r#""/a\rb""#,
                r#""/a\u001b[31mb""#,
                r#""/a\u007fb""#,
                r#""/a\u0085b""#,
            ]);
            values.extend([
                long.clone(),
                long_path.clone(),
                format!("\"/{}\"", "x".repeat(256)),
            ]);
            values
        };
        let files = || {
            let mut values = folders();
            values.extend(list(&[
                "\"/\"",
                "\"/tmp/\"",
                "\"/tmp/.\"",
                "\"/tmp/..\"",
                "\"//\"",
            ]));
            values.push(format!("\"/{}\"", "x".repeat(240)));
            values
        };
        match self {
            Self::Level => {
                let mut values = list(&[
                    "\"\"",
                    "\"INFO\"",
                    "\"off\"",
                    "\"trace\"",
                    "\"info \"",
                    r#""info\u0000""#,
                    r#""in\nfo""#,
                ]);
                values.push(long);
                values
            }
            Self::LogFile => files().into_iter().filter(|value| value != "\"\"").collect(),
            Self::StateDir => folders().into_iter().filter(|value| value != "\"\"").collect(),
            Self::Bool => Vec::new(),
            Self::Folder => folders(),
            Self::File => files(),
            Self::Duration => {
                let mut values = list(&[
                    "\"\"",
                    "\" \"",
                    "\"0s\"",
                    "\"0\"",
                    "\"10\"",
                    "\"-1s\"",
                    "\"ten\"",
                    "\"s\"",
                    "\"1us\"",
                    "\"999us\"",
                    "\"367days\"",
                    "\"9223372036854775807s\"",
                    "\"18446744073709551615s\"",
                    "\"99999999999999999999s\"",
                    "\"18446744073709551615years\"",
                    "\"1e9s\"",
                    "\"infs\"",
                    r#""10s\u0000""#,
                    r#""1\u001b[m0s""#,
                ]);
                values.extend([long, format!("\"{}\"", "9days ".repeat(100_000))]);
                values
            }
            Self::Percent => list(&[
                "0",
                "-1",
                "101",
                "4294967297",
                "9223372036854775807",
                "-9223372036854775808",
            ]),
            Self::Depth => list(&[
                "0",
                "-1",
                "65",
                "4294967297",
                "9223372036854775807",
                "0xffffffffff",
            ]),
            Self::Patterns => {
                let mut values = list(&[
                    "[1]",
                    "[[]]",
                    "[{}]",
                    "[\"a\", true]",
                    "[\"[b-a]\"]",
                    "[2026-11-22]",
                ]);
                values.extend([
                    format!("[{long}]"),
                    format!("[\"{}\"]", "x".repeat(4097)),
                    // Deeper than what compiles it can go, were it not refused for its length.
                    format!("[\"{}{}\"]", "{".repeat(400_000), "}".repeat(400_000)),
                    format!("[{}]", "\"a\",".repeat(1001)),
                    format!("[{}]", "\"*a*?\",".repeat(140_000)),
                    format!("[{}]", format!("\"{}\",", "?".repeat(4000)).repeat(200)),
                ]);
                values
            }
            Self::Libraries => {
                let mut values = list(&[
                    "[]",
                    "[\"\"]",
                    "[1]",
                    "[\"a\", \"\"]",
                    "[\"a\", true]",
                    "[\"sub/lib.so\"]",
                    "[\"./lib.so\"]",
                    r#"["a\u0000"]"#,
                    r#"["a\nb"]"#,
                    r#"["/lib\u001b[m"]"#,
                ]);
                values.extend([
                    format!("[{long}]"),
                    format!("[\"{}\"]", "x".repeat(256)),
                    format!("[{}]", "\"a\",".repeat(17)),
                    format!("[{}]", "\"a\",".repeat(200_000)),
                ]);
                values
            }
            Self::Address => {
                let mut values = list(&[
                    "\"\"",
                    "\"localhost:2003\"",
                    "\"127.0.0.1\"",
                    "\"127.0.0.1:\"",
                    "\":2003\"",
                    "\"127.0.0.1:0\"",
                    "\"127.0.0.1:65536\"",
                    "\"127.0.0.1:-1\"",
                    "\" 127.0.0.1:2003\"",
                    "\"[::1]\"",
                    "\"::1:2003\"",
                    "\"256.0.0.1:1\"",
                    r#""127.0.0.1:2003\u0000""#,
                    r#""127.0.0.1:2003\n""#,
                ]);
                values.push(long);
                values
            }
            Self::Prefix => {
                let mut values = list(&[
                    "\"\"",
                    "\".\"",
                    "\"a..b\"",
                    "\".a\"",
                    "\"a.\"",
                    "\"a b\"",
                    "\"a/b\"",
                    "\"é\"",
                    r#""a\nb""#,
                    r#""a\u0000""#,
                ]);
                values.extend([long, format!("\"{}\"", "x".repeat(201))]);
                values
            }
        }
    }
}

/// Every key with every type but its own, and every value of its type that is refused.
pub fn of_values() -> Vec<Bad> {
    let mut cases = Vec::new();
    for (table, key, kind, _) in KEYS {
        let (head, place) = match table {
            "" => ("\n\n\n".to_string(), format!(":4: {key}: ")),
            table => (format!("\n[{table}]\n\n"), format!(":4: {table}.{key}: ")),
        };
        for (value, name) in TYPES.iter().filter(|(_, name)| *name != kind.own_type()) {
            let found = if *name == "sequence" { "" } else { name };
            cases.push(bad(
                format!("{head}{key} = {value}\n"),
                format!("{place}invalid type: {found}"),
            ));
        }
        for value in kind.wrong_values() {
            cases.push(bad(format!("{head}{key} = {value}\n"), place.clone()));
        }
        let default = match kind {
            Kind::Folder | Kind::File => "\"/some/path\"",
            Kind::Duration => "\"60s\"",
            _ => KEYS
                .iter()
                .find(|other| other.1 == key)
                .and_then(|other| other.3)
                .unwrap(),
        };
        let again = format!("{head}{key} = {default}\n# again\n{key} = {default}\n");
        let place = place.replacen(":4:", ":6:", 1);
        cases.push(bad(again, format!("{place}duplicate key")));
    }
    cases
}

/// What is wrong with tables: other types, unknown keys, the same one twice.
pub fn of_tables() -> Vec<Bad> {
    let mut cases = vec![
        bad("log_lvel = \"info\"\n", ":1: log_lvel: unknown field"),
        bad("\n[disk]\ninterval = \"1s\"\n", ":2: disk: unknown field"),
        bad("[Disks]\n", ":1: Disks: unknown field"),
        bad("[a.b.c]\nd = 1\n", ":1: a: unknown field `a`"),
        bad(r#""a\nb\u001b[31m" = 3"#, r":1: a\nb\u{1b}[31m: unknown field"),
        bad(r#""" = 3"#, ":1: : unknown field ``"),
    ];
    for table in ["graphite", "disks", "vmware", "carbon", "host"] {
        for value in [
            "true",
            "3",
            "1.5",
            "\"x\"",
            "[]",
            "[true]",
            "[{ enabled = true }]",
            "2026-11-22",
        ] {
            cases.push(bad(
                format!("\n{table} = {value}\n"),
                format!(":2: {table}: invalid type: "),
            ));
        }
        cases.extend([
            bad(
                format!("\n[[{table}]]\n"),
                format!(":2: {table}: invalid type: array, expected a table"),
            ),
            bad(
                format!("[{table}]\n\n[{table}]\n"),
                format!(":3: {table}: duplicate key"),
            ),
            bad(
                format!("[{table}]\n[[{table}]]\n"),
                format!(":2: {table}: duplicate key"),
            ),
            bad(
                format!("{table} = {{}}\n\n[{table}]\n"),
                format!(":3: {table}: duplicate key"),
            ),
            bad(
                format!("[{table}]\n\nnone = 1\n"),
                format!(":3: {table}.none: unknown field `none`"),
            ),
            bad(
                format!("[{table}]\nEnabled = true\n"),
                format!(":2: {table}.Enabled: unknown field"),
            ),
            bad(
                format!("[{table}.deeper]\nx = 1\n"),
                format!(":1: {table}.deeper: unknown field"),
            ),
            bad(
                format!("{table}.{table}.x = 1\n"),
                format!(":1: {table}.{table}: unknown field"),
            ),
        ]);
    }
    cases
}

/// What is no TOML, too deep or too long, and bytes that must not reach a terminal or a log.
pub fn of_syntax() -> Vec<Bad> {
    let deep = |open: &str, close: &str, depth: usize| {
        format!("\na = {}{}\n", open.repeat(depth), close.repeat(depth))
    };
    let dots = |count: usize| vec!["a"; count].join(".");
    vec![
        bad("[graphite\n", ":1: graphite: "),
        bad("[graphite]\n[]\n", ":2: "),
        bad("log_level =\n", ":1: log_level: "),
        bad("log_level = \"info\n[graphite]\n", ":1: log_level: "),
        bad("[disks]\ninterval = '''\n1s", ":"),
        bad("[disks]\ninterval: \"3s\"\n", ":2: disks.interval: "),
        bad("[disks]\ninterval\n", ":2: disks.interval: "),
        bad("[disks]\nenabled = True\n", ":2: disks.enabled: "),
        bad("log_level = info\n", ":1: log_level: "),
        bad("= 3\n", ":1: "),
        bad("\0", ":1: "),
        bad("\u{1}\u{1b}[31m\n", ":1: "),
        bad("log_level = \"in\u{1b}fo\"\n", ":1: log_level: "),
        bad("log_level = \"in\0fo\"\n", ":1: log_level: "),
        bad("\n# a \u{7} bell\n", ":2: "),
        bad("log_level = \"\\ud800\"\n", ":1: log_level: "),
        // As DOS and as Windows editors write it.
        bad("[disks]\r\n\r\ninterval = \"x\"\r\n", ":3: disks.interval: "),
        bad("\u{feff}[disks]\n\ninterval = \"x\"\n", ":3: disks.interval: "),
        bad("log_level = \"info\"\r[disks]\n", ":1: log_level: "),
        bad(deep("[", "]", 100), ":2: a: "),
        bad(deep("[", "]", 500_000), ":2: a: "),
        bad(deep("{a=", "}", 100), ":2: a: "),
        bad(deep("{a=", "}", 200_000), ":2: a: "),
        bad(format!("\n\n{} = 1\n", dots(100)), ":3: recursion limit"),
        bad(format!("\n\n{} = 1\n", dots(500_000)), ":3: recursion limit"),
        bad(format!("\n[{}]\nb.b.b = 1\n", dots(100)), ":2: recursion limit"),
        bad(format!("\n{} = 1\n", "x".repeat(1_000_000)), ":2: xxxx"),
        bad(format!("\n[{}]\n", "x".repeat(1_000_000)), ":2: xxxx"),
        bad(
            format!("\"{}\" = 1\n", "\\u001b".repeat(160_000)),
            r":1: \u{1b}\u{1b}",
        ),
        bad("[graphite]\n\"\n".repeat(80_000), ":2: "),
        bad(
            (0..80_000).map(|n| format!("[a.b{n}]\n")).collect::<String>(),
            ":1: a: unknown field",
        ),
    ]
}

/// Paths of which no two may be the same, and windows that do not fit their interval.
pub fn of_values_together(place: &TestDir) -> Vec<Bad> {
    let configuration = place.path("gatherer.toml").display().to_string();
    let folder = place.path("").display().to_string();
    let both = |a: &str, b: &str| format!("\" is both {a} and {b}");
    let with = |text: &str, place: &str, end: &str| Bad {
        end: end.into(),
        ..bad(text, place)
    };
    let in_system = |text: &str, place: &str, folder: &str| {
        with(
            text,
            place,
            &format!("\" is in {folder}, must not be in a system folder"),
        )
    };
    vec![
        with(
            "log_file = \"/x/a\"\n[disks]\noutput = \"/x/a\"\n",
            ":3: disks.output: \"/x/a",
            &both("log_file", "disks.output"),
        ),
        with(
            "[vmware]\noutput = \"/x/./y/..//a\"\n[disks]\noutput = \"/x/a\"\n",
            ":2: vmware.output: \"/x/a",
            &both("disks.output", "vmware.output"),
        ),
        with(
            "[graphite]\noutput = \"/tmp/__check_graphite_iostats.tmp\"\n",
            ":2: graphite.output: ",
            &both("graphite.output", "disks.output"),
        ),
        with(
            "[graphite]\nwhisper_dir = \"/x/w/\"\n\n[disks]\noutput = \"/x/w.nb_metrics\"\n",
            ":5: disks.output: ",
            &both("graphite.output", "disks.output"),
        ),
        with(
            "[graphite]\nwhisper_dir = \"/x/w\"\noutput = \"/x/w\"\n",
            ":3: graphite.output: ",
            &both("graphite.whisper_dir", "graphite.output"),
        ),
        with(
            "log_file = \"/dev/shm/vmware_stats_export.dat\"\n",
            ":1: log_file: ",
            &both("log_file", "vmware.output"),
        ),
        with(
            &format!("\nlog_file = \"{configuration}\"\n"),
            ":2: log_file: ",
            "\" is the configuration file",
        ),
        with(
            &format!("[disks]\noutput = \"{folder}x/../gatherer.toml\"\n"),
            ":2: disks.output: ",
            "\" is the configuration file",
        ),
        with(
            &format!("state_dir = \"{folder}gatherer.toml\"\n"),
            ":1: state_dir: ",
            "\" is the configuration file",
        ),
        with(
            "state_dir = \"/x/w\"\n[graphite]\nwhisper_dir = \"/x/w\"\n",
            ":3: graphite.whisper_dir: ",
            &both("state_dir", "graphite.whisper_dir"),
        ),
        // Any of the usual trees may be the one that exists when the count starts.
        with(
            "[disks]\noutput = \"/var/lib/carbon/whisper.nb_metrics\"\n",
            ":2: disks.output: ",
            &both("graphite.output", "disks.output"),
        ),
        in_system(
            "[disks]\noutput = \"/etc/shadow\"\n",
            ":2: disks.output: ",
            "/etc",
        ),
        in_system(
            "[vmware]\noutput = \"/tmp/../etc/x\"\n",
            ":2: vmware.output: ",
            "/etc",
        ),
        in_system(
            "[graphite]\noutput = \"/usr//./x\"\n",
            ":2: graphite.output: ",
            "/usr",
        ),
        in_system(
            "\n[graphite]\nwhisper_dir = \"/root/w\"\n",
            ":3: graphite.whisper_dir: ",
            "/root",
        ),
        in_system("log_file = \"/lib64/x\"\n", ":1: log_file: ", "/lib64"),
        in_system("state_dir = \"/boot\"\n", ":1: state_dir: ", "/boot"),
        in_system("state_dir = \"/proc/self/fd\"\n", ":1: state_dir: ", "/proc"),
        in_system("log_file = \"/a/../../sys/x\"\n", ":1: log_file: ", "/sys"),
        in_system("log_file = \"/bin/x\"\n", ":1: log_file: ", "/bin"),
        in_system("log_file = \"/sbin/x\"\n", ":1: log_file: ", "/sbin"),
        bad(
            "[disks]\ninterval = \"20s\"\nwindow = \"10s\"\n",
            ":3: disks.window: window (10s) must be at least the interval (20s)",
        ),
        bad(
            "[vmware]\ninterval = \"2m\"\n",
            ":2: vmware.interval: window (1m) must be at least the interval (2m)",
        ),
        bad(
            "[disks]\ninterval = \"1ms\"\nwindow = \"1001ms\"\n",
            ":3: disks.window: window (1s 1ms) must be at most 1000 times the interval (1ms)",
        ),
        bad(
            "[vmware]\nwindow = \"366days\"\n",
            ":2: vmware.window: window (1year 18h) must be at most 1000 times",
        ),
    ]
}

/// All of them.
pub fn all(place: &TestDir) -> Vec<Bad> {
    let mut cases = of_values();
    cases.extend(of_tables());
    cases.extend(of_syntax());
    cases.extend(of_values_together(place));
    cases
}
