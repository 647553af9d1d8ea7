//! Key files: who may open them, and what a passphrase keeps shut.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use pkcs8::der::SecretDocument;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{EncryptionScheme as Cipher, Kdf, Parameters, Pbkdf2Params, Pbkdf2Prf, Salt, ScryptParams};
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding};
use writ_schemas::errors::Code;

use crate::scene::{Run, Scene, WRIT, finish, holds, note, writ};

const KEYS: [&str; 5] = ["operator.key", "decision.key", "checkpoint.key", "producer.key", "approver.key"];

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

/// A file that only its owner may open.
fn secret(scene: &Scene, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = scene.file(name, content);
    chmod(&path, 0o600);
    path
}

/// The run, which must have been refused for a key file.
#[track_caller]
fn refused(run: Run, why: &str) {
    let entry = Code::KeyFile.entry();
    let run = run.ended(i32::from(entry.exit));
    let told = [entry.code, entry.remedy, why].iter().all(|it| run.err.contains(it));
    assert!(told && !run.err.contains("panicked"), "{why:?} is not told: {}", run.err);
}

/// Submits a note that the producer's key signs, with the passphrase's file in the environment.
fn submit(scene: &Scene, id: &str, passphrase: Option<&str>) -> Run {
    let mut command = Command::new(WRIT);
    command.args(["submit", "--data", scene.data()]);
    passphrase.map(|path| command.env("WRIT_PASSPHRASE_FILE", path));
    finish(&mut command, note(id).to_string().as_bytes())
}

fn encrypt_all(scene: &Scene, passphrase: &str) {
    let files = KEYS.map(|file| scene.inside("keys").join(file).to_string_lossy().into_owned());
    let files = files.iter().map(String::as_str);
    writ(["key", "encrypt", "--passphrase-file", passphrase].into_iter().chain(files)).ended(0);
}

