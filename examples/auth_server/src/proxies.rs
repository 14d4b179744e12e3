//! Finds the address of a client behind proxies. The address of the connection and the headers of a
//! request go in, the client's address comes out. A header counts only as far as proxies that the
//! operator named have written it: a client can send any header.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};
use ipnet::{IpNet, Ipv4Net};
use tracing::warn;

use crate::logs::Seldom;

/// The options that name the proxies in front of the server.
#[derive(clap::Args)]
pub(crate) struct ProxyOptions {
    /// The address of a proxy in front of this server, or a network such as 10.0.0.0/8. Its header
    /// then gives the client's address to the rate limits and the log. Can be repeated
    #[arg(long = "trusted-proxy", value_name = "ADDRESS", value_delimiter = ',')]
    trusted: Vec<TrustedProxy>,
    /// The header in which the trusted proxies write the client's address. Other headers are
    /// ignored
    #[arg(long = "proxy-header", value_name = "HEADER", default_value = "x-forwarded-for")]
    header: ProxyHeader,
}

#[derive(Clone, Copy)]
struct TrustedProxy(IpNet);

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ProxyHeader {
    #[value(name = "x-forwarded-for")]
    XForwardedFor,
    /// Forwarded, as RFC 7239 defines it.
    Forwarded,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum NoProxy {
    #[error("an address or a network is expected, such as 127.0.0.1, 10.0.0.0/8 or fd00::/8")]
    Syntax,
    #[error("with every address trusted, any client can claim any address: name the proxy's")]
    EveryAddress,
}

/// The trusted proxies, and the header that they write.
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    header: ProxyHeader,
    untrusted: Seldom,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl FromStr for TrustedProxy {
    type Err = NoProxy;

    fn from_str(text: &str) -> Result<Self, NoProxy> {
        let network = match text.parse() {
            Ok(address) => IpNet::from(IpAddr::to_canonical(&address)),
            Err(_) => text.parse().map(canonical).map_err(|_| NoProxy::Syntax)?,
        };
        if network.prefix_len() == 0 {
            return Err(NoProxy::EveryAddress);
        }
        Ok(Self(network))
    }
}

/// Turns a network of IPv4-mapped addresses, such as `::ffff:10.0.0.0/104`, into the IPv4 network.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match (network.addr().to_canonical(), network) {
        (IpAddr::V4(address), IpNet::V6(network)) => network
            .prefix_len()
            .checked_sub(96)
            .and_then(|prefix| Ipv4Net::new(address, prefix).ok()),
        _ => None,
    };
    mapped.map_or(network, IpNet::V4)
}

impl From<ProxyOptions> for Proxies {
    fn from(options: ProxyOptions) -> Self {
        let trusted = options.trusted.into_iter().map(|TrustedProxy(network)| network).collect();
        Self { trusted, header: options.header, untrusted: Seldom::default() }
    }
}

impl Proxies {
    /// Returns whether this is the address of a trusted proxy.
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// Returns the address of the client. Behind a proxy its port is not known, and 0.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let name = match self.header {
            ProxyHeader::XForwardedFor => &X_FORWARDED_FOR,
            ProxyHeader::Forwarded => &FORWARDED,
        };
        if !self.trust(peer.ip()) {
            if headers.contains_key(name) {
                self.untrusted.say(|times| {
                    warn!(
                        address = %peer.ip(), header = %name, times,
                        "a header was ignored: if this is your proxy, add it with --trusted-proxy"
                    );
                });
            }
            return peer;
        }
        let mut client = peer.ip().to_canonical();
        // From the right, where proxies append. The first address that is not a trusted proxy is
        // the client. It may have invented everything to the left of that.
        let values = headers.get_all(name).iter().rev();
        for part in values.flat_map(|value| text(value).rsplit(',')) {
            let Some(address) = self.address(part) else { break };
            client = address;
            if !self.trust(client) {
                break;
            }
        }
        SocketAddr::new(client, 0)
    }

    /// Returns the address in one element of the header.
    fn address(&self, part: &str) -> Option<IpAddr> {
        let node = match self.header {
            ProxyHeader::XForwardedFor => part,
            ProxyHeader::Forwarded => part.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("for").then_some(value)
            })?,
        };
        let node = node.trim().trim_matches('"');
        // Some proxies add the port, and IPv6 addresses may be in brackets.
        let address =
            node.parse().or_else(|_| node.parse().map(|address: SocketAddr| address.ip()));
        let bracketed = || node.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
        address.ok().or_else(bracketed).map(|address: IpAddr| address.to_canonical())
    }
}

