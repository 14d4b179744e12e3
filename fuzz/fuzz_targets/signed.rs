//! With a correct MAC, a slow verifier gives the same verdict on any header and any payload,
//! whatever type they are decoded into.
#![no_main]

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    fmt,
};

use kippu::{
    Audience, DecodeError, Keys, RegisteredClaims, Validation, base64url, decode, decode_borrowed,
    explain,
};
use kippu_fuzz::{
    dates,
    expectations::Expectations,
    json::{Tree, member},
    keyring::KippuKeys,
    model::{self, Claims, Defect},
    presentable::assert_presentable,
    trial::Trial,
};
use libfuzzer_sys::fuzz_target;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, EnumAccess, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Trial { token, ring, expected } = Trial::new(data);
    let verdict = model::verify(&token, &ring, &expected);
    let verifier =
        Verifier { token: &token, validation: &expected.validation(), expected: &expected };
    match ring.kippu() {
        KippuKeys::One(key) => verifier.judges_as(verdict.as_ref(), &key),
        KippuKeys::Set(set) => verifier.judges_as(verdict.as_ref(), &set),
    }
});

struct Verifier<'t> {
    token: &'t str,
    validation: &'t Validation,
    expected: &'t Expectations,
}

/// Fields that may not fit.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "whether they can be read is what matters")]
struct Picky {
    role: Option<String>,
    sub: Option<u8>,
    aud: Option<[String; 2]>,
    #[serde(rename = "rôle")]
    other: Option<Level>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "whether they can be read is what matters")]
enum Level {
    #[serde(rename = "api")]
    Api,
    #[serde(rename = "role")]
    Role(Box<Level>),
    #[serde(rename = "exp")]
    Exp { sub: Option<String> },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "whether they can be read is what matters")]
struct Closed {
    exp: f64,
}

/// A field that is a struct.
#[derive(Debug, Deserialize)]
struct Nested {
    role: Option<Inner>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "whether they can be read is what matters")]
struct Inner {
    exp: Option<Value>,
    sub: Option<Value>,
}

/// Does not read its value, or not to the end.
#[derive(Debug)]
struct Lazy;

impl<'de> Deserialize<'de> for Lazy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lazy)
    }
}

impl<'de> Visitor<'de> for Lazy {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
        elements.next_element::<Self>().map(|_| self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        // Reads a value for each second name. For the first name it reads a type that usually does
        // not fit.
        let _ = members.next_entry::<Cow<'_, str>, Level>();
        let _ = members.next_key::<u8>();
        let _ = members.next_key::<IgnoredAny>();
        let _ = members.next_value::<Unread>();
        members.next_key::<IgnoredAny>().map(|_| self)
    }
}

/// Does not even ask for a value.
#[derive(Debug)]
struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

/// Only reads the variant.
#[derive(Debug)]
struct Tag;

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("Tag", &[], Self)
    }
}

impl<'de> Visitor<'de> for Tag {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a variant")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Self, A::Error> {
        data.variant::<IgnoredAny>().map(|_| self)
    }
}

/// Strings from the buffer.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "whether they can be read is what matters")]
struct Borrowing<'c> {
    #[serde(borrow)]
    sub: Option<Cow<'c, str>>,
    iss: Option<&'c str>,
    role: Option<&'c str>,
}

#[derive(Debug, Deserialize)]
struct Flat {
    #[serde(flatten)]
    registered: RegisteredClaims,
    #[serde(flatten)]
    rest: HashMap<String, Value>,
}

/// Treats errors as absent claims.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "whether they can be read is what matters")]
struct Careless {
    #[serde(default, deserialize_with = "or_default")]
    exp: i64,
    #[serde(default, deserialize_with = "or_default")]
    aud: String,
    #[serde(default, deserialize_with = "or_default")]
    role: HashMap<String, Vec<u8>>,
    #[serde(default, deserialize_with = "or_default", rename = "rôle")]
    other: Vec<HashMap<u8, bool>>,
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants a result")]
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> Result<T, D::Error> {
    Ok(T::deserialize(value).unwrap_or_default())
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "whether they can be read is what matters")]
enum Either {
    One { role: u8 },
    Other { role: Vec<Value> },
    Any(HashMap<String, Value>),
}

