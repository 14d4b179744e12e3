//! The right answer to a request, by RFC 6750 §2.1, RFC 6265 §5.4, the form encoding of RFC 6749
//! appendix B, and the documented guarantees of `Cookies`, `Guard` and `SessionRoutes`. It is slow:
//! it first splits everything into lists.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The host in the request's target, if it has one.
    pub authority: Option<String>,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The state of the server.
#[derive(Clone, Debug)]
pub struct Server {
    /// The names of the cookies for the access token, for the refresh token, and against forged
    /// requests, each with its earlier names behind it; `None` if the server has no cookies.
    pub cookies: Option<[Vec<String>; 3]>,
    /// The accepted origins, besides its own.
    pub origins: Vec<String>,
    /// The tokens that it issued.
    pub tokens: Vec<Known>,
    /// The subject of each session.
    pub subjects: Vec<&'static str>,
    /// The ids of the sessions.
    pub ids: Vec<String>,
    /// Which sessions were revoked.
    pub ended: Vec<bool>,
}

/// A token that the server issued.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its text.
    pub text: String,
    /// For an access token, whether it is still valid; `None` for a refresh token.
    pub access: Option<bool>,
    /// Its session.
    pub session: usize,
}

/// The parameters of a form that have a meaning.
const PARAMETERS: [&str; 6] =
    ["grant_type", "refresh_token", "client_id", "client_secret", "scope", "token"];

/// An answer: its status, and the session that is accepted.
pub type Answer = (u16, Option<usize>);

impl Request {
    fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| &**value).collect()
    }

    /// Returns a header that may appear once: nothing, its text, or an error.
    fn only(&self, name: &str) -> Result<Option<String>, ()> {
        match self.all(name)[..] {
            [] => Ok(None),
            [value] => ascii(value).map(Some).ok_or(()),
            _ => Err(()),
        }
    }

    /// RFC 6750 §2.1.
    fn bearer(&self) -> Result<Option<String>, u16> {
        let value: String = match self.all("authorization")[..] {
            [] => return Ok(None),
            [value] => value.iter().map(|byte| char::from(*byte)).collect(),
            _ => return Err(400_u16),
        };
        let value = value.trim_matches([' ', '\t']);
        let scheme: String = value.chars().take_while(|char| *char != ' ').collect();
        if scheme.to_lowercase() != "bearer" {
            return Ok(None);
        }
        let token: String =
            value.chars().skip(scheme.len()).skip_while(|char| *char == ' ').collect();
        let symbols: Vec<char> = token.chars().rev().skip_while(|char| *char == '=').collect();
        let is_symbol = |char: &char| char.is_ascii_alphanumeric() || "-._~+/".contains(*char);
        if symbols.is_empty() || !symbols.iter().all(is_symbol) {
            return Err(400);
        }
        Ok(Some(token))
    }

    /// RFC 6265 §5.4, as a server reads it: the nonempty values of the cookies of a name.
    fn cookies(&self, name: &str) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        for header in self.all("cookie") {
            for pair in header.split(|byte| *byte == b';') {
                let pair = trimmed(pair);
                let Some(end) = pair.iter().position(|byte| *byte == b'=') else { continue };
                if &pair[..end] == name.as_bytes() && end + 1 < pair.len() {
                    values.push(pair[end + 1..].to_vec());
                }
            }
        }
        values
    }

    /// The only value of the first of these names that the request has.
    fn only_cookie(&self, names: &[String]) -> Result<Option<String>, u16> {
        for name in names {
            match &self.cookies(name)[..] {
                [] => {}
                [value] => return String::from_utf8(value.clone()).map(Some).map_err(|_| 400),
                _ => return Err(400),
            }
        }
        Ok(None)
    }

    /// Returns the nonempty parameters of a form, or an error; nothing if the body is not a form.
    fn form(&self) -> Result<Vec<(String, String)>, u16> {
        let content_type = self.all("content-type").first().and_then(|value| ascii(value));
        let content_type = content_type.unwrap_or_default().to_lowercase();
        let media_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
        if media_type != "application/x-www-form-urlencoded" {
            return Ok(Vec::new());
        }
        if self.body.len() > 8192 {
            return Err(400);
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in self.body.split(|byte| *byte == b'&') {
            let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let name = unescaped(&pair[..end]);
            let value = unescaped(pair.get(end + 1..).unwrap_or_default());
            if value.is_empty() || !PARAMETERS.contains(&&*name) {
                continue;
            }
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(400);
            }
            parameters.push((name, value));
        }
        Ok(parameters)
    }
}

