//! The forms in which people have a secret. Each reader accepts the forms that it names, and
//! rejects every other one with advice. No form is silently read as another secret.

use std::fmt::Write;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use kippu::{Algorithm, Jwk, JwkSet, Key, KeyFile, KeyFormat, KeySource, encode};
use serde_json::json;

use crate::key_sources::Folder;

const HS256: Algorithm = Algorithm::Hs256;

/// Returns 64 bytes whose base64 has both `+` and `/`.
fn secret() -> Vec<u8> {
    (0..64_u8).map(|place| place.wrapping_mul(3).wrapping_add(84)).collect()
}

fn hex() -> String {
    secret().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// Breaks lines as `openssl`, `base64` and `xxd` do.
fn in_lines(text: &str, length: usize, line_end: &str) -> String {
    let lines: Vec<_> = text.as_bytes().chunks(length).map(utf8).collect();
    lines.join(line_end) + line_end
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

/// The readers that accept a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    FromHex,
    FromBase64,
    FromBase64url,
    FromJson,
    File(KeyFormat),
}

use Reader::{File, FromBase64, FromBase64url, FromHex, FromJson};

const JWK: Reader = File(KeyFormat::Jwk);
const HEX: Reader = File(KeyFormat::Hex(HS256));
const BASE64: Reader = File(KeyFormat::Base64(HS256));
const BASE64URL: Reader = File(KeyFormat::Base64url(HS256));
const TEXT: Reader = File(KeyFormat::Text(HS256));
const RAW: Reader = File(KeyFormat::Raw(HS256));

const ALL: [Reader; 10] =
    [FromHex, FromBase64, FromBase64url, FromJson, JWK, HEX, BASE64, BASE64URL, TEXT, RAW];

/// Signs with a key. The token is different for each secret.
fn signed(key: &Key) -> String {
    encode(&json!({}), key).unwrap()
}

/// Passes the text to the reader. Returns a token of its key, or the message of its error, without
/// the path.
fn read(folder: &Folder, reader: Reader, text: &[u8]) -> Result<String, String> {
    let key = match reader {
        FromHex => Key::from_hex(HS256, text).map_err(|error| error.to_string()),
        FromBase64 => Key::from_base64(HS256, text).map_err(|error| error.to_string()),
        FromBase64url => Key::from_base64url(HS256, text).map_err(|error| error.to_string()),
        FromJson => match std::str::from_utf8(text) {
            Ok(text) => Jwk::from_json(text)
                .map(|jwk| Key::from_jwk(&jwk).unwrap())
                .map_err(|error| error.to_string()),
            Err(_) => Err("a &str is UTF-8".into()),
        },
        File(format) => {
            let path = folder.write("secret", text);
            let set = KeyFile::new(&path).format(format).kid("a").load();
            return set.map(|set| signed(set.signing_key().unwrap())).map_err(|error| {
                error.to_string().replace(&format!("\"{}\"", path.display()), "FILE")
            });
        }
    };
    key.map(|key| signed(&key.with_kid("a")))
}

struct Form {
    name: &'static str,
    text: Vec<u8>,
    /// The readers that decode the form to the secret.
    decoded_by: &'static [Reader],
    /// The readers that take these bytes as the secret.
    taken_by: &'static [Reader],
    taken: Vec<u8>,
    /// The errors of all other readers contain this.
    advice: &'static str,
    /// The readers with different advice.
    but: &'static [(Reader, &'static str)],
}

impl Form {
    fn new(name: &'static str, text: impl AsRef<[u8]>, advice: &'static str) -> Self {
        let text = text.as_ref().to_vec();
        Self { name, taken: text.clone(), text, decoded_by: &[], taken_by: &[], advice, but: &[] }
    }

    fn decoded_by(self, decoded_by: &'static [Reader]) -> Self {
        Self { decoded_by, ..self }
    }

    /// `Text` and `Raw` read the text itself, or `taken`.
    fn taken_by(self, taken_by: &'static [Reader]) -> Self {
        Self { taken_by, ..self }
    }

