//! The messages and services, as `tonic-prost-build` generates them from a `.proto` file.

use kippu::session::TokenResponse;

include!(concat!(env!("OUT_DIR"), "/example.Account.rs"));
include!(concat!(env!("OUT_DIR"), "/example.Auth.rs"));

#[derive(Clone, PartialEq, prost::Message)]
pub struct Credentials {
    #[prost(string, tag = "1")]
    pub email: String,
    #[prost(string, tag = "2")]
    pub password: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Tokens {
    #[prost(string, tag = "1")]
    pub access: String,
    #[prost(string, tag = "2")]
    pub refresh: String,
}

impl From<TokenResponse> for Tokens {
    fn from(TokenResponse { access_token, refresh_token, .. }: TokenResponse) -> Self {
        Self { access: access_token, refresh: refresh_token }
    }
}