impl Verifier<'_> {
    #[expect(clippy::zero_sized_map_values, reason = "whether they can be read is what matters")]
    fn judges_as(&self, verdict: Result<&Claims, &BTreeSet<Defect>>, keys: &impl Keys) {
        let value = decode::<Value>(self.token, keys, self.validation);
        match (&value, verdict) {
            (Ok(value), Ok(claims)) => {
                assert!(Tree::Object(claims.clone()).is(value), "{value} for {claims:?}");
            }
            (Err(error), Err(defects)) => {
                let reported = model::reported(error, self.expected);
                let reported = reported.expect("a value takes every object");
                assert!(defects.contains(&reported), "{reported:?} for {defects:?}");
            }
            _ => panic!("{value:?} for {verdict:?}"),
        }
        let refusal = value.err();
        if let Some(error) = &refusal {
            assert_presentable(error);
        }

        let explanation = explain(self.token, keys, self.validation);
        assert_eq!(explanation.failures().next().map(|(_, error)| error), refusal.as_ref());
        assert_eq!(explanation.is_accepted(), refusal.is_none());
        for (_, error) in explanation.failures() {
            assert_presentable(error);
        }

        // Types that accept every valid claims set.
        self.agrees::<IgnoredAny>(keys, refusal.as_ref()).expect("fits");
        self.agrees::<HashMap<String, Value>>(keys, refusal.as_ref()).expect("fits");
        let registered = self.agrees::<RegisteredClaims>(keys, refusal.as_ref()).expect("fits");
        let flat = self.agrees::<Flat>(keys, refusal.as_ref()).expect("fits");
        if let (Some(registered), Some(flat), Ok(claims)) = (registered, flat, verdict) {
            assert_eq!(registered, flat.registered);
            assert_registered(&registered, claims);
            assert!(flat.rest.keys().all(|name| member(claims, name).is_some()));
        }

        if let (Ok(Some(Nested { role })), Ok(claims)) =
            (self.agrees(keys, refusal.as_ref()), verdict)
        {
            // Below the top level a derived struct also accepts an array.
            let found = member(claims, "role");
            let is_there = matches!(found, Some(Tree::Object(_) | Tree::Array(_)));
            assert_eq!(role.is_some(), is_there, "{found:?}");
        }

        // Types that may not fit.
        let _ = self.agrees::<Picky>(keys, refusal.as_ref());
        let _ = self.agrees::<Closed>(keys, refusal.as_ref());
        let _ = self.agrees::<Careless>(keys, refusal.as_ref());
        let _ = self.agrees::<Either>(keys, refusal.as_ref());
        let _ = self.agrees::<Option<()>>(keys, refusal.as_ref());
        let _ = self.agrees::<Lazy>(keys, refusal.as_ref());
        let _ = self.agrees::<Unread>(keys, refusal.as_ref());
        let _ = self.agrees::<Tag>(keys, refusal.as_ref());
        let _ = self.agrees::<HashMap<String, Lazy>>(keys, refusal.as_ref());
        let _ = self.agrees::<HashMap<String, Unread>>(keys, refusal.as_ref());
        let _ = self.agrees::<HashMap<String, Tag>>(keys, refusal.as_ref());
        let _ = self.agrees::<HashMap<String, Vec<Tag>>>(keys, refusal.as_ref());
        let _ = self.agrees::<Vec<String>>(keys, refusal.as_ref());
        self.agrees_on_borrowing(keys, refusal.as_ref());
    }

    /// Decodes into a `C`, which must not change the verdict on the token. Returns whether the
    /// claims fit into it.
    fn agrees<C: DeserializeOwned>(
        &self,
        keys: &impl Keys,
        refusal: Option<&DecodeError>,
    ) -> Result<Option<C>, DecodeError> {
        agree(decode(self.token, keys, self.validation), refusal)
    }

    fn agrees_on_borrowing(&self, keys: &impl Keys, refusal: Option<&DecodeError>) {
        // Includes every dot that should not be in it.
        let behind_header = self.token.split_once('.').unwrap_or_default().1;
        let payload = behind_header.rsplit_once('.').unwrap_or_default().0;
        let needed = base64url::decoded_len(payload.len());
        let mut buffer = vec![0; needed + 1];
        let borrowed = decode_borrowed::<Borrowing<'_>>(
            self.token,
            keys,
            self.validation,
            &mut buffer[..needed],
        );
        let _ = agree(borrowed, refusal);
        let any = decode_borrowed::<IgnoredAny>(self.token, keys, self.validation, &mut buffer);
        let _ = agree(any, refusal).expect("fits");

        let Some(given) = needed.checked_sub(1) else { return };
        let short =
            decode_borrowed::<Value>(self.token, keys, self.validation, &mut buffer[..given]);
        match short {
            Err(DecodeError::BufferTooShort { .. }) => {}
            // Errors before the payload take precedence.
            Err(error) => assert_eq!(Some(&error), refusal),
            Ok(_) => panic!("decoded into a buffer that is too short"),
        }
    }
}

fn agree<C>(
    decoded: Result<C, DecodeError>,
    refusal: Option<&DecodeError>,
) -> Result<Option<C>, DecodeError> {
    match decoded {
        Ok(claims) => {
            assert_eq!(refusal, None, "a type that takes more");
            Ok(Some(claims))
        }
        Err(error @ DecodeError::Claims { .. }) => {
            assert_eq!(refusal, None, "a type that hides what is wrong");
            assert_presentable(&error);
            Err(error)
        }
        Err(error) => {
            assert_eq!(Some(&error), refusal);
            Ok(None)
        }
    }
}

/// Checks that the registered claims are those of the text.
fn assert_registered(registered: &RegisteredClaims, claims: &Claims) {
    let text = |name| match member(claims, name) {
        Some(Tree::Text(text)) => Some(text.clone()),
        _ => None,
    };
    assert_eq!(registered.iss, text("iss"));
    assert_eq!(registered.sub, text("sub"));
    assert_eq!(registered.jti, text("jti"));
    let names = match member(claims, "aud") {
        Some(Tree::Text(name)) => vec![Tree::Text(name.clone())],
        Some(Tree::Array(names)) => names.clone(),
        _ => Vec::new(),
    };
    let read = registered.aud.iter().flat_map(Audience::iter);
    assert!(read.eq(names.iter().map(|name| match name {
        Tree::Text(name) => name,
        other => panic!("{other:?} is not an audience"),
    })));
    for (date, name) in [(registered.exp, "exp"), (registered.nbf, "nbf"), (registered.iat, "iat")]
    {
        let Some(Tree::Number(spelled)) = member(claims, name) else {
            assert_eq!(date, None);
            continue;
        };
        let (earliest, latest) = dates::between(spelled);
        let date = dates::from_kippu(date.expect("it is there"));
        // It was converted to a double, which has 53 bits.
        let off = earliest.abs() >> 52;
        assert!((earliest - off..=latest + off).contains(&date), "{date} for {spelled}");
    }
}
