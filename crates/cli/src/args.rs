//! The command line: verbs and flags as in the interface, nothing decided yet.
//!
//! Texts of roles, moments, patterns and rules stay texts here; the verbs parse them and complain in their own words.
//! `run` keeps what stood before and after `--` apart and untouched: telling a C file from a program is its business.

use crate::error::CliError;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Shows the arenas of programs: what they hold, what went wrong in them.
#[derive(Parser, Debug)]
#[command(name = "arenascope", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do. Parsed once in a run, so that the sizes of its variants do not matter.
#[allow(clippy::large_enum_variant, reason = "parsed once in a run")]
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Runs a program (or compiles and runs C files), watches its arenas, leaves a trace
    Run(RunArgs),
    /// Shows arenas, map and bytes: of a trace, at its end or at a moment; of a living process; of a core dump
    Show(ShowArgs),
    /// Lists the processes that have arenas of the library, how many and how big
    Ps(PsArgs),
    /// Lists the events of a trace, one per line
    Log(LogArgs),
    /// Lists the findings and notes of a trace
    Findings(FindingsArgs),
    /// Small programs with planted faults, carried inside: lists them, shows one, tries all
    Lab(LabArgs),
    /// Compares two moments of a trace, or two traces: blocks that appeared, died, moved, changed; which bytes
    Diff(DiffArgs),
    /// Writes names of functions and lines into a trace that a program left by itself, so that it can be read elsewhere
    Complete(CompleteArgs),
}

/// What `run` watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Watch {
    /// Own and foreign arenas, mappings
    #[default]
    Arenas,
    /// Besides, every block of malloc, and the arenas of the C library that they come from
    Malloc,
}

/// How `run` watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Every event goes into the trace
    #[default]
    Record,
    /// Besides, blocks grow by redzones that are looked at, and dead blocks are watched
    Check,
    /// Under Valgrind's memcheck, which is told about every block: every read and write is looked at, 20 to 50 times slower
    Precise,
    /// One allocation in so many bytes is recorded and stands for the others
    Sample(u64),
    /// Nothing is watched: for comparing
    Off,
}

const MODE_HELP: &str = "How to watch:
record           every event goes into the trace
sample[:BYTES]   one allocation in so many bytes (K, M, G) [512K], which stands for the others: for production
check            besides, blocks grow by redzones that are looked at, and dead blocks are watched
precise          under Valgrind's memcheck, which is told about every block: every read and write is looked at, 20 to 50 times slower
off              nothing is watched: for comparing";

/// Bytes between samples when none are given: heap profilers of production programs (tcmalloc, jemalloc, Go) take about as many.
const SAMPLE_BYTES: u64 = 512 << 10;

/// A mode as the command line has it.
fn mode(text: &str) -> Result<Mode, String> {
    match text.split_once(':').unwrap_or((text, "")) {
        ("record", "") => Ok(Mode::Record),
        ("check", "") => Ok(Mode::Check),
        ("precise", "") => Ok(Mode::Precise),
        ("off", "") => Ok(Mode::Off),
        ("sample", "") if !text.contains(':') => Ok(Mode::Sample(SAMPLE_BYTES)),
        ("sample", distance) => match bytes(distance)? {
            0 => Err("a sample every 0 bytes is every block: --mode record does that".to_owned()),
            distance => Ok(Mode::Sample(distance)),
        },
        _ => Err("record, sample[:BYTES], check, precise or off is wanted".to_owned()),
    }
}

/// One role from the command line, in the order given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleText {
    /// The flag's word (`alloc`), or `None` for `--role`, whose text begins with the word.
    pub word: Option<&'static str>,
    /// The text as given.
    pub text: String,
}

/// Words that are flags of `run`; the same list as `Role::ALL`, checked by a test.
const ROLE_WORDS: [&str; 8] = ["create", "alloc", "resize", "free", "mark", "rewind", "reset", "destroy"];

