//! What a request has to be answered with, told from RFC 6750 §2.1, RFC 6265 §5.4, the form encoding of RFC 6749
//! appendix B, and from what `Cookies` and `SessionRoutes` promise. Slow: everything is cut into lists first.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path, without what stands behind a question mark.
    pub path: String,
    /// The host in the request's target, where it has one.
    pub authority: Option<String>,
    /// The headers, names in small letters.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the server knows.
#[derive(Clone, Debug)]
pub struct Server {
    /// The names of the cookies: of the access token, the refresh token, and against forged requests; none, where it has
    /// no cookies.
    pub cookies: Option<[String; 3]>,
    /// The origins that are let in besides its own.
    pub origins: Vec<String>,
    /// The tokens that it made.
    pub tokens: Vec<Known>,
    /// Whose each session is.
    pub subjects: Vec<&'static str>,
    /// The ids of the sessions.
    pub ids: Vec<String>,
    /// Which sessions have ended.
    pub ended: Vec<bool>,
}

/// A token that the server made.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its letters.
    pub text: String,
    /// Whether it is an access token, and in time; otherwise it is a refresh token.
    pub access: Option<bool>,
    /// Its session.
    pub session: usize,
}

/// An answer: its status, and who is let in.
pub type Answer = (u16, Option<usize>);

