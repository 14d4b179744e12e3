//! The body of a response of the service behind a guard, or of the guard's rejection.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a [`Guarded`](super::Guarded) service: that of the service behind it, or the
    /// text of a rejection. The service's body can be of any type, so that layers that replace the
    /// body can be on both sides of the guard.
    pub struct GuardedBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Service { #[pin] body: B },
        Text { text: Option<String> },
    }
}

impl<B> GuardedBody<B> {
    pub(super) fn of_service(body: B) -> Self {
        Self { kind: Kind::Service { body } }
    }
}

impl<B> From<String> for GuardedBody<B> {
    fn from(text: String) -> Self {
        Self { kind: Kind::Text { text: Some(text).filter(|text| !text.is_empty()) } }
    }
}

/// An empty body, which a `CorsLayer` in front makes for a preflight.
impl<B> Default for GuardedBody<B> {
    fn default() -> Self {
        Self { kind: Kind::Text { text: None } }
    }
}

impl<B: Body> Body for GuardedBody<B>
where
    B::Data: From<String>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Service { body } => body.poll_frame(context),
            KindProjection::Text { text } => {
                Poll::Ready(text.take().map(|text| Ok(Frame::data(text.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Service { body } => body.is_end_stream(),
            Kind::Text { text } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Service { body } => body.size_hint(),
            Kind::Text { text } => {
                let length = text.as_ref().map_or(0, String::len);
                SizeHint::with_exact(length.try_into().unwrap_or(u64::MAX))
            }
        }
    }
}

impl<B> fmt::Debug for GuardedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedBody").finish_non_exhaustive()
    }
}