/// Flags of `run`.
#[derive(Args, Debug, Clone)]
#[command(
    after_help = "docs/roles.md has every word of a role, and how a profile is written.",
    override_usage = "arenascope run [flags] -- PROGRAM [arg]...\n       arenascope run [flags] FILE.c... [-- arg...]"
)]
pub struct RunArgs {
    /// What to watch
    #[arg(long, value_enum, default_value_t, help_heading = "What")]
    pub watch: Watch,
    /// Only arenas whose name matches (`*` and `?` as in file names), or the arena of this number
    #[arg(long, value_name = "PATTERN", help_heading = "What")]
    pub only: Option<String>,
    /// How to watch
    #[arg(long, value_name = "MODE", value_parser = mode, default_value = "record", help_heading = "What", long_help = MODE_HELP)]
    pub mode: Mode,
    /// Short for --mode check
    #[arg(long, conflicts_with = "mode", help_heading = "What")]
    check: bool,
    /// With --check: blocks of our library's arenas end at a page that cannot be touched, where the kernel can do that (Linux 6.13). For
    /// all of them, or those whose name matches
    #[arg(long, value_name = "PATTERN", num_args = 0..=1, require_equals = true, default_missing_value = "*",
          conflicts_with = "precise", help_heading = "What")]
    pub guard_pages: Option<String>,
    /// Short for --mode precise: under Valgrind
    #[arg(long, conflicts_with_all = ["mode", "check"], help_heading = "What")]
    precise: bool,
    /// Look for blocks that nothing points at: read all memory at the end and at the program's first four marks, if it is
    /// not more than BYTES (K, M, G) [default: 1G]
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_missing_value = "1G",
          value_parser = bytes, help_heading = "What")]
    pub scan: Option<u64>,

    /// A signal that sets a mark: the bytes of all arenas are saved, and its name (SIGUSR1, then SIGUSR1@2) is a moment. The
    /// program's own handler runs afterwards; where it has none, the signal does not end the program any more
    #[arg(long, value_name = "SIGNAL", help_heading = "What")]
    pub mark_on: Vec<String>,

    /// A function that makes arenas: 'arena_new(size) -> arena'
    #[arg(long, value_name = "ROLE", help_heading = "Roles: 'function(arguments) -> result'")]
    create: Vec<String>,
    /// A function that hands out blocks: 'arena_alloc(arena, size) -> block'
    #[arg(long, value_name = "ROLE", help_heading = "Roles: 'function(arguments) -> result'")]
    alloc: Vec<String>,
    /// A function that changes a block's size
    #[arg(long, value_name = "ROLE", help_heading = "Roles: 'function(arguments) -> result'")]
    resize: Vec<String>,
    /// A function that takes one block back
    #[arg(long, value_name = "ROLE", help_heading = "Roles: 'function(arguments) -> result'")]
    free: Vec<String>,
    /// A function that saves the cursor: 'arena_mark(arena) -> mark'
    #[arg(long, value_name = "ROLE", help_heading = "Roles: 'function(arguments) -> result'")]
    mark: Vec<String>,
    /// A function that goes back to a saved cursor: 'arena_rewind(arena, mark)'
    #[arg(long, value_name = "ROLE", help_heading = "Roles: 'function(arguments) -> result'")]
    rewind: Vec<String>,
    /// A function that empties an arena
    #[arg(long, value_name = "ROLE", help_heading = "Roles: 'function(arguments) -> result'")]
    reset: Vec<String>,
    /// A function that ends an arena
    #[arg(long, value_name = "ROLE", help_heading = "Roles: 'function(arguments) -> result'")]
    destroy: Vec<String>,
    /// The same with the role's word in front: 'alloc:arena_alloc(arena, size) -> block'
    #[arg(long, value_name = "WORD:ROLE", help_heading = "Roles: 'function(arguments) -> result'")]
    role: Vec<String>,
    /// All of the above, in the order given.
    #[arg(skip)]
    pub roles: Vec<RoleText>,
    /// Roles from a file
    #[arg(long, value_name = "FILE.toml", help_heading = "Roles: 'function(arguments) -> result'")]
    pub profile: Vec<PathBuf>,
    /// Functions may turn up later, in a library loaded or a program executed while it runs
    #[arg(long, help_heading = "Roles: 'function(arguments) -> result'")]
    pub late: bool,
    /// Tell what was found by shape, with scores
    #[arg(long, help_heading = "Roles: 'function(arguments) -> result'")]
    pub explain: bool,

    /// More flags for the C compiler, split at spaces
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true, help_heading = "Compiling")]
    pub cflags: Option<String>,

    /// The trace [default: NAME.PID.ascope in the current directory]
    #[arg(short = 'o', long = "output", value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Overwrite the trace if it exists
    #[arg(long, help_heading = "Output")]
    pub force: bool,
    /// Tell events as they happen
    #[arg(long, help_heading = "Output")]
    pub narrate: bool,
    /// Our words go to this file instead of stderr
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub log: Option<PathBuf>,
    /// ASCII only, no colour
    #[arg(long, help_heading = "Output")]
    pub plain: bool,
    /// Exit with 1 when a rule of this list finds something; `any` for every finding
    #[arg(long, value_name = "any|RULE,...", value_delimiter = ',', help_heading = "Output")]
    pub fail_on: Vec<String>,
    /// Findings not to tell: lines `rule:pattern`, matched against functions, files and modules
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub suppressions: Option<PathBuf>,

    /// C files to compile and run
    #[arg(value_name = "FILE.c")]
    pub files: Vec<OsString>,
    /// The program and its arguments; after C files the arguments only
    #[arg(last = true, value_name = "PROGRAM")]
    pub after: Vec<OsString>,
}

