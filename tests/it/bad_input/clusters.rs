//! What may be wrong with the `[kafka]` table, before any broker is asked.

use std::os::unix::fs::PermissionsExt;

use writ_schemas::errors::Code;

use super::{Row, row};
use crate::scene::{Run, Scene, writ};

/// Serves with this in the table of every client. There is nobody at the address: whatever is not told before it is asked is told as that.
fn serve(it: &Scene, client: &str) -> Run {
    it.configure(&format!("[kafka]\nbootstrap = \"127.0.0.1:1\"\n[kafka.client]\n{client}\n"));
    let run = writ(["serve", "--data", it.data()]);
    assert!(!format!("{run:?}").contains("hunter2"), "{run:?}");
    run
}

/// The same with a password in a file of this content and mode.
fn password(it: &Scene, content: &str, mode: u32) -> Run {
    let path = it.file("password", content);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("sets");
    serve(it, &format!("\"sasl.password\" = {{ file = \"{path}\" }}"))
}

pub(super) const ROWS: &[Row] = &[
    row("a secret whose file is missing", Code::Secret, |it| serve(it, "\"sasl.password\" = { file = \"nowhere\" }")),
    row("a secret whose file is empty", Code::Secret, |it| password(it, "", 0o600)),
    row("a secret whose file has only a line break", Code::Secret, |it| password(it, "\n", 0o600)),
    row("a secret that others may read", Code::Secret, |it| password(it, "hunter2", 0o644)),
    row("a secret in a variable that is not set", Code::Secret, |it| {
        serve(it, "\"sasl.password\" = { env = \"WRIT_NOT_SET\" }")
    }),
    row("a secret by a command that fails", Code::Secret, |it| {
        serve(it, "\"sasl.password\" = { command = [\"sh\", \"-c\", \"echo hunter2; exit 1\"] }")
    }),
    row("a secret by a command, in a file that others may write", Code::Config, |it| {
        let text = "[kafka]\nbootstrap = \"127.0.0.1:1\"\n[kafka.client]\n\"sasl.password\" = { command = [\"echo\", \"x\"] }\n";
        it.configure(text);
        std::fs::set_permissions(it.inside("writ.toml"), std::fs::Permissions::from_mode(0o622)).expect("sets");
        writ(["serve", "--data", it.data()])
    }),
    row("a secret that stands in the configuration", Code::Config, |it| serve(it, "\"sasl.password\" = \"hunter2\"")),
    row("a secret that stands there without quotes", Code::Config, |it| serve(it, "\"sasl.password\" = hunter2")),
    row("a secret under a name that there is not", Code::Config, |it| {
        serve(it, "\"sasl.password\" = { flie = \"hunter2\" }")
    }),
    row("a property that librdkafka does not know", Code::Config, |it| serve(it, "\"sasl.pasword\" = \"x\"")),
    row("a value that librdkafka does not take", Code::Config, |it| serve(it, "\"security.protocol\" = \"SLL\"")),
    row("a property that is ours", Code::Config, |it| serve(it, "\"group.id\" = \"x\"")),
    row("an authority that is none", Code::Config, |it| {
        let file = it.file("ca.pem", "not a certificate\n");
        serve(it, &format!("\"security.protocol\" = \"SSL\"\n\"ssl.ca.location\" = \"{file}\""))
    }),
    row("an authority that is missing", Code::Config, |it| {
        serve(it, "\"security.protocol\" = \"SSL\"\n\"ssl.ca.location\" = \"/nowhere/ca.pem\"")
    }),
    row("a table without bootstrap servers", Code::Config, |it| {
        it.configure("[kafka]\nprefix = \"x.\"\n");
        writ(["serve", "--data", it.data()])
    }),
    row("a file without a table", Code::Config, |it| {
        let file = it.file("kafka.toml", "http = \"127.0.0.1:0\"\n");
        let line = it.file("intents.jsonl", "{}");
        writ(["submit", "--kafka-config", &file, &line])
    }),
    row("a file that is missing, with a table", Code::Config, |it| {
        let fresh = it.dir.path().join("fresh");
        writ(["init", "--data", &fresh.to_string_lossy(), "--kafka-config", "/nowhere/kafka.toml"])
    }),
    row("bootstrap servers as they were said before", Code::Config, |it| {
        it.configure("kafka = \"127.0.0.1:1\"\n");
        writ(["serve", "--data", it.data()])
    }),
];
