//! The registry as people read it: `docs/errors.md` is what `writ errors --markdown` prints.

use std::path::Path;

use writ_schemas::errors::Code;

use crate::scene::writ;

const PAGE: &str = "docs/errors.md";

#[test]
fn the_page_of_errors_is_the_registry() {
    let printed = writ(["errors", "--markdown"]).ended(0).out;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os("WRIT_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &printed).expect("writes");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let line = page.lines().zip(printed.lines()).take_while(|(page, printed)| page == printed).count();
    assert!(
        page == printed,
        "{PAGE}:{}: not what the registry says\n  page:     {}\n  registry: {}\nrun `WRIT_BLESS=1 cargo test --test it -- errors::`, \
         then read the difference in git",
        line + 1,
        page.lines().nth(line).unwrap_or("(end)"),
        printed.lines().nth(line).unwrap_or("(end)"),
    );
}

/// Each code has one row, with what the registry says of it.
#[test]
fn every_code_has_its_row() {
    let printed = writ(["errors", "--markdown"]).ended(0).out;
    let table = writ(["errors"]).ended(0).out;
    for entry in Code::ALL.iter().map(|code| code.entry()) {
        let start = format!("| `{}` |", entry.code);
        let rows: Vec<&str> = printed.lines().filter(|line| line.starts_with(&start)).collect();
        let [row] = rows[..] else { panic!("{}: {} rows", entry.code, rows.len()) };
        let cells: Vec<&str> = row.split(" | ").collect();
        assert_eq!(cells.len(), 6, "{row}");
        assert_eq!((cells[2], cells[3]), (&*entry.http.to_string(), &*entry.exit.to_string()), "{row}");
        assert!(row.contains(entry.message) && row.contains(entry.remedy), "{row}");
        assert!(table.contains(entry.code) && table.contains(entry.remedy), "{}: not in the table", entry.code);
    }
    let rows = printed.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, Code::ALL.len());
}
