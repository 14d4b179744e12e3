//! Origins, as browsers write them in the header `Origin` (RFC 6454 §6.2): compared with the host
//! that a request goes to, and checked when the application allows one. Browsers leave the usual
//! port of the scheme out, and other clients may write it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Returns whether a page of `origin` belongs to the host and port in `authority`, by HTTPS, or by
/// HTTP to this machine.
///
/// A name with a trailing dot is another host: browsers keep its cookies apart.
pub(super) fn is_own(origin: &str, authority: &str) -> bool {
    let Some((scheme, of_page)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "https" => 443,
        // An attacker in the network can write a page of any origin with plain HTTP.
        "http" if is_this_machine(of_page) => 80,
        _ => return false,
    };
    match (host_and_port(of_page, default_port), host_and_port(authority, default_port)) {
        (Some((page, port)), Some((asked, asked_port))) => {
            // RFC 9110 §4.2.3: the case of a host does not matter.
            page.eq_ignore_ascii_case(asked) && port == asked_port
        }
        _ => false,
    }
}

/// Returns whether a host, with its port, is the machine itself: HTTP to it passes no network.
fn is_this_machine(authority: &str) -> bool {
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| {
        authority.strip_prefix(name).is_some_and(|port| port.is_empty() || port.starts_with(':'))
    })
}

/// An empty port is the default one (RFC 3986 §6.2.3). User information has no place in either
/// header.
fn host_and_port(authority: &str, default_port: u16) -> Option<(&str, u16)> {
    let (host, port) = split(authority);
    let port = match port {
        None | Some("") => default_port,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
        Some(_) => return None,
    };
    (!host.is_empty() && !host.contains('@')).then_some((host, port))
}

/// The host, and the text behind its colon. The colons of an IPv6 address are within brackets.
fn split(authority: &str) -> (&str, Option<&str>) {
    let behind_address = authority.rfind(']').map_or(0, |end| end + 1);
    let (address, rest) = authority.split_at(behind_address);
    match (address, rest.split_once(':')) {
        ("", Some((name, port))) => (name, Some(port)),
        (_, Some(("", port))) => (address, Some(port)),
        _ => (authority, None),
    }
}

/// Checks that browsers can send `origin`, spelled exactly like this. With `allow_http`, plain HTTP
/// may go to other machines, too.
///
/// # Errors
/// Why browsers do not send it, or how they write it instead.
pub(super) fn check(origin: &str, allow_http: bool) -> Result<(), &'static str> {
    if origin == "null" {
        return Err("pages of every site can send null");
    }
    if origin.contains('*') {
        return Err("there are no wildcards: call allow_origin once for each origin");
    }
    let Some((scheme @ ("https" | "http"), authority)) = origin.split_once("://") else {
        return Err("it begins with https://");
    };
    if !authority.is_ascii() {
        return Err("an international name is written in ASCII, as xn--…");
    }
    if authority.contains('@') {
        return Err("a user does not belong to an origin");
    }
    if authority.contains(['/', '\\', '?', '#']) {
        return Err("the host and its port are the end: no slash, no path, no query");
    }
    if authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("it is written in lower case");
    }
    let (host, port) = split(authority);
    if !is_host(host) {
        return Err("the host is not a name or an address as browsers write it");
    }
    if let Some(port) = port {
        let default_port = if scheme == "https" { 443 } else { 80 };
        let is_written = |number: u16| number.to_string() == port;
        match port.parse() {
            Ok(number) if number == default_port => {
                return Err("the usual port of the scheme is left out");
            }
            Ok(1..) if port.parse().is_ok_and(is_written) => {}
            _ => return Err("a port is a number from 1 to 65535, without leading zeros"),
        }
    }
    if scheme == "http" && !allow_http && !is_this_machine(authority) {
        return Err("http is for this machine alone: 127.0.0.1, localhost or [::1]");
    }
    Ok(())
}

/// Returns whether browsers write a host like this (URL Standard, host serializing).
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse().is_ok_and(|parsed| written(parsed) == address);
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // A name whose last label is a number is an IPv4 address (URL Standard, "ends in a number").
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    host.len() <= 253
        && host.split('.').all(is_label)
        && (!is_number || host.parse::<Ipv4Addr>().is_ok())
}

