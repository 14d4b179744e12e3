//! The options that both sources have.

macro_rules! source_options {
    ($source:ident) => {
        impl $source {
            /// Sets the form of the secret; a JWK or a JWK Set where this is not called.
            #[must_use]
            pub fn format(mut self, format: kippu::KeyFormat) -> Self {
                self.reading.format = format;
                self
            }

            /// Takes the secret from a member of a JSON object, as the console stores key/value
            /// pairs: `{"SECRET_KEY":"…"}`. Its value is a string in the form that
            /// [`format`](Self::format) says, or a JWK or JWK Set as an object.
            #[must_use]
            pub fn field(mut self, field: impl Into<String>) -> Self {
                self.reading.field = Some(field.into());
                self
            }

            /// Returns keys that [verify only](kippu::KeySet::verify_only): for a server that
            /// issues no tokens.
            #[must_use]
            pub fn verify_only(mut self) -> Self {
                self.reading.verify_only = true;
                self
            }

            /// Tries the keys for a token without a `kid`, such as another library has written:
            /// [`KeySet::try_all_without_kid`](kippu::KeySet::try_all_without_kid).
            #[must_use]
            pub fn try_all_without_kid(mut self) -> Self {
                self.reading.tries_all = true;
                self
            }

            /// Sets how long one load may take, all requests and retries together: 10 seconds where
            /// this is not called.
            #[must_use]
            pub fn deadline(mut self, deadline: std::time::Duration) -> Self {
                self.reading.deadline = deadline;
                self
            }
        }
    };
}

pub(crate) use source_options;
