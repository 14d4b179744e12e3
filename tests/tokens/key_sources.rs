//! Key sources: what each one reads, what it rejects with which message, and that a failed reload
//! keeps the last good keys.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use kippu::{
    Algorithm, EnvKeys, Jwk, JwkSet, Key, KeyDirectory, KeyFile, KeyFormat, KeySet, KeySource,
    KeySourceError, NumericDate, ReloadedKeys, Validation, base64url, decode, encode,
};
use serde_json::{Value, json};

/// A folder for one test, which is removed after it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kippu-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        set_mode(&path, 0o700);
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes the file under a hidden name and renames it, as the docs recommend.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let hidden = self.path(".new");
        fs::write(&hidden, content).unwrap();
        set_mode(&hidden, 0o600);
        fs::rename(hidden, self.path(name)).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) {}

/// No message contains the letters of a secret here.
fn secret(number: u8) -> [u8; 32] {
    let mut secret = [b'Q'; 32];
    secret[0] = number;
    secret
}

fn jwk(number: u8, kid: &str) -> Jwk {
    Jwk::new(Algorithm::Hs256, secret(number)).unwrap().with_kid(kid)
}

fn hex(number: u8) -> String {
    format!("{number:02x}{}", "51".repeat(31))
}

/// Returns a token of the key that `jwk(number, kid)` describes.
fn token(number: u8, kid: &str) -> String {
    let key = Key::hs256(secret(number)).unwrap().with_kid(kid);
    encode(&json!({ "exp": NumericDate::in_seconds(60) }), &key).unwrap()
}

fn verifies(keys: &KeySet, number: u8, kid: &str) -> bool {
    decode::<Value>(&token(number, kid), &keys, &Validation::new()).is_ok()
}

fn kids(keys: &KeySet) -> Vec<String> {
    keys.kids().map(String::from).collect()
}

/// Returns the error for the operator, which contains no secret in any spelling.
fn refused(source: &impl KeySource) -> String {
    let error = source.load().unwrap_err();
    let message = error.to_string();
    for text in [&message, &format!("{error:?}")] {
        for leak in ["QQQQ", "UVFR", "515151", "81, 81"] {
            assert!(!text.contains(leak), "{leak} in {text}");
        }
    }
    message
}

#[test]
fn a_file_contains_one_key_in_any_format() {
    let folder = Folder::new();
    let formats = [
        ("jwk", jwk(1, "a").expose_json().as_bytes().to_vec(), KeyFormat::Jwk),
        ("hex", hex(1).into_bytes(), KeyFormat::Hex(Algorithm::Hs256)),
        ("b64", base64url::encode(&secret(1)).into(), KeyFormat::Base64url(Algorithm::Hs256)),
    ];
    for (name, content, format) in formats {
        for line_end in ["", "\n", "\r\n"] {
            let content = [&content, line_end.as_bytes()].concat();
            let source = KeyFile::new(folder.write(name, content)).format(format).kid("a");
            let keys = source.load().unwrap();
            assert_eq!(keys.signing_key().unwrap().kid(), Some("a"));
            assert!(verifies(&keys, 1, "a"), "{name} {line_end:?}");
        }
    }
    // All bytes belong to the secret, including the last one.
    let raw = |content: &[u8]| {
        let format = KeyFormat::Raw(Algorithm::Hs256);
        KeyFile::new(folder.write("raw", content)).format(format).kid("a").load().unwrap()
    };
    assert!(verifies(&raw(&secret(1)), 1, "a"));
    assert!(!verifies(&raw(&[&secret(1)[..], b"\n"].concat()), 1, "a"));
}