/// An address as browsers write it: as Rust does, but for an IPv4 address within, which has no
/// dots.
fn written(address: Ipv6Addr) -> String {
    match (address.to_ipv4_mapped(), address.segments()) {
        (Some(_), [.., high, low]) => format!("::ffff:{high:x}:{low:x}"),
        (None, _) => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_own_whatever_of_it_is_left_out() {
        for (origin, authority) in [
            ("https://shop.example", "shop.example"),
            ("https://shop.example", "shop.example:443"),
            ("https://shop.example:443", "shop.example"),
            ("https://shop.example", "shop.example:"),
            ("https://shop.example", "SHOP.example:443"),
            ("https://Shop.Example", "shop.example"),
            ("https://shop.example:8443", "shop.example:8443"),
            ("https://shop.example:80", "shop.example:80"),
            ("https://[2001:db8::1]", "[2001:db8::1]"),
            ("https://[2001:db8::1]", "[2001:DB8::1]:443"),
            ("https://[2001:db8::1]:8443", "[2001:db8::1]:8443"),
            ("https://192.0.2.7", "192.0.2.7:443"),
            ("https://shop.example.", "shop.example.:443"),
            ("http://localhost", "localhost:80"),
            ("http://localhost:80", "localhost"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]", "[::1]:80"),
            ("https://localhost", "localhost:443"),
        ] {
            assert!(is_own(origin, authority), "{origin} {authority}");
        }
    }

    #[test]
    fn another_origin_is_not_own() {
        for (origin, authority) in [
            ("https://shop.example", "shop.example:80"),
            ("https://shop.example", "shop.example:4430"),
            ("https://shop.example:80", "shop.example"),
            ("https://shop.example:8443", "shop.example"),
            ("http://shop.example", "shop.example"),
            ("http://shop.example", "shop.example:443"),
            ("http://shop.example:443", "shop.example:443"),
            ("http://localhost", "localhost:443"),
            ("http://localhost:443", "localhost:80"),
            ("http://localhostile", "localhostile"),
            ("http://localhost.evil.example", "localhost.evil.example"),
            ("https://shop.example", "shop.example."),
            ("https://shop.example.", "shop.example"),
            ("https://evil.example", "shop.example"),
            ("https://shop.example.evil.example", "shop.example"),
            ("https://shop.example:99999", "shop.example"),
            ("https://shop.example:+443", "shop.example"),
            ("https://shop.example:x", "shop.example:x"),
            ("https://shop.example@evil.example", "shop.example@evil.example"),
            ("https://[2001:db8::1]", "[2001:db8::2]"),
            ("https://[2001:db8::1]", "[2001:db8::1]:80"),
            ("https://[::1]x", "[::1]"),
            ("https://", ""),
            ("https://:443", ":443"),
            ("null", "null"),
            ("", ""),
            ("shop.example", "shop.example"),
            ("ftp://shop.example", "shop.example"),
        ] {
            assert!(!is_own(origin, authority), "{origin} {authority}");
        }
    }

    #[test]
    fn an_origin_that_browsers_send_can_be_allowed() {
        for origin in [
            "https://app.example",
            "https://app.example:8443",
            "https://app.example:80",
            "https://xn--bcher-kva.example",
            "https://a_b-c.example",
            "https://localhost",
            "https://192.0.2.7",
            "https://192.0.2.7:1",
            "https://[2001:db8::1]:65535",
            "https://[::ffff:c000:207]",
            "https://1.example",
            "https://app.example1",
            "http://localhost:8080",
            "http://localhost:443",
            "http://127.0.0.1",
            "http://[::1]:3000",
        ] {
            assert_eq!(check(origin, false), Ok(()), "{origin}");
        }
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused_with_the_reason() {
        let wildcard = "wildcards";
        let (scheme, end, port) = ("begins with https://", "the end", "from 1 to 65535");
        let host = "as browsers write it";
        for (origin, reason) in [
            ("null", "every site"),
            ("*", wildcard),
            ("https://*", wildcard),
            ("https://*.shop.example", wildcard),
            ("https://shop.example:*", wildcard),
            ("", scheme),
            ("app.example", scheme),
            ("HTTPS://app.example", scheme),
            ("ftp://app.example", scheme),
            ("https:app.example", scheme),
            (" https://app.example", scheme),
            ("https://bücher.example", "xn--"),
            ("https://user@app.example", "user"),
            ("https://user:secret@app.example", "user"),
            ("https://app.example/", end),
            ("https://app.example/path", end),
            ("https://app.example?query", end),
            ("https://app.example#fragment", end),
            ("https:///app.example", end),
            ("https://app.example\\", end),
            ("https://App.example", "lower case"),
            ("https://[2001:DB8::1]", "lower case"),
            ("https://", host),
            ("https://:8443", host),
            ("https://.example", host),
            ("https://app..example", host),
            ("https://app.example.", host),
            ("https://app example", host),
            ("https://app%2eexample", host),
            ("https://app.example ", host),
            ("https://a,b", host),
            ("https://[", host),
            ("https://[]", host),
            ("https://[::1", host),
            ("https://::1", host),
            ("https://[::1]x", host),
            ("https://[fe80::1%25eth0]", host),
            ("https://[0:0:0:0:0:0:0:1]", host),
            ("https://[2001:0db8::1]", host),
            ("https://[::ffff:192.0.2.7]", host),
            ("https://192.0.2", host),
            ("https://192.0.2.07", host),
            ("https://192.0.2.256", host),
            ("https://0x7f.1", host),
            ("https://app.0x", host),
            ("https://app.example.1", host),
            ("https://app.example:443", "usual port"),
            ("http://localhost:80", "usual port"),
            ("https://app.example:", port),
            ("https://app.example:0", port),
            ("https://app.example:08443", port),
            ("https://app.example:0443", "usual port"),
            ("https://app.example:65536", port),
            ("https://app.example:+8443", port),
            ("https://app.example:x", port),
            ("https://app.example:1:2", port),
            ("http://app.example", "this machine"),
            ("http://localhostile", "this machine"),
        ] {
            let refused = check(origin, false).unwrap_err();
            let is_about_http = reason == "this machine";
            assert_eq!(check(origin, true).is_ok(), is_about_http, "{origin}");
            assert!(refused.contains(reason), "{origin}: {refused}");
        }
        let label = "a".repeat(64);
        assert!(check(&format!("https://{label}.example"), false).is_err());
        assert!(check(&format!("https://{}example", "abc.".repeat(62)), false).is_err());
    }
}
