//! Key files: made, read, and put under a passphrase or taken out again.
//!
//! A file has one of two forms. Text before a PEM block, and whatever follows the digits, is for people.
//!
//! ```text
//! 64 hex digits                            the RFC 8032 seed
//! -----BEGIN ENCRYPTED PRIVATE KEY-----    PKCS#8 under PBES2, with scrypt or PBKDF2: what openssl reads and writes
//! ```
//!
//! **Invariant:** nothing is read from a file that others than its owner may open, and none is made that they may.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::{EncodePrivateKey, KeypairBytes, PrivateKeyInfoRef};
use pkcs8::der::SecretDocument;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::pem::PemLabel;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{EncryptionScheme as Cipher, Kdf, Parameters, Salt, ScryptParams};
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding};
use writ_log::files;
use zeroize::Zeroizing;

use writ_schemas::errors::Code;
use writ_schemas::ids::{KeyId, hex, unhex};
use writ_schemas::keys::SecretKey;

use crate::error::{Failure, Result};
use crate::folder::{random, sync_folder};

/// The longest key file that is read, in bytes: a PEM block is about 400, and there is room for a person's notes.
const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// The longest passphrase, in bytes.
const PASSPHRASE_BYTES_MAX: u64 = 1024;

/// What a new file costs to open: scrypt with 16 MiB, five times over, which is one of the settings that OWASP asks for. Twice
/// the memory is more than openssl allows by itself (`SCRYPT_MAX_MEM`).
const SCRYPT_N: u64 = 1 << 14;
const SCRYPT_R: u16 = 8;
const SCRYPT_P: u16 = 5;

/// The most memory that a file may ask for, in bytes: scrypt takes 128 N r, and 128 r p.
const SCRYPT_BYTES_MAX: u64 = 256 << 20;

/// The most work that a file may ask for, as N r p: about two seconds.
const SCRYPT_WORK_MAX: u64 = 1 << 22;

/// The same for PBKDF2.
const PBKDF2_ROUNDS_MAX: u32 = 10_000_000;

/// What opens encrypted key files. Wiped when dropped.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// The first line of a file that only its owner may open.
    ///
    /// # Errors
    /// `ERR_KEY_FILE` if it cannot be read, others may open it, or its first line is empty or longer than 1 KiB.
    pub fn read(path: &Path) -> Result<Passphrase> {
        let text = read_private(path, PASSPHRASE_BYTES_MAX)?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Passphrase(Zeroizing::new(line.to_owned()))),
            _ => Err(refuse(path, "its first line is to be the passphrase, and is empty")),
        }
    }
}

/// Reads a key file. `passphrase` finds the file that opens it, and is asked only if it is encrypted.
///
/// # Errors
/// `ERR_KEY_FILE` if it cannot be read, is no key, others may open it, or the passphrase is missing or another one.
pub fn read(path: &Path, passphrase: impl FnOnce() -> Result<Option<PathBuf>>) -> Result<SecretKey> {
    let text = read_private(path, KEY_FILE_BYTES_MAX)?;
    let seed = if is_encrypted(&text) {
        let Some(passphrase) = passphrase()? else {
            let why = "it is encrypted: name the file of its passphrase in WRIT_PASSPHRASE_FILE, or in writ.toml as \
                       passphrase_file";
            return Err(refuse(path, why));
        };
        open(path, &text, &Passphrase::read(&passphrase)?)?
    } else {
        plain(path, &text)?
    };
    Ok(SecretKey::from_seed(&seed))
}

/// Makes a key and writes it to a new file that only its owner can read. File and name are durable then: what the key is about
/// to sign may outlive a power cut.
///
/// # Errors
/// `ERR_LOG_EXISTS` if the file is there: a key is never overwritten.
pub fn make(path: &Path, passphrase: Option<&Passphrase>) -> Result<SecretKey> {
    make_named(|_| path.to_owned(), passphrase)
}

