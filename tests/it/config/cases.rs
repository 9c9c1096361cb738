//! Mistakes in a configuration. Each is a text and the error after the file name, in which `…` is any text. In the texts,
//! `<x*3>` is `xxx`.

use shinken_gatherer::config::{Config, Setting};

pub type Mistake = (String, String);

/// Sets of values of the right type that are rejected: the set, the reason, and values separated by ` , `.
const WRONG_VALUES: &str = r#"
    level     | is not one of "error", "warn", "info", "debug" | "" , "INFO" , "off" , "trace" , "info " , "info\u0000" , "in\nfo"
    empty     | is not an absolute path           | ""
    path      | is not an absolute path           | " " , "relative" , "./x" , "../x" , "~/x" , "file:///x" , " /x"
    path      | is not a path without control characters | "/\u0000" , "/\n" , "/\r" , "/\u001b[31m" , "/\u007f" , "/\u0085"
    file      | is not a file path                | "/" , "/tmp/" , "/tmp/." , "/tmp/.." , "//"
    duration  | is not a duration (examples: "10s", "15m"): | "" , " " , "10" , "-1s" , "ten" , "s" , "1e9s" , "infs" , "99999999999999999999s" , "5M"
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
    address   | is not an IP address and a port   | "" , "127.0.0.1" , "127.0.0.1:" , ":2003" , "127.0.0.1:0"
    address   | is a host name, must be an IP address: looking up a name can block | "localhost:2003" , "graphite-1.example.com:2003"
    address   | is not an IP address and a port   | "127.0.0.1:65536" , "127.0.0.1:-1" , " 127.0.0.1:2003" , "[::1]" , "::1:2003"
    address   | is not an IP address and a port   | "256.0.0.1:1" , "127.0.0.1:2003\u0000" , "127.0.0.1:2003\n"
    prefix    | is not a metric prefix            | "" , "." , "a..b" , ".a" , "a." , "a b" , "a/b" , "{host}" , "{{hostname}}" , "{hostname" , "a.{hostname}..b" , "é" , "a\nb" , "a\u0000"
    level     | is not one of                     | "<x*10000>"
    path      | path is 10000 bytes long, the limit is 4000 | "</x*5000>"
    path      | path component is longer than 255 bytes | "/<x*256>"
    file      | file name is 240 bytes long, the limit is 239 | "/<x*240>"
    duration  | is not a duration                 | "<x*10000>"
    duration  | is too long                       | "<9days *10000>"
    patterns  | pattern is longer than 4096 bytes | ["<x*4097>"]
    patterns  | patterns are longer than 65536 bytes in total | ["<{*100000>"] , [<"a?????????a?????????a?????????a?????????a?????????a?????????a?????????",*1000>]
    patterns  | too many patterns, the limit is 1000 | [<"a",*1001>]
    libraries | is not a library name             | ["<x*256>"]
    libraries | must list 1 to 16 library names   | [<"a",*17>]
    address   | is not an IP address and a port   | "<x*10000>"
    prefix    | is not a metric prefix            | "<x*201>"
"#;

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
pub fn keys() -> Vec<String> {
    Config::default().settings().iter().map(Setting::name).collect()
}

/// Returns the type of a key and the sets of [`WRONG_VALUES`] that it must reject.
fn rules_of(setting: &Setting) -> (&'static str, &'static str) {
    let default = setting.value.as_deref().unwrap_or("\"/chosen\"");
    match (setting.key.as_str(), default.as_bytes()) {
        ("enabled", _) => ("boolean", ""),
        ("log_level", _) => ("string", "level"),
        ("log_file", _) => ("string", "path file"),
        ("state_dir", _) => ("string", "path"),
        ("output", _) => ("string", "path empty file"),
        ("max_busy_percent", _) => ("integer", "number percent"),
        ("host_depth", _) => ("integer", "number depth"),
        ("exclude", _) => ("sequence", "strings patterns"),
        ("libraries", _) => ("sequence", "strings libraries"),
        ("address", _) => ("string", "address"),
        ("prefix", _) => ("string", "prefix"),
        (_, [b'"', b'/', ..]) => ("string", "path empty"),
        (_, [b'"', b'0'..=b'9', ..]) => ("string", "duration"),
        _ => panic!("no wrong values for {setting:?}"),
    }
}

