//! Parses and normalises email addresses. No mail is sent: nothing checks that an address belongs
//! to the person who typed it.

use email_address::{EmailAddress, Options};
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use precis_core::profile::PrecisFastInvocation;
use precis_profiles::{UsernameCaseMapped, UsernameCasePreserved};

/// A normalised address.
///
/// The domain is in lower-case ASCII (UTS #46). The local part is in NFC, without wide letters (RFC
/// 8265 §3.4). It keeps its case, because RFC 5321 §2.4 leaves the meaning of case to the receiving
/// host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Email {
    address: String,
    account: String,
}

/// A path in SMTP has up to 256 octets, two of them for its angle brackets (RFC 5321 §4.5.3.1.3).
const MAX_LEN: usize = 254;

impl Email {
    /// Parses an address. Quoted local parts, address literals and comments are refused, because
    /// with them one mailbox would have several spellings.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // A character has up to four bytes, and normalising may leave one.
        if text.len() > 4 * MAX_LEN {
            return None;
        }
        let (local, domain) = text.rsplit_once('@')?;
        let domain = Uts46::new()
            .to_ascii(
                domain.as_bytes(),
                AsciiDenyList::STD3,
                Hyphens::CheckFirstLast,
                DnsLength::Verify,
            )
            .ok()?;
        let address = format!("{}@{domain}", UsernameCasePreserved::enforce(local).ok()?);
        let account = format!("{}@{domain}", UsernameCaseMapped::enforce(local).ok()?);
        (is_address(&address) && is_address(&account)).then_some(Self { address, account })
    }

    /// Returns the address as it is shown.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the unique name of the account: the address in lower case. Nearly every host
    /// delivers `Ada@` and `ada@` to one mailbox, and people type either, so two accounts that
    /// differ only in case would be mistaken for each other.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// Returns the local part in lower case.
    pub(crate) fn local_part(&self) -> &str {
        self.account.rsplit_once('@').map_or("", |(local, _)| local)
    }
}

fn is_address(text: &str) -> bool {
    let options = Options::default().without_display_text().without_domain_literal();
    !text.starts_with('"')
        && text.len() <= MAX_LEN
        && EmailAddress::parse_with_options(text, options).is_ok()
}

/// Returns the name of the account that a text at a login names: an address, or a name of the
/// earlier versions, which consists of ASCII letters, digits and `. - _ @ +`.
pub(crate) fn account_named(text: &str) -> Option<String> {
    if let Some(email) = Email::parse(text) {
        return Some(email.account);
    }
    let name = text.trim().to_ascii_lowercase();
    let is_name = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_@+".contains(&b));
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, String)> {
        let Email { address, account } = Email::parse(text)?;
        // Parsing the result again changes nothing.
        for again in [&address, &account] {
            assert_eq!(Email::parse(again).map(|email| email.account).as_ref(), Some(&account));
        }
        Some((address, account))
    }

    #[test]
    fn an_address_has_one_spelling() {
        for (text, address, account) in [
            ("ada@example.com", "ada@example.com", "ada@example.com"),
            ("  Ada.L@EXAMPLE.com\u{a0}", "Ada.L@example.com", "ada.l@example.com"),
            ("ada+news@example.com", "ada+news@example.com", "ada+news@example.com"),
            ("ada@localhost", "ada@localhost", "ada@localhost"),
            ("ada@bücher.example", "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
            (
                "ada@BU\u{308}CHER。example",
                "ada@xn--bcher-kva.example",
                "ada@xn--bcher-kva.example",
            ),
            ("ada@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
            // NFC and narrow letters. The shown address keeps the case of the local part.
            ("Jose\u{301}@example.com", "José@example.com", "josé@example.com"),
            ("ＡＤＡ@example.com", "ADA@example.com", "ada@example.com"),
            ("пётр@пример.example", "пётр@xn--e1afmkfd.example", "пётр@xn--e1afmkfd.example"),
            // Hebrew letters, from right to left.
            ("אדה@example.com", "אדה@example.com", "אדה@example.com"),
        ] {
            let expected = Some((address.to_owned(), account.to_owned()));
            assert_eq!(parsed(text), expected, "{text:?}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let label = "b".repeat(63);
        let long_domain = format!("a@{label}.{label}.{label}.{label}");
        let huge = format!("{}@example.com", "a".repeat(10_000));
        for text in [
            "",
            " ",
            "ada",
            "@example.com",
            "ada@",
            "ada@example..com",
            "ada@.example.com",
            // A second spelling of the same domain.
            "ada@example.com.",
            "ada@-example.com",
            "ada@exa mple.com",
            "ada@exa_mple.com",
            "ada@[192.0.2.1]",
            "ada@xn--\u{fc}.example",
            "ada@xn--a.example",
            "ada@@example.com",
            "ada@example.com@example.com",
            "ada\u{ff20}example.com@example.com",
            ".ada@example.com",
            "ada.@example.com",
            "a..da@example.com",
            "ad a@example.com",
            "\"ada\"@example.com",
            "\"ada@example.com",
            "Ada <ada@example.com>",
            "ada(x)@example.com",
            "ada,eve@example.com",
            "ada@example.com\r\nBcc: eve@example.com",
            "ada\0@example.com",
            "ada@exam\0ple.com",
            "ada\u{7f}@example.com",
            // Zero width, a change of direction, a compatibility character.
            "a\u{200b}da@example.com",
            "a\u{202e}da@example.com",
            "a\u{fb01}@example.com",
            "\u{1f511}@example.com",
            "ad\u{5d0}@example.com",
            &long_local,
            &long_domain,
            &huge,
        ] {
            assert_eq!(Email::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_local_part_has_up_to_64_bytes_and_an_address_up_to_254() {
        let local = "a".repeat(64);
        let label = "b".repeat(62);
        let domain = |last: usize| format!("{label}.{label}.{}", "c".repeat(last));
        assert_eq!(format!("{local}@{}", domain(63)).len(), 254);
        assert!(Email::parse(&format!("{local}@{}", domain(63))).is_some());
        assert!(Email::parse(&format!("{local}@{label}.{label}.{}.d", "c".repeat(62))).is_none());
        assert!(Email::parse(&format!("é{}@example.com", &local[1..])).is_none(), "65 bytes");
    }

    #[test]
    fn names_of_earlier_versions_are_found() {
        for (text, name) in [
            ("Ada", Some("ada")),
            (" ada@x_y ", Some("ada@x_y")),
            ("Ada@Example.com", Some("ada@example.com")),
            ("José@example.com", Some("josé@example.com")),
            ("José", None),
            ("", None),
            ("ada lovelace", None),
            ("ada\0", None),
        ] {
            assert_eq!(account_named(text).as_deref(), name, "{text:?}");
        }
    }
}