#[test]
fn what_is_made_is_for_its_owner_only() {
    let scene = Scene::new();
    for file in KEYS {
        assert_eq!(mode(scene.inside("keys").join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(scene.inside("keys")), 0o700);
    let passphrase = secret(&scene, "passphrase", "correct horse\n");
    let (plain, sealed) = (scene.dir.path().join("plain.key"), scene.dir.path().join("sealed.key"));
    writ(["key", "new", &plain.to_string_lossy()]).ended(0);
    writ(["key", "new", "--passphrase-file", &passphrase, &sealed.to_string_lossy()]).ended(0);
    writ(["key", "encrypt", "--passphrase-file", &passphrase, &plain.to_string_lossy()]).ended(0);
    assert_eq!((mode(plain), mode(sealed)), (0o600, 0o600));
}

#[test]
fn a_key_file_that_others_may_open_is_refused_with_the_remedy() {
    let scene = Scene::new();
    for (at, mode) in [0o640, 0o604, 0o660, 0o602, 0o610, 0o644, 0o777].into_iter().enumerate() {
        for file in ["decision.key", "checkpoint.key", "producer.key"] {
            let path = scene.inside("keys").join(file);
            chmod(&path, mode);
            refused(submit(&scene, "shut", None), &format!("chmod 600 {}", path.display()));
            chmod(&path, 0o600);
        }
        submit(&scene, &format!("open-{at}"), None).ended(0);
    }
    chmod(scene.inside("keys/operator.key"), 0o644);
    refused(writ(["freeze", "--data", scene.data(), "--reason", "r"]), "chmod 600");
    chmod(scene.inside("keys/approver.key"), 0o644);
    refused(writ(["evidence", "add", "--data", scene.data(), "--tenant", "acme", "--kind", "ticket"]), "chmod 600");
    holds(scene.data());
}

/// The whole ledger under a passphrase, by the environment and by writ.toml, and back: the files are then what they were.
#[test]
fn a_ledger_works_under_a_passphrase_and_not_without_it() {
    let scene = Scene::new();
    let files = || KEYS.map(|file| fs::read_to_string(scene.inside("keys").join(file)).expect("a key file"));
    let before = files();
    let passphrase = secret(&scene, "passphrase", "correct horse\nand what follows is not part of it\n");
    encrypt_all(&scene, &passphrase);
    for (plain, sealed) in before.iter().zip(files()) {
        let seed = plain.lines().next().expect("a seed");
        assert!(sealed.contains("BEGIN ENCRYPTED PRIVATE KEY") && !sealed.contains(seed));
    }

    refused(submit(&scene, "a", None), "WRIT_PASSPHRASE_FILE");
    refused(submit(&scene, "a", Some(&secret(&scene, "wrong", "correct horsf\n"))), "the passphrase does not open it");
    refused(submit(&scene, "a", Some(&secret(&scene, "empty", "\nsecond line"))), "empty");
    refused(submit(&scene, "a", Some(&secret(&scene, "long", "x".repeat(1025)))), "longer than 1024 bytes");
    refused(submit(&scene, "a", Some("/nowhere/passphrase")), "/nowhere/passphrase");
    chmod(&passphrase, 0o640);
    refused(submit(&scene, "a", Some(&passphrase)), &format!("chmod 600 {passphrase}"));
    chmod(&passphrase, 0o600);
    submit(&scene, "a", Some(&passphrase)).ended(0);

    // A relative name in writ.toml begins at the folder; the environment goes before it.
    scene.configure("passphrase_file = \"../passphrase\"\n");
    submit(&scene, "b", None).ended(0);
    refused(submit(&scene, "c", Some(&secret(&scene, "wrong", "no\n"))), "the passphrase does not open it");
    writ(["freeze", "--data", scene.data(), "--reason", "r"]).ended(0);
    let key = scene.inside("keys/producer.key").to_string_lossy().into_owned();
    writ(["submit", "--data", scene.data(), "--key", &key, &scene.file("d.jsonl", note("d").to_string())]).ended(1);
    holds(scene.data());

    let sealed = scene.inside("keys/operator.key").to_string_lossy().into_owned();
    refused(writ(["key", "encrypt", "--passphrase-file", &passphrase, &sealed]), "encrypted already");
    for file in KEYS {
        let path = scene.inside("keys").join(file).to_string_lossy().into_owned();
        writ(["key", "decrypt", "--passphrase-file", &passphrase, &path]).ended(0);
    }
    assert_eq!(files(), before);
    refused(writ(["key", "decrypt", "--passphrase-file", &passphrase, &sealed]), "not encrypted");
    let told = writ(["key", "decrypt", &sealed]).ended(2);
    assert!(told.err.contains("ERR_USAGE") && told.err.contains("--passphrase-file"), "{}", told.err);
}

/// A link is followed, and stays: what it points to is encrypted.
#[test]
fn encrypting_a_link_leaves_no_plain_key_behind_it() {
    let scene = Scene::bare();
    let passphrase = secret(&scene, "passphrase", "p\n");
    let (real, link) = (scene.dir.path().join("real.key"), scene.dir.path().join("link.key"));
    writ(["key", "new", &real.to_string_lossy()]).ended(0);
    std::os::unix::fs::symlink(&real, &link).expect("a link");
    writ(["key", "encrypt", "--passphrase-file", &passphrase, &link.to_string_lossy()]).ended(0);
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert!(fs::read_to_string(&real).expect("reads").contains("BEGIN ENCRYPTED PRIVATE KEY"));
    let left: Vec<_> =
        fs::read_dir(scene.dir.path()).expect("lists").map(|it| it.expect("an entry").file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

/// The PEM of a file that asks for this, around bytes that are no key.
fn asking(kdf: Kdf) -> String {
    let scheme = EncryptionScheme::from(Parameters { kdf, encryption: Cipher::Aes256Cbc { iv: [7; 16] } });
    let encrypted_data = OctetStringRef::new(&[0x5a; 64]).expect("bytes");
    let info = EncryptedPrivateKeyInfoRef { encryption_algorithm: scheme, encrypted_data };
    let document = SecretDocument::try_from(info).expect("DER");
    document.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).expect("PEM").to_string()
}

fn scrypt(cost_parameter: u64, block_size: u16, parallelization: u16) -> Kdf {
    let salt = Salt::new([7; 16]).expect("a salt");
    Kdf::Scrypt(ScryptParams { salt, cost_parameter, block_size, parallelization, key_length: None })
}

fn pbkdf2(iteration_count: u32, prf: Pbkdf2Prf) -> Kdf {
    let salt = Salt::new([7; 16]).expect("a salt");
    Kdf::Pbkdf2(Pbkdf2Params { salt, iteration_count, key_length: None, prf })
}

/// A key file of a stranger costs no minutes and no gigabytes, and stops nothing.
#[test]
fn a_hostile_key_file_is_refused_before_it_costs_anything() {
    let scene = Scene::new();
    let passphrase = secret(&scene, "passphrase", "p\n");
    let (too_much, wrong) = ("as much work as a key file may ask for", "the passphrase does not open it");
    let form = "it is not an encrypted PKCS#8 key";
    let sha256 = Pbkdf2Prf::HmacWithSha256;
    let fair = asking(scrypt(1 << 14, 8, 1));
    let rows = [
        ("fair, and not a key", fair.clone(), wrong),
        ("openssl's PBKDF2, and not a key", asking(pbkdf2(2048, sha256)), wrong),
        ("4 GiB", asking(scrypt(1 << 22, 8, 1)), too_much),
        ("everything there is", asking(scrypt(1 << 63, u16::MAX, u16::MAX)), too_much),
        ("N = 0", asking(scrypt(0, 8, 1)), too_much),
        ("N = 1", asking(scrypt(1, 8, 1)), too_much),
        ("N = 3", asking(scrypt(3, 8, 1)), too_much),
        ("r = 0", asking(scrypt(1 << 14, 0, 1)), too_much),
        ("p = 0", asking(scrypt(1 << 14, 8, 0)), too_much),
        ("p at its largest", asking(scrypt(1 << 14, 8, u16::MAX)), too_much),
        ("p r at their largest", asking(scrypt(2, u16::MAX, u16::MAX)), too_much),
        ("PBKDF2 for an hour", asking(pbkdf2(u32::MAX, sha256)), too_much),
        ("PBKDF2 for nothing", asking(pbkdf2(0, sha256)), too_much),
        ("PBKDF2 with SHA-1", asking(pbkdf2(2048, Pbkdf2Prf::HmacWithSha1)), wrong),
        ("half of it", fair.chars().take(fair.len() / 2).collect(), form),
        ("another label", fair.replace("END ENCRYPTED", "END"), form),
        (
            "no DER",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned(),
            form,
        ),
        ("a file without end", "0".repeat(20_000), "longer than 16384 bytes"),
    ];
    for (name, text, why) in rows {
        fs::write(scene.inside("keys/producer.key"), text).expect("writes");
        eprintln!("{name}");
        refused(submit(&scene, "x", Some(&passphrase)), why);
    }
}

/// What openssl reads is our key, and what openssl wrote is read.
#[test]
fn openssl_reads_what_is_encrypted_here_and_the_other_way_round() {
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os("WRIT_REQUIRE_ALL").is_none(), "openssl is needed");
        eprintln!("SKIPPED: openssl is not installed, so nobody else was asked to read an encrypted key");
        return;
    }
    let scene = Scene::bare();
    // openssl takes a second passphrase from the second line.
    let passphrase = secret(&scene, "passphrase", "correct horse\ncorrect horse\n");
    let path = |name: &str| scene.dir.path().join(name).to_string_lossy().into_owned();
    let openssl = |args: &[&str]| finish(Command::new("openssl").args(args), b"").ended(0);
    let from_file = format!("file:{passphrase}");

    let id = writ(["key", "new", "--passphrase-file", &passphrase, &path("ours.key")]).ended(0).out;
    let (ours, public) = (path("ours.key"), path("public.der"));
    openssl(&["pkey", "-in", &ours, "-passin", &from_file, "-pubout", "-outform", "DER", "-out", &public]);
    let public = fs::read(public).expect("a public key");
    let raw: [u8; 32] = public[public.len() - 32..].try_into().expect("32 bytes");
    assert_eq!(format!("ed25519:{}", writ_schemas::ids::hex(&raw)), id.trim());

    for (name, how) in [
        ("pbkdf2.key", &["-v2", "aes-256-cbc"][..]),
        ("more.key", &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512", "-iter", "100000"][..]),
        ("scrypt.key", &["-scrypt"][..]),
    ] {
        let theirs = path(name);
        let (passin, passout) = (["-passin", &from_file], ["-passout", &from_file]);
        let common = ["pkcs8", "-topk8", "-in", &ours, "-out", &theirs];
        openssl(&[&common[..], &passin, &passout, how].concat());
        chmod(&theirs, 0o600);
        let told = writ(["key", "decrypt", "--passphrase-file", &passphrase, &theirs]).ended(0);
        assert!(told.out.starts_with(id.trim()), "{name}: {}", told.out);
    }
}
