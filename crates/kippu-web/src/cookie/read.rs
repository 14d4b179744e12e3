//! The cookies of a request: the tokens in them, without the ones that an attacker has planted.

use http::{HeaderMap, header::SET_COOKIE};
use kippu::{base64url, session::SessionError};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Cookies,
    place::{Place, Unreadable},
};

impl Cookies {
    pub(crate) fn access<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Unreadable> {
        self.access.the_only(headers)
    }

    pub(crate) fn csrf<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Unreadable> {
        self.csrf.the_only(headers)
    }

    /// Returns the refresh token that is bound to the CSRF cookie, and that cookie. Other refresh
    /// tokens, which may be planted, are ignored.
    pub(crate) fn refresh<'h>(
        &self,
        headers: &'h HeaderMap,
    ) -> Result<Option<(&'h str, &'h str)>, Unreadable> {
        let Some(csrf) = self.csrf(headers)?.filter(|csrf| is_random(csrf)) else {
            return Ok(None);
        };
        let wanted = binding(csrf);
        for place in self.refresh.iter() {
            let mut bound = place.texts(headers).filter_map(|value| {
                let (token, binding) = value.rsplit_once('.')?;
                bool::from(binding.as_bytes().ct_eq(wanted.as_bytes())).then_some((token, csrf))
            });
            match (bound.next(), bound.next()) {
                (_, Some(_)) => return Err(Unreadable::Several),
                (Some(token), None) => return Ok(Some(token)),
                (None, None) => {}
            }
        }
        Ok(None)
    }

    /// Returns the refresh tokens of all cookies that may have one, whatever they are bound to. It
    /// is for a logout, which ends only the session that a token proves.
    pub(crate) fn refresh_tokens<'h>(&self, headers: &'h HeaderMap) -> Vec<&'h str> {
        let values = self.refresh.texts(headers);
        values.map(|value| value.rsplit_once('.').map_or(value, |(token, _)| token)).collect()
    }

    /// Returns the access tokens of all cookies that may have one.
    pub(crate) fn access_tokens<'h>(&self, headers: &'h HeaderMap) -> Vec<&'h str> {
        self.access.texts(headers).collect()
    }

    /// Returns whether a browser that has the refresh cookie of a login sends it to another path
    /// than that of this request. The CSRF cookie, which it sends to every path, expires with the
    /// refresh cookie.
    pub(crate) fn are_without_refresh(&self, headers: &HeaderMap) -> bool {
        self.csrf.is_in(headers) && !self.refresh.are_in(headers)
    }

    /// Returns whether a response sets or clears one of them, under any of their names.
    pub(crate) fn are_set_by(&self, response: &HeaderMap) -> bool {
        let places = || self.access.iter().chain(self.refresh.iter()).chain([&self.csrf]);
        response.get_all(SET_COOKIE).iter().any(|value| {
            places().any(|Place { name, .. }| {
                value.as_bytes().strip_prefix(name.as_bytes()).is_some_and(|v| v.starts_with(b"="))
            })
        })
    }
}

/// Returns the text that binds a refresh cookie to the CSRF cookie of the same response.
pub(super) fn binding(csrf: &str) -> String {
    let digest = Sha256::new_with_prefix(b"kippu refresh cookie\0").chain_update(csrf).finalize();
    let digest: [u8; 32] = digest.into();
    base64url::encode(digest.first_chunk::<16>().expect("32 bytes begin with 16"))
}

/// Returns a new value for the CSRF cookie of a login.
///
/// # Errors
/// [`SessionError::NoRandomness`].
pub(crate) fn new_csrf() -> Result<String, SessionError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| SessionError::NoRandomness)?;
    Ok(base64url::encode(&random))
}

fn is_random(csrf: &str) -> bool {
    base64url::decode(csrf).is_ok_and(|bytes| bytes.len() == 16)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::COOKIE};

    use super::*;

    /// A CSRF cookie that no login has set is bound to nothing, whatever the refresh cookie says.
    #[test]
    fn a_refresh_cookie_is_bound_to_a_csrf_cookie_that_a_login_sets() {
        let cookies = Cookies::new("/auth").unwrap();
        let csrf = new_csrf().unwrap();
        for (csrf, is_bound) in [(&*csrf, true), ("x", false), ("", false), (&csrf[1..], false)] {
            let mut headers = HeaderMap::new();
            let pair = format!("__Host-csrf={csrf}; __Http-refresh=token.{}", binding(csrf));
            headers.insert(COOKIE, HeaderValue::try_from(pair).unwrap());
            let found = cookies.refresh(&headers).ok().flatten();
            assert_eq!(found, is_bound.then_some(("token", csrf)), "{csrf}");
            assert_eq!(cookies.refresh_tokens(&headers), ["token"]);
        }
    }
}