#[test]
fn a_file_contains_a_jwk_set() {
    let folder = Folder::new();
    let write = |keys: Vec<Jwk>| folder.write("keys", &*JwkSet::new(keys).unwrap().expose_json());
    let source = KeyFile::new(write(vec![jwk(1, "old").verify_only(), jwk(2, "new")]));
    let keys = source.load().unwrap();
    assert_eq!(keys.signing_key().unwrap().kid(), Some("new"));
    assert!(verifies(&keys, 1, "old") && verifies(&keys, 2, "new"));

    let path = write(vec![jwk(1, "old"), jwk(2, "new")]);
    assert_eq!(
        refused(&source),
        format!(
            r#"{path:?}: which key signs, "old" or "new"? All but one need "key_ops":["verify"]"#
        )
    );
    assert_eq!(source.clone().kid("new").load().unwrap().signing_key().unwrap().kid(), Some("new"));
    assert_eq!(
        refused(&source.clone().kid("next")),
        format!(r#"{path:?}: no key of the set has the kid "next", which was chosen to sign"#)
    );
    write(vec![]);
    assert_eq!(refused(&source), format!("{path:?}: the JWK Set has no keys"));
}

#[test]
fn an_invalid_file_is_rejected_with_its_path() {
    let folder = Folder::new();
    let hex = KeyFormat::Hex(Algorithm::Hs256);
    let base64url = KeyFormat::Base64url(Algorithm::Hs256);
    let raw = KeyFormat::Raw(Algorithm::Hs256);
    let bytes = "it looks like bytes: Key::new takes them, in a file KeyFormat::Raw";
    let text = "it looks like text: if its characters are the secret, Key::new takes them, in a file \
                KeyFormat::Text";
    let own = jwk(1, "mine").expose_json();
    let nameless = Jwk::new(Algorithm::Hs256, secret(1)).unwrap().expose_json();
    for (content, format, kid, message) in [
        (&b""[..], KeyFormat::Jwk, None, " is empty"),
        (b"\n", KeyFormat::Jwk, None, " is empty"),
        (b"", hex, Some("a"), " is empty"),
        (b"\r\n", base64url, Some("a"), " is empty"),
        (b"", raw, Some("a"), " is empty"),
        (b"\xffQQQQ", hex, Some("a"), &format!(" is not UTF-8 text; {bytes}")),
        (b"\xff", KeyFormat::Jwk, None, &format!(" is not UTF-8 text; {bytes}")),
        (b"QQQQ", hex, Some("a"), &format!(": the secret is not hex; {text}")),
        (b"QQQQ=", base64url, Some("a"), &format!(": the secret is not base64url; {text}")),
        (
            b"QQQQ",
            raw,
            Some("a"),
            ": HS256 needs a secret of at least 32 random bytes, this one has 4",
        ),
        (
            own.as_bytes(),
            raw,
            Some("a"),
            ": this is the text of a JWK key, not a secret: Jwk::from_json reads it, in a file \
             KeyFormat::Jwk",
        ),
        (b"{}", KeyFormat::Jwk, None, ": the JWK has no kty"),
        (
            own.as_bytes(),
            KeyFormat::Jwk,
            Some("a"),
            r#" holds the key "mine", where "a" is expected"#,
        ),
        (
            nameless.as_bytes(),
            KeyFormat::Jwk,
            None,
            " holds a key without a kid: name it there, or by the source's kid(…)",
        ),
        (
            &secret(1),
            raw,
            None,
            " holds a key without a kid: name it there, or by the source's kid(…)",
        ),
        (
            jwk(1, "a").verify_only().expose_json().as_bytes(),
            KeyFormat::Jwk,
            None,
            r#": no key may sign: the key_ops of each, or of the chosen one, do not contain "sign""#,
        ),
    ] {
        let path = folder.write("key", content);
        let source = KeyFile::new(&path).format(format);
        let source = match kid {
            Some(kid) => source.kid(kid),
            None => source,
        };
        assert_eq!(refused(&source), format!("{path:?}{message}"));
    }
    let half = own.get(..own.len() / 2).unwrap();
    let message = refused(&KeyFile::new(folder.write("key", half)));
    assert!(message.contains("not a strict JSON object"), "{message}");
}

#[test]
fn rejects_all_but_small_regular_files() {
    let folder = Folder::new();
    let missing = folder.path("missing");
    let message = refused(&KeyFile::new(&missing));
    assert!(message.starts_with(&format!("{missing:?} could not be read: ")), "{message}");
    assert_eq!(refused(&KeyFile::new(&folder.0)), format!("{:?} is not a regular file", folder.0));

    // A JSON text of the maximum length is read; one that is a byte longer is not.
    let padded = |length| {
        let jwk = jwk(1, "a").expose_json();
        format!("{}{}", " ".repeat(length - jwk.len()), *jwk)
    };
    let source = KeyFile::new(folder.write("key", padded(64 * 1024)));
    assert!(source.load().is_ok());
    let path = folder.write("key", padded(64 * 1024 + 1));
    let message = format!("{path:?} is larger than 65536 bytes, which no file of keys is");
    assert_eq!(refused(&source), message);
}

#[cfg(unix)]
mod on_unix {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The advice for a file whose mode `chmod` cannot change.
    const MOUNTED: &str = ". For a mounted secret, set mode: 0400 and the uid (Docker Swarm) or defaultMode: 0400 (Kubernetes)";

    #[test]
    fn a_file_that_others_can_read_or_change_is_rejected() {
        let folder = Folder::new();
        let path = folder.write("it's a key.json", &*jwk(1, "a").expose_json());
        let source = KeyFile::new(&path);
        let command = format!(r"chmod 600 '{}/it'\''s a key.json'", folder.0.display());
        for (mode, could) in [
            (0o644, "read"),
            (0o604, "read"),
            (0o444, "read"),
            (0o666, "change"),
            (0o620, "change"),
            (0o602, "change"),
        ] {
            set_mode(&path, mode);
            assert_eq!(
                refused(&source),
                format!(
                    "{path:?} has mode 0{mode:o}: others could {could} it. Run: {command}{MOUNTED}"
                )
            );
        }
        // The permissions of the file count, not those of the link.
        let link = folder.path("link");
        symlink(&path, &link).unwrap();
        let message = refused(&KeyFile::new(&link));
        assert!(message.ends_with(&format!("Run: chmod 600 {}{MOUNTED}", link.display())));
        // The command in the message fixes the problem.
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
        for mode in [0o600, 0o400, 0o440, 0o640] {
            assert!(source.load().is_ok() && KeyFile::new(&link).load().is_ok(), "{mode:o}");
            set_mode(&path, mode);
        }
    }

    /// A secret of Docker Swarm, which has the mode 0444 and cannot be changed.
    #[test]
    fn a_file_that_everyone_can_read_is_read_where_the_risk_is_accepted() {
        let folder = Folder::new();
        let path = folder.write("a.json", &*jwk(1, "a").expose_json());
        let file = || KeyFile::new(&path).dangerously_readable_by_others();
        let directory = || KeyDirectory::new(&folder.0).dangerously_readable_by_others();
        for mode in [0o444, 0o644, 0o604] {
            set_mode(&path, mode);
            assert_eq!(kids(&file().load().unwrap()), ["a"]);
            assert_eq!(kids(&directory().load().unwrap()), ["a"]);
            refused(&KeyFile::new(&path));
            refused(&KeyDirectory::new(&folder.0));
        }
        // A file that others can change is still rejected.
        for mode in [0o666, 0o664, 0o622, 0o602] {
            set_mode(&path, mode);
            for message in [refused(&file()), refused(&directory())] {
                assert!(message.contains("others could change it"), "{message}");
            }
        }
        set_mode(&path, 0o444);
        fs::write(folder.path(".signing"), "a").unwrap();
        set_mode(&folder.path(".signing"), 0o444);
        fs::rename(folder.path(".signing"), folder.path("signing")).unwrap();
        assert_eq!(kids(&directory().load().unwrap()), ["a"]);
        set_mode(&folder.0, 0o777);
        assert!(refused(&directory()).contains("others could add a key to it"));
    }

    #[test]
    fn a_pipe_is_rejected_without_waiting() {
        let folder = Folder::new();
        let pipe = folder.path("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(refused(&KeyFile::new(&pipe)), format!("{pipe:?} is not a regular file"));
        let device = refused(&KeyFile::new("/dev/zero"));
        assert_eq!(device, r#""/dev/zero" is not a regular file"#);
    }

    #[test]
    fn a_directory_to_which_others_can_add_a_key_is_rejected() {
        let folder = Folder::new();
        let path = folder.write("a.json", &*jwk(1, "a").expose_json());
        let source = KeyDirectory::new(&folder.0);
        for mode in [0o770, 0o702, 0o777] {
            set_mode(&folder.0, mode);
            let path = &folder.0;
            assert_eq!(
                refused(&source),
                format!(
                    "{path:?} has mode 0{mode:o}: others could add a key to it. Run: chmod go-w {}",
                    path.display()
                )
            );
        }
        for mode in [0o755, 0o750, 0o1777] {
            set_mode(&folder.0, mode);
            assert!(source.load().is_ok(), "{mode:o}");
        }
        set_mode(&path, 0o644);
        let message = refused(&source);
        assert!(message.ends_with(&format!("Run: chmod 600 {}{MOUNTED}", path.display())));
        set_mode(&path, 0o600);

        // Only root can give a file to another user.
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
            assert_eq!(
                refused(&source),
                format!(
                    "{path:?} belongs to the user 65534, who may write to its directory, as everyone may"
                )
            );
            set_mode(&folder.0, 0o755);
            assert!(source.load().is_ok());
        }
    }

    /// A secret as Kubernetes mounts it: the names are links into `..data`, which is a link that is
    /// replaced.
    struct Mounted<'f> {
        folder: &'f Folder,
        mode: u32,
    }

    impl<'f> Mounted<'f> {
        fn new(folder: &'f Folder, mode: u32) -> Self {
            Self { folder, mode }
        }

        /// Runs the steps of kubelet's `AtomicWriter` in their order.
        fn replace(&self, version: &str, files: &[(&str, &str)]) {
            let path = |name: &str| self.folder.path(name);
            let inner = path(version);
            fs::create_dir(&inner).unwrap();
            for (name, content) in files {
                fs::write(inner.join(name), content).unwrap();
                set_mode(&inner.join(name), self.mode);
            }
            let old = fs::read_link(path("..data")).ok();
            symlink(version, path("..data_tmp")).unwrap();
            fs::rename(path("..data_tmp"), path("..data")).unwrap();
            for (name, _) in files {
                let _ = symlink(Path::new("..data").join(name), path(name));
            }
            for entry in fs::read_dir(&self.folder.0).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if !name.starts_with('.') && !files.iter().any(|(kept, _)| *kept == name) {
                    fs::remove_file(path(&name)).unwrap();
                }
            }
            if let Some(old) = old {
                fs::remove_dir_all(self.folder.0.join(old)).unwrap();
            }
        }

        /// Writes a version with two keys that no other version has. The second one signs.
        fn replace_all(&self, number: u32) {
            let kids = [format!("{number}-old"), format!("{number}-new")];
            let jwks = kids.each_ref().map(|kid| jwk(1, kid).expose_json().to_string());
            let names = kids.each_ref().map(|kid| format!("{kid}.json"));
            self.replace(
                &format!("..version_{number}"),
                &[
                    (names[0].as_str(), jwks[0].as_str()),
                    (names[1].as_str(), jwks[1].as_str()),
                    ("signing", kids[1].as_str()),
                ],
            );
        }
    }

    #[test]
    fn a_mounted_secret_is_read_through_its_links() {
        // With `defaultMode: 0400`, and with the mode that an `fsGroup` sets.
        for (mode, directory_mode) in [(0o400, 0o1777), (0o440, 0o3777), (0o440, 0o2750)] {
            let folder = Folder::new();
            let mounted = Mounted::new(&folder, mode);
            let [one, two] = [1, 2].map(|number| jwk(number, &number.to_string()).expose_json());
            let files = |signing| [("1.json", &**one), ("2.json", &**two), ("signing", signing)];
            mounted.replace("..2026_11_24", &files("1"));
            set_mode(&folder.0, directory_mode);
            let keys = ReloadedKeys::load(KeyDirectory::new(&folder.0)).unwrap();
            let file = KeyFile::new(folder.path("1.json"));
            assert_eq!(kids(&keys.keys().load()), ["1", "2"]);
            assert_eq!(kids(&file.load().unwrap()), ["1"]);
            mounted.replace("..2026_11_25", &files("2"));
            assert!(keys.reload().unwrap());
            assert_eq!(kids(&keys.keys().load()), ["2", "1"]);
            assert_eq!(kids(&file.load().unwrap()), ["1"]);
        }
        // With the default of Kubernetes, 0644, the error shows the setting to change.
        let folder = Folder::new();
        Mounted::new(&folder, 0o644).replace_all(1);
        for message in [
            refused(&KeyDirectory::new(&folder.0)),
            refused(&KeyFile::new(folder.path("1-new.json"))),
        ] {
            assert!(message.contains("has mode 0644") && message.ends_with(MOUNTED), "{message}");
        }
    }

    /// While the secret is replaced as fast as possible, each load has the keys of one version.
    #[test]
    fn a_load_during_the_replacement_of_a_mounted_secret_is_repeated() {
        let folder = Folder::new();
        let mounted = Mounted::new(&folder, 0o400);
        mounted.replace_all(0);
        let (done, is_done) = mpsc::channel();
        let loads = std::thread::scope(|scope| {
            let folder = &folder;
            let reader = scope.spawn(move || {
                let source = KeyDirectory::new(&folder.0);
                let mut seen = Vec::new();
                while is_done.try_recv().is_err() {
                    let kids = kids(&source.load().unwrap());
                    let number = |kid: &str| kid.split_once('-').unwrap().0.parse::<u32>().unwrap();
                    assert_eq!(kids.len(), 2, "{kids:?}");
                    assert_eq!(number(&kids[0]), number(&kids[1]), "a mixture: {kids:?}");
                    seen.push(number(&kids[0]));
                }
                seen
            });
            for number in 1..300 {
                mounted.replace_all(number);
                std::thread::sleep(Duration::from_millis(1));
            }
            done.send(()).unwrap();
            reader.join().unwrap()
        });
        let distinct: std::collections::BTreeSet<_> = loads.iter().collect();
        assert!(distinct.len() > 20, "{} loads saw {} versions", loads.len(), distinct.len());
    }

    /// In a directory in which every user may create files, a `..data` of another user is rejected.
    #[test]
    fn a_link_to_keys_of_another_user_is_not_followed() {
        let folder = Folder::new();
        folder.write("a.json", &*jwk(1, "a").expose_json());
        let foreign = Folder::new();
        foreign.write("b.json", &*jwk(2, "b").expose_json());
        let link = folder.path("..data");
        symlink(&foreign.0, &link).unwrap();
        set_mode(&folder.0, 0o1777);
        // Only root can give a link to another user.
        if std::os::unix::fs::lchown(&link, Some(65_534), None).is_ok() {
            let message = refused(&KeyDirectory::new(&folder.0));
            let wanted = format!(
                "{link:?} belongs to the user 65534, who may write to its directory, as everyone may"
            );
            assert_eq!(message, wanted);
        }
    }
}

