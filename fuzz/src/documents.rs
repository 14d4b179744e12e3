//! JSON as an attacker would write it: values in every spelling, and now and then a mistake.
//! Compares kippu with the slow reader, for a text as a payload, as a header and as a JWK.
//!
//! If an input begins with an empty line, the rest is the text, in which `@` and a letter stand for
//! something that is hard to type: see [`WORDS`]. The bytes of any other input are choices, from
//! which a text is written.

pub mod seeds;

use std::{collections::BTreeSet, sync::LazyLock};

use arbitrary::{Result, Unstructured};
use kippu::{
    DecodeError, JsonError, Jwk, JwkError, Key, KeyError, NumericDate, Validation, base64url,
    decode, encode, unverified_header,
};
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::{
    input::fill_in,
    json::{Reading, TextDefect, Tree, member, read_object},
    keyring::{Keyring, Secret},
    model::text_defect,
};

/// The names of what happened, so that a test can tell what the seeds reach.
pub type Happened = BTreeSet<String>;

/// The replacements of `@` and a letter.
static WORDS: LazyLock<Vec<(u8, String)>> = LazyLock::new(|| {
    let many = |count: usize| {
        (0..count).map(|name| format!(r#""{name}":0"#)).collect::<Vec<_>>().join(",")
    };
    let digits = |count: usize| "9".repeat(count);
    vec![
        (b'o', "[".repeat(63)),
        (b'c', "]".repeat(63)),
        (b'O', r#"{"":"#.repeat(63)),
        (b'C', "}".repeat(63)),
        (b'h', "\\ud83d".into()),
        (b'l', "\\ude00".into()),
        (b'n', digits(308)),
        (b'm', "179769313486231570".into()),
        (b'z', "0".repeat(290)),
        (b'a', many(60)),
        (b'b', "\u{feff}".into()),
    ]
});

static SECRET: LazyLock<Secret> = LazyLock::new(|| Keyring::single("HS256").secrets.remove(0));
static KEY: LazyLock<Key> = LazyLock::new(|| SECRET.kippu_key());
static VALIDATION: LazyLock<Validation> = LazyLock::new(|| {
    let open = Validation::new().at(NumericDate::EPOCH).expiry_optional();
    open.and_then(Validation::any_audience).expect("nothing contradicts this")
});

/// Compares kippu with the slow reader on the text of an input.
pub fn run(data: &[u8]) -> Happened {
    let text = match data.strip_prefix(b"\n") {
        Some(text) => fill_in(text, &WORDS),
        None => written(data),
    };
    let mut happened = Happened::new();
    as_payload(&text, &mut happened);
    as_header(&text, &mut happened);
    as_jwk(&text);
    happened
}

/// Checks the text as the payload of a token with a correct MAC.
fn as_payload(text: &[u8], happened: &mut Happened) {
    let Reading { members, defects } = read_object(text, usize::MAX);
    let message =
        format!("{}.{}", base64url::encode(SECRET.header().as_bytes()), base64url::encode(text));
    let token = format!("{message}.{}", base64url::encode(&SECRET.tag(message.as_bytes())));
    if token.len() > 16 * 1024 {
        return;
    }
    let found = decode::<Value>(&token, &*KEY, &VALIDATION);
    // serde_json also accepts it, with the same value.
    let theirs = str::from_utf8(text).ok().and_then(|text| serde_json::from_str(text).ok());
    match (&found, &members) {
        (Ok(value), Some(members)) => {
            assert_eq!(Some(value), theirs.as_ref(), "{}", shown(text));
            assert!(Tree::Object(members.clone()).is(value), "{value} for {members:?}");
            // A value that was read is written again as serde_json writes it.
            let token = encode(value, &KEY).expect("it was accepted");
            let json = serde_json::to_vec(value).expect("names are strings");
            assert_eq!(token.split('.').nth(1), Some(&*base64url::encode(&json)), "{value}");
            happened.insert("accepted".into());
        }
        // The text is strict. A registered claim in it may still be invalid.
        (Err(DecodeError::Claim(_)), Some(_)) => {
            assert!(theirs.is_some_and(|value| value.is_object()), "{}", shown(text));
            happened.insert("a claim".into());
        }
        (Err(DecodeError::Payload(error)), None) => {
            same(text, error, &defects);
            happened.insert(format!("payload: {:?}", text_defect(error)));
        }
        (found, _) => panic!("{found:?} for {defects:?} of {}", shown(text)),
    }
    // A type that reads nothing hides no error.
    let ignored = decode::<IgnoredAny>(&token, &*KEY, &VALIDATION);
    assert_eq!(ignored.err(), found.as_ref().err().cloned(), "{}", shown(text));

    // A number is the nearest double; an integer keeps its value.
    let number = members.as_deref().and_then(|members| member(members, "n"));
    if let (Ok(_), Some(Tree::Number(spelled))) = (found, number) {
        #[derive(serde::Deserialize)]
        struct Number<T> {
            n: T,
        }
        let double = decode::<Number<f64>>(&token, &*KEY, &VALIDATION).expect("a double").n;
        let nearest: f64 = spelled.parse().expect("a number");
        assert_eq!(double.to_bits(), nearest.to_bits(), "{spelled}");
        let integer = decode::<Number<i64>>(&token, &*KEY, &VALIDATION).ok().map(|number| number.n);
        // serde_json reads a zero with a sign as a double.
        let wanted = spelled.parse().ok().filter(|_| spelled != "-0");
        assert_eq!(integer, wanted, "{spelled}");
        happened.insert("a number".into());
    }
}

/// Checks the text as a header, which is read before any MAC, so that its members are limited.
fn as_header(text: &[u8], happened: &mut Happened) {
    let Reading { members, defects } = read_object(text, 64);
    let token = format!("{}..", base64url::encode(text));
    match (unverified_header(&token, 16 * 1024), members) {
        (Err(DecodeError::Header(error)), None) => {
            same(text, &error, &defects);
            happened.insert(format!("header: {:?}", text_defect(&error)));
        }
        (Ok(header), Some(members)) => {
            for (name, found) in [("alg", header.alg), ("typ", header.typ), ("kid", header.kid)] {
                let wanted = match member(&members, name) {
                    Some(Tree::Text(text)) => Some(text.clone()),
                    _ => None,
                };
                assert_eq!(found, wanted, "{name} of {}", shown(text));
            }
        }
        (Err(DecodeError::TooLong { .. }), _) => assert!(token.len() > 16 * 1024),
        (found, members) => panic!("{found:?} for {members:?} of {}", shown(text)),
    }
}

fn as_jwk(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    let Reading { members, defects } = read_object(text.as_bytes(), usize::MAX);
    match (Jwk::from_json(text), members) {
        (Err(JwkError::Json(error)), None) => same(text.as_bytes(), &error, &defects),
        (Err(JwkError::Json(error)), Some(_)) => panic!("{error:?} of {text}"),
        // The error for a text that is not an object names what it looks like.
        (Err(JwkError::NotAJwk { .. } | JwkError::Key(KeyError::KeyFile { .. })), None) => {
            assert!(defects.contains(&TextDefect::NotAnObject), "{defects:?} of {text}");
        }
        (_, Some(_)) => {}
        (found, None) => panic!("{found:?} for {defects:?} of {text}"),
    }
}

/// The reason is one of those of the slow reader, and the position is right.
fn same(text: &[u8], error: &JsonError, defects: &BTreeSet<TextDefect>) {
    assert!(defects.contains(&text_defect(error)), "{error:?} for {defects:?} of {}", shown(text));
    match error {
        JsonError::NotUtf8 { offset } => {
            let valid = str::from_utf8(text).expect_err("the text is not UTF-8").valid_up_to();
            assert_eq!(*offset, valid);
        }
        JsonError::Syntax { offset, .. } => assert!(*offset <= text.len()),
        _ => {}
    }
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Returns the text that choices produce.
pub fn written(choices: &[u8]) -> Vec<u8> {
    let mut writer = Writer { u: Unstructured::new(choices), text: Vec::new(), left: 200 };
    writer.document().expect("where the bytes run out, the first choice is made");
    writer.text
}

struct Writer<'c> {
    u: Unstructured<'c>,
    text: Vec<u8>,
    /// How many more values may be written.
    left: u32,
}

/// Each method writes one part of the grammar of RFC 8259. The first choice is the plain one.
impl Writer<'_> {
    fn document(&mut self) -> Result<()> {
        if self.slips()? {
            self.one_of(&["\u{feff}", "x", "[", "null", ",", "\u{a0}"])?;
        }
        self.object(0)?;
        self.space()?;
        if self.slips()? {
            self.one_of(&["x", "}", "{}", "\0", ",", "\u{feff}"])?;
        }
        Ok(())
    }

    fn value(&mut self, depth: u32) -> Result<()> {
        self.space()?;
        self.left = self.left.saturating_sub(1);
        let most = if depth > 8 || self.left == 0 { 4 } else { 7 };
        match self.u.int_in_range(0..=most)? {
            0 | 3 => self.number()?,
            1 => self.string()?,
            2 => self.one_of(&["null", "true", "false"])?,
            4 => self.odd()?,
            5 => self.array(depth + 1)?,
            _ => self.object(depth + 1)?,
        }
        self.space()
    }

    fn object(&mut self, depth: u32) -> Result<()> {
        if !self.slips()? {
            self.put("{");
        }
        let count = self.u.int_in_range(0..=5)?;
        self.space()?;
        for member in 0..count {
            if member > 0 {
                self.comma()?;
            }
            self.space()?;
            if self.u.ratio(3, 4)? {
                self.name()?;
            } else {
                self.string()?;
            }
            self.space()?;
            if self.slips()? {
                self.one_of(&["", "::", "=", ","])?;
            } else {
                self.put(":");
            }
            self.value(depth)?;
        }
        self.end(count, "}")
    }

    fn array(&mut self, depth: u32) -> Result<()> {
        self.put("[");
        let count = self.u.int_in_range(0..=4)?;
        for element in 0..count {
            if element > 0 {
                self.comma()?;
            }
            self.value(depth)?;
        }
        self.space()?;
        self.end(count, "]")
    }

    fn comma(&mut self) -> Result<()> {
        if self.slips()? {
            self.one_of(&["", ",,", ";", " "])
        } else {
            self.put(",");
            Ok(())
        }
    }

    fn end(&mut self, count: u32, end: &str) -> Result<()> {
        if self.slips()? {
            self.one_of(&["", ",", "}", "]", if count == 0 { "1" } else { ",}" }])?;
        }
        self.put(end);
        Ok(())
    }

    /// One of a few names, so that some are repeated, with the same spelling or another.
    fn name(&mut self) -> Result<()> {
        let name = *self.u.choose(&["n", "a", "", "exp", "aud", "é", "kid", "N", "a\0"])?;
        self.put("\"");
        for char in name.chars() {
            if char < ' ' || self.u.ratio(1, 8)? {
                let unit = u32::from(char);
                let upper = self.u.ratio(1, 2)?;
                self.put(&if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") });
            } else {
                self.put(&char.to_string());
            }
        }
        self.put("\"");
        Ok(())
    }

    fn string(&mut self) -> Result<()> {
        self.put("\"");
        for _ in 0..self.u.int_in_range(0..=6)? {
            self.one_of(&[
                "a",
                "\\n",
                "\\\"",
                "\\\\",
                "\\/",
                "\\u0000",
                "\\ud83d\\ude00",
                "é",
                "😀",
                "\u{7f}",
                "\u{2028}",
                "longer than eight bytes",
                "\\uFFFF",
                "/",
            ])?;
            if self.slips()? {
                self.one_of(&[
                    "\\ud83d",
                    "\\ude00",
                    "\\ude00\\ud83d",
                    "\\ud83d\\n",
                    "\\ud83dx",
                    "\\x",
                    "\\u12",
                    "\\u+123",
                    "\\u 123",
                    "\n",
                    "\0",
                    "\u{1f}",
                    "\\",
                    "\"",
                    "\\U0041",
                    "\\ud83d\\u0041",
                ])?;
            }
            if self.u.ratio(1, 128)? {
                // Invalid UTF-8: a single byte, an overlong spelling, half of a pair, a value
                // beyond the end.
                let odd: [&[u8]; 5] =
                    [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"];
                let odd = *self.u.choose(&odd)?;
                self.text.extend_from_slice(odd);
            }
        }
        self.put("\"");
        Ok(())
    }

    fn number(&mut self) -> Result<()> {
        if self.u.ratio(1, 4)? {
            return self.one_of(&[
                "0",
                "-0",
                "1",
                "18446744073709551615",
                "18446744073709551616",
                "9223372036854775807",
                "-9223372036854775808",
                "-9223372036854775809",
                "9007199254740993",
                "0.1",
                "1e308",
                "-1.7976931348623157e308",
                "1.7976931348623158e308",
                "1.7976931348623159e308",
                "1e309",
                "1e-400",
                "4.9e-324",
                "2.5e-324",
                "2.4e-324",
                "0e999999999999999999999",
                "1e-999999999999999999999",
                "1e999999999999999999999",
                "2.2250738585072011e-308",
                "0.3000000000000000166",
                "8.41e21",
            ]);
        }
        if self.u.ratio(1, 4)? {
            self.put("-");
        }
        let whole: u64 = self.u.arbitrary()?;
        let bits = self.u.int_in_range(0..=63)?;
        self.put(&(whole >> bits).to_string());
        if self.u.ratio(1, 2)? {
            let fraction: u32 = self.u.arbitrary()?;
            let width = usize::from(self.u.int_in_range(1..=20_u8)?);
            self.put(&format!(".{fraction:0width$}"));
        }
        if self.u.ratio(1, 2)? {
            self.one_of(&["e", "E", "e+", "e-", "E-0"])?;
            let exponent: u16 = self.u.int_in_range(0..=330)?;
            self.put(&exponent.to_string());
        }
        if self.slips()? {
            self.one_of(&[".", "e", "e+", "0x1", " 1", "_0"])?;
        }
        Ok(())
    }

    /// Values that are rarely valid.
    fn odd(&mut self) -> Result<()> {
        if self.slips()? {
            return self.one_of(&[
                "NaN",
                "Infinity",
                "-Infinity",
                "-",
                "+1",
                "01",
                "-01",
                ".5",
                "0x10",
                "True",
                "nul",
                "undefined",
                "'a'",
                "",
                "/**/1",
            ]);
        }
        // About the maximum depth, of arrays or of objects.
        let depth = usize::from(self.u.int_in_range(120..=128_u8)?);
        let (open, close) = *self.u.choose(&[("[", "]"), ("{\"\":", "}")])?;
        self.put(&open.repeat(depth));
        self.put(if open == "[" { "" } else { "0" });
        self.put(&close.repeat(depth));
        Ok(())
    }

    fn space(&mut self) -> Result<()> {
        if self.u.ratio(1, 8)? { self.one_of(&[" ", "\t", "\n", "\r", "  \r\n"]) } else { Ok(()) }
    }

    /// Rarely, so that most of the text is valid.
    fn slips(&mut self) -> Result<bool> {
        self.u.ratio(1, 100)
    }

    fn one_of(&mut self, texts: &[&str]) -> Result<()> {
        let text = *self.u.choose(texts)?;
        self.put(text);
        Ok(())
    }

    fn put(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }
}
