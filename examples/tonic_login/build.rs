//! Generates the traits of the services of `src/proto.rs`. With a `.proto` file,
//! `tonic-prost-build` does it, and needs protoc.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name: &str, route: &str, input: &str, output: &str| {
        let method = Method::builder().name(name).route_name(route);
        method.input_type(input).output_type(output).codec_path("tonic_prost::ProstCodec").build()
    };
    let (text, tokens) = ("std::string::String", "crate::proto::Tokens");
    let auth = Service::builder()
        .name("Auth")
        .package("example")
        .method(method("login", "Login", "crate::proto::Credentials", tokens))
        .method(method("refresh", "Refresh", text, tokens))
        .method(method("logout", "Logout", text, text))
        .build();
    let account = Service::builder()
        .name("Account")
        .package("example")
        .method(method("me", "Me", text, text))
        .build();
    Builder::new().compile(&[auth, account]);
}
