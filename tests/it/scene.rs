//! The real binary at work on a ledger in a scratch folder: what it printed, and how it ended.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use writ::clock::{Clock, Stopwatch};
use writ::folder::Folder;
use writ::query::Library;
use writ::replay::replay;
use writ::verify::{Pins, verify};
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::ids::{LedgerId, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;

/// The binary under test.
pub(crate) const WRIT: &str = env!("CARGO_BIN_EXE_writ");

/// A command that takes longer hangs. The slowest one waits for a Kafka that is not there.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a command printed, and how it ended.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Its exit status; 128 and more after a signal.
    pub(crate) status: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Run {
    /// The run, which must have ended so.
    #[track_caller]
    pub(crate) fn ended(self, status: i32) -> Run {
        assert_eq!(self.status, status, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Every line of standard output as JSON.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}\nstderr: {}", self.err));
        self.out.lines().map(parse).collect()
    }

    /// The one line of standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "one line of JSON: {}\nstderr: {}", self.out, self.err);
        lines.pop().unwrap_or_default()
    }
}

/// Runs `writ` without input.
pub(crate) fn writ<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    finish(Command::new(WRIT).args(args), b"")
}

/// Runs `writ` with this on standard input.
pub(crate) fn writ_reading<S: AsRef<OsStr>>(input: &[u8], args: impl IntoIterator<Item = S>) -> Run {
    finish(Command::new(WRIT).args(args), input)
}

/// Runs a command to its end, or fails if it hangs.
pub(crate) fn finish(command: &mut Command, input: &[u8]) -> Run {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("WRIT_LOG").env("RUST_BACKTRACE", "1");
    let mut child = command.spawn().expect("it starts");
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let watch = Stopwatch::start();
    std::thread::scope(|scope| {
        // A command that refuses early closes its input: a broken pipe is no surprise.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
        let out = scope.spawn(move || text(stdout));
        let err = scope.spawn(move || text(stderr));
        let status = loop {
            match child.try_wait().expect("a child") {
                Some(status) => break status,
                None if watch.elapsed() > PATIENCE => {
                    let _ = child.kill();
                    let _ = child.wait();
                    panic!("hangs: {command:?}");
                }
                None => std::thread::sleep(Duration::from_millis(3)),
            }
        };
        let signal = || std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or_default();
        let status = status.code().unwrap_or_else(|| 128 + signal());
        Run { status, out: out.join().expect("read"), err: err.join().expect("read") }
    })
}

fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).expect("a pipe");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A ledger in a scratch folder.
pub(crate) struct Scene {
    /// Room for whatever a test needs beside the ledger. Removed with the scene.
    pub(crate) dir: TempDir,
}

impl Scene {
    /// A new ledger with the example policy, three notes that passed and a refund that did not.
    pub(crate) fn new() -> Scene {
        let scene = Scene::bare();
        writ(init(scene.data())).ended(0);
        let lines = [note("n-1"), note("n-2"), note("n-3"), refund("r-1", 100, &[])].map(|it| it.to_string());
        scene.submit(lines.join("\n").as_bytes(), &[]).ended(1);
        scene
    }

    /// A folder without a ledger.
    pub(crate) fn bare() -> Scene {
        Scene { dir: tempfile::tempdir().expect("a folder") }
    }

    /// A copy of the ledger, in a scene of its own.
    pub(crate) fn again(&self) -> Scene {
        let copy = Scene::bare();
        copy_folder(Path::new(self.data()), Path::new(copy.data()));
        copy
    }

    /// The folder of the ledger.
    pub(crate) fn data(&self) -> &str {
        // Leaked texts are a few bytes a test, and rows read like commands.
        Box::leak(self.dir.path().join("ledger").to_string_lossy().into_owned().into_boxed_str())
    }