#[test]
fn a_directory_has_a_key_for_each_file() {
    let folder = Folder::new();
    let nameless = Jwk::new(Algorithm::Hs256, secret(1)).unwrap().expose_json();
    folder.write("2026.10", &*nameless);
    let source = KeyDirectory::new(&folder.0);
    assert_eq!(source.load().unwrap().signing_key().unwrap().kid(), Some("2026.10"));

    folder.write("2026.11.json", &*jwk(2, "2026.11").expose_json());
    folder.write(".2026.12.json", "half a k");
    let file = folder.path("signing");
    assert_eq!(
        refused(&source),
        format!(
            r#"which key of the directory signs, "2026.10" or "2026.11"? Write its kid into {file:?}"#
        )
    );
    for signing in ["2026.10", "2026.11\n"] {
        folder.write("signing", signing);
        let keys = source.load().unwrap();
        assert_eq!(keys.signing_key().unwrap().kid(), Some(signing.trim()));
        assert!(verifies(&keys, 1, "2026.10") && verifies(&keys, 2, "2026.11"));
    }
    // A secret in the wrong file does not get into a log.
    for wrong in ["2026.12", "QQQQ", "2026.11.json", "2026.11 \n", "2026.11\n\n"] {
        folder.write("signing", wrong);
        assert_eq!(
            refused(&source),
            format!("{file:?} does not hold the kid of a key of its directory that may sign")
        );
    }
    folder.write("signing", "");
    assert_eq!(refused(&source), format!("{file:?} is empty"));
    fs::remove_file(&file).unwrap();
    // A JWK's own `key_ops` also mark a key as one that only verifies.
    folder.write("2026.10", &*jwk(1, "2026.10").verify_only().expose_json());
    let keys = source.load().unwrap();
    assert_eq!(keys.signing_key().unwrap().kid(), Some("2026.11"));
    assert!(verifies(&keys, 1, "2026.10"));
    folder.write("signing", "2026.10");
    assert!(refused(&source).contains("that may sign"));
}

