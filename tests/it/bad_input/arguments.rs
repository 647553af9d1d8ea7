//! Command lines that cannot be understood, and questions about what is not there.

use writ_schemas::errors::Code;

use super::{Row, row};
use crate::scene::{Run, Scene, writ};

pub(super) const ROWS: &[Row] = &[
    row("an unknown command", Code::Usage, |_| writ(["sumbit"])),
    row("an unknown command inside", Code::Usage, |_| writ(["log", "shwo"])),
    row("an unknown flag", Code::Usage, |it| writ(["verify", "--data", it.data(), "--fast"])),
    row("a flag without its value", Code::Usage, |_| writ(["verify", "--data"])),
    row("no folder named", Code::Usage, |_| writ(["verify"])),
    row("nowhere to submit to", Code::Usage, |_| writ(["submit"])),
    row("two places to submit to", Code::Usage, |it| {
        writ(["submit", "--data", it.data(), "--url", "http://127.0.0.1:1"])
    }),
    row("a dry run without a folder", Code::Usage, |_| writ(["submit", "--url", "http://127.0.0.1:1", "--dry-run"])),
    row("patience without a Kafka", Code::Usage, |it| writ(["submit", "--data", it.data(), "--wait", "1"])),
    row("a seq that is no number", Code::Usage, |it| writ(["log", "show", "--data", it.data(), "--from", "first"])),
    row("a negative seq", Code::Usage, |it| writ(["log", "show", "--data", it.data(), "--from=-1"])),
    row("a seq of 2^64", Code::Usage, |it| writ(["replay", "--data", it.data(), "--until", "18446744073709551616"])),
    row("a format that does not exist", Code::Usage, |it| {
        writ(["graph", "show", "--data", it.data(), "acme", "n-1", "--format", "pdf"])
    }),
    row("a tenant that is no name", Code::Usage, |it| writ(["show", "--data", it.data(), "ac me", "n-1"])),
    row("an id that is no name", Code::Usage, |it| writ(["show", "--data", it.data(), "acme", ""])),
    row("a tenant of usage that is no name", Code::Usage, |it| {
        writ(["usage", "show", "--data", it.data(), "--tenant", "a\nb"])
    }),
    row("a role that is no name", Code::Usage, |it| {
        let key = it.key("producer.key").id().to_string();
        writ(["key", "trust", "--data", it.data(), &key, "--tenant", "t", "--principal", "p", "--role", "a b"])
    }),
    row("an argument that is not UTF-8", Code::Usage, |it| {
        use std::os::unix::ffi::OsStrExt;
        let bad = std::ffi::OsStr::from_bytes(b"\xff");
        writ([std::ffi::OsStr::new("show"), "--data".as_ref(), it.data().as_ref(), bad, "n-1".as_ref()])
    }),
    row("an unknown intent", Code::NotFound, |it| both(it, "acme", "nobody")),
    row("an unknown tenant", Code::NotFound, |it| both(it, "nobody", "n-1")),
    row("the key file is there already", Code::LogExists, |it| {
        writ(["key", "new", &it.inside("keys/operator.key").to_string_lossy()])
    }),
    row("a key file in no folder", Code::Io, |_| writ(["key", "new", "/nowhere/agent.key"])),
    row("an act to be written in no folder", Code::Io, |it| {
        let bundle = it.inside("policy");
        writ(["policy", "sign", "--data", it.data(), &bundle.to_string_lossy(), "--out", "/nowhere/act.json"])
    }),
];

/// `show` and `graph show` say the same.
fn both(scene: &Scene, tenant: &str, id: &str) -> Run {
    let shown = writ(["show", "--data", scene.data(), tenant, id]);
    let graph = writ(["graph", "show", "--data", scene.data(), tenant, id]);
    assert_eq!((shown.status, &shown.err), (graph.status, &graph.err));
    shown
}
