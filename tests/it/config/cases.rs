//! Mistakes in a configuration, each with the location and the reason that the error must have.

/// A text, the beginning of the error after the file name (line and key), and a part of the rest.
pub struct Mistake {
    pub text: String,
    pub location: String,
    pub reason: String,
}

fn mistake(text: impl Into<String>, location: impl Into<String>, reason: impl Into<String>) -> Mistake {
    Mistake {
        text: text.into(),
        location: location.into(),
        reason: reason.into(),
    }
}

/// Every key with the type of its value and the sets of [`WRONG_VALUES`] that it must reject.
const KEYS: &str = "
    log_level                   string    level
    log_file                    string    path file
    state_dir                   string    path
    graphite.enabled            boolean
    graphite.whisper_dir        string    path empty
    graphite.output             string    path empty file
    graphite.interval           string    duration
    graphite.max_busy_percent   integer   number percent
    graphite.host_depth         integer   number depth
    graphite.full_scan_interval string    duration
    graphite.exclude            sequence  strings patterns
    disks.enabled               boolean
    disks.output                string    path empty file
    disks.interval              string    duration
    disks.window                string    duration
    vmware.enabled              boolean
    vmware.output               string    path empty file
    vmware.interval             string    duration
    vmware.window               string    duration
    vmware.libraries            sequence  strings libraries
    carbon.enabled              boolean
    carbon.address              string    address
    carbon.prefix               string    prefix
    host.proc                   string    path empty
    host.sys                    string    path empty
    host.run                    string    path empty
";

/// Sets of values of the right type that are rejected: the set, the reason, and values separated by ` , `.
const WRONG_VALUES: &str = r#"
    level     | is not one of "error", "warn", "info", "debug" | "" , "INFO" , "off" , "trace" , "info " , "info\u0000" , "in\nfo"
    empty     | is not an absolute path           | ""
    path      | is not an absolute path           | " " , "relative" , "./x" , "../x" , "~/x" , "file:///x" , " /x"
    path      | is not a path without control characters | "/\u0000" , "/\n" , "/\r" , "/\u001b[31m" , "/\u007f" , "/\u0085"
    file      | is not a file path                | "/" , "/tmp/" , "/tmp/." , "/tmp/.." , "//"
    duration  | is not a duration (examples: "10s", "15m"): | "" , " " , "10" , "-1s" , "ten" , "s" , "1e9s" , "infs" , "99999999999999999999s"
    duration  | is not a duration                 | "10s\u0000" , "1\u001b[m0s" , "18446744073709551615years"
    duration  | must be greater than zero         | "0s" , "0"
    duration  | is too short, the minimum is 1ms  | "1us" , "999us"
    duration  | is too long, the maximum is 366days | "367days" , "9223372036854775807s" , "18446744073709551615s"
    number    | is out of range, must be 1 to     | 0 , -1 , 4294967297 , 9223372036854775807 , -9223372036854775808
    percent   | is out of range, must be 1 to 100 | 101
    depth     | is out of range, must be 1 to 64  | 65
    strings   | invalid type:                     | [1] , [[]] , [{}] , ["a", true] , [2026-11-22]
    patterns  | invalid range                     | ["[b-a]"]
    libraries | must list 1 to 16 library names   | []
    libraries | is not a library name             | [""] , ["a", ""] , ["a\u0000"] , ["a\nb"]
    libraries | is not an absolute path           | ["sub/lib.so"] , ["./lib.so"]
    libraries | is not a path without control     | ["/lib\u001b[m"]
    address   | is not an IP address and a port   | "" , "localhost:2003" , "127.0.0.1" , "127.0.0.1:" , ":2003" , "127.0.0.1:0"
    address   | is not an IP address and a port   | "127.0.0.1:65536" , "127.0.0.1:-1" , " 127.0.0.1:2003" , "[::1]" , "::1:2003"
    address   | is not an IP address and a port   | "256.0.0.1:1" , "127.0.0.1:2003\u0000" , "127.0.0.1:2003\n"
    prefix    | is not a metric prefix            | "" , "." , "a..b" , ".a" , "a." , "a b" , "a/b" , "é" , "a\nb" , "a\u0000"
"#;