#[test]
fn a_directory_contains_secrets_that_are_not_jwks() {
    let folder = Folder::new();
    folder.write("1.key", hex(1));
    folder.write("2", hex(2) + "\n");
    folder.write("signing", "2\n");
    let format = KeyFormat::Hex(Algorithm::Hs256);
    let keys = KeyDirectory::new(&folder.0).format(format).load().unwrap();
    assert_eq!(keys.signing_key().unwrap().kid(), Some("2"));
    assert!(verifies(&keys, 1, "1") && verifies(&keys, 2, "2"));
}

#[test]
fn an_invalid_directory_is_rejected_with_its_path() {
    let folder = Folder::new();
    let source = KeyDirectory::new(&folder.0);
    let directory = &folder.0;
    assert_eq!(refused(&source), format!("the directory {directory:?} is empty"));
    folder.write("signing", "a");
    assert_eq!(refused(&source), format!("the directory {directory:?} is empty"));
    let message = refused(&KeyDirectory::new(folder.path("missing")));
    assert!(message.contains("missing\" could not be read: "), "{message}");

    folder.write("a.json", &*jwk(1, "a").expose_json());
    assert!(source.load().is_ok());
    let path = folder.write("b.json", &*jwk(2, "c").expose_json());
    let message = format!(r#"{path:?} holds the key "c", where "b" is expected"#);
    assert_eq!(refused(&source), message);
    folder.write("b.json", &*JwkSet::new([jwk(2, "b")]).unwrap().expose_json());
    let message = format!(
        "{path:?}: not a JWK; it is a JWK Set: JwkSet::from_json reads it, KeyFile and EnvKeys do"
    );
    assert_eq!(refused(&source), message);
    fs::remove_file(&path).unwrap();
    let path = folder.write("a", &*jwk(1, "a").expose_json());
    assert_eq!(
        refused(&source),
        format!(r#"the directory {directory:?}: two keys of the set have the kid "a""#)
    );
    fs::remove_file(&path).unwrap();
    let path = folder.path("lost+found");
    fs::create_dir(&path).unwrap();
    assert_eq!(refused(&source), format!("{path:?} is not a regular file"));
    fs::remove_dir(&path).unwrap();
    let path = folder.write("b\nc", &*jwk(1, "b\nc").expose_json());
    assert_eq!(
        refused(&source),
        format!("{path:?} cannot be a kid: it has to be UTF-8 without control characters")
    );
    fs::remove_file(&path).unwrap();
    let path = folder.write("b.json", "");
    assert_eq!(refused(&source), format!("{path:?} is empty"));
}

/// The test sets the environment of a separate process: changing that of this process is not safe.
#[test]
fn a_variable_contains_keys() {
    if let Ok(case) = std::env::var("KIPPU_TEST_CASE") {
        let source = EnvKeys::new("KIPPU_TEST_KEYS");
        let hex = source.clone().format(KeyFormat::Hex(Algorithm::Hs256));
        match case.as_str() {
            "set" => {
                let keys = source.load().unwrap();
                assert_eq!(keys.signing_key().unwrap().kid(), Some("new"));
                assert!(verifies(&keys, 1, "old") && verifies(&keys, 2, "new"));
            }
            "hex" => {
                assert!(verifies(&hex.clone().kid("a").load().unwrap(), 1, "a"));
                assert!(refused(&hex).starts_with(
                    "the environment variable KIPPU_TEST_KEYS holds a key without a kid"
                ));
                assert!(refused(&source).starts_with("the environment variable KIPPU_TEST_KEYS: "));
            }
            "empty" => {
                let message = "the environment variable KIPPU_TEST_KEYS is empty";
                assert_eq!(refused(&source), message);
            }
            // A file that reports a size of zero: the bytes that are read are counted, too.
            "large" => {
                let path = "/proc/self/environ";
                let message =
                    format!("{path:?} is larger than 65536 bytes, which no file of keys is");
                assert!(!cfg!(target_os = "linux") || refused(&KeyFile::new(path)) == message);
            }
            case => panic!("{case}"),
        }
        return;
    }
    let source = EnvKeys::new("KIPPU_TEST_KEYS");
    assert_eq!(refused(&source), "the environment variable KIPPU_TEST_KEYS is not set");
    let set = JwkSet::new([jwk(1, "old").verify_only(), jwk(2, "new")]).unwrap().expose_json();
    for (case, value) in [
        ("set", &*set),
        ("hex", &hex(1)),
        ("empty", &String::new()),
        ("large", &"x".repeat(70_000)),
    ] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "key_sources::a_variable_contains_keys"])
            .env("KIPPU_TEST_CASE", case)
            .env("KIPPU_TEST_KEYS", value)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{case}: {told}");
    }
}

