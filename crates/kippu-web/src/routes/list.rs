//! The routes that ask for an access token of a live session: the list of the sessions of its user,
//! and the end of one.

use http::{Response, StatusCode, request::Parts};
use kippu::session::{AccessToken, NoClaims, RefreshStore, SessionId};

use super::{Inner, cleared};
use crate::{
    answer::{Refusal, empty, json},
    bodies::{List, Listed},
    cookie::Cookies,
    rejection::Rejection,
};

impl<S: RefreshStore, A> Inner<S, A> {
    pub(super) async fn list(&self, request: &Parts) -> Result<Response<String>, Refusal> {
        let (token, _) = self.live(request).await?;
        let query = request.uri.query().unwrap_or_default();
        // The text of a position needs no encoding in a URL, so it is not decoded.
        let page = match query.split('&').find_map(|pair| pair.strip_prefix("after=")) {
            None => self.sessions.list(&token.subject).await?,
            Some(after) => match after.parse() {
                Ok(place) => self.sessions.list_after(&token.subject, place).await?,
                Err(_) => {
                    return Err(Refusal::invalid_request(
                        "after is not the next of a list of sessions",
                    ));
                }
            },
        };
        let sessions = page.sessions.iter();
        let sessions = sessions.map(|session| Listed::new(session, &token.session_id)).collect();
        Ok(json(StatusCode::OK, &List { sessions, next: page.next.map(|next| next.to_string()) }))
    }

    pub(super) async fn end(&self, request: &Parts, id: &str) -> Result<Response<String>, Refusal> {
        let (token, cookies) = self.live(request).await?;
        let Ok(id) = id.parse::<SessionId>() else { return Ok(empty(StatusCode::NOT_FOUND)) };
        if !self.sessions.logout_session(&token.subject, &id).await? {
            return Ok(empty(StatusCode::NOT_FOUND));
        }
        // The browser is logged out only if the session is its own.
        let response = empty(StatusCode::NO_CONTENT);
        Ok(cleared(response, cookies.filter(|_| id == token.session_id)))
    }

    /// Returns the access token of a session that has not ended, and the cookies, if it is in one.
    pub(super) async fn live(
        &self,
        request: &Parts,
    ) -> Result<(AccessToken<NoClaims>, Option<&Cookies>), Rejection> {
        let verify = |token: &str| self.guard.0.verifier.verify::<NoClaims>(token);
        let (token, cookies) = self.guard.admit_by(request, verify).await?;
        self.sessions.check_live(&token.session_id, &token.subject).await?;
        Ok((token, cookies))
    }
}