/// Flags of `complete`.
#[derive(Args, Debug, Clone)]
pub struct CompleteArgs {
    /// The trace
    pub trace: PathBuf,
}

/// Flags that all verbs over a trace share.
#[derive(Args, Debug, Clone)]
pub struct ViewArgs {
    /// The trace
    pub trace: PathBuf,
    /// JSON, as docs/json.md describes it
    #[arg(long)]
    pub json: bool,
    /// ASCII only, no colour
    #[arg(long)]
    pub plain: bool,
    /// Only arenas whose name matches (`*` and `?` as in file names), or the arena of this number
    #[arg(long, value_name = "PATTERN")]
    pub arena: Option<String>,
}

/// Flags of `show`.
#[derive(Args, Debug, Clone)]
#[command(
    after_help = "docs/outside.md tells how arenas are found in a process or a core, and what cannot be seen.",
    override_usage = "arenascope show TRACE [--at MOMENT]\n       arenascope show --pid PID\n       arenascope show --core FILE \
                      [--exe PROGRAM]\n       arenascope show --gdb-script"
)]
pub struct ShowArgs {
    /// The trace
    #[arg(required_unless_present_any = ["pid", "core", "gdb_script"], conflicts_with_all = ["pid", "core", "gdb_script"])]
    pub trace: Option<PathBuf>,
    /// The living arenas of this process, which is only read, and not stopped
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["core", "at"])]
    pub pid: Option<u32>,
    /// The living arenas of a core dump
    #[arg(long, value_name = "FILE", conflicts_with = "at")]
    pub core: Option<PathBuf>,
    /// With --core: the program, for what the core leaves out, if it is not where it was
    #[arg(long, value_name = "PROGRAM", requires = "core", conflicts_with_all = ["pid", "trace"])]
    pub exe: Option<PathBuf>,
    /// With --pid and --core: also read up to BYTES (K, M, G) of memory for arenas that no list of the program leads to; 0: none
    /// [default: 1G; of a core 16G]
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_missing_value = "1T",
          value_parser = bytes, conflicts_with = "trace")]
    pub scan: Option<u64>,
    /// Prints the script that does the same inside gdb: gdb -x FILE
    #[arg(long, conflicts_with_all = ["pid", "core", "at", "json", "plain", "arena", "scan"])]
    pub gdb_script: bool,
    /// JSON, as docs/json.md describes it
    #[arg(long)]
    pub json: bool,
    /// ASCII only, no colour
    #[arg(long)]
    pub plain: bool,
    /// Only arenas whose name matches (`*` and `?` as in file names), or the arena of this number
    #[arg(long, value_name = "PATTERN")]
    pub arena: Option<String>,
    /// The moment: #1204, 12.5ms, 40%, start, end, parse.c:84@3 [default: the end, each dead arena just before its own]
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    pub at: Option<String>,
}