#[test]
fn a_token_from_before_a_rotation_verifies_after_it() {
    let folder = Folder::new();
    folder.write("1.json", &*jwk(1, "1").expose_json());
    let keys = ReloadedKeys::load(KeyDirectory::new(&folder.0)).unwrap();
    let shared = keys.keys();
    let claims = json!({ "exp": NumericDate::in_seconds(60) });
    let before = encode(&claims, shared.load().signing_key().unwrap()).unwrap();

    // A new key without a signing key cannot be added: the reload fails, and the old keys stay in
    // use.
    folder.write("2.json", &*jwk(2, "2").expose_json());
    assert!(matches!(*keys.reload().unwrap_err(), KeySourceError::WhichSigns { .. }));
    assert_eq!(shared.load().signing_key().unwrap().kid(), Some("1"));
    folder.write("signing", "1");
    assert!(keys.reload().unwrap());
    assert_eq!(shared.load().signing_key().unwrap().kid(), Some("1"));
    assert!(verifies(&shared.load(), 2, "2"));

    folder.write("signing", "2");
    assert!(keys.reload().unwrap());
    assert_eq!(shared.load().signing_key().unwrap().kid(), Some("2"));
    decode::<Value>(&before, &shared.load(), &Validation::new()).unwrap();

    // Removing the signing key without naming another one is rejected. After one is named, the old
    // key is gone.
    fs::remove_file(folder.path("2.json")).unwrap();
    assert!(keys.reload().is_err());
    assert!(verifies(&shared.load(), 2, "2"));
    folder.write("2.json", &*jwk(2, "2").expose_json());
    fs::remove_file(folder.path("1.json")).unwrap();
    assert!(keys.reload().unwrap());
    assert!(decode::<Value>(&before, &shared.load(), &Validation::new()).is_err());
}

