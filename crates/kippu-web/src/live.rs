//! The sessions of an application, without the type of their store, to check whether the session of
//! a token has ended.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use kippu::session::{RefreshStore, SessionError, SessionId, Sessions};

pub(super) type Boxed<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

/// Sessions without the type of their store.
#[derive(Clone)]
pub(super) struct AnySessions(Arc<dyn CheckLive>);

impl AnySessions {
    pub(super) fn new<S: RefreshStore>(sessions: Arc<Sessions<S>>) -> Self {
        Self(sessions)
    }

    /// Checks that a session has not ended; see [`Sessions::check_live`].
    pub(super) async fn check_live(
        &self,
        id: &SessionId,
        subject: &str,
    ) -> Result<(), SessionError> {
        self.0.check_live(id, subject).await
    }
}

impl fmt::Debug for AnySessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

trait CheckLive: Send + Sync {
    fn check_live<'c>(
        &'c self,
        id: &'c SessionId,
        subject: &'c str,
    ) -> Boxed<'c, Result<(), SessionError>>;
}

impl<S: RefreshStore> CheckLive for Sessions<S> {
    fn check_live<'c>(
        &'c self,
        id: &'c SessionId,
        subject: &'c str,
    ) -> Boxed<'c, Result<(), SessionError>> {
        Box::pin(self.check_live(id, subject))
    }
}
