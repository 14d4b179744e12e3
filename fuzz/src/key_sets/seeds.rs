//! The seeds, and tests of what they reach.

/// The seeds by name. The example `seeds` writes them to files.
pub const SEEDS: &[(&str, &str)] = &[
    ("jwk", "\n\n{@t,@1,@a,@K}"),
    ("jwk_384", "\n\n{@t,@2,@u,@L,\"x5c\":[1]}"),
    ("jwk_512", "\n\n{@t,@3,@v,@M}"),
    ("jwk_without_alg", "1\n\n{@t,@L}"),
    ("jwk_for_another", "1\n\n{@t,@1,@K}"),
    ("jwk_rsa", "\n\n{\"kty\":\"RSA\",@1,@K}"),
    ("jwk_none", "\n\n{@t,\"alg\":\"none\",@K}"),
    ("jwk_kty_missing", "\n\n{@1,@K}"),
    ("jwk_k_missing", "\n\n{@t,@1}"),
    ("jwk_k_number", "\n\n{@t,@1,\"k\":1}"),
    ("jwk_k_padded", "\n\n{@t,@1,@kAAAA=\"}"),
    ("jwk_k_escaped", "\n\n{@t,@1,@k\\u0041AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}"),
    ("jwk_short", "\n\n{@t,@1,@N}"),
    ("jwk_pem", "\n\n{@t,@1,@P}"),
    ("jwk_enc", "\n\n{@t,@1,@e,@K}"),
    ("jwk_ops", "\n\n{@t,@1,@o@V,@S],@K}"),
    ("jwk_ops_unknown", "\n\n{@t,@1,@o@V,\"x\",@S],@K}"),
    ("jwk_ops_unrelated", "\n\n{@t,@1,@o@V,\"encrypt\"],@K}"),
    ("jwk_ops_empty", "\n\n{@t,@1,@o],@K}"),
    ("jwk_ops_twice", "\n\n{@t,@1,@o@S,@S],@K}"),
    ("jwk_ops_text", "\n\n{@t,@1,\"key_ops\":@S,@K}"),
    ("jwk_twice", "\n\n{@t,@1,@K,\"\\u006b\":1}"),
    ("jwk_kid_null", "\n\n{@t,@1,\"kid\":null,@K}"),
    ("jwk_array", "\n\n[]"),
    ("jwk_broken", "\n\n{@t,@1,@K"),
    ("digits", "\n\n00112233445566778899aabbccddeeffAABBCCDDEEFF00112233445566778899"),
    (
        "digits_in_lines",
        "\n\n00112233445566778899aabbccddeeff\nAABBCCDDEEFF00112233445566778899\r\n",
    ),
    ("pem", "\n\n-----BEGIN PUBLIC KEY-----"),
    ("set", "\n\n@w{@t,@1,@a,@K},{@t,@2,@b,@v,@L}]}"),
    ("set_of_all", "\n\n@w{@t,@1,@a,@v,@K},{@t,@2,@b,@v,@L},{@t,@3,@c,@M}]}"),
    ("set_chosen", "01\n\n@w{@t,@1,@a,@K},{@t,@2,@b,@L}]}"),
    ("set_chosen_unknown", "04\n\n@w{@t,@1,@a,@K}]}"),
    ("set_chosen_verifies", "02\n\n@w{@t,@1,@a,@K},{@t,@2,@b,@v,@L}]}"),
    ("set_of_none", "\n\n@w]}"),
    ("set_of_two_signers", "\n\n@w{@t,@1,@a,@K},{@t,@2,@b,@L}]}"),
    ("set_of_no_signer", "\n\n@w{@t,@1,@a,@v,@K}]}"),
    ("set_same_id", "\n\n@w{@t,@1,@a,@K},{@t,@2,@a,@v,@L}]}"),
    ("set_no_id", "\n\n@w{@t,@1,@K}]}"),
    ("set_of_numbers", "\n\n@w1]}"),
    ("set_no_array", "\n\n{\"keys\":{}}"),
    ("keys_accept", "\na1a2"),
    ("keys_retire", "\nr1r9"),
    ("keys_retired_now", "\nr8"),
    ("keys_retired_before", "\nr?t0"),
    ("keys_rotate", "\no1o2"),
    ("keys_rotate_retired", "\no8t0a0"),
    ("keys_same_id", "\na1a3o3"),
    ("keys_no_id", "\na6n6"),
    ("keys_try_all", "\nt0a1a4a5"),
    ("keys_new", "\na1n2"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_sets::{Happened, run};

    /// The seeds decide what a fuzzer finds in its first minute.
    #[test]
    fn the_seeds_reach_every_verdict() {
        let happened: Happened = SEEDS.iter().flat_map(|(_, seed)| run(seed.as_bytes())).collect();
        for wanted in [
            "a JWK",
            "digits",
            "keys of a JWK Set",
            "Json(NotAnObject)",
            "Json(Syntax)",
            "Json(DuplicateMember)",
            "Missing(\"kty\")",
            "Missing(\"alg\")",
            "Missing(\"k\")",
            "Missing(\"keys\")",
            "WrongType(\"k\")",
            "WrongType(\"kid\")",
            "WrongType(\"key_ops\")",
            "WrongType(\"keys\")",
            "KeyType",
            "Algorithm",
            "Use",
            "KeyOperations",
            "Secret",
            "DuplicateKid",
            "NoKeys",
            "UnknownSigningKey",
            "NoSigningKey",
            "SeveralSigningKeys",
            "MissingKid",
            "TooShort",
            "KeyFile",
            "set: MissingKid",
            "set: DuplicateKid",
            "token: Accepted",
            "token: UnknownKid",
            "token: MissingKid",
            "token: Algorithm",
            "token: Signature",
            "token: KeyRetired(1760000000)",
            "token: KeyRetired(1759999999)",
        ] {
            assert!(happened.contains(wanted), "no seed for {wanted} in {happened:#?}");
        }
        assert!(!happened.contains("token: KeyRetired(1760000001)"));
    }
}