#[test]
fn the_last_good_keys_stay_when_a_reload_fails() {
    let folder = Folder::new();
    let path = folder.write("keys", &*jwk(1, "1").expose_json());
    let keys = ReloadedKeys::load(KeyFile::new(&path)).unwrap();
    let shared = keys.keys();
    assert!(keys.last_error().is_none());
    for broken in ["", "{", r#"{"keys":[]}"#, &hex(2)] {
        folder.write("keys", broken);
        let error = keys.reload().unwrap_err();
        assert!(error.to_string().starts_with(&format!("{path:?}")), "{error}");
        assert_eq!(keys.last_error().unwrap().to_string(), error.to_string());
        assert!(verifies(&shared.load(), 1, "1"));
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(*keys.reload().unwrap_err(), KeySourceError::Io { .. }));
    assert!(verifies(&shared.load(), 1, "1"));
    let shown = format!("{keys:?}");
    assert!(shown.contains("could not be read") && !shown.contains("QQQQ"), "{shown}");

    folder.write("keys", &*jwk(2, "2").expose_json());
    assert!(keys.reload().unwrap());
    assert!(keys.last_error().is_none());
    assert!(verifies(&shared.load(), 2, "2") && !verifies(&shared.load(), 1, "1"));
    // A server does not start with broken keys.
    folder.write("keys", "");
    assert!(ReloadedKeys::load(KeyFile::new(&path)).is_err());
}

/// A set replaces another one if they differ in any way, and only then.
#[test]
fn keys_that_have_not_changed_are_not_replaced() {
    let key = |number, kid| Key::hs256(secret(number)).unwrap().with_kid(kid);
    let until = NumericDate::from_seconds(4_000_000_000);
    let base = || KeySet::new(key(1, "1"));
    let with_2 = || base().accept(key(2, "2")).unwrap();
    type Make<'m> = &'m (dyn Fn() -> KeySet + Sync);
    let sets: [Make<'_>; 9] = [
        &base,
        &with_2,
        &|| KeySet::new(key(2, "2")).accept(key(1, "1")).unwrap(),
        &|| base().retire(key(2, "2"), until).unwrap(),
        &|| base().accept(key(3, "2")).unwrap(),
        &|| base().accept(key(2, "3")).unwrap(),
        &|| with_2().try_all_without_kid(),
        &|| KeySet::new(key(3, "1")),
        &|| KeySet::new(Key::hs384([7; 48]).unwrap().with_kid("1")),
    ];
    let next = Arc::new(Mutex::new(Vec::new()));
    let source = {
        let next = Arc::clone(&next);
        move || Ok(next.lock().unwrap().pop().unwrap())
    };
    for (number, one) in sets.iter().enumerate() {
        for (other_number, other) in sets.iter().enumerate() {
            next.lock().unwrap().extend([other(), one()]);
            let keys = ReloadedKeys::load(source.clone()).unwrap();
            let (shared, before) = (keys.keys(), keys.keys().load());
            assert_eq!(keys.reload().unwrap(), number != other_number, "{number}, {other_number}");
            assert_eq!(Arc::ptr_eq(&before, &shared.load()), number == other_number);
        }
    }
    // The order of keys that only verify does not matter.
    let [a, b] = [["2", "3"], ["3", "2"]]
        .map(|kids| kids.into_iter().fold(base(), |set, kid| set.accept(key(2, kid)).unwrap()));
    next.lock().unwrap().extend([a, b]);
    assert!(!ReloadedKeys::load(source).unwrap().reload().unwrap());
}