/// Flags of `ps`.
#[derive(Args, Debug, Clone)]
#[command(after_help = "docs/outside.md tells how arenas are found, and what cannot be seen.")]
pub struct PsArgs {
    /// Also read up to BYTES (K, M, G; without a number 1G) of each process's memory, for arenas that no list of the program leads to
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_missing_value = "1G",
          value_parser = bytes)]
    pub scan: Option<u64>,
    /// JSON, as docs/json.md describes it
    #[arg(long)]
    pub json: bool,
    /// ASCII only, no colour
    #[arg(long)]
    pub plain: bool,
    /// Only arenas whose name matches (`*` and `?` as in file names), or of this number
    #[arg(long, value_name = "PATTERN")]
    pub arena: Option<String>,
}

/// Flags of `log`.
#[derive(Args, Debug, Clone)]
pub struct LogArgs {
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Flags of `findings`.
#[derive(Args, Debug, Clone)]
pub struct FindingsArgs {
    #[command(flatten)]
    pub view: ViewArgs,
    /// SARIF 2.1.0, for code hosts and editors
    #[arg(long, conflicts_with_all = ["json", "junit"])]
    pub sarif: bool,
    /// JUnit XML, for build servers
    #[arg(long, conflicts_with = "json")]
    pub junit: bool,
    /// Findings not to tell: lines `rule:pattern`, matched against functions, files and modules
    #[arg(long, value_name = "FILE")]
    pub suppressions: Option<PathBuf>,
    /// Exit with 1 when a rule of this list finds something; `any` for every finding
    #[arg(long, value_name = "any|RULE,...", value_delimiter = ',')]
    pub fail_on: Vec<String>,
}

/// Flags of `lab`.
#[derive(Args, Debug, Clone)]
#[command(
    override_usage = "arenascope lab [list]\n       arenascope lab NAME... [--into DIR]\n       arenascope lab --all [NAME...] [--slow]",
    after_help = "A lab is compiled with cc (or $CC), run and watched. The Rust parts need cargo and the source of the crate arenascope, \
                  where this program was built."
)]
pub struct LabArgs {
    /// Labs by number (12a), name, or folder (12); without one, or `list`: what there is
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Try all of them (or all that are named), a line each; exit with 1 when one is not as expected
    #[arg(long)]
    pub all: bool,
    /// With --all: also what takes long, the comparison with other tools and the Rust parts
    #[arg(long, requires = "all")]
    pub slow: bool,
    /// Keep files and traces in this folder
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// ASCII only, no colour
    #[arg(long)]
    pub plain: bool,
}

/// Flags of `diff`.
#[derive(Args, Debug, Clone)]
#[command(
    after_help = "Questions of --rule: active at A; growth, decline, short-lived, long-lived between A and B; leak A-B-C: allocated \
                  between A and B, and still there at C. A is --from, B is --to, C is --and.",
    override_usage = "arenascope diff TRACE [--from MOMENT] [--to MOMENT]\n       arenascope diff TRACE --rule QUESTION [--from A] [--to B] \
                      [--and C]\n       arenascope diff TRACE_A TRACE_B"
)]
pub struct DiffArgs {
    /// The trace, or two to be compared
    #[arg(required = true, num_args = 1..=2, value_name = "TRACE")]
    pub traces: Vec<PathBuf>,
    /// The earlier moment, or that of the first trace [default: the start; of two traces the end]
    #[arg(long, value_name = "MOMENT", visible_alias = "at", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// The later moment, or that of the second trace [default: the end]
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// The third moment, for `--rule leak` [default: the end]
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    pub and: Option<String>,
    /// A question: active, growth, decline, short-lived, long-lived, leak
    #[arg(long, value_name = "QUESTION")]
    pub rule: Option<String>,
    /// JSON, as docs/json.md describes it
    #[arg(long)]
    pub json: bool,
    /// ASCII only, no colour
    #[arg(long)]
    pub plain: bool,
    /// Only arenas whose name matches (`*` and `?` as in file names), or the arena of this number
    #[arg(long, value_name = "PATTERN")]
    pub arena: Option<String>,
}