/// Returns further wrong values: a set, a reason and the value.
fn long_values() -> Vec<(&'static str, &'static str, String)> {
    let x = |bytes: usize| "x".repeat(bytes);
    vec![
        ("level", "is not one of", format!("'{}'", x(1_000_000))),
        (
            "path",
            "path is 1000001 bytes long, the limit is 4000",
            format!("'/{}'", x(1_000_000)),
        ),
        ("path", "the limit is 4000", format!("'/{}'", "x/".repeat(2000))),
        (
            "path",
            "path component is longer than 255 bytes",
            format!("'/{}'", x(256)),
        ),
        (
            "file",
            "file name is 240 bytes long, the limit is 239",
            format!("'/{}'", x(240)),
        ),
        ("duration", "is not a duration", format!("'{}'", x(1_000_000))),
        (
            "duration",
            "is too long",
            format!("'{}'", "9days ".repeat(100_000)),
        ),
        (
            "patterns",
            "pattern is longer than 4096 bytes",
            format!("['{}']", x(4097)),
        ),
        (
            "patterns",
            "longer than 65536 bytes in total",
            format!("['{}']", "{".repeat(400_000)),
        ),
        (
            "patterns",
            "longer than 65536 bytes in total",
            format!("[{}]", format!("'{}',", "?".repeat(4000)).repeat(200)),
        ),
        (
            "patterns",
            "too many patterns, the limit is 1000",
            format!("[{}]", "'a',".repeat(1001)),
        ),
        ("libraries", "is not a library name", format!("['{}']", x(256))),
        (
            "libraries",
            "must list 1 to 16 library names",
            format!("[{}]", "'a',".repeat(17)),
        ),
        (
            "address",
            "is not an IP address and a port",
            format!("'{}'", x(1_000_000)),
        ),
        ("prefix", "is not a metric prefix", format!("'{}'", x(201))),
    ]
}

/// A value of each type of TOML, with its name in the error.
const TYPES: [(&str, &str); 11] = [
    ("true", "boolean"),
    ("3", "integer"),
    ("-9223372036854775808", "integer"),
    ("99999999999999999999", "integer"),
    ("1.5", "floating point"),
    ("nan", "floating point"),
    ("'text'", "string"),
    ("['text']", "sequence"),
    ("{ a = 1 }", "map"),
    ("2026-11-22T13:05:00Z", "datetime"),
    ("13:05:00", "datetime"),
];

/// Returns the names of every key, with its table before a dot.
pub fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.lines().filter_map(|line| line.split_whitespace().next())
}

/// Returns the text that sets `key` to `value` in line 4.
fn set(key: &str, value: &str) -> String {
    match key.split_once('.') {
        Some((table, key)) => format!("\n[{table}]\n\n{key} = {value}\n"),
        None => format!("\n\n\n{key} = {value}\n"),
    }
}

/// Returns every key with every other type, and with every value of its type that is rejected.
pub fn of_values() -> Vec<Mistake> {
    let mut sets = long_values();
    for line in WRONG_VALUES.lines().filter(|line| !line.is_empty()) {
        let [set, reason, values] = line.splitn(3, '|').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let (set, reason) = (set.trim(), reason.trim());
        sets.extend(values.split(" , ").map(|value| (set, reason, value.to_string())));
    }
    let mut mistakes = Vec::new();
    for line in KEYS.lines().filter(|line| !line.is_empty()) {
        let words: Vec<_> = line.split_whitespace().collect();
        let (key, own_type, own_sets) = (words[0], words[1], &words[2..]);
        let location = format!("4: {key}: ");
        for (value, name) in TYPES.iter().filter(|(_, name)| *name != own_type) {
            // serde has a longer name for sequences.
            let found = name.strip_prefix("sequence").unwrap_or(name);
            mistakes.push(mistake(
                set(key, value),
                &location,
                format!("invalid type: {found}"),
            ));
        }
        for (_, reason, value) in sets.iter().filter(|(name, ..)| own_sets.contains(name)) {
            mistakes.push(mistake(set(key, value), &location, *reason));
        }
    }
    mistakes
}