/// The same in a file whose name depends on the key.
///
/// # Errors
/// As [`make`].
pub fn make_named(name: impl FnOnce(KeyId) -> PathBuf, passphrase: Option<&Passphrase>) -> Result<SecretKey> {
    let seed = Zeroizing::new(random::<32>()?);
    let text = match passphrase {
        Some(passphrase) => encrypted_text(&seed, passphrase)?,
        None => plain_text(&seed),
    };
    let key = SecretKey::from_seed(&seed);
    write_new(&name(key.id()), &text)?;
    Ok(key)
}

/// Puts the key of a plain file under a passphrase. What the disk keeps of the plain one is not wiped.
///
/// # Errors
/// `ERR_KEY_FILE` if it is no plain key file; the operating system's refusal. The file is then as it was.
pub fn encrypt(path: &Path, passphrase: &Passphrase) -> Result<KeyId> {
    let text = read_private(path, KEY_FILE_BYTES_MAX)?;
    if is_encrypted(&text) {
        return Err(refuse(path, "it is encrypted already"));
    }
    let seed = plain(path, &text)?;
    replace(path, &encrypted_text(&seed, passphrase)?)?;
    Ok(SecretKey::from_seed(&seed).id())
}

/// Makes a plain file of an encrypted one.
///
/// # Errors
/// `ERR_KEY_FILE` if it is not encrypted, or not under this passphrase; the operating system's refusal. The file is then as it
/// was.
pub fn decrypt(path: &Path, passphrase: &Passphrase) -> Result<KeyId> {
    let text = read_private(path, KEY_FILE_BYTES_MAX)?;
    if !is_encrypted(&text) {
        return Err(refuse(path, "it is not encrypted"));
    }
    let seed = open(path, &text, passphrase)?;
    replace(path, &plain_text(&seed))?;
    Ok(SecretKey::from_seed(&seed).id())
}

fn refuse(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(Code::KeyFile, format!("{}: {why}", path.display()))
}

/// The text of a file of secrets, asked about the file that is open and not about its name.///
/// # Errors
/// `ERR_KEY_FILE` if it cannot be read, others may open it, or it is longer than `bytes_max`.
pub(crate) fn read_private(path: &Path, bytes_max: u64) -> Result<Zeroizing<String>> {
    let place = path.canonicalize().map_err(|e| refuse(path, e))?;
    let file = files::open(OpenOptions::new().read(true), &place).map_err(|e| refuse(path, e))?;
    let mode = file.metadata().map_err(|e| refuse(path, e))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let why = format!("others than its owner may open it (mode {mode:04o}): chmod 600 {}", path.display());
        return Err(refuse(path, why));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(|e| refuse(path, e))?;
    if u64::try_from(text.len()).is_ok_and(|len| len <= bytes_max) {
        Ok(text)
    } else {
        Err(refuse(path, format!("it is longer than {bytes_max} bytes")))
    }
}