/// Returns the lines of one of the tables above.
fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// Replaces `<x*3>` by `xxx`.
pub fn expand(text: &str) -> String {
    let mut parts = text.split('<');
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| {
        let (repeated, rest) = part.split_once('>').unwrap();
        let (piece, count) = repeated.rsplit_once('*').unwrap();
        text + &piece.repeat(count.parse().unwrap()) + rest
    })
}

/// Returns the text that sets `key` to `value` in line 4.
fn set(key: &str, value: &str) -> String {
    match key.split_once('.') {
        Some((table, key)) => format!("\n[{table}]\n\n{key} = {value}"),
        None => format!("\n\n\n{key} = {value}"),
    }
}

/// Returns every key with every other type, and with every value of its type that is rejected.
pub fn of_values() -> Vec<Mistake> {
    let mut sets = Vec::new();
    for line in lines(WRONG_VALUES) {
        let [set, reason, values] = line.splitn(3, '|').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let (set, reason) = (set.trim(), reason.trim());
        sets.extend(values.split(" , ").map(|value| (set, reason, expand(value))));
    }
    let mut mistakes = Vec::new();
    for setting in Config::default().settings() {
        let key = setting.name();
        let (own_type, own_sets) = rules_of(&setting);
        for (value, name) in TYPES.iter().filter(|(_, name)| *name != own_type) {
            let expected = format!("4: {key}: invalid type: {name}");
            // The tables are checked by their TOML types, values by those of serde.
            mistakes.push((set(&key, value), expected.replace("sequence", "")));
        }
        let has_set = |name| own_sets.split(' ').any(|own| own == name);
        for (_, reason, value) in sets.iter().filter(|(name, ..)| has_set(*name)) {
            mistakes.push((set(&key, value), format!("4: {key}: …{reason}")));
        }
    }
    mistakes
}