/// Returns the text of a header, or nothing if it is not ASCII, which no address contains.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(trusted: &[&str], header: ProxyHeader) -> Proxies {
        let trusted = trusted.iter().map(|text| text.parse().expect("a network")).collect();
        ProxyOptions { trusted, header }.into()
    }

    fn client(proxies: &Proxies, peer: &str, values: &[&str]) -> String {
        let name = match proxies.header {
            ProxyHeader::XForwardedFor => X_FORWARDED_FOR,
            ProxyHeader::Forwarded => FORWARDED,
        };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_str(value).expect("a value"));
        }
        let peer = SocketAddr::new(peer.parse().expect("an address"), 50_000);
        proxies.client(peer, &headers).ip().to_string()
    }

    #[test]
    fn takes_the_rightmost_address_that_is_not_a_trusted_proxy() {
        let proxies = proxies(&["127.0.0.1", "10.0.0.0/8", "fd00::/8"], ProxyHeader::XForwardedFor);
        for (peer, values, expected) in [
            ("127.0.0.1", &["192.0.2.1"][..], "192.0.2.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            // Two proxies, each of which appended the address of its peer.
            ("127.0.0.1", &["192.0.2.1, 10.0.0.7"], "192.0.2.1"),
            ("127.0.0.1", &["192.0.2.1", "10.0.0.7,fd00::7"], "192.0.2.1"),
            // The client sent an address of its choice.
            ("127.0.0.1", &["203.0.113.9, 192.0.2.1"], "192.0.2.1"),
            ("127.0.0.1", &["203.0.113.9", "192.0.2.1, 10.0.0.7"], "192.0.2.1"),
            ("127.0.0.1", &["10.0.0.9, 192.0.2.1"], "192.0.2.1"),
            // The peer is not a trusted proxy.
            ("192.0.2.7", &["203.0.113.9"], "192.0.2.7"),
            ("127.0.0.2", &["203.0.113.9"], "127.0.0.2"),
            // An element that is not an address ends the search.
            ("127.0.0.1", &["unknown"], "127.0.0.1"),
            ("127.0.0.1", &["203.0.113.9, , 10.0.0.7"], "10.0.0.7"),
            ("127.0.0.1", &["203.0.113.9, x' OR 1, 10.0.0.7"], "10.0.0.7"),
            ("127.0.0.1", &[""], "127.0.0.1"),
            // The client is in a trusted network itself.
            ("127.0.0.1", &["10.0.0.8, 10.0.0.7"], "10.0.0.8"),
            // Ports, brackets, and one address in several spellings.
            ("127.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("127.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("127.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("127.0.0.1", &["2001:DB8::1"], "2001:db8::1"),
            ("127.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1"),
            ("::ffff:127.0.0.1", &["192.0.2.1, ::ffff:10.0.0.7"], "192.0.2.1"),
        ] {
            assert_eq!(client(&proxies, peer, values), expected, "{peer} {values:?}");
        }
    }

    #[test]
    fn reads_the_header_of_rfc_7239_when_configured() {
        let proxies = proxies(&["127.0.0.1", "10.0.0.0/8"], ProxyHeader::Forwarded);
        for (values, expected) in [
            (&["for=192.0.2.1"][..], "192.0.2.1"),
            (&["proto=https;For=\"192.0.2.1:80\";by=10.0.0.7"], "192.0.2.1"),
            (&["for=\"[2001:db8:cafe::17]:4711\"", "for=10.0.0.7"], "2001:db8:cafe::17"),
            (&["for=203.0.113.9, for=192.0.2.1, for=10.0.0.7"], "192.0.2.1"),
            // An unclosed quotation mark from the client hides no later element.
            (&["for=\"203.0.113.9, for=192.0.2.1"], "192.0.2.1"),
            (&["for=203.0.113.9, for=_hidden, for=10.0.0.7"], "10.0.0.7"),
            (&["for=unknown"], "127.0.0.1"),
            (&["by=192.0.2.1"], "127.0.0.1"),
            (&["192.0.2.1"], "127.0.0.1"),
        ] {
            assert_eq!(client(&proxies, "127.0.0.1", values), expected, "{values:?}");
        }
        // The other header is ignored.
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static("203.0.113.9"));
        let peer = "127.0.0.1:50000".parse().expect("an address");
        assert_eq!(proxies.client(peer, &headers).ip().to_string(), "127.0.0.1");
    }

    #[test]
    fn parses_addresses_and_networks_and_refuses_the_network_of_all() {
        let of = |text: &str| {
            text.parse::<TrustedProxy>().map(|TrustedProxy(network)| network.to_string())
        };
        assert_eq!(of("127.0.0.1"), Ok("127.0.0.1/32".to_owned()));
        assert_eq!(of("::1"), Ok("::1/128".to_owned()));
        assert_eq!(of("::ffff:10.0.0.7"), Ok("10.0.0.7/32".to_owned()));
        assert_eq!(of("::ffff:10.0.0.0/104"), Ok("10.0.0.0/8".to_owned()));
        for none in ["", "proxy.example", "10.0.0.0/33", "10.0.0", "127.0.0.1:80", "10.0.0.0/ 8"] {
            assert_eq!(of(none), Err(NoProxy::Syntax), "{none}");
        }
        for all in ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"] {
            assert_eq!(of(all), Err(NoProxy::EveryAddress), "{all}");
        }
    }
}