fn is_encrypted(text: &str) -> bool {
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

fn plain(path: &Path, text: &str) -> Result<Zeroizing<[u8; 32]>> {
    let seed = text.lines().next().and_then(|line| unhex::<32>(line.trim()));
    seed.map(Zeroizing::new).ok_or_else(|| refuse(path, "its first line is not 64 hex digits"))
}

fn plain_text(seed: &[u8; 32]) -> Zeroizing<String> {
    let id = SecretKey::from_seed(seed).id();
    Zeroizing::new(format!("{}\n# Ed25519 seed of {id}; keep it secret\n", hex(seed)))
}

fn encrypted_text(seed: &[u8; 32], passphrase: &Passphrase) -> Result<Zeroizing<String>> {
    let id = SecretKey::from_seed(seed).id();
    let (salt, iv) = (random::<16>()?, random::<16>()?);
    let written = || -> pkcs8::Result<Zeroizing<String>> {
        let kdf = Kdf::Scrypt(ScryptParams {
            salt: Salt::new(salt)?,
            cost_parameter: SCRYPT_N,
            block_size: SCRYPT_R,
            parallelization: SCRYPT_P,
            key_length: None,
        });
        let scheme = EncryptionScheme::from(Parameters { kdf, encryption: Cipher::Aes256Cbc { iv } });
        // Without its public half the document is of version 1, the only one that every openssl reads.
        let document = KeypairBytes { secret_key: *seed, public_key: None }.to_pkcs8_der()?;
        let sealed = scheme.encrypt(passphrase.0.as_bytes(), document.as_bytes())?;
        let info =
            EncryptedPrivateKeyInfoRef { encryption_algorithm: scheme, encrypted_data: OctetStringRef::new(&sealed)? };
        let label = <EncryptedPrivateKeyInfoRef<'_> as PemLabel>::PEM_LABEL;
        Ok(SecretDocument::try_from(info)?.to_pem(label, LineEnding::LF)?)
    };
    let pem = written().map_err(|e| Failure::new(Code::KeyFile, format!("{id} cannot be encrypted: {e}")))?;
    Ok(Zeroizing::new(format!("# Ed25519 key of {id}, under a passphrase; keep it secret\n{}", *pem)))
}

/// The seed of an encrypted file, which is a stranger's until the passphrase has opened it: what it asks for is bounded first.
fn open(path: &Path, text: &str, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>> {
    let form = || refuse(path, "it is not an encrypted PKCS#8 key");
    let (_, document) = SecretDocument::from_pem(text).map_err(|_| form())?;
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| form())?;
    if !is_affordable(&info.encryption_algorithm) {
        return Err(refuse(path, "it cannot be opened with as much work as a key file may ask for"));
    }
    let wrong = || refuse(path, "the passphrase does not open it");
    let opened = info.decrypt(passphrase.0.as_bytes()).map_err(|_| wrong())?;
    let key = PrivateKeyInfoRef::try_from(opened.as_bytes()).map_err(|_| wrong())?;
    let key = KeypairBytes::try_from(key).map_err(|_| refuse(path, "what it holds is not an Ed25519 key"))?;
    Ok(Zeroizing::new(key.secret_key))
}

/// Whether opening takes at most seconds and a quarter of a gigabyte. Zero costs are refused, too: they are no costs, and the
/// library does not expect them.
fn is_affordable(scheme: &EncryptionScheme) -> bool {
    let Some(parameters) = scheme.pbes2() else { return false };
    match &parameters.kdf {
        Kdf::Scrypt(it) => {
            let (n, r, p) = (it.cost_parameter, u64::from(it.block_size), u64::from(it.parallelization));
            let bytes = |of: u64| r.saturating_mul(of).saturating_mul(128);
            n >= 2
                && n.is_power_of_two()
                && r >= 1
                && p >= 1
                && bytes(n) <= SCRYPT_BYTES_MAX
                && bytes(p) <= SCRYPT_BYTES_MAX
                && n.saturating_mul(r).saturating_mul(p) <= SCRYPT_WORK_MAX
        }
        Kdf::Pbkdf2(it) => (1..=PBKDF2_ROUNDS_MAX).contains(&it.iteration_count),
        _ => false,
    }
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    files::write_new(path, text.as_bytes()).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => Failure::new(Code::LogExists, path.display()),
        _ => Failure::io(path, &e),
    })?;
    sync_folder(folder_of(path))
}

/// The file behind a name, with new content or with the old one, whatever happens. A link stays a link.
fn replace(path: &Path, text: &str) -> Result<()> {
    let place = path.canonicalize().map_err(|e| Failure::io(path, &e))?;
    let mut unfinished = place.clone().into_os_string();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    // What an earlier attempt left half-way is nobody's.
    let _ = std::fs::remove_file(&unfinished);
    let written = write_new(&unfinished, text).and_then(|()| {
        let meta = std::fs::metadata(&place).map_err(|e| Failure::io(&place, &e))?;
        let owned = std::os::unix::fs::chown(&unfinished, Some(meta.uid()), Some(meta.gid()));
        owned.and_then(|()| std::fs::rename(&unfinished, &place)).map_err(|e| Failure::io(&place, &e))
    });
    written.inspect_err(|_| drop(std::fs::remove_file(&unfinished)))?;
    sync_folder(folder_of(&place))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