    fn meaning(self, taken: impl AsRef<[u8]>) -> Self {
        Self { taken: taken.as_ref().to_vec(), ..self }
    }

    fn but(self, but: &'static [(Reader, &'static str)]) -> Self {
        Self { but, ..self }
    }
}

const IS_HEX: &str = "; it looks like hex: Key::from_hex reads it, in a file KeyFormat::Hex";
const OTHER_HEX: &str = "; it looks like hex with other characters: remove all but the digits";
const IS_BASE64: &str =
    "; it looks like base64: Key::from_base64 reads it, in a file KeyFormat::Base64";
const IS_BASE64URL: &str =
    "; it looks like base64url: Key::from_base64url reads it, in a file KeyFormat::Base64url";
const SPACED: &str = "; it looks like base64 with white space in it: remove that";
const AT_AN_END: &str =
    "; it begins or ends with white space: remove that; Key::new takes it as part of the secret";
const LINES: &str = "; it has several lines: Key::new takes them as they are";
const QUOTED: &str = "; it has quotes around it: remove them";
const UTF16: &str = "; it looks like UTF-16, which PowerShell writes: save it as UTF-8";
const IS_TEXT: &str = "; it looks like text: if its characters are the secret, Key::new takes them, in a file KeyFormat::Text";
const IS_PEM: &str = "this is the text of a PEM key, not a secret: kippu signs with HMAC alone";
const IS_JWK: &str = "this is the text of a JWK key, not a secret: Jwk::from_json reads it, in a file KeyFormat::Jwk";
const IS_JSON: &str = "; it is a JSON object: take the secret out of its member";
const CUT: &str = "; it looks like base64 with a symbol missing or wrong: copy it again";