impl Request {
    fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| &**value).collect()
    }

    /// A header that should be there once, as a text: nothing, the text, or that it is neither.
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

    /// RFC 6265 §5.4, by those who read it: the values of the cookies of a name that have one.
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

    fn only_cookie(&self, name: &str) -> Result<Option<String>, u16> {
        match &self.cookies(name)[..] {
            [] => Ok(None),
            [value] => String::from_utf8(value.clone()).map(Some).map_err(|_| 400),
            _ => Err(400),
        }
    }

    /// The parameters of a form that have a value, or that it is none; nothing, where the body is something else.
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
            if value.is_empty() || !["grant_type", "refresh_token"].contains(&&*name) {
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

/// Visible letters, spaces and tabs.
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
    /// Whether a request with cookies was meant by a page of this site.
    fn is_meant(&self, request: &Request) -> bool {
        let Some([_, _, csrf]) = &self.cookies else { return true };
        let changes = !["GET", "HEAD", "OPTIONS"].contains(&&*request.method);
        if !changes && request.all("upgrade").is_empty() {
            return true;
        }
        let origin = request.only("origin");
        let is_allowed =
            matches!(&origin, Ok(Some(origin)) if self.origins.iter().any(|one| one == origin));
        match request.only("sec-fetch-site") {
            Ok(Some(site)) if site == "same-origin" || site == "none" => true,
            Ok(None) => match origin {
                Ok(Some(origin)) => is_allowed || is_own(request, &origin),
                Ok(None) => {
                    let cookie = request.only_cookie(csrf).unwrap_or_default();
                    let header = request.only("x-csrf-token").unwrap_or_default();
                    cookie.is_some() && cookie == header
                }
                Err(()) => false,
            },
            _ => is_allowed,
        }
    }

    /// RFC 6750 §2: the only token, and whether it stands in a cookie.
    fn credential(&self, request: &Request) -> Result<Option<(String, bool)>, u16> {
        let in_header = request.bearer()?;
        let in_cookie = match &self.cookies {
            Some([access, ..]) => request.only_cookie(access)?,
            None => None,
        };
        match (in_header, in_cookie) {
            (Some(_), Some(_)) => Err(400),
            (Some(token), None) => Ok(Some((token, false))),
            (None, Some(token)) => Ok(Some((token, true))),
            (None, None) => Ok(None),
        }
    }

    /// The session of the access token of a request.
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

    /// As [`Server::authenticate`], of a session that has not ended.
    ///
    /// # Errors
    /// The status.
    pub fn live(&self, request: &Request) -> Result<usize, u16> {
        let session = self.authenticate(request)?;
        if self.ended[session] { Err(401) } else { Ok(session) }
    }

    /// The refresh token of a request, and whether it stands in a cookie.
    fn presented(
        &self,
        request: &Request,
        form: &[(String, String)],
    ) -> Result<Option<(String, bool)>, u16> {
        let mut bound = Vec::new();
        if let Some([_, refresh, csrf]) = &self.cookies
            && let Some(csrf) = request.only_cookie(csrf)?
        {
            let mut digest = Sha256::new();
            digest.update("kippu refresh cookie\0");
            digest.update(csrf);
            let suffix = format!(".{}", URL_SAFE_NO_PAD.encode(&digest.finalize()[..16]));
            for value in request.cookies(refresh) {
                let value = String::from_utf8(value).unwrap_or_default();
                bound.extend(value.strip_suffix(&suffix).map(str::to_owned));
            }
        }
        let in_form = form.iter().find(|(name, _)| name == "refresh_token");
        match (&bound[..], in_form) {
            ([_, _, ..], _) | ([_], Some(_)) => Err(400),
            ([token], None) if self.is_meant(request) => Ok(Some((token.clone(), true))),
            ([_], None) => Err(403),
            ([], Some((_, token))) => Ok(Some((token.clone(), false))),
            ([], None) => Ok(None),
        }
    }

    /// What the session routes answer; which sessions end is noted.
    pub fn answer(&mut self, request: &Request) -> Answer {
        self.routed(request).unwrap_or_else(|status| (status, None))
    }

    fn routed(&mut self, request: &Request) -> Result<Answer, u16> {
        let path = request.path.strip_prefix('/').unwrap_or(&request.path);
        let parts: Vec<&str> = path.splitn(2, '/').collect();
        let methods: &[&str] = match parts[..] {
            ["refresh" | "logout" | "logout_others" | "logout_all"] => &["POST"],
            ["sessions"] => &["GET", "HEAD"],
            ["sessions", _] => &["DELETE"],
            _ => return Err(404),
        };
        if !methods.contains(&&*request.method) {
            return Err(405);
        }
        match parts[..] {
            ["refresh"] => self.refresh(request),
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
        let (token, in_cookie) = self.presented(request, &form)?.ok_or(400_u16)?;
        let grant_type = form.iter().find(|(name, _)| name == "grant_type");
        if !in_cookie && grant_type.is_none_or(|(_, value)| value != "refresh_token") {
            return Err(400);
        }
        let session = self.session_of(&token).ok_or(400_u16)?;
        if self.ended[session] { Err(400) } else { Ok((200, Some(session))) }
    }

    fn logout(&mut self, request: &Request) -> Result<Answer, u16> {
        let form = request.form()?;
        let session = match self.presented(request, &form)? {
            Some((token, _)) => self.session_of(&token),
            None if self.cookies.is_none() => return Err(400),
            None if !self.is_meant(request) => return Err(403),
            None => match self.authenticate(request) {
                Ok(session) => Some(session),
                Err(401) => None,
                Err(status) => return Err(status),
            },
        };
        if let Some(session) = session {
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

/// Whether a page has the origin that a request goes to.
fn is_own(request: &Request, origin: &str) -> bool {
    let Some(host) = request.authority.clone().or(request.only("host").ok().flatten()) else {
        return false;
    };
    let host = host.to_ascii_lowercase();
    let here = ["127.0.0.1", "localhost", "[::1]"];
    let is_here = here.iter().any(|name| {
        host == *name || host.strip_prefix(name).is_some_and(|port| port.starts_with(':'))
    });
    let origin = origin.to_owned();
    let (scheme, named) = origin.split_once("://").unwrap_or_default();
    named.to_ascii_lowercase() == host && (scheme == "https" || scheme == "http" && is_here)
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
            cookies: Some(["a", "r", "c"].map(str::to_owned)),
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
