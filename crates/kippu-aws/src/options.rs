//! The options that both sources have.

macro_rules! source_options {
    ($source:ident) => {
        impl $source {
            /// Sets the form of the secret. The default is a JWK or a JWK Set.
            #[must_use]
            pub fn format(mut self, format: kippu::KeyFormat) -> Self {
                self.reading.format = format;
                self
            }

            /// Reads the secret from a member of a JSON object, for example `{"SECRET_KEY":"…"}`,
            /// in which the console stores key/value pairs. The value is a string in the form of
            /// [`format`](Self::format), or a JWK or JWK Set as an object.
            #[must_use]
            pub fn field(mut self, field: impl Into<String>) -> Self {
                self.reading.field = Some(field.into());
                self
            }

            /// Returns keys that [verify only](kippu::KeySet::verify_only), for a server that
            /// issues no tokens.
            #[must_use]
            pub fn verify_only(mut self) -> Self {
                self.reading.verify_only = true;
                self
            }

            /// Accepts tokens without a `kid`, for example those of another library; see
            /// [`KeySet::try_all_without_kid`](kippu::KeySet::try_all_without_kid).
            #[must_use]
            pub fn try_all_without_kid(mut self) -> Self {
                self.reading.tries_all = true;
                self
            }

            /// Sets how long one load may take, with all requests and retries. The default is 10
            /// seconds.
            #[must_use]
            pub fn deadline(mut self, deadline: std::time::Duration) -> Self {
                self.reading.deadline = deadline;
                self
            }
        }
    };
}

pub(crate) use source_options;