/// A number of bytes: `4096`, `64K`, `512M`, `1G`.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (text.get(..at), 1 << 10),
        Some((at, 'M' | 'm')) => (text.get(..at), 1 << 20),
        Some((at, 'G' | 'g')) => (text.get(..at), 1 << 30),
        Some((at, 'T' | 't')) => (text.get(..at), 1 << 40),
        _ => (Some(text), 1_u64),
    };
    let number = digits.and_then(|digits| digits.parse::<u64>().ok()).and_then(|number| number.checked_mul(unit));
    number.ok_or_else(|| "a number of bytes is wanted, such as 65536, 64K, 512M, 1G".to_owned())
}

/// Parses a command line, the program's name first. Errors print and exit by clap's rules: 2 for usage, 0 for help.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Verb, clap::Error> {
    let matches = Cli::command().try_get_matches_from(arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (Verb::Run(run), Some(("run", matches))) = (&mut cli.verb, matches.subcommand()) {
        run.roles = roles_in_order(matches);
        if run.check {
            run.mode = Mode::Check;
        }
        if run.precise {
            run.mode = Mode::Precise;
        }
    }
    Ok(cli.verb)
}

/// Verbs that the interface names for a later version.
const LATER_VERBS: [&str; 7] = ["attach", "view", "report", "live", "export", "summary", "query"];

/// A better sentence for some of clap's errors: words that only a later version knows, and texts that are not UTF-8.
pub fn complaint(error: &clap::Error, arguments: &[OsString]) -> Option<CliError> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let later = |word: &str, instead: &str| Some(CliError::usage(format!("{word}: not in this version")).hint(instead));
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let verb = word(ContextKind::InvalidSubcommand).filter(|verb| LATER_VERBS.contains(verb))?;
            let instead = match verb {
                "summary" | "report" | "view" => "arenascope show TRACE",
                "export" | "query" => "arenascope log TRACE --json",
                "attach" | "live" => {
                    "arenascope show --pid PID, which reads; arenascope run -- PROGRAM watches from the start"
                }
                _ => "arenascope run -- PROGRAM",
            };
            later(verb, instead)
        }
        ErrorKind::InvalidUtf8 => {
            let is_one = |index: usize| {
                let of = |(at, word): (usize, &OsString)| match word.to_str() {
                    None if at != index => OsString::from("x"),
                    _ => word.clone(),
                };
                let others = arguments.iter().enumerate().map(of);
                parse(others).is_err_and(|error| error.kind() == ErrorKind::InvalidUtf8)
            };
            let mut unreadable = arguments.iter().enumerate().filter(|(_, word)| word.to_str().is_none());
            let (index, word) = unreadable.find(|(index, _)| is_one(*index))?;
            let error = CliError::usage(format!("argument {index} is not UTF-8: {}", word.to_string_lossy()));
            Some(error.hint(
                "file names and the program's own arguments may be any bytes; roles, patterns and rules are text",
            ))
        }
        _ => None,
    }
}