#[expect(clippy::too_many_lines, reason = "a table")]
fn forms() -> Vec<Form> {
    let (secret, hex) = (secret(), hex());
    let base64 = STANDARD.encode(&secret);
    let base64url = URL_SAFE_NO_PAD.encode(&secret);
    assert!(base64.contains('+') && base64.contains('/') && base64.ends_with("=="));
    let lines = |text: &str, length| in_lines(text, length, "\n");
    let colons = hex.as_bytes().chunks(2).map(utf8);
    let colons = colons.collect::<Vec<_>>().join(":");
    let jwk = Jwk::new(HS256, &secret).unwrap().with_kid("a").expose_json();
    let phrase = "correct horse battery staple, and eleven more of them";
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
    vec![
        Form::new("hex", &hex, IS_HEX).decoded_by(&[FromHex, HEX]).taken_by(&[TEXT, RAW]),
        Form::new("hex in capitals", hex.to_uppercase(), IS_HEX)
            .decoded_by(&[FromHex, HEX])
            .taken_by(&[TEXT, RAW]),
        Form::new("openssl rand -hex", format!("{hex}\n"), IS_HEX)
            .decoded_by(&[FromHex, HEX])
            .taken_by(&[TEXT])
            .meaning(&hex),
        Form::new("hex on Windows", format!("{hex}\r\n"), IS_HEX)
            .decoded_by(&[FromHex, HEX])
            .taken_by(&[TEXT])
            .meaning(&hex),
        Form::new("xxd -p", lines(&hex, 60), IS_HEX)
            .decoded_by(&[FromHex, HEX])
            .but(&[(TEXT, LINES)]),
        Form::new("hex of a program", format!("0x{hex}"), OTHER_HEX).taken_by(&[TEXT, RAW]),
        Form::new("hex of openssl x509", &colons, OTHER_HEX).taken_by(&[TEXT, RAW]),
        Form::new("hex of hexdump", colons.replace(':', " ") + "\n", OTHER_HEX)
            .taken_by(&[TEXT])
            .meaning(colons.replace(':', " ")),
        Form::new("hex and a space", format!("{hex} \n"), OTHER_HEX).but(&[(TEXT, AT_AN_END)]),
        Form::new("hex cut short", &hex[1..], "; it looks like hex with a digit missing")
            .taken_by(&[TEXT, RAW]),
        Form::new("base64", &base64, IS_BASE64)
            .decoded_by(&[FromBase64, BASE64])
            .taken_by(&[TEXT, RAW]),
        Form::new("base64 without padding", STANDARD_NO_PAD.encode(&secret), IS_BASE64)
            .decoded_by(&[FromBase64, BASE64])
            .taken_by(&[TEXT, RAW]),
        Form::new("openssl rand -base64", lines(&base64, 64), IS_BASE64)
            .decoded_by(&[FromBase64, BASE64])
            .but(&[(TEXT, LINES)]),
        Form::new("base64 on Windows", in_lines(&base64, 76, "\r\n"), IS_BASE64)
            .decoded_by(&[FromBase64, BASE64])
            .but(&[(TEXT, LINES)]),
        Form::new("base64 with two line ends", format!("{base64}\n\n"), IS_BASE64)
            .decoded_by(&[FromBase64, BASE64])
            .but(&[(TEXT, LINES)]),
        Form::new("base64 and a space", format!("{base64} "), SPACED)
            .taken_by(&[RAW])
            .but(&[(TEXT, AT_AN_END)]),
        Form::new("a tab and base64", format!("\t{base64}\n"), SPACED)
            .but(&[(TEXT, "; it has control characters")]),
        Form::new("base64 in two words", base64.replacen('+', " ", 1), SPACED)
            .taken_by(&[TEXT, RAW]),
        Form::new("base64 cut short", &base64[..85], CUT).taken_by(&[TEXT, RAW]),
        Form::new("base64 with too much padding", format!("{base64}="), CUT)
            .taken_by(&[TEXT, RAW]),
        Form::new("base64 with half its padding", &base64[..87], CUT).taken_by(&[TEXT, RAW]),
        Form::new("base64url", &base64url, IS_BASE64URL)
            .decoded_by(&[FromBase64url, BASE64URL])
            .taken_by(&[TEXT, RAW]),
        Form::new("urlsafe_b64encode", URL_SAFE.encode(&secret) + "\n", IS_BASE64URL)
            .decoded_by(&[FromBase64url, BASE64URL])
            .taken_by(&[TEXT])
            .meaning(URL_SAFE.encode(&secret)),
        Form::new(
            "both alphabets",
            base64.replace('+', "-"),
            "; it has symbols of base64 (+ /) and of base64url (- _): copy it again",
        )
        .taken_by(&[TEXT, RAW]),
        Form::new("quoted", format!("\"{base64}\""), QUOTED).taken_by(&[RAW]),
        Form::new("quoted in an env file", format!("'{hex}'\n"), QUOTED),
        Form::new("a passphrase", phrase, IS_TEXT).taken_by(&[TEXT, RAW]),
        Form::new("a passphrase in a file", format!("{phrase}\n"), IS_TEXT)
            .taken_by(&[TEXT])
            .meaning(phrase)
            .but(&[(
                RAW,
                "; it is text with a line end: KeyFormat::Text leaves the line end out, and Key::new takes it as part of the secret",
            )]),
        Form::new("a name", "the-Secret-key-of-the-Production-server", IS_TEXT)
            .taken_by(&[TEXT, RAW]),
        Form::new("PEM", &pem, IS_PEM),
        Form::new("OpenSSH", format!("ssh-ed25519 {base64} me@example.com\n"), "of a OpenSSH key"),
        Form::new("a JWK", &*jwk, IS_JWK).decoded_by(&[FromJson, JWK]),
        Form::new("a JWK on Windows", jwk.replace(',', ",\r\n  ") + "\r\n", IS_JWK)
            .decoded_by(&[FromJson, JWK]),
        Form::new("a JWK Set", format!(r#"{{"keys":[{}]}}"#, *jwk), IS_JWK)
            .decoded_by(&[JWK])
            .but(&[(FromJson, "not a JWK; it is a JWK Set: JwkSet::from_json reads it")]),
        Form::new("an array of JWKs", format!("[{}]", *jwk), IS_JWK).but(&[
            (FromJson, r#"it is a JSON array: a JWK Set is an object, {"keys":[…]}"#),
            (JWK, r#"it is a JSON array: a JWK Set is an object, {"keys":[…]}"#),
        ]),
        Form::new("a JWK in quotes", format!("'{}'", *jwk), QUOTED).taken_by(&[RAW]),
        Form::new("a secret of AWS", format!(r#"{{"SECRET_KEY":"{base64}"}}"#), IS_JSON)
            .taken_by(&[RAW])
            .but(&[
                (FromJson, "the JWK has no kty"),
                (JWK, "the JWK has no kty"),
            ]),
        Form::new("a JWK cut short", &jwk[..jwk.len() - 3], IS_JWK).but(&[
            (FromJson, "not a strict JSON object: malformed JSON at byte "),
            (JWK, "not a strict JSON object: malformed JSON at byte "),
        ]),
        Form::new("bytes", &secret, "; it looks like bytes: Key::new takes them, in a file KeyFormat::Raw")
            .taken_by(&[RAW])
            .but(&[(FromJson, "UTF-8")]),
        Form::new("UTF-16 of PowerShell", [&b"\xff\xfe"[..], &utf16(&(hex.clone() + "\r\n"), u16::to_le_bytes)].concat(), UTF16)
            .but(&[(FromJson, "UTF-8")]),
        Form::new("UTF-16, the other way round", [&b"\xfe\xff"[..], &utf16(&base64, u16::to_be_bytes)].concat(), UTF16)
            .but(&[(FromJson, "UTF-8")]),
        Form::new("UTF-16 without a mark", utf16(&base64, u16::to_le_bytes), UTF16)
            .but(&[(TEXT, "; it has control characters")]),
    ]
}

#[test]
fn each_form_is_the_secret_or_an_error_with_advice() {
    let folder = Folder::new();
    let signed_by = |secret: &[u8]| signed(&Key::hs256(secret).unwrap().with_kid("a"));
    for form in forms() {
        for reader in ALL {
            let read = read(&folder, reader, &form.text);
            let what = format!("{} by {reader:?}: {read:?}", form.name);
            if form.decoded_by.contains(&reader) {
                assert_eq!(read, Ok(signed_by(&secret())), "{what}");
            } else if form.taken_by.contains(&reader) {
                assert_eq!(read, Ok(signed_by(&form.taken)), "{what}");
            } else {
                let other = form.but.iter().find(|(other, _)| *other == reader);
                let advice = other.map_or(form.advice, |(_, advice)| *advice);
                let message = read.expect_err(&what);
                assert!(message.contains(advice), "{what}");
                for leak in [&hex()[..8], &STANDARD.encode(secret())[..8], "horse"] {
                    assert!(!message.to_lowercase().contains(&leak.to_lowercase()), "{what}");
                }
            }
        }
    }
}

/// Editors on Windows write a byte order mark. Calls that take a text reject it.
#[test]
fn a_byte_order_mark_is_not_part_of_a_file() {
    let folder = Folder::new();
    let wanted = signed(&Key::hs256(secret()).unwrap().with_kid("a"));
    let jwk = Jwk::new(HS256, secret()).unwrap().expose_json();
    let set = format!(r#"{{"keys":[{{"kid":"a",{}]}}"#, &jwk[1..]);
    for (reader, text) in [
        (JWK, jwk.to_string()),
        (JWK, set),
        (HEX, hex()),
        (BASE64, STANDARD.encode(secret())),
        (BASE64URL, URL_SAFE_NO_PAD.encode(secret())),
    ] {
        for text in [format!("\u{feff}{text}"), format!("\u{feff}{text}\r\n")] {
            assert_eq!(read(&folder, reader, text.as_bytes()), Ok(wanted.clone()), "{reader:?}");
            for direct in [FromHex, FromBase64, FromBase64url, FromJson] {
                let message = read(&folder, direct, text.as_bytes()).unwrap_err();
                let is_jwk = message.starts_with("this is the text of a JWK key");
                assert!(
                    is_jwk || message.ends_with("; it begins with a byte order mark: remove that"),
                    "{message}"
                );
            }
            let message = read(&folder, RAW, text.as_bytes()).unwrap_err();
            assert!(message.contains("byte order mark") || message.contains("JWK"), "{message}");
        }
    }
    let phrase = "correct horse battery staple, and eleven more of them";
    let text = read(&folder, TEXT, format!("\u{feff}{phrase}\r\n").as_bytes());
    assert_eq!(text, Ok(signed(&Key::hs256(phrase).unwrap().with_kid("a"))));
}

#[test]
fn an_empty_text_is_not_a_secret() {
    let folder = Folder::new();
    for nothing in ["", "\n", "\r\n", "\u{feff}", "\u{feff}\r\n", " \t\n", "\n\n\n"] {
        for reader in [JWK, HEX, BASE64, BASE64URL, TEXT] {
            let read = read(&folder, reader, nothing.as_bytes());
            assert_eq!(read, Err("FILE is empty".into()), "{reader:?} of {nothing:?}");
        }
    }
    assert_eq!(read(&folder, RAW, b""), Err("FILE is empty".into()));
    for reader in [FromHex, FromBase64, FromBase64url] {
        let message = read(&folder, reader, b"").unwrap_err();
        assert_eq!(message, "HS256 needs a secret of at least 32 random bytes, this one has 0");
    }
    assert_eq!(read(&folder, FromJson, b""), Err("not a JWK; it is empty".into()));
}

/// The crate `base64` encodes the texts.
#[test]
fn base64_agrees_with_another_library_at_every_length() {
    for length in 32..=100_u8 {
        let secret: Vec<u8> = (0..length).map(|place| place.wrapping_mul(91) ^ 0xa7).collect();
        let wanted = signed(&Key::hs256(&secret).unwrap());
        for text in [STANDARD.encode(&secret), STANDARD_NO_PAD.encode(&secret)] {
            assert_eq!(signed(&Key::from_base64(HS256, &text).unwrap()), wanted);
            // Nonzero bits after the last byte would be a second spelling.
            let symbols = text.trim_end_matches('=');
            let last = symbols.chars().last().unwrap();
            if length % 3 != 0 && last.is_ascii_lowercase() && last < 'z' {
                let next = char::from(u8::try_from(last).unwrap() + 1);
                let other = symbols[..symbols.len() - 1].to_owned() + &next.to_string();
                assert!(Key::from_base64(HS256, other).is_err(), "{length}");
            }
        }
        for text in [URL_SAFE.encode(&secret), URL_SAFE_NO_PAD.encode(&secret)] {
            assert_eq!(signed(&Key::from_base64url(HS256, &text).unwrap()), wanted);
        }
    }
}

/// Each symbol of a JWK's `k` must be as RFC 7518 §6.4.1 requires. The error names the actual form.
#[test]
fn an_error_describes_a_k_that_is_not_base64url() {
    let secret = secret();
    let k = URL_SAFE_NO_PAD.encode(&secret);
    for (k, advice) in [
        (k.replacen('_', r"\u005f", 1), "it has JSON escapes: write its symbols as they are"),
        (
            STANDARD.encode(&secret).replace('/', r"\/"),
            "it has JSON escapes: write its symbols as they are",
        ),
        (format!(r"{k}\n"), "it has JSON escapes: write its symbols as they are"),
        (
            STANDARD.encode(&secret),
            "it has the symbols + or / of base64: write - and _ instead, without padding",
        ),
        (URL_SAFE.encode(&secret), "it has padding: remove the = at its end"),
        (format!(" {k}"), "it has white space in it: remove that"),
        (k[..k.len() - 1].to_owned(), "a symbol of it is missing or wrong: copy it again"),
    ] {
        let text = format!(r#"{{"kty":"oct","alg":"HS256","k":"{k}"}}"#);
        let message = Jwk::from_json(&text).unwrap_err().to_string();
        let wanted = format!("the JWK's k is not canonical base64url without padding; {advice}");
        assert_eq!(message, wanted);
        let set = JwkSet::from_json(&format!(r#"{{"keys":[{text}]}}"#));
        assert_eq!(set.unwrap_err().to_string(), wanted);
    }
}