    /// A path in the ledger's folder.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        Path::new(self.data()).join(path)
    }

    /// Writes a file beside the ledger.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, content).expect("a file");
        path.to_string_lossy().into_owned()
    }

    /// Makes a policy bundle beside the ledger.
    pub(crate) fn policy(&self, content: impl AsRef<[u8]>) -> String {
        let dir = self.dir.path().join("bundle");
        fs::create_dir_all(&dir).expect("a folder");
        fs::write(dir.join("policy.json"), content).expect("a file");
        dir.to_string_lossy().into_owned()
    }

    /// Changes the ledger's configuration; see [`configure`].
    pub(crate) fn configure(&self, text: &str) {
        configure(Path::new(self.data()), text);
    }

    /// Submits these lines to the ledger.
    pub(crate) fn submit(&self, lines: &[u8], more: &[&str]) -> Run {
        writ_reading(lines, ["submit", "--data", self.data()].iter().chain(more))
    }

    /// One of the ledger's keys.
    pub(crate) fn key(&self, file: &str) -> SecretKey {
        writ::keyfile::read(&self.inside("keys").join(file), || Ok(None)).expect("a key")
    }

    /// The ledger's id.
    pub(crate) fn ledger(&self) -> LedgerId {
        writ::ledger::genesis(&writ::folder::Folder::at(self.data())).expect("a genesis").ledger
    }
}

/// The arguments of `writ init` for a ledger of tests. Its segments are as small as may be: whatever writes a little crosses one,
/// and costs what it wrote.
pub(crate) fn init(data: &str) -> [&str; 5] {
    ["init", "--segment-bytes", "65536", "--data", data]
}

/// Changes the configuration of a ledger of tests. `text` may begin with keys that belong to no table.
pub(crate) fn configure(folder: &Path, text: &str) {
    fs::write(folder.join("writ.toml"), format!("{text}\n[log]\nsegment_bytes = 65536\n")).expect("a file");
}

/// Copies a folder. Zeros at a file's end become a hole, so a copy costs what was used.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            let bytes = fs::read(&from).expect("a file");
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            fs::write(&to, bytes.get(..used).unwrap_or_default()).expect("a file");
            let file = fs::OpenOptions::new().write(true).open(&to).expect("a file");
            file.set_len(u64::try_from(bytes.len()).expect("a length")).expect("a length");
            fs::set_permissions(&to, fs::metadata(&from).expect("a file").permissions()).expect("permissions");
        }
    }
}

/// Whoever looks finds that everything was decided as the log says.
#[track_caller]
pub(crate) fn holds(data: impl AsRef<Path>) {
    holds_or(data).unwrap_or_else(|why| panic!("{why}"));
}

/// The same, and what does not hold.
pub(crate) fn holds_or(data: impl AsRef<Path>) -> Result<(), String> {
    let folder = Folder::at(data.as_ref());
    let verified = verify(&folder, &Pins::default(), &mut |_| {}).map_err(|e| e.to_string())?;
    let replayed = replay(&folder, &Pins::default(), None, &mut |_| {}).map_err(|e| e.to_string())?;
    match (verified.ok, replayed.verified.ok, &replayed.divergence) {
        (true, true, None) => Ok(()),
        _ => Err(format!("{:?} {:?}", verified.broken, replayed.divergence)),
    }
}

/// What became of an id of a ledger that nobody serves.
pub(crate) fn case(data: &str, tenant: &str, id: &str) -> Result<Value, String> {
    let name = |text: &str| text.parse().map_err(|e| format!("{text}: {e:?}"));
    let library = Library::open(&Folder::at(data)).map_err(|e| e.to_string())?;
    library.case(&name(tenant)?, &name(id)?).map_err(|e| e.to_string())
}

