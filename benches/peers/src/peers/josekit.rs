//! josekit, over OpenSSL. Its claims are a map, which is converted to the struct after the checks.

use josekit::{
    JoseError, Map, Value,
    jws::{
        HS256, HS384, HS512, JwsHeader,
        alg::hmac::{HmacJwsSigner, HmacJwsVerifier},
    },
    jwt::{JwtPayload, JwtPayloadValidator, decode_with_verifier, encode_with_signer},
};

use crate::{
    fixture::{Claims, SECRET, Tokens},
    rounds::Candidate,
    work::{self, Given, Operation, Peer, Refusal},
};

pub(super) fn candidate(given: &Given, operation: Operation) -> Candidate<'_> {
    work::candidate("josekit", Josekit::new(&given.tokens), given, operation)
}

struct Josekit {
    signer: HmacJwsSigner,
    verifier: HmacJwsVerifier,
    header: JwsHeader,
    payload: JwtPayload,
    validator: JwtPayloadValidator,
}

impl Josekit {
    fn new(Tokens { algorithm, claims, .. }: &Tokens) -> Self {
        let algorithm = match algorithm {
            kippu::Algorithm::Hs256 => HS256,
            kippu::Algorithm::Hs384 => HS384,
            _ => HS512,
        };
        let mut header = JwsHeader::new();
        header.set_token_type("JWT");
        // Without a fixed time it reads the clock for each token.
        let mut validator = JwtPayloadValidator::new();
        validator.set_issuer(&claims.iss);
        validator.set_audience(&claims.aud);
        let Ok(Value::Object(map)) = serde_json::to_value(claims) else { panic!("an object") };
        Self {
            signer: algorithm.signer_from_bytes(SECRET).expect("long enough"),
            verifier: algorithm.verifier_from_bytes(SECRET).expect("long enough"),
            header,
            payload: JwtPayload::from_map(map).expect("strings and numbers"),
            validator,
        }
    }
}

impl Peer for Josekit {
    type Claims = Claims;
    type Error = JoseError;

    fn verify(&self, token: &str) -> Result<Claims, JoseError> {
        let (payload, _) = decode_with_verifier(token, &self.verifier)?;
        self.validator.validate(&payload)?;
        let map: Map<String, Value> = payload.into();
        serde_json::from_value(Value::Object(map))
            .map_err(|error| JoseError::InvalidJson(error.into()))
    }

    fn sign(&self) -> String {
        encode_with_signer(&self.payload, &self.header, &self.signer).expect("strings and numbers")
    }

    fn claims(claims: Claims) -> Claims {
        claims
    }

    fn refusal(error: &JoseError) -> Refusal {
        match error {
            JoseError::InvalidSignature(_) => Refusal::Signature,
            JoseError::InvalidClaim(error) => match error.to_string() {
                text if text.starts_with("The token has expired") => Refusal::Expired,
                text if text.starts_with("Key aud is invalid") => Refusal::Audience,
                _ => Refusal::Other,
            },
            _ => Refusal::Other,
        }
    }
}
