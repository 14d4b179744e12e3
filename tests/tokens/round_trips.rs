//! `decode` returns the claims that `encode` has written, digit by digit, also for the types that
//! serde_json reads by a special protocol. `scripts/test` runs this with serde_json's features on
//! and off.

use std::{collections::BTreeMap, fmt, str::FromStr};

use kippu::{NumericDate, RegisteredClaims, Validation, decode, decode_borrowed, encode, verify};
use kippu_test_support::signing;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error};
use serde_json::{Number, Value, value::RawValue};

fn validation() -> Validation {
    Validation::new().at(NumericDate::EPOCH).expiry_optional().unwrap()
}

#[track_caller]
fn comes_back<C: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(claims: &C) {
    let token = encode(claims, &signing::key()).unwrap();
    assert_eq!(decode::<C>(&token, &signing::key(), &validation()).as_ref(), Ok(claims));
}

/// Returns whether serde_json keeps all digits of a number.
fn is_precise() -> bool {
    let digits = "0.1234567890123456789";
    digits.parse::<Number>().unwrap().to_string() == digits
}

/// Numbers as applications write money, measurements and identifiers.
const NUMBERS: [&str; 9] = [
    "0",
    "-1",
    "18446744073709551615",
    "-9223372036854775808",
    "0.1234567890123456789",
    "123456789012345678901234567890.10",
    "1e2",
    "-0.0",
    "1e308",
];

/// A number of any size and precision, as decimal libraries keep one: digits, and the number of
/// decimals.
#[derive(Clone, Debug, PartialEq)]
struct Decimal {
    digits: i128,
    scale: usize,
}

impl FromStr for Decimal {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self { digits: format!("{whole}{fraction}").parse()?, scale: fraction.len() })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.digits < 0 { "-" } else { "" };
        let digits = format!("{:0>1$}", self.digits.unsigned_abs(), self.scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - self.scale);
        write!(f, "{sign}{whole}{}{fraction}", if fraction.is_empty() { "" } else { "." })
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).unwrap().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer)?.get().parse().map_err(D::Error::custom)
    }
}

#[test]
fn raw_values_keep_every_byte() {
    #[derive(Debug, Deserialize)]
    struct Owned {
        raw: Box<RawValue>,
    }
    #[derive(Debug, Deserialize)]
    struct Borrowed<'c> {
        #[serde(borrow)]
        raw: &'c RawValue,
    }
    let values =
        NUMBERS.into_iter().chain([r#"{"b" : [1.0, "\u0061"],"a":null}"#, r#""\u0061""#, "[ ]"]);
    for value in values {
        let raw = RawValue::from_string(value.into()).unwrap();
        let token = encode(&BTreeMap::from([("raw", raw)]), &signing::key()).unwrap();
        let owned: Owned = decode(&token, &signing::key(), &validation()).unwrap();
        assert_eq!(owned.raw.get(), value);
        let mut buffer = [0; 256];
        let borrowed: Borrowed<'_> =
            decode_borrowed(&token, &signing::key(), &validation(), &mut buffer).unwrap();
        assert_eq!(borrowed.raw.get(), value);
        let verified = verify(&token, &signing::key(), &validation()).unwrap();
        assert_eq!(verified.claims::<Borrowed<'_>>().unwrap().raw.get(), value);
        assert_eq!(verified.claims::<Owned>().unwrap().raw.get(), value);
    }
}

/// A claims set that is a `RawValue` as a whole is signed and read as it is spelled.
#[test]
fn a_raw_claims_set_keeps_every_byte() {
    for spelled in [
        r#"{"price":0.1234567890123456789,"sub":"\u0061"}"#,
        "{ \"z\" : 1.50e+2,\n\t\"a\" : [ ] }",
        "{}",
    ] {
        let claims = RawValue::from_string(spelled.into()).unwrap();
        let token = encode(&claims, &signing::key()).unwrap();
        let owned: Box<RawValue> = decode(&token, &signing::key(), &validation()).unwrap();
        assert_eq!(owned.get(), spelled);
        let mut buffer = [0; 256];
        let borrowed: &RawValue =
            decode_borrowed(&token, &signing::key(), &validation(), &mut buffer).unwrap();
        assert_eq!(borrowed.get(), spelled);
        let verified = verify(&token, &signing::key(), &validation()).unwrap();
        assert_eq!(verified.claims::<&RawValue>().unwrap().get(), spelled);
    }
}

/// A raw value or a number cannot contain a text that the scan rejects.
#[test]
fn rejects_a_raw_value_that_is_not_strict() {
    for value in [r#"{"a":1,"a":2}"#, "1e400", r#"{"a":{"\u0061":1,"a":2}}"#] {
        let raw = RawValue::from_string(value.into());
        if let Ok(raw) = raw {
            encode(&BTreeMap::from([("raw", raw)]), &signing::key()).unwrap_err();
        }
    }
    for name in ["Number", "RawValue", "RawValu\\u0065"] {
        for object in
            ["{\"$serde_json::private::@\":\"1\"}", "{\"a\":0,\"\\u0024serde_json::private::@\":1}"]
        {
            let payload = format!("{{\"x\":{}}}", object.replace('@', name));
            let error = decode::<Value>(&signing::signed(&payload), &signing::key(), &validation());
            let error = error.unwrap_err().to_string();
            assert!(error.contains("is reserved by serde_json"), "{payload}: {error}");
        }
    }
}

#[test]
fn numbers_are_as_precise_as_serde_json_keeps_them() {
    for text in NUMBERS {
        let number: Number = text.parse().unwrap();
        let claims = BTreeMap::from([(String::from("n"), number)]);
        comes_back(&claims);
        let payload = format!("{{\"n\":{text}}}");
        let read: BTreeMap<String, Number> =
            decode(&signing::signed(payload), &signing::key(), &validation()).unwrap();
        assert_eq!(read["n"], claims["n"]);
        // serde_json adds a sign to an exponent.
        assert!(!is_precise() || text.contains('e') || read["n"].to_string() == text, "{text}");
    }
}

#[test]
fn decimals_keep_every_digit() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Invoice {
        total: Decimal,
        items: Vec<Decimal>,
    }
    let decimals: Vec<Decimal> = [
        "0.1234567890123456789",
        "-0.10",
        "123456789012345678901234567890.12345678",
        "79228162514264337593543950335",
        "100",
    ]
    .map(|text| text.parse().unwrap())
    .into();
    for total in decimals.clone() {
        comes_back(&Invoice { total, items: decimals.clone() });
    }
}

/// The documented way to combine the registered claims with an application's own.
#[test]
fn flattened_registered_claims_survive_a_round_trip() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Claims {
        #[serde(flatten)]
        registered: RegisteredClaims,
        role: String,
    }
    let registered = RegisteredClaims {
        iss: Some("https://auth.example".into()),
        exp: Some(NumericDate::from_seconds(1_300_819_380)),
        nbf: Some(NumericDate::from_seconds(-1)),
        ..RegisteredClaims::default()
    };
    comes_back(&Claims { registered, role: "admin".into() });
}
