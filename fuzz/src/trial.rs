//! A trial: a signed token, the keys, and the expectations, all made from one fuzz input.

use arbitrary::Unstructured;
use kippu::base64url;

use crate::{
    claims,
    expectations::Expectations,
    input::{Input, Options, fill_in},
    keyring::Keyring,
};

/// A token with a correct MAC, and its circumstances.
#[derive(Debug)]
pub struct Trial {
    /// The token.
    pub token: String,
    /// The keys of the recipient. Usually one of them made the MAC.
    pub ring: Keyring,
    /// The recipient's expectations.
    pub expected: Expectations,
}

impl Trial {
    /// Makes the trial that `data` describes; any data describes one.
    ///
    /// The options are, in this order: how header and payload are written (0: both as given; 1: the
    /// payload, 2: the header, 3: both by [`claims`], from the bytes of the payload), how they are
    /// spelled in base64url, the keys, the signer, and those of [`Expectations::chosen`]. An empty
    /// header stands for the one that the signer writes.
    pub fn new(data: &[u8]) -> Self {
        let Input { mut options, header, payload } = Input::new(data);
        let written = options.below(4);
        let spelling = options.below(32);
        let [ring, signer] = [options.byte(), options.byte()];
        let expected = Expectations::chosen(&mut options);
        let ring = Keyring::chosen(&mut Options::new(&[ring]), expected.now);
        let signer = ring.signer(&mut Options::new(&[signer]));

        let times = expected.turning_points();
        let mut noise = Unstructured::new(payload);
        let header = match written {
            2 | 3 => text(claims::header(&mut noise, signer.algorithm)),
            _ if header.is_empty() => signer.header().into_bytes(),
            _ => header.to_vec(),
        };
        let payload = match written {
            1 | 3 => text(claims::claims(&mut noise, &[claims::FAR_EXP], &times)),
            _ => fill_in(payload, &times.map(|(letter, time)| (letter, time.to_string()))),
        };
        let [mut header, mut payload] = [header, payload].map(|text| base64url::encode(&text));
        match spelling {
            // A spelling that is not the canonical one.
            1 => header.push('='),
            2 => payload.push('='),
            3 => payload.push('A'),
            4 => payload.insert(0, '.'),
            5 => {
                // The neighbour of the last symbol: the bit that differs is usually ignored by lax
                // decoders.
                let neighbour = payload.pop().map(|symbol| char::from_u32(u32::from(symbol) + 1));
                payload.extend(neighbour.flatten());
            }
            _ => {}
        }
        let signing_input = format!("{header}.{payload}");
        let tag = base64url::encode(&signer.kippu_tag(signing_input.as_bytes()));
        Self { token: format!("{signing_input}.{tag}"), ring, expected }
    }
}

fn text(generated: arbitrary::Result<String>) -> Vec<u8> {
    generated.expect("the first choice is made where the bytes run out").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use crate::{json::TextDefect, model};

    use super::*;

    /// The seeds decide what a fuzzer finds in its first minute.
    #[test]
    fn each_defect_has_a_seed_with_no_other_defect() {
        let mut seeds = BTreeMap::<String, Vec<String>>::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/signed");
        for file in fs::read_dir(folder).expect("the seeds are beside the sources") {
            let path = file.expect("it can be listed").path();
            let Trial { token, ring, expected } = Trial::new(&fs::read(&path).expect("a file"));
            let defects = model::verify(&token, &ring, &expected).err().unwrap_or_default();
            let name = path.file_name().expect("a file has one").to_string_lossy().into_owned();
            let defects: Vec<_> = defects.iter().map(|defect| format!("{defect:?}")).collect();
            seeds.entry(defects.join(" ")).or_default().push(name);
        }
        let texts = [
            TextDefect::NotUtf8,
            TextDefect::NotAnObject,
            TextDefect::Syntax,
            TextDefect::DuplicateMember,
        ];
        let texts = texts.map(|text| [format!("Header({text:?})"), format!("Payload({text:?})")]);
        let others = [
            "TooLong",
            "Segments",
            "Base64url(\"header\")",
            "Base64url(\"payload\")",
            "Header(TooManyMembers)",
            "Algorithm",
            "Critical(\"crit\")",
            "Critical(\"b64\")",
            "Type",
            "TypeNotText",
            "KidNotText",
            "UnknownKid",
            "MissingKid",
            "Signature",
            "KeyRetired",
            "Missing(\"exp\")",
            "Missing(\"iss\")",
            "Missing(\"aud\")",
            "Missing(\"role\")",
            "WrongType(\"exp\")",
            "WrongType(\"nbf\")",
            "WrongType(\"iat\")",
            "WrongType(\"iss\")",
            "WrongType(\"aud\")",
            "WrongType(\"sub\")",
            "WrongType(\"jti\")",
            "Expired",
            "NotYetValid",
            "IssuedInFuture",
            "TooOld",
            "Issuer",
            "Audience",
            "AudienceUnexpected",
            "Subject",
            "JwtId",
            "",
        ];
        for defect in texts.as_flattened().iter().map(String::as_str).chain(others) {
            let alone = |key: &str| {
                key == defect
                    || key.strip_prefix(defect).is_some_and(|rest| {
                        rest.starts_with(" {")
                            && rest.ends_with('}')
                            && rest.matches('}').count() == 1
                    })
            };
            assert!(seeds.keys().any(|key| alone(key)), "no seed for {defect:?} in {seeds:#?}");
        }
    }
}
