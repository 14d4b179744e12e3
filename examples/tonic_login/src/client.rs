//! The other side: a client logs in, calls a method, refreshes and logs out.

use std::{error::Error, net::SocketAddr};

use tonic::{Request, transport::Channel};

use crate::proto::{Credentials, account_client::AccountClient, auth_client::AuthClient};

pub async fn run(server: SocketAddr) -> Result<(), Box<dyn Error>> {
    let channel = Channel::from_shared(format!("http://{server}"))?.connect().await?;
    let mut auth = AuthClient::new(channel.clone());
    let mut account = AccountClient::new(channel);
    let mut me = async |access: &str| {
        let mut request = Request::new(String::new());
        request.metadata_mut().insert("authorization", format!("Bearer {access}").parse()?);
        Ok::<_, Box<dyn Error>>(account.me(request).await?.into_inner())
    };

    let (email, password) = ("ada@example.org".to_owned(), "wrong".to_owned());
    let refused = auth.login(Credentials { email: email.clone(), password }).await;
    println!("wrong password: {}", refused.expect_err("it is wrong").message());
    let credentials = Credentials { email, password: "correct horse".into() };
    let tokens = auth.login(credentials).await?.into_inner();
    println!("login: {}", me(&tokens.access).await?);
    println!("without a token: {}", me("").await.expect_err("it is missing"));
    let tokens = auth.refresh(tokens.refresh).await?.into_inner();
    println!("refresh: {}", me(&tokens.access).await?);
    println!("logout: {}", auth.logout(tokens.refresh.clone()).await?.into_inner());
    let refused = auth.refresh(tokens.refresh).await.expect_err("the session has ended");
    println!("refresh after the logout: {}", refused.message());
    Ok(())
}