/// Waits until something is so, or fails if it takes too long.
#[track_caller]
pub(crate) fn within(what: &str, mut is_so: impl FnMut() -> bool) {
    let watch = Stopwatch::start();
    while !is_so() {
        assert!(watch.elapsed() < PATIENCE, "still without {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Now, and later or earlier by so many hours.
pub(crate) fn hours_ahead(hours: i64) -> UnixMicros {
    let micros = hours.saturating_mul(3_600_000_000);
    UnixMicros(Clock::Wall.now().0.saturating_add_signed(micros))
}

/// An intent of the example producer that passes.
pub(crate) fn note(id: &str) -> Value {
    json!({
        "tenant": "acme", "id": id, "principal": "agent-1", "action": "notes.add",
        "args": { "text": "hello" }, "expires_at": hours_ahead(1),
    })
}

/// An intent of the example producer that needs evidence and a budget.
pub(crate) fn refund(id: &str, cents: u64, evidence: &[&str]) -> Value {
    let mut intent = note(id);
    intent["action"] = json!("payments.refund");
    intent["args"] = json!({ "amount_cents": cents });
    if !evidence.is_empty() {
        intent["evidence"] = json!(evidence);
    }
    intent
}

/// An intent with one field changed.
pub(crate) fn with(mut intent: Value, field: &str, value: Value) -> Value {
    intent[field] = value;
    intent
}

/// The envelope of an intent, signed by `key`.
pub(crate) fn signed(intent: &Value, key: &SecretKey) -> Vec<u8> {
    let intent: Intent = serde_json::from_value(intent.clone()).expect("an intent");
    Signed::unsigned(intent).expect("JSON").sign(key).to_envelope()
}

/// The envelope of any bytes, signed by `key` as if they were a document of this kind.
pub(crate) fn signed_bytes<T: Document>(payload: &[u8], key: &SecretKey) -> Vec<u8> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let message = writ_schemas::dsse::pae(T::PAYLOAD_TYPE, payload);
    let envelope = json!({
        "payload": STANDARD.encode(payload),
        "payloadType": T::PAYLOAD_TYPE,
        "signatures": [{ "keyid": key.id().to_string(), "sig": STANDARD.encode(key.sign(&message)) }],
    });
    envelope.to_string().into_bytes()
}

/// Sends a process a signal.
pub(crate) fn signal(child: &Child, name: &str) {
    let told = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().expect("kill runs");
    assert!(told.success(), "{told}");
}

/// A ledger that is being served. The process ends with this value.
pub(crate) struct Served {
    child: Child,
    /// The address of its HTTP.
    pub(crate) http: String,
}

impl Served {
    /// Serves the ledger of a scene, on a free port.
    pub(crate) fn new(scene: &Scene) -> Served {
        Served::at(Path::new(scene.data()))
    }

    /// Serves the ledger in this folder, on a free port.
    pub(crate) fn at(folder: &Path) -> Served {
        Served::by(Command::new(WRIT), folder)
    }

    /// The same by this command.
    pub(crate) fn by(command: Command, folder: &Path) -> Served {
        Served::with(command, folder, &[])
    }

    /// The same with more arguments.
    pub(crate) fn with(mut command: Command, folder: &Path, more: &[&str]) -> Served {
        command.args(["serve", "--http", "127.0.0.1:0", "--data"]).arg(folder).args(more).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().expect("a pipe")));
        let http = lines.find_map(|line| line.ok()?.strip_prefix("writ: and on http://").map(str::to_owned));
        std::thread::spawn(move || lines.for_each(drop));
        Served { child, http: http.expect("it says where it listens") }
    }

    /// Sends one request and returns the answer's status and body.
    pub(crate) fn ask(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
        Served::ask_at(&self.http, method, path, content_type, body)
    }

    /// The same at an address that may end while it answers.
    pub(crate) fn ask_at(http: &str, method: &str, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
        let stream = std::net::TcpStream::connect(http).expect("a listener");
        Served::exchange(stream, method, path, content_type, body)
    }

    /// The same on the ledger's socket.
    pub(crate) fn ask_socket(
        scene: &Scene,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> (u16, String) {
        Served::ask_at_socket(&scene.inside("writ.sock"), method, path, content_type, body)
    }

    /// The same at this socket.
    pub(crate) fn ask_at_socket(
        socket: &Path,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> (u16, String) {
        let stream = std::os::unix::net::UnixStream::connect(socket).expect("a socket");
        Served::exchange(stream, method, path, content_type, body)
    }

    fn exchange(
        mut stream: impl Read + Write,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> (u16, String) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // A server that refuses early closes the connection: what it answered before that still counts.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        (status, body.to_owned())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Ends it politely.
    pub(crate) fn stop(self) {
        self.signal("TERM");
        let status = self.ended();
        assert!(status.success(), "{status}");
    }

    /// Waits until it ends by itself.
    pub(crate) fn ended(mut self) -> ExitStatus {
        let watch = Stopwatch::start();
        loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => return status,
                None => assert!(watch.elapsed() < PATIENCE, "hangs: writ serve"),
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