/// Roles may be given by nine flags in any mixture; their order decides ties, so it is kept.
fn roles_in_order(matches: &ArgMatches) -> Vec<RoleText> {
    let mut found: Vec<(usize, RoleText)> = Vec::new();
    let flags = ROLE_WORDS.iter().map(|&word| (word, Some(word))).chain([("role", None)]);
    for (flag, word) in flags {
        let texts = matches.get_many::<String>(flag).into_iter().flatten();
        let places = matches.indices_of(flag).into_iter().flatten();
        found.extend(places.zip(texts).map(|(place, text)| (place, RoleText { word, text: text.clone() })));
    }
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, role)| role).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> RunArgs {
        let line = ["arenascope", "run"].into_iter().chain(arguments.iter().copied()).map(OsString::from);
        match parse(line) {
            Ok(Verb::Run(run)) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
        for word in ROLE_WORDS {
            assert!(
                Cli::command()
                    .find_subcommand("run")
                    .is_some_and(|run| run.get_arguments().any(|argument| argument.get_long() == Some(word)))
            );
        }
    }

    #[test]
    fn roles_keep_their_order_across_flags() {
        let run = run(&[
            "--free",
            "f(arena, block)",
            "--role",
            "alloc:g(size) -> block",
            "--alloc=h(size) -> block",
            "--free",
            "i(arena, block)",
            "--",
            "prog",
        ]);
        let words: Vec<_> = run.roles.iter().map(|role| (role.word, role.text.as_str())).collect();
        assert_eq!(
            words,
            [
                (Some("free"), "f(arena, block)"),
                (None, "alloc:g(size) -> block"),
                (Some("alloc"), "h(size) -> block"),
                (Some("free"), "i(arena, block)"),
            ]
        );
    }

    #[test]
    fn check_is_short_for_its_mode() {
        assert_eq!(run(&["--check", "a.c"]).mode, Mode::Check);
        assert_eq!(run(&["--mode", "check", "a.c"]).mode, Mode::Check);
        assert_eq!(run(&["--precise", "a.c"]).mode, Mode::Precise);
        assert_eq!(run(&["--mode", "precise", "a.c"]).mode, Mode::Precise);
        assert_eq!(run(&["a.c"]).mode, Mode::Record);
        let both = ["arenascope", "run", "--check", "--mode", "off", "a.c"].map(OsString::from);
        assert!(parse(both).is_err());
    }

    #[test]
    fn scan_takes_a_number_of_bytes_or_none() {
        assert_eq!(run(&["a.c"]).scan, None);
        assert_eq!(run(&["--scan", "a.c"]).scan, Some(1 << 30));
        for (text, bytes) in [("4096", 4096), ("64K", 64 << 10), ("512m", 512 << 20), ("2G", 2 << 30)] {
            assert_eq!(run(&[&format!("--scan={text}"), "a.c"]).scan, Some(bytes));
        }
        for text in ["", "M", "-1", "1X", "99999999999999999999", "18446744073709551615G", "1 G"] {
            let line = ["arenascope", "run", &format!("--scan={text}"), "a.c"].map(OsString::from);
            assert!(parse(line).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_stands_before_and_after_the_dashes_stays_apart() {
        let program = run(&["--narrate", "--", "prog", "--json", "--", "x"]);
        assert!(program.narrate && program.files.is_empty());
        assert_eq!(program.after, ["prog", "--json", "--", "x"]);
        let files = run(&["a.c", "--cflags", "-O2 -g", "b.c", "--", "-v"]);
        assert_eq!(files.files, ["a.c", "b.c"]);
        assert_eq!(files.after, ["-v"]);
        assert_eq!(files.cflags.as_deref(), Some("-O2 -g"));
    }

    #[test]
    fn words_of_later_versions_are_known_as_such() {
        let complaint_of = |words: &[&str]| {
            let line: Vec<OsString> = ["arenascope"].iter().chain(words).map(OsString::from).collect();
            complaint(&parse(line.clone()).expect_err("no such word"), &line).map(|error| error.to_string())
        };
        for (words, said) in
            [(&["attach", "x"][..], "attach: not in this version"), (&["view"], "view: not in this version")]
        {
            let complaint = complaint_of(words).expect("a complaint of ours");
            assert!(complaint.starts_with(said), "{words:?}: {complaint}");
        }
        for words in [&["nonsense"][..], &["run", "--nonsense", "a.c"], &["run", "--mode", "x", "a.c"]] {
            assert_eq!(complaint_of(words), None, "{words:?}");
        }
    }

    #[test]
    fn the_argument_that_is_no_text_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        // A file's name may be any bytes; a pattern is a text.
        let line = vec!["arenascope".into(), "log".into(), bytes(b"t\xff"), "--arena".into(), bytes(b"p\xff")];
        let complaint = complaint(&parse(line.clone()).expect_err("no text"), &line).expect("a complaint of ours");
        assert!(complaint.to_string().starts_with("argument 4 is not UTF-8: p"), "{complaint}");
    }

    #[test]
    fn lists_split_at_commas_and_unknown_flags_are_usage_errors() {
        assert_eq!(run(&["--fail-on", "never-stored,null-used", "a.c"]).fail_on, ["never-stored", "null-used"]);
        let error = parse(["arenascope", "log", "--nonsense"].map(OsString::from)).expect_err("no such flag");
        assert_eq!(error.exit_code(), 2);
        let help = parse(["arenascope", "run", "--help"].map(OsString::from)).expect_err("help is told as an error");
        assert_eq!(help.exit_code(), 0);
    }
}