/// Mistakes about tables. `; ` ends a line of the text, and TABLE is the name of each table.
const TABLES: &str = r#"
    log_lvel = 'info' => 1: log_lvel: unknown key
    ; [disk]; interval = '1s' => 2: disk: unknown key
    [Disks] => 1: Disks: unknown key
    [a.b.c]; d = 1 => 1: a: unknown key `a`
    "a\nb\u001b[31m" = 3 => 1: a\nb\u{1b}[31m: unknown key
    "" = 3 => 1: : unknown key ``
    log_file = ''; # again; log_file = '' => 3: log_file: duplicate key
    ; TABLE = true => 2: TABLE: invalid type: boolean
    ; TABLE = 3 => 2: TABLE: invalid type: integer
    ; TABLE = 1.5 => 2: TABLE: invalid type: float
    ; TABLE = 'x' => 2: TABLE: invalid type: string
    ; TABLE = [] => 2: TABLE: invalid type: array
    ; TABLE = [true] => 2: TABLE: invalid type: array
    ; TABLE = [{ enabled = true }] => 2: TABLE: invalid type: array
    ; TABLE = 2026-11-22 => 2: TABLE: invalid type: datetime
    ; [[TABLE]] => 2: TABLE: invalid type: array, expected a table
    [TABLE]; ; [TABLE] => 3: TABLE: duplicate key
    [TABLE]; [[TABLE]] => 2: TABLE: duplicate key
    TABLE = {}; ; [TABLE] => 3: TABLE: duplicate key
    [TABLE]; ; none = 1 => 3: TABLE.none: unknown key `none`
    [TABLE]; Enabled = true => 2: TABLE.Enabled: unknown key
    [TABLE.deeper]; x = 1 => 1: TABLE.deeper: unknown key
    TABLE.TABLE.x = 1 => 1: TABLE.TABLE: unknown key
    ; export = 3 => 2: export: invalid type: integer, expected tables
    [export] => 1: export: invalid type: table, expected tables
    export = [["/x/e", "", ["disks"]]] => 1: export: invalid type: array, expected tables
    ; [[export]]; path = '/x/e' => 2: export: missing field `from`
    [[export]]; ; none = 1 => 3: export.none: unknown key `none`
    [[export]]; mode = "0999" => 2: export.mode: "0999" is not a mode, such as "0644"
    [[export]]; mode = "0666" => 2: export.mode: all users could write the file with mode "0666"
    [[export]]; mode = "4755" => 2: export.mode: "4755" is not a mode, such as "0644"
    [[export]]; mode = "00644" => 2: export.mode: "00644" is not a mode, such as "0644"
    [graphite]; host_depth = true => 2: graphite.host_depth: invalid type: boolean `true`, expected an integer from 1 to 64
    [[export]]; path = "e" => 2: export.path: "e" is not an absolute path
"#;

/// Returns mistakes about tables: other types, unknown keys, duplicates.
pub fn of_tables() -> Vec<Mistake> {
    let mut tables: Vec<_> = Config::default()
        .settings()
        .into_iter()
        .map(|one| one.table)
        .collect();
    tables.retain(|table| !table.is_empty());
    tables.dedup();
    let mistakes = tables
        .iter()
        .map(|table| of_table(&TABLES.replace("TABLE", table)));
    mistakes.flatten().collect()
}

fn of_table(table: &str) -> Vec<Mistake> {
    let lines = table.lines().filter_map(|line| line.trim().split_once(" => "));
    lines
        .map(|(text, expected)| (text.replace("; ", "\n"), expected.to_string()))
        .collect()
}

/// Usual mistakes, whose errors end with a hint. `NBSP` and `BOM` are these characters.
const HINTS: &str = r#"
    log_level = info => 1: log_level: write log_level = "info", with quotes
    log_level = "info => 1: log_level: write log_level = "info", with quotes
    log_level = info" => 1: log_level: write log_level = "info", with quotes
    log_level = “info” => 1: log_level: write log_level = "info", with straight quotes
    log_level = "INFO" => 1: log_level: …; write log_level = "info", in lower case and with quotes
    log_level: info => 1: log_level: write log_level = "info", with =
    log_levelNBSP= "info" => 1: log_level: replace \u{a0} with a space
    log_level = # info => 1: log_level: invalid value; example: log_level = "info"
    log_file = none => 1: log_file: invalid value; example: log_file = "/var/log/shinken/gatherer.log"
    log_file = /a|b => 1: log_file: invalid value; example: log_file = "/var/log/shinken/gatherer.log"
    log_file = /opt/graphite/storage/log/with-a-name-that-is-too-long-to-repeat => 1: log_file: invalid value; example: …
    BOMlog_file = /x => 1: log_file: write log_file = "/x", with quotes
    // why => 1: comments begin with #
    [ disks ]; interval "10s" => 2: disks.interval: write interval = "10s", with =
    [disks]; interval = 0 => 2: disks.interval: invalid type: …; example: interval = "10s"
    [disks]; interval = 00:10:00 => 2: disks.interval: invalid type: …; example: interval = "10s"
    [disks]; enabled = oui => 2: disks.enabled: invalid value; example: enabled = true
    [graphite]; max_busy_percent = 150% => 2: graphite.max_busy_percent: invalid value; example: max_busy_percent = 50
    [graphite]; exclude = "/a/", "/b/" => 2: graphite.exclude: unexpected …; example: exclude = ["/lost+found/"]
    [graphite.disks] => 1: graphite.disks: unknown key …; the table is [disks]
    disks: => 1: disks: write [disks] on its own line
    ; log_file = /var/log/x.log  # why => 2: log_file: write log_file = "/var/log/x.log", with quotes
    [carbon]; address = 127.0.0.1:2003 => 2: carbon.address: write address = "127.0.0.1:2003", with quotes
    [disks]; enabled = yes => 2: disks.enabled: write enabled = true, without quotes
    [disks]; enabled = "no" => 2: disks.enabled: invalid type: …; write enabled = false, without quotes
    [disks]; interval = 10 => 2: disks.interval: invalid type: …; write interval = "10s", with a unit (s, m, h) and quotes
    [disks]; interval = "10" => 2: disks.interval: …; write interval = "10s", with a unit (s, m, h) and quotes
    [disks]; interval = "10" # why => 2: disks.interval: …; write interval = "10s", with a unit (s, m, h) and quotes
    [disks]; interval = 10s => 2: disks.interval: write interval = "10s", with quotes
    [graphite]; max_busy_percent = 50% => 2: graphite.max_busy_percent: write max_busy_percent = 50, without quotes
    [graphite]; exclude = "/a/" => 2: graphite.exclude: invalid type: …; write exclude = ["/a/"], in brackets
    [disks]; intervall = "10s" => 2: disks.intervall: unknown key …; did you mean disks.interval?
    [disk]; interval = "10s" => 1: disk: unknown key …; did you mean disks?
    log_lvel = "info" => 1: log_lvel: unknown key …; did you mean log_level?
    window = "10s" => 1: window: unknown key …; window belongs below [disks] or [vmware]
    [disks]; log_file = "" => 2: disks.log_file: unknown key …; log_file must be above the first [table]
"#;

/// Returns usual mistakes with their hints.
pub fn of_hints() -> Vec<Mistake> {
    of_table(&HINTS.replace("NBSP", "\u{a0}").replace("BOM", "\u{feff}"))
}

/// Returns texts that are not TOML or nested too deep, and bytes that must not reach a terminal or a log.
pub fn of_syntax() -> Vec<Mistake> {
    let mistakes = [
        ("[graphite\n", "1: graphite: "),
        ("[disks]\n[[export]]\nmode = 0644\n", "3: export.mode: "),
        ("[graphite]\n[]\n", "2: "),
        ("log_level =\n", "1: log_level: "),
        ("log_level = \"info\n[graphite]\n", "1: log_level: "),
        ("[disks]\ninterval = '''\n1s", ""),
        ("[disks]\ninterval: \"3s\"\n", "2: disks.interval: "),
        ("[disks]\ninterval\n", "2: disks.interval: "),
        ("[disks]\nenabled = True\n", "2: disks.enabled: "),
        ("log_level = info\n", "1: log_level: "),
        ("= 3\n", "1: unquoted keys cannot be empty"),
        ("[graphite]\n= 3\n", "2: unquoted keys cannot be empty"),
        ("[graphite]\n\"ou tput\" = = 3\n", "2: graphite.ou tput: "),
        ("\0", "1: "),
        ("\u{1}\u{1b}[31m\n", "1: "),
        ("log_level = \"in\u{1b}fo\"\n", "1: log_level: "),
        ("log_level = \"in\0fo\"\n", "1: log_level: "),
        ("\n# a \u{7} bell\n", "2: "),
        ("log_level = \"\\ud800\"\n", "1: log_level: "),
        ("[disks]\r\n\r\ninterval = \"x\"\r\n", "3: disks.interval: "),
        ("\u{feff}[disks]\n\ninterval = \"x\"\n", "3: disks.interval: "),
        ("log_level = \"info\"\r[disks]\n", "1: log_level: "),
        ("\na = <[*100><]*100>", "2: a: "),
        ("\na = <[*100000><]*100000>", "2: a: "),
        ("\na = <{a=*50000><}*50000>", "2: a: "),
        ("\n\n<a.*100>a = 1", "3: recursion limit"),
        ("\n\n<a.*50000>a = 1", "3: recursion limit"),
        ("\n[<a.*100>a]\nb.b.b = 1", "2: recursion limit"),
        ("\n<x*100000> = 1", "2: xxxx"),
        ("\n[<x*100000>]", "2: xxxx"),
        ("\"<\\u001b*16000>\" = 1", r"1: \u{1b}\u{1b}"),
        ("<[graphite]\n\"\n*80000>", "2: "),
        ("<[[a]]\n*80000>", "1: a: unknown key"),
    ];
    mistakes
        .map(|(text, expected)| (expand(text), expected.to_string()))
        .into()
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
    EXPORT from = [] => 4: export.from: must name the documents that the template uses
    EXPORT from = ['disc'] => 4: export.from: "disc" must be one of graphite, disks, vmware
    EXPORT from = ['disks']; template_file = '/x/t' => 2: export.path: needs either template or template_file
    state_dir = '/x/y/..'; EXPORT from = ['disks'] => 3: export.path: "/x/y/../e" is in state_dir
    disks.output = '/x/e'; EXPORT from = ['disks'] => 3: export.path: "/x/e" is both disks.output and export.path
    EXPORT from = ['disks']; [[export]]; path = '/x/e'; template = ''; from = ['vmware'] => 6: export.path: "/x/e" is both export.path and export.path
    EXPORT from = ['disks']; [[export]]; path = '/x/f'; template_file = '/x/e'; from = ['vmware'] => 7: export.template_file: "/x/e" is both export.path and export.template_file
    [[export]]; path = '/x/gatherer.toml'; template = ''; from = ['disks'] => 2: export.path: "/x/gatherer.toml" is the configuration file
    [[export]]; path = '/etc/e'; template = ''; from = ['disks'] => 2: export.path: "/etc/e" is in /etc, must not be in a system folder
    EXPORT from = ['disks']; [[export]]; path = '/etc/e'; template = ''; from = ['vmware'] => 6: export.path: "/etc/e" is in /etc, must not be in a system folder
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
    let export = "[[export]]; path = '/x/y/../e'; template = '';";
    of_table(&COMBINATIONS.replace("EXPORT", export))
}