/// Returns mistakes about tables: other types, unknown keys, duplicates.
pub fn of_tables() -> Vec<Mistake> {
    let unknown = "unknown field";
    let mut mistakes = vec![
        mistake("log_lvel = 'info'", "1: log_lvel: ", unknown),
        mistake("\n[disk]\ninterval = '1s'", "2: disk: ", unknown),
        mistake("[Disks]", "1: Disks: ", unknown),
        mistake("[a.b.c]\nd = 1", "1: a: ", "unknown field `a`"),
        mistake(r#""a\nb\u001b[31m" = 3"#, r"1: a\nb\u{1b}[31m: ", unknown),
        mistake(r#""" = 3"#, "1: : ", "unknown field ``"),
        mistake(
            "log_file = ''\n# again\nlog_file = ''",
            "3: log_file: ",
            "duplicate key",
        ),
    ];
    let values = [
        "true",
        "3",
        "1.5",
        "'x'",
        "[]",
        "[true]",
        "[{ enabled = true }]",
        "2026-11-22",
    ];
    for table in ["graphite", "disks", "vmware", "carbon", "host"] {
        for value in values {
            let text = format!("\n{table} = {value}");
            mistakes.push(mistake(text, format!("2: {table}: "), "invalid type: "));
        }
        for (text, location, reason) in [
            ("\n[[T]]", "2: T: ", "invalid type: array, expected a table"),
            ("[T]\n\n[T]", "3: T: ", "duplicate key"),
            ("[T]\n[[T]]", "2: T: ", "duplicate key"),
            ("T = {}\n\n[T]", "3: T: ", "duplicate key"),
            ("[T]\n\nnone = 1", "3: T.none: ", "unknown field `none`"),
            ("[T]\nEnabled = true", "2: T.Enabled: ", "unknown field"),
            ("[T.deeper]\nx = 1", "1: T.deeper: ", "unknown field"),
            ("T.T.x = 1", "1: T.T: ", "unknown field"),
        ] {
            let [text, location] = [text, location].map(|text| text.replace('T', table));
            mistakes.push(mistake(text, location, reason));
        }
    }
    mistakes
}

/// Returns texts that are not TOML or nested too deep, and bytes that must not reach a terminal or a log.
pub fn of_syntax() -> Vec<Mistake> {
    let deep = |open: &str, close: &str, depth: usize| {
        format!("\na = {}{}", open.repeat(depth), close.repeat(depth))
    };
    let dots = |count: usize| vec!["a"; count].join(".");
    let mistakes = [
        ("[graphite\n", "1: graphite: "),
        ("[graphite]\n[]\n", "2: "),
        ("log_level =\n", "1: log_level: "),
        ("log_level = \"info\n[graphite]\n", "1: log_level: "),
        ("[disks]\ninterval = '''\n1s", ""),
        ("[disks]\ninterval: \"3s\"\n", "2: disks.interval: "),
        ("[disks]\ninterval\n", "2: disks.interval: "),
        ("[disks]\nenabled = True\n", "2: disks.enabled: "),
        ("log_level = info\n", "1: log_level: "),
        ("= 3\n", "1: "),
        ("\0", "1: "),
        ("\u{1}\u{1b}[31m\n", "1: "),
        ("log_level = \"in\u{1b}fo\"\n", "1: log_level: "),
        ("log_level = \"in\0fo\"\n", "1: log_level: "),
        ("\n# a \u{7} bell\n", "2: "),
        ("log_level = \"\\ud800\"\n", "1: log_level: "),
        ("[disks]\r\n\r\ninterval = \"x\"\r\n", "3: disks.interval: "),
        ("\u{feff}[disks]\n\ninterval = \"x\"\n", "3: disks.interval: "),
        ("log_level = \"info\"\r[disks]\n", "1: log_level: "),
    ];
    let long = [
        (deep("[", "]", 100), "2: a: "),
        (deep("[", "]", 500_000), "2: a: "),
        (deep("{a=", "}", 200_000), "2: a: "),
        (format!("\n\n{} = 1", dots(100)), "3: recursion limit"),
        (format!("\n\n{} = 1", dots(500_000)), "3: recursion limit"),
        (format!("\n[{}]\nb.b.b = 1", dots(100)), "2: recursion limit"),
        (format!("\n{} = 1", "x".repeat(1_000_000)), "2: xxxx"),
        (format!("\n[{}]", "x".repeat(1_000_000)), "2: xxxx"),
        (
            format!("\"{}\" = 1", "\\u001b".repeat(160_000)),
            r"1: \u{1b}\u{1b}",
        ),
        ("[graphite]\n\"\n".repeat(80_000), "2: "),
        (
            (0..80_000).map(|n| format!("[a.b{n}]\n")).collect(),
            "1: a: unknown field",
        ),
    ];
    let short = mistakes.map(|(text, location)| (text.to_string(), location));
    let all = short.into_iter().chain(long);
    all.map(|(text, location)| mistake(text, location, "")).collect()
}

/// Mistakes of values together: each line has a text (`; ` ends a line of it) and the whole error after the file name.
/// The file is `/x/gatherer.toml`.
const COMBINATIONS: &str = r#"
    log_file = '/x/a'; disks.output = '/x/a' => 2: disks.output: "/x/a" is both log_file and disks.output
    vmware.output = '/x/./y/..//a'; disks.output = '/x/a' => 1: vmware.output: "/x/a" is both disks.output and vmware.output
    graphite.output = '/tmp/__check_graphite_iostats.tmp' => 1: graphite.output: "/tmp/__check_graphite_iostats.tmp" is both graphite.output and disks.output
    graphite.whisper_dir = '/x/w/'; disks.output = '/x/w.nb_metrics' => 2: disks.output: "/x/w.nb_metrics" is both graphite.output and disks.output
    graphite.whisper_dir = '/x/w'; graphite.output = '/x/w' => 2: graphite.output: "/x/w" is both graphite.whisper_dir and graphite.output
    log_file = '/dev/shm/vmware_stats_export.dat' => 1: log_file: "/dev/shm/vmware_stats_export.dat" is both log_file and vmware.output
    state_dir = '/x/w'; graphite.whisper_dir = '/x/w' => 2: graphite.whisper_dir: "/x/w" is both state_dir and graphite.whisper_dir
    disks.output = '/var/lib/carbon/whisper.nb_metrics' => 1: disks.output: "/var/lib/carbon/whisper.nb_metrics" is both graphite.output and disks.output
    log_file = '/x/gatherer.toml' => 1: log_file: "/x/gatherer.toml" is the configuration file
    disks.output = '/x/y/../gatherer.toml' => 1: disks.output: "/x/gatherer.toml" is the configuration file
    state_dir = '/x/gatherer.toml' => 1: state_dir: "/x/gatherer.toml" is the configuration file
    disks.output = '/etc/shadow' => 1: disks.output: "/etc/shadow" is in /etc, must not be in a system folder
    vmware.output = '/tmp/../etc/x' => 1: vmware.output: "/tmp/../etc/x" is in /etc, must not be in a system folder
    graphite.output = '/usr//./x' => 1: graphite.output: "/usr//./x" is in /usr, must not be in a system folder
    graphite.whisper_dir = '/root/w' => 1: graphite.whisper_dir: "/root/w.nb_metrics" is in /root, must not be in a system folder
    log_file = '/lib64/x' => 1: log_file: "/lib64/x" is in /lib64, must not be in a system folder
    state_dir = '/boot' => 1: state_dir: "/boot" is in /boot, must not be in a system folder
    state_dir = '/proc/self/fd' => 1: state_dir: "/proc/self/fd" is in /proc, must not be in a system folder
    log_file = '/a/../../sys/x' => 1: log_file: "/a/../../sys/x" is in /sys, must not be in a system folder
    log_file = '/bin/x' => 1: log_file: "/bin/x" is in /bin, must not be in a system folder
    log_file = '/sbin/x' => 1: log_file: "/sbin/x" is in /sbin, must not be in a system folder
    disks.interval = '20s'; disks.window = '10s' => 2: disks.window: window (10s) must be at least the interval (20s)
    vmware.interval = '2m' => 1: vmware.interval: window (1m) must be at least the interval (2m)
    disks.interval = '1ms'; disks.window = '1001ms' => 2: disks.window: window (1s 1ms) must be at most 1000 times the interval (1ms)
    vmware.window = '366days' => 1: vmware.window: window (1year 18h) must be at most 1000 times the interval (10s)
"#;

/// Returns the mistakes of values together.
pub fn of_combinations() -> Vec<Mistake> {
    let lines = COMBINATIONS
        .lines()
        .filter_map(|line| line.trim().split_once(" => "));
    lines
        .map(|(text, error)| mistake(text.replace("; ", "\n"), error, ""))
        .collect()
}