/// Visible characters, spaces and tabs.
fn ascii(value: &[u8]) -> Option<String> {
    let is_fine = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    is_fine.then(|| value.iter().map(|byte| char::from(*byte)).collect())
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn unescaped(text: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match (text[at], digits) {
            (b'%', Some(digits)) => {
                bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
                at += 3;
            }
            (b'+', _) => {
                bytes.push(b' ');
                at += 1;
            }
            (byte, _) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Server {
    /// Returns whether a request with cookies was meant by a page of this site.
    fn is_meant(&self, request: &Request) -> bool {
        self.origin(request) == From::ThisSite
    }

    /// Returns where a request with cookies comes from.
    fn origin(&self, request: &Request) -> From {
        let Some([_, _, csrf]) = &self.cookies else { return From::ThisSite };
        let origin = request.only("origin");
        let is_allowed =
            matches!(&origin, Ok(Some(origin)) if self.origins.iter().any(|one| one == origin));
        if request.method == "CONNECT" || !request.all("upgrade").is_empty() {
            // The handshake of a WebSocket.
            let site = request.only("sec-fetch-site");
            let is_elsewhere = match &site {
                Ok(site) => {
                    site.as_ref().is_some_and(|site| site != "same-origin" && site != "none")
                }
                Err(()) => true,
            };
            return match origin {
                Ok(None) => From::Nowhere,
                Ok(Some(origin)) if is_allowed || !is_elsewhere && is_own(request, &origin) => {
                    From::ThisSite
                }
                _ => From::AnotherSite,
            };
        }
        if ["GET", "HEAD", "OPTIONS"].contains(&&*request.method) {
            return From::ThisSite;
        }
        let is_meant = match request.only("sec-fetch-site") {
            Ok(Some(site)) if site == "same-origin" || site == "none" => true,
            Ok(None) => match origin {
                Ok(Some(origin)) => is_allowed || is_own(request, &origin),
                Ok(None) => {
                    let cookie = request.only_cookie(csrf).unwrap_or_default();
                    let header = request.only("x-csrf-token").unwrap_or_default();
                    if cookie.is_none() || cookie != header {
                        return From::Nowhere;
                    }
                    true
                }
                Err(()) => false,
            },
            _ => is_allowed,
        };
        if is_meant { From::ThisSite } else { From::AnotherSite }
    }

    /// RFC 6750 §2: returns the token that counts, and whether it is in a cookie. With a header,
    /// cookies do not count.
    fn credential(&self, request: &Request) -> Result<Option<(String, bool)>, u16> {
        match (request.bearer()?, &self.cookies) {
            (Some(token), _) => Ok(Some((token, false))),
            (None, Some([access, ..])) => {
                Ok(request.only_cookie(access)?.map(|token| (token, true)))
            }
            (None, None) => Ok(None),
        }
    }

    /// Returns the session of the access token of a request.
    ///
    /// # Errors
    /// The status.
    pub fn authenticate(&self, request: &Request) -> Result<usize, u16> {
        let (token, in_cookie) = self.credential(request)?.ok_or(401_u16)?;
        if in_cookie && !self.is_meant(request) {
            return Err(403);
        }
        let known =
            self.tokens.iter().find(|known| known.access == Some(true) && known.text == token);
        known.map(|known| known.session).ok_or(401)
    }

    /// Returns the session as [`Server::authenticate`] does, if it was not revoked.
    ///
    /// # Errors
    /// The status.
    pub fn live(&self, request: &Request) -> Result<usize, u16> {
        let session = self.authenticate(request)?;
        if self.ended[session] { Err(401) } else { Ok(session) }
    }

    /// Returns the refresh token in the cookie that is bound to the CSRF cookie.
    fn bound(&self, request: &Request) -> Result<Option<String>, u16> {
        let Some([_, refresh, csrf]) = &self.cookies else { return Ok(None) };
        let Some(csrf) = request.only_cookie(csrf)? else { return Ok(None) };
        // 16 bytes, as a login sets them.
        if URL_SAFE_NO_PAD.decode(&csrf).map_or(0, |bytes| bytes.len()) != 16 {
            return Ok(None);
        }
        let mut digest = Sha256::new();
        digest.update("kippu refresh cookie\0");
        digest.update(csrf);
        let suffix = format!(".{}", URL_SAFE_NO_PAD.encode(&digest.finalize()[..16]));
        for name in refresh {
            let mut bound = Vec::new();
            for value in request.cookies(name) {
                let value = String::from_utf8(value).unwrap_or_default();
                bound.extend(value.strip_suffix(&suffix).map(str::to_owned));
            }
            match bound.len() {
                0 => {}
                1 => return Ok(bound.pop()),
                _ => return Err(400),
            }
        }
        Ok(None)
    }

    /// Returns the answer of the session routes, and notes which sessions end.
    pub fn answer(&mut self, request: &Request) -> Answer {
        self.routed(request).unwrap_or_else(|status| (status, None))
    }

    fn routed(&mut self, request: &Request) -> Result<Answer, u16> {
        let path = request.path.strip_prefix('/').unwrap_or(&request.path);
        let parts: Vec<&str> = path.splitn(2, '/').collect();
        let methods: &[&str] = match parts[..] {
            ["refresh" | "revoke" | "logout" | "logout_others" | "logout_all"] => &["POST"],
            ["sessions"] => &["GET", "HEAD"],
            ["sessions", id] if !id.is_empty() && !id.contains('/') => &["DELETE"],
            _ => return Err(404),
        };
        if !methods.contains(&&*request.method) {
            return Err(405);
        }
        match parts[..] {
            ["refresh"] => self.refresh(request),
            ["revoke"] => self.revoke(request),
            ["logout"] => self.logout(request),
            ["logout_others"] => {
                let session = self.live(request)?;
                self.end(|server, other| {
                    server.subjects[other] == server.subjects[session] && other != session
                });
                Ok((200, Some(session)))
            }
            ["logout_all"] => {
                let session = self.live(request)?;
                self.end(|server, other| server.subjects[other] == server.subjects[session]);
                Ok((200, Some(session)))
            }
            ["sessions"] => Ok((200, Some(self.live(request)?))),
            _ => {
                let session = self.live(request)?;
                let named = self.ids.iter().position(|id| *id == parts[1]);
                match named.filter(|other| {
                    self.subjects[*other] == self.subjects[session] && !self.ended[*other]
                }) {
                    Some(other) => self.ended[other] = true,
                    None => return Err(404),
                }
                Ok((204, Some(session)))
            }
        }
    }

    fn refresh(&self, request: &Request) -> Result<Answer, u16> {
        let form = request.form()?;
        let of_form = |wanted: &str| form.iter().find(|(name, _)| name == wanted);
        if of_form("client_secret").is_some() {
            return Err(400);
        }
        let grant = of_form("grant_type").map(|(_, grant)| &**grant);
        let token = match (grant, of_form("refresh_token")) {
            (Some("refresh_token"), Some((_, token))) => token.clone(),
            (None, Some(_)) => return Err(400),
            (Some(other), _) if other != "refresh_token" => return Err(400),
            // If the client sends a token explicitly, only that one counts.
            _ => {
                let token = self.bound(request)?.ok_or(400_u16)?;
                if !self.is_meant(request) {
                    return Err(403);
                }
                token
            }
        };
        let session = self.session_of(&token).ok_or(400_u16)?;
        // The claims of this application have no scope.
        let is_misfit = of_form("client_id").is_some_and(|(_, client)| client != "web")
            || of_form("scope").is_some_and(|(_, scope)| !scope.replace(' ', "").is_empty());
        if self.ended[session] || is_misfit { Err(400) } else { Ok((200, Some(session))) }
    }

    /// RFC 7009: success for a token that is not valid, too.
    fn revoke(&mut self, request: &Request) -> Result<Answer, u16> {
        let form = request.form()?;
        let of_form = |wanted: &str| form.iter().find(|(name, _)| name == wanted);
        let Some((_, token)) = of_form("token") else { return Err(400) };
        if of_form("client_secret").is_some() {
            return Err(400);
        }
        let revoked = self.tokens.iter().filter(|known| known.text == *token);
        for session in revoked.map(|known| known.session).collect::<Vec<_>>() {
            self.ended[session] = true;
        }
        Ok((200, None))
    }

    /// Everything that proves a session revokes it. Only a revoked session is a success.
    fn logout(&mut self, request: &Request) -> Result<Answer, u16> {
        let form = request.form()?;
        let mut texts: Vec<String> = form
            .into_iter()
            .filter(|(name, _)| name == "refresh_token")
            .map(|(_, token)| token)
            .collect();
        let mut access: Vec<String> = request.bearer()?.into_iter().collect();
        let is_explicit = !texts.is_empty() || !access.is_empty();
        if let Some([access_names, refresh_names, _]) = &self.cookies {
            let read = |names: &[String]| {
                let values = names.iter().flat_map(|name| request.cookies(name));
                values.filter_map(|value| String::from_utf8(value).ok()).collect::<Vec<_>>()
            };
            let (of_refresh, of_access) = (read(refresh_names), read(access_names));
            let is_without = of_refresh.is_empty() && of_access.is_empty();
            match self.origin(request) {
                From::ThisSite => {
                    access.extend(of_access);
                    for value in of_refresh {
                        let end = value.rfind('.').unwrap_or(value.len());
                        texts.push(value[..end].to_owned());
                    }
                }
                _ if is_explicit => {}
                From::Nowhere if is_without => {}
                _ => return Err(403),
            }
        }
        let mut sessions: Vec<usize> =
            texts.iter().filter_map(|token| self.session_of(token)).collect();
        // The age of an access token does not matter.
        for known in self.tokens.iter().filter(|known| known.access.is_some()) {
            if access.contains(&known.text) {
                sessions.push(known.session);
            }
        }
        if sessions.is_empty() {
            return Err(400);
        }
        for session in sessions {
            self.ended[session] = true;
        }
        Ok((204, None))
    }

    fn session_of(&self, refresh_token: &str) -> Option<usize> {
        let is_it = |known: &&Known| known.access.is_none() && known.text == refresh_token;
        self.tokens.iter().find(is_it).map(|known| known.session)
    }

    fn end(&mut self, which: impl Fn(&Self, usize) -> bool) {
        for session in 0..self.ended.len() {
            if which(self, session) {
                self.ended[session] = true;
            }
        }
    }
}

/// Where a request says that it comes from.
#[derive(PartialEq, Eq)]
enum From {
    ThisSite,
    AnotherSite,
    /// It does not say.
    Nowhere,
}

/// Returns whether a page has the origin that a request goes to.
fn is_own(request: &Request, origin: &str) -> bool {
    let Some(host) = request.authority.clone().or(request.only("host").ok().flatten()) else {
        return false;
    };
    let Some((scheme, named)) = origin.split_once("://") else { return false };
    let usual = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return false,
    };
    let (Some(asked), Some(page)) = (host_and_port(&host, usual), host_and_port(named, usual))
    else {
        return false;
    };
    let here = ["127.0.0.1", "localhost", "[::1]"];
    // Only in lower case is it this machine.
    let is_here = here.iter().any(|name| named.split(':').next() == Some(name) || named == *name)
        || named.starts_with("[::1]:");
    asked == page && (scheme == "https" || is_here)
}

/// Parses `example:8443`, `[::1]` and the like; the default port if there is none.
fn host_and_port(text: &str, usual: u32) -> Option<(String, u32)> {
    let text = text.to_ascii_lowercase();
    let at = match text.rfind(']') {
        Some(end) if text[end + 1..].is_empty() => text.len(),
        Some(end) if text[end + 1..].starts_with(':') => end + 1,
        // Then the text has no port.
        Some(_) => text.len(),
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(at);
    let port = match port.strip_prefix(':').unwrap_or_default() {
        "" => usual,
        digits if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port < 1 << 16)?
        }
        _ => return None,
    };
    (!host.is_empty() && !host.contains('@')).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        Request {
            method: "POST".into(),
            path: "/refresh".into(),
            authority: None,
            headers: headers.iter().map(own).collect(),
            body: Vec::new(),
        }
    }

    #[test]
    fn bearer_is_that_of_rfc_6750() {
        let read = |value| request(&[("authorization", value)]).bearer();
        assert_eq!(read("Bearer mF_9.B5f-4.1JqM"), Ok(Some("mF_9.B5f-4.1JqM".into())));
        assert_eq!(read("bearer   a=="), Ok(Some("a==".into())));
        assert_eq!(read("Basic YTpi"), Ok(None));
        for value in ["Bearer", "Bearer a b", "Bearer =", "Bearer a=b"] {
            assert_eq!(read(value), Err(400), "{value}");
        }
        assert_eq!(request(&[]).bearer(), Ok(None));
        let twice = [("authorization", "Bearer a"), ("authorization", "Basic a")];
        assert_eq!(request(&twice).bearer(), Err(400));
    }

    #[test]
    fn cookies_are_pairs() {
        let read = |value| request(&[("cookie", value)]).cookies("a");
        let values =
            |values: &[&str]| values.iter().map(|v| v.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(read("a=1; b=2"), values(&["1"]));
        assert_eq!(read("b=a=1;\ta=\"x\" "), values(&["\"x\""]));
        assert_eq!(read("a=; a ;A=1;aa=1"), values(&[]));
        assert_eq!(read("a=1;a=2==;"), values(&["1", "2=="]));
    }

    #[test]
    fn forms_are_unescaped() {
        let mut request =
            request(&[("content-type", "Application/X-WWW-Form-URLencoded ; charset=x")]);
        request.body = b"a=1&refresh_token=%41+%zz%4&&grant_type".to_vec();
        assert_eq!(request.form(), Ok(vec![("refresh_token".into(), "A %zz%4".into())]));
        request.body = b"refresh_token=1&refresh%5Ftoken=1".to_vec();
        assert_eq!(request.form(), Err(400));
        request.body = b"refresh_token=1&refresh_token=".to_vec();
        assert!(request.form().is_ok());
    }

    #[test]
    fn an_origin_is_its_own_or_allowed() {
        let server = Server {
            cookies: Some(["a", "r", "c"].map(|name| vec![name.to_owned()])),
            origins: vec!["https://app.example".into()],
            tokens: Vec::new(),
            subjects: Vec::new(),
            ids: Vec::new(),
            ended: Vec::new(),
        };
        for (headers, is_meant) in [
            (&[][..], false),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "same-site"), ("origin", "https://app.example")], true),
            (&[("sec-fetch-site", "cross-site"), ("host", "h"), ("origin", "https://h")], false),
            (&[("host", "h"), ("origin", "https://H")], true),
            (&[("host", "h:443"), ("origin", "https://h")], true),
            (&[("host", "h"), ("origin", "https://h:443")], true),
            (&[("host", "h:80"), ("origin", "https://h")], false),
            (&[("host", "h:8443"), ("origin", "https://h:8443")], true),
            (&[("host", "[::1]:443"), ("origin", "https://[::1]")], true),
            (&[("host", "[::1]"), ("origin", "http://[::1]:80")], true),
            (&[("host", "[::1]x"), ("origin", "http://[::1]x")], false),
            (&[("host", "h"), ("origin", "http://h")], false),
            (&[("host", "localhost:80"), ("origin", "http://localhost:80")], true),
            (&[("host", "localhostile"), ("origin", "http://localhostile")], false),
            (&[("cookie", "c=1"), ("x-csrf-token", "1")], true),
            (&[("cookie", "c=1"), ("x-csrf-token", "1"), ("origin", "null")], false),
            (&[("cookie", "c="), ("x-csrf-token", "")], false),
        ] {
            assert_eq!(server.is_meant(&request(headers)), is_meant, "{headers:?}");
        }
    }
}
