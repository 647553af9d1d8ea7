//! Every property over every input that is kept: the seeds, and whatever once broke something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use writ_properties::{ALL, Property};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

fn holds((target, check): Property) {
    let folder = fuzz().join("corpus").join(target);
    let inputs = names(&folder);
    assert!(inputs.len() > 5, "{target} has {} inputs", inputs.len());
    let broken: Vec<String> = inputs
        .into_iter()
        .filter(|input| {
            let bytes = fs::read(folder.join(input)).expect("an input");
            catch_unwind(|| check(&bytes)).is_err()
        })
        .collect();
    assert!(broken.is_empty(), "fuzz/corpus/{target}: broken by {broken:?}");
}

fn property(target: &str) -> Property {
    *ALL.iter().find(|(name, _)| *name == target).expect("a property")
}

#[test]
fn envelope() {
    holds(property("envelope"));
}

#[test]
fn payload() {
    holds(property("payload"));
}

#[test]
fn segment() {
    holds(property("segment"));
}

#[test]
fn decide() {
    holds(property("decide"));
}

#[test]
fn policy() {
    holds(property("policy"));
}

#[test]
fn every_property_has_its_fuzz_target_and_its_inputs() {
    let known: BTreeSet<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("corpus")), known);
    let target = |file: String| file.strip_suffix(".rs").map(str::to_owned);
    let targets: BTreeSet<String> = names(&fuzz().join("fuzz_targets")).into_iter().filter_map(target).collect();
    assert_eq!(targets, known);
}