/// How long a test waits for an expected change.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_watcher_reloads_reports_changes_and_errors_and_ends() {
    let folder = Folder::new();
    let path = folder.write("keys", &*jwk(1, "1").expose_json());
    let (read, reads) = mpsc::channel();
    let file = KeyFile::new(&path);
    // The source is dropped with the thread, which shows that the thread has ended.
    let source = move || {
        let _ = read.send(());
        file.load()
    };
    let (told, reloads) = mpsc::channel();
    let watcher = ReloadedKeys::load(source)
        .unwrap()
        .watch_every(Duration::from_millis(10), move |reload| {
            told.send(reload.map(kids).map_err(ToString::to_string)).unwrap();
            panic!("an observer that panics does not end the watch");
        })
        .unwrap();
    let shared = watcher.keys();
    folder.write("keys", "");
    for _ in 0..2 {
        assert_eq!(reloads.recv_timeout(PATIENCE).unwrap(), Err(format!("{path:?} is empty")));
    }
    assert!(watcher.last_error().is_some());
    assert!(verifies(&shared.load(), 1, "1"));

    folder.write("keys", &*jwk(2, "2").expose_json());
    let deadline = std::time::Instant::now() + PATIENCE;
    while !verifies(&shared.load(), 2, "2") {
        assert!(std::time::Instant::now() < deadline, "the new key did not arrive");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(watcher.last_error().is_none());
    assert!(!watcher.reload().unwrap());
    // After the errors the watcher reports one change with the ids, and nothing while the keys stay
    // the same.
    let change = loop {
        match reloads.recv_timeout(PATIENCE).unwrap() {
            Err(error) => assert_eq!(error, format!("{path:?} is empty")),
            Ok(kids) => break kids,
        }
    };
    assert_eq!(change, ["2"]);
    while reads.try_recv().is_ok() {}
    for _ in 0..3 {
        reads.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(reloads.try_recv(), Err(mpsc::TryRecvError::Empty));
    let both = [jwk(3, "3"), jwk(2, "2").verify_only()];
    folder.write("keys", &*JwkSet::new(both).unwrap().expose_json());
    assert_eq!(reloads.recv_timeout(PATIENCE).unwrap().unwrap(), ["3", "2"]);

    drop(watcher);
    let ended = loop {
        match reads.recv_timeout(PATIENCE) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(ended, mpsc::RecvTimeoutError::Disconnected, "the thread has not ended");
    assert!(verifies(&shared.load(), 2, "2") && verifies(&shared.load(), 3, "3"));
}

/// With the default interval the thread sleeps most of the time. It ends without waiting for the
/// interval.
#[test]
fn a_watcher_ends_while_it_waits() {
    let (alive, ended) = mpsc::channel::<()>();
    let source = move || {
        let _ = &alive;
        Ok(KeySet::new(Key::hs256(secret(1)).unwrap().with_kid("1")))
    };
    let watcher = ReloadedKeys::load(source).unwrap().watch(|_| {}).unwrap();
    assert_eq!(ended.try_recv(), Err(mpsc::TryRecvError::Empty));
    drop(watcher);
    let end = ended.recv_timeout(ReloadedKeys::INTERVAL / 3);
    assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_source_that_panics_is_a_failed_reload() {
    let calls = AtomicU32::new(0);
    let source = move || match calls.fetch_add(1, Ordering::Relaxed) {
        1 => panic!("a source that panics"),
        2 => Err(KeySourceError::other("the secret manager is away")),
        _ => Ok(KeySet::new(Key::hs256(secret(1))?.with_kid("1"))),
    };
    let keys = ReloadedKeys::load(source).unwrap();
    assert_eq!(keys.reload().unwrap_err().to_string(), "the source of the keys panicked");
    assert_eq!(keys.reload().unwrap_err().to_string(), "the secret manager is away");
    assert!(!keys.reload().unwrap());
    assert!(keys.last_error().is_none());
}

/// The age is that of the keys. A failed reload does not reset it; a reload that finds them
/// unchanged does.
#[test]
fn the_age_of_keys_counts_from_the_last_reload_that_had_keys() {
    let fails = Arc::new(AtomicU32::new(0));
    let source = {
        let fails = Arc::clone(&fails);
        move || match fails.load(Ordering::Relaxed) {
            0 => Ok(KeySet::new(Key::hs256(secret(1))?.with_kid("1"))),
            1 => Err(KeySourceError::other("the secret manager is away")),
            _ => panic!("a source that panics"),
        }
    };
    let keys = ReloadedKeys::load(source).unwrap();
    let pause = Duration::from_millis(50);
    for failure in [1, 2] {
        std::thread::sleep(pause);
        let before = keys.age();
        assert!(before >= pause);
        fails.store(failure, Ordering::Relaxed);
        keys.reload().unwrap_err();
        assert!(keys.age() >= before);
        assert!(format!("{keys:?}").contains("age: "), "{keys:?}");
        fails.store(0, Ordering::Relaxed);
        let start = std::time::Instant::now();
        assert!(!keys.reload().unwrap());
        assert!(keys.age() <= start.elapsed());
    }
}

/// Keys of other libraries: without `alg`, beside keys of other types, and without an id in their
/// tokens.
#[test]
fn jwks_of_other_libraries_are_read_on_request() {
    let folder = Folder::new();
    let k = base64url::encode(&secret(1));
    let oct = |members: &str| format!(r#"{{"kty":"oct",{members}"k":"{k}"}}"#);
    let jwk_for = KeyFormat::JwkFor(Algorithm::Hs256);
    let source = |text: &str| KeyFile::new(folder.write("keys", text));

    let nameless = source(&oct(""));
    let message = refused(&nameless);
    assert!(message.ends_with("the JWK has no alg: set it with Jwk::from_json_for or JwkSet::from_json_for, in a file with KeyFormat::JwkFor"), "{message}");
    let keys = nameless.clone().format(jwk_for).kid("a").load().unwrap();
    assert!(verifies(&keys, 1, "a"));
    let hs384 = refused(&nameless.format(KeyFormat::JwkFor(Algorithm::Hs384)).kid("a"));
    assert!(hs384.contains("HS384 needs a secret of at least 48"), "{hs384}");

    let rsa = r#"{"kty":"RSA","kid":"rsa","n":"0vx7","e":"AQAB"}"#;
    let set = format!(r#"{{"keys":[{rsa},{}]}}"#, oct(r#""kid":"a","#));
    let mixed = || source(&set).format(jwk_for);
    assert!(refused(&mixed()).ends_with(r#"the JWK is of the key type "RSA", not "oct""#));
    assert_eq!(kids(&mixed().skip_other_kinds().load().unwrap()), ["a"]);
    let without_alg = refused(&source(&set).skip_other_kinds());
    assert!(without_alg.contains("the JWK has no alg"), "{without_alg}");
    let only_rsa = source(&format!(r#"{{"keys":[{rsa}]}}"#)).skip_other_kinds();
    assert!(refused(&only_rsa).ends_with(": the JWK Set has no keys"));

    // Each file of a directory has one JWK.
    let directory = Folder::new();
    directory.write("a.json", oct(""));
    let source = KeyDirectory::new(&directory.0);
    assert!(refused(&source).contains("the JWK has no alg"));
    assert!(verifies(&source.format(jwk_for).load().unwrap(), 1, "a"));
}

#[test]
fn a_source_makes_a_verify_only_set() {
    let folder = Folder::new();
    let both = JwkSet::new([jwk(1, "1"), jwk(2, "2")]).unwrap().expose_json();
    let path = folder.write("keys", &*both);
    let file = || KeyFile::new(&path);
    refused(&file());
    // No key signs, so a chosen kid is an error.
    for source in
        [file().verify_only(), file().kid("2").verify_only(), file().verify_only().kid("3")]
    {
        let keys = source.load().unwrap();
        assert_eq!(kids(&keys), ["1", "2"]);
        assert!(verifies(&keys, 1, "1") && verifies(&keys, 2, "2"));
        assert_eq!(
            keys.signing_key().unwrap_err().to_string(),
            "the keys are verify-only, so none of them signs"
        );
    }
    let none = JwkSet::new([jwk(1, "1").verify_only()]).unwrap().expose_json();
    folder.write("keys", &*none);
    refused(&file());
    assert_eq!(kids(&file().verify_only().load().unwrap()), ["1"]);
    folder.write("keys", hex(1));
    let hex_file = file().format(KeyFormat::Hex(Algorithm::Hs256)).kid("1").verify_only();
    let keys = hex_file.load().unwrap();
    assert!(verifies(&keys, 1, "1") && keys.signing_key().is_err());

    // A directory does not need the file `signing`, and ignores it if it exists.
    let directory = Folder::new();
    directory.write("1.json", &*jwk(1, "1").expose_json());
    directory.write("2.json", &*jwk(2, "2").expose_json());
    let source = || KeyDirectory::new(&directory.0);
    refused(&source());
    for signing in [None, Some("2"), Some("nobody")] {
        if let Some(kid) = signing {
            directory.write("signing", kid);
        }
        let keys = source().verify_only().load().unwrap();
        assert_eq!(kids(&keys), ["1", "2"]);
        assert!(keys.signing_key().is_err());
    }
    // A server that stops signing, and starts again.
    let watched = ReloadedKeys::load(source().verify_only()).unwrap();
    assert!(!watched.reload().unwrap());
}

#[test]
fn a_source_carries_the_option_for_tokens_without_a_kid() {
    let folder = Folder::new();
    let path = folder.write("1.json", &*jwk(1, "1").expose_json());
    let claims = json!({ "exp": NumericDate::in_seconds(60) });
    let nameless = encode(&claims, &Key::hs256(secret(1)).unwrap()).unwrap();
    let accepts = |source: Box<dyn KeySource + Send + Sync>| {
        let keys = ReloadedKeys::load(move || source.load()).unwrap();
        assert!(!keys.reload().unwrap());
        decode::<Value>(&nameless, &keys.keys(), &Validation::new()).is_ok()
    };
    let (file, directory) = (KeyFile::new(&path), KeyDirectory::new(&folder.0));
    assert!(!accepts(Box::new(file.clone())) && !accepts(Box::new(directory.clone())));
    assert!(!accepts(Box::new(file.clone().verify_only())));
    assert!(accepts(Box::new(file.clone().try_all_without_kid())));
    assert!(accepts(Box::new(file.verify_only().try_all_without_kid())));
    assert!(accepts(Box::new(directory.clone().try_all_without_kid())));
    assert!(accepts(Box::new(directory.try_all_without_kid().verify_only())));
}
